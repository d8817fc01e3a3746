//! One line: its handlers, and a watch over how it is answered.

use super::calls::Calls;
use super::signals::Signals;
use super::{ActionId, Delivery};
use crate::bus::{IrqReturn, VectorHandler};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arc_swap::{ArcSwap, ArcSwapOption};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Line {
    pub(super) screams: Screams,
    pub(super) cpu: AtomicUsize,
    actions: ArcSwap<Vec<Arc<Action>>>,
    pub(super) counts: Box<[Count]>,
    label: Mutex<Label>,
}

/// One handler of a line.
pub(super) struct Action {
    pub(super) id: ActionId,
    pub(super) name: String,
    vector: u16,
    calls: Calls,
    signals: Signals,
    handler: ArcSwapOption<Handler>,
}

struct Handler(Arc<dyn VectorHandler>);

#[derive(Default)]
pub(super) struct Count {
    pub(super) delivered: AtomicU64,
    pub(super) unhandled: AtomicU64,
}

#[derive(Default)]
pub(super) struct Label {
    /// What raises the line; `None` while nobody has allocated it.
    pub(super) source: Option<String>,
    /// Whether its handlers let others onto the line.
    pub(super) shared: bool,
}

impl Line {
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            screams: Screams::default(),
            cpu: AtomicUsize::new(0),
            actions: ArcSwap::default(),
            counts: (0..cpus).map(|_| Count::default()).collect(),
            label: Mutex::default(),
        }
    }

    pub(super) fn label(&self) -> MutexGuard<'_, Label> {
        self.label.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn actions(&self) -> Arc<Vec<Arc<Action>>> {
        self.actions.load_full()
    }

    /// Adds a handler; the caller holds the label.
    pub(super) fn add(&self, action: Action) {
        let mut actions = Vec::clone(&self.actions());
        actions.push(Arc::new(action));
        self.actions.store(Arc::new(actions));
    }

    /// Takes handlers away, and waits for their running calls; the caller holds
    /// the label. The others are called meanwhile.
    pub(super) fn remove(&self, which: impl Fn(&Action) -> bool) {
        let (gone, kept) = self
            .actions()
            .iter()
            .cloned()
            .partition::<Vec<_>, _>(|action| which(action));
        self.actions.store(Arc::new(kept));
        for action in gone {
            action.withdraw();
        }
    }

    /// Calls all handlers, as any of them may be the one whose device raised the
    /// line.
    pub(super) fn run(&self) -> Delivery {
        let actions = self.actions.load();
        let outcomes = actions.iter().filter_map(|action| action.run());
        outcomes.fold(Delivery::Masked, |so_far, outcome| match outcome {
            IrqReturn::Handled => Delivery::Handled,
            IrqReturn::None if so_far == Delivery::Masked => Delivery::Unhandled,
            IrqReturn::None | IrqReturn::Masked => so_far,
        })
    }
}

impl Action {
    pub(super) fn new(
        id: ActionId,
        vector: u16,
        name: &str,
        handler: Arc<dyn VectorHandler>,
    ) -> Self {
        let action = Self {
            id,
            name: name.into(),
            vector,
            calls: Calls::new(),
            signals: Signals::new(),
            handler: ArcSwapOption::new(Some(Arc::new(Handler(handler)))),
        };
        action.calls.open();
        action
    }

    /// Ends all calls of the handler, and drops it here rather than where a line
    /// is delivered.
    fn withdraw(&self) {
        self.calls.close();
        self.handler.store(None);
    }

    /// While the handler runs on another thread, or further up on this one, it is
    /// left to that call to run it once more.
    fn run(&self) -> Option<IrqReturn> {
        let _running = self.calls.begin()?;
        let handler = self.handler.load();
        let handler = handler.as_ref()?;
        let mut outcome = None;
        self.signals.signal(|| {
            let now = handler.0.interrupt(self.vector);
            if outcome != Some(IrqReturn::Handled) {
                outcome = Some(now);
            }
        });
        Some(outcome.unwrap_or(IrqReturn::Handled))
    }
}

/// Of so many deliveries in a row to one line, so many without a handler that
/// had anything to do: then nobody cares, and the line is switched off. The
/// numbers are Linux's.
pub(super) const WATCHED: u32 = 100_000;
const NOBODY_CARED: u32 = 99_900;

/// Watches for a line that screams and has no handler to quiet it.
#[derive(Default)]
pub(super) struct Screams {
    deliveries: AtomicU32,
    unhandled: AtomicU32,
    off: AtomicBool,
}

impl Screams {
    pub(super) fn note(&self, unhandled: bool) {
        if unhandled {
            self.unhandled.fetch_add(1, Ordering::Relaxed);
        }
        if self.deliveries.fetch_add(1, Ordering::Relaxed) + 1 == WATCHED {
            self.deliveries.store(0, Ordering::Relaxed);
            if self.unhandled.swap(0, Ordering::Relaxed) > NOBODY_CARED {
                self.off.store(true, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self) {
        self.deliveries.store(0, Ordering::Relaxed);
        self.unhandled.store(0, Ordering::Relaxed);
        self.off.store(false, Ordering::Relaxed);
    }
}
