//! The join of a NIC's queue and its NAPI instance (Linux's `q_vector`).

use crate::early::Station;
use crate::route::IfIndex;
use crate::shard::Shard;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use softnet_dma_ring::DmaRing;
use softnet_napi::{Budget, NapiHandle, NapiPoll, PollOutcome};
use softnet_nic_hal::dim::Dim;
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

/// Whether the interval between a NIC's interrupts is to follow the load; all of
/// its queues look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Adaptive(Arc<AtomicU32>);

impl Adaptive {
    /// Switches it; every interval is 0 again then.
    pub(crate) fn set(&self, on: bool) {
        let next = self.0.load(Ordering::Relaxed).wrapping_add(2) & !1;
        self.0.store(next | u32::from(on), Ordering::Relaxed);
    }

    /// Which switching on it is, if it is on.
    #[inline]
    fn epoch(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|epoch| epoch & 1 != 0)
    }
}

/// A queue, as NAPI polls it: on the one CPU that owns it.
pub(crate) struct QueueVector<N: NicHal> {
    nic: Arc<N>,
    id: QueueId,
    dev: IfIndex,
    station: Station,
    rx: N::Rx,
    napi: NapiHandle,
    /// How many frames leave the ring until it is refilled: a few at a time cost
    /// less than one by one.
    refill_at: usize,
    /// How many have left it since.
    unfilled: usize,
    /// Whether the last refill found no frame.
    is_short: bool,
    stats: Arc<RxStats>,
    adaptive: Adaptive,
    /// Where the interval of `dim` began.
    epoch: u32,
    dim: Dim,
}

impl<N: NicHal> QueueVector<N> {
    pub(crate) fn new(
        nic: Arc<N>,
        id: QueueId,
        dev: IfIndex,
        rx: N::Rx,
        napi: NapiHandle,
        stats: Arc<RxStats>,
        adaptive: Adaptive,
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
            unfilled: 0,
            is_short: false,
            stats,
            adaptive,
            epoch: 0,
            dim: Dim::new(),
        }
    }

    /// Fills the ring of a NIC that has just been opened.
    pub(crate) fn fill(&mut self, shard: &mut Shard, cpu: &mut Cpu) {
        self.refill_at = (self.rx.free_slots() / 8).clamp(1, 32);
        self.refill_or_retry(shard, cpu);
    }

    /// Refills, and sees to it that a ring which stays short is refilled later:
    /// a ring that has run dry receives nothing, and so never interrupts again.
    #[inline(never)]
    fn refill_or_retry(&mut self, shard: &mut Shard, cpu: &mut Cpu) {
        self.unfilled = 0;
        self.is_short = !self.rx.refill(&mut shard.core.cache);
        if !self.is_short {
            return;
        }
        // Frames that applications are done with may not be back yet.
        shard.collect();
        self.is_short = !self.rx.refill(&mut shard.core.cache);
        if self.is_short {
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
    fn receive(&mut self, shard: &mut Shard, cpu: &mut Cpu, budget: Budget) -> Received {
        let mut sum = Received::default();
        while sum.packets < budget.0 {
            let want = (self.refill_at - self.unfilled).min(budget.0 - sum.packets);
            let taken = self.receive_some(shard, cpu.now_ns(), want, &mut sum);
            self.unfilled += taken;
            if self.unfilled == self.refill_at {
                self.refill_or_retry(shard, cpu);
            }
            if taken < want {
                break;
            }
        }
        if self.is_short {
            self.refill_or_retry(shard, cpu);
        }
        shard.core.count_early((sum.packets - sum.by_layers) as u64);
        self.stats.packets.add(sum.packets as u64);
        self.stats.bytes.add(sum.bytes);
        sum
    }

    /// Keeps the interrupts as far apart as the load asks for.
    #[cold]
    fn adapt(&mut self, epoch: u32, now_ns: u64, sum: &Received) {
        if core::mem::replace(&mut self.epoch, epoch) != epoch {
            self.dim = Dim::new();
        }
        if let Some(interval_us) = self.dim.sample(now_ns, sum.packets, sum.bytes) {
            self.nic.moderate(self.id, interval_us);
        }
    }

    /// Takes up at most `want` packets. Returns how many there were.
    #[inline]
    fn receive_some(
        &mut self,
        shard: &mut Shard,
        now_ns: u64,
        want: usize,
        sum: &mut Received,
    ) -> usize {
        let (dev, station) = (self.dev, self.station);
        let is_early = shard.is_early();
        shard.revalidate_early();
        let taken = self.rx.reap_each(want, |mut frame| {
            sum.bytes += frame.len() as u64;
            if frame.timestamp_ns().is_none() {
                frame.set_timestamp_ns(now_ns);
            }
            let left = match is_early {
                true => shard.receive_early(frame, station),
                false => Err(frame),
            };
            if let Err(frame) = left {
                sum.by_layers += 1;
                shard.receive_by_layers(frame, dev);
                shard.revalidate_early();
            }
        });
        sum.packets += taken;
        taken
    }
}

/// What a poll has received.
#[derive(Default)]
struct Received {
    packets: usize,
    bytes: u64,
    /// Packets that [`Early`](crate::early::Early) has left to the layers.
    by_layers: usize,
}

impl<N: NicHal> NapiPoll<Shard> for QueueVector<N> {
    fn poll(&mut self, shard: &mut Shard, cpu: &mut Cpu, budget: Budget) -> PollOutcome {
        shard.begin(cpu);
        self.stats.polls.add(1);
        if shard.core.is_tx_active() {
            shard.core.clean_tx(self.dev, usize::from(self.id.0));
        }
        let sum = self.receive(shard, cpu, budget);
        if let Some(epoch) = self.adaptive.epoch() {
            self.adapt(epoch, cpu.now_ns(), &sum);
        }
        shard.end(cpu);
        PollOutcome::from_packets(sum.packets, budget)
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
