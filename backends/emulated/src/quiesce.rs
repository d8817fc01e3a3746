//! How memory is taken away from a device that may be using it.
//!
//! Whoever takes it away first changes what the device may do, and then passes the
//! device's [`Gate`]. The device looks at what it may do only when its burst has
//! begun. So a burst either ends before the gate is passed, or begins after it and
//! sees the change.

use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, yield_now};
use std::sync::PoisonError;

/// A lock that is held for one burst of DMA, and by what must not happen in the
/// middle of one.
pub(crate) struct Gate<T> {
    /// How many wait, so that the next burst lets them pass first. The lock gives
    /// the order; this says only who should be next.
    waiting: AtomicU32,
    state: Mutex<T>,
}

impl<T> Gate<T> {
    pub(crate) fn new(state: T) -> Self {
        Self {
            waiting: AtomicU32::new(0),
            state: Mutex::new(state),
        }
    }

    /// Passes between two bursts, before the next one begins.
    pub(crate) fn pass(&self) -> MutexGuard<'_, T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = lock(&self.state);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }

    /// Begins a burst, which ends when the guard is dropped.
    pub(crate) fn burst(&self) -> MutexGuard<'_, T> {
        while self.waiting.load(Ordering::Relaxed) != 0 {
            yield_now();
        }
        lock(&self.state)
    }
}

/// A value, and the number of its changes, so that a copy of it can be kept up to
/// date without a lock as long as nothing changes.
#[derive(Default)]
pub(crate) struct Versioned<T> {
    value: Mutex<T>,
    /// Changes only under the lock. Read without it, it may lag behind, but not
    /// behind a change that came before the reader's burst: the gate orders the
    /// two.
    version: AtomicU64,
}

/// A copy of a [`Versioned`] value.
#[derive(Debug, Default)]
pub(crate) struct Snapshot<T> {
    value: T,
    version: u64,
}

impl<T> Snapshot<T> {
    pub(crate) fn value(&self) -> &T {
        &self.value
    }
}

impl<T: Clone> Versioned<T> {
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = lock(&self.value);
        let result = change(&mut value);
        self.version.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Brings a copy up to date.
    pub(crate) fn refresh(&self, copy: &mut Snapshot<T>) {
        if self.version.load(Ordering::Relaxed) != copy.version {
            let value = lock(&self.value);
            copy.value = value.clone();
            copy.version = self.version.load(Ordering::Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, loom))]
mod loom_models;
