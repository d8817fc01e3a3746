//! One vector of messages: whether it may be sent now, and whether one waits.

use crate::sync::{AtomicU32, Ordering};

/// The driver, or its operating system, has masked the vector.
const MASKED: u32 = 1 << 31;
/// The function as a whole may not send.
const CLOSED: u32 = 1 << 30;
/// A message came meanwhile.
const PENDING: u32 = 1 << 29;
/// The other bits: where a message goes.
const ROUTE: u32 = 0xffff;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route(pub(super) u16);

impl Route {
    /// To an address at which nobody listens.
    pub(super) const NOWHERE: Self = Self(u16::MAX);
}

/// What holds messages back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// The vector's own mask bit.
    Mask,
    /// The function's state: messages not enabled, masked all together, or no
    /// bus master.
    Function,
}

impl Hold {
    fn bit(self) -> u32 {
        match self {
            Self::Mask => MASKED,
            Self::Function => CLOSED,
        }
    }
}

/// What holds a vector, whether a message waits, and where it goes, all in one
/// word.
///
/// So a message and the end of what holds it come one after the other: either the
/// message finds the vector free and goes, or it is left pending before the end,
/// which then finds it. It goes where the vector leads at that moment.
pub(super) struct Vector {
    state: AtomicU32,
}

impl Vector {
    /// A vector that is held for both reasons and leads nowhere.
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU32::new(MASKED | CLOSED | ROUTE),
        }
    }

    /// A message comes: where to send it, unless it stays pending.
    pub(super) fn message(&self) -> Option<Route> {
        self.change(|state| state | PENDING)
    }

    /// Holds messages back.
    pub(super) fn hold(&self, why: Hold) {
        self.state.fetch_or(why.bit(), Ordering::AcqRel);
    }

    /// Ends one reason to hold: where to send the message that has waited, if none
    /// is left.
    pub(super) fn lift(&self, why: Hold) -> Option<Route> {
        self.change(|state| state & !why.bit())
    }

    pub(super) fn set_route(&self, route: Route) {
        self.change(|state| state & !ROUTE | u32::from(route.0));
    }

    /// Forgets all but the function's state.
    pub(super) fn reset(&self) {
        self.change(|state| state & CLOSED | MASKED | ROUTE);
    }

    pub(super) fn is_masked(&self) -> bool {
        self.state.load(Ordering::Acquire) & MASKED != 0
    }

    pub(super) fn is_pending(&self) -> bool {
        self.state.load(Ordering::Acquire) & PENDING != 0
    }

    /// Changes the word. If a message waits then, and nothing holds it, takes it.
    fn change(&self, change: impl Fn(u32) -> u32) -> Option<Route> {
        let mut before = self.state.load(Ordering::Relaxed);
        loop {
            let mut after = change(before);
            let due = after & (MASKED | CLOSED | PENDING) == PENDING;
            if due {
                after &= !PENDING;
            }
            // Release: who takes the message sees what it was sent for. Acquire:
            // the other end of that.
            let done = self.state.compare_exchange_weak(
                before,
                after,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match done {
                Ok(_) => return due.then_some(Route((after & ROUTE) as u16)),
                Err(now) => before = now,
            }
        }
    }
}

/// Each of these changes was made on purpose, and made a model fail:
///
/// - a message that looks first, and then sets its bit in a second exchange;
/// - an end of a hold that does not look at the message, or that looks before it
///   lets messages through;
/// - a message that is sent and stays pending;
/// - either half of the exchange `Relaxed`.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::{model, thread};

    /// A vector, the cause of its message, which nothing but the vector orders,
    /// and how often a message was sent by each route.
    struct Chip {
        vector: Vector,
        cause: UnsafeCell<u32>,
        sent: [AtomicU32; 3],
    }

    impl Chip {
        fn shared() -> Arc<Self> {
            let vector = Vector::new();
            vector.set_route(Route(1));
            vector.lift(Hold::Function);
            Arc::new(Self {
                vector,
                cause: UnsafeCell::new(0),
                sent: [0; 3].map(AtomicU32::new),
            })
        }

        fn free() -> Arc<Self> {
            let chip = Self::shared();
            chip.vector.lift(Hold::Mask);
            chip
        }

        fn happen(&self) {
            self.cause.with_mut(|_| ());
            self.go(self.vector.message());
        }

        /// The handler looks at the cause.
        fn go(&self, route: Option<Route>) {
            if let Some(Route(number)) = route {
                self.cause.with(|_| ());
                self.sent[usize::from(number)].fetch_add(1, Ordering::Relaxed);
            }
        }

        fn sent(&self) -> [u32; 3] {
            [0, 1, 2].map(|route: usize| self.sent[route].load(Ordering::Relaxed))
        }
    }

    fn on(chip: &Arc<Chip>, act: fn(&Chip)) -> thread::JoinHandle<()> {
        let chip = Arc::clone(chip);
        thread::spawn(move || act(&chip))
    }

    /// Race: a message while the vector is unmasked.
    #[test]
    fn a_message_that_meets_the_unmask_is_sent_once() {
        model(|| {
            let chip = Chip::shared();
            let sender = on(&chip, Chip::happen);
            chip.go(chip.vector.lift(Hold::Mask));
            sender.join().unwrap();
            assert_eq!(chip.sent(), [0, 1, 0]);
        });
    }

    /// Race: a message while both reasons to hold it end, on two threads.
    #[test]
    fn a_message_that_meets_both_ends_of_its_hold_is_sent_once() {
        model(|| {
            let chip = Chip::shared();
            chip.vector.hold(Hold::Function);
            let sender = on(&chip, Chip::happen);
            let opener = on(&chip, |chip| chip.go(chip.vector.lift(Hold::Function)));
            chip.go(chip.vector.lift(Hold::Mask));
            for other in [sender, opener] {
                other.join().unwrap();
            }
            assert_eq!(chip.sent(), [0, 1, 0]);
        });
    }

    /// Race: a message while the driver masks the vector, leads it elsewhere, and
    /// unmasks it again.
    #[test]
    fn a_message_goes_the_old_way_or_the_new_one() {
        model(|| {
            let chip = Chip::free();
            let sender = on(&chip, Chip::happen);
            chip.vector.hold(Hold::Mask);
            chip.vector.set_route(Route(2));
            chip.go(chip.vector.lift(Hold::Mask));
            sender.join().unwrap();
            let sent = chip.sent();
            assert!(sent == [0, 1, 0] || sent == [0, 0, 1], "{sent:?}");
            assert!(!chip.vector.is_pending());
        });
    }

    /// Race: two threads send, and a third unmasks: whoever sent last, a handler
    /// has been called since.
    #[test]
    fn of_two_messages_none_is_left_behind() {
        model(|| {
            let chip = Chip::shared();
            let send = |chip: &Chip| {
                let route = chip.vector.message();
                chip.go(route);
            };
            let others = [on(&chip, send), on(&chip, send)];
            chip.go(chip.vector.lift(Hold::Mask));
            for other in others {
                other.join().unwrap();
            }
            let [nowhere, sent, other] = chip.sent();
            assert!((1..=2).contains(&sent) && nowhere + other == 0);
            assert!(!chip.vector.is_pending());
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn free() -> Vector {
        let vector = Vector::new();
        vector.set_route(Route(5));
        assert_eq!(vector.lift(Hold::Mask), None);
        assert_eq!(vector.lift(Hold::Function), None);
        vector
    }

    #[test]
    fn a_free_vector_sends_at_once_and_keeps_nothing() {
        let vector = free();
        assert_eq!(vector.message(), Some(Route(5)));
        assert!(!vector.is_pending());
    }

    #[test]
    fn a_held_message_goes_once_when_the_last_reason_ends() {
        let vector = free();
        vector.hold(Hold::Mask);
        vector.hold(Hold::Function);
        assert_eq!(vector.message(), None);
        assert_eq!(vector.message(), None, "one bit holds both");
        assert!(vector.is_pending());
        assert_eq!(vector.lift(Hold::Mask), None);
        assert_eq!(vector.lift(Hold::Function), Some(Route(5)));
        assert_eq!(vector.lift(Hold::Function), None);
    }

    #[test]
    fn a_held_message_goes_where_the_vector_leads_when_it_goes() {
        let vector = free();
        vector.hold(Hold::Mask);
        assert_eq!(vector.message(), None);
        vector.set_route(Route(9));
        assert_eq!(vector.lift(Hold::Mask), Some(Route(9)));
    }

    #[test]
    fn a_reset_forgets_the_message_and_masks() {
        let vector = free();
        vector.hold(Hold::Mask);
        vector.message();
        vector.reset();
        assert!(vector.is_masked() && !vector.is_pending());
        assert_eq!(vector.lift(Hold::Mask), None);
        assert_eq!(vector.message(), Some(Route::NOWHERE));
    }
}
