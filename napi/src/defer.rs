//! Hard-interrupt deferral: after a poll that found packets, an instance looks
//! again a little later instead of letting its interrupt in.

use crate::list::Entry;
use alloc::vec::Vec;

/// How an instance defers its interrupt: Linux's `napi_defer_hard_irqs` and
/// `gro_flush_timeout`.
///
/// While packets keep coming the interrupt stays masked, and the instance is
/// polled every `timeout_ns`. It is let in once so many polls in a row have found
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deferral {
    /// Empty polls in a row that are waited for; 0: the interrupt is let in at
    /// the end of each poll.
    pub hard_irqs: u32,
    /// The time between polls, in nanoseconds; 0 as above.
    pub timeout_ns: u64,
}

impl Deferral {
    /// Whether it defers anything.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.hard_irqs != 0 && self.timeout_ns != 0
    }
}

/// An instance's deferral, and how many empty polls are left to it.
#[derive(Clone, Copy)]
pub(crate) struct Deferring {
    how: Deferral,
    left: u32,
}

impl Deferring {
    pub(crate) fn new(how: Deferral) -> Option<Self> {
        how.is_on().then_some(Self { how, left: 0 })
    }

    /// After a poll that took so many packets and was the last one for now: how
    /// long until the next, in nanoseconds; `None`: the interrupt is let in.
    pub(crate) fn after(&mut self, packets: usize) -> Option<u64> {
        if packets != 0 {
            self.left = self.how.hard_irqs;
        }
        self.left = self.left.checked_sub(1)?;
        Some(self.how.timeout_ns)
    }
}

/// The instances of a CPU that are at rest with their interrupts masked, and
/// when each is to be polled, in nanoseconds of the clock.
pub(crate) struct Deferred {
    due: Vec<(u64, Entry)>,
}

impl Deferred {
    pub(crate) fn with_capacity(instances: usize) -> Self {
        Self {
            due: Vec::with_capacity(instances),
        }
    }

    /// Remembers an instance. Somebody else may have had it polled since it was
    /// put here last; it stands here once.
    pub(crate) fn insert(&mut self, due_ns: u64, entry: Entry) {
        match self.due.iter_mut().find(|(_, other)| *other == entry) {
            Some(known) => known.0 = due_ns,
            None => self.due.push((due_ns, entry)),
        }
    }

    pub(crate) fn remove(&mut self, entry: Entry) {
        self.due.retain(|&(_, other)| other != entry);
    }

    /// Takes one that is due.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<Entry> {
        let at = self.due.iter().position(|&(due_ns, _)| due_ns <= now_ns)?;
        Some(self.due.swap_remove(at).1)
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.due.iter().map(|&(due_ns, _)| due_ns).min()
    }
}
