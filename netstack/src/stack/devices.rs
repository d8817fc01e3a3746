//! NICs: in and out of service.

use super::cpus::Executor;
use super::{Stack, StackError};
use crate::device::{Adaptive, HardIrq, LinkWatch, NetDevice, RxStats, TxQueue, TxSlot, TxStats};
use crate::interface::{
    AnyNic, Interface, Interrupts, Moderation, Nic, OpenedQueue, QueueRecord, Rings,
};
use crate::route::IfIndex;
use crate::work::Work;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use softnet_dma_ring::mpsc;
use softnet_napi::{Budget, NapiHandle};
use softnet_nic_hal::{LinkState, NicError, NicHal, OpenConfig, QueueId};
use spin::Mutex;

/// How a NIC is put into service. What is not said, the NIC's capabilities
/// decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicOptions {
    /// The device's name; `eth0`, `eth1`, ... otherwise.
    pub name: Option<String>,
    /// Queue pairs; one for each CPU, if the NIC has as many.
    pub queues: Option<u16>,
    /// Descriptors of a ring; 256, if the NIC can.
    pub ring: Option<u16>,
    /// The largest network-layer packet, in bytes; 1500.
    pub mtu: Option<u16>,
}

impl Stack {
    /// Puts a NIC into service: opens it, gives each queue to a CPU, fills the
    /// receive rings, and lets the interrupts in.
    ///
    /// # Errors
    /// [`StackError::Nic`] when the NIC refuses; nothing has changed then.
    pub fn add_nic<N: NicHal + 'static>(
        &mut self,
        nic: Arc<N>,
        options: &NicOptions,
    ) -> Result<IfIndex, StackError> {
        let dev = IfIndex(self.next_index);
        let next_index = self
            .next_index
            .checked_add(1)
            .ok_or(StackError::TooManyDevices)?;
        let interface = Arc::new(self.new_interface(dev, Box::new(Nic(nic)), options));
        interface.keep_tags()?;
        let cpus = self.cpus();
        bring_up(self, &interface, cpus)?;
        let (watched, work) = (interface.clone(), self.work.clone());
        self.exec(0, move |shard, cpu| {
            shard.watchdogs.add(watched, work);
            shard.run_watchdogs(cpu);
        })?;
        self.interfaces.lock().push(interface);
        self.next_index = next_index;
        Ok(dev)
    }

    fn new_interface(&self, dev: IfIndex, nic: Box<dyn AnyNic>, options: &NicOptions) -> Interface {
        let capabilities = nic.capabilities();
        let queues = capabilities.max_queues.min(self.cpus() as u16).max(1);
        let queues = options.queues.unwrap_or(queues);
        let (rx, tx) = (capabilities.rx_ring, capabilities.tx_ring);
        let config = OpenConfig {
            queues,
            rx_ring: options.ring.unwrap_or_else(|| 256.clamp(rx.min, rx.max)),
            tx_ring: options.ring.unwrap_or_else(|| 256.clamp(tx.min, tx.max)),
            mtu: options
                .mtu
                .unwrap_or_else(|| capabilities.max_mtu.min(1500)),
            queue_cpus: (0..usize::from(queues))
                .map(|queue| queue % self.cpus())
                .collect(),
            ..OpenConfig::new(self.pool().clone())
        };
        let name = options.name.clone();
        let watch = LinkWatch {
            changed: Arc::new(AtomicBool::new(false)),
            cpu: self.peers[0].cpu.clone(),
        };
        Interface {
            dev,
            name: name.unwrap_or_else(|| alloc::format!("eth{}", dev.0 - 2)),
            mac: capabilities.mac,
            tx_checksum: capabilities.tx_checksum,
            config: Mutex::new(config),
            steering: self.steering.clone(),
            nic,
            link: watch,
            queues: Mutex::new(Vec::new()),
            link_state: Mutex::new(LinkState::default()),
            gone: AtomicBool::new(false),
            interrupts: Mutex::new(None),
            adaptive: Adaptive::default(),
            reset_failed: AtomicBool::new(false),
        }
    }

    /// Takes a NIC out of service: stops it, and takes the device away from all
    /// CPUs. All its frames are home when the sockets have let go of theirs.
    ///
    /// # Errors
    /// [`StackError::NoDevice`], [`StackError::Stopped`].
    pub fn remove_nic(&mut self, dev: IfIndex) -> Result<(), StackError> {
        let interface = self.interface(dev)?;
        retire(self, &interface)?;
        self.interfaces.lock().retain(|have| have.dev != dev);
        Ok(())
    }

    /// Says when a NIC may interrupt: how far apart its interrupts are, and
    /// whether NAPI looks again by itself instead. It lasts over a reset.
    ///
    /// # Errors
    /// [`StackError::Nic`] with [`NicError::Unsupported`] when the NIC cannot keep its
    /// interrupts apart; [`StackError::NoDevice`], [`StackError::Stopped`].
    pub fn set_interrupts(&mut self, dev: IfIndex, how: Interrupts) -> Result<(), StackError> {
        let interface = self.interface(dev)?;
        let can = interface.nic.capabilities().moderation;
        if how.moderation != Moderation::None && !can {
            return Err(NicError::Unsupported("interrupts at intervals").into());
        }
        *interface.interrupts.lock() = Some(how);
        allow_interrupts(self, &interface, how)
    }

    /// Gives a NIC other queues and rings: it is stopped and opened again. What it has
    /// received and the stack has not yet taken is lost.
    ///
    /// # Errors
    /// [`StackError::Nic`] when the NIC cannot have them: it goes on as before.
    /// [`StackError::NoDevice`], [`StackError::Stopped`].
    pub fn set_rings(&mut self, dev: IfIndex, rings: Rings) -> Result<(), StackError> {
        let interface = self.interface(dev)?;
        let before = interface.rings();
        self.arrange(&interface, rings);
        let changed = reset(self, &interface);
        if changed.is_err() && !interface.is_gone() {
            self.arrange(&interface, before);
            reset(self, &interface)?;
        }
        changed
    }

    fn arrange(&self, interface: &Interface, rings: Rings) {
        let mut config = interface.config.lock();
        config.queues = rings.queues;
        (config.rx_ring, config.tx_ring) = (rings.rx, rings.tx);
        let queues = 0..usize::from(rings.queues);
        config.queue_cpus = queues.map(|queue| queue % self.cpus()).collect();
    }

    /// Does what the CPUs have left to the control plane.
    #[inline]
    pub(super) fn run_work(&mut self) {
        let pending = self.pending_work.as_ref();
        if pending.is_some_and(|work| !work.is_empty()) {
            self.run_pending_work();
        }
    }

    #[cold]
    fn run_pending_work(&mut self) {
        let Some(mut pending) = self.pending_work.take() else {
            return;
        };
        let interfaces = self.interfaces.clone();
        run_pending(self, &mut pending, &interfaces);
        self.pending_work = Some(pending);
    }
}

/// Does the work that is in the queue.
pub(super) fn run_pending<E: Executor + CpuCount>(
    cpus: &mut E,
    pending: &mut mpsc::Receiver<Work>,
    interfaces: &Mutex<Vec<Arc<Interface>>>,
) {
    while let Some(work) = pending.pop() {
        let (Work::Reset(dev) | Work::Gone(dev)) = work;
        let found = interfaces
            .lock()
            .iter()
            .find(|have| have.dev == dev)
            .cloned();
        let Some(interface) = found else { continue };
        // What fails here fails because a CPU has stopped, or because the
        // device is gone, which the watchdog sees again.
        let _ = match work {
            Work::Reset(_) => reset(cpus, &interface),
            Work::Gone(_) => retire(cpus, &interface),
        };
    }
}

/// Who knows how many CPUs there are.
pub(super) trait CpuCount {
    fn cpu_count(&self) -> usize;
}

impl CpuCount for Stack {
    fn cpu_count(&self) -> usize {
        self.cpus()
    }
}

/// Opens the NIC and gives its queues to the CPUs.
fn bring_up<E: Executor>(
    cpus: &mut E,
    interface: &Arc<Interface>,
    count: usize,
) -> Result<(), StackError> {
    let queues = reserve(cpus, interface, count)?;
    let handles = queues.iter().map(|queue| queue.napi.clone()).collect();
    let irq = HardIrq::new(handles, interface.link.clone());
    let config = interface.config.lock().clone();
    let opened = interface
        .nic
        .open(interface.dev, &config, irq, &queues, &interface.adaptive);
    match opened {
        Ok(opened) => attach(cpus, interface, count, queues, opened),
        Err(error) => {
            release(cpus, queues)?;
            Err(error.into())
        }
    }
}

/// Makes a NAPI instance for each queue, on the queue's CPU.
fn reserve<E: Executor>(
    cpus: &mut E,
    interface: &Interface,
    count: usize,
) -> Result<Vec<QueueRecord>, StackError> {
    let mut queues = Vec::new();
    for queue in 0..usize::from(interface.rings().queues) {
        let cpu = queue % count;
        let reserved = cpus.exec(cpu, |shard, _| shard.softnet.reserve(Budget::WEIGHT))?;
        match reserved {
            Ok(napi) => queues.push(QueueRecord {
                cpu,
                napi,
                rx: Arc::new(RxStats::default()),
                tx: Arc::new(TxStats::default()),
            }),
            Err(full) => {
                release(cpus, queues)?;
                return Err(full.into());
            }
        }
    }
    Ok(queues)
}

/// Takes NAPI instances out again.
fn release<E: Executor>(cpus: &mut E, queues: Vec<QueueRecord>) -> Result<(), StackError> {
    for QueueRecord { cpu, napi, .. } in queues {
        cpus.exec(cpu, move |shard, _| {
            shard.starved.retain(|starved| starved.id() != napi.id());
            // The control plane runs between two polls, so the instance is not
            // busy; the poller, and with it the ring, is dropped here.
            drop(shard.softnet.remove(&napi));
        })?;
    }
    Ok(())
}

/// Gives each CPU its part of the device, and each queue to its CPU.
fn attach<E: Executor>(
    cpus: &mut E,
    interface: &Arc<Interface>,
    count: usize,
    queues: Vec<QueueRecord>,
    opened: Vec<OpenedQueue>,
) -> Result<(), StackError> {
    let total = opened.len();
    let mut mine: Vec<Vec<(OpenedQueue, usize)>> = Vec::new();
    mine.resize_with(count, Vec::new);
    for (at, queue) in opened.into_iter().enumerate() {
        mine[at % count].push((queue, at));
    }
    for (on, own) in mine.into_iter().enumerate() {
        let records: Vec<_> = own
            .iter()
            .map(|(_, at)| (queues[*at].napi.clone(), queues[*at].tx.clone()))
            .collect();
        let interface = interface.clone();
        cpus.exec(on, move |shard, cpu| {
            let mut tx: Vec<TxSlot> = (0..total)
                .map(|queue| TxSlot::Remote { cpu: queue % count })
                .collect();
            for ((mut queue, at), (napi, stats)) in own.into_iter().zip(records) {
                tx[at] = TxSlot::Own(TxQueue::new(queue.tx, stats));
                queue.rx.fill(shard, cpu);
                let installed = shard.softnet.install(&napi, queue.rx);
                debug_assert!(
                    installed.is_ok(),
                    "the instance was reserved for this queue"
                );
            }
            let (dev, name) = (interface.dev, interface.name.clone());
            if shard.core.device(dev).is_none() {
                let mut device = NetDevice::new(dev, name, interface.mac, interface.mtu());
                device.set_tx_checksum(interface.tx_checksum);
                shard.core.add_device(device);
            }
            shard.core.set_tx(dev, tx);
        })?;
    }
    *interface.queues.lock() = queues;
    interface.spread_flows();
    if let Some(how) = *interface.interrupts.lock() {
        allow_interrupts(cpus, interface, how)?;
    }
    // The interrupts come last: a packet that came in before all CPUs have
    // their part could find no way out.
    for (id, cpu, _) in places(interface) {
        let interface = interface.clone();
        cpus.exec(cpu, move |_, _| interface.nic.unmask_irq(id))?;
    }
    Ok(())
}

/// Each queue with its CPU and its NAPI instance.
fn places(interface: &Interface) -> Vec<(QueueId, usize, NapiHandle)> {
    let queues = interface.queues.lock();
    let place =
        |(id, queue): (usize, &QueueRecord)| (QueueId(id as u16), queue.cpu, queue.napi.clone());
    queues.iter().enumerate().map(place).collect()
}

/// Sees to it that each queue interrupts as it was said.
fn allow_interrupts<E: Executor>(
    cpus: &mut E,
    interface: &Arc<Interface>,
    how: Interrupts,
) -> Result<(), StackError> {
    for (id, cpu, napi) in places(interface) {
        let interface = interface.clone();
        cpus.exec(cpu, move |shard, _| {
            shard.softnet.set_deferral(&napi, how.deferral);
            let interval_us = match how.moderation {
                Moderation::Fixed(interval_us) => interval_us,
                Moderation::None | Moderation::Adaptive => 0,
            };
            interface.nic.moderate(id, interval_us);
        })?;
    }
    let is_adaptive = how.moderation == Moderation::Adaptive;
    interface.adaptive.set(is_adaptive);
    Ok(())
}

/// Stops the NIC and takes its rings away from the CPUs. The device stays.
fn detach<E: Executor + CpuCount>(
    cpus: &mut E,
    interface: &Arc<Interface>,
) -> Result<(), StackError> {
    match interface.nic.stop() {
        Ok(()) | Err(NicError::NotOpen | NicError::Gone) => {}
        Err(error) => return Err(error.into()),
    }
    let queues = core::mem::take(&mut *interface.queues.lock());
    release(cpus, queues)?;
    let dev = interface.dev;
    for cpu in 0..cpus.cpu_count() {
        cpus.exec(cpu, move |shard, _| shard.core.drop_tx(dev))?;
    }
    Ok(())
}

/// A hung transmitter: stops the NIC and opens it again. If it refuses, the
/// watchdog has it tried again.
fn reset<E: Executor + CpuCount>(
    cpus: &mut E,
    interface: &Arc<Interface>,
) -> Result<(), StackError> {
    detach(cpus, interface)?;
    let count = cpus.cpu_count();
    let opened = bring_up(cpus, interface, count);
    interface
        .reset_failed
        .store(opened.is_err(), Ordering::Release);
    opened
}

/// Takes the device out of service for good.
fn retire<E: Executor + CpuCount>(
    cpus: &mut E,
    interface: &Arc<Interface>,
) -> Result<(), StackError> {
    detach(cpus, interface)?;
    interface.gone.store(true, Ordering::Release);
    let dev = interface.dev;
    for cpu in 0..cpus.cpu_count() {
        cpus.exec(cpu, move |shard, _| {
            shard.watchdogs.remove(dev);
            shard.core.remove_device(dev);
        })?;
    }
    Ok(())
}

#[cfg(feature = "std")]
mod running {
    use super::{CpuCount, Stack, StackError, run_pending};
    use crate::stack::cpus::{Cpus, Threads};
    use crate::work::Work;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicBool, Ordering};
    use softnet_dma_ring::mpsc;
    use std::thread::JoinHandle;

    impl CpuCount for crate::stack::cpus::Remote {
        fn cpu_count(&self) -> usize {
            self.peers.len()
        }
    }

    /// The thread that does what the CPUs leave to the control plane.
    pub(in super::super) struct Kworker {
        stop: Arc<AtomicBool>,
        thread: JoinHandle<mpsc::Receiver<Work>>,
    }

    /// How the CPUs run as threads.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct ThreadOptions {
        /// To which CPU of the machine each CPU of the stack is pinned, as far
        /// as they are named.
        pub pin_to: Vec<usize>,
        /// How long an idle CPU spins before it sleeps, in nanoseconds.
        pub spin_ns: u64,
    }

    impl Stack {
        /// Moves each CPU to a thread of its own.
        ///
        /// # Errors
        /// [`StackError::Running`] when they have threads already, and
        /// [`StackError::Thread`] when the system refuses; the stack cannot be
        /// used any more then.
        pub fn start(&mut self, options: &ThreadOptions) -> Result<(), StackError> {
            self.set_busy_poll(false)?;
            let Cpus::Inline(processors) = &mut self.cpus else {
                return Err(StackError::Running);
            };
            let processors = core::mem::take(processors);
            let threads = Threads::spawn(
                processors,
                self.peers.clone(),
                &options.pin_to,
                options.spin_ns,
            )?;
            self.kworker = self
                .pending_work
                .take()
                .map(|work| self.kworker(&threads, work));
            self.cpus = Cpus::Threads(threads);
            Ok(())
        }

        fn kworker(&self, threads: &Threads, mut work: mpsc::Receiver<Work>) -> Kworker {
            let stop = Arc::new(AtomicBool::new(false));
            let (stopped, mut remote) = (stop.clone(), threads.remote());
            let (interfaces, notify) = (self.interfaces.clone(), self.work.notify().clone());
            let thread = std::thread::spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    notify.wait(None, || !work.is_empty() || stopped.load(Ordering::Acquire));
                    run_pending(&mut remote, &mut work, &interfaces);
                }
                work
            });
            Kworker { stop, thread }
        }

        /// Why CPUs could not be pinned where [`ThreadOptions::pin_to`] wanted.
        #[must_use]
        pub fn pin_errors(&self) -> Vec<(usize, alloc::string::String)> {
            match &self.cpus {
                Cpus::Threads(threads) => threads.pin_errors().collect(),
                Cpus::Inline(_) => Vec::new(),
            }
        }

        /// Takes the CPUs back from their threads: the stack is inline again,
        /// with all its devices and sockets. Does nothing when it is inline.
        ///
        /// # Errors
        /// [`StackError::Stopped`] when a thread has panicked.
        pub fn stop(&mut self) -> Result<(), StackError> {
            self.stop_kworker();
            match core::mem::replace(&mut self.cpus, Cpus::inline(Vec::new())) {
                Cpus::Threads(threads) => self.cpus = Cpus::inline(threads.join()?),
                inline @ Cpus::Inline(_) => self.cpus = inline,
            }
            Ok(())
        }

        fn stop_kworker(&mut self) {
            let Some(kworker) = self.kworker.take() else {
                return;
            };
            kworker.stop.store(true, Ordering::Release);
            self.work.wake();
            if let Ok(work) = kworker.thread.join() {
                self.pending_work = Some(work);
            }
        }
    }
}

#[cfg(feature = "std")]
pub(super) use running::Kworker;
#[cfg(feature = "std")]
pub use running::ThreadOptions;
