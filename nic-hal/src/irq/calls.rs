//! Who is inside of a line's handler: how calls begin, and how they are withdrawn.

use crate::sync::{AtomicU32, Ordering, yield_now};

/// A handler is installed; the other bits of the word count its running calls.
const OPEN: u32 = 1 << 31;

/// The calls of one line's handler. The handler itself is kept elsewhere: it is
/// put there before [`open`](Self::open), used between
/// [`begin`](Self::begin) and the drop of what that gave, and taken away after
/// [`close`](Self::close).
///
/// A call announces itself and learns by the same exchange whether it may go on.
/// So a close, which changes the same word, comes either before it, and the call
/// goes away again; or after it, and waits for it.
pub(super) struct Calls {
    state: AtomicU32,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
        }
    }

    /// Lets calls begin.
    pub(super) fn open(&self) {
        // Release: a call that finds the line open finds the handler.
        self.state.fetch_or(OPEN, Ordering::Release);
    }

    /// Withdraws the handler: when this returns, no call is running, and none
    /// begins before the next [`open`](Self::open).
    pub(super) fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::Relaxed);
        // Acquire: what the calls did, they did before this returns.
        while self.state.load(Ordering::Acquire) & !OPEN != 0 {
            yield_now();
        }
    }

    /// Begins a call; `None` when there is no handler.
    pub(super) fn begin(&self) -> Option<Running<'_>> {
        let running = Running(&self.state);
        // Acquire: pairs with `open`.
        let before = self.state.fetch_add(1, Ordering::Acquire);
        (before & OPEN != 0).then_some(running)
    }
}

/// One running call; ends when dropped, even by a panic.
pub(super) struct Running<'a>(&'a AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Release: pairs with `close`.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// The search has no bound but that of the run. Each of these changes was made on
/// purpose, and made a model fail:
///
/// - `open`, `begin`, the end of a call, or the look of `close`, `Relaxed` (four
///   changes);
/// - a `close` that does not wait;
/// - a `begin` that looks first and counts then;
/// - a call that found no handler and is not counted off again.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::{model, thread};

    /// A line, and what stands for its handler: loom fails when a call reaches
    /// it while it is put there or taken away.
    struct Line {
        calls: Calls,
        handler: UnsafeCell<()>,
    }

    impl Line {
        fn shared() -> Arc<Self> {
            Arc::new(Self {
                calls: Calls::new(),
                handler: UnsafeCell::new(()),
            })
        }

        fn request(&self) {
            self.handler.with_mut(|_| ());
            self.calls.open();
        }

        fn free(&self) {
            self.calls.close();
            self.handler.with_mut(|_| ());
        }

        fn deliver(&self) -> bool {
            let Some(_running) = self.calls.begin() else {
                return false;
            };
            self.handler.with(|_| ());
            true
        }
    }

    fn deliver_on(line: &Arc<Line>) -> thread::JoinHandle<bool> {
        let line = Arc::clone(line);
        thread::spawn(move || line.deliver())
    }

    /// Race: a call begins while the handler is installed.
    #[test]
    fn a_call_finds_the_handler_that_was_installed() {
        model(|| {
            let line = Line::shared();
            let call = deliver_on(&line);
            line.request();
            call.join().unwrap();
            assert!(line.deliver());
        });
    }

    /// Race: two calls begin and end while the handler is taken away.
    #[test]
    fn no_call_is_inside_when_free_returns() {
        model(|| {
            let line = Line::shared();
            line.request();
            let calls = [deliver_on(&line), deliver_on(&line)];
            line.free();
            assert!(!line.deliver());
            for call in calls {
                call.join().unwrap();
            }
        });
    }

    /// Race: a call that came too late goes away while the next handler comes.
    #[test]
    fn a_call_that_finds_nothing_leaves_the_count_as_it_was() {
        model(|| {
            let line = Line::shared();
            line.request();
            let call = deliver_on(&line);
            line.free();
            line.request();
            assert!(line.deliver());
            call.join().unwrap();
            line.free();
        });
    }
}
