//! The chip's statistics registers (13.7), which are cleared by reading.

use crate::chip::Chip;
use crate::shared::SoftCounters;
use core::sync::atomic::{AtomicU64, Ordering};
use softnet_nic_hal::NicStats;
use softnet_nic_hal::bus::PciDevice;

/// One counter of the chip: 32 bits, or 64 bits in two words of which the low
/// one is read first ("Good Octets Received Count").
#[derive(Clone, Copy, Debug)]
struct Source {
    register: u32,
    wide: bool,
}

const fn narrow(register: u32) -> Source {
    Source {
        register,
        wide: false,
    }
}

const fn wide(register: u32) -> Source {
    Source {
        register,
        wide: true,
    }
}

/// The chip's counters that are harvested; the names are the manual's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hw {
    Crcerrs,
    Algnerrc,
    Rxerrc,
    Mpc,
    Scc,
    Ecol,
    Mcc,
    Latecol,
    Colc,
    Dc,
    Tncrs,
    Cexterr,
    Rlec,
    Xonrxc,
    Xontxc,
    Xoffrxc,
    Xofftxc,
    Gprc,
    Bprc,
    Mprc,
    Gptc,
    Gorc,
    Gotc,
    Rnbc,
    Ruc,
    Roc,
    Mgtprc,
    Mgtpdc,
    Mgtptc,
    Mptc,
    Bptc,
    Tsctc,
    Tsctfc,
}

/// In the order of [`Hw`].
const SOURCES: [Source; 33] = [
    narrow(0x4000),
    narrow(0x4004),
    narrow(0x400c),
    narrow(0x4010),
    narrow(0x4014),
    narrow(0x4018),
    narrow(0x401c),
    narrow(0x4020),
    narrow(0x4028),
    narrow(0x4030),
    narrow(0x4034),
    narrow(0x403c),
    narrow(0x4040),
    narrow(0x4048),
    narrow(0x404c),
    narrow(0x4050),
    narrow(0x4054),
    narrow(0x4074),
    narrow(0x4078),
    narrow(0x407c),
    narrow(0x4080),
    wide(0x4088),
    wide(0x4090),
    narrow(0x40a0),
    narrow(0x40a4),
    narrow(0x40ac),
    narrow(0x40b4),
    narrow(0x40b8),
    narrow(0x40bc),
    narrow(0x40f0),
    narrow(0x40f4),
    narrow(0x40f8),
    narrow(0x40fc),
];

/// The chip's counters, added up since the driver was bound.
#[derive(Debug)]
pub(crate) struct HwCounters([AtomicU64; SOURCES.len()]);

impl HwCounters {
    pub(crate) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; SOURCES.len()])
    }

    /// Adds what the chip has counted since the last harvest. The caller sees to
    /// it that only one harvest is under way, and that the device is there: all
    /// ones are not a count.
    pub(crate) fn harvest<P: PciDevice>(&self, chip: &Chip<P>) {
        for (sum, source) in self.0.iter().zip(SOURCES) {
            let low = u64::from(chip.read(source.register));
            let high = if source.wide {
                u64::from(chip.read(source.register + 4))
            } else {
                0
            };
            sum.fetch_add(high << 32 | low, Ordering::Relaxed);
        }
    }

    /// Reads the chip's counters and forgets them.
    pub(crate) fn discard<P: PciDevice>(chip: &Chip<P>) {
        Self::new().harvest(chip);
    }

    fn value(&self, counter: Hw) -> u64 {
        self.0
            .get(counter as usize)
            .map_or(0, |sum| sum.load(Ordering::Relaxed))
    }
}

/// Both halves of the statistics: what the chip counts and what the rings do.
pub(crate) struct Statistics<'a> {
    pub(crate) hw: &'a HwCounters,
    pub(crate) soft: &'a SoftCounters,
}

impl Statistics<'_> {
    fn soft(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    fn rx_length_errors(&self) -> u64 {
        self.hw.value(Hw::Ruc) + self.hw.value(Hw::Roc) + Self::soft(&self.soft.rx_length_errors)
    }

    fn rx_errors(&self) -> u64 {
        let chip = [Hw::Rxerrc, Hw::Crcerrs, Hw::Algnerrc, Hw::Cexterr];
        let chip: u64 = chip.into_iter().map(|counter| self.hw.value(counter)).sum();
        chip + self.rx_length_errors() + Self::soft(&self.soft.rx_errors)
    }

    fn tx_errors(&self) -> u64 {
        let chip = [Hw::Ecol, Hw::Latecol];
        chip.into_iter().map(|counter| self.hw.value(counter)).sum()
    }

    pub(crate) fn add_to(&self, out: &mut NicStats) {
        out.rx_packets += Self::soft(&self.soft.rx_packets);
        out.rx_bytes += Self::soft(&self.soft.rx_bytes);
        out.tx_packets += Self::soft(&self.soft.tx_packets);
        out.tx_bytes += Self::soft(&self.soft.tx_bytes);
        out.rx_errors += self.rx_errors();
        out.tx_errors += self.tx_errors();
        out.tx_dropped += Self::soft(&self.soft.tx_dropped);
        out.multicast += self.hw.value(Hw::Mprc);
        out.rx_length_errors += self.rx_length_errors();
        out.rx_crc_errors += self.hw.value(Hw::Crcerrs);
        out.rx_missed_errors += self.hw.value(Hw::Mpc);
        out.tx_timeouts += Self::soft(&self.soft.tx_timeouts);
    }

    /// The names are those that `ethtool -S` shows for Linux's e1000.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let soft = [
            ("tx_dropped", &self.soft.tx_dropped),
            ("tx_timeout_count", &self.soft.tx_timeouts),
            ("rx_csum_offload_good", &self.soft.rx_csum_good),
        ];
        for (name, counter) in NAMES {
            visit(name, self.hw.value(counter));
        }
        visit("rx_errors", self.rx_errors());
        visit("tx_errors", self.tx_errors());
        visit("rx_length_errors", self.rx_length_errors());
        for (name, counter) in soft {
            visit(name, Self::soft(counter));
        }
    }
}

const NAMES: [(&str, Hw); 33] = [
    ("rx_packets", Hw::Gprc),
    ("tx_packets", Hw::Gptc),
    ("rx_bytes", Hw::Gorc),
    ("tx_bytes", Hw::Gotc),
    ("rx_broadcast", Hw::Bprc),
    ("tx_broadcast", Hw::Bptc),
    ("rx_multicast", Hw::Mprc),
    ("tx_multicast", Hw::Mptc),
    ("collisions", Hw::Colc),
    ("rx_crc_errors", Hw::Crcerrs),
    ("rx_frame_errors", Hw::Algnerrc),
    ("rx_no_buffer_count", Hw::Rnbc),
    ("rx_missed_errors", Hw::Mpc),
    ("tx_aborted_errors", Hw::Ecol),
    ("tx_carrier_errors", Hw::Tncrs),
    ("tx_window_errors", Hw::Latecol),
    ("tx_deferred_ok", Hw::Dc),
    ("tx_single_coll_ok", Hw::Scc),
    ("tx_multi_coll_ok", Hw::Mcc),
    ("rx_long_length_errors", Hw::Roc),
    ("rx_short_length_errors", Hw::Ruc),
    ("rx_in_length_errors", Hw::Rlec),
    ("rx_phy_errors", Hw::Rxerrc),
    ("rx_extension_errors", Hw::Cexterr),
    ("tx_tcp_seg_good", Hw::Tsctc),
    ("tx_tcp_seg_failed", Hw::Tsctfc),
    ("rx_flow_control_xon", Hw::Xonrxc),
    ("rx_flow_control_xoff", Hw::Xoffrxc),
    ("tx_flow_control_xon", Hw::Xontxc),
    ("tx_flow_control_xoff", Hw::Xofftxc),
    ("rx_smbus", Hw::Mgtprc),
    ("tx_smbus", Hw::Mgtptc),
    ("dropped_smbus", Hw::Mgtpdc),
];
