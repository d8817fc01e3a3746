//! One direction of the fault injector.

use super::config::{BurstLoss, Chance, Impairment, Rate, Reorder};
use super::queue::DelayQueue;
use rand_core::Rng;
use rand_pcg::Pcg32;
use std::collections::VecDeque;

/// What became of the frames of one direction.
///
/// Always: `offered + duplicated = passed + lost() + refused + queued`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Frames that came in.
    pub offered: u64,
    /// Frames that went out and were taken.
    pub passed: u64,
    /// Frames lost by [`Impairment::loss`].
    pub lost_random: u64,
    /// Frames lost by [`Impairment::burst_loss`].
    pub lost_burst: u64,
    /// Frames lost because the queue of [`Impairment::rate`] was full.
    pub lost_rate: u64,
    /// Frames lost because [`Impairment::limit`] were held.
    pub lost_limit: u64,
    /// Second copies that were made.
    pub duplicated: u64,
    /// Frames of which a bit was flipped, whatever became of them then.
    pub corrupted: u64,
    /// Frames that were held back for others to overtake.
    pub reordered: u64,
    /// Frames that went out and that the wire behind did not take.
    pub refused: u64,
    /// Frames that are held now.
    pub queued: u64,
}

impl FaultCounts {
    /// Frames that were lost here, for all reasons.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost_random + self.lost_burst + self.lost_rate + self.lost_limit
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    impairment: Impairment,
    transparent: bool,
    rng: Pcg32,
    in_bad_state: bool,
    line: Line,
    queue: DelayQueue,
    counts: FaultCounts,
}

/// The line behind [`Rate`]: when it will have sent each frame that waits.
#[derive(Debug, Default)]
struct Line {
    departures_ns: VecDeque<u64>,
    free_at_ns: u64,
}

/// Bytes that a frame takes on the line besides its own (IEEE 802.3): preamble
/// and start delimiter 8, FCS 4, gap between frames 12.
const LINE_OVERHEAD: u64 = 24;

impl Lane {
    pub(super) fn new(impairment: &Impairment, seed: u64, stream: u64) -> Self {
        Self {
            transparent: impairment.is_none(),
            impairment: impairment.clone(),
            rng: Pcg32::new(seed, stream),
            in_bad_state: false,
            line: Line::default(),
            queue: DelayQueue::default(),
            counts: FaultCounts::default(),
        }
    }

    pub(super) const fn counts(&self) -> FaultCounts {
        self.counts
    }

    /// Whether frames pass untouched, and need no copy.
    pub(super) const fn is_transparent(&self) -> bool {
        self.transparent
    }

    /// Counts a frame of a transparent lane.
    pub(super) const fn count_passed(&mut self, taken: bool) {
        self.counts.offered += 1;
        if taken {
            self.counts.passed += 1;
        } else {
            self.counts.refused += 1;
        }
    }

    /// Moves so many frames of the last release from passed to refused.
    pub(super) const fn count_refused(&mut self, frames: u64) {
        self.counts.passed -= frames;
        self.counts.refused += frames;
    }

    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.queue.next_event_ns()
    }

    /// Takes a frame in.
    pub(super) fn admit(&mut self, frame: &[u8], now_ns: u64) {
        self.counts.offered += 1;
        if self.loses_at_random() {
            self.counts.lost_random += 1;
        } else if self.loses_in_burst() {
            self.counts.lost_burst += 1;
        } else {
            self.admit_copy(frame, now_ns);
            if self.draw(self.impairment.duplicate) {
                self.counts.duplicated += 1;
                self.admit_copy(frame, now_ns);
            }
        }
        self.counts.queued = self.queue.len() as u64;
    }

    /// Passes at most `budget` frames that are due to `sink`.
    pub(super) fn release(
        &mut self,
        now_ns: u64,
        budget: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> usize {
        let released = self.queue.release(now_ns, budget, sink);
        self.counts.passed += released as u64;
        self.counts.queued = self.queue.len() as u64;
        released
    }

    fn admit_copy(&mut self, frame: &[u8], now_ns: u64) {
        if self.queue.len() >= self.impairment.limit {
            self.counts.lost_limit += 1;
            return;
        }
        let Some(sent_ns) = self.send_on_line(frame.len(), now_ns) else {
            self.counts.lost_rate += 1;
            return;
        };
        let mut bytes = self.queue.copy(frame);
        self.corrupt(&mut bytes);
        let due_ns = sent_ns.saturating_add(self.delay());
        let reorder = self.impairment.reorder;
        match reorder.filter(|reorder| self.draw(reorder.chance)) {
            Some(reorder) => self.hold(bytes, reorder, due_ns),
            None => self.queue.push(bytes, due_ns),
        }
    }

    fn hold(&mut self, bytes: Vec<u8>, reorder: Reorder, due_ns: u64) {
        self.counts.reordered += 1;
        let deadline = due_ns.saturating_add(reorder.timeout_ns);
        self.queue.hold(bytes, reorder.packets, deadline);
    }

    fn loses_at_random(&mut self) -> bool {
        self.draw(self.impairment.loss)
    }

    fn loses_in_burst(&mut self) -> bool {
        let Some(burst) = self.impairment.burst_loss else {
            return false;
        };
        self.change_state(burst);
        if self.in_bad_state {
            self.draw(burst.loss_in_bad)
        } else {
            self.draw(burst.loss_in_good)
        }
    }

    fn change_state(&mut self, burst: BurstLoss) {
        let change = if self.in_bad_state {
            burst.become_good
        } else {
            burst.become_bad
        };
        self.in_bad_state ^= self.draw(change);
    }

    /// When the line has sent a frame of `len` bytes; `None` when its queue is
    /// full. Without a rate, now.
    fn send_on_line(&mut self, len: usize, now_ns: u64) -> Option<u64> {
        match self.impairment.rate {
            Some(rate) => self.line.send(rate, len, now_ns),
            None => Some(now_ns),
        }
    }

    fn corrupt(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() || !self.draw(self.impairment.corrupt) {
            return;
        }
        self.counts.corrupted += 1;
        let bit = self.below(bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }

    fn delay(&mut self) -> u64 {
        let jitter = match self.impairment.jitter_ns {
            0 => 0,
            jitter => self.below(jitter.saturating_add(1)),
        };
        self.impairment.delay_ns.saturating_add(jitter)
    }

    /// Whether something of this chance happens. What never happens draws
    /// nothing.
    fn draw(&mut self, chance: Chance) -> bool {
        !chance.is_never() && chance.happens(self.rng.next_u32())
    }

    /// A number below `bound`, even to within 2^-32.
    fn below(&mut self, bound: u64) -> u64 {
        let drawn = u128::from(self.rng.next_u64());
        ((drawn * u128::from(bound)) >> 64) as u64
    }
}

impl Line {
    fn send(&mut self, rate: Rate, len: usize, now_ns: u64) -> Option<u64> {
        while self.departures_ns.front().is_some_and(|&at| at <= now_ns) {
            self.departures_ns.pop_front();
        }
        if self.departures_ns.len() >= rate.queue_frames.max(1) {
            return None;
        }
        let bits = (len as u64 + LINE_OVERHEAD) * 8;
        let took = u128::from(bits) * 1_000_000_000 / u128::from(rate.bits_per_second.max(1));
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        self.free_at_ns = self.free_at_ns.max(now_ns).saturating_add(took);
        self.departures_ns.push_back(self.free_at_ns);
        Some(self.free_at_ns)
    }
}
