//! Who may use the registers.
//!
//! The chip has one window of registers, of which its command register selects a
//! page, and one channel to its memory. Whoever uses either needs both for a
//! while. An interrupt handler, and the packet path's mask and unmask, must not
//! wait for that: they leave a request, and whoever has the window serves it
//! when he is done.

use core::sync::atomic::{AtomicBool, Ordering, fence};
use spin::Mutex;

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
        self.requested.store(true, Ordering::Relaxed);
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
            // round. Acquire: what the request is about is seen.
            if self.requested.swap(false, Ordering::AcqRel) {
                let found = serve(&mut state);
                served = Some(found | served.unwrap_or(false));
            }
            drop(state);
            fence(Ordering::SeqCst);
        }
        served
    }
}

#[cfg(test)]
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
