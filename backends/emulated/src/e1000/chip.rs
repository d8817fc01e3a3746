//! What the threads that access registers share with the one that does DMA.
//!
//! Three things, by how they are shared:
//! - The plain registers, the interrupt causes and the statistics are atomics.
//!   Nobody waits for them.
//! - The state of the EEPROM and the PHY is under a lock that is held for a few
//!   instructions.
//! - The state of the DMA engine is behind the *gate*, a lock that is held for
//!   one burst. Only what must not happen in the middle of a burst waits for it: a
//!   reset, a change of the rings or of the enable bits, taking memory away.
//!
//! Interrupt handlers are called with none of these locks held, so that a handler
//! may use every register.

use super::core::Core;
use super::eeprom::Eeprom;
use super::interrupt::Interrupts;
use super::loopback::Loopback;
use super::phy::Phy;
use super::regs::{Cause, Ctrl, Registers, Status, offset};
use super::stats::Statistics;
use super::{E1000Config, flow, rx, tx};
use crate::counters::Counters;
use crate::doorbell::Doorbell;
use crate::filter::RAH_AV;
use crate::model::{ModelCounters, Step};
use crate::pci::FunctionPort;
use crate::quiesce::Gate;
use crate::ring::Ring;
use crate::starved::Starved;
use crate::sync;
use softnet_nic_hal::wire::{Wire, WireWaker};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Frames received, and descriptors sent, in one step.
const RX_BUDGET: usize = 64;
const TX_BUDGET: u32 = 256;

pub(super) struct Chip {
    pub(super) port: Arc<FunctionPort>,
    pub(super) registers: Registers,
    pub(super) interrupts: Interrupts,
    pub(super) statistics: Statistics,
    pub(super) slow: Mutex<Slow>,
    core: Gate<Core>,
    pub(super) doorbell: Doorbell,
    /// Counts the changes of the receive address table.
    pub(super) addresses: AtomicU32,
    /// Frames wait for descriptors: then a write of RDT is worth a wake-up.
    pub(super) starved: Starved,
    /// The PHY returns what is sent.
    looped: AtomicBool,
    loopback: Loopback,
    /// The partner has asked for silence: STATUS.TXOFF.
    pub(super) paused: AtomicBool,
    /// A delay timer is to be cut short: the flush bit of RDTR.
    pub(super) flush_rx: AtomicBool,
    /// The time of the last step.
    pub(super) now_ns: AtomicU64,
    /// A thread drives the model in real time.
    threaded: AtomicBool,
    /// The address that an access of IODATA goes to.
    pub(super) io_addr: AtomicU32,
    pub(super) counters: Counters,
}

/// What is under the short lock.
pub(super) struct Slow {
    pub(super) eeprom: Eeprom,
    pub(super) phy: Phy,
    pub(super) mdic: u32,
}

impl Chip {
    pub(super) fn new(port: Arc<FunctionPort>, config: &E1000Config) -> Self {
        let chip = Self {
            port,
            registers: Registers::new(),
            interrupts: Interrupts::default(),
            statistics: Statistics::new(),
            slow: Mutex::new(Slow {
                eeprom: Eeprom::new(config.mac),
                phy: Phy::new(config.autoneg_ns),
                mdic: 0,
            }),
            core: Gate::new(Core::new(config)),
            doorbell: Doorbell::default(),
            addresses: AtomicU32::new(0),
            starved: Starved::new(),
            looped: AtomicBool::new(false),
            loopback: Loopback::default(),
            paused: AtomicBool::new(false),
            flush_rx: AtomicBool::new(false),
            now_ns: AtomicU64::new(0),
            threaded: AtomicBool::new(false),
            io_addr: AtomicU32::new(0),
            counters: Counters::default(),
        };
        chip.reset();
        chip
    }

    pub(super) fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the gate between two bursts, before the next one begins.
    pub(super) fn between_bursts(&self) -> sync::MutexGuard<'_, Core> {
        self.core.pass()
    }

    /// Begins a burst.
    fn burst(&self) -> sync::MutexGuard<'_, Core> {
        let mut core = self.core.burst();
        self.port.refresh(&mut core.view);
        core
    }

    /// What CTRL.RST does ("Reset Operation" in chapter 14). The PHY goes on.
    pub(super) fn reset(&self) {
        let mut core = self.between_bursts();
        core.reset();
        self.starved.set(false);
        self.registers.reset();
        self.interrupts.reset();
        self.statistics.reset();
        self.loopback.clear();
        self.paused.store(false, Ordering::Release);
        let mut slow = self.slow();
        self.load_eeprom(&slow);
        // The link is down now, as CTRL.SLU is clear; the cause went with the
        // other causes.
        self.update_link(&mut slow);
        self.interrupts.reset();
    }

    /// Takes the station address from the EEPROM, unless that holds nothing: its
    /// signature says so (section 5.6.6).
    pub(super) fn load_eeprom(&self, slow: &Slow) {
        let [a, b, c, d, e, f] = slow.eeprom.mac().map_or([0; 6], |mac| mac.0);
        let low = u32::from_le_bytes([a, b, c, d]);
        let high = u32::from_le_bytes([e, f, 0, 0]);
        self.registers.set(offset::RAL0, low);
        self.registers.set(offset::RAH0, high | RAH_AV);
        self.addresses.fetch_add(1, Ordering::Release);
    }

    pub(super) fn rx_ring(&self) -> Ring {
        self.ring(offset::RDBAL)
    }

    pub(super) fn tx_ring(&self) -> Ring {
        self.ring(offset::TDBAL)
    }

    /// The ring whose registers start at `first`; both rings' are laid out alike.
    fn ring(&self, first: u32) -> Ring {
        let load = |from_first: u32| self.registers.load(first + from_first);
        Ring {
            base: u64::from(load(4)) << 32 | u64::from(load(0)),
            len: load(8) / 16,
            head: load(0x10),
            tail: load(0x18),
        }
    }

    /// Whether frames can be sent and received: the link is up, or the MAC
    /// returns them itself.
    pub(super) fn link_up(&self) -> bool {
        self.status().contains(Status::LU) || self.registers.rctl().returns_frames()
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.registers.load(offset::STATUS))
    }

    /// STATUS as it is read.
    pub(super) fn read_status(&self) -> u32 {
        let mut status = self.status();
        status.set(Status::TXOFF, self.paused.load(Ordering::Acquire));
        status.bits()
    }

    /// Brings STATUS up to date with the PHY and CTRL; a change of the link is a
    /// cause.
    pub(super) fn update_link(&self, slow: &mut Slow) {
        let ctrl = self.registers.ctrl();
        let link = slow.phy.mii().link().filter(|_| ctrl.contains(Ctrl::SLU));
        let was_up = self.status().contains(Status::LU);
        let mut status = Status::PCI66.bits();
        if let Some(link) = link {
            let speed = ctrl.forced_speed().unwrap_or(link.speed);
            let full_duplex = ctrl.forced_duplex().unwrap_or(link.full_duplex);
            status |= Status::LU.bits() | speed << 6 | link.speed << 8 | u32::from(full_duplex);
        }
        self.registers.set(offset::STATUS, status);
        self.looped
            .store(slow.phy.mii().loops_back(), Ordering::Release);
        if was_up != link.is_some() {
            self.interrupts.set(Cause::LSC);
        }
        if slow.phy.take_interrupt() {
            self.interrupts.set(Cause::PHYINT);
        }
    }

    pub(super) fn step(&self, now_ns: u64, wire: &mut dyn Wire) -> Step {
        self.now_ns.store(now_ns, Ordering::SeqCst);
        self.doorbell.answer();
        if !self.is_present() {
            return Step::default();
        }
        let mut step = Step::default();
        let carrier = wire.carrier();
        self.look_at_link(now_ns, carrier);
        if self.is_looped() {
            let mut turned = self.loopback.instead_of(wire);
            self.receive(now_ns, &mut turned, &mut step);
            self.transmit(now_ns, self.loopback.budget(), &mut turned, &mut step);
            step.again |= self.loopback.holds_frames();
        } else {
            self.loopback.clear();
            self.receive(now_ns, wire, &mut step);
            self.transmit(now_ns, TX_BUDGET, wire, &mut step);
        }
        self.expire_delays(now_ns);
        let called = self.interrupt();
        // A handler that leaves the pin asserted is called again.
        step.again |= called && self.interrupts.pending() && self.throttle_end(now_ns).is_none();
        step.again |= self.doorbell.is_rung();
        // A wire may learn of its carrier while it is read, and then has nothing
        // more to wait for.
        step.again |= wire.carrier() != carrier;
        step.next_event_ns = self.next_event_ns(now_ns);
        step
    }

    /// Whether what is sent comes back, from the PHY or before it gets there.
    fn is_looped(&self) -> bool {
        self.looped.load(Ordering::Acquire) || self.registers.rctl().returns_frames()
    }

    fn look_at_link(&self, now_ns: u64, carrier: bool) {
        let mut slow = self.slow();
        slow.phy.set_carrier(carrier);
        slow.phy.tick(now_ns);
        self.update_link(&mut slow);
    }

    fn receive(&self, now_ns: u64, wire: &mut dyn Wire, step: &mut Step) {
        let mut core = self.burst();
        let (came, causes) = rx::receive(self, &mut core, now_ns, RX_BUDGET, wire);
        flow::look_after_fifo(self, &mut core, now_ns, wire);
        self.counters.wire_rx.add(came as u64);
        drop(core);
        step.received = came;
        step.again |= came >= RX_BUDGET;
        self.interrupts.set(causes);
        self.interrupt();
    }

    fn transmit(&self, now_ns: u64, budget: u32, wire: &mut dyn Wire, step: &mut Step) {
        let mut core = self.burst();
        let sent = tx::transmit(self, &mut core, now_ns, budget, wire);
        if sent.any {
            wire.flush(now_ns);
        }
        let paused = core.flow.shows_pause(now_ns);
        self.paused.store(paused, Ordering::Release);
        drop(core);
        step.sent = sent.descriptors as usize;
        step.again |= sent.more;
        self.interrupts.set(sent.causes);
    }

    fn expire_delays(&self, now_ns: u64) {
        let mut core = self.burst();
        let flush = self.flush_rx.swap(false, Ordering::AcqRel);
        let rx = core.rx.delay.expire(now_ns) || flush && core.rx.delay.stop();
        let tx = core.tx.delay.expire(now_ns);
        drop(core);
        let mut causes = Cause::empty();
        causes.set(Cause::RXT0, rx);
        causes.set(Cause::TXDW, tx);
        self.interrupts.set(causes);
    }

    fn next_event_ns(&self, now_ns: u64) -> Option<u64> {
        let core = self.burst();
        let delays = [
            core.rx.delay.due(),
            core.tx.delay.due(),
            core.flow.due(now_ns),
        ];
        drop(core);
        let phy = self.slow().phy.mii().next_event_ns();
        let throttle = self.throttle_end(now_ns);
        let events = delays.into_iter().chain([phy, throttle]);
        events.flatten().min()
    }

    /// When a pending interrupt will get through the throttle that holds it now.
    fn throttle_end(&self, now_ns: u64) -> Option<u64> {
        let end = self.interrupts.throttled_until(now_ns)?;
        self.interrupts.pending().then_some(end)
    }

    /// After a register write: interrupts if there is something to interrupt for.
    /// What the throttle holds back is left to the device's thread, which has to
    /// wait for its end, by a clock that may have moved on since the last step.
    /// No lock is held.
    pub(super) fn check_interrupt(&self) {
        self.interrupt();
        if self
            .throttle_end(self.now_ns.load(Ordering::SeqCst))
            .is_some()
        {
            self.doorbell.ring();
        }
    }

    /// Interrupts if the pin is asserted and the throttle is open. No lock is
    /// held. Returns whether this thread called the handler.
    fn interrupt(&self) -> bool {
        self.interrupts.pending() && self.port.raise_intx(&|| self.let_through())
    }

    fn let_through(&self) -> bool {
        let now_ns = self.now_ns.load(Ordering::SeqCst);
        let through =
            self.interrupts.pending() && self.interrupts.throttled_until(now_ns).is_none();
        if through {
            self.interrupts.throttle(now_ns);
        }
        through
    }

    pub(super) fn delay(&self, us: u32) {
        if self.threaded.load(Ordering::Acquire) {
            std::thread::sleep(std::time::Duration::from_micros(us.into()));
            return;
        }
        let now_ns = self.now_ns.load(Ordering::SeqCst);
        let mut slow = self.slow();
        slow.phy.tick(now_ns);
        slow.phy.hurry(u64::from(us) * 1000);
        slow.phy.tick(now_ns);
        self.update_link(&mut slow);
        drop(slow);
        self.check_interrupt();
    }

    pub(super) fn has_work(&self) -> bool {
        self.doorbell.is_rung()
    }

    pub(super) fn is_present(&self) -> bool {
        self.port.is_present()
    }

    pub(super) fn counters(&self) -> ModelCounters {
        self.counters.values()
    }

    pub(super) fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        self.threaded.store(waker.is_some(), Ordering::Release);
        self.doorbell.set_waker(waker);
    }

    pub(super) fn sleep(&self, wait: impl FnOnce()) {
        self.doorbell.sleep(wait);
    }
}
