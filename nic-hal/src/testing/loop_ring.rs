//! The rings of a [`LoopNic`](super::LoopNic): descriptors as atomic words.
//!
//! A descriptor ring is an array of words and two free-running counters. The
//! stack writes words and then `tail` (on a kick); the device's side, which is
//! the port, writes a result into each word and then `completed`. Frames stay
//! on the stack's side, as on real hardware: the port reaches their bytes
//! through the pool's region alone, so that whatever the port does, a ring that
//! is dropped returns its frames.

use crate::nic::QueueId;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use softnet_dma_ring::{DmaRegion, DmaRing, Frame, FrameBatch, FrameCache, RingFull};
use std::sync::{Mutex, PoisonError};

/// A counter on a cache line of its own, since each has one writer.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

/// What the two sides of one ring share.
#[derive(Debug)]
pub(super) struct Descriptors {
    /// The stack writes `offset << 16 | length` of a buffer in the region; the
    /// port overwrites it with the length that it has received.
    words: Box<[AtomicU64]>,
    /// How many of the words are descriptors: there are more, up to a power of two,
    /// so that a mask finds the place of one.
    len: u16,
    /// Descriptors that the device may work on, counted from the start.
    tail: Counter,
    /// Descriptors that the device has finished, counted from the start.
    completed: Counter,
    /// Descriptors whose frames the stack has taken back.
    reaped: Counter,
    /// Whether the device holds the ring. The device works under the lock, and
    /// so whoever clears it knows that the device has let go.
    held: Mutex<bool>,
    /// The same, for the stack to look at without the lock.
    open: AtomicBool,
}

/// One descriptor, as the device sees it.
pub(super) struct Buffer {
    /// Offset in the pool's region, in bytes.
    pub(super) offset: usize,
    /// Bytes to send, or bytes that may be received.
    pub(super) len: usize,
}

impl Descriptors {
    fn new(len: u16) -> Self {
        let len = len.clamp(1, 1 << 15);
        Self {
            words: (0..len.next_power_of_two())
                .map(|_| AtomicU64::new(0))
                .collect(),
            len,
            tail: Counter::default(),
            completed: Counter::default(),
            reaped: Counter::default(),
            held: Mutex::new(true),
            open: AtomicBool::new(true),
        }
    }

    fn word(&self, count: u64) -> &AtomicU64 {
        &self.words[count as usize & (self.words.len() - 1)]
    }

    /// Whether frames wait for the stack to reap them.
    ///
    /// Sequentially consistent, as the port's store of `completed` is: an
    /// unmask that does not see a completion is seen by the one who completes.
    pub(super) fn pending(&self) -> bool {
        self.is_open()
            && self.completed.0.load(Ordering::SeqCst) != self.reaped.0.load(Ordering::Relaxed)
    }

    /// Whether the device has work that it has not finished.
    pub(super) fn has_work(&self) -> bool {
        self.is_open()
            && self.completed.0.load(Ordering::Relaxed) != self.tail.0.load(Ordering::Relaxed)
    }

    /// How far the device has come.
    pub(super) fn progress(&self) -> u64 {
        self.completed.0.load(Ordering::Relaxed)
    }

    /// Lets the device finish at most `max` descriptors: `work` is lent each,
    /// and returns the length that goes into it, or `None` to leave this one
    /// and all later ones alone. Returns how many were finished.
    pub(super) fn work(
        &self,
        max: usize,
        mut work: impl FnMut(Buffer) -> Option<usize>,
    ) -> Option<usize> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !*held {
            return None;
        }
        let start = self.completed.0.load(Ordering::Relaxed);
        // Acquire: pairs with the kick, so that words and bytes are there.
        let tail = self.tail.0.load(Ordering::Acquire);
        let mut at = start;
        while at != tail && at - start < max as u64 {
            let word = self.word(at);
            let posted = word.load(Ordering::Relaxed);
            let Some(len) = work(Buffer {
                offset: (posted >> 16) as usize,
                len: (posted & 0xffff) as usize,
            }) else {
                break;
            };
            word.store(len as u64, Ordering::Relaxed);
            at += 1;
        }
        // SeqCst: see `pending`; it publishes words and bytes too.
        self.completed.0.store(at, Ordering::SeqCst);
        Some((at - start) as usize)
    }

    /// Makes the device let go of the ring.
    pub(super) fn close(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.open.store(false, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

/// One queue of a NIC that is open.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) masked: AtomicBool,
    pub(super) rx: Arc<Descriptors>,
    pub(super) tx: Arc<Descriptors>,
}

impl Queue {
    pub(super) fn new(id: QueueId, rx_ring: u16, tx_ring: u16) -> Self {
        Self {
            id,
            masked: AtomicBool::new(true),
            rx: Arc::new(Descriptors::new(rx_ring)),
            tx: Arc::new(Descriptors::new(tx_ring)),
        }
    }

    pub(super) fn pending(&self) -> bool {
        self.rx.pending() || self.tx.pending()
    }
}

/// The stack's side of one ring.
#[derive(Debug)]
struct Ring {
    shared: Arc<Descriptors>,
    /// Where the pool's region starts, as devices see it.
    base: u64,
    slots: Box<[Option<Frame>]>,
    /// Frames posted and frames reaped, counted from the start.
    posted: u64,
    reaped: u64,
    /// `completed`, as last seen.
    seen: u64,
}

impl Ring {
    fn new(shared: Arc<Descriptors>, region: &DmaRegion) -> Self {
        let slots = shared.words.iter().map(|_| None).collect();
        Self {
            shared,
            base: region.dma_addr().0,
            slots,
            posted: 0,
            reaped: 0,
            seen: 0,
        }
    }

    fn free_slots(&self) -> usize {
        if self.shared.is_open() {
            usize::from(self.shared.len) - (self.posted - self.reaped) as usize
        } else {
            0
        }
    }

    #[inline(always)]
    fn post(&mut self, frame: Frame, len: usize) -> Result<(), RingFull<Frame>> {
        if self.free_slots() == 0 {
            return Err(RingFull(frame));
        }
        self.put(frame, len);
        Ok(())
    }

    /// Posts a frame for which there is a slot. If the device has let go of the
    /// ring since that was looked up, the frame goes home with the ring.
    #[inline(always)]
    fn put(&mut self, frame: Frame, len: usize) {
        let at = self.posted as usize & (self.slots.len() - 1);
        let word = word_of(&frame, self.base, len);
        keep(&mut self.slots[at], frame, &self.shared.words[at], word);
        self.posted += 1;
    }

    /// Posts `count` fresh frames, for which there are slots. Returns how many there
    /// were.
    fn put_each(&mut self, count: usize, cache: &mut FrameCache) -> usize {
        let (slots, words) = (&mut *self.slots, &*self.shared.words);
        let places = slots.len();
        // They are as many, and not none: said once for all accesses below.
        if places == 0 || words.len() != places {
            return 0;
        }
        let (base, mut at) = (self.base, self.posted);
        let taken = cache.alloc_each(count, |frame| {
            let place = at as usize & (places - 1);
            let word = word_of(&frame, base, frame.tailroom());
            keep(&mut slots[place], frame, &words[place], word);
            at += 1;
        });
        self.posted = at;
        taken
    }

    /// Whether a frame can be reaped.
    #[inline]
    fn has_finished(&mut self) -> bool {
        if self.seen == self.reaped {
            // Acquire: pairs with the port's store.
            self.seen = self.shared.completed.0.load(Ordering::Acquire);
        }
        self.seen != self.reaped && self.shared.is_open()
    }

    /// How many frames can be reaped, up to `max`.
    #[inline]
    fn finished(&mut self, max: usize) -> usize {
        if self.seen - self.reaped < max as u64 {
            // Acquire: pairs with the port's store.
            self.seen = self.shared.completed.0.load(Ordering::Acquire);
        }
        if self.shared.is_open() {
            max.min((self.seen - self.reaped) as usize)
        } else {
            0
        }
    }

    /// The oldest frame, if it is finished, and what the port has put into its
    /// descriptor.
    #[inline]
    fn take(&mut self) -> Option<(Frame, usize)> {
        if !self.has_finished() {
            return None;
        }
        let word = self.shared.word(self.reaped).load(Ordering::Relaxed);
        let at = self.reaped as usize & (self.slots.len() - 1);
        let frame = self.slots[at].take()?;
        self.reaped += 1;
        self.publish_reaped();
        Some((frame, word as usize))
    }

    /// Passes at most `max` finished frames to `take`, each with what the port has
    /// put into its descriptor. Returns how many.
    #[inline]
    fn reap_each(&mut self, max: usize, mut take: impl FnMut(Frame, usize)) -> usize {
        let count = self.finished(max);
        let (slots, words) = (&mut *self.slots, &*self.shared.words);
        let places = slots.len();
        // They are as many, and not none: said once for all accesses below.
        if places == 0 || words.len() != places {
            return 0;
        }
        for at in self.reaped..self.reaped + count as u64 {
            let at = at as usize & (places - 1);
            if let Some(frame) = slots[at].take() {
                take(frame, words[at].load(Ordering::Relaxed) as usize);
            }
        }
        self.reaped += count as u64;
        self.publish_reaped();
        count
    }

    fn publish_reaped(&self) {
        self.shared.reaped.0.store(self.reaped, Ordering::Release);
    }

    fn kick(&self) {
        // Release: words and bytes come before the tail.
        self.shared.tail.0.store(self.posted, Ordering::Release);
    }
}

/// Writes a descriptor and keeps its frame.
#[inline(always)]
fn keep(slot: &mut Option<Frame>, frame: Frame, descriptor: &AtomicU64, word: u64) {
    descriptor.store(word, Ordering::Relaxed);
    // The slot is empty; saying so saves the look whether to drop.
    core::mem::forget(slot.replace(frame));
}

/// What a descriptor says of a frame, in a region that starts at `base`.
#[inline]
fn word_of(frame: &Frame, base: u64, len: usize) -> u64 {
    // An address of another region wraps to an offset far outside of this one, which
    // the port then finds unmapped.
    let offset = frame.dma_addr().0.wrapping_sub(base);
    offset << 16 | len.min(0xffff) as u64
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The receive ring of a [`LoopNic`](super::LoopNic).
#[derive(Debug)]
pub struct LoopRx(Ring);

/// The transmit ring of a [`LoopNic`](super::LoopNic).
#[derive(Debug)]
pub struct LoopTx {
    ring: Ring,
    /// It fills in transport checksums.
    sums: bool,
    /// The packet of the last frame goes on in the next.
    inside: bool,
}

impl LoopRx {
    pub(super) fn new(queue: &Queue, region: &DmaRegion) -> Self {
        Self(Ring::new(queue.rx.clone(), region))
    }
}

impl LoopTx {
    pub(super) fn new(queue: &Queue, region: &DmaRegion, sums: bool) -> Self {
        let ring = Ring::new(queue.tx.clone(), region);
        let inside = false;
        Self { ring, sums, inside }
    }
}

impl DmaRing for LoopRx {
    #[inline]
    fn post(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        let _ = frame.set_len(0);
        let room = frame.tailroom();
        self.0.post(frame, room)
    }

    #[inline]
    fn reap(&mut self) -> Option<Frame> {
        let (mut frame, len) = self.0.take()?;
        // The port does not write more than the frame holds.
        let _ = frame.set_len(len);
        Some(frame)
    }

    fn kick(&mut self) {
        self.0.kick();
    }

    fn free_slots(&self) -> usize {
        self.0.free_slots()
    }

    #[inline]
    fn refill(&mut self, cache: &mut FrameCache) -> bool {
        let missing = self.0.free_slots();
        let posted = self.0.put_each(missing, cache);
        self.0.kick();
        posted == missing
    }

    #[inline]
    fn reap_each(&mut self, max: usize, mut take: impl FnMut(Frame)) -> usize {
        self.0.reap_each(max, |mut frame, len| {
            // The port does not write more than the frame holds.
            let _ = frame.set_len(len);
            take(frame);
        })
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        let max = max.min(out.remaining_capacity());
        self.reap_each(max, |frame| out.push(frame))
    }
}

impl LoopTx {
    /// What a descriptor says of a packet: nothing, when the packet asks for an
    /// offload that there is not, so that the port drops it.
    #[inline]
    fn wire_len(&mut self, frame: &mut Frame) -> usize {
        let goes_on = core::mem::replace(&mut self.inside, frame.continues());
        if goes_on || self.inside || frame.gso_size().is_some() {
            return 0;
        }
        let offloaded = frame.tx_checksum().is_some() || frame.vlan_tci().is_some();
        if offloaded && !(self.sums && sum(frame)) {
            return 0;
        }
        frame.len()
    }
}

/// Fills in the checksum that a packet leaves to the device (RFC 1071), if it is
/// inside of the packet and all that the packet asks for.
#[cold]
fn sum(frame: &mut Frame) -> bool {
    let (Some(request), None) = (frame.tx_checksum(), frame.vlan_tci()) else {
        return false;
    };
    let start = usize::from(request.start);
    let Some(bytes) = frame.data_mut().get_mut(start..) else {
        return false;
    };
    let of_byte = |(at, &byte): (usize, &u8)| u32::from(byte) << (8 * ((at + 1) % 2));
    let mut sum: u32 = bytes.iter().enumerate().map(of_byte).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // UDP's zero says that there is no checksum (RFC 768).
    let checksum = if sum == 0xffff { sum } else { !sum } as u16;
    let place = bytes.get_mut(usize::from(request.offset)..);
    let place = place.and_then(|place| place.first_chunk_mut());
    place.map(|place| *place = checksum.to_be_bytes()).is_some()
}

impl DmaRing for LoopTx {
    #[inline]
    fn post(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.ring.free_slots() == 0 {
            return Err(RingFull(frame));
        }
        let len = self.wire_len(&mut frame);
        self.ring.put(frame, len);
        Ok(())
    }

    fn post_from(&mut self, batch: &mut FrameBatch) -> usize {
        let take = batch.len().min(self.ring.free_slots());
        for mut frame in batch.drain(..take) {
            let len = self.wire_len(&mut frame);
            self.ring.put(frame, len);
        }
        take
    }

    #[inline]
    fn reap(&mut self) -> Option<Frame> {
        self.ring.take().map(|(frame, _)| frame)
    }

    fn kick(&mut self) {
        self.ring.kick();
    }

    fn free_slots(&self) -> usize {
        self.ring.free_slots()
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        let max = max.min(out.remaining_capacity());
        self.ring.reap_each(max, |frame, _| out.push(frame))
    }

    fn reap_home(&mut self, cache: &mut FrameCache) -> usize {
        self.ring
            .reap_each(usize::MAX, |frame, _| cache.free(frame))
    }
}
