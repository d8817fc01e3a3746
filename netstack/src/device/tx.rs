//! Transmit queues: the ring of the NIC, a batch before it, and a bounded
//! first-in first-out queue (`pfifo`) for when the ring is full.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use softnet_dma_ring::{BATCH, DmaRing, Frame, FrameBatch, FrameCache, RingFull};
use softnet_softirq::Counter;

/// Packets that may wait for room in the ring (Linux's `txqueuelen`).
pub(crate) const TX_QUEUE_LEN: usize = 1000;

/// A transmit queue, seen from one CPU.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost each packet another cache line"
)]
pub(crate) enum TxSlot {
    /// This CPU owns the ring.
    Own(TxQueue),
    /// That CPU owns the ring; frames are handed over to it.
    Remote { cpu: usize },
    /// There is no ring: what is sent is received.
    Loopback,
}

/// Counters of one transmit queue.
#[derive(Debug, Default)]
pub struct TxStats {
    /// Packets taken for the ring.
    pub packets: Counter,
    /// Bytes of those.
    pub bytes: Counter,
    /// Times the ring was full, so that packets had to wait.
    pub requeues: Counter,
}

/// A transmit queue whose ring this CPU owns.
pub(crate) struct TxQueue {
    ring: Box<dyn DmaRing>,
    /// Gathered for one post at the end of the pass.
    batch: FrameBatch,
    /// Waiting for room in the ring.
    waiting: VecDeque<Frame>,
    /// Posted and not yet reaped.
    in_flight: usize,
    stats: Arc<TxStats>,
}

impl TxQueue {
    pub(crate) fn new(ring: Box<dyn DmaRing>, stats: Arc<TxStats>) -> Self {
        Self {
            ring,
            batch: FrameBatch::new(),
            waiting: VecDeque::with_capacity(TX_QUEUE_LEN),
            in_flight: 0,
            stats,
        }
    }

    /// Takes a frame for the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// Gives the frame back when the queue is full.
    #[inline]
    pub(crate) fn enqueue(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.batch.is_full() {
            self.flush();
        }
        let len = frame.len() as u64;
        if let Err(full) = self.batch.try_push(frame) {
            return Err(full.element());
        }
        self.stats.packets.add(1);
        self.stats.bytes.add(len);
        Ok(())
    }

    /// Posts what was gathered, and tells the NIC.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if self.waiting.is_empty() {
            self.in_flight += self.ring.post_from(&mut self.batch);
            if !self.batch.is_empty() {
                self.requeue();
            }
        } else {
            self.requeue();
            self.drain_waiting();
        }
        self.ring.kick();
    }

    /// Moves as much of the batch as fits into the waiting queue. What does not
    /// fit stays in the batch, so that `enqueue` refuses the next.
    #[cold]
    fn requeue(&mut self) {
        self.stats.requeues.add(1);
        let room = TX_QUEUE_LEN - self.waiting.len();
        let take = room.min(self.batch.len());
        self.waiting.extend(self.batch.drain(..take));
    }

    #[cold]
    fn drain_waiting(&mut self) {
        while let Some(frame) = self.waiting.pop_front() {
            if let Err(RingFull(frame)) = self.ring.post(frame) {
                self.waiting.push_front(frame);
                return;
            }
            self.in_flight += 1;
        }
    }

    /// Takes back what the NIC has sent, and posts what waited for room.
    #[inline]
    pub(crate) fn clean(&mut self, cache: &mut FrameCache) {
        if self.in_flight == 0 {
            return;
        }
        let mut sent = FrameBatch::new();
        loop {
            let count = self.ring.reap_into(&mut sent, BATCH);
            self.in_flight -= count.min(self.in_flight);
            for frame in sent.drain(..) {
                cache.free(frame);
            }
            if count < BATCH {
                break;
            }
        }
        if !self.waiting.is_empty() {
            self.drain_waiting();
            // What did not fit behind those that waited stayed in the batch.
            self.flush();
            self.ring.kick();
        }
    }

    /// Whether nothing is gathered, waits, or is with the NIC.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.batch.is_empty() && self.waiting.is_empty()
    }

    /// Gives up the ring, and with it what the NIC holds. Returns the packets
    /// that will not be sent any more.
    pub(crate) fn into_unsent(self) -> impl Iterator<Item = Frame> {
        self.waiting.into_iter().chain(self.batch)
    }
}
