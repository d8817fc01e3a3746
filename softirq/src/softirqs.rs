//! The engine of one CPU: which vectors run, when, and for how long.

use crate::clock::Clock;
use crate::cpu::{Cpu, CpuHandle, CpuId};
use crate::idle::Wake;
use crate::vector::{Vector, VectorSet};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

/// How often a pass runs what is pending before it hands over, as in Linux.
pub const MAX_SOFTIRQ_RESTART: u32 = 10;

/// How long a pass goes on running what is raised meanwhile, in nanoseconds, as
/// in Linux: 2 ms.
pub const MAX_SOFTIRQ_TIME_NS: u64 = 2_000_000;

/// The handler of a vector, on a CPU whose own state is a `C`.
pub trait SoftIrq<C>: Send {
    /// Which vector it handles.
    fn vector(&self) -> Vector;

    /// Does what the vector was raised for. The vector is not pending any more
    /// when this is called: raising it again, here or elsewhere, makes it run
    /// once more. It must return soon; what it does not get done it leaves, with
    /// the vector raised again.
    fn run(&mut self, cpu: &mut Cpu, cx: &mut C);
}

/// The vector has a handler already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the vector {} has a handler already", .0.name())]
pub struct VectorTaken(pub Vector);

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pass {
    /// Nothing was pending.
    Idle,
    /// Vectors ran, and none is pending any more.
    Drained,
    /// Vectors are pending and ksoftirqd has to run them:
    /// [`Softirqs::run_ksoftirqd`].
    HandedOver,
}

/// What [`Softirqs::run_once`] did and what it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// Whether a vector ran.
    pub ran: bool,
    /// Whether vectors are left pending, so that the caller should come again at
    /// once, or after it has let others run.
    pub work_left: bool,
    /// When the CPU's timer is due, in nanoseconds of its clock.
    pub next_timer_ns: Option<u64>,
}

/// One CPU's vectors and their handlers. One thread owns it: that thread is the
/// CPU.
///
/// Vectors run in two places, as in Linux. [`irq_exit`](Self::irq_exit) is what
/// follows an interrupt: it runs what is pending at once, at most
/// [`MAX_SOFTIRQ_RESTART`] times over and for [`MAX_SOFTIRQ_TIME_NS`]. What is
/// pending then is *handed over*: from there on only
/// [`run_ksoftirqd`](Self::run_ksoftirqd) runs vectors, until it has drained
/// them, and whoever calls it lets other threads run in between. That is what
/// keeps a flood of packets from taking the core for itself.
pub struct Softirqs<C> {
    cpu: Cpu,
    actions: [Option<Box<dyn SoftIrq<C>>>; Vector::COUNT],
    handed_over: bool,
}

impl<C> Softirqs<C> {
    /// A CPU without handlers. `waker` is called when a vector is raised while
    /// the CPU is in [`Cpu::sleep`].
    #[must_use]
    pub fn new(id: CpuId, clock: Arc<dyn Clock>, waker: Arc<dyn Wake>) -> Self {
        Self {
            cpu: Cpu::new(id, clock, waker),
            actions: [const { None }; Vector::COUNT],
            handed_over: false,
        }
    }

    /// Sets the handler of its vector, for the CPU's lifetime.
    ///
    /// # Errors
    /// [`VectorTaken`] when the vector has one.
    pub fn open(&mut self, action: Box<dyn SoftIrq<C>>) -> Result<(), VectorTaken> {
        let vector = action.vector();
        let place = &mut self.actions[vector.index()];
        if place.is_some() {
            return Err(VectorTaken(vector));
        }
        *place = Some(action);
        Ok(())
    }

    /// The CPU.
    #[must_use]
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The CPU, to raise vectors and to program its timer from outside of a
    /// handler.
    pub fn cpu_mut(&mut self) -> &mut Cpu {
        &mut self.cpu
    }

    /// What others raise this CPU's vectors with.
    #[must_use]
    pub fn handle(&self) -> CpuHandle {
        self.cpu.handle().clone()
    }

    /// Runs what interrupts have raised, within bounds, unless ksoftirqd is at
    /// it: then it has it to itself. To be called after interrupts were handled.
    pub fn irq_exit(&mut self, cx: &mut C) -> Pass {
        if self.handed_over {
            return Pass::HandedOver;
        }
        let pass = self.handle_softirqs(cx);
        if pass != Pass::Idle {
            self.cpu.handle().counters().inline_passes.add(1);
        }
        pass
    }

    /// One pass of ksoftirqd, within the same bounds. It is to be repeated, with
    /// room for other threads in between, while it returns [`Pass::HandedOver`].
    pub fn run_ksoftirqd(&mut self, cx: &mut C) -> Pass {
        self.handed_over = false;
        let pass = self.handle_softirqs(cx);
        if pass != Pass::Idle {
            self.cpu.handle().counters().ksoftirqd_passes.add(1);
        }
        pass
    }

    /// Does the work of the CPU once, for callers whose own thread is the CPU:
    /// `irq_exit`, or a pass of ksoftirqd when work is left from before.
    pub fn run_once(&mut self, cx: &mut C) -> Progress {
        let pass = if self.handed_over {
            self.run_ksoftirqd(cx)
        } else {
            self.irq_exit(cx)
        };
        Progress {
            ran: pass != Pass::Idle,
            work_left: pass == Pass::HandedOver,
            next_timer_ns: self.cpu.next_timer_ns(),
        }
    }

    /// Reads the clock, and says whether there is something for
    /// [`run_once`](Self::run_once) to do: for a CPU that has other things to do in
    /// each round.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        self.cpu.tick();
        self.handed_over || self.cpu.is_pending()
    }

    #[inline]
    fn handle_softirqs(&mut self, cx: &mut C) -> Pass {
        self.cpu.tick();
        let pending = self.cpu.take_pending();
        if pending.is_empty() {
            return Pass::Idle;
        }
        let start_ns = self.cpu.now_ns();
        self.run_vectors(pending, cx);
        if !self.cpu.is_pending() {
            return Pass::Drained;
        }
        self.restart(start_ns, cx)
    }

    /// Goes on with what was raised meanwhile, within the bounds. Kept out of the
    /// way of passes that have nothing of the kind.
    #[cold]
    fn restart(&mut self, start_ns: u64, cx: &mut C) -> Pass {
        let deadline_ns = start_ns.saturating_add(MAX_SOFTIRQ_TIME_NS);
        for _ in 1..MAX_SOFTIRQ_RESTART {
            self.cpu.tick();
            if self.cpu.now_ns() >= deadline_ns {
                break;
            }
            self.cpu.handle().counters().restarts.add(1);
            let pending = self.cpu.take_pending();
            self.run_vectors(pending, cx);
            if !self.cpu.is_pending() {
                return Pass::Drained;
            }
        }
        self.hand_over()
    }

    /// The end of a pass that has reached its bounds.
    fn hand_over(&mut self) -> Pass {
        self.handed_over = true;
        self.cpu.handle().counters().hand_overs.add(1);
        Pass::HandedOver
    }

    #[inline]
    fn run_vectors(&mut self, pending: VectorSet, cx: &mut C) {
        let mut rest = pending;
        while let Some(index) = rest.take_first() {
            let counters = self.cpu.handle().counters();
            match self.actions.get_mut(index) {
                Some(Some(action)) => {
                    counters.vectors[index].add(1);
                    action.run(&mut self.cpu, cx);
                }
                _ => counters.not_open.add(1),
            }
        }
    }
}

impl<C> fmt::Debug for Softirqs<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Softirqs")
            .field("cpu", &self.cpu)
            .field("handed_over", &self.handed_over)
            .finish_non_exhaustive()
    }
}
