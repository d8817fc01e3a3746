//! Interfaces of the kernel in a machine: their CPUs' places to wait, their memory,
//! and the NICs.

use super::{Machine, MachineError, Time};
use softnet_af_xdp::events::{EventLoop, EventWaker, Events, EventsError};
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem, UmemConfig};
use softnet_dma_ring::FramePool;
use softnet_netstack::{IfIndex, NicOptions, Stack, StackConfig, StackError, StackParts};
use softnet_nic_hal::NicHal;
use softnet_nic_hal::irq::IrqTable;
use softnet_softirq::{Clock, Idle, Wake};
use std::sync::Arc;

/// What of a machine reaches into the kernel.
pub(crate) struct KernelSide {
    /// Where the CPUs wait for sockets of the kernel.
    events: Arc<Events>,
    /// The memory of all frames, if the machine was made for AF_XDP.
    umem: Option<Arc<Umem>>,
    nics: Vec<(IfIndex, Arc<AfXdpNic>)>,
}

impl KernelSide {
    pub(super) fn new(irqs: &Arc<IrqTable>, umem: Option<Arc<Umem>>) -> Result<Self, EventsError> {
        Ok(Self {
            events: Events::new(irqs.clone())?,
            umem,
            nics: Vec::new(),
        })
    }

    /// A stack whose CPUs wait for sockets of the kernel.
    pub(super) fn stack(
        &self,
        config: &StackConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<Stack, StackError> {
        let mut config = config.clone();
        if let Some(umem) = &self.umem {
            config.pool.buffer_size = umem.chunk_room() + umem.pool().headroom() as u32;
        }
        let events = self.events.clone();
        let mut idle =
            |cpu| -> Box<dyn Idle + Send> { Box::new(EventIdle::new(events.event_loop(cpu))) };
        let parts = StackParts {
            pool: self.umem.as_ref().map(|umem| umem.pool().clone()),
            idle: Some(&mut idle),
        };
        Stack::with_parts(&config, clock, parts)
    }

    /// Lets all CPUs sleep on the caller's thread.
    pub(super) fn wait(&self, timeout_ns: Option<u64>) {
        self.events.wait(timeout_ns);
    }

    pub(crate) fn nic(&self, dev: IfIndex) -> Option<&Arc<AfXdpNic>> {
        let found = self.nics.iter().find(|(have, _)| *have == dev);
        found.map(|(_, nic)| nic)
    }

    /// Lets go of a NIC that is out of service.
    pub(super) fn remove(&mut self, dev: IfIndex) {
        self.nics.retain(|(have, _)| *have != dev);
    }
}

/// Where a CPU gets the interrupts of the kernel's sockets, and sleeps.
pub(crate) struct EventIdle(EventLoop);

impl EventIdle {
    pub(crate) fn new(events: EventLoop) -> Self {
        Self(events)
    }
}

struct Waker(EventWaker);

impl Wake for Waker {
    fn wake(&self) {
        self.0.wake();
    }
}

impl Idle for EventIdle {
    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Waker(self.0.waker()))
    }

    #[inline]
    fn poll(&mut self) {
        self.0.poll();
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        self.0.wait(timeout_ns);
    }
}

impl Machine {
    /// A machine on the real clock whose frames lie in memory of that shape, which
    /// the kernel knows too, so that it can have [interfaces of the
    /// kernel](Self::add_af_xdp) as NICs. The frames' number and headroom in
    /// [`StackConfig::pool`] do not count.
    ///
    /// # Errors
    /// [`MachineError::Umem`] when the kernel refuses the memory, and
    /// [`MachineError::Stack`].
    pub fn on_umem(config: &StackConfig, umem: UmemConfig) -> Result<Self, MachineError> {
        Self::with_umem(config, Umem::new(umem)?)
    }

    /// As [`on_umem`](Self::on_umem), on memory that is there already: that of a helper,
    /// for a process without privilege ([`Umem::from_helper`]).
    ///
    /// # Errors
    /// [`MachineError::Stack`].
    pub fn with_umem(config: &StackConfig, umem: Arc<Umem>) -> Result<Self, MachineError> {
        Self::make(config, Time::Real, Some(umem))
    }

    /// Takes an interface of the kernel for a NIC: puts a socket on each of its
    /// queues, which the CPUs share out among themselves, and attaches the program that
    /// feeds them. What the [steering](AfXdpConfig::steering) leaves goes to the kernel
    /// as before. The interface is that of the calling thread's network namespace.
    ///
    /// The MTU, if it is not said, is the interface's.
    ///
    /// # Errors
    /// [`MachineError::NoUmem`] unless the machine was made [for
    /// it](Self::on_umem), [`MachineError::Nic`], [`MachineError::Stack`]; nothing is
    /// attached then.
    pub fn add_af_xdp(
        &mut self,
        config: AfXdpConfig,
        options: &NicOptions,
    ) -> Result<IfIndex, MachineError> {
        let kernel = self.kernel.as_mut().ok_or(MachineError::NoUmem)?;
        let umem = kernel.umem.clone().ok_or(MachineError::NoUmem)?;
        let pool = umem.pool().clone();
        let nic = AfXdpNic::new(config, umem, kernel.events.clone())?;
        let capabilities = nic.capabilities();
        // What comes in on a queue without a socket would be lost to the stack.
        let queues = options.queues.unwrap_or(capabilities.max_queues);
        let options = NicOptions {
            queues: Some(queues),
            ring: options.ring.or(Some(ring(&pool, queues))),
            mtu: options.mtu.or(Some(capabilities.max_mtu)),
            ..options.clone()
        };
        let dev = self.stack.add_nic(nic.clone(), &options)?;
        kernel.nics.push((dev, nic));
        Ok(dev)
    }

    /// Whether the kernel polls a device for its sockets, as
    /// [`AfXdpConfig::busy_poll`] asked: only then is there a use in putting the
    /// device's interrupts off. It is known after the first packets.
    #[must_use]
    pub fn is_busy_polled(&self) -> bool {
        let kernel = self.kernel.as_ref();
        kernel.is_some_and(|kernel| kernel.events.is_busy_polled())
    }

    /// The NIC that an interface of the kernel is, for its mode and its program.
    #[must_use]
    pub fn af_xdp(&self, dev: IfIndex) -> Option<&Arc<AfXdpNic>> {
        self.kernel.as_ref()?.nic(dev)
    }
}

/// Descriptors of a ring: as many as let all receive rings together hold a quarter
/// of the frames, within what is usual.
fn ring(pool: &FramePool, queues: u16) -> u16 {
    let share = pool.frames() / 4 / usize::from(queues.max(1));
    1 << share.clamp(64, 1024).ilog2()
}
