//! Who may use the registers.
//!
//! The chip has one window of registers, of which its command register selects a
//! page, and one channel to its memory. Whoever uses either needs both for a
//! while. An interrupt handler, and the packet path's mask and unmask, must not
//! wait for that: they leave a request, and whoever has the window serves it
//! when he is done.

use crate::sync::{AtomicBool, Mutex, Ordering, fence};

/// A state that one at a time works on, and requests to it that wait for nobody.
///
/// Whoever requests sets the flag and then tries the lock; whoever unlocks looks at
/// the flag after that. Each has a sequentially consistent fence between the two,
/// so of a request and an unlock at the same time at least one sees the other:
/// either the lock is had, or the flag is seen.
pub(crate) struct Window<T> {
    requested: AtomicBool,
    state: Mutex<T>,
}

impl<T> Window<T> {
    pub(crate) fn new(state: T) -> Self {
        Self {
            requested: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Works on the state, and then serves what was requested meanwhile.
    pub(crate) fn with<R>(
        &self,
        serve: impl Fn(&mut T) -> bool,
        work: impl FnOnce(&mut T) -> R,
    ) -> R {
        let result = work(&mut self.state.lock());
        fence(Ordering::SeqCst);
        self.settle(serve);
        result
    }

    /// Has `serve` run once from now on: by this thread, or by the one that works
    /// on the state, after this call. Never waits. Returns what `serve` gave, if
    /// it was this thread that ran it.
    pub(crate) fn request(&self, serve: impl Fn(&mut T) -> bool) -> Option<bool> {
        // Release: who serves it sees what it is about. An exchange and no store, so
        // that who serves the last of several requests sees what all are about.
        self.requested.swap(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.settle(serve)
    }

    fn settle(&self, serve: impl Fn(&mut T) -> bool) -> Option<bool> {
        let mut served = None;
        while self.requested.load(Ordering::Relaxed) {
            let Some(mut state) = self.state.try_lock() else {
                return served;
            };
            // Before it is served: a request that comes later is for the next
            // round. Acquire: pairs with the request.
            if self.requested.swap(false, Ordering::Acquire) {
                let found = serve(&mut state);
                served = Some(found | served.unwrap_or(false));
            }
            drop(state);
            fence(Ordering::SeqCst);
        }
        served
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_request_while_the_state_is_worked_on_is_served_afterwards() {
        let window = Window::new(0);
        let serve = |state: &mut u32| {
            *state += 1;
            true
        };
        window.with(serve, |state| {
            assert_eq!(window.request(serve), None);
            assert_eq!(*state, 0);
        });
        window.with(serve, |state| assert_eq!(*state, 1));
        assert_eq!(window.request(serve), Some(true));
    }

    #[test]
    fn a_request_from_a_service_is_served_by_the_same_thread() {
        let window = Window::new(());
        let served = AtomicUsize::new(0);
        let serve = |_: &mut ()| {
            if served.fetch_add(1, Ordering::SeqCst) == 0 {
                assert_eq!(window.request(|_: &mut ()| false), None);
            }
            false
        };
        assert_eq!(window.request(serve), Some(false));
        assert_eq!(served.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn no_request_of_many_threads_is_left() {
        let window = Window::new(0_u64);
        let wanted = AtomicUsize::new(0);
        let serve = |seen: &mut u64| {
            *seen = wanted.load(Ordering::SeqCst) as u64;
            true
        };
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    for _ in 0..2000 {
                        wanted.fetch_add(1, Ordering::SeqCst);
                        window.request(serve);
                        window.with(serve, |_| ());
                    }
                });
            }
        });
        let seen = *window.state.lock();
        assert_eq!(seen, 6000);
    }
}

/// Each of these changes was made on purpose, and made a model fail:
///
/// - a `with` that does not look at the flag, or looks at it before it unlocks;
/// - no fence in `with`, or none in `request`, or none after a service;
/// - a request that is set by a relaxed exchange, or by a store;
/// - a request that is taken by a relaxed exchange, or only after it was served.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU32;
    use loom::{model, thread};

    /// A window whose state is what the last service saw of `wanted`, which nothing
    /// but the window orders.
    struct Chip {
        wanted: AtomicU32,
        window: Window<u32>,
    }

    impl Chip {
        fn shared() -> Arc<Self> {
            Arc::new(Self {
                wanted: AtomicU32::new(0),
                window: Window::new(0),
            })
        }

        fn serve(&self, seen: &mut u32) -> bool {
            *seen = self.wanted.load(Ordering::Relaxed);
            true
        }

        fn request(&self) {
            self.wanted.fetch_add(1, Ordering::Relaxed);
            self.window.request(|seen| self.serve(seen));
        }

        fn work(&self) {
            // The look is where others can come in between.
            let look = |_: &mut u32| self.wanted.load(Ordering::Relaxed);
            self.window.with(|seen| self.serve(seen), look);
        }

        fn seen(&self) -> u32 {
            *self.window.state.lock()
        }
    }

    fn on_thread(chip: &Arc<Chip>, act: fn(&Chip)) -> thread::JoinHandle<()> {
        let chip = Arc::clone(chip);
        thread::spawn(move || act(&chip))
    }

    /// Race: an interrupt while the packet path works with the chip.
    #[test]
    fn a_request_is_served_whoever_has_the_window() {
        model(|| {
            let chip = Chip::shared();
            let other = on_thread(&chip, Chip::request);
            chip.work();
            other.join().unwrap();
            assert_eq!(chip.seen(), 1);
        });
    }

    /// Race: an interrupt and an unmask at once, while a third works.
    #[test]
    fn no_request_is_lost_to_another_one() {
        model(|| {
            let chip = Chip::shared();
            let others = [
                on_thread(&chip, Chip::request),
                on_thread(&chip, Chip::work),
            ];
            chip.request();
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(chip.seen(), 2);
        });
    }
}
