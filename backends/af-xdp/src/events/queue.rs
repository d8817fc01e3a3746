//! The interrupt of one queue.

use super::busy_poll::{self, BusyPoll};
use super::watch::Watch;
use super::{Events, EventsError};
use arc_swap::ArcSwapOption;
use softnet_nic_hal::bus::{IrqReturn, VectorHandler};
use softnet_nic_hal::irq::{Irq, IrqTable};
use softnet_nic_hal::{IrqHandler, QueueId};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What can be seen of a queue's rings from outside of them: a look at shared
/// memory, from any thread.
pub trait Completions: Send + Sync {
    /// Whether a received frame, or one that was sent, waits to be reaped.
    fn pending(&self) -> bool;

    /// Whether the kernel has packets to be sent that it has not yet given back.
    /// Nothing makes the socket ready when it does, so a CPU that sleeps looks
    /// again from time to time.
    fn in_flight(&self) -> bool;
}

/// What a queue's interrupt is made of.
pub struct QueueSource<'a> {
    /// Which queue it is.
    pub queue: QueueId,
    /// What reports call it: the interface and the queue, as in `eth0-0`.
    pub name: &'a str,
    /// The socket. It is duplicated for as long as the queue is attached.
    pub socket: BorrowedFd<'a>,
    /// The view of its rings.
    pub completions: Arc<dyn Completions>,
    /// Who hears of the interrupt.
    pub handler: Arc<dyn IrqHandler>,
    /// Whether the kernel polls the device for this socket.
    pub busy_poll: Option<BusyPoll>,
}

/// What is held of a queue while it is attached.
struct Held {
    socket: OwnedFd,
    completions: Arc<dyn Completions>,
    handler: Arc<dyn IrqHandler>,
}

/// The queue's interrupt is held back.
const MASKED: u8 = 0;
/// The next completion interrupts.
const UNMASKED: u8 = 1;

/// The interrupt of a queue: what [`NicHal::mask_irq`] and
/// [`NicHal::unmask_irq`] act on.
///
/// [`NicHal::mask_irq`]: softnet_nic_hal::NicHal::mask_irq
/// [`NicHal::unmask_irq`]: softnet_nic_hal::NicHal::unmask_irq
pub struct QueueIrq {
    /// Names the queue to the kernel, among all that a CPU ever had.
    id: u64,
    cpu: usize,
    irqs: Arc<IrqTable>,
    line: Irq,
    /// `MASKED` or `UNMASKED`. Whoever turns it from one to the other, an
    /// interrupt or a mask, does so by one exchange: so one unmask is followed by
    /// one interrupt at the most.
    state: AtomicU8,
    /// The device is polled through the socket whenever the CPU looks.
    busy_poll: bool,
    /// Whether the kernel watches the socket.
    watch: Watch,
    /// The kernel has reported an error of the socket, and nobody was told yet.
    failed: AtomicBool,
    held: ArcSwapOption<Held>,
    sleeper: Arc<super::cpu::CpuEvents>,
}

/// Numbers start behind that of the wake-up.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// What the interrupt line calls.
struct Line {
    queue: QueueId,
    handler: Arc<dyn IrqHandler>,
}

impl VectorHandler for Line {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        self.handler.irq(self.queue);
        IrqReturn::Handled
    }
}

impl QueueIrq {
    pub(super) fn new(
        source: QueueSource<'_>,
        cpu: usize,
        events: &Events,
    ) -> Result<Arc<Self>, EventsError> {
        let socket = source.socket.try_clone_to_owned();
        let socket = socket.map_err(EventsError::Descriptor)?;
        if let Some(busy_poll) = &source.busy_poll {
            busy_poll
                .set(socket.as_fd())
                .map_err(EventsError::BusyPoll)?;
        }
        let irqs = events.irqs.clone();
        let line = irqs.allocate(&format!("AF_XDP {}", source.name))?;
        let (queue, handler) = (source.queue, source.handler.clone());
        let vector = Arc::new(Line { queue, handler });
        if let Err(error) = irqs.request(line, 0, source.name, cpu, vector) {
            irqs.release(line);
            return Err(error.into());
        }
        Ok(Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            cpu,
            irqs,
            line,
            state: AtomicU8::new(MASKED),
            busy_poll: source.busy_poll.is_some(),
            watch: Watch::default(),
            failed: AtomicBool::new(false),
            held: ArcSwapOption::from_pointee(Held {
                socket,
                completions: source.completions,
                handler: source.handler,
            }),
            sleeper: events.cpus[cpu].clone(),
        }))
    }

    /// Keeps the queue from interrupting.
    #[inline]
    pub fn mask(&self) {
        self.state.store(MASKED, Ordering::SeqCst);
    }

    /// Lets the queue interrupt again. With completions pending it does so at
    /// once, in this call.
    #[inline]
    pub fn unmask(&self) {
        // Sequentially consistent with `is_sleeping` and the sleeper's look at
        // this state: either the sleeper finds the queue unmasked and has the
        // kernel watch it, or this finds the sleeper.
        self.state.store(UNMASKED, Ordering::SeqCst);
        self.poll();
        if self.sleeper.is_sleeping() && self.is_unmasked() && !self.sleeper.arm(self) {
            self.sleeper.wake();
        }
    }

    /// Interrupts if the queue is unmasked and has completions pending. Returns
    /// whether it did.
    #[inline]
    pub fn poll(&self) -> bool {
        self.is_unmasked() && self.has_work() && self.fire()
    }

    /// Whether the next completion interrupts.
    #[must_use]
    #[inline]
    pub fn is_unmasked(&self) -> bool {
        self.state.load(Ordering::SeqCst) == UNMASKED
    }

    /// Masks the queue and calls its handler, unless it is masked already.
    fn fire(&self) -> bool {
        let unmasked = self.state.swap(MASKED, Ordering::SeqCst) == UNMASKED;
        if unmasked {
            self.irqs.deliver(self.line);
        }
        unmasked
    }

    /// Has the kernel poll the device, if it was asked to and nothing waits already. A
    /// masked queue is no exception: the stack polls it by itself.
    #[inline]
    pub(super) fn drive(&self) {
        if self.busy_poll && !self.has_work() {
            self.with_socket(busy_poll::drive);
        }
    }

    /// Whether a completion waits, whoever is to hear of it.
    pub(super) fn has_work(&self) -> bool {
        let held = self.held.load();
        held.as_ref().is_some_and(|held| held.completions.pending())
    }

    /// Whether somebody has to look again for packets that the kernel is sending.
    pub(super) fn in_flight(&self) -> bool {
        let held = self.held.load();
        held.as_ref()
            .is_some_and(|held| held.completions.in_flight())
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The kernel is about to be told of so many packets to be sent.
    #[inline]
    pub(crate) fn sends(&self, packets: u32) {
        if self.watch.is_costly(packets) {
            self.sleeper.forget(self);
        }
    }

    /// The kernel has reported an error of the socket.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Tells of an error that was reported.
    #[inline]
    pub(super) fn tell_failure(&self) {
        if self.failed.load(Ordering::Relaxed) && self.failed.swap(false, Ordering::Relaxed) {
            self.failed();
        }
    }

    /// The interface is down or gone: the NIC's watchdog is to look.
    #[cold]
    fn failed(&self) {
        if let Some(held) = self.held.load().as_ref() {
            held.handler.link_changed();
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn cpu(&self) -> usize {
        self.cpu
    }

    pub(super) fn line(&self) -> Irq {
        self.line
    }

    /// Whether the kernel polls the device for this queue.
    pub(super) fn is_busy_polled(&self) -> bool {
        self.busy_poll && self.with_socket(busy_poll::is_polled) == Some(true)
    }

    /// Lends the socket, while the queue is attached.
    pub(super) fn with_socket<R>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        let held = self.held.load();
        held.as_ref().map(|held| use_it(held.socket.as_fd()))
    }

    /// Drops what is held of the queue. Waits for whoever looks at it right now:
    /// the socket, and with it the device's queue, is to be free afterwards.
    pub(super) fn let_go(&self) {
        self.mask();
        if let Some(held) = self.held.swap(None) {
            while Arc::strong_count(&held) > 1 {
                std::thread::yield_now();
            }
        }
    }
}

impl fmt::Debug for QueueIrq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueIrq")
            .field("cpu", &self.cpu)
            .field("line", &self.line)
            .field("unmasked", &self.is_unmasked())
            .finish_non_exhaustive()
    }
}
