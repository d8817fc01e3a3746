//! A stack with emulated NICs: one owner of everything.

#[cfg(feature = "af-xdp")]
mod af_xdp;
mod drivers;
mod kind;
mod nic;
#[cfg(feature = "af-xdp")]
mod rss;
mod together;
mod watch;

use crate::report::Report;
#[cfg(feature = "af-xdp")]
pub(crate) use af_xdp::EventIdle;
use drivers::{OnBus, Service};
pub use kind::{NicKind, UnknownNic};
use nic::EmulatedNic;
pub(crate) use nic::EmulatedNic as Nic;
#[cfg(feature = "af-xdp")]
pub use rss::rss_of;
use softnet_emulated::PciBus;
use softnet_emulated::pci::AttachError;
use softnet_netstack::{IfIndex, Interface, Stack, StackConfig, StackError, ThreadOptions};
use softnet_nic_hal::bus::{PciDevice, PciDrivers};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::Wire;
use softnet_nic_hal::{MacAddress, NicError};
use softnet_softirq::{Clock, MonotonicClock, VirtualClock};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;
pub use together::run_together;

/// Where a machine takes its time from.
#[derive(Clone, Debug, Default)]
pub enum Time {
    /// The system's monotonic clock, from 0 on.
    #[default]
    Real,
    /// A clock that stands still until it is moved: the machine then runs on the
    /// caller's thread only, and two runs do exactly the same.
    Virtual(Arc<VirtualClock>),
}

/// How a NIC is plugged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicConfig {
    /// The station address; `52:54:00:12:34:56` and the following ones, if it
    /// is not said.
    pub mac: Option<MacAddress>,
    /// The device's name; `eth0`, `eth1`, ... otherwise.
    pub name: Option<String>,
    /// Descriptors, or frames, of each ring; 256 otherwise.
    pub ring: Option<u16>,
    /// The largest network-layer packet, in bytes; 1500 otherwise.
    pub mtu: Option<u16>,
    /// Whether frames to other stations come in too.
    pub promiscuous: bool,
}

/// What a machine could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The stack refused.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The bus has no place for another NIC.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The driver could not be bound to the NIC.
    #[error("the driver does not take the NIC: {0}")]
    Probe(#[source] Box<dyn Error + Send + Sync>),
    /// No driver is for the NIC.
    #[error("no driver is for the NIC")]
    NoDriver,
    /// The driver refused a setting.
    #[error(transparent)]
    Nic(#[from] NicError),
    /// The CPUs cannot wait for sockets of the kernel.
    #[cfg(feature = "af-xdp")]
    #[error(transparent)]
    Events(#[from] softnet_af_xdp::events::EventsError),
    /// The kernel does not take the frames' memory.
    #[cfg(feature = "af-xdp")]
    #[error(transparent)]
    Umem(#[from] softnet_af_xdp::UmemError),
    /// The machine's frames do not lie in memory that the kernel knows.
    #[cfg(feature = "af-xdp")]
    #[error("the machine's frames are no UMEM: make it with Machine::on_umem")]
    NoUmem,
    /// A device's thread could not be started.
    #[error("no thread for the device: {0}")]
    Thread(#[source] io::Error),
    /// A device's thread has panicked.
    #[error("the thread of the device {0:?} has panicked")]
    Panicked(IfIndex),
    /// A machine on a virtual clock was to run by itself.
    #[error("a machine on a virtual clock has no threads: nobody would move its clock")]
    VirtualTime,
    /// A machine that runs by itself was to be run by the caller.
    #[error("the machine runs on threads of its own: stop it first")]
    Running,
}

/// What one turn of a machine came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether a device or a softirq did anything.
    pub worked: bool,
    /// When the next timer of a device, a wire or the stack is due, in
    /// nanoseconds of the clock; `None`: only after something from outside.
    pub next_event_ns: Option<u64>,
}

/// A network stack, a PCI bus with emulated NICs, and the wires that they are
/// plugged into.
///
/// A machine is made *inline*: it does nothing but in [`run_once`] and the
/// methods built on it, on the caller's thread. [`start`] gives each CPU of the
/// stack and each device a thread; [`stop`] takes them back. Sockets work both
/// ways.
///
/// Dropping it stops the devices, then the stack, and then takes the NICs
/// out of service. Sockets may outlive it; they hear nothing more then.
///
/// [`run_once`]: Self::run_once
/// [`start`]: Self::start
/// [`stop`]: Self::stop
pub struct Machine {
    // The order of dropping: no device does DMA when the stack goes.
    nics: Vec<EmulatedNic>,
    stack: Stack,
    bus: PciBus,
    drivers: PciDrivers<OnBus>,
    /// On the real clock.
    #[cfg(feature = "af-xdp")]
    kernel: Option<af_xdp::KernelSide>,
    time: Time,
    clock: Arc<dyn Clock>,
    threaded: bool,
    next_mac: u8,
}

/// The longest wait for something that may already have happened.
const NAP: Duration = Duration::from_millis(1);

impl Machine {
    /// A machine without a NIC.
    ///
    /// # Errors
    /// [`MachineError::Stack`] says what of the configuration cannot be.
    pub fn new(config: &StackConfig, time: Time) -> Result<Self, MachineError> {
        #[cfg(feature = "af-xdp")]
        return Self::make(config, time, None);
        #[cfg(not(feature = "af-xdp"))]
        {
            let (clock, irqs) = ground(config, &time);
            let stack = Stack::new(config, &clock)?;
            Ok(Self::assemble(stack, time, clock, irqs))
        }
    }

    /// The CPUs wait for sockets of the kernel; on time that stands still there is no
    /// use for that.
    #[cfg(feature = "af-xdp")]
    fn make(
        config: &StackConfig,
        time: Time,
        umem: Option<Arc<softnet_af_xdp::Umem>>,
    ) -> Result<Self, MachineError> {
        let (clock, irqs) = ground(config, &time);
        let kernel = match time {
            Time::Real => Some(af_xdp::KernelSide::new(&irqs, umem)?),
            Time::Virtual(_) => None,
        };
        let stack = match &kernel {
            Some(kernel) => kernel.stack(config, &clock)?,
            None => Stack::new(config, &clock)?,
        };
        let mut machine = Self::assemble(stack, time, clock, irqs);
        machine.kernel = kernel;
        Ok(machine)
    }

    fn assemble(stack: Stack, time: Time, clock: Arc<dyn Clock>, irqs: Arc<IrqTable>) -> Self {
        Self {
            nics: Vec::new(),
            stack,
            bus: PciBus::new(irqs),
            drivers: drivers::all(),
            #[cfg(feature = "af-xdp")]
            kernel: None,
            time,
            clock,
            threaded: false,
            next_mac: 0x56,
        }
    }

    /// Plugs an emulated 82540EM in: [`add_nic`](Self::add_nic) with
    /// [`NicKind::E1000`].
    ///
    /// # Errors
    /// [`MachineError`]; the machine is then as it was before.
    pub fn add_e1000(
        &mut self,
        wire: Box<dyn Wire>,
        config: &NicConfig,
    ) -> Result<IfIndex, MachineError> {
        self.add_nic(NicKind::E1000, wire, config)
    }

    /// Plugs an emulated NIC into the bus and into `wire`, binds its driver to it,
    /// and puts it into service; one with several queues gives one to each CPU. The
    /// link of one that negotiates comes up about a millisecond later: see
    /// [`wait_for_link`](Self::wait_for_link).
    ///
    /// # Errors
    /// [`MachineError`]; the machine is then as it was before.
    pub fn add_nic(
        &mut self,
        kind: NicKind,
        wire: Box<dyn Wire>,
        config: &NicConfig,
    ) -> Result<IfIndex, MachineError> {
        let mac = config.mac.unwrap_or_else(|| self.fresh_mac());
        let service = Service {
            stack: &mut self.stack,
            config,
        };
        let mut nic = EmulatedNic::plug_in(kind, &self.bus, &mut self.drivers, service, wire, mac)?;
        let dev = nic.dev();
        if self.threaded
            && let Err(error) = nic.start(&self.clock)
        {
            nic.pull_out(&self.bus);
            self.unbind(dev);
            return Err(error);
        }
        self.nics.push(nic);
        Ok(dev)
    }

    /// Binds a driver to a PCI function that is on no bus of the machine's, as one that
    /// VFIO gives out, and puts it into service. What its interrupts count is counted
    /// where the function has its lines: [`PciBus::irqs`] of [`bus`](Self::bus), so that
    /// reports have them.
    ///
    /// Nothing moves on a virtual clock: such a function lives in real time.
    ///
    /// # Errors
    /// [`MachineError`]; the machine is then as it was before.
    pub fn add_pci<D: PciDevice>(
        &mut self,
        device: Arc<D>,
        config: &NicConfig,
    ) -> Result<IfIndex, MachineError> {
        let mut service = Service {
            stack: &mut self.stack,
            config,
        };
        Ok(*drivers::all::<D>().bind(&mut service, device)?)
    }

    fn fresh_mac(&mut self) -> MacAddress {
        let last = self.next_mac;
        self.next_mac = last.wrapping_add(1);
        MacAddress([0x52, 0x54, 0, 0x12, 0x34, last])
    }

    /// Pulls a NIC out of its slot, whatever it is doing. Its driver finds out
    /// by itself, within two seconds of the clock, and the device is then
    /// [gone](Interface::is_gone). Returns whether it was plugged in.
    pub fn unplug(&mut self, dev: IfIndex) -> bool {
        let found = self.nics.iter_mut().find(|nic| nic.dev() == dev);
        found.is_some_and(|nic| nic.pull_out(&self.bus))
    }

    /// Takes a NIC out of service, and then out of its slot.
    ///
    /// # Errors
    /// [`StackError::NoDevice`].
    pub fn remove_nic(&mut self, dev: IfIndex) -> Result<(), MachineError> {
        if !self.unbind(dev) {
            self.stack.remove_nic(dev)?;
        }
        if let Some(at) = self.nics.iter().position(|nic| nic.dev() == dev) {
            let mut nic = self.nics.swap_remove(at);
            nic.pull_out(&self.bus);
        }
        #[cfg(feature = "af-xdp")]
        if let Some(kernel) = &mut self.kernel {
            kernel.remove(dev);
        }
        Ok(())
    }

    /// Has the driver of a NIC on the bus take it out of service.
    fn unbind(&mut self, dev: IfIndex) -> bool {
        let mut service = Service {
            stack: &mut self.stack,
            config: &NicConfig::default(),
        };
        let is = |_: &_, bound: &IfIndex| *bound == dev;
        self.drivers.unbind(&mut service, is)
    }

    /// The stack: addresses, routes, sockets.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The stack, to be changed.
    #[must_use]
    pub fn stack_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }

    /// The bus that the NICs are plugged into.
    #[must_use]
    pub fn bus(&self) -> &PciBus {
        &self.bus
    }

    /// The machine's time, in nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Whether the machine runs on threads of its own.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threaded
    }

    /// Gives each CPU of the stack and each device a thread of its own.
    ///
    /// # Errors
    /// [`MachineError::VirtualTime`], [`StackError::Running`] when it runs
    /// already, and what the system says when it has no thread to give.
    pub fn start(&mut self, options: &ThreadOptions) -> Result<(), MachineError> {
        if matches!(self.time, Time::Virtual(_)) {
            return Err(MachineError::VirtualTime);
        }
        self.stack.start(options)?;
        self.threaded = true;
        for nic in &mut self.nics {
            nic.start(&self.clock)?;
        }
        Ok(())
    }

    /// Takes CPUs and devices back from their threads: the machine is inline
    /// again, with all its sockets. Does nothing when it is inline.
    ///
    /// # Errors
    /// [`MachineError::Panicked`] or [`StackError::Stopped`] when a thread has
    /// panicked.
    pub fn stop(&mut self) -> Result<(), MachineError> {
        self.threaded = false;
        let stopped: Vec<_> = self.nics.iter_mut().map(EmulatedNic::stop).collect();
        self.stack.stop()?;
        stopped.into_iter().collect()
    }

    /// One turn on the caller's thread: each device once, then each CPU once.
    /// Does nothing while the machine runs by itself.
    pub fn run_once(&mut self) -> Progress {
        if self.threaded {
            return Progress::default();
        }
        let now_ns = self.now_ns();
        let mut progress = Progress::default();
        for nic in &mut self.nics {
            progress.add(nic.step(now_ns));
        }
        let stack = self.stack.run_once();
        progress.add(Progress {
            worked: stack.ran || stack.work_left,
            next_event_ns: stack.next_timer_ns,
        });
        progress
    }

    /// Runs until nothing is left to do at this time. Returns when the next
    /// timer is due, in nanoseconds of the clock.
    pub fn run_until_idle(&mut self) -> Option<u64> {
        loop {
            let progress = self.run_once();
            if !progress.worked {
                return progress.next_event_ns;
            }
        }
    }

    /// Runs on the caller's thread for so many nanoseconds. A virtual clock is
    /// moved from event to event; with the real one the thread sleeps between
    /// them.
    ///
    /// # Errors
    /// [`MachineError::Running`].
    pub fn run_for(&mut self, ns: u64) -> Result<(), MachineError> {
        let until = self.now_ns().saturating_add(ns);
        self.run_until(until, |_| false).map(drop)
    }

    /// Runs on the caller's thread until `done` holds, which is looked at
    /// whenever nothing is left to do, or until the clock shows `until_ns`.
    /// Returns whether `done` held.
    ///
    /// # Errors
    /// [`MachineError::Running`].
    pub fn run_until(
        &mut self,
        until_ns: u64,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, MachineError> {
        if self.threaded {
            return Err(MachineError::Running);
        }
        loop {
            let next = self.run_until_idle();
            if done(self) {
                return Ok(true);
            }
            if self.now_ns() >= until_ns {
                return Ok(false);
            }
            self.pass_time(next.map_or(until_ns, |next| next.min(until_ns)));
        }
    }

    /// Lets time pass until `to_ns`, or, on the real clock, until a frame comes.
    fn pass_time(&mut self, to_ns: u64) {
        match &self.time {
            Time::Virtual(clock) => clock.set(to_ns),
            Time::Real => self.rest(to_ns.saturating_sub(self.clock.now_ns())),
        }
    }

    /// Lets at most so many nanoseconds pass on the real clock.
    fn rest(&mut self, ns: u64) {
        #[cfg(feature = "af-xdp")]
        if let ([], Some(kernel)) = (&self.nics[..], &self.kernel) {
            return self.stack.sleep(Some(ns), |ns| kernel.wait(ns));
        }
        match &mut self.nics[..] {
            [only] => only.wait(ns),
            _ => std::thread::sleep(NAP.min(Duration::from_nanos(ns))),
        }
    }

    /// Waits until a device's link is up, at most `timeout`. Runs the machine
    /// meanwhile, if it is inline. Returns whether the link is up.
    ///
    /// # Errors
    /// [`StackError::NoDevice`].
    pub fn wait_for_link(&mut self, dev: IfIndex, timeout: Duration) -> Result<bool, MachineError> {
        let interface = self.stack.interface(dev)?;
        let until = self
            .now_ns()
            .saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        if !self.threaded {
            return self.run_until(until, |_| interface.link().up);
        }
        while !interface.link().up && self.now_ns() < until {
            std::thread::sleep(NAP);
        }
        Ok(interface.link().up)
    }

    /// What all layers have counted so far.
    #[must_use]
    pub fn report(&mut self) -> Report {
        Report::gather(&self.stack, &self.bus, &self.nics, self.clock.now_ns())
    }

    /// A device, for its link and its counters.
    ///
    /// # Errors
    /// [`StackError::NoDevice`].
    pub fn interface(&self, dev: IfIndex) -> Result<Arc<Interface>, MachineError> {
        Ok(self.stack.interface(dev)?)
    }
}

/// A clock and interrupt lines.
fn ground(config: &StackConfig, time: &Time) -> (Arc<dyn Clock>, Arc<IrqTable>) {
    let clock: Arc<dyn Clock> = match time {
        Time::Real => Arc::new(MonotonicClock::new()),
        Time::Virtual(clock) => clock.clone(),
    };
    // The stack refuses other numbers.
    (clock, Arc::new(IrqTable::new(config.cpus.clamp(1, 64))))
}

impl Progress {
    fn add(&mut self, other: Self) {
        self.worked |= other.worked;
        let both = [self.next_event_ns, other.next_event_ns];
        self.next_event_ns = both.into_iter().flatten().min();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A thread that has panicked has said so itself.
        let _ = self.stop();
    }
}
