//! The join of a NIC's queue and its NAPI instance (Linux's `q_vector`).

use crate::early::Station;
use crate::route::IfIndex;
use crate::shard::Shard;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use softnet_dma_ring::{DmaRing, RingFull};
use softnet_napi::{Budget, NapiHandle, NapiPoll, PollOutcome};
use softnet_nic_hal::{IrqHandler, NicHal, QueueId};
use softnet_softirq::{Counter, Cpu, CpuHandle, Vector};

/// How long after the pool was exhausted a ring is refilled, in nanoseconds.
const RETRY_NS: u64 = 1_000_000;

/// Counters of one receive queue, which any thread may read.
#[derive(Debug, Default)]
pub struct RxStats {
    /// Packets taken from the ring.
    pub packets: Counter,
    /// Bytes of those.
    pub bytes: Counter,
    /// Times NAPI polled the queue.
    pub polls: Counter,
    /// Frames that could not be posted because the pool was exhausted.
    pub alloc_failed: Counter,
}

/// A queue, as NAPI polls it: on the one CPU that owns it.
pub(crate) struct QueueVector<N: NicHal> {
    nic: Arc<N>,
    id: QueueId,
    dev: IfIndex,
    station: Station,
    rx: N::Rx,
    napi: NapiHandle,
    /// Free slots from which on the ring is refilled: a few at a time cost less
    /// than one by one.
    refill_at: usize,
    stats: Arc<RxStats>,
}

impl<N: NicHal> QueueVector<N> {
    pub(crate) fn new(
        nic: Arc<N>,
        id: QueueId,
        dev: IfIndex,
        rx: N::Rx,
        napi: NapiHandle,
        stats: Arc<RxStats>,
    ) -> Self {
        let station = Station::new(nic.capabilities().mac);
        Self {
            nic,
            id,
            dev,
            station,
            rx,
            napi,
            refill_at: 1,
            stats,
        }
    }

    /// Fills the ring of a NIC that has just been opened.
    pub(crate) fn fill(&mut self, shard: &mut Shard, cpu: &mut Cpu) {
        self.refill_at = (self.rx.free_slots() / 8).clamp(1, 32);
        self.refill_or_retry(shard, cpu);
    }

    /// Posts empty frames until the ring is full. Returns whether it is: when
    /// the pool is exhausted, it is not.
    pub(crate) fn refill(&mut self, shard: &mut Shard) -> bool {
        let mut missing = self.rx.free_slots();
        while missing > 0 {
            let Some(frame) = shard.core.cache.alloc() else {
                break;
            };
            if let Err(RingFull(frame)) = self.rx.post(frame) {
                // A ring that was stopped has room and takes nothing.
                shard.core.cache.free(frame);
                missing = 0;
                break;
            }
            missing -= 1;
        }
        self.rx.kick();
        missing == 0
    }

    /// Refills, and sees to it that a ring which stays short is refilled later:
    /// a ring that has run dry receives nothing, and so never interrupts again.
    #[inline]
    fn refill_or_retry(&mut self, shard: &mut Shard, cpu: &mut Cpu) {
        if !self.refill(shard) {
            self.stats.alloc_failed.add(1);
            if !shard.starved.iter().any(|napi| napi.id() == self.napi.id()) {
                shard.starved.push(self.napi.clone());
            }
            cpu.program_timer(cpu.now_ns() + RETRY_NS);
        }
    }

    /// Takes received packets up the stack, and refills the ring whenever as many
    /// have left it as are posted at a time: the device is not to run out of empty
    /// frames while packets are on their way.
    #[inline]
    fn receive(&mut self, shard: &mut Shard, cpu: &mut Cpu, budget: Budget) -> usize {
        let mut count = 0;
        while count < budget.0 {
            let want = self.refill_at.min(budget.0 - count);
            let taken = self.receive_some(shard, cpu.now_ns(), want);
            count += taken;
            if self.rx.free_slots() >= self.refill_at {
                self.refill_or_retry(shard, cpu);
            }
            if taken < want {
                break;
            }
        }
        count
    }

    /// Takes up at most `want` packets, one by one: a single one, as on a quiet
    /// line, then costs no batch.
    #[inline]
    fn receive_some(&mut self, shard: &mut Shard, now_ns: u64, want: usize) -> usize {
        let early = shard.is_early().then_some(self.station);
        let (mut count, mut bytes) = (0, 0);
        while count < want {
            let Some(mut frame) = self.rx.reap() else {
                break;
            };
            count += 1;
            bytes += frame.len() as u64;
            if frame.timestamp_ns().is_none() {
                frame.set_timestamp_ns(now_ns);
            }
            shard.receive(frame, self.dev, early);
        }
        self.stats.packets.add(count as u64);
        self.stats.bytes.add(bytes);
        count
    }
}

impl<N: NicHal> NapiPoll<Shard> for QueueVector<N> {
    fn poll(&mut self, shard: &mut Shard, cpu: &mut Cpu, budget: Budget) -> PollOutcome {
        shard.begin(cpu);
        self.stats.polls.add(1);
        if shard.core.is_tx_active() {
            shard.core.clean_tx(self.dev, usize::from(self.id.0));
        }
        let packets = self.receive(shard, cpu, budget);
        shard.end(cpu);
        PollOutcome::from_packets(packets, budget)
    }

    fn mask_irq(&self) {
        self.nic.mask_irq(self.id);
    }

    fn unmask_irq(&self) {
        self.nic.unmask_irq(self.id);
    }
}

/// The hard-interrupt half of a device: the driver has masked the queue, so all
/// that is left is to schedule its NAPI instance.
pub struct HardIrq {
    queues: Box<[NapiHandle]>,
    link: LinkWatch,
}

/// Where a link change is noted until the TIMER softirq looks.
#[derive(Clone)]
pub(crate) struct LinkWatch {
    pub(crate) changed: Arc<AtomicBool>,
    pub(crate) cpu: CpuHandle,
}

impl HardIrq {
    pub(crate) fn new(queues: Box<[NapiHandle]>, link: LinkWatch) -> Self {
        Self { queues, link }
    }
}

impl IrqHandler for HardIrq {
    #[inline]
    fn irq(&self, queue: QueueId) {
        if let Some(napi) = self.queues.get(usize::from(queue.0)) {
            napi.schedule();
        }
    }

    fn link_changed(&self) {
        self.link.changed.store(true, Ordering::Release);
        self.link.cpu.raise(Vector::Timer);
    }
}
