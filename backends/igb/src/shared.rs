//! What the control plane, the rings and the interrupt handlers share.

use crate::chip::Chip;
use crate::clock::Clock;
use crate::queue::Queue;
use crate::regs::{self, Cause, Rctl, Tctl, queue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use softnet_nic_hal::QueueId;
use softnet_nic_hal::bus::{BusError, PciDevice};
use softnet_nic_hal::ethtool::Features;
use spin::{Mutex, Once};

pub(crate) struct Shared<P: PciDevice> {
    pub(crate) chip: Chip<P>,
    /// Each is made when it is opened first, and then stays.
    queues: Box<[Once<Arc<Queue<P>>>]>,
    /// Odd while the NIC is open; a ring belongs to the session in which it was
    /// handed out, and refuses once the number has moved on.
    session: AtomicU32,
    /// How many queues the session has.
    open: AtomicU32,
    /// Whether queues are masked by vector (EIMS), and not all at once (IMS).
    by_vector: AtomicBool,
    /// The value of RCTL. Held while a unit or a queue is switched, so that a
    /// ring that is dropped while the NIC is stopped waits until the device has
    /// let go.
    units: Mutex<Rctl>,
    /// The offloads that are switched on.
    features: AtomicU32,
    pub(crate) clock: Clock,
}

impl<P: PciDevice> Shared<P> {
    pub(crate) fn new(chip: Chip<P>) -> Self {
        let queues = (0..chip.family.queues()).map(|_| Once::new()).collect();
        Self {
            chip,
            queues,
            session: AtomicU32::new(0),
            open: AtomicU32::new(0),
            by_vector: AtomicBool::new(false),
            units: Mutex::new(Rctl::empty()),
            features: AtomicU32::new(0),
            clock: Clock::default(),
        }
    }

    /// The offloads that are switched on.
    #[inline]
    pub(crate) fn features(&self) -> Features {
        Features::from_bits_retain(self.features.load(Ordering::Relaxed))
    }

    pub(crate) fn set_features(&self, on: Features) {
        self.features.store(on.bits(), Ordering::Relaxed);
    }

    /// The queue, which is made if there was none yet.
    pub(crate) fn make_queue(&self, number: u16) -> Result<Arc<Queue<P>>, BusError> {
        let slot = self.queues.get(usize::from(number));
        let slot = slot.ok_or(BusError::NoMemory(0))?;
        slot.try_call_once(|| Queue::new(&*self.chip.device, number).map(Arc::new))
            .cloned()
    }

    /// All queues that were ever open, in order.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Arc<Queue<P>>> {
        self.queues.iter().filter_map(Once::get)
    }

    /// The queues of this session, in order; none while the NIC is not open.
    pub(crate) fn open_queues(&self) -> impl Iterator<Item = &Arc<Queue<P>>> {
        let open = self.open.load(Ordering::Acquire);
        self.queues().take(open as usize)
    }

    /// A queue of this session.
    #[inline]
    fn open_queue(&self, queue: QueueId) -> Option<&Arc<Queue<P>>> {
        if u32::from(queue.0) >= self.open.load(Ordering::Acquire) {
            return None;
        }
        self.queues.get(usize::from(queue.0))?.get()
    }

    #[inline]
    pub(crate) fn session(&self) -> u32 {
        self.session.load(Ordering::Acquire)
    }

    /// Begins a session of `queues` queues. Returns its number.
    pub(crate) fn start(&self, queues: u16, filter: Rctl) -> u32 {
        let mut units = self.units.lock();
        *units = Rctl::RXEN | Rctl::SECRC | filter;
        self.chip.write(regs::TCTL, Tctl::all().bits());
        self.chip.write(regs::RCTL, units.bits());
        self.open.store(u32::from(queues), Ordering::Release);
        self.session.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// Ends the session, and switches everything off.
    pub(crate) fn finish(&self) {
        let mut units = self.units.lock();
        self.session.fetch_add(1, Ordering::AcqRel);
        for queue in self.open_queues() {
            queue.disarm();
        }
        *units = Rctl::empty();
        self.chip.mask_all();
        self.chip.disable_units();
        for queue in self.open_queues() {
            self.chip.write(queue.rx.register(queue::DCTL), 0);
            self.chip.write(queue.tx.register(queue::DCTL), 0);
        }
    }

    /// The session that was ended has no queues any more.
    pub(crate) fn close(&self) {
        self.open.store(0, Ordering::Release);
    }

    /// Changes which frames are accepted.
    pub(crate) fn set_filter(&self, filter: Rctl) {
        let mut units = self.units.lock();
        *units = *units & (Rctl::RXEN | Rctl::SECRC | Rctl::LPE) | filter;
        self.chip.write(regs::RCTL, units.bits());
    }

    /// Switches a receive queue off, if it is still that of the session.
    pub(crate) fn disable_rx(&self, queue: &Queue<P>, session: u32) {
        let _units = self.units.lock();
        if self.session() == session {
            queue.rx.watch(None);
            self.chip.disable_queue(queue.rx.register(queue::DCTL));
        }
    }

    /// Switches a transmit queue off, if it is still that of the session.
    pub(crate) fn disable_tx(&self, queue: &Queue<P>, session: u32) {
        let _units = self.units.lock();
        if self.session() == session {
            queue.tx.watch(None);
            self.chip.disable_queue(queue.tx.register(queue::DCTL));
        }
    }

    /// Says how queues are masked; nothing may be open.
    pub(crate) fn set_by_vector(&self, by_vector: bool) {
        self.by_vector.store(by_vector, Ordering::SeqCst);
    }

    #[inline]
    fn is_by_vector(&self) -> bool {
        self.by_vector.load(Ordering::Relaxed)
    }

    /// Opens the mask for these bits.
    #[inline]
    pub(crate) fn open_mask(&self, bits: u32) {
        let by_vector = self.is_by_vector();
        let register = if by_vector { regs::EIMS } else { regs::IMS };
        self.chip.write(register, bits);
    }

    /// Closes the mask for these bits.
    #[inline]
    pub(crate) fn close_mask(&self, bits: u32) {
        let by_vector = self.is_by_vector();
        let register = if by_vector { regs::EIMC } else { regs::IMC };
        self.chip.write(register, bits);
    }

    /// Raises the interrupt that these bits stand for.
    #[inline]
    pub(crate) fn raise(&self, bits: u32) {
        if self.is_by_vector() {
            self.chip.write(regs::EICS, bits);
        } else {
            self.chip.write(regs::ICS, Cause::RXDW.bits());
        }
    }

    /// Keeps a queue from interrupting.
    ///
    /// Where other queues have the same bits, the mask is left open: whether one
    /// of them is just being unmasked cannot be known without a lock. A queue
    /// that is not armed is not announced, and the handler closes the mask.
    #[inline]
    pub(crate) fn mask(&self, queue: QueueId) {
        if let Some(queue) = self.open_queue(queue) {
            queue.disarm();
            if queue.is_alone() {
                self.close_mask(queue.bits());
            }
        }
    }

    /// Keeps the interrupts of a queue's vector apart, in microseconds. Queues that
    /// share a vector share its interval.
    pub(crate) fn moderate(&self, queue: QueueId, interval_us: u32) {
        if let Some(queue) = self.open_queue(queue) {
            let interval = interval_us.min(regs::EITR_MAX_US) << regs::EITR_SHIFT;
            let by_vector = self.by_vector.load(Ordering::Relaxed);
            let vector = if by_vector { queue.vector() } else { 0 };
            self.chip.write(regs::EITR + 4 * vector, interval);
        }
    }

    /// Lets a queue interrupt, at once if something is pending.
    #[inline]
    pub(crate) fn unmask(&self, queue: QueueId) {
        if self.session() & 1 == 0 {
            return;
        }
        if let Some(queue) = self.open_queue(queue) {
            queue.arm();
            self.rearm(queue);
        }
    }

    /// Opens the mask for a queue that is armed.
    ///
    /// A cause that is set fires when its mask bit is (8.8.3, 8.8.9). But an
    /// interrupt clears its cause, also that of frames that the stack then did
    /// not reap; for them nothing would ever fire. So the descriptors are looked
    /// at *after* the mask was opened, and the interrupt is raised if one is
    /// waiting. A frame is then either written back before this look, and seen;
    /// or after it, and its own cause finds the mask open.
    #[inline]
    pub(crate) fn rearm(&self, queue: &Queue<P>) {
        self.open_mask(queue.bits());
        if queue.pending() {
            self.raise(queue.bits());
        }
    }
}
