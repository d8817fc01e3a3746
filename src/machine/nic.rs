//! One emulated NIC: its slot, its model, its wire, and the thread that drives
//! them while the machine runs by itself.

use super::drivers::{OnBus, Service};
use super::watch::{WatchedWire, WireWatch};
use super::{MachineError, NicKind, Progress};
use softnet_emulated::{DeviceModel, DeviceThread, ModelCounters, Monitor, PciBus, PciFunction};
use softnet_netstack::IfIndex;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{PciDevice, PciDrivers};
use softnet_nic_hal::wire::Wire;
use softnet_softirq::Clock;
use std::sync::Arc;

/// An emulated NIC and what it is plugged into.
pub(crate) struct EmulatedNic {
    dev: IfIndex,
    function: PciFunction,
    monitor: Monitor,
    watch: Arc<WireWatch>,
    drive: Drive,
}

/// Who drives the model.
enum Drive {
    /// Whoever steps the machine.
    Inline(Box<dyn DeviceModel>, Box<dyn Wire>),
    /// A thread.
    Thread(DeviceThread),
    /// Nobody any more: its thread has panicked.
    Lost,
}

/// What a NIC has counted below its driver.
pub(crate) struct NicCounters {
    pub(crate) function: String,
    pub(crate) dma_faults: u64,
    pub(crate) model: ModelCounters,
    pub(crate) wire: Vec<(&'static str, u64)>,
}

impl EmulatedNic {
    /// Plugs a card in, binds its driver, and puts it into service.
    pub(super) fn plug_in(
        kind: NicKind,
        bus: &PciBus,
        drivers: &mut PciDrivers<OnBus>,
        mut service: Service<'_>,
        wire: Box<dyn Wire>,
        mac: MacAddress,
    ) -> Result<Self, MachineError> {
        let (function, model) = kind.attach(bus, mac)?;
        let bound = drivers.bind(&mut service, Arc::new(function.clone()));
        let dev = *bound.inspect_err(|_| {
            bus.unplug(function.name());
        })?;
        let watch = Arc::new(WireWatch::new(wire.waker()));
        let monitor = model.monitor();
        let wire = Box::new(WatchedWire::new(wire, watch.clone()));
        Ok(Self {
            dev,
            function,
            monitor,
            watch,
            drive: Drive::Inline(model, wire),
        })
    }

    pub(crate) fn dev(&self) -> IfIndex {
        self.dev
    }

    /// Pulls the card out of its slot. Its thread ends by itself.
    pub(super) fn pull_out(&mut self, bus: &PciBus) -> bool {
        let was_there = bus.unplug(self.function.name());
        self.watch.wake();
        was_there
    }

    /// Gives the model a thread.
    pub(super) fn start(&mut self, clock: &Arc<dyn Clock>) -> Result<(), MachineError> {
        match std::mem::replace(&mut self.drive, Drive::Lost) {
            Drive::Inline(model, wire) => {
                let clock = clock.clone();
                let now = Arc::new(move || clock.now_ns());
                let thread = DeviceThread::spawn(model, wire, now).map_err(MachineError::Thread)?;
                self.drive = Drive::Thread(thread);
            }
            other => self.drive = other,
        }
        Ok(())
    }

    /// Takes the model back from its thread.
    pub(super) fn stop(&mut self) -> Result<(), MachineError> {
        match std::mem::replace(&mut self.drive, Drive::Lost) {
            Drive::Thread(thread) => {
                let (model, wire) = thread.stop().ok_or(MachineError::Panicked(self.dev))?;
                self.drive = Drive::Inline(model, wire);
            }
            other => self.drive = other,
        }
        Ok(())
    }

    /// One step of the model on the caller's thread.
    pub(super) fn step(&mut self, now_ns: u64) -> Progress {
        let Drive::Inline(model, wire) = &mut self.drive else {
            return Progress::default();
        };
        let step = model.step(now_ns, &mut **wire);
        if !model.is_present() {
            return Progress::default();
        }
        let events = [step.next_event_ns, wire.next_event_ns()];
        Progress {
            worked: step.worked() || step.again,
            next_event_ns: events.into_iter().flatten().min(),
        }
    }

    /// Waits until a frame may have come, at most `ns` nanoseconds.
    pub(super) fn wait(&mut self, ns: u64) {
        if let Drive::Inline(_, wire) = &mut self.drive {
            wire.wait(Some(ns));
        }
    }

    pub(crate) fn counters(&self) -> NicCounters {
        let wire = match &self.drive {
            Drive::Inline(_, wire) => {
                let mut counters = Vec::new();
                wire.counters(&mut |name, value| counters.push((name, value)));
                counters
            }
            Drive::Thread(thread) => self.watch.ask(|| thread.is_finished()),
            Drive::Lost => self.watch.last(),
        };
        NicCounters {
            function: self.function.name().to_owned(),
            dma_faults: self.function.dma_faults(),
            model: self.monitor.counters(),
            wire,
        }
    }
}
