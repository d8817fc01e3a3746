//! The pending word, and how a CPU sleeps without missing a raise.

use crate::sync::{AtomicU32, Ordering};
use crate::vector::VectorSet;

/// The CPU's thread sleeps, or is about to.
const SLEEPING: u32 = 1 << 31;
/// The CPU is asked to look around, without a vector to run.
const KICK: u32 = 1 << 30;

/// One CPU's pending vectors and whether its thread sleeps, in one word.
///
/// Bits 0 to 9 are the vectors, [`KICK`] and [`SLEEPING`] are above. Having both
/// questions answered by one word is what makes a lost wake-up impossible: all
/// accesses that decide something are read-modify-writes of that word, and those
/// have one order that everybody agrees on. For a raise and the CPU going to
/// sleep there are two orders:
///
/// - the raise comes first: `try_sleep` finds a bit and refuses, the CPU runs it;
/// - `try_sleep` comes first: the raise finds `SLEEPING`, and whoever finds it
///   with nothing else set wakes the CPU. Later raisers find the first one's bit
///   and leave the waking to it.
///
/// Only the CPU sets and clears `SLEEPING` and only the CPU clears vectors.
/// The waker remembers a wake-up that comes before the wait has begun, so it does
/// not matter how long the CPU takes from `try_sleep` to its wait.
#[derive(Debug)]
pub(crate) struct PendingWord(AtomicU32);

impl PendingWord {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Adds vectors (as bits) and says whether the caller has to wake the CPU.
    #[inline]
    pub(crate) fn raise(&self, bits: u32) -> bool {
        // Release: what the raiser wrote before is seen by the handler, whose
        // `take` acquires. Later raises are read-modify-writes and so carry on
        // the release sequence of earlier ones.
        self.0.fetch_or(bits, Ordering::Release) == SLEEPING
    }

    /// Asks the CPU to look around, and says whether the caller has to wake it.
    pub(crate) fn kick(&self) -> bool {
        self.raise(KICK)
    }

    /// Takes all vectors out. Only the CPU's thread calls it, awake.
    #[inline]
    pub(crate) fn take(&self) -> VectorSet {
        // The look without a lock prefix may be late by a moment; a raise that
        // it misses is seen by the next one, at the latest by `try_sleep`.
        if self.0.load(Ordering::Relaxed) == 0 {
            return VectorSet::default();
        }
        // Acquire: pairs with the Release of each raise whose bit is taken.
        VectorSet::from_bits(self.0.swap(0, Ordering::Acquire))
    }

    /// The vectors that are pending, left as they are.
    pub(crate) fn peek(&self) -> VectorSet {
        VectorSet::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Announces that the CPU goes to sleep. Refused when anything is pending.
    pub(crate) fn try_sleep(&self) -> bool {
        // Relaxed: nothing is handed over here. On refusal the CPU goes on to
        // `take`, which acquires.
        self.0
            .compare_exchange(0, SLEEPING, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the announcement back, after the wait.
    pub(crate) fn awake(&self) {
        // Relaxed, and a read-modify-write: vectors raised meanwhile stay, with
        // the release sequences of their raises.
        self.0.fetch_and(!SLEEPING, Ordering::Relaxed);
    }
}
