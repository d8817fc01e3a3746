//! Where a CPU waits when it has nothing to do.

use alloc::sync::Arc;

/// Ends the wait of a CPU.
pub trait Wake: Send + Sync {
    /// Makes the [`Idle::wait`] that is under way return, or the next one if none
    /// is. It is called from any thread and in hard-interrupt context.
    fn wake(&self);
}

/// Where a CPU's thread gets its interrupts and waits for them: a parked thread,
/// an io_uring, an epoll set.
pub trait Idle {
    /// What ends the wait from outside. It stays the same.
    fn waker(&self) -> Arc<dyn Wake>;

    /// Delivers the interrupts that have come, by calling their handlers, and
    /// does not wait.
    fn poll(&mut self) {}

    /// Waits for an interrupt or for a wake-up, for at most `timeout_ns`
    /// nanoseconds; without a timeout for as long as it takes. It may return
    /// early without a reason. It calls no interrupt handler: `poll` is called
    /// after it.
    fn wait(&mut self, timeout_ns: Option<u64>);
}

/// The waker of a CPU that never sleeps, since its caller runs it inline.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// Waits by parking the thread that made it. It has no interrupts of its own:
/// they come from other threads, which raise vectors by handle.
#[cfg(feature = "std")]
#[derive(Debug)]
pub struct ParkIdle {
    thread: std::thread::Thread,
}

#[cfg(feature = "std")]
impl ParkIdle {
    /// For the thread that calls this, which is to be the CPU.
    #[must_use]
    pub fn new() -> Self {
        Self {
            thread: std::thread::current(),
        }
    }
}

#[cfg(feature = "std")]
impl Default for ParkIdle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "std")]
impl Idle for ParkIdle {
    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Unpark(self.thread.clone()))
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        match timeout_ns {
            None => std::thread::park(),
            Some(ns) => std::thread::park_timeout(core::time::Duration::from_nanos(ns)),
        }
    }
}

/// A thread to be unparked: an unpark before the park is remembered.
#[cfg(feature = "std")]
struct Unpark(std::thread::Thread);

#[cfg(feature = "std")]
impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}
