//! The place of one half of a queue: its ring's owner takes the half for a batch and
//! puts it back, and whoever closes the queue takes it for good.
//!
//! The owner never waits: an empty seat means that the queue was closed. Closing waits
//! for an owner who has the half at that moment.

use crate::sync::{AtomicPtr, Ordering, yield_now};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::Mutex;

/// A half, or an empty place.
pub(crate) struct Seat<H> {
    /// Whoever swaps a pointer out owns what it points at, until he stores it again.
    half: AtomicPtr<H>,
    /// What is shared is handed from thread to thread, as by a lock.
    _handed: PhantomData<Mutex<H>>,
}

impl<H> Seat<H> {
    pub(crate) fn new(half: H) -> Self {
        Self {
            half: AtomicPtr::new(Box::into_raw(Box::new(half))),
            _handed: PhantomData,
        }
    }

    /// Takes the half until the guard is dropped; `None` when the queue was closed.
    #[inline]
    pub(crate) fn take(&self) -> Option<Taken<'_, H>> {
        // Acquire: what the last one did with the half is done.
        let half = NonNull::new(self.half.swap(ptr::null_mut(), Ordering::Acquire))?;
        Some(Taken { seat: self, half })
    }

    /// Takes the half for good, once its owner has put it back. Called once.
    pub(crate) fn remove(&self) -> Box<H> {
        loop {
            let half = self.half.swap(ptr::null_mut(), Ordering::Acquire);
            if !half.is_null() {
                // SAFETY: the pointer came from a box, and was in the seat: so nobody
                // else has it.
                return unsafe { Box::from_raw(half) };
            }
            yield_now();
        }
    }
}

impl<H> Drop for Seat<H> {
    fn drop(&mut self) {
        let half = self.half.swap(ptr::null_mut(), Ordering::Acquire);
        if !half.is_null() {
            // SAFETY: as in `remove`.
            drop(unsafe { Box::from_raw(half) });
        }
    }
}

impl<H> fmt::Debug for Seat<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

/// A half that is in use.
pub(crate) struct Taken<'a, H> {
    seat: &'a Seat<H>,
    half: NonNull<H>,
}

impl<H> Deref for Taken<'_, H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        // SAFETY: the pointer was taken out of the seat, so that this guard alone has
        // it, and came from a box that is freed only by who finds it in the seat.
        unsafe { self.half.as_ref() }
    }
}

impl<H> DerefMut for Taken<'_, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut H {
        // SAFETY: as in `deref`; the guard is borrowed exclusively.
        unsafe { self.half.as_mut() }
    }
}

impl<H> Drop for Taken<'_, H> {
    #[inline]
    fn drop(&mut self) {
        // Release: who takes the half next sees what was done with it.
        let empty = self.seat.half.swap(self.half.as_ptr(), Ordering::Release);
        debug_assert!(empty.is_null());
    }
}
