//! A counter with one writer.

use core::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread adds to and any thread may read.
///
/// Adding is a load and a store, without a locked instruction: with two writers
/// it would lose counts (and do no other harm).
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`; it wraps. Only the counter's owner calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: one thread writes, and readers order nothing by a counter.
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    #[inline]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
