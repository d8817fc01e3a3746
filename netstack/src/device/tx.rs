//! Transmit queues: the ring of the NIC, and a bounded first-in first-out queue
//! (`pfifo`) for when the ring is full.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use softnet_dma_ring::{DmaRing, Frame, FrameCache, RingFull};
use softnet_softirq::Counter;

/// Packets that may wait for room in the ring (Linux's `txqueuelen`).
pub(crate) const TX_QUEUE_LEN: usize = 1000;

/// A transmit queue, seen from one CPU.
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
    /// Waiting for room in the ring.
    waiting: VecDeque<Frame>,
    /// Taken and not yet reaped.
    pending: usize,
    stats: Arc<TxStats>,
}

impl TxQueue {
    pub(crate) fn new(ring: Box<dyn DmaRing>, stats: Arc<TxStats>) -> Self {
        Self {
            ring,
            waiting: VecDeque::with_capacity(TX_QUEUE_LEN),
            pending: 0,
            stats,
        }
    }

    /// Takes a frame. The NIC hears of it at the next [`kick`](Self::kick).
    ///
    /// # Errors
    /// Gives the frame back when the queue is full.
    #[inline]
    pub(crate) fn enqueue(&mut self, frame: Frame) -> Result<(), Frame> {
        let len = frame.len() as u64;
        let refused = if self.waiting.is_empty() {
            self.ring.post(frame)
        } else {
            Err(RingFull(frame))
        };
        if let Err(RingFull(frame)) = refused {
            self.wait(frame)?;
        }
        self.pending += 1;
        self.stats.packets.add(1);
        self.stats.bytes.add(len);
        Ok(())
    }

    /// Has a frame wait for room in the ring.
    #[cold]
    fn wait(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.waiting.len() == TX_QUEUE_LEN {
            return Err(frame);
        }
        self.stats.requeues.add(1);
        self.waiting.push_back(frame);
        Ok(())
    }

    /// Tells the NIC of all that was taken.
    #[inline]
    pub(crate) fn kick(&mut self) {
        self.ring.kick();
    }

    #[cold]
    fn post_waiting(&mut self) {
        while let Some(frame) = self.waiting.pop_front() {
            if let Err(RingFull(frame)) = self.ring.post(frame) {
                self.waiting.push_front(frame);
                break;
            }
        }
        self.ring.kick();
    }

    /// Takes back what the NIC has sent, and posts what waited for room. Returns
    /// how many packets that ended.
    #[inline]
    pub(crate) fn clean(&mut self, cache: &mut FrameCache) -> usize {
        if self.pending == 0 {
            return 0;
        }
        let count = self.ring.reap_home(cache).min(self.pending);
        self.pending -= count;
        if !self.waiting.is_empty() {
            self.post_waiting();
        }
        count
    }

    /// Packets that wait or are with the NIC.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Gives up the ring, and with it what the NIC holds. Returns the packets
    /// that will not be sent any more.
    pub(crate) fn into_unsent(self) -> impl Iterator<Item = Frame> {
        self.waiting.into_iter()
    }
}
