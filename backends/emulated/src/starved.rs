//! Whether a write of RDT is worth a wake-up.

use crate::sync::{AtomicBool, Ordering, fence};

/// Frames wait in the FIFO for descriptors.
///
/// The receiver says so and then looks at the tail once more; the driver moves the
/// tail and then asks. Each has a sequentially consistent fence between the two,
/// so at least one of them sees the other.
pub(crate) struct Starved {
    frames_wait: AtomicBool,
}

impl Starved {
    pub(crate) fn new() -> Self {
        Self {
            frames_wait: AtomicBool::new(false),
        }
    }

    /// The receiver says whether frames wait. If they do, it has to look at the
    /// tail after that.
    pub(crate) fn set(&self, frames_wait: bool) {
        self.frames_wait.store(frames_wait, Ordering::Relaxed);
        if frames_wait {
            fence(Ordering::SeqCst);
        }
    }

    /// Moves the tail. Returns whether the receiver is to be told.
    #[must_use]
    pub(crate) fn after(&self, move_tail: impl FnOnce()) -> bool {
        move_tail();
        fence(Ordering::SeqCst);
        self.frames_wait.load(Ordering::Relaxed)
    }
}

/// Each of these changes was made on purpose, and made the model fail:
///
/// - no fence in `set`, or one before the store;
/// - no fence in `after`, or one after the load;
/// - an `after` that asks first and moves the tail then.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::sync::AtomicU32;
    use loom::sync::Arc;
    use loom::{model, thread};

    /// Race: the driver gives descriptors while the receiver finds that there are
    /// none.
    #[test]
    fn the_receiver_sees_the_tail_or_the_driver_sees_the_receiver() {
        model(|| {
            let rx = Arc::new((Starved::new(), AtomicU32::new(0)));
            let driver = {
                let rx = Arc::clone(&rx);
                thread::spawn(move || rx.0.after(|| rx.1.store(1, Ordering::Relaxed)))
            };
            rx.0.set(true);
            let seen = rx.1.load(Ordering::Relaxed) == 1;
            let told = driver.join().unwrap();
            assert!(seen || told);
        });
    }
}
