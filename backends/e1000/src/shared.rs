//! What the control plane, the rings and the interrupt handler share.
//!
//! The packet path takes no lock: what it touches is atomic or constant. The
//! descriptor memory lives as long as the NIC, at its full length, so that an
//! unmask can look at the descriptors without asking whether the NIC is open.

use crate::chip::Chip;
use crate::regs::{self, Cause, Rctl, Tctl};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use softnet_nic_hal::bus::{BusError, CoherentMemory, PciDevice};
use spin::Mutex;

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR: usize = 16;
/// Longest ring, in descriptors.
pub(crate) const MAX_RING: u16 = 4096;
/// Shortest ring, and the step between lengths: RDLEN and TDLEN count in units
/// of 128 bytes (13.4.27, 13.4.38).
pub(crate) const RING_STEP: u16 = 8;

/// Both kinds of descriptor have DD as bit 32 of their second word: it is the
/// lowest bit of their status (3.2.3, 3.3.3).
pub(crate) const DD: u64 = 1 << 32;

/// No descriptor is watched.
const NOTHING: u32 = u32::MAX;

/// One direction's descriptors.
pub(crate) struct Descriptors<M> {
    pub(crate) memory: M,
    /// The descriptor whose write-back the stack waits for next, so that an
    /// unmask can look whether it has come; `NOTHING` when nothing is posted.
    watched: AtomicU32,
}

impl<M: CoherentMemory> Descriptors<M> {
    fn new(memory: M) -> Self {
        Self {
            memory,
            watched: AtomicU32::new(NOTHING),
        }
    }

    /// Writes a descriptor: the buffer's address, and the word of length,
    /// command and status.
    #[inline(always)]
    pub(crate) fn describe(&self, at: usize, address: u64, word: u64) {
        self.memory.write_pair(at * DESCRIPTOR, [address, word]);
    }

    #[inline]
    pub(crate) fn status_word(&self, at: usize) -> u64 {
        self.memory.read_u64(at * DESCRIPTOR + 8)
    }

    #[inline]
    pub(crate) fn set_status_word(&self, at: usize, value: u64) {
        self.memory.write_u64(at * DESCRIPTOR + 8, value);
    }

    /// Names the descriptor that is waited for.
    #[inline]
    pub(crate) fn watch(&self, at: Option<usize>) {
        let at = at.map_or(NOTHING, |at| at as u32);
        self.watched.store(at, Ordering::Release);
    }

    /// Whether the descriptor that is waited for has been written back.
    fn pending(&self) -> bool {
        let at = self.watched.load(Ordering::Acquire);
        at != NOTHING && self.status_word(at as usize) & DD != 0
    }

    /// Zeroes the first `len` descriptors.
    pub(crate) fn clear(&self, len: u16) {
        self.watch(None);
        for at in 0..usize::from(len) {
            self.describe(at, 0, 0);
        }
    }
}

/// Counters that the rings keep. Each has one writer, its ring.
#[derive(Debug, Default)]
pub(crate) struct SoftCounters {
    pub(crate) rx_packets: AtomicU64,
    pub(crate) rx_bytes: AtomicU64,
    /// Descriptors that the device marked as bad.
    pub(crate) rx_errors: AtomicU64,
    /// Packets of no length, of more than a buffer, or of several buffers.
    pub(crate) rx_length_errors: AtomicU64,
    pub(crate) rx_csum_good: AtomicU64,
    pub(crate) tx_packets: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    /// Packets that the driver refused to send.
    pub(crate) tx_dropped: AtomicU64,
    pub(crate) tx_timeouts: AtomicU64,
}

/// Adds to a counter that only the caller writes.
#[inline]
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    // Not a read-modify-write: there is one writer.
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

pub(crate) struct Shared<P: PciDevice> {
    pub(crate) chip: Chip<P>,
    pub(crate) rx: Descriptors<P::Coherent>,
    pub(crate) tx: Descriptors<P::Coherent>,
    pub(crate) counters: SoftCounters,
    /// Odd while the NIC is open; a ring belongs to the session in which it was
    /// handed out, and refuses once the number has moved on.
    session: AtomicU32,
    /// CTRL.VME is set: tags are taken out and put in.
    tags: AtomicBool,
    /// Reports of sent packets wait for the timers of TIDV and TADV.
    delays_tx: AtomicBool,
    /// Whether the stack wants the queue's interrupt.
    armed: AtomicBool,
    /// The value of RCTL. Held while a unit is switched, so that a ring that is
    /// dropped while the NIC is stopped waits until the device has let go.
    units: Mutex<Rctl>,
}

impl<P: PciDevice> Shared<P> {
    pub(crate) fn new(chip: Chip<P>) -> Result<Self, BusError> {
        let len = usize::from(MAX_RING) * DESCRIPTOR;
        let rx = Descriptors::new(chip.device.alloc_coherent(len)?);
        let tx = Descriptors::new(chip.device.alloc_coherent(len)?);
        Ok(Self {
            chip,
            rx,
            tx,
            counters: SoftCounters::default(),
            session: AtomicU32::new(0),
            tags: AtomicBool::new(false),
            delays_tx: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            units: Mutex::new(Rctl::empty()),
        })
    }

    #[inline]
    pub(crate) fn session(&self) -> u32 {
        self.session.load(Ordering::Acquire)
    }

    pub(crate) fn tags(&self) -> bool {
        self.tags.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tags(&self, on: bool) {
        self.tags.store(on, Ordering::Relaxed);
    }

    pub(crate) fn delays_tx(&self) -> bool {
        self.delays_tx.load(Ordering::Relaxed)
    }

    pub(crate) fn set_delays_tx(&self, on: bool) {
        self.delays_tx.store(on, Ordering::Relaxed);
    }

    /// Begins a session, and switches both units on. Returns its number.
    pub(crate) fn start(&self, receive: Rctl) -> u32 {
        let mut units = self.units.lock();
        *units = Rctl::EN | Rctl::SECRC | receive;
        self.chip.write(regs::TCTL, Tctl::all().bits());
        self.chip.write(regs::RCTL, units.bits());
        self.session.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// Ends the session, and switches both units off.
    pub(crate) fn finish(&self) {
        let mut units = self.units.lock();
        self.session.fetch_add(1, Ordering::AcqRel);
        self.armed.store(false, Ordering::SeqCst);
        *units = Rctl::empty();
        self.chip.mask_all();
        self.chip.disable_units();
    }

    /// Changes which frames are accepted.
    pub(crate) fn set_filter(&self, filter: Rctl) {
        let mut units = self.units.lock();
        *units = units.difference(Rctl::FILTER) | filter;
        self.chip.write(regs::RCTL, units.bits());
    }

    /// Switches the receiver off, if it is still that of the session.
    pub(crate) fn disable_rx(&self, session: u32) {
        let mut units = self.units.lock();
        if self.session() == session {
            self.rx.watch(None);
            units.remove(Rctl::EN);
            self.chip.write(regs::RCTL, units.bits());
            self.chip.drain();
        }
    }

    /// Switches the transmitter off, if it is still that of the session.
    pub(crate) fn disable_tx(&self, session: u32) {
        let _units = self.units.lock();
        if self.session() == session {
            self.tx.watch(None);
            self.chip
                .write(regs::TCTL, Tctl::all().difference(Tctl::EN).bits());
            self.chip.drain();
        }
    }

    /// Keeps the queue from interrupting.
    pub(crate) fn mask(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.chip.write(regs::IMC, Cause::QUEUE.bits());
    }

    /// Lets the queue interrupt, at once if something is pending.
    ///
    /// A cause that is set in ICR fires when IMS is written (13.4.20). But the
    /// handler's read of ICR clears all causes, also those of frames that the
    /// stack then did not reap; for them nothing would ever fire. So the
    /// descriptors are looked at *after* IMS was written, and the cause is set
    /// again by ICS if one is waiting. A frame is then either written back
    /// before this look, and seen; or after it, and its own cause finds the
    /// mask open.
    pub(crate) fn unmask(&self) {
        if self.session() & 1 == 0 {
            return;
        }
        self.armed.store(true, Ordering::SeqCst);
        self.rearm();
    }

    /// Opens the mask of a queue that is armed.
    pub(crate) fn rearm(&self) {
        self.chip.write(regs::IMS, Cause::QUEUE.bits());
        if self.rx.pending() || self.tx.pending() {
            self.chip.write(regs::ICS, Cause::RXT0.bits());
        }
    }

    /// Whether the stack waits to be called.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }

    /// Takes the right to call the stack: true once for each unmask.
    pub(crate) fn disarm(&self) -> bool {
        self.armed.swap(false, Ordering::SeqCst)
    }
}
