//! A CPU with its state and its place to wait: the main loop.

use crate::idle::Idle;
use crate::softirqs::{Progress, Softirqs};
use core::fmt;

/// A CPU, its own state, and where it waits.
pub struct Processor<C, I> {
    /// The CPU's vectors.
    pub softirqs: Softirqs<C>,
    /// The CPU's own state, which handlers get lent.
    pub context: C,
    /// Where interrupts come from.
    pub idle: I,
}

impl<C, I: Idle> Processor<C, I> {
    /// Delivers interrupts and runs what they raised, once, without waiting.
    pub fn run_once(&mut self) -> Progress {
        self.idle.poll();
        self.softirqs.run_once(&mut self.context)
    }

    /// Runs the CPU until `stop` says so, which is asked after each pass.
    ///
    /// With nothing to do it looks for work for another `spin_ns` nanoseconds (0:
    /// not at all) before it sleeps. Whoever makes `stop` true has to
    /// [`kick`](crate::CpuHandle::kick) the CPU afterwards.
    pub fn run(&mut self, spin_ns: u64, mut stop: impl FnMut() -> bool) {
        let mut idle_since_ns = None;
        while !stop() {
            let progress = self.run_once();
            if progress.ran {
                idle_since_ns = None;
            }
            if progress.work_left {
                relax();
            } else if !progress.ran && self.has_spun(spin_ns, &mut idle_since_ns) {
                self.softirqs.cpu_mut().sleep(&mut self.idle);
                idle_since_ns = None;
            }
        }
    }

    /// Whether the CPU has looked for work for long enough.
    fn has_spun(&self, spin_ns: u64, idle_since_ns: &mut Option<u64>) -> bool {
        let now_ns = self.softirqs.cpu().now_ns();
        let since_ns = *idle_since_ns.get_or_insert(now_ns);
        core::hint::spin_loop();
        now_ns.saturating_sub(since_ns) >= spin_ns
    }
}

impl<C, I> fmt::Debug for Processor<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("softirqs", &self.softirqs)
            .finish_non_exhaustive()
    }
}

/// Lets other threads run between two passes of ksoftirqd.
fn relax() {
    #[cfg(feature = "std")]
    std::thread::yield_now();
    #[cfg(not(feature = "std"))]
    core::hint::spin_loop();
}
