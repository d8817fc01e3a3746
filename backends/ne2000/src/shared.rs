//! What the control plane, the rings and the interrupt handler share.

use crate::chip::Chip;
use crate::core::Core;
use crate::regs::{self, Isr};
use crate::window::Window;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use softnet_nic_hal::QueueId;
use softnet_nic_hal::bus::PciDevice;

/// Counters of the driver. Only who works on the window writes them, but
/// `tx_dropped`, which is the transmit ring's.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rx_packets: AtomicU64,
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) multicast: AtomicU64,
    /// Packets whose status says that they are bad.
    pub(crate) rx_errors: AtomicU64,
    /// Of those, packets of impossible lengths.
    pub(crate) rx_length_errors: AtomicU64,
    /// Of those, packets that overran the chip's FIFO.
    pub(crate) rx_fifo_errors: AtomicU64,
    /// Times that the ring was found in disorder, and emptied.
    pub(crate) rx_resyncs: AtomicU64,
    /// Times that the ring overflowed.
    pub(crate) rx_over_errors: AtomicU64,
    /// The chip's tally counters, added up: frame alignment, CRC, missed.
    pub(crate) tally: [AtomicU64; 3],
    pub(crate) tx_packets: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    pub(crate) tx_errors: AtomicU64,
    pub(crate) tx_aborted_errors: AtomicU64,
    pub(crate) tx_fifo_errors: AtomicU64,
    pub(crate) tx_carrier_errors: AtomicU64,
    pub(crate) tx_heartbeat_errors: AtomicU64,
    pub(crate) tx_window_errors: AtomicU64,
    pub(crate) tx_retries: AtomicU64,
    pub(crate) collisions: AtomicU64,
    /// Packets that the driver refused to send.
    pub(crate) tx_dropped: AtomicU64,
    pub(crate) tx_timeouts: AtomicU64,
}

/// Adds to a counter that has one writer at a time.
#[inline]
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(by);
    counter.store(sum, Ordering::Relaxed);
}

pub(crate) struct Shared<P: PciDevice> {
    pub(crate) chip: Chip<P>,
    window: Window<Core>,
    pub(crate) counters: Counters,
    /// Odd while the NIC is open; a ring belongs to the session in which it was
    /// handed out, and refuses once the number has moved on.
    session: AtomicU32,
    /// Whether the stack wants the queue's interrupt.
    armed: AtomicBool,
}

impl<P: PciDevice> Shared<P> {
    pub(crate) fn new(chip: Chip<P>, core: Core) -> Self {
        Self {
            chip,
            window: Window::new(core),
            counters: Counters::default(),
            session: AtomicU32::new(0),
            armed: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn session(&self) -> u32 {
        self.session.load(Ordering::Acquire)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.session() & 1 == 1
    }

    /// Begins a session, or ends it. Returns its number.
    pub(crate) fn next_session(&self) -> u32 {
        self.armed.store(false, Ordering::SeqCst);
        self.session.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// Works with the chip. What the stack then has to know, it is told.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        let and_conclude = |core: &mut Core| {
            let result = work(core);
            self.conclude(core, Isr::empty());
            result
        };
        self.window.with(|core| self.serve(core), and_conclude)
    }

    /// Keeps the queue from interrupting.
    pub(crate) fn mask(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.window.request(|core| self.serve(core));
    }

    /// Lets the queue interrupt, at once if something is pending.
    ///
    /// The chip's causes are levels, and a cause of the receiver is acknowledged
    /// only right before CURR is read. So a packet that comes after the last look
    /// has its cause set, and opens the pin with the mask. What is known already
    /// and was not reaped has no cause any more: that the driver remembers.
    pub(crate) fn unmask(&self) {
        if self.is_open() {
            self.armed.store(true, Ordering::SeqCst);
            self.window.request(|core| self.serve(core));
        }
    }

    /// The pin is asserted. Returns whether it was for this card; `None`: whoever
    /// works with it now finds out, and changes the mask when he is done.
    pub(crate) fn interrupt(&self) -> Option<bool> {
        self.window.request(|core| self.serve(core))
    }

    /// What the chip has to say; `None` when it is gone.
    pub(crate) fn causes(&self) -> Option<Isr> {
        let causes = self.chip.causes();
        let gone = causes == Isr::all() && self.chip.is_gone();
        (!gone).then_some(causes)
    }

    /// Looks at the chip: sends on, reads what asks to be read, and tells the
    /// stack. A few register accesses, and nothing that waits. Returns whether
    /// the card has interrupted.
    fn serve(&self, core: &mut Core) -> bool {
        if core.stack.is_none() {
            return false;
        }
        let Some(causes) = self.causes() else {
            return false;
        };
        let interrupted = causes.intersects(core.imr);
        self.finish_sent(core, causes);
        if causes.contains(Isr::CNT) {
            self.harvest(core);
        }
        self.conclude(core, causes);
        interrupted
    }

    /// Masks, and calls the stack, if it wants to be called and there is something
    /// for it. Otherwise opens what it waits for.
    fn conclude(&self, core: &mut Core, causes: Isr) {
        let fire = core.is_pending(causes)
            && self.armed.load(Ordering::SeqCst)
            && !self.chip.is_gone()
            && self.armed.swap(false, Ordering::SeqCst);
        let wanted = core.wanted(self.armed.load(Ordering::SeqCst));
        if wanted != core.imr {
            core.imr = wanted;
            self.chip.mask(wanted);
        }
        if let Some(stack) = core.stack.as_ref().filter(|_| fire) {
            stack.irq(QueueId(0));
        }
    }

    /// Reads the tally counters, which clears them.
    pub(crate) fn harvest(&self, core: &mut Core) {
        for (sum, register) in self.counters.tally.iter().zip(regs::CNTR) {
            count(sum, self.chip.read(register).into());
        }
        self.chip.acknowledge(Isr::CNT);
        core.tally_sticks = self.chip.causes().contains(Isr::CNT);
    }
}
