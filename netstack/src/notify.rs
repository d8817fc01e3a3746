//! Waking an application that waits for its sockets.
//!
//! The packet path must not pay for waiters that are not there. So a waiter
//! announces itself first, and looks at its sockets once more before it sleeps;
//! the packet path publishes packets first, and looks for a waiter afterwards,
//! once for a whole batch. Between the two stores and the two looks each side
//! has a sequentially consistent fence: of the two, at least one sees the
//! other (Dekker), so no wake-up is lost.
//!
//! Several threads may wait at one place, as senders wait for room at a CPU's
//! door. They share one announcement, so only a wake-up takes it back, which
//! wakes them all: a waiter that leaves cannot know whether another still
//! relies on it. Leaving it costs one wake-up for nobody at the most.

use crate::sync::{AtomicBool, Ordering, fence};
#[cfg(feature = "std")]
use crate::sync::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "std")]
use std::sync::PoisonError;

/// A place where applications wait for any of their sockets.
///
/// Sockets that share a `Notify` are waited for together.
#[derive(Debug, Default)]
pub struct Notify {
    waiting: AtomicBool,
    #[cfg(feature = "std")]
    sleeper: Sleeper,
}

/// Orders what was published before against the look for waiters after.
///
/// One fence serves any number of [`Notify::notify_fenced`].
#[inline]
pub(crate) fn publish_fence() {
    fence(Ordering::SeqCst);
}

impl Notify {
    /// A new place to wait.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the waiter, if there is one. What it waits for has been published,
    /// and [`publish_fence`] was called since.
    #[inline]
    pub(crate) fn notify_fenced(&self) {
        // Relaxed: the fence has ordered this load after the publication.
        if self.waiting.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes the waiter for a reason of the caller's own, which the waiter's
    /// condition looks at: that it is time to stop, say.
    pub fn notify(&self) {
        publish_fence();
        self.notify_fenced();
    }

    /// Announces a waiter: from now on publications wake. The caller then looks
    /// whether there is something already.
    #[cfg(feature = "std")]
    pub(crate) fn arm(&self) {
        self.waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Wakes whoever waits, whatever has happened: for an application that wants
    /// another of its threads back.
    #[cold]
    pub fn wake(&self) {
        // Relaxed: whoever announces after this has taken the sleeper's lock
        // before, and so sees the wake-up that follows.
        self.waiting.store(false, Ordering::Relaxed);
        #[cfg(feature = "std")]
        self.sleeper.wake();
    }
}

/// The cold half: taken only when somebody sleeps.
#[cfg(feature = "std")]
#[derive(Default)]
struct Sleeper {
    state: Mutex<State>,
    woken: Condvar,
}

#[cfg(feature = "std")]
#[derive(Default)]
struct State {
    /// Wake-ups so far.
    wakes: u64,
    /// What else is told of a wake-up, such as a file descriptor that a `poll`
    /// waits on.
    listener: Option<std::boxed::Box<dyn Fn() + Send>>,
}

#[cfg(feature = "std")]
impl core::fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Sleeper")
    }
}

#[cfg(feature = "std")]
impl Sleeper {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let mut state = self.lock();
        state.wakes += 1;
        if let Some(listener) = &state.listener {
            listener();
        }
        drop(state);
        self.woken.notify_all();
    }

    /// Sleeps until there was a wake-up after the `seen`th; `false` when the
    /// deadline passed instead.
    fn sleep(&self, seen: u64, deadline: Option<std::time::Instant>) -> bool {
        let mut state = self.lock();
        while state.wakes == seen {
            state = match deadline {
                None => self
                    .woken
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(std::time::Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let woken = self.woken.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

#[cfg(feature = "std")]
impl Notify {
    /// Installs what else is called on a wake-up: on the packet path's thread,
    /// so it must be short (a write to an eventfd). The caller then arms the
    /// notification with [`rearm`](Self::rearm) whenever it is about to wait.
    ///
    /// It may be called without need: look at the sockets, and rearm.
    pub fn set_listener(&self, listener: impl Fn() + Send + 'static) {
        self.sleeper.lock().listener = Some(std::boxed::Box::new(listener));
    }

    /// Asks for one wake-up of the listener. The caller looks at its sockets
    /// after this, and waits only if they have nothing.
    pub fn rearm(&self) {
        self.arm();
    }

    /// Waits until `ready` holds, or `timeout` has passed (`None`: no limit).
    /// Returns whether `ready` held.
    pub fn wait(
        &self,
        timeout: Option<core::time::Duration>,
        mut ready: impl FnMut() -> bool,
    ) -> bool {
        let deadline = timeout.and_then(|t| std::time::Instant::now().checked_add(t));
        loop {
            if ready() {
                return true;
            }
            let seen = self.sleeper.lock().wakes;
            self.arm();
            if ready() {
                return true;
            }
            if !self.sleeper.sleep(seen, deadline) {
                return ready();
            }
        }
    }
}
