//! Who delivers an interrupt that several threads find asserted.

use crate::sync::{AtomicU32, Ordering};

/// Counts the signals that are not yet dealt with.
///
/// The signal that brings the count from zero delivers, on behalf of the others
/// too, until none has come meanwhile. So a delivery never runs twice at once,
/// nobody waits, and no signal is lost. While the count is not zero it only
/// grows: that it still reads as it did means that no signal came.
#[derive(Debug)]
pub struct Signals {
    count: AtomicU32,
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}

impl Signals {
    /// No signal has come.
    #[must_use]
    pub fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
        }
    }

    /// Delivers, unless another thread does so, which then does it once more.
    pub fn signal(&self, mut deliver: impl FnMut()) {
        // Acquire: what the last one that delivered did comes before. Release:
        // the one that delivers now sees why this signal came.
        if self.count.fetch_add(1, Ordering::AcqRel) != 0 {
            return;
        }
        let mut seen = 1;
        loop {
            deliver();
            // Release and Acquire: pair with the halves above.
            let end = self
                .count
                .compare_exchange(seen, 0, Ordering::Release, Ordering::Acquire);
            match end {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

/// Each of these changes was made on purpose, and made a model fail:
///
/// - either half of the count, and the exchange's success or failure, `Relaxed`
///   (four changes);
/// - a signal that delivers whatever the count was;
/// - an end that stores zero without a look at the count;
/// - an end that does not look again after a signal came.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::{model, thread};

    /// A pin, whose causes nothing but the signals order, and what stands for the
    /// handler: loom fails when two are inside.
    struct Pin {
        signals: Signals,
        causes: AtomicU32,
        handler: UnsafeCell<()>,
    }

    impl Pin {
        fn shared() -> Arc<Self> {
            Arc::new(Self {
                signals: Signals::new(),
                causes: AtomicU32::new(0),
                handler: UnsafeCell::new(()),
            })
        }

        fn raise(&self, cause: u32) {
            self.causes.fetch_or(cause, Ordering::Relaxed);
            self.signals.signal(|| self.deliver());
        }

        /// The handler takes the causes; the first of them makes it raise another.
        fn deliver(&self) {
            if self.causes.load(Ordering::Relaxed) == 0 {
                return;
            }
            let taken = self
                .handler
                .with_mut(|_| self.causes.swap(0, Ordering::Relaxed));
            if taken & FROM_HANDLER != 0 {
                self.raise(2);
            }
        }
    }

    /// A cause whose handler raises the next one.
    const FROM_HANDLER: u32 = 1 << 4;

    fn raise_on(pin: &Arc<Pin>, cause: u32) -> thread::JoinHandle<()> {
        let pin = Arc::clone(pin);
        thread::spawn(move || pin.raise(cause))
    }

    /// Race: three threads find the pin asserted at once.
    #[test]
    fn every_cause_is_delivered_and_one_at_a_time() {
        model(|| {
            let pin = Pin::shared();
            let others = [raise_on(&pin, 1), raise_on(&pin, 2)];
            pin.raise(4);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(pin.causes.load(Ordering::Relaxed), 0);
        });
    }

    /// Race: a thread raises while the handler raises too.
    #[test]
    fn a_cause_that_the_handler_raises_is_delivered_after_it() {
        model(|| {
            let pin = Pin::shared();
            let other = raise_on(&pin, 1);
            pin.raise(FROM_HANDLER);
            other.join().unwrap();
            assert_eq!(pin.causes.load(Ordering::Relaxed), 0);
        });
    }
}
