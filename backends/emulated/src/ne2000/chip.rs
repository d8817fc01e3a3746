//! The chip on its bus, and who drives it.
//!
//! All of its state is under one lock, which is held for one register access, or
//! for the frames of one step. The chip does no DMA, so nothing else waits for
//! it. Interrupt handlers are called with the lock free.

use super::Ne2000Config;
use super::core::Core;
use super::regs::port;
use super::rx::Fate;
use super::tx::Sent;
use crate::doorbell::Doorbell;
use crate::model::{ModelCounters, Step};
use crate::pci::{FunctionPort, PciModel, Width};
use softnet_nic_hal::wire::{Wire, WireWaker};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Frames received in one step.
const RX_BUDGET: usize = 64;

pub(super) struct Chip {
    port: Arc<FunctionPort>,
    state: Mutex<State>,
    doorbell: Doorbell,
    /// A thread drives the model in real time.
    threaded: AtomicBool,
    /// The time of the last step.
    now_ns: AtomicU64,
}

struct State {
    core: Core,
    counters: ModelCounters,
}

impl Chip {
    pub(super) fn new(port: Arc<FunctionPort>, config: &Ne2000Config) -> Self {
        Self {
            port,
            state: Mutex::new(State {
                core: Core::new(config),
                counters: ModelCounters::default(),
            }),
            doorbell: Doorbell::default(),
            threaded: AtomicBool::new(false),
            now_ns: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn step(&self, now_ns: u64, wire: &mut dyn Wire) -> Step {
        self.now_ns.store(now_ns, Ordering::SeqCst);
        self.doorbell.answer();
        if !self.is_present() {
            return Step::default();
        }
        let mut state = self.state();
        let received = state.receive(now_ns, wire);
        let sent = state.transmit(now_ns, wire);
        let next_event_ns = state.core.tx.due_ns();
        let asked = state.core.tx.is_asked();
        drop(state);
        // A handler that leaves the pin asserted is called again.
        let called = self.interrupt();
        Step {
            received,
            sent,
            again: received >= RX_BUDGET || asked || called && self.pin(),
            next_event_ns,
        }
    }

    /// Interrupts if the pin is asserted; the lock is free. Returns whether this
    /// thread called the handler.
    fn interrupt(&self) -> bool {
        self.pin() && self.port.raise_intx(&|| self.pin())
    }

    /// Lets `access` change the chip, and then sees to what follows from it. A pin
    /// that was asserted before has been delivered, and stays so until the device
    /// looks at it in its next step: otherwise a handler that touches a register
    /// and leaves its cause would be called without end.
    fn access<R>(&self, access: impl FnOnce(&mut Core) -> R) -> R {
        let mut state = self.state();
        let before = state.core.is_pin_asserted();
        let result = access(&mut state.core);
        let (pin, asked) = (state.core.is_pin_asserted(), state.core.tx.is_asked());
        drop(state);
        if pin && !before {
            self.port.raise_intx(&|| self.pin());
        }
        if asked {
            self.doorbell.ring();
        }
        result
    }

    pub(super) fn has_work(&self) -> bool {
        self.doorbell.is_rung()
    }

    pub(super) fn is_present(&self) -> bool {
        self.port.is_present()
    }

    pub(super) fn counters(&self) -> ModelCounters {
        self.state().counters
    }

    pub(super) fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        self.threaded.store(waker.is_some(), Ordering::Release);
        self.doorbell.set_waker(waker);
    }

    pub(super) fn sleep(&self, wait: &mut dyn FnMut()) {
        self.doorbell.sleep(wait);
    }
}

impl State {
    fn receive(&mut self, now_ns: u64, wire: &mut dyn Wire) -> usize {
        let Self { core, counters } = self;
        let came = wire.receive(now_ns, RX_BUDGET, &mut |frame| match core.receive(frame) {
            Fate::Unheard => counters.rx_unheard += 1,
            Fate::Filtered => counters.rx_filtered += 1,
            Fate::Missed | Fate::Stored => {}
        });
        counters.wire_rx += came as u64;
        came
    }

    /// Ends a transmission whose time has come, and begins the next.
    fn transmit(&mut self, now_ns: u64, wire: &mut dyn Wire) -> usize {
        self.core.finish_transmission(now_ns);
        let sent = self.core.transmit(now_ns, wire);
        match sent {
            Sent::Nothing => return 0,
            Sent::OnWire => self.counters.wire_tx += 1,
            Sent::Lost => self.counters.wire_tx_lost += 1,
            Sent::Discarded => self.counters.tx_discarded += 1,
            Sent::Inside => {}
        }
        wire.flush(now_ns);
        self.core.finish_transmission(now_ns);
        1
    }
}

impl PciModel for Chip {
    fn read(&self, bar: u8, offset: u32, width: Width) -> u32 {
        if bar != 0 {
            return u32::MAX;
        }
        self.access(|core| core.read_port(offset, width))
    }

    fn write(&self, bar: u8, offset: u32, width: Width, value: u32) {
        if bar == 0 {
            self.access(|core| core.write_port(offset, width, value));
        }
    }

    fn pin(&self) -> bool {
        self.state().core.is_pin_asserted()
    }

    fn check_pin(&self) {
        self.interrupt();
    }

    fn quiesce(&self) {
        // The device's thread may have to notice that it was unplugged.
        self.doorbell.ring();
    }

    fn reset(&self) {
        self.access(Core::reset);
        self.doorbell.ring();
    }

    fn delay_us(&self, us: u32) {
        if self.threaded.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_micros(us.into()));
            return;
        }
        let now_ns = self.now_ns.load(Ordering::SeqCst);
        self.access(|core| {
            core.tx.hurry(u64::from(us) * 1000);
            core.finish_transmission(now_ns);
        });
    }
}

impl Core {
    /// A read of one of the 32 ports. The registers are bytes: a wide access
    /// becomes several.
    fn read_port(&mut self, offset: u32, width: Width) -> u32 {
        match offset {
            port::RESET.. => {
                self.reset();
                0
            }
            port::DATA.. => self.read_data(width),
            _ => (0..width.bytes()).fold(0, |value, at| {
                let byte = self.read_register((offset + at) as u8);
                value | u32::from(byte) << (8 * at)
            }),
        }
    }

    /// A write of the reset port ends the reset, which has been over since.
    fn write_port(&mut self, offset: u32, width: Width, value: u32) {
        match offset {
            port::RESET.. => {}
            port::DATA.. => self.write_data(width, value),
            _ => {
                for at in 0..width.bytes() {
                    self.write_register((offset + at) as u8, (value >> (8 * at)) as u8);
                }
            }
        }
    }
}
