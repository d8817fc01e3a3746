//! What the path below the stack costs: rings, interrupts, softirqs and NAPI, with
//! nothing on top but the simplest of works.
//!
//! [`NapiLoop`] opens a NIC as the stack does, and polls its queues as NAPI instances
//! on a CPU of its own, whose poller drops, sends or reflects frames.

mod poller;

use crate::machine::EventIdle;
use poller::{Context, Poller};
use softnet_af_xdp::bare::Work;
use softnet_af_xdp::events::Events;
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem};
use softnet_dma_ring::FramePool;
use softnet_napi::{Budget, NapiHandle, NetRxAction};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::{IrqHandler, NicError, NicHal, OpenConfig, QueueId};
use softnet_softirq::{CpuId, Idle, MonotonicClock, Processor, Softirqs};
use std::fmt;
use std::sync::Arc;

/// Why a loop could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoopError {
    /// The NIC refused.
    #[error(transparent)]
    Nic(#[from] NicError),
    /// The CPU cannot wait for sockets of the kernel.
    #[error(transparent)]
    Events(#[from] softnet_af_xdp::events::EventsError),
    /// More queues than a CPU has room for.
    #[error(transparent)]
    Napi(#[from] softnet_napi::SoftnetFull),
    /// NET_RX has a handler already.
    #[error(transparent)]
    Vector(#[from] softnet_softirq::VectorTaken),
}

/// How a NIC is opened and polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopConfig {
    /// Queues, from queue 0 on.
    pub queues: u16,
    /// Descriptors of each ring.
    pub ring: u16,
    /// Packets of one poll at the most: NAPI's weight, 1 to 64.
    pub weight: u16,
    /// Ethernet payload, in bytes.
    pub mtu: u16,
}

/// What a loop has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounts {
    /// Packets received, or sent by [`Work::TxOnly`].
    pub packets: u64,
    /// Polls of NAPI instances.
    pub polls: u64,
    /// Packets that found no slot to be sent by.
    pub tx_ring_full: u64,
    /// Times the receive ring could not be filled, since the pool was dry.
    pub alloc_failed: u64,
}

/// A NIC whose queues are polled by NAPI, on the caller's thread.
pub struct NapiLoop<N: NicHal> {
    nic: Arc<N>,
    processor: Processor<Context, EventIdle>,
}

/// Schedules the NAPI instance of a queue that interrupts.
struct Schedule(Vec<NapiHandle>);

impl IrqHandler for Schedule {
    #[inline]
    fn irq(&self, queue: QueueId) {
        if let Some(napi) = self.0.get(usize::from(queue.0)) {
            napi.schedule();
        }
    }
}

impl NapiLoop<AfXdpNic> {
    /// Opens an interface of the kernel, with the frames of `umem`.
    ///
    /// # Errors
    /// [`LoopError`].
    pub fn on_interface(
        config: AfXdpConfig,
        umem: &Arc<Umem>,
        work: &Work,
        options: LoopConfig,
    ) -> Result<Self, LoopError> {
        let events = Events::new(Arc::new(IrqTable::new(1)))?;
        let idle = EventIdle::new(events.event_loop(0));
        let nic = AfXdpNic::new(config, umem.clone(), events)?;
        let mtu = options.mtu.min(nic.capabilities().max_mtu);
        Self::open(nic, umem.pool(), idle, work, LoopConfig { mtu, ..options })
    }
}

impl<N: NicHal + 'static> NapiLoop<N> {
    fn open(
        nic: Arc<N>,
        pool: &FramePool,
        idle: EventIdle,
        work: &Work,
        options: LoopConfig,
    ) -> Result<Self, LoopError> {
        let clock = Arc::new(MonotonicClock::new());
        let mut softirqs = Softirqs::new(CpuId(0), clock, idle.waker());
        softirqs.open(Box::new(NetRxAction))?;
        let mut context = Context::new(softirqs.handle(), pool);
        let weight = Budget(usize::from(options.weight.clamp(1, 64)));
        let reserve = |_| context.softnet.reserve(weight);
        let napis: Vec<_> = (0..options.queues).map(reserve).collect::<Result<_, _>>()?;
        let config = OpenConfig {
            queues: options.queues,
            rx_ring: options.ring,
            tx_ring: options.ring,
            mtu: options.mtu,
            ..OpenConfig::new(pool.clone())
        };
        let queues = nic.open(&config, Arc::new(Schedule(napis.clone())))?;
        for (queue, napi) in queues.into_iter().zip(&napis) {
            let mut poller = Poller::new(nic.clone(), queue, work.clone());
            poller.fill(&mut context);
            // It was reserved above, and has no poller.
            let _ = context.softnet.install(napi, Box::new(poller));
            napi.schedule();
        }
        let processor = Processor {
            softirqs,
            context,
            idle,
        };
        Ok(Self { nic, processor })
    }

    /// Delivers interrupts and polls what they have scheduled, once. Returns how many
    /// packets there were.
    #[inline]
    pub fn turn(&mut self) -> u64 {
        let before = self.processor.context.counts.packets;
        // What is left is done by the next turn.
        let _ = self.processor.run_once();
        self.processor.context.counts.packets - before
    }

    /// Sleeps until a queue interrupts, or for `limit_ns` nanoseconds.
    pub fn wait(&mut self, limit_ns: u64) {
        self.processor.idle.wait(Some(limit_ns));
    }

    /// The NIC.
    #[must_use]
    pub fn nic(&self) -> &Arc<N> {
        &self.nic
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> LoopCounts {
        self.processor.context.counts
    }
}

impl<N: NicHal> Drop for NapiLoop<N> {
    fn drop(&mut self) {
        // Not open is as good as stopped.
        let _ = self.nic.stop();
    }
}

impl<N: NicHal> fmt::Debug for NapiLoop<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NapiLoop")
            .field("processor", &self.processor)
            .finish_non_exhaustive()
    }
}
