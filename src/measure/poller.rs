//! A NAPI instance that does one thing with the frames of its queue.

use super::LoopCounts;
use softnet_af_xdp::bare::{Work, swap_addresses};
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, FrameCache, FramePool};
use softnet_napi::{Budget, HasSoftnet, NapiPoll, NetRxConfig, PollOutcome, SoftnetData};
use softnet_nic_hal::{NicHal, QueueId, QueuePair};
use softnet_softirq::{Cpu, CpuHandle};
use std::sync::Arc;

/// Frames that a CPU keeps, as the stack's do.
const CACHE: usize = 256;

/// The state of the loop's CPU.
pub(super) struct Context {
    pub(super) softnet: SoftnetData<Self>,
    cache: FrameCache,
    pub(super) counts: LoopCounts,
}

impl Context {
    pub(super) fn new(cpu: CpuHandle, pool: &FramePool) -> Self {
        Self {
            softnet: SoftnetData::new(cpu, NetRxConfig::default()),
            cache: pool.cache(CACHE),
            counts: LoopCounts::default(),
        }
    }
}

impl HasSoftnet for Context {
    fn softnet(&mut self) -> &mut SoftnetData<Self> {
        &mut self.softnet
    }
}

pub(super) struct Poller<N: NicHal> {
    nic: Arc<N>,
    queue: QueueId,
    rx: N::Rx,
    tx: N::Tx,
    work: Work,
    /// Frames that are to be sent.
    batch: FrameBatch,
}

impl<N: NicHal> Poller<N> {
    pub(super) fn new(nic: Arc<N>, queue: QueuePair<N::Rx, N::Tx>, work: Work) -> Self {
        Self {
            nic,
            queue: queue.id,
            rx: queue.rx,
            tx: queue.tx,
            work,
            batch: FrameBatch::new(),
        }
    }

    /// Fills the ring that the work begins with.
    pub(super) fn fill(&mut self, cx: &mut Context) {
        let Work::TxOnly(template) = &self.work else {
            return self.refill(cx);
        };
        while self.tx.free_slots() > 0 {
            let Some(mut frame) = cx.cache.alloc() else {
                break;
            };
            if let Some(bytes) = frame.put(template.len()) {
                bytes.copy_from_slice(template);
            }
            if self.tx.post(frame).is_err() {
                break;
            }
        }
        self.tx.kick();
    }

    #[inline]
    fn refill(&mut self, cx: &mut Context) {
        if !self.rx.refill(&mut cx.cache) {
            cx.counts.alloc_failed += 1;
        }
    }

    #[inline]
    fn drop_received(&mut self, cx: &mut Context, budget: usize) -> usize {
        let cache = &mut cx.cache;
        let taken = self.rx.reap_each(budget, |frame| cache.free(frame));
        self.refill(cx);
        taken
    }

    #[inline]
    fn forward(&mut self, cx: &mut Context, budget: usize) -> usize {
        self.tx.reap_home(&mut cx.cache);
        let batch = &mut self.batch;
        let taken = self.rx.reap_each(budget, |mut frame: Frame| {
            swap_addresses(frame.data_mut());
            // There is room for as many as the budget is.
            batch.push(frame);
        });
        self.tx.post_from(&mut self.batch);
        cx.counts.tx_ring_full += self.batch.len() as u64;
        self.batch.drain(..).for_each(|frame| cx.cache.free(frame));
        // First what costs nothing: the kernel may send during the kick, for as long
        // as hundreds of frames take to arrive.
        self.refill(cx);
        self.tx.kick();
        taken
    }

    /// What was sent is sent again.
    #[inline]
    fn send_again(&mut self, budget: usize) -> usize {
        let sent = self.tx.reap_into(&mut self.batch, budget);
        self.tx.post_from(&mut self.batch);
        self.tx.kick();
        sent
    }
}

impl<N: NicHal> NapiPoll<Context> for Poller<N> {
    fn poll(&mut self, cx: &mut Context, _: &mut Cpu, budget: Budget) -> PollOutcome {
        let packets = match self.work {
            Work::RxDrop => self.drop_received(cx, budget.0),
            Work::L2Forward => self.forward(cx, budget.0),
            Work::TxOnly(_) => self.send_again(budget.0),
        };
        cx.counts.polls += 1;
        cx.counts.packets += packets as u64;
        PollOutcome::from_packets(packets, budget)
    }

    fn mask_irq(&self) {
        self.nic.mask_irq(self.queue);
    }

    fn unmask_irq(&self) {
        self.nic.unmask_irq(self.queue);
    }
}
