//! One timer an entry, in a heap that is corrected late.
//!
//! Putting a timer off, which is what nearly always happens, changes the entry
//! alone: when the heap's time comes, the entry says what is true, and goes
//! back in. So the heap is touched a few times a second, and not a packet.

use super::entry::Entry;
use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

/// When a timer that is off goes off.
pub(super) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Timers {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(capacity),
        }
    }

    /// How many times the heap holds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the first timer goes off, or earlier.
    #[inline]
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Sets the timer of the entry in `slot`, or turns it off.
    pub(super) fn set<T>(&mut self, entries: &mut [Entry<T>], slot: usize, at: u64) {
        let entry = &mut entries[slot];
        entry.timer = at;
        if at < entry.armed {
            entry.armed = at;
            self.heap.push(Reverse((at, slot as u32)));
        }
    }

    /// An entry whose timer has gone off; it is off then.
    pub(super) fn pop_due<T>(&mut self, entries: &mut [Entry<T>], now: u64) -> Option<usize> {
        while self.next().is_some_and(|at| at <= now) {
            let Reverse((at, slot)) = self.heap.pop()?;
            let slot = slot as usize;
            let entry = &mut entries[slot];
            if entry.armed != at {
                // The timer was set to an earlier time since, which has been
                // dealt with.
                continue;
            }
            entry.armed = NEVER;
            if entry.timer <= now {
                entry.timer = NEVER;
                return Some(slot);
            }
            self.set(entries, slot, entries[slot].timer);
        }
        None
    }
}
