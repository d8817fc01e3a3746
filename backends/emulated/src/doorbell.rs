//! How a register write wakes the device's thread.

use crate::bell::Bell;
use arc_swap::ArcSwapOption;
use softnet_nic_hal::wire::WireWaker;
use std::sync::Arc;

/// A bell, and what wakes the device's thread, if a thread drives it. The waker is
/// used only when the thread does sleep.
#[derive(Default)]
pub(crate) struct Doorbell {
    bell: Bell,
    waker: ArcSwapOption<Waker>,
}

struct Waker(Arc<dyn WireWaker>);

impl Doorbell {
    pub(crate) fn ring(&self) {
        if self.bell.ring()
            && let Some(waker) = &*self.waker.load()
        {
            waker.0.wake();
        }
    }

    pub(crate) fn is_rung(&self) -> bool {
        self.bell.is_rung()
    }

    /// The device is about to look at everything.
    pub(crate) fn answer(&self) {
        self.bell.answer();
    }

    /// Calls `wait` unless there is work; the waker ends it when work comes.
    pub(crate) fn sleep(&self, wait: impl FnOnce()) {
        self.bell.sleep(wait);
    }

    pub(crate) fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        self.waker.store(waker.map(|waker| Arc::new(Waker(waker))));
    }
}
