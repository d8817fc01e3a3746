//! Two pinned threads, and how near their CPUs are to each other.
//!
//! A virtual machine's CPUs may stand beside each other for some seconds and far
//! apart for the next, and everything between two threads follows. So each run
//! stands between two probes of a bare cache line, only runs between two equal
//! probes count, and like is compared with like. A run in which either thread
//! was switched out says nothing either.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// How near the two CPUs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They share a cache: a line goes there and back in less than 200 ns.
    Near,
    /// They do not.
    Far,
}

impl Mode {
    /// In the word that rows carry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    fn of(line_ns: f64) -> Self {
        if line_ns < 200.0 {
            Self::Near
        } else {
            Self::Far
        }
    }
}

/// The two CPUs that the threads are pinned to.
pub const CPUS: [usize; 2] = [0, 1];

/// Pins the calling thread; best effort, since a container may forbid it.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    if set.set(cpu).is_ok() {
        // Not pinned is still measured; the mode will tell.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// Runs both closures at the same time, each on its CPU. Returns the seconds
/// from the first start to the last end; `None` when one was switched out.
pub fn race(first: impl FnOnce() + Send, second: impl FnOnce() + Send) -> Option<f64> {
    let ready = AtomicUsize::new(0);
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| timed(CPUS[0], &ready, first));
        let second = scope.spawn(|| timed(CPUS[1], &ready, second));
        (first.join(), second.join())
    });
    let (first, second) = (first.ok()?, second.ok()?);
    let seconds = first.end.max(second.end) - first.start.min(second.start);
    (first.switches == 0 && second.switches == 0).then_some(seconds.as_secs_f64())
}

struct Timed {
    start: Instant,
    end: Instant,
    switches: i64,
}

fn timed(cpu: usize, ready: &AtomicUsize, work: impl FnOnce()) -> Timed {
    pin(cpu);
    ready.fetch_add(1, Ordering::AcqRel);
    while ready.load(Ordering::Acquire) < 2 {
        spin_loop();
    }
    let before = switches();
    let start = Instant::now();
    work();
    let end = Instant::now();
    Timed {
        start,
        end,
        switches: switches() - before,
    }
}

/// How often the calling thread was switched out.
#[must_use]
pub fn switches() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| {
        usage.involuntary_context_switches() + usage.voluntary_context_switches()
    })
}

/// A word on a line of its own.
#[repr(align(128))]
struct Line(AtomicUsize);

/// Nanoseconds in which a bare line goes there and back: the limit of every
/// round trip. `None` when the run was disturbed.
#[must_use]
pub fn line_round_trip_ns() -> Option<f64> {
    const TRIPS: usize = 2_000;
    let line = Line(AtomicUsize::new(0));
    let side = |parity: usize| {
        for n in 0..TRIPS {
            let mine = 2 * n + parity;
            while line.0.load(Ordering::Acquire) != mine {
                spin_loop();
            }
            line.0.store(mine + 1, Ordering::Release);
        }
    };
    let seconds = race(|| side(0), || side(1))?;
    Some(seconds * 1e9 / TRIPS as f64)
}

/// One run between two probes: its result and its mode, or `None` when
/// anything was disturbed or the mode changed.
pub fn bracketed(run: impl FnOnce() -> Option<f64>) -> Option<(Mode, f64)> {
    let before = Mode::of(line_round_trip_ns()?);
    let result = run()?;
    let after = Mode::of(line_round_trip_ns()?);
    (before == after).then_some((before, result))
}
