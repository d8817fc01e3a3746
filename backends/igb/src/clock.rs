//! The device's clock, its stamps, and how both relate to the stack's clock
//! (7.9.3, 8.16).
//!
//! The device keeps one stamp in each direction, until it is read.

use crate::chip::Chip;
use crate::regs;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use softnet_nic_hal::bus::PciDevice;

/// The clock counts 2^-19 nanoseconds: every 16 ns (period 1) it grows by
/// 16 << 19.
const SHIFT: u32 = 19;
const INCREMENT: u32 = 1 << 24 | 16 << SHIFT;

/// EtherType of the Precision Time Protocol (IEEE 1588-2008, annex F).
const PTP: u32 = 0x88f7;
/// The EType filter that is used for it.
const FILTER: u32 = 3;

/// Which packets are stamped on receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RxStamps {
    /// None.
    #[default]
    None,
    /// PTP version 2 over Ethernet whose first byte is this: transport-specific
    /// nibble and message type; 0 is a Sync.
    Ptp2(u8),
}

/// When the device's clock and the stack's were looked at together. Until then
/// stamps are in the device's own time, from the open on.
///
/// The two words are read as one by the rule of sequence locks: the count is odd
/// while they are written, by one writer.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    count: AtomicU32,
    device: AtomicU64,
    stack_ns: AtomicU64,
    /// Whether the device takes stamps.
    running: AtomicBool,
    /// A packet that is to be stamped is under way.
    stamping: AtomicBool,
}

impl Clock {
    /// Starts the clock and takes stamps of all packets that ask for it.
    pub(crate) fn start<P: PciDevice>(&self, chip: &Chip<P>, rx: RxStamps) {
        self.stamping.store(false, Ordering::Relaxed);
        let running = chip.family.has_timestamps();
        self.running.store(running, Ordering::Relaxed);
        if !running {
            return;
        }
        self.note(0, 0);
        chip.write(regs::TIMINCA, INCREMENT);
        chip.write(regs::SYSTIML, 0);
        chip.write(regs::SYSTIMH, 0);
        chip.write(regs::TSYNCTXCTL, regs::TSYNC_ENABLE);
        Self::set_rx_stamps(chip, rx);
        // What an earlier session has left there.
        stamp_of(chip, [regs::TXSTMPL, regs::TXSTMPH]);
        stamp_of(chip, [regs::RXSTMPL, regs::RXSTMPH]);
        free_rx(chip);
    }

    /// Chooses which received packets are stamped.
    pub(crate) fn set_rx_stamps<P: PciDevice>(chip: &Chip<P>, rx: RxStamps) {
        let (filter, control, config) = match rx {
            RxStamps::None => (0, 0, 0),
            RxStamps::Ptp2(first) => (
                PTP | regs::ETQF_ENABLE | regs::ETQF_1588,
                regs::TSYNC_ENABLE,
                u32::from(first) << 8,
            ),
        };
        chip.write(regs::TSYNCRXCFG, config);
        chip.write(regs::ETQF + 4 * FILTER, filter);
        chip.write(regs::TSYNCRXCTL, control);
    }

    /// Looks at both clocks. The caller holds the control plane's lock.
    pub(crate) fn synchronize<P: PciDevice>(&self, chip: &Chip<P>, now_ns: u64) {
        if self.running.load(Ordering::Relaxed) {
            self.note(stamp_of(chip, [regs::SYSTIML, regs::SYSTIMH]), now_ns);
        }
    }

    fn note(&self, device: u64, now_ns: u64) {
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.device.store(device, Ordering::Relaxed);
        self.stack_ns.store(now_ns, Ordering::Relaxed);
        self.count.store(count.wrapping_add(2), Ordering::Release);
    }

    /// A stamp in the stack's time; `None` while a look at the clocks is being
    /// noted.
    fn stack_time(&self, stamp: u64) -> Option<u64> {
        let count = self.count.load(Ordering::Acquire);
        let device = self.device.load(Ordering::Relaxed);
        let stack_ns = self.stack_ns.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let same = count == self.count.load(Ordering::Relaxed);
        let since = (stamp.wrapping_sub(device) as i64) >> SHIFT;
        // 0 would mean that there is none.
        let time = stack_ns.saturating_add_signed(since).max(1);
        (same && count & 1 == 0).then_some(time)
    }

    /// The stamp of the packet that was received, in the stack's time.
    pub(crate) fn take_rx<P: PciDevice>(&self, chip: &Chip<P>) -> Option<u64> {
        if chip.read(regs::TSYNCRXCTL) & regs::TSYNC_VALID == 0 {
            return None;
        }
        let stamp = stamp_of(chip, [regs::RXSTMPL, regs::RXSTMPH]);
        free_rx(chip);
        self.stack_time(stamp)
    }

    /// Reserves the stamp for a packet that is about to be sent; false while it
    /// is another one's, and where there is none.
    pub(crate) fn begin_tx(&self) -> bool {
        self.running.load(Ordering::Relaxed) && !self.stamping.swap(true, Ordering::Acquire)
    }

    /// The packet will not be sent.
    pub(crate) fn end_tx(&self) {
        self.stamping.store(false, Ordering::Release);
    }

    /// The stamp of the packet that was sent, in the stack's time.
    pub(crate) fn take_tx<P: PciDevice>(&self, chip: &Chip<P>) -> Option<u64> {
        let valid = chip.read(regs::TSYNCTXCTL) & regs::TSYNC_VALID != 0;
        let stamp = valid.then(|| stamp_of(chip, [regs::TXSTMPL, regs::TXSTMPH]));
        self.end_tx();
        self.stack_time(stamp?)
    }
}

/// A clock's or a stamp's two words, the low one first.
fn stamp_of<P: PciDevice>(chip: &Chip<P>, [low, high]: [u32; 2]) -> u64 {
    let low = u64::from(chip.read(low));
    u64::from(chip.read(high)) << 32 | low
}

/// Lets the next received packet be stamped.
fn free_rx<P: PciDevice>(chip: &Chip<P>) {
    chip.read(regs::RXSATRH);
}
