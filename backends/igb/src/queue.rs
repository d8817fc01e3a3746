//! One queue, as the control plane, its rings and its interrupt share it.
//!
//! The packet path takes no lock: what it touches is atomic or constant. The
//! descriptor memory lives as long as the NIC, at its full length, so that an
//! unmask can look at the descriptors without asking whether the NIC is open.

use crate::regs::{self, QUEUE_STRIDE};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use softnet_nic_hal::bus::{BusError, CoherentMemory, PciDevice};

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR: usize = 16;
/// Longest ring, in descriptors.
pub(crate) const MAX_RING: u16 = 4096;
/// Shortest ring, and the step between lengths: RDLEN and TDLEN count in units
/// of 128 bytes (8.10.5, 8.12.8).
pub(crate) const RING_STEP: u16 = 8;

/// DD in the second word of a receive descriptor (7.1.5.2).
pub(crate) const RX_DD: u64 = 1;
/// DD in the second word of a transmit descriptor (7.2.2.3).
pub(crate) const TX_DD: u64 = 1 << 32;

/// No descriptor is watched.
const NOTHING: u32 = u32::MAX;
/// What is waited for has come, and no descriptor tells of it.
const HERE: u32 = u32::MAX - 1;

/// One direction's descriptors.
pub(crate) struct Descriptors<M> {
    pub(crate) memory: M,
    /// Where the direction's registers begin.
    registers: u32,
    /// The bit of the second word that says that the device is done.
    done: u64,
    /// The descriptor whose write-back the stack waits for next, so that an
    /// unmask can look whether it has come; `NOTHING` when nothing is posted.
    watched: AtomicU32,
}

impl<M: CoherentMemory> Descriptors<M> {
    fn new(memory: M, registers: u32, done: u64) -> Self {
        Self {
            memory,
            registers,
            done,
            watched: AtomicU32::new(NOTHING),
        }
    }

    /// The address of one of the direction's registers.
    #[inline]
    pub(crate) fn register(&self, offset: u32) -> u32 {
        self.registers + offset
    }

    /// Writes a descriptor.
    #[inline(always)]
    pub(crate) fn describe(&self, at: usize, words: [u64; 2]) {
        self.memory.write_pair(at * DESCRIPTOR, words);
    }

    /// Both words, of which the second says whether the first counts.
    #[inline(always)]
    pub(crate) fn words(&self, at: usize) -> [u64; 2] {
        self.memory.read_pair(at * DESCRIPTOR)
    }

    /// The second word, in which both kinds have their status.
    #[inline(always)]
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

    /// There is nothing to wait for: a frame is there to be reaped.
    pub(crate) fn watch_nothing_more(&self) {
        self.watched.store(HERE, Ordering::Release);
    }

    /// Whether the descriptor that is waited for has been written back.
    fn pending(&self) -> bool {
        match self.watched.load(Ordering::Acquire) {
            NOTHING => false,
            HERE => true,
            at => self.status_word(at as usize) & self.done != 0,
        }
    }

    /// Zeroes the first `len` descriptors.
    pub(crate) fn clear(&self, len: u16) {
        self.watch(None);
        for at in 0..usize::from(len) {
            self.describe(at, [0, 0]);
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
    pub(crate) rx_csum_bad: AtomicU64,
    pub(crate) tx_packets: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    /// Packets that the driver refused to send.
    pub(crate) tx_dropped: AtomicU64,
    /// Packets whose stamp did not come.
    pub(crate) tx_stamp_timeouts: AtomicU64,
    /// Packets that were not stamped since another one was.
    pub(crate) tx_stamp_skipped: AtomicU64,
    /// Packets that the chip dropped for want of a descriptor. Its one writer
    /// is the control plane.
    pub(crate) rx_drops: AtomicU64,
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

/// One pair of queues.
pub(crate) struct Queue<P: PciDevice> {
    pub(crate) rx: Descriptors<P::Coherent>,
    pub(crate) tx: Descriptors<P::Coherent>,
    pub(crate) counters: SoftCounters,
    /// Whether the stack wants the queue's interrupt.
    armed: AtomicBool,
    /// The bits that stand for the queue in the mask registers.
    bits: AtomicU32,
    /// Whether those bits are no other queue's too.
    alone: AtomicBool,
}

impl<P: PciDevice> Queue<P> {
    pub(crate) fn new(device: &P, number: u16) -> Result<Self, BusError> {
        let len = usize::from(MAX_RING) * DESCRIPTOR;
        let offset = u32::from(number) * QUEUE_STRIDE;
        let rx = device.alloc_coherent(len)?;
        let tx = device.alloc_coherent(len)?;
        Ok(Self {
            rx: Descriptors::new(rx, regs::RX_QUEUE + offset, RX_DD),
            tx: Descriptors::new(tx, regs::TX_QUEUE + offset, TX_DD),
            counters: SoftCounters::default(),
            armed: AtomicBool::new(false),
            bits: AtomicU32::new(0),
            alone: AtomicBool::new(false),
        })
    }

    /// Whether a frame that the device is done with was not reaped.
    #[inline]
    pub(crate) fn pending(&self) -> bool {
        self.rx.pending() || self.tx.pending()
    }

    /// Gives the queue its bits in the mask registers; nothing may be open.
    pub(crate) fn set_bits(&self, bits: u32, alone: bool) {
        self.armed.store(false, Ordering::SeqCst);
        self.bits.store(bits, Ordering::SeqCst);
        self.alone.store(alone, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn bits(&self) -> u32 {
        self.bits.load(Ordering::Relaxed)
    }

    /// The queue's vector, if queues have vectors of their own.
    pub(crate) fn vector(&self) -> u32 {
        self.bits().trailing_zeros()
    }

    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Takes the right to call the stack: true once for each unmask.
    #[inline]
    pub(crate) fn disarm(&self) -> bool {
        self.armed.swap(false, Ordering::SeqCst)
    }
}
