//! What softirqs leave to the control plane, because it takes long or concerns
//! all CPUs (Linux's workqueues).

use crate::notify::{Notify, publish_fence};
use crate::route::IfIndex;
use alloc::sync::Arc;
use softnet_dma_ring::mpsc;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The transmitter hangs: stop the NIC and open it again.
    Reset(IfIndex),
    /// The NIC was unplugged: take the device out of service.
    Gone(IfIndex),
}

/// The place where work is left.
#[derive(Clone)]
pub(crate) struct WorkQueue {
    sender: mpsc::Sender<Work>,
    notify: Arc<Notify>,
}

impl WorkQueue {
    /// A queue and its end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Work>) {
        let (sender, receiver) = mpsc::channel(64);
        (
            Self {
                sender,
                notify: Arc::default(),
            },
            receiver,
        )
    }

    /// Leaves work. A full queue loses it; the watchdog finds the same again
    /// two seconds later.
    pub(crate) fn push(&self, work: Work) {
        let _ = self.sender.push(work);
        self.wake();
    }

    /// Wakes the worker.
    pub(crate) fn wake(&self) {
        publish_fence();
        self.notify.notify_fenced();
    }

    /// Where the worker waits.
    #[cfg(feature = "std")]
    pub(crate) fn notify(&self) -> &Arc<Notify> {
        &self.notify
    }
}
