//! The whole stack: CPUs, devices and sockets, assembled.
//!
//! A stack is made inline: its CPUs run on the caller's thread, in
//! [`Stack::run_once`], and with a virtual clock two runs with the same seed do
//! exactly the same. [`Stack::start`] moves each CPU to a thread of its own.
//! Everything else works the same both ways.

mod config;
mod cpus;
mod devices;
mod sockets;

pub use config::{MakeIdle, StackConfig, StackError, StackParts, UdpOptions};
pub use cpus::Progress;
pub use devices::NicOptions;
#[cfg(feature = "std")]
pub use devices::ThreadOptions;

use crate::device::{NetDevice, TxSlot};
use crate::interface::Interface;
use crate::link::{HandlerTaken, PacketTap};
use crate::netcore::{CpuCounters, LOOPBACK, NetCore, NewCore};
use crate::notify::Notify;
use crate::peer::{Doors, MAX_BACKLOG, Peer};
use crate::protocol::ProtocolHandler;
use crate::registry::Registry;
use crate::route::{IfIndex, IpPrefix, Route};
use crate::shard::{Backlog, ControlAction, NetTxAction, Shard, TimerAction};
use crate::steering::Steering;
use crate::transport::Transports;
use crate::udp::Udp;
use crate::wire::ethernet::EtherType;
use crate::wire::ipv4::IpProtocol;
use crate::work::{Work, WorkQueue};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use cpus::{CpuIdle, Cpus, Executor};
use softnet_dma_ring::{FramePool, mpsc};
use softnet_napi::{Budget, NetRxAction, SoftnetCounters, SoftnetData};
use softnet_nic_hal::MacAddress;
use softnet_softirq::{Clock, CpuId, Idle, Processor, SoftirqStats, Softirqs};

/// A network stack.
pub struct Stack {
    cpus: Cpus,
    peers: Arc<[Peer]>,
    counters: Vec<CpuReport>,
    interfaces: Arc<spin::Mutex<Vec<Arc<Interface>>>>,
    registry: Arc<Registry>,
    steering: Arc<Steering>,
    pool: FramePool,
    /// Bytes that a queued frame counts against a receive buffer.
    frame_size: usize,
    work: WorkQueue,
    /// The end of the work queue, while no worker thread has it.
    pending_work: Option<mpsc::Receiver<Work>>,
    #[cfg(feature = "std")]
    kworker: Option<devices::Kworker>,
    next_index: u16,
}

/// What any thread may read of a CPU.
struct CpuReport {
    net: Arc<CpuCounters>,
    softnet: Arc<SoftnetCounters>,
}

/// A CPU that is being built.
struct NewCpu {
    softirqs: Softirqs<Shard>,
    idle: CpuIdle,
    softnet: SoftnetData<Shard>,
    doors: Doors,
}

impl Stack {
    /// Makes a stack with `clock` as its only source of time. It has a loopback
    /// device and nothing else.
    ///
    /// # Errors
    /// [`StackError`] says what of the configuration cannot be.
    pub fn new(config: &StackConfig, clock: &Arc<dyn Clock>) -> Result<Self, StackError> {
        Self::with_parts(config, clock, StackParts::default())
    }

    /// Makes a stack of parts that the embedder brings, and of its own where he
    /// brings none.
    ///
    /// # Errors
    /// [`StackError`] says what of the configuration cannot be.
    pub fn with_parts(
        config: &StackConfig,
        clock: &Arc<dyn Clock>,
        parts: StackParts<'_>,
    ) -> Result<Self, StackError> {
        let StackParts { pool, mut idle } = parts;
        let mut make_idle = |cpu| match &mut idle {
            Some(make) => CpuIdle::Own(make(cpu)),
            None => CpuIdle::new(),
        };
        let mut config = config.clone();
        if let Some(pool) = &pool {
            config.pool.frames = u32::try_from(pool.frames()).unwrap_or(u32::MAX);
            config.pool.headroom = u32::try_from(pool.headroom()).unwrap_or(u32::MAX);
        }
        Self::assemble(&config, clock, pool, &mut make_idle)
    }

    fn assemble(
        config: &StackConfig,
        clock: &Arc<dyn Clock>,
        pool: Option<FramePool>,
        idle: &mut dyn FnMut(usize) -> CpuIdle,
    ) -> Result<Self, StackError> {
        config.check()?;
        let pool = pool.map_or_else(|| FramePool::new(config.pool), Ok)?;
        let steering = Arc::new(Steering::new(config.cpus, config.rss.clone()));
        let mut peers = Vec::new();
        let mut new_cpus = Vec::new();
        for cpu in 0..config.cpus {
            let (peer, new) = Self::new_cpu(cpu, config, clock, idle(cpu))?;
            peers.push(peer);
            new_cpus.push(new);
        }
        let peers: Arc<[Peer]> = peers.into();
        let mut counters = Vec::new();
        let mut processors = Vec::new();
        for (cpu, new) in new_cpus.into_iter().enumerate() {
            let net = Arc::new(CpuCounters::default());
            let softnet = new.softnet.counters().clone();
            counters.push(CpuReport {
                net: net.clone(),
                softnet,
            });
            let core = NetCore::new(NewCore {
                cpu,
                cache: pool.cache(config.frame_cache),
                counters: net,
                peers: peers.clone(),
                seed: config.seed.wrapping_add(cpu as u64),
            });
            let udp = Udp::new(cpu, config.udp_mem(), config.seed);
            let transports = Transports::new(udp);
            let mut shard = Shard::new(core, transports, new.softnet, steering.clone(), new.doors);
            add_loopback(&mut shard);
            processors.push(Processor {
                softirqs: new.softirqs,
                context: shard,
                idle: new.idle,
            });
        }
        let (work, pending_work) = WorkQueue::new();
        Ok(Self {
            cpus: Cpus::inline(processors),
            peers,
            counters,
            interfaces: Arc::default(),
            registry: Arc::new(Registry::new(config.seed)),
            steering,
            pool,
            frame_size: config.frame_size(),
            work,
            pending_work: Some(pending_work),
            #[cfg(feature = "std")]
            kworker: None,
            next_index: LOOPBACK.0 + 1,
        })
    }

    fn new_cpu(
        cpu: usize,
        config: &StackConfig,
        clock: &Arc<dyn Clock>,
        idle: CpuIdle,
    ) -> Result<(Peer, NewCpu), StackError> {
        let mut softirqs = Softirqs::new(CpuId(cpu as u32), clock.clone(), idle.waker());
        softirqs.open(Box::new(NetRxAction))?;
        softirqs.open(Box::new(NetTxAction))?;
        softirqs.open(Box::new(TimerAction))?;
        softirqs.open(Box::new(ControlAction))?;
        let mut softnet = SoftnetData::new(softirqs.handle(), config.net_rx);
        let (backlog, packets) = mpsc::channel(MAX_BACKLOG);
        let napi = softnet.add(Box::new(Backlog::new(packets)), Budget::WEIGHT)?;
        let (peer, doors) = Peer::new(softirqs.handle(), backlog, napi);
        Ok((
            peer,
            NewCpu {
                softirqs,
                idle,
                softnet,
                doors,
            },
        ))
    }

    /// How many CPUs there are.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.peers.len()
    }

    /// The pool of all frames.
    #[must_use]
    pub fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// Runs each CPU once on the caller's thread, and then what the CPUs left to
    /// the control plane. Does nothing when the CPUs are threads.
    pub fn run_once(&mut self) -> Progress {
        let progress = self.cpus.run_once();
        self.run_work();
        progress
    }

    /// Runs until nothing is left to do at this time. Returns when the next
    /// timer is due, in nanoseconds of the clock.
    pub fn run_until_idle(&mut self) -> Option<u64> {
        loop {
            let progress = self.run_once();
            if !progress.ran && !progress.work_left {
                return progress.next_timer_ns;
            }
        }
    }

    /// Has NICs polled by each [`run_once`](Self::run_once), without interrupts, or
    /// no more.
    ///
    /// For callers that do nothing else: where packets come as fast as they can be
    /// worked on, an interrupt only says what the next poll finds anyway, and costs
    /// more than the packet. A queue is polled so from its next interrupt on, and
    /// [`sleep`](Self::sleep) lets interrupts in.
    ///
    /// # Errors
    /// [`StackError::Running`] when the CPUs are threads: these spin for as long as
    /// `ThreadOptions` says.
    pub fn set_busy_poll(&mut self, on: bool) -> Result<(), StackError> {
        #[cfg(feature = "std")]
        if let Cpus::Threads(_) = self.cpus {
            return Err(StackError::Running);
        }
        self.on_each_cpu(move |shard| shard.softnet.set_busy_poll(on))?;
        Ok(())
    }

    /// Puts all CPUs to sleep on the caller's thread, by `wait`, which gets the
    /// time until the next timer, at most `limit_ns`, in nanoseconds. It is to
    /// return earlier on an interrupt and on a wake-up, at whichever CPU's place.
    ///
    /// `wait` is not called when a CPU has something to do, or when the CPUs are
    /// threads. A stack of one CPU that was made with a place of its own
    /// ([`StackParts::idle`]) sleeps there, without `wait`.
    pub fn sleep(&mut self, limit_ns: Option<u64>, mut wait: impl FnMut(Option<u64>)) {
        self.cpus.sleep(limit_ns, &mut wait);
    }

    /// Does `work` on each CPU in turn and returns the results, in the order of
    /// the CPUs. On the CPU's own thread it runs between two softirqs.
    ///
    /// # Errors
    /// [`StackError::Stopped`] when a CPU's thread has ended.
    pub fn on_each_cpu<R: Send + 'static>(
        &mut self,
        work: impl Fn(&mut Shard) -> R + Clone + Send + 'static,
    ) -> Result<Vec<R>, StackError> {
        (0..self.cpus())
            .map(|cpu| {
                let work = work.clone();
                self.exec(cpu, move |shard, _| work(shard))
            })
            .collect()
    }

    /// Adds a tap for all packets, made for each CPU by `make`.
    ///
    /// # Errors
    /// [`StackError::Stopped`].
    pub fn add_tap(
        &mut self,
        mut make: impl FnMut(usize) -> Box<dyn PacketTap>,
    ) -> Result<(), StackError> {
        for cpu in 0..self.cpus() {
            let tap = make(cpu);
            self.exec(cpu, move |shard, _| shard.add_tap(tap))?;
        }
        Ok(())
    }

    /// Adds a handler for an EtherType, made for each CPU by `make`.
    ///
    /// # Errors
    /// [`StackError::Taken`] when the EtherType has one, [`StackError::Stopped`].
    pub fn add_link_handler(
        &mut self,
        ether_type: EtherType,
        mut make: impl FnMut(usize) -> Box<dyn ProtocolHandler>,
    ) -> Result<(), StackError> {
        for cpu in 0..self.cpus() {
            let handler = make(cpu);
            let added: Result<(), HandlerTaken> = self.exec(cpu, move |shard, _| {
                shard.add_link_handler(ether_type, handler)
            })?;
            added?;
        }
        Ok(())
    }

    /// Adds a handler for an IP protocol number, made for each CPU by `make`.
    ///
    /// # Errors
    /// [`StackError::Taken`] when the number has one, [`StackError::Stopped`].
    pub fn add_protocol(
        &mut self,
        protocol: IpProtocol,
        mut make: impl FnMut(usize) -> Box<dyn ProtocolHandler>,
    ) -> Result<(), StackError> {
        for cpu in 0..self.cpus() {
            let handler = make(cpu);
            let added: Result<(), HandlerTaken> =
                self.exec(cpu, move |shard, _| shard.add_protocol(protocol, handler))?;
            added?;
        }
        Ok(())
    }

    /// Gives a device an address, and a route to its network.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn add_address(
        &mut self,
        dev: IfIndex,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<(), StackError> {
        self.interface(dev)?;
        let IpAddr::V4(v4) = address else {
            return Err(StackError::Family(address));
        };
        let prefix = IpPrefix::new(address, prefix_len).ok_or(StackError::Prefix {
            address,
            prefix_len,
        })?;
        if v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || v4.is_loopback() {
            return Err(StackError::BadAddress(address));
        }
        let route = Route::on_link(prefix, dev).with_source(address);
        let added = self.on_each_cpu(move |shard| {
            if shard.core.addresses.is_on(dev, v4) {
                return false;
            }
            shard.core.addresses.add(dev, v4, prefix_len);
            // A second address in the same network leaves the first one's route.
            let _ = shard.core.routes.add(route);
            true
        })?;
        added
            .iter()
            .all(|&added| added)
            .then_some(())
            .ok_or(StackError::AddressExists(address))
    }

    /// Takes an address away from a device, and with the last one of its network
    /// the route.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn remove_address(&mut self, dev: IfIndex, address: IpAddr) -> Result<(), StackError> {
        let IpAddr::V4(v4) = address else {
            return Err(StackError::Family(address));
        };
        let removed = self.on_each_cpu(move |shard| shard.core.remove_address(dev, v4))?;
        removed
            .iter()
            .all(|&r| r)
            .then_some(())
            .ok_or(StackError::NotLocal(address))
    }

    /// Adds a route on all CPUs.
    ///
    /// # Errors
    /// [`StackError::Route`].
    pub fn add_route(&mut self, route: Route) -> Result<(), StackError> {
        self.interface(route.device)?;
        for result in self.on_each_cpu(move |shard| shard.core.routes.add(route))? {
            result?;
        }
        Ok(())
    }

    /// Sets a neighbour's station address for good (`ip neigh add`).
    ///
    /// # Errors
    /// [`StackError`].
    pub fn add_neighbour(
        &mut self,
        dev: IfIndex,
        address: Ipv4Addr,
        mac: MacAddress,
    ) -> Result<(), StackError> {
        self.interface(dev)?;
        self.on_each_cpu(move |shard| shard.core.neigh_set_permanent(dev, address, mac))?;
        Ok(())
    }

    /// The devices, without the loopback device.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Arc<Interface>> {
        self.interfaces.lock().clone()
    }

    /// The device with this number.
    ///
    /// # Errors
    /// [`StackError::NoDevice`].
    pub fn interface(&self, dev: IfIndex) -> Result<Arc<Interface>, StackError> {
        let interfaces = self.interfaces.lock();
        let found = interfaces.iter().find(|interface| interface.dev == dev);
        found.cloned().ok_or(StackError::NoDevice(dev))
    }

    /// The counters of a CPU's protocols; `None` when there is no such CPU.
    #[must_use]
    pub fn counters(&self, cpu: usize) -> Option<Arc<CpuCounters>> {
        Some(self.counters.get(cpu)?.net.clone())
    }

    /// A CPU's line of `/proc/net/softnet_stat`.
    #[must_use]
    pub fn softnet_counters(&self, cpu: usize) -> Option<Arc<SoftnetCounters>> {
        Some(self.counters.get(cpu)?.softnet.clone())
    }

    /// A CPU's column of `/proc/softirqs`.
    #[must_use]
    pub fn softirq_stats(&self, cpu: usize) -> Option<SoftirqStats> {
        Some(self.peers.get(cpu)?.cpu.stats())
    }

    /// A fresh place to wait for sockets, for [`UdpOptions::notify`].
    #[must_use]
    pub fn new_notify(&self) -> Arc<Notify> {
        Arc::default()
    }
}

/// Packets to this host's own addresses go down and come up here.
fn add_loopback(shard: &mut Shard) {
    let mac = MacAddress::default();
    let mut device = NetDevice::new(LOOPBACK, String::from("lo"), mac, u16::MAX);
    device.set_tx([TxSlot::Loopback].into(), 0);
    shard.core.add_device(device);
    let address = Ipv4Addr::LOCALHOST;
    shard.core.addresses.add(LOOPBACK, address, 8);
}

impl Drop for Stack {
    /// Stops the CPUs' threads, and then the NICs, so that no device reaches
    /// memory of the stack any more.
    fn drop(&mut self) {
        #[cfg(feature = "std")]
        if self.stop().is_err() {
            // A CPU's thread has panicked, and has said so; its rings are gone.
            return;
        }
        for interface in self.interfaces() {
            let _ = self.remove_nic(interface.dev);
        }
    }
}
