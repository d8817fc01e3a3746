//! What became of each packet of a capture.
//!
//! Each layer counts for itself, and what one hands on is what the next one
//! gets: four equations, whose two sides are counted in different places.

use super::shared::SharedReplay;
use serde::Serialize;
use softnet::report::{DeviceReport, Report};
use std::collections::BTreeMap;
use std::fmt;

/// The packets of a capture, by their outcome.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    /// Packets in the file, as far as it could be read.
    read: u64,
    /// Of those, packets of which the capture has only the first bytes. They are
    /// replayed as they are.
    cut_short: u64,
    /// What did not get past the NIC.
    nic: NicLosses,
    /// Packets that the driver dropped for an error.
    driver_errors: u64,
    /// Packets that reached somebody: a socket, a reply, the neighbour cache.
    delivered: u64,
    /// Packets that the protocols dropped, by reason.
    dropped: BTreeMap<String, u64>,
    /// Whether all of these are as many as were read.
    adds_up: bool,
    /// Where the account does not add up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

/// Packets that the NIC did not hand on.
#[derive(Debug, Serialize)]
struct NicLosses {
    /// Longer than the wire carries.
    too_long_for_wire: u64,
    /// While the link was down or the receiver off.
    unheard: u64,
    /// To other stations.
    filtered: u64,
    /// No receive descriptor was free, or no room in the NIC.
    missed: u64,
    /// Shorter than Ethernet's minimum.
    runt: u64,
    /// Longer than the NIC takes: 1518 bytes, or 1522, without FCS.
    oversize: u64,
}

/// What is between the layers: which one handed it on, and which one got it.
struct Handed {
    to_nic: u64,
    stored: u64,
    to_stack: u64,
}

impl NicLosses {
    fn new(device: &DeviceReport) -> Self {
        let (model, ethtool) = (device.model(), &device.ethtool);
        Self {
            too_long_for_wire: device.wire.value("replay_rx_too_long"),
            unheard: model.rx_unheard,
            filtered: model.rx_filtered,
            missed: ethtool.value("rx_missed_errors"),
            runt: ethtool.value("rx_short_length_errors"),
            oversize: ethtool.value("rx_long_length_errors"),
        }
    }

    fn on_chip(&self) -> u64 {
        self.unheard + self.filtered + self.missed + self.runt + self.oversize
    }
}

impl Account {
    pub(super) fn new(report: &Report, wire: &SharedReplay) -> Self {
        // A report of a machine with one NIC has one device, unless it is gone.
        let Some(device) = report.devices.first() else {
            return Self::without_device(wire.offered());
        };
        let nic = NicLosses::new(device);
        let read = device.wire.value("replay_rx_frames") + nic.too_long_for_wire;
        let handed = Handed {
            to_nic: wire.offered(),
            stored: stored(device),
            to_stack: device.rx_packets(),
        };
        let drops = report.drops.iter().filter(|drops| drops.received > 0);
        let mut account = Self {
            read,
            cut_short: device.wire.value("replay_rx_truncated"),
            driver_errors: driver_errors(device),
            nic,
            delivered: report.protocols.delivered,
            dropped: drops
                .map(|drops| (drops.reason.to_string(), drops.received))
                .collect(),
            adds_up: false,
            errors: Vec::new(),
        };
        account.check(&handed, device);
        account
    }

    fn without_device(offered: u64) -> Self {
        Self {
            read: offered,
            cut_short: 0,
            nic: NicLosses {
                too_long_for_wire: 0,
                unheard: 0,
                filtered: 0,
                missed: 0,
                runt: 0,
                oversize: 0,
            },
            driver_errors: 0,
            delivered: 0,
            dropped: BTreeMap::new(),
            adds_up: false,
            errors: vec!["the device is gone".to_owned()],
        }
    }

    /// Holds each layer's count against that of the next.
    fn check(&mut self, handed: &Handed, device: &DeviceReport) {
        let dropped: u64 = self.dropped.values().sum();
        let end = self.delivered + dropped;
        let lost = self.nic.too_long_for_wire + self.nic.on_chip() + self.driver_errors;
        let equations = [
            (
                "frames that the file gave, and frames that the chip saw",
                handed.to_nic,
                device.model().wire_rx,
            ),
            (
                "frames that the chip saw, and those that it stored or lost",
                device.model().wire_rx,
                handed.stored + self.nic.on_chip(),
            ),
            (
                "packets that the chip stored, and those that the driver handed up or dropped",
                handed.stored,
                handed.to_stack + self.driver_errors,
            ),
            (
                "packets that the driver handed up, and those delivered or dropped",
                handed.to_stack,
                end,
            ),
            (
                "packets read, and the sum of all outcomes",
                self.read,
                lost + end,
            ),
        ];
        let wrong = equations.iter().filter(|(_, left, right)| left != right);
        self.errors = wrong
            .map(|(what, left, right)| format!("{what}: {left} and {right}"))
            .collect();
        self.adds_up = self.errors.is_empty();
    }

    pub(super) fn read(&self) -> u64 {
        self.read
    }

    pub(super) fn adds_up(&self) -> bool {
        self.adds_up
    }

    pub(super) fn errors(&self) -> &[String] {
        &self.errors
    }
}

/// Packets that the chip has stored. The NE2000's counts only what it did not store:
/// there it is what its driver found.
fn stored(device: &DeviceReport) -> u64 {
    let packets = device.ethtool.value("rx_packets");
    match device.driver {
        "ne2k-pci" => packets + driver_errors(device),
        _ => packets,
    }
}

/// Errors that the driver found in descriptors: what is left of all receive
/// errors without those that the chip counted, whose packets it kept.
fn driver_errors(device: &DeviceReport) -> u64 {
    let chip = [
        "rx_phy_errors",
        "rx_crc_errors",
        "rx_frame_errors",
        "rx_extension_errors",
        "rx_short_length_errors",
        "rx_long_length_errors",
    ];
    let chip: u64 = chip.iter().map(|name| device.ethtool.value(name)).sum();
    device.stats.rx_errors.saturating_sub(chip)
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nic = &self.nic;
        let mut line = |count: u64, what: &str| match count {
            0 => Ok(()),
            _ => writeln!(f, "{count:>10} {what}"),
        };
        line(nic.too_long_for_wire, "too long for the wire")?;
        line(nic.unheard, "came while the link was down")?;
        line(nic.filtered, "filtered by the NIC: to other stations")?;
        line(
            nic.missed,
            "missed by the NIC: no free descriptor, or no room",
        )?;
        line(nic.runt, "too short for the NIC")?;
        line(nic.oversize, "too long for the NIC")?;
        line(self.driver_errors, "dropped by the driver for an error")?;
        line(self.delivered, "delivered")?;
        for (reason, &count) in &self.dropped {
            line(count, &format!("dropped: {reason}"))?;
        }
        write!(f, "{:>10} packets read", self.read)?;
        if self.cut_short > 0 {
            write!(f, ", {} of them cut short by the capture", self.cut_short)?;
        }
        let sum = if self.adds_up {
            "; the account adds up"
        } else {
            "; THE ACCOUNT DOES NOT ADD UP"
        };
        f.write_str(sum)
    }
}
