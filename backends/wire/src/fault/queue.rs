//! Frames that wait for their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A frame, ordered by when it is due and then by when it was put in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    due_ns: u64,
    order: u64,
    bytes: Vec<u8>,
}

/// A frame that waits to be overtaken.
#[derive(Debug)]
struct Held {
    deadline_ns: u64,
    still_to_pass: u32,
    bytes: Vec<u8>,
}

/// Frames by their times, and the buffers that they leave behind.
#[derive(Debug, Default)]
pub(super) struct DelayQueue {
    pending: BinaryHeap<Reverse<Pending>>,
    held: Vec<Held>,
    spare: Vec<Vec<u8>>,
    next_order: u64,
}

impl DelayQueue {
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.held.len()
    }

    /// A copy of the frame, in a buffer that was used before if there is one.
    pub(super) fn copy(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        bytes
    }

    /// Puts a frame in, and lets those go on that it was the last to overtake.
    pub(super) fn push(&mut self, bytes: Vec<u8>, due_ns: u64) {
        self.push_pending(bytes, due_ns);
        for held in &mut self.held {
            held.still_to_pass = held.still_to_pass.saturating_sub(1);
        }
        while let Some(index) = self.held.iter().position(|held| held.still_to_pass == 0) {
            let held = self.held.remove(index);
            self.push_pending(held.bytes, due_ns);
        }
    }

    /// Holds a frame back until `packets` later ones have been put in.
    pub(super) fn hold(&mut self, bytes: Vec<u8>, packets: u32, deadline_ns: u64) {
        self.held.push(Held {
            deadline_ns,
            still_to_pass: packets.max(1),
            bytes,
        });
    }

    /// Passes at most `budget` frames that are due to `sink`.
    pub(super) fn release(
        &mut self,
        now_ns: u64,
        budget: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> usize {
        self.let_go_of_expired(now_ns);
        let mut count = 0;
        while count < budget {
            let Some(Reverse(frame)) = self.pending.pop_if_due(now_ns) else {
                break;
            };
            sink(&frame.bytes);
            self.spare.push(frame.bytes);
            count += 1;
        }
        count
    }

    pub(super) fn next_event_ns(&self) -> Option<u64> {
        let pending = self.pending.peek().map(|Reverse(frame)| frame.due_ns);
        let held = self.held.iter().map(|held| held.deadline_ns).min();
        pending.into_iter().chain(held).min()
    }

    fn push_pending(&mut self, bytes: Vec<u8>, due_ns: u64) {
        let order = self.next_order;
        self.next_order += 1;
        self.pending.push(Reverse(Pending {
            due_ns,
            order,
            bytes,
        }));
    }

    fn let_go_of_expired(&mut self, now_ns: u64) {
        let expired = |held: &Held| held.deadline_ns <= now_ns;
        while let Some(index) = self.held.iter().position(expired) {
            let held = self.held.remove(index);
            self.push_pending(held.bytes, held.deadline_ns);
        }
    }
}

trait PopIfDue {
    fn pop_if_due(&mut self, now_ns: u64) -> Option<Reverse<Pending>>;
}

impl PopIfDue for BinaryHeap<Reverse<Pending>> {
    fn pop_if_due(&mut self, now_ns: u64) -> Option<Reverse<Pending>> {
        let Reverse(first) = self.peek()?;
        if first.due_ns > now_ns {
            return None;
        }
        self.pop()
    }
}
