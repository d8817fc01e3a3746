//! The hard-interrupt half: who is called for which vector, and what it does.
//!
//! With MSI-X, vector 0 is the link's and each queue has one of the others, or
//! shares it when there are too few. A message clears its cause (EIAC) and
//! closes its mask (EIAM), so that the handler of a queue with a vector of its
//! own touches no register. With MSI, with INTx, and with a single MSI-X vector
//! all causes come through ICR, and the one mask is IMS.

use crate::queue::Queue;
use crate::regs::{self, Cause, Gpie};
use crate::shared::Shared;
use alloc::sync::Arc;
use alloc::vec::Vec;
use softnet_nic_hal::bus::{BusError, IrqMode, IrqReturn, IrqVectors, PciDevice, VectorHandler};
use softnet_nic_hal::{IrqHandler, NicError, OpenConfig, QueueId};

/// The vector of the link when there are several, and of everything otherwise.
const FIRST: u16 = 0;

/// Which vector does what, of those that the bus gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) mode: IrqMode,
    /// Vectors that were allocated.
    pub(crate) count: u16,
    queues: u16,
}

impl Plan {
    fn new(vectors: IrqVectors, queues: u16) -> Self {
        Self {
            mode: vectors.mode,
            count: vectors.count.min(queues + 1),
            queues,
        }
    }

    /// Whether queues have vectors apart from the link's.
    pub(crate) fn by_vector(self) -> bool {
        self.mode == IrqMode::MsiX && self.count > 1
    }

    /// The vector of a queue.
    pub(crate) fn vector(self, queue: u16) -> u16 {
        if self.by_vector() {
            1 + queue % (self.count - 1)
        } else {
            FIRST
        }
    }

    /// Whether no other queue has the same vector.
    fn is_alone(self, queue: u16) -> bool {
        let vector = self.vector(queue);
        (0..self.queues).all(|other| other == queue || self.vector(other) != vector)
    }

    /// What stands for the queue in the mask registers.
    fn bits(self, queue: u16) -> u32 {
        if self.by_vector() {
            1 << self.vector(queue)
        } else {
            Cause::QUEUES.bits()
        }
    }
}

/// One queue, its number, and whom to call for it.
struct Seat<P: PciDevice> {
    queue: Arc<Queue<P>>,
    id: QueueId,
    stack: Arc<dyn IrqHandler>,
}

/// The handler of a vector that is one queue's alone.
struct QueueVector<P: PciDevice> {
    shared: Arc<Shared<P>>,
    seat: Seat<P>,
}

impl<P: PciDevice> VectorHandler for QueueVector<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        if self.seat.queue.disarm() {
            self.seat.stack.irq(self.seat.id);
        } else {
            self.stray();
        }
        IrqReturn::Handled
    }
}

impl<P: PciDevice> QueueVector<P> {
    /// A message that came although the queue is masked: it was on its way, or
    /// the device does not close masks by itself. An unmask that comes between
    /// the look at the queue and the write must not be undone by it.
    #[cold]
    fn stray(&self) {
        let queue = &self.seat.queue;
        self.shared.close_mask(queue.bits());
        if queue.is_armed() {
            self.shared.rearm(queue);
        }
    }
}

/// The handler of a vector that several queues share.
struct SharedVector<P: PciDevice> {
    shared: Arc<Shared<P>>,
    seats: Vec<Seat<P>>,
}

impl<P: PciDevice> SharedVector<P> {
    /// Calls the stack for the queues that have something, and lets the others
    /// that are armed interrupt again.
    ///
    /// The mask is closed first. A queue that is armed after the look at it
    /// opens the mask itself, after this close; one that was armed before is
    /// seen here.
    fn serve(&self) {
        let bits = self.seats.first().map_or(0, |seat| seat.queue.bits());
        self.shared.close_mask(bits);
        for seat in &self.seats {
            if seat.queue.pending() && seat.queue.disarm() {
                seat.stack.irq(seat.id);
            }
        }
        for seat in self.seats.iter().filter(|seat| seat.queue.is_armed()) {
            self.shared.rearm(&seat.queue);
        }
    }
}

impl<P: PciDevice> VectorHandler for SharedVector<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        self.serve();
        IrqReturn::Handled
    }
}

/// The handler of the link's vector.
struct LinkVector<P: PciDevice> {
    shared: Arc<Shared<P>>,
    stack: Arc<dyn IrqHandler>,
}

impl<P: PciDevice> VectorHandler for LinkVector<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        let bits = self.shared.chip.read(regs::ICR);
        // All ones: the device is gone.
        if bits == u32::MAX {
            return IrqReturn::None;
        }
        if Cause::from_bits_retain(bits).contains(Cause::LSC) {
            self.stack.link_changed();
        }
        IrqReturn::Handled
    }
}

/// The handler of the one vector of everything.
struct OnlyVector<P: PciDevice> {
    queues: SharedVector<P>,
    link: Arc<dyn IrqHandler>,
}

impl<P: PciDevice> VectorHandler for OnlyVector<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        let bits = self.queues.shared.chip.read(regs::ICR);
        // All ones: the device is gone.
        if bits == 0 || bits == u32::MAX {
            return IrqReturn::None;
        }
        let causes = Cause::from_bits_retain(bits);
        if causes.intersects(Cause::QUEUES) {
            self.queues.serve();
        }
        if causes.contains(Cause::LSC) {
            self.link.link_changed();
        }
        IrqReturn::Handled
    }
}

/// Allocates vectors, MSI-X if it can be had, and installs their handlers.
pub(crate) fn request<P: PciDevice>(
    shared: &Arc<Shared<P>>,
    config: &OpenConfig,
    queues: &[Arc<Queue<P>>],
    stack: &Arc<dyn IrqHandler>,
) -> Result<Plan, NicError> {
    let device = &shared.chip.device;
    let modes = [IrqMode::MsiX, IrqMode::Msi, IrqMode::Intx];
    let vectors = device.alloc_irq_vectors(config.queues + 1, &modes)?;
    let plan = Plan::new(vectors, config.queues);
    shared.set_by_vector(plan.by_vector());
    for (number, queue) in (0..).zip(queues) {
        queue.set_bits(plan.bits(number), plan.is_alone(number));
    }
    let installer = Installer {
        shared,
        config,
        queues,
        stack,
        plan,
    };
    for vector in 0..plan.count {
        if let Err(error) = installer.install(vector) {
            (0..vector).for_each(|vector| device.free_irq(vector));
            device.free_irq_vectors();
            return Err(error.into());
        }
    }
    Ok(plan)
}

/// Removes the handlers, and gives the vectors back.
pub(crate) fn free<P: PciDevice>(device: &P, plan: Plan) {
    (0..plan.count).for_each(|vector| device.free_irq(vector));
    device.free_irq_vectors();
}

/// What handlers are made of.
struct Installer<'a, P: PciDevice> {
    shared: &'a Arc<Shared<P>>,
    config: &'a OpenConfig,
    queues: &'a [Arc<Queue<P>>],
    stack: &'a Arc<dyn IrqHandler>,
    plan: Plan,
}

impl<P: PciDevice> Installer<'_, P> {
    fn install(&self, vector: u16) -> Result<(), BusError> {
        let device = &self.shared.chip.device;
        let mut seats = self.seats(vector);
        let cpu = seats.first().map_or(0, |seat| self.config.cpu(seat.id));
        let shared = self.shared.clone();
        let handler: Arc<dyn VectorHandler> = if !self.plan.by_vector() {
            let link = self.stack.clone();
            let queues = SharedVector { shared, seats };
            Arc::new(OnlyVector { queues, link })
        } else if vector == FIRST {
            let stack = self.stack.clone();
            Arc::new(LinkVector { shared, stack })
        } else if let (1, Some(seat)) = (seats.len(), seats.pop()) {
            Arc::new(QueueVector { shared, seat })
        } else {
            // The last seat was taken out to be looked at.
            let seats = self.seats(vector);
            Arc::new(SharedVector { shared, seats })
        };
        device.request_irq(vector, device.name(), cpu, handler)
    }

    fn seats(&self, vector: u16) -> Vec<Seat<P>> {
        let numbered = (0..).zip(self.queues);
        let here = numbered.filter(|&(number, _)| self.plan.vector(number) == vector);
        here.map(|(number, queue)| Seat {
            queue: queue.clone(),
            id: QueueId(number),
            stack: self.stack.clone(),
        })
        .collect()
    }
}

/// Tells the chip which vector is whose (7.3.1, 8.8.13 to 8.8.15). Entries are
/// valid in every mode: without one, a queue's cause does not even reach ICR.
pub(crate) fn program<P: PciDevice>(shared: &Shared<P>, plan: Plan) {
    let chip = &shared.chip;
    let mut entries = [0_u8; 32];
    for queue in 0..plan.queues {
        let at = chip.family.ivar_entry(queue);
        let entry = plan.vector(queue) as u8 | regs::IVAR_VALID as u8;
        for entry_at in entries.iter_mut().skip(at).take(2) {
            *entry_at = entry;
        }
    }
    // The mode decides what writes of the other interrupt registers mean.
    chip.write(regs::GPIE, gpie(plan).bits());
    // A read of ICR closes no mask: handlers do, where one has to be closed.
    chip.write(regs::IAM, 0);
    let words = entries.chunks_exact(4).map(|four| {
        four.iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u32::from(byte))
    });
    let words_used = 4 * usize::from(chip.family.queues()) / 8;
    chip.write_all(regs::IVAR, words.take(words_used));
    if plan.by_vector() {
        let all = (1_u32 << plan.count) - 1;
        let other = (u32::from(FIRST) | regs::IVAR_VALID) << 8;
        chip.write(regs::IVAR_MISC, other);
        chip.write(regs::EIAC, all);
        // The link's mask stays open: its handler reads ICR, and no more.
        chip.write(regs::EIAM, all & !(1 << FIRST));
    }
}

fn gpie(plan: Plan) -> Gpie {
    match (plan.by_vector(), plan.mode) {
        (true, _) => Gpie::MULTIPLE_MSIX | Gpie::EIAME | Gpie::PBA | Gpie::NSICR,
        // A shared pin: a read for another device's interrupt must not clear
        // a cause that is masked.
        (false, IrqMode::Intx) => Gpie::empty(),
        (false, IrqMode::Msi) => Gpie::NSICR,
        (false, IrqMode::MsiX) => Gpie::PBA | Gpie::NSICR,
    }
}

/// Lets the link interrupt.
pub(crate) fn open_link<P: PciDevice>(shared: &Shared<P>, plan: Plan) {
    if plan.by_vector() {
        shared.chip.write(regs::EIMS, 1 << FIRST);
    }
    shared.chip.write(regs::IMS, Cause::LSC.bits());
}
