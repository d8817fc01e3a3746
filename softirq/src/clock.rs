//! Where time comes from.

use core::sync::atomic::{AtomicU64, Ordering};

/// The only source of time. It never goes back.
pub trait Clock: Send + Sync {
    /// Nanoseconds since some fixed point of the clock's own.
    fn now_ns(&self) -> u64;
}

/// A clock that stands still until it is told to move: with it, a run is
/// deterministic, timers included.
#[derive(Debug, Default)]
pub struct VirtualClock {
    now_ns: AtomicU64,
}

impl VirtualClock {
    /// A clock that shows `now_ns` nanoseconds.
    #[must_use]
    pub const fn new(now_ns: u64) -> Self {
        Self {
            now_ns: AtomicU64::new(now_ns),
        }
    }

    /// Moves the clock forward by `ns` nanoseconds. It stops at `u64::MAX`.
    pub fn advance(&self, ns: u64) {
        let forward = |now: u64| Some(now.saturating_add(ns));
        // The closure never declines, so there is no error to look at.
        let _ = self
            .now_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, forward);
    }

    /// Moves the clock to `now_ns` nanoseconds, unless that lies in its past.
    pub fn set(&self, now_ns: u64) {
        self.now_ns.fetch_max(now_ns, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        // Relaxed: the time is a number that orders nothing else.
        self.now_ns.load(Ordering::Relaxed)
    }
}

/// The machine's monotonic clock, counted from the moment that it was made.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: std::time::Instant,
}

#[cfg(feature = "std")]
impl MonotonicClock {
    /// A clock that starts at 0 now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }
}

#[cfg(feature = "std")]
impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "std")]
impl Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        let elapsed = self.start.elapsed();
        // 584 years pass before this wraps.
        elapsed.as_secs().wrapping_mul(1_000_000_000) + u64::from(elapsed.subsec_nanos())
    }
}
