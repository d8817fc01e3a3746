//! One CPU's events: what it polls, and how it sleeps.

use super::watch::Watched;
use super::{EventsError, QueueIrq, timespec};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of the wake-up among the events; queues have others.
const WAKE: u64 = 0;

/// Events of one wait. What else is ready is so at the next one.
const EVENTS: usize = 8;

/// How long a CPU sleeps at first while packets are being sent, in nanoseconds,
/// and how long at the most: nothing announces that they are.
const FIRST_LOOK_NS: u64 = 50_000;
const LAST_LOOK_NS: u64 = 10_000_000;

/// What a CPU's loop, its waker, and the NICs share.
pub(super) struct CpuEvents {
    epoll: OwnedFd,
    wake: OwnedFd,
    /// The CPU's thread is in its wait, or about to be.
    sleeping: AtomicBool,
    /// Moves on whenever the queues change.
    version: AtomicU32,
    queues: Mutex<Vec<Arc<QueueIrq>>>,
}

impl CpuEvents {
    pub(super) fn new() -> Result<Arc<Self>, EventsError> {
        let failed = |error: rustix::io::Errno| EventsError::Descriptor(error.into());
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(failed)?;
        let data = EventData::new_u64(WAKE);
        epoll::add(&epoll, &wake, data, EventFlags::IN).map_err(failed)?;
        Ok(Arc::new(Self {
            epoll,
            wake,
            sleeping: AtomicBool::new(false),
            version: AtomicU32::new(0),
            queues: Mutex::default(),
        }))
    }

    /// Adds a queue, unwatched as it is masked, if its socket is one that can be watched.
    pub(super) fn add(&self, irq: &Arc<QueueIrq>) -> Result<(), EventsError> {
        let tried = self.set(irq, Watched::Idle);
        let tried = tried.and_then(|()| self.set(irq, Watched::Out));
        tried.map_err(|error| {
            irq.let_go();
            EventsError::Watch(error.into())
        })?;
        self.queues().push(irq.clone());
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Has the kernel watch a queue in another way. One that was detached meanwhile is
    /// not watched, and is none to be.
    fn set(&self, irq: &QueueIrq, to: Watched) -> Result<(), Errno> {
        let mut watch = irq.watch().lock();
        let set = irq.with_socket(|socket| watch.set(to, &self.epoll, socket, irq.id()));
        set.unwrap_or(Ok(()))
    }

    /// Has the kernel forget a queue until the next sleep, unless that has begun.
    #[cold]
    pub(super) fn forget(&self, irq: &QueueIrq) {
        let mut watch = irq.watch().lock();
        // Who sleeps has said so before he takes the lock to arm the queue: so either
        // this sees it, or he sees that the queue is out.
        if !self.is_sleeping() {
            let _ = irq.with_socket(|socket| {
                // One that is out already is as good.
                let _ = watch.set(Watched::Out, &self.epoll, socket, irq.id());
            });
        }
    }

    /// Forgets a queue, and has the loop forget it.
    pub(super) fn remove(&self, irq: &Arc<QueueIrq>) {
        // A socket that is not watched any more has been closed by the kernel.
        let _ = self.set(irq, Watched::Gone);
        self.queues().retain(|have| have.id() != irq.id());
        self.version.fetch_add(1, Ordering::Release);
        if self.is_sleeping() {
            self.wake();
        }
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Arc<QueueIrq>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the kernel polls the device of one of the queues.
    pub(super) fn is_busy_polled(&self) -> bool {
        self.queues().iter().any(|irq| irq.is_busy_polled())
    }

    #[inline]
    pub(super) fn is_sleeping(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst)
    }

    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Has the kernel watch a queue, which may end a wait that is under way. Returns
    /// whether it does.
    pub(super) fn arm(&self, irq: &QueueIrq) -> bool {
        self.set(irq, Watched::Armed).is_ok()
    }

    /// Announces the sleep and has the kernel watch all unmasked queues. Returns
    /// whether none of them has anything yet.
    pub(super) fn arm_all(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let queues = self.queues();
        queues.iter().all(|irq| self.arm_quiet(irq))
    }

    /// Has the kernel watch a queue that is unmasked and not watched yet. Returns whether
    /// it has nothing, and would be heard.
    fn arm_quiet(&self, irq: &QueueIrq) -> bool {
        if !irq.is_unmasked() {
            return true;
        }
        if irq.has_work() {
            return false;
        }
        // A packet may have come before the kernel watched; then the socket is ready.
        self.arm(irq)
    }

    /// Ends the sleep that [`arm_all`](Self::arm_all) has begun.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
        let queues = self.queues();
        self.sleep(Some(0), queues.iter().map(|irq| &**irq));
    }

    /// Waits for the kernel, and takes note of what it says of these queues.
    fn sleep<'a>(
        &self,
        timeout_ns: Option<u64>,
        queues: impl Iterator<Item = &'a QueueIrq> + Clone,
    ) {
        let timeout = timeout_ns.map(timespec);
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        // A signal ends the wait early, as a wait may.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, timeout.as_ref()) else {
            return;
        };
        for event in events {
            let id = event.data.u64();
            if id == WAKE {
                self.drain_wake();
            } else if let Some(irq) = queues.clone().find(|irq| irq.id() == id) {
                self.note(irq, event.flags);
            }
        }
    }

    /// A queue's socket has ended the wait.
    ///
    /// If the queue is masked, the kernel is to leave it alone, as it would end every
    /// further wait. An unmasked one is about to interrupt, and is left as it is.
    fn note(&self, irq: &QueueIrq, flags: EventFlags) {
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            // Errors are reported whatever is watched for, so it is not watched at all
            // any more.
            let _ = self.set(irq, Watched::Gone);
            irq.fail();
        } else if !irq.is_unmasked() {
            let _ = self.set(irq, Watched::Idle);
        }
    }

    pub(super) fn wake(&self) {
        // It fails when the counter is full, and then the wait ends anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn drain_wake(&self) {
        // Nothing to read is the common case of a wait that others ended.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

/// Ends the wait of a CPU, from any thread.
#[derive(Clone)]
pub struct EventWaker(Arc<CpuEvents>);

impl EventWaker {
    /// Makes the wait that is under way return, or the next one if none is. One
    /// system call.
    pub fn wake(&self) {
        self.0.wake();
    }
}

/// Where one CPU gets its interrupts and waits for them. The CPU's thread owns
/// it.
pub struct EventLoop {
    shared: Arc<CpuEvents>,
    version: u32,
    queues: Vec<Arc<QueueIrq>>,
    /// How long the next sleep lasts at most while packets are being sent.
    look_ns: u64,
}

impl EventLoop {
    pub(super) fn new(shared: Arc<CpuEvents>) -> Self {
        let mut new = Self {
            shared,
            version: 0,
            queues: Vec::new(),
            look_ns: FIRST_LOOK_NS,
        };
        new.refresh();
        new
    }

    /// What ends the wait from outside.
    #[must_use]
    pub fn waker(&self) -> EventWaker {
        EventWaker(self.shared.clone())
    }

    /// Delivers the interrupts of the queues that have something. It makes no
    /// system call, but for queues that the kernel polls for.
    #[inline]
    pub fn poll(&mut self) {
        if self.shared.version.load(Ordering::Acquire) != self.version {
            self.refresh();
        }
        for irq in &self.queues {
            irq.drive();
            if irq.poll() {
                self.look_ns = FIRST_LOOK_NS;
            }
            irq.tell_failure();
        }
    }

    /// Sleeps in one system call until an unmasked queue has something, the
    /// waker is used, or `timeout_ns` nanoseconds are over. It calls no handler:
    /// [`poll`](Self::poll) is to follow. It may return early.
    pub fn wait(&mut self, timeout_ns: Option<u64>) {
        if self.shared.version.load(Ordering::Acquire) != self.version {
            self.refresh();
        }
        self.shared.sleeping.store(true, Ordering::SeqCst);
        let shared = &self.shared;
        if self.queues.iter().all(|irq| shared.arm_quiet(irq)) {
            let timeout_ns = self.limited(timeout_ns);
            let queues = self.queues.iter().map(|irq| &**irq);
            self.shared.sleep(timeout_ns, queues);
        }
        self.shared.sleeping.store(false, Ordering::SeqCst);
    }

    #[cold]
    fn refresh(&mut self) {
        // Read first: a change that comes in between is seen the next time.
        self.version = self.shared.version.load(Ordering::Acquire);
        self.queues.clone_from(&self.shared.queues());
    }

    /// The time to sleep, shorter while packets are being sent.
    fn limited(&mut self, timeout_ns: Option<u64>) -> Option<u64> {
        let mut unmasked = self.queues.iter().filter(|irq| irq.is_unmasked());
        if !unmasked.any(|irq| irq.in_flight()) {
            self.look_ns = FIRST_LOOK_NS;
            return timeout_ns;
        }
        let look_ns = self.look_ns;
        self.look_ns = (look_ns * 2).min(LAST_LOOK_NS);
        Some(timeout_ns.map_or(look_ns, |ns| ns.min(look_ns)))
    }
}

impl AsFd for EventLoop {
    /// Readable when the wait would end: for whoever waits for several things.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.epoll.as_fd()
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("queues", &self.queues.len())
            .finish_non_exhaustive()
    }
}
