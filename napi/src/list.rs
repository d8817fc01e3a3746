//! The poll list, linked in the manner of Linux's `list_head` and `llist`.
//!
//! An instance is on at most one list, and only while it is claimed (`SCHED`). So
//! one link for each is enough, no list can be full, and nothing allocates: a
//! queue of items would have to be able to say that it is full, and cost more.

use crate::sync::{AtomicU32, Ordering};
use alloc::boxed::Box;
use core::num::NonZeroU32;

/// An instance's number on a list: its place on the CPU, from 1; 0 is the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(NonZeroU32);

impl Entry {
    pub(crate) fn of_index(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    #[inline]
    fn from_raw(raw: u32) -> Option<Self> {
        NonZeroU32::new(raw).map(Self)
    }

    #[inline]
    fn raw(entry: Option<Self>) -> u32 {
        entry.map_or(0, |entry| entry.0.get())
    }
}

/// For each instance, which one stands behind it on the list that it is on.
///
/// Relaxed throughout: who has claimed an instance writes its link, and hands it
/// over with the head of the arrivals or with the state word.
#[derive(Debug)]
struct Links(Box<[AtomicU32]>);

impl Links {
    #[inline]
    fn next(&self, entry: Entry) -> Option<Entry> {
        let link = self.0.get(entry.index())?;
        Entry::from_raw(link.load(Ordering::Relaxed))
    }

    #[inline]
    fn set(&self, entry: Entry, next: Option<Entry>) {
        if let Some(link) = self.0.get(entry.index()) {
            link.store(Entry::raw(next), Ordering::Relaxed);
        }
    }
}

/// A CPU's poll list, where any thread puts what it has scheduled, and from where
/// the CPU takes all at once.
///
/// It grows at its head. Since entries are only ever taken all together, it does
/// no harm when an entry leaves and comes back between a pusher's look at the head
/// and its exchange: what the pusher links to is the head in any case.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct PollList {
    head: AtomicU32,
    links: Links,
}

impl PollList {
    pub(crate) fn new(max_instances: u16) -> Self {
        let links = (0..max_instances).map(|_| AtomicU32::new(0));
        Self {
            head: AtomicU32::new(0),
            links: Links(links.collect()),
        }
    }

    /// Puts an instance on the list; the caller has claimed it. Lock-free: an
    /// exchange fails only because another one succeeded.
    #[inline]
    pub(crate) fn push(&self, entry: Entry) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            self.links.set(entry, Entry::from_raw(head));
            // Release: the link is written before the CPU finds the entry. Later
            // pushes carry the release sequence on, so that the CPU sees the
            // links of all entries by acquiring the last one.
            let result = self.head.compare_exchange_weak(
                head,
                entry.0.get(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match result {
                Ok(_) => return,
                Err(newer) => head = newer,
            }
        }
    }

    /// Whether nothing has arrived, as far as is seen; see [`take`](Self::take).
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == 0
    }

    /// Takes all: gives the last that came, linked to those before it. Only the
    /// CPU calls it.
    #[inline]
    pub(crate) fn take(&self) -> Option<Entry> {
        // The look without a lock prefix may be late; whoever pushes raises the
        // CPU's vector afterwards, and the run that follows sees the push.
        if self.is_empty() {
            return None;
        }
        // Acquire: pairs with the Release of each push.
        Entry::from_raw(self.head.swap(0, Ordering::Acquire))
    }

    /// Whether an entry that was taken was the only one.
    #[inline]
    pub(crate) fn is_sole(&self, last: Entry) -> bool {
        self.links.next(last).is_none()
    }

    /// All that was taken, in the order of arrival: turns the links around, which
    /// run from the last to the first.
    pub(crate) fn in_order(&self, last: Entry) -> Chain {
        let mut first = last;
        let mut before = self.links.next(last);
        while let Some(entry) = before {
            before = self.links.next(entry);
            self.links.set(entry, Some(first));
            first = entry;
        }
        Chain(Some((first, last)))
    }
}

/// A list of the CPU's own, first in, first out: its two ends. It is linked
/// through the poll list that its entries came from; what the last one's link says
/// means nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chain(Option<(Entry, Entry)>);

impl Chain {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub(crate) fn push_back(&mut self, entry: Entry, list: &PollList) {
        self.append(Self(Some((entry, entry))), list);
    }

    #[inline]
    pub(crate) fn append(&mut self, other: Self, list: &PollList) {
        self.0 = match (self.0, other.0) {
            (None, ends) | (ends, None) => ends,
            (Some((first, last)), Some((other_first, other_last))) => {
                list.links.set(last, Some(other_first));
                Some((first, other_last))
            }
        };
    }

    #[inline]
    pub(crate) fn pop_front(&mut self, list: &PollList) -> Option<Entry> {
        let (first, last) = self.0?;
        self.0 = if first == last {
            None
        } else {
            list.links.next(first).map(|next| (next, last))
        };
        Some(first)
    }

    /// Takes an entry out, wherever it stands, and says whether it was there.
    pub(crate) fn remove(&mut self, entry: Entry, list: &PollList) -> bool {
        let mut rest = core::mem::take(self);
        let mut found = false;
        while let Some(next) = rest.pop_front(list) {
            if next == entry {
                found = true;
            } else {
                self.push_back(next, list);
            }
        }
        found
    }
}
