//! Whether there is work, and whether the device's thread has to be woken for it.

use crate::sync::{AtomicU32, Ordering};

/// There is work that the device may not have seen.
const RUNG: u32 = 1;
/// The device's thread waits, or is about to.
const ASLEEP: u32 = 1 << 1;

/// The doorbell without its waker.
///
/// Both facts are in one word that is only ever exchanged. So of a ring and a
/// thread that falls asleep at the same time one comes first: either the thread
/// finds the ring, or the ring finds the sleeper, and says that it has to be
/// woken. One ring of many says so.
pub(crate) struct Bell {
    state: AtomicU32,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            state: AtomicU32::new(0),
        }
    }
}

impl Bell {
    /// Work was left. Returns whether the thread sleeps and must be woken.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        // Release: who answers sees the work. Acquire: who wakes the sleeper sees
        // how, since that was settled before it slept.
        self.state.swap(RUNG, Ordering::AcqRel) & ASLEEP != 0
    }

    pub(crate) fn is_rung(&self) -> bool {
        // Whoever acts on it answers, and acquires then.
        self.state.load(Ordering::Relaxed) & RUNG != 0
    }

    /// The device is about to look at everything. The exchange either reads the
    /// ring, and then what was left before it is seen too, or comes before it,
    /// and then the ring stays for the next time.
    pub(crate) fn answer(&self) {
        self.state.fetch_and(!RUNG, Ordering::Acquire);
    }

    /// Calls `wait` unless there is work. A ring that comes from now on is to end
    /// the wait, also one that has not yet begun.
    pub(crate) fn sleep(&self, wait: impl FnOnce()) {
        // Release: pairs with `ring`.
        if self.state.fetch_or(ASLEEP, Ordering::Release) & RUNG == 0 {
            wait();
        }
        self.state.fetch_and(!ASLEEP, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_was_rung_lets_nobody_sleep_until_it_is_answered() {
        let bell = Bell::default();
        assert!(!bell.ring(), "nobody sleeps");
        assert!(bell.is_rung());
        bell.sleep(|| unreachable!("there is work"));
        bell.answer();
        let mut slept = false;
        bell.sleep(|| slept = true);
        assert!(slept);
    }

    #[test]
    fn the_first_ring_of_many_wakes_the_sleeper() {
        let bell = Bell::default();
        bell.sleep(|| {
            assert!(bell.ring());
            assert!(!bell.ring());
        });
        assert!(!bell.ring(), "it is awake");
    }
}

/// Each of these changes was made on purpose, and made a model fail:
///
/// - a `sleep` that does not look at the bell;
/// - a `sleep` that looks first and says then that it sleeps;
/// - a `ring` of a store and a load, in either order;
/// - a `ring` that wakes nobody;
/// - a `ring` that only acquires, or only releases; `answer`, or the sleeper's mark,
///   `Relaxed`;
/// - an `answer`, or an end of the sleep, that stores zero;
/// - an `answer` after the look at the work.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Notify};
    use loom::{model, thread};

    /// A device, whose work is a count that nothing but the bell orders. Its
    /// waker keeps a wake-up for the wait that comes next, as a wire's does; it
    /// is put there by the thread itself, so that loom sees who reaches it
    /// unordered. A wake-up that is lost is a deadlock, which loom reports.
    struct Device {
        bell: Bell,
        work: AtomicU32,
        waker: UnsafeCell<()>,
        wake: Notify,
    }

    impl Device {
        fn shared() -> Arc<Self> {
            Arc::new(Self {
                bell: Bell::default(),
                work: AtomicU32::new(0),
                waker: UnsafeCell::new(()),
                wake: Notify::new(),
            })
        }

        /// Runs until that much work came.
        fn run(&self, until: u32) {
            self.waker.with_mut(|_| ());
            loop {
                self.bell.answer();
                if self.work.load(Ordering::Relaxed) == until {
                    return;
                }
                self.bell.sleep(|| self.wake.wait());
            }
        }

        fn write(&self) {
            self.work.fetch_add(1, Ordering::Relaxed);
            if self.bell.ring() {
                self.waker.with(|_| ());
                self.wake.notify();
            }
        }
    }

    fn write_on(device: &Arc<Device>, times: u32) -> thread::JoinHandle<()> {
        let device = Arc::clone(device);
        thread::spawn(move || (0..times).for_each(|_| device.write()))
    }

    /// Race: a register is written while the thread falls asleep.
    #[test]
    fn a_write_ends_the_sleep_that_it_meets() {
        model(|| {
            let device = Device::shared();
            let writer = write_on(&device, 2);
            device.run(2);
            writer.join().unwrap();
        });
    }

    /// Race: two threads write registers, and one of them wakes the device for
    /// both.
    #[test]
    fn the_ring_that_wakes_nobody_is_seen_too() {
        model(|| {
            let device = Device::shared();
            let writers = [write_on(&device, 1), write_on(&device, 1)];
            device.run(2);
            for writer in writers {
                writer.join().unwrap();
            }
        });
    }

    /// Race: a ring while the device answers the one before it. Whoever answered
    /// a bell that is silent afterwards has seen all that was left.
    #[test]
    fn work_that_was_not_seen_keeps_the_bell_rung() {
        model(|| {
            let device = Device::shared();
            let writer = write_on(&device, 2);
            device.bell.answer();
            let seen = device.work.load(Ordering::Relaxed);
            writer.join().unwrap();
            assert!(seen == 2 || device.bell.is_rung());
        });
    }
}
