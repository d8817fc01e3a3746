//! Packets that were lost below the stack, by the NIC's own counters.

use super::DeviceReport;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// Packets that a NIC lost for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NicDrops {
    /// The device.
    pub device: String,
    /// The counter's name, as `ethtool -S` lists it.
    pub counter: &'static str,
    /// How many.
    pub packets: u64,
    /// What happened, and what to do about it.
    pub explanation: &'static str,
}

/// What the kernel's counters of an XDP socket mean (`struct xdp_statistics`).
const EXPLAINED: [(&str, &str); 4] = [
    (
        "xdp_rx_fill_ring_empty_descs",
        "the kernel found no frame to receive into: the CPU is late, or applications hold the frames; longer rings, more frames or more CPUs help",
    ),
    (
        "xdp_rx_ring_full",
        "the kernel found the ring of received packets full: the CPU is late; a longer ring or more CPUs help",
    ),
    (
        "xdp_rx_invalid_descs",
        "the kernel refused frames that were posted to be received into: a defect here, please report it",
    ),
    (
        "xdp_tx_invalid_descs",
        "the kernel refused packets that were posted to be sent: a defect here, please report it",
    ),
];

pub(super) fn gather(devices: &[DeviceReport]) -> Vec<NicDrops> {
    let all = devices.iter().flat_map(|device| {
        EXPLAINED.iter().map(|&(counter, explanation)| NicDrops {
            device: device.name.clone(),
            counter,
            packets: device.ethtool.value(counter),
            explanation,
        })
    });
    all.filter(|drops| drops.packets > 0).collect()
}

impl Display for NicDrops {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            counter,
            packets,
            explanation,
        } = self;
        write!(f, "{packets:>10} {counter} of {device}: {explanation}")
    }
}
