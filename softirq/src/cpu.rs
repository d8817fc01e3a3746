//! One CPU, from the inside and from the outside.

use crate::clock::Clock;
use crate::idle::{Idle, Wake};
use crate::pending::PendingWord;
use crate::stats::{SoftirqCounters, SoftirqStats};
use crate::vector::{Vector, VectorSet};
use alloc::sync::Arc;
use core::fmt;

/// A CPU's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CpuId(pub u32);

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the CPU and the holders of its handles have in common.
struct Shared {
    pending: PendingLine,
    id: CpuId,
    waker: Arc<dyn Wake>,
    counters: SoftirqCounters,
}

/// The word that other threads write has two cache lines for itself (processors
/// prefetch lines in pairs), so that a raise does not slow the CPU's counters.
#[repr(align(128))]
struct PendingLine(PendingWord);

/// A CPU, for anybody who raises its vectors.
#[derive(Clone)]
pub struct CpuHandle {
    shared: Arc<Shared>,
}

impl CpuHandle {
    fn new(id: CpuId, waker: Arc<dyn Wake>) -> Self {
        let shared = Shared {
            pending: PendingLine(PendingWord::new()),
            id,
            waker,
            counters: SoftirqCounters::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The CPU's number.
    #[must_use]
    pub fn id(&self) -> CpuId {
        self.shared.id
    }

    /// Makes `vector` pending and wakes the CPU if it sleeps.
    ///
    /// It may be called from any thread and in hard-interrupt context: it takes
    /// no lock and allocates nothing. What the caller wrote before is seen by the
    /// vector's handler. Several raises before the handler runs are one.
    #[inline]
    pub fn raise(&self, vector: Vector) {
        if self.pending_word().raise(vector.bit()) {
            self.wake();
        }
    }

    /// Makes a sleeping CPU leave its sleep and look around, without a vector to
    /// run. What the caller wrote before is seen by the CPU then.
    pub fn kick(&self) {
        if self.pending_word().kick() {
            self.wake();
        }
    }

    /// The vectors that were raised by handle and are not yet running.
    #[must_use]
    pub fn pending(&self) -> VectorSet {
        self.pending_word().peek()
    }

    /// The CPU's counters now. They keep counting while they are read, so that a
    /// snapshot taken while the CPU runs may be torn between counters.
    #[must_use]
    pub fn stats(&self) -> SoftirqStats {
        self.shared.counters.snapshot(self.id())
    }

    pub(crate) fn counters(&self) -> &SoftirqCounters {
        &self.shared.counters
    }

    pub(crate) fn pending_word(&self) -> &PendingWord {
        &self.shared.pending.0
    }

    #[cold]
    fn wake(&self) {
        self.shared.waker.wake();
    }
}

impl fmt::Debug for CpuHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuHandle")
            .field("id", &self.id())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// No timer is programmed.
const NEVER: u64 = u64::MAX;

/// A CPU, for what runs on it. Handlers get it lent.
pub struct Cpu {
    handle: CpuHandle,
    clock: Arc<dyn Clock>,
    now_ns: u64,
    timer_ns: u64,
    /// Vectors raised by the CPU itself: no atomic is needed for these.
    raised: u32,
}

impl Cpu {
    pub(crate) fn new(id: CpuId, clock: Arc<dyn Clock>, waker: Arc<dyn Wake>) -> Self {
        Self {
            handle: CpuHandle::new(id, waker),
            now_ns: clock.now_ns(),
            clock,
            timer_ns: NEVER,
            raised: 0,
        }
    }

    /// The CPU's number.
    #[must_use]
    pub fn id(&self) -> CpuId {
        self.handle.id()
    }

    /// What others raise this CPU's vectors with.
    #[must_use]
    pub fn handle(&self) -> &CpuHandle {
        &self.handle
    }

    /// The clock's nanoseconds when it was last read: at the beginning of this
    /// softirq pass, or at the last [`refresh_now`](Self::refresh_now). A whole
    /// batch of packets so has one time and pays for one look at the clock.
    #[must_use]
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Reads the clock, in nanoseconds. For loops that run within a time limit.
    #[inline]
    pub fn refresh_now(&mut self) -> u64 {
        self.now_ns = self.clock.now_ns();
        self.now_ns
    }

    /// The clock itself.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Makes `vector` pending on this CPU. Cheaper than the handle's raise.
    #[inline]
    pub fn raise(&mut self, vector: Vector) {
        self.raised |= vector.bit();
    }

    /// Sees to it that [`Vector::Timer`] is raised once the clock has reached
    /// `deadline_ns`, in the manner of a local APIC's timer: one deadline, the
    /// earliest that was asked for. It is forgotten when it has fired; the
    /// vector's handler programs the next one.
    pub fn program_timer(&mut self, deadline_ns: u64) {
        self.timer_ns = self.timer_ns.min(deadline_ns);
    }

    /// When the timer fires, in nanoseconds of the clock.
    #[must_use]
    pub fn next_timer_ns(&self) -> Option<u64> {
        (self.timer_ns != NEVER).then_some(self.timer_ns)
    }

    /// Sleeps until a vector is raised, the CPU is kicked, the timer is due, or
    /// `idle` has its own reason. Returns at once when there is work already.
    ///
    /// The wait lasts as long as the clock says: a clock that does not move with
    /// the machine's time makes it too long or too short, never wrong.
    pub fn sleep<I: Idle + ?Sized>(&mut self, idle: &mut I) {
        let timeout_ns = match self.next_timer_ns() {
            None => None,
            Some(deadline) if deadline <= self.refresh_now() => return,
            Some(deadline) => Some(deadline - self.now_ns),
        };
        if self.raised == 0 && self.handle.pending_word().try_sleep() {
            idle.wait(timeout_ns);
            self.handle.pending_word().awake();
        }
    }

    /// Reads the clock and raises the timer's vector if the timer is due.
    #[inline]
    pub(crate) fn tick(&mut self) {
        if self.refresh_now() >= self.timer_ns {
            self.timer_ns = NEVER;
            self.raise(Vector::Timer);
        }
    }

    /// Takes all vectors that are pending, by whomever they were raised.
    #[inline]
    pub(crate) fn take_pending(&mut self) -> VectorSet {
        let own = core::mem::take(&mut self.raised);
        self.handle.pending_word().take().with_bits(own)
    }

    /// Whether a vector is pending.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.raised != 0 || !self.handle.pending().is_empty()
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu")
            .field("id", &self.id())
            .field("now_ns", &self.now_ns)
            .field("next_timer_ns", &self.next_timer_ns())
            .finish_non_exhaustive()
    }
}
