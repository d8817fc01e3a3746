//! Fill and RX ring as the receive ring of a queue.

use super::cell::{Cell, RxHalf};
use super::table::{Layout, Table};
use super::{Descriptor, RxChecksum, RxQueue, TxQueue, Wake};
use crate::sync::{Ordering, fence};
use arrayvec::ArrayVec;
use softnet_dma_ring::{BATCH, DmaRing, Frame, FrameBatch, FrameCache, FramePool, RingFull};
use std::fmt;
use std::sync::Arc;

/// What is done with received packets.
#[derive(Clone, Debug)]
pub struct RxPolicy {
    /// The UMEM's pool. When the ring runs low and this pool is dry, packets are
    /// copied out.
    pub pool: FramePool,
    /// Where frames come from that a packet is copied into: one that is kept by a slow
    /// application, or one of several chunks. Without it neither is copied: the first
    /// goes up as it is, the second is dropped.
    pub side: Option<FramePool>,
    /// The ring runs low with fewer chunks than this in the kernel's hands.
    pub low: u32,
    /// Whether half-made checksums are accepted.
    pub checksum: RxChecksum,
}

/// Most chunks of one packet: the kernel's `MAX_SKB_FRAGS`, and the first.
pub(crate) const MAX_CHUNKS: usize = 18;

/// The receive ring of one queue.
pub struct RxRing<R: RxQueue, T: TxQueue> {
    cell: Arc<Cell<R, T>>,
    layout: Layout,
    policy: RxPolicy,
    len: usize,
    /// Frames that were posted and not reaped, wherever they are.
    outstanding: usize,
    /// Posted, and not in the fill ring yet.
    posts: FrameBatch,
    /// Received, and not reaped yet; the oldest is the last.
    ready: FrameBatch,
    /// Where the kernel's descriptors are copied to.
    descriptors: Box<[Descriptor; BATCH]>,
}

impl<R: RxQueue, T: TxQueue> RxRing<R, T> {
    pub(crate) fn new(cell: Arc<Cell<R, T>>, layout: Layout, policy: RxPolicy, len: u16) -> Self {
        Self {
            cell,
            layout,
            policy,
            len: usize::from(len),
            outstanding: 0,
            posts: FrameBatch::new(),
            ready: FrameBatch::new(),
            descriptors: Box::new([Descriptor::default(); BATCH]),
        }
    }

    /// Moves posted frames into the fill ring. Those that find no slot stay.
    fn flush(&mut self) {
        if let Some(mut half) = self.cell.rx.take() {
            half.fill(&mut self.posts);
        }
    }

    /// Takes received packets from the kernel into `ready`.
    #[inline]
    fn receive(&mut self) {
        let Some(mut half) = self.cell.rx.take() else {
            return;
        };
        if !half.queue.pending() {
            return;
        }
        // Before they are taken: who does not find them in the kernel's ring any more
        // finds this.
        self.cell.rx_left.store(1, Ordering::Relaxed);
        let count = half.queue.receive(&mut self.descriptors[..]);
        let mut batch = Received {
            half: &mut half,
            policy: &self.policy,
            counts: &self.cell.counts,
            ready: &mut self.ready,
            gone: 0,
            refill: FrameBatch::new(),
            copies_out: None,
            sum: Sum::default(),
        };
        for descriptor in self.descriptors.iter().take(count) {
            batch.take(*descriptor);
        }
        let gone = batch.finish();
        self.outstanding = self.outstanding.saturating_sub(gone);
        self.ready.reverse();
        self.note_left();
    }

    #[inline]
    fn note_left(&self) {
        let left = self.ready.len() as u32;
        self.cell.rx_left.store(left, Ordering::Relaxed);
    }
}

impl<R: RxQueue> RxHalf<R> {
    /// Fills with the frames at the front of `posts`, and removes them from it.
    fn fill(&mut self, posts: &mut FrameBatch) {
        let chunks: ArrayVec<u32, BATCH> = posts.iter().map(Frame::index).collect();
        // The table first: the kernel may be done with a chunk at once.
        for frame in posts.drain(..) {
            // Only frames of the UMEM are accepted by `post` and `refill`.
            self.table.keep(frame);
        }
        let filled = self.queue.fill(&chunks);
        for &chunk in chunks.iter().skip(filled) {
            posts.extend(self.table.take_chunk(chunk));
        }
    }
}

/// One batch of received descriptors on its way to `ready`.
struct Received<'a, R> {
    half: &'a mut RxHalf<R>,
    policy: &'a RxPolicy,
    counts: &'a super::cell::Counts,
    ready: &'a mut FrameBatch,
    /// Chunks that have left the ring.
    gone: usize,
    /// Chunks that go back to the kernel.
    refill: FrameBatch,
    /// Whether packets are copied out, once somebody has looked.
    copies_out: Option<bool>,
    sum: Sum,
}

/// What one batch adds to the counters.
#[derive(Default)]
struct Sum {
    packets: u64,
    bytes: u64,
    multicast: u64,
}

impl<R: RxQueue> Received<'_, R> {
    #[inline]
    fn take(&mut self, descriptor: Descriptor) {
        let held = self.half.table.held();
        let Some(frame) = framed(&mut self.half.table, descriptor) else {
            self.counts.rx_bad_descriptors.add(1);
            self.gone += (held - self.half.table.held()) as usize;
            return;
        };
        if descriptor.is_continued() || !self.half.partial.is_empty() {
            return self.take_part(frame, descriptor.is_continued());
        }
        if self.half.table.held() < self.policy.low && self.copies_out() {
            return self.copy_out(frame);
        }
        self.gone += 1;
        self.up(frame);
    }

    /// The packet goes up the stack.
    #[inline]
    fn up(&mut self, mut frame: Frame) {
        self.sum.packets += 1;
        self.sum.bytes += frame.len() as u64;
        self.sum.multicast += u64::from(is_multicast(frame.data()));
        self.policy.checksum.mark(&mut frame);
        self.ready.push(frame);
    }

    /// Whether the pool is dry, so that the chunk is better kept here.
    #[cold]
    fn copies_out(&mut self) -> bool {
        let policy = self.policy;
        *self
            .copies_out
            .get_or_insert_with(|| policy.side.is_some() && policy.pool.alloc().is_none())
    }

    #[cold]
    fn copy_out(&mut self, frame: Frame) {
        match self.copied(&[frame.data()], frame.len()) {
            Some(copy) => {
                self.counts.rx_copied_out.add(1);
                self.up(copy);
                self.recycle(frame);
            }
            None => {
                self.gone += 1;
                self.up(frame);
            }
        }
    }

    fn copied(&self, parts: &[&[u8]], len: usize) -> Option<Frame> {
        let mut copy = self.policy.side.as_ref()?.alloc()?;
        let mut room = copy.put(len)?;
        for part in parts {
            let (to, rest) = room.split_at_mut_checked(part.len())?;
            to.copy_from_slice(part);
            room = rest;
        }
        Some(copy)
    }

    /// One part of a packet of several chunks.
    #[cold]
    fn take_part(&mut self, frame: Frame, is_continued: bool) {
        if self.half.partial.len() < MAX_CHUNKS {
            self.half.partial.push(frame);
        } else {
            // Longer than any packet: the end of it is dropped, and so is the rest.
            self.recycle(frame);
        }
        if is_continued {
            return;
        }
        let parts = std::mem::take(&mut self.half.partial);
        let bytes: ArrayVec<&[u8], MAX_CHUNKS> = parts.iter().map(Frame::data).collect();
        let len = bytes.iter().map(|part| part.len()).sum();
        match self.copied(&bytes, len) {
            Some(whole) => {
                self.counts.rx_linearized.add(1);
                self.up(whole);
            }
            None => self.counts.rx_no_long_frame.add(1),
        }
        drop(bytes);
        self.half.partial = parts;
        for frame in std::mem::take(&mut self.half.partial) {
            self.recycle(frame);
        }
    }

    /// The chunk goes back to the kernel.
    fn recycle(&mut self, frame: Frame) {
        if self.refill.is_full() {
            self.half.fill(&mut self.refill);
        }
        match self.refill.try_push(frame) {
            Ok(()) => {}
            // It cannot be: there is a slot for each chunk of the ring.
            Err(_) => self.gone += 1,
        }
    }

    /// Returns how many chunks have left the ring.
    fn finish(mut self) -> usize {
        if !self.refill.is_empty() {
            self.half.fill(&mut self.refill);
        }
        self.counts.rx_packets.add(self.sum.packets);
        self.counts.rx_bytes.add(self.sum.bytes);
        self.counts.rx_multicast.add(self.sum.multicast);
        self.gone + self.refill.len()
    }
}

/// The frame that a descriptor means, with the packet as its data.
#[inline]
fn framed(table: &mut Table, descriptor: Descriptor) -> Option<Frame> {
    let (mut frame, offset) = table.remove(descriptor.addr)?;
    frame.reset(offset);
    frame.set_len(descriptor.len as usize).then_some(frame)
}

/// Whether a frame is for a group, and not for all.
#[inline]
fn is_multicast(frame: &[u8]) -> bool {
    let group = frame.first().is_some_and(|first| first & 1 != 0);
    group && !frame.starts_with(&[0xff; 6])
}

impl<R: RxQueue, T: TxQueue> DmaRing for RxRing<R, T> {
    #[inline]
    fn post(&mut self, frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.free_slots() == 0 || self.layout.addr_of(&frame).is_none() {
            return Err(RingFull(frame));
        }
        if self.posts.is_full() {
            self.flush();
        }
        self.posts
            .try_push(frame)
            .map_err(|full| RingFull(full.element()))?;
        self.outstanding += 1;
        Ok(())
    }

    #[inline]
    fn reap(&mut self) -> Option<Frame> {
        if self.ready.is_empty() {
            self.receive();
        }
        if !self.cell.is_open() {
            return None;
        }
        let frame = self.ready.pop()?;
        self.note_left();
        Some(frame)
    }

    /// As the provided one does, a batch at a time.
    fn refill(&mut self, cache: &mut FrameCache) -> bool {
        if !cache.pool().region().same_as(self.policy.pool.region()) {
            return self.free_slots() == 0;
        }
        loop {
            let missing = self.free_slots();
            if self.posts.is_full() {
                self.flush();
            }
            let want = missing.min(self.posts.remaining_capacity());
            let posts = &mut self.posts;
            // There is room for as many.
            let got = cache.alloc_each(want, |frame| posts.push(frame));
            self.outstanding += got;
            if got < want || want == 0 || want == missing {
                self.kick();
                return got == missing;
            }
        }
    }

    #[inline]
    fn reap_each(&mut self, max: usize, mut take: impl FnMut(Frame)) -> usize {
        let mut taken = 0;
        while taken < max {
            if self.ready.is_empty() {
                self.receive();
            }
            let run = self.ready.len().min(max - taken);
            if run == 0 || !self.cell.is_open() {
                break;
            }
            // Oldest first, which is the last.
            let from = self.ready.len() - run;
            self.ready.drain(from..).rev().for_each(&mut take);
            taken += run;
        }
        self.note_left();
        taken
    }

    fn kick(&mut self) {
        if self.posts.is_empty() {
            return;
        }
        let Some(mut half) = self.cell.rx.take() else {
            return;
        };
        half.fill(&mut self.posts);
        // The kernel sets its flag and then looks at the ring; the ring was filled
        // and then the flag is looked at: one of them sees the other.
        fence(Ordering::SeqCst);
        if half.queue.needs_wakeup() {
            self.cell.counts.rx_wakeups.add(1);
            // What cannot be woken now is woken by the next kick: the flag stays.
            let _: Wake = half.queue.wake();
        }
    }

    #[inline]
    fn free_slots(&self) -> usize {
        if self.cell.is_open() {
            self.len.saturating_sub(self.outstanding)
        } else {
            0
        }
    }
}

impl<R: RxQueue, T: TxQueue> Drop for RxRing<R, T> {
    fn drop(&mut self) {
        self.cell.rx_left.store(0, Ordering::Relaxed);
        self.cell.retire_rx();
    }
}

impl<R: RxQueue, T: TxQueue> fmt::Debug for RxRing<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxRing")
            .field("queue", &self.cell.id)
            .field("len", &self.len)
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}
