//! What the threads that access registers share with the one that does DMA.
//!
//! Three things, by how they are shared:
//! - The plain registers, the interrupt causes and the statistics are atomics.
//!   Nobody waits for them.
//! - The state of the EEPROM, the PHY and the clock is under a lock that is held
//!   for a few instructions.
//! - The state of the DMA engines is behind the *gate*, a lock that is held for
//!   one burst. Only what must not happen in the middle of a burst waits for it: a
//!   reset, a change of the rings or of the enable bits, taking memory away.
//!
//! Interrupt handlers are called with none of these locks held, so that a handler
//! may use every register.

use super::IgbConfig;
use super::clock::Clock;
use super::core::Core;
use super::filter::Exact;
use super::interrupt::Interrupts;
use super::nvm::Nvm;
use super::phy::Phy;
use super::regs::{Ctrl, QUEUES, Registers, Status, cause, offset, queue};
use super::stats::Statistics;
use super::{flow, rx, tx};
use crate::counters::Counters;
use crate::doorbell::Doorbell;
use crate::filter::RAH_AV;
use crate::mii::Link;
use crate::model::Step;
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
    slow: Mutex<Slow>,
    core: Gate<Core>,
    pub(super) doorbell: Doorbell,
    /// Queues of each direction that the card has.
    pub(super) queues: usize,
    /// Counts the changes of the receive address table, and of the registers of
    /// RSS.
    pub(super) addresses: AtomicU32,
    pub(super) spreads: AtomicU32,
    /// Frames wait for descriptors: then a write of RDT is worth a wake-up.
    pub(super) starved: Starved,
    /// Transmit queues that may have got something to do.
    pub(super) tx_rung: AtomicU32,
    /// What is sent comes back.
    looped: AtomicBool,
    /// The transmitter is silent, as the partner asked for.
    paused: AtomicBool,
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
    pub(super) nvm: Nvm,
    pub(super) phy: Phy,
    pub(super) mdic: u32,
    pub(super) clock: Clock,
}

/// All transmit queues, as bits.
pub(super) const ALL_QUEUES: u32 = (1 << QUEUES) - 1;

impl Chip {
    pub(super) fn new(port: Arc<FunctionPort>, config: &IgbConfig) -> Self {
        let chip = Self {
            port,
            registers: Registers::new(),
            interrupts: Interrupts::new(),
            statistics: Statistics::new(),
            slow: Mutex::new(Slow {
                nvm: Nvm::new(config.mac, config.vectors()),
                phy: Phy::new(config.autoneg_ns),
                mdic: 0,
                clock: Clock::default(),
            }),
            core: Gate::new(Core::new(config)),
            doorbell: Doorbell::default(),
            queues: config.queues(),
            addresses: AtomicU32::new(0),
            spreads: AtomicU32::new(0),
            starved: Starved::new(),
            tx_rung: AtomicU32::new(0),
            looped: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            now_ns: AtomicU64::new(0),
            threaded: AtomicBool::new(false),
            io_addr: AtomicU32::new(0),
            counters: Counters::default(),
        };
        chip.reset_registers();
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

    /// What CTRL.RST does (section 4.2.1.6). The PHY and the clock go on.
    pub(super) fn reset_registers(&self) {
        let mut core = self.between_bursts();
        core.reset();
        self.paused.store(false, Ordering::Relaxed);
        self.starved.set(false);
        self.tx_rung.store(0, Ordering::SeqCst);
        self.registers.reset();
        self.interrupts.reset();
        self.statistics.reset();
        let mut slow = self.slow();
        let [a, b, c, d, e, f] = slow.nvm.mac().0;
        let low = u32::from_le_bytes([a, b, c, d]);
        let high = u32::from_le_bytes([e, f, 0, 0]);
        self.registers.set(offset::RAL0, low);
        self.registers.set(offset::RAH0, high | RAH_AV);
        self.addresses.fetch_add(1, Ordering::Release);
        self.spreads.fetch_add(1, Ordering::Release);
        self.registers
            .set_bits(offset::STATUS, Status::PHYRA.bits());
        // The link is down now, as CTRL.SLU is clear; the cause went with the
        // other causes.
        self.update_link(&mut slow);
        self.interrupts.reset();
    }

    /// A function-level reset, which the PHY does not survive either.
    pub(super) fn reset_all(&self) {
        {
            let mut slow = self.slow();
            slow.phy.reset();
            slow.clock = Clock::default();
            slow.mdic = 0;
        }
        self.io_addr.store(0, Ordering::Relaxed);
        self.reset_registers();
        self.doorbell.ring();
    }

    /// The ring of the receive queue, and of the transmit queue, of that number.
    pub(super) fn rx_ring(&self, index: usize) -> Ring {
        self.ring(offset::RX_QUEUES + index as u32 * queue::STRIDE)
    }

    pub(super) fn tx_ring(&self, index: usize) -> Ring {
        self.ring(offset::TX_QUEUES + index as u32 * queue::STRIDE)
    }

    /// The ring whose registers start at `first`; all are laid out alike.
    fn ring(&self, first: u32) -> Ring {
        let load = |from_first: u32| self.registers.load(first + from_first);
        Ring {
            base: u64::from(load(queue::BAH)) << 32 | u64::from(load(queue::BAL)),
            len: load(queue::LEN) / 16,
            head: load(queue::HEAD),
            tail: load(queue::TAIL),
        }
    }

    /// Whether the function may do DMA.
    pub(super) fn may_master(&self) -> bool {
        !self.registers.ctrl().contains(Ctrl::GIO_MASTER_DISABLE) && self.port.may_master()
    }

    pub(super) fn status(&self) -> u32 {
        let paused = self.paused.load(Ordering::Relaxed);
        let pause = if paused {
            Status::TXOFF
        } else {
            Status::empty()
        };
        self.registers.load(offset::STATUS) | pause.bits()
    }

    pub(super) fn link_up(&self) -> bool {
        let status = self.registers.load(offset::STATUS);
        Status::from_bits_retain(status).contains(Status::LU)
    }

    pub(super) fn is_looped(&self) -> bool {
        self.looped.load(Ordering::Relaxed)
    }

    /// Brings STATUS up to date with the PHY and CTRL; a change of the link is a
    /// cause.
    pub(super) fn update_link(&self, slow: &mut Slow) {
        let ctrl = self.registers.ctrl();
        let link = slow.phy.mii().link().filter(|_| ctrl.contains(Ctrl::SLU));
        let before = Status::from_bits_retain(self.registers.load(offset::STATUS));
        let mut status = before & Status::PHYRA | Status::DMA_CLOCK_GATING;
        status.set(
            Status::GIO_MASTER_ENABLE,
            !ctrl.contains(Ctrl::GIO_MASTER_DISABLE),
        );
        let bits = status.bits() | link.map_or(0, |link| link_bits(ctrl, link));
        self.registers.set(offset::STATUS, bits);
        let looped = self.registers.rctl().loops_back() || slow.phy.mii().loops_back();
        self.looped.store(looped, Ordering::Relaxed);
        if before.contains(Status::LU) != link.is_some() {
            self.tx_rung.fetch_or(ALL_QUEUES, Ordering::SeqCst);
            self.interrupts.set(cause::LSC);
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
        self.receive(now_ns, wire, &mut step);
        self.transmit(now_ns, wire, &mut step);
        let called = self.interrupt();
        // A handler that leaves the pin asserted is called again.
        step.again |= called && self.interrupts.pending() && self.throttle_end(now_ns).is_none();
        step.again |= self.doorbell.is_rung();
        // A wire may learn of its carrier while it is read, and then has nothing
        // more to wait for.
        step.again |= wire.carrier() != carrier;
        let events = [step.next_event_ns, self.next_event_ns(now_ns)];
        step.next_event_ns = events.into_iter().flatten().min();
        step
    }

    fn look_at_link(&self, now_ns: u64, carrier: bool) {
        let mut slow = self.slow();
        let mii = slow.phy.mii_mut();
        mii.set_carrier(carrier);
        mii.tick(now_ns);
        self.update_link(&mut slow);
        if !self.threaded.load(Ordering::Relaxed) {
            slow.clock.clear_anchor();
        } else if slow.clock.runs() {
            slow.clock.set_anchor(now_ns);
        }
    }

    fn receive(&self, now_ns: u64, wire: &mut dyn Wire, step: &mut Step) {
        let mut core = self.burst();
        self.refresh_tables(&mut core);
        let received = rx::receive(self, &mut core, now_ns, RX_BUDGET, wire);
        flow::look_after_fifo(self, &mut core, now_ns, wire);
        self.counters.wire_rx.add(received.frames as u64);
        drop(core);
        step.received = received.frames;
        step.again |= received.frames >= RX_BUDGET;
        self.interrupts.set(received.causes);
        self.interrupts.set_extended(received.extended);
        self.interrupt();
    }

    fn refresh_tables(&self, core: &mut Core) {
        let tables = &mut core.tables;
        let addresses = self.addresses.load(Ordering::Acquire);
        if tables.exact_of != addresses {
            tables.exact = Exact::load(&self.registers);
            tables.exact_of = addresses;
        }
        let spreads = self.spreads.load(Ordering::Acquire);
        if tables.rss_of != spreads {
            tables.rss.load(&self.registers);
            tables.rss_of = spreads;
        }
    }

    fn transmit(&self, now_ns: u64, wire: &mut dyn Wire, step: &mut Step) {
        let mut core = self.burst();
        let sent = tx::transmit(self, &mut core, now_ns, TX_BUDGET, wire);
        if sent.spent > 0 {
            wire.flush(now_ns);
        }
        self.paused
            .store(core.flow.shows_pause(now_ns), Ordering::Relaxed);
        let silence = core.flow.due(now_ns);
        drop(core);
        step.next_event_ns = silence;
        step.sent = sent.descriptors as usize;
        step.again |= sent.more;
        self.interrupts.set(sent.causes);
        self.interrupts.set_extended(sent.extended);
    }

    fn next_event_ns(&self, now_ns: u64) -> Option<u64> {
        let link = self.slow().phy.mii().next_event_ns();
        link.into_iter().chain(self.throttle_end(now_ns)).min()
    }

    /// When a pending interrupt will get through the throttle that holds it now.
    fn throttle_end(&self, now_ns: u64) -> Option<u64> {
        self.interrupts.next_event_ns(self.port.irq_mode(), now_ns)
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

    /// Interrupts for what is due, as far as the throttles are open. No lock is
    /// held. Returns whether this thread called a handler.
    fn interrupt(&self) -> bool {
        self.interrupts.deliver(&self.port, &self.now_ns)
    }

    pub(super) fn delay(&self, us: u32) {
        if self.threaded.load(Ordering::Acquire) {
            std::thread::sleep(std::time::Duration::from_micros(us.into()));
            return;
        }
        let now_ns = self.now_ns.load(Ordering::SeqCst);
        let mut slow = self.slow();
        let mii = slow.phy.mii_mut();
        mii.tick(now_ns);
        mii.hurry(u64::from(us) * 1000);
        mii.tick(now_ns);
        self.update_link(&mut slow);
        drop(slow);
        self.check_interrupt();
    }

    pub(super) fn is_present(&self) -> bool {
        self.port.is_present()
    }

    pub(super) fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        self.threaded.store(waker.is_some(), Ordering::Release);
        self.doorbell.set_waker(waker);
    }
}

/// What STATUS shows of a link: speed and duplex, unless CTRL forces others.
fn link_bits(ctrl: Ctrl, link: Link) -> u32 {
    let forced = (ctrl & Ctrl::SPEED).bits() >> 8;
    let speed = if ctrl.contains(Ctrl::FRCSPD) {
        forced
    } else {
        link.speed
    };
    let full_duplex = if ctrl.contains(Ctrl::FRCDPLX) {
        ctrl.contains(Ctrl::FD)
    } else {
        link.full_duplex
    };
    Status::LU.bits() | speed << 6 | link.speed << 8 | u32::from(full_duplex)
}
