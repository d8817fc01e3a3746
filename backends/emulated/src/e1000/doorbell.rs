//! How a register write wakes the device's thread.

use arc_swap::ArcSwapOption;
use softnet_nic_hal::wire::WireWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// There is work that the device's thread may not have seen.
///
/// The thread first says that it sleeps and then looks for work; a writer first
/// leaves its work and then looks for a sleeper. In a sequentially consistent
/// order one of them sees the other, so no wake-up is lost; and a writer uses the
/// waker only when the thread does sleep.
#[derive(Default)]
pub(super) struct Doorbell {
    rung: AtomicBool,
    asleep: AtomicBool,
    waker: ArcSwapOption<Waker>,
}

struct Waker(Arc<dyn WireWaker>);

impl Doorbell {
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(waker) = &*self.waker.load()
        {
            waker.0.wake();
        }
    }

    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    /// The device is about to look at everything. The exchange either reads the
    /// ring, and then what was left before it is seen too, or comes before it,
    /// and then the ring stays for the next time.
    pub(super) fn answer(&self) {
        self.rung.swap(false, Ordering::SeqCst);
    }

    /// Returns whether there is nothing to do.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.is_rung()
    }

    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    pub(super) fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        self.waker.store(waker.map(|waker| Arc::new(Waker(waker))));
    }
}
