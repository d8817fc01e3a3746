//! Ending a wait from another thread.

use parking::{Parker, Unparker};
use softnet_nic_hal::wire::WireWaker;
use std::sync::Arc;
use std::time::Duration;

/// The waiting half for wires that no file descriptor stands for.
#[derive(Debug)]
pub(crate) struct Waiter {
    parker: Parker,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        let parker = Parker::new();
        Self { parker }
    }

    /// Waits for a wake-up, at most `timeout_ns` nanoseconds. A wake-up that
    /// came before the wait ends it at once.
    pub(crate) fn wait(&self, timeout_ns: Option<u64>) {
        match timeout_ns {
            Some(ns) => {
                self.parker.park_timeout(Duration::from_nanos(ns));
            }
            None => self.parker.park(),
        }
    }

    pub(crate) fn unparker(&self) -> Unparker {
        self.parker.unparker()
    }

    pub(crate) fn waker(&self) -> Arc<dyn WireWaker> {
        Arc::new(ParkWaker(self.unparker()))
    }
}

struct ParkWaker(Unparker);

impl WireWaker for ParkWaker {
    fn wake(&self) {
        self.0.unpark();
    }
}
