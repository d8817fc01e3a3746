//! The chip's statistics registers (8.19), which are cleared by reading, and
//! what the rings count.

use crate::chip::Chip;
use crate::family::Family;
use crate::queue::{Queue, SoftCounters, count};
use crate::regs::queue::RQDPC;
use alloc::sync::Arc;
use alloc::vec::Vec;
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

/// The chip's counters that are harvested; the names are the datasheet's.
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
    Rfc,
    Roc,
    Rjc,
    Mngprc,
    Mngpdc,
    Mngptc,
    Mptc,
    Bptc,
    Tsctc,
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
    narrow(0x40a8),
    narrow(0x40ac),
    narrow(0x40b0),
    narrow(0x40b4),
    narrow(0x40b8),
    narrow(0x40bc),
    narrow(0x40f0),
    narrow(0x40f4),
    narrow(0x40f8),
];

/// Bits of RQDPC that count.
const DROPS: u32 = 0xfff;

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

/// Adds what a queue's register has counted. The 82576 clears it by the read,
/// the I210 wants it written.
pub(crate) fn harvest_queue<P: PciDevice>(chip: &Chip<P>, queue: &Queue<P>) {
    let register = queue.rx.register(RQDPC);
    let drops = chip.read(register);
    if chip.family == Family::I210 && drops != 0 {
        chip.write(register, 0);
    }
    count(&queue.counters.rx_drops, u64::from(drops & DROPS));
}

/// Both halves of the statistics: what the chip counts and what the rings do.
pub(crate) struct Statistics<'a, P: PciDevice> {
    pub(crate) hw: &'a HwCounters,
    pub(crate) queues: Vec<&'a Arc<Queue<P>>>,
    pub(crate) tx_timeouts: u64,
}

impl<P: PciDevice> Statistics<'_, P> {
    /// The sum of a counter over all queues.
    fn sum(&self, counter: impl Fn(&SoftCounters) -> &AtomicU64) -> u64 {
        let value = |queue: &&Arc<Queue<P>>| counter(&queue.counters).load(Ordering::Relaxed);
        self.queues.iter().map(value).sum()
    }

    fn hw(&self, counters: &[Hw]) -> u64 {
        let values = counters.iter().map(|&counter| self.hw.value(counter));
        values.sum()
    }

    fn rx_length_errors(&self) -> u64 {
        let chip = self.hw(&[Hw::Ruc, Hw::Rfc, Hw::Roc, Hw::Rjc, Hw::Rlec]);
        chip + self.sum(|soft| &soft.rx_length_errors)
    }

    fn rx_errors(&self) -> u64 {
        let chip = self.hw(&[Hw::Rxerrc, Hw::Crcerrs, Hw::Algnerrc]);
        chip + self.rx_length_errors() + self.sum(|soft| &soft.rx_errors)
    }

    fn tx_errors(&self) -> u64 {
        self.hw(&[Hw::Ecol, Hw::Latecol])
    }

    /// For want of room in the packet buffer, or of a descriptor of the queue.
    fn rx_missed(&self) -> u64 {
        self.hw(&[Hw::Mpc]) + self.sum(|soft| &soft.rx_drops)
    }

    pub(crate) fn add_to(&self, out: &mut NicStats) {
        out.rx_packets += self.sum(|soft| &soft.rx_packets);
        out.rx_bytes += self.sum(|soft| &soft.rx_bytes);
        out.tx_packets += self.sum(|soft| &soft.tx_packets);
        out.tx_bytes += self.sum(|soft| &soft.tx_bytes);
        out.rx_errors += self.rx_errors();
        out.tx_errors += self.tx_errors();
        out.tx_dropped += self.sum(|soft| &soft.tx_dropped);
        out.multicast += self.hw.value(Hw::Mprc);
        out.rx_length_errors += self.rx_length_errors();
        out.rx_crc_errors += self.hw.value(Hw::Crcerrs);
        out.rx_missed_errors += self.rx_missed();
        out.tx_timeouts += self.tx_timeouts;
    }

    /// The names are those that `ethtool -S` shows for Linux's igb.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        for (name, counter) in NAMES {
            visit(name, self.hw.value(counter));
        }
        let soft = [
            ("tx_timeout_count", self.tx_timeouts),
            (
                "tx_hwtstamp_timeouts",
                self.sum(|soft| &soft.tx_stamp_timeouts),
            ),
            (
                "tx_hwtstamp_skipped",
                self.sum(|soft| &soft.tx_stamp_skipped),
            ),
            ("rx_errors", self.rx_errors()),
            ("tx_errors", self.tx_errors()),
            ("tx_dropped", self.sum(|soft| &soft.tx_dropped)),
            ("rx_length_errors", self.rx_length_errors()),
            ("rx_fifo_errors", self.sum(|soft| &soft.rx_drops)),
            ("rx_csum_offload_good", self.sum(|soft| &soft.rx_csum_good)),
            ("rx_csum_offload_errors", self.sum(|soft| &soft.rx_csum_bad)),
        ];
        soft.into_iter()
            .for_each(|(name, value)| visit(name, value));
        self.visit_queues(visit);
    }

    fn visit_queues(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        for (queue, names) in self.queues.iter().zip(QUEUE_NAMES) {
            let soft = &queue.counters;
            let counters = [
                &soft.tx_packets,
                &soft.tx_bytes,
                &soft.rx_packets,
                &soft.rx_bytes,
                &soft.rx_drops,
                &soft.rx_csum_bad,
            ];
            for (name, counter) in names.into_iter().zip(counters) {
                visit(name, counter.load(Ordering::Relaxed));
            }
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
    ("rx_fragments", Hw::Rfc),
    ("rx_jabbers", Hw::Rjc),
    ("rx_align_errors", Hw::Algnerrc),
    ("rx_phy_errors", Hw::Rxerrc),
    ("rx_in_length_errors", Hw::Rlec),
    ("tx_tcp_seg_good", Hw::Tsctc),
    ("rx_flow_control_xon", Hw::Xonrxc),
    ("rx_flow_control_xoff", Hw::Xoffrxc),
    ("tx_flow_control_xon", Hw::Xontxc),
    ("tx_flow_control_xoff", Hw::Xofftxc),
    ("tx_smbus", Hw::Mngptc),
    ("rx_smbus", Hw::Mngprc),
    ("dropped_smbus", Hw::Mngpdc),
];

/// The names of one queue's counters.
macro_rules! queue_names {
    ($($queue:literal)*) => {
        [$([
            concat!("tx_queue_", $queue, "_packets"),
            concat!("tx_queue_", $queue, "_bytes"),
            concat!("rx_queue_", $queue, "_packets"),
            concat!("rx_queue_", $queue, "_bytes"),
            concat!("rx_queue_", $queue, "_drops"),
            concat!("rx_queue_", $queue, "_csum_err"),
        ]),*]
    };
}

const QUEUE_NAMES: [[&str; 6]; 16] = queue_names!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
