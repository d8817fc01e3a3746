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

/// Races, each seen to fail by a mutation of the code above:
///
/// - *raise against sleep*: with `try_sleep` as a load of 0 and then a store of
///   `SLEEPING`, the CPU sleeps over a raise and loom reports a deadlock.
/// - *two raisers and one sleeper*: with the test `== SLEEPING` in `raise`
///   replaced by `== SLEEPING | bits`, nobody wakes the CPU.
/// - *a raise hands over what was written before*: with Relaxed in `raise` or in
///   `take`, the handler reads the old value.
/// - *awake keeps vectors*: with `awake` as a store of 0, a raise that came
///   during the sleep is gone.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::vector::Vector;
    use loom::sync::Arc;
    use loom::thread;
    use std::vec::Vec;

    /// The CPU: takes until it has `wanted`, and sleeps when there is nothing.
    fn run_until(word: &PendingWord, wanted: &[Vector], mut seen: impl FnMut(Vector)) {
        let mut got = Vec::new();
        while !wanted.iter().all(|vector| got.contains(vector)) {
            for vector in word.take() {
                seen(vector);
                got.push(vector);
            }
            let done = wanted.iter().all(|vector| got.contains(vector));
            if !done && word.try_sleep() {
                thread::park();
                word.awake();
            }
        }
    }

    /// A raiser's end: the waking is that of `CpuHandle::raise`.
    fn raise(word: &PendingWord, cpu: &thread::Thread, vector: Vector) {
        if word.raise(vector.bit()) {
            cpu.unpark();
        }
    }

    #[test]
    fn a_raise_against_a_cpu_that_goes_to_sleep_is_not_lost() {
        loom::model(|| {
            let word = Arc::new(PendingWord::new());
            let cpu = thread::current();
            let raiser = thread::spawn({
                let word = Arc::clone(&word);
                move || raise(&word, &cpu, Vector::NetRx)
            });
            run_until(&word, &[Vector::NetRx], |_| ());
            raiser.join().unwrap();
        });
    }

    #[test]
    fn two_raisers_against_one_sleeper_are_both_served() {
        loom::model(|| {
            let word = Arc::new(PendingWord::new());
            let cpu = thread::current();
            let raisers = [Vector::Hi, Vector::NetRx].map(|vector| {
                let (word, cpu) = (Arc::clone(&word), cpu.clone());
                thread::spawn(move || raise(&word, &cpu, vector))
            });
            run_until(&word, &[Vector::Hi, Vector::NetRx], |_| ());
            for raiser in raisers {
                raiser.join().unwrap();
            }
        });
    }

    #[test]
    fn a_handler_sees_what_each_raiser_wrote_before_its_raise() {
        loom::model(|| {
            let word = Arc::new(PendingWord::new());
            let data = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let cpu = thread::current();
            let vectors = [Vector::Hi, Vector::Timer];
            let raisers = vectors.map(|vector| {
                let (word, data, cpu) = (Arc::clone(&word), Arc::clone(&data), cpu.clone());
                thread::spawn(move || {
                    data[vector.index()].store(7, Ordering::Relaxed);
                    raise(&word, &cpu, vector);
                })
            });
            run_until(&word, &vectors, |vector| {
                assert_eq!(data[vector.index()].load(Ordering::Relaxed), 7);
            });
            for raiser in raisers {
                raiser.join().unwrap();
            }
        });
    }

    #[test]
    fn a_kick_against_a_cpu_that_goes_to_sleep_ends_the_sleep() {
        loom::model(|| {
            let word = Arc::new(PendingWord::new());
            let stop = Arc::new(AtomicU32::new(0));
            let cpu = thread::current();
            let kicker = thread::spawn({
                let (word, stop) = (Arc::clone(&word), Arc::clone(&stop));
                move || {
                    stop.store(1, Ordering::Relaxed);
                    if word.kick() {
                        cpu.unpark();
                    }
                }
            });
            while stop.load(Ordering::Relaxed) == 0 {
                // Taking acquires what the kicker wrote.
                let _ = word.take();
                if stop.load(Ordering::Relaxed) == 0 && word.try_sleep() {
                    thread::park();
                    word.awake();
                }
            }
            kicker.join().unwrap();
        });
    }
}
