//! The state word of an instance.

use crate::sync::{AtomicU32, Ordering};

bitflags::bitflags! {
    /// The bits of an instance's state word, named after Linux's
    /// `NAPI_STATE_*`. `NPSVC` and the last four are reserved for what they name
    /// there and are not yet set by anybody.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NapiFlags: u32 {
        /// The instance is on the poll list or being polled.
        const SCHED = 1 << 0;
        /// It was scheduled while it could not be: it runs once more.
        const MISSED = 1 << 1;
        /// It is disabled, or about to be.
        const DISABLE = 1 << 2;
        /// Polled by netpoll.
        const NPSVC = 1 << 3;
        /// It has a place on a CPU. Once it is removed it stays disabled.
        const LISTED = 1 << 4;
        /// Sockets may not poll it.
        const NO_BUSY_POLL = 1 << 5;
        /// It is polled without being scheduled; who does so owns `SCHED`.
        const IN_BUSY_POLL = 1 << 6;
        /// Sockets are expected to poll it: its interrupt stays masked.
        const PREFER_BUSY_POLL = 1 << 7;
        /// Polled by a thread of its own.
        const THREADED = 1 << 8;
    }
}

const SCHED: u32 = NapiFlags::SCHED.bits();
const MISSED: u32 = NapiFlags::MISSED.bits();
const DISABLE: u32 = NapiFlags::DISABLE.bits();
const LISTED: u32 = NapiFlags::LISTED.bits();
const IN_BUSY_POLL: u32 = NapiFlags::IN_BUSY_POLL.bits();

/// The bits that `enable` decides on, and what they are when a poll is due.
const WHOLE: u32 = LISTED | DISABLE | MISSED | SCHED;
const WITHHELD: u32 = LISTED | DISABLE | MISSED;

/// What became of a request to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Schedule {
    /// The instance was at rest and is scheduled now: the caller puts it on the
    /// poll list. Of all that schedule at once, one gets this answer.
    Claimed,
    /// It is scheduled already, or disabled; it runs again because of this.
    Noted,
}

/// What became of the end of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Completion {
    /// The instance is at rest: its interrupt may be let in.
    Complete,
    /// It was scheduled during the poll and still is: it is to be polled again.
    Missed,
    /// It was disabled during the poll and is at rest: its interrupt stays out
    /// until it has been enabled and polled.
    Disabled,
}

/// One instance's state.
///
/// The word answers two questions: *may it be polled, and by whom?* (`SCHED`:
/// whoever set it owns the right to have it polled once, until it is cleared) and
/// *is there something that the last poll may not have seen?* (`MISSED`).
///
/// ```text
///                  schedule: claimed, pushed to the poll list
///          +---------------------------------------------------+
///          |                                                   v
///       at rest                                              SCHED --+ schedule
///          ^                                                   |     | (noted)
///          |   complete                                        |     v
///          +---------------------------------------------------+  SCHED|MISSED
///                                                              ^     |
///                                                              +-----+ complete
///                                                       polled again: MISSED is cleared
/// ```
///
/// `DISABLE` lies over this. Who sets it then waits for `SCHED` to go, which the
/// CPU sees to: it does not begin a poll of a disabled instance, and after a poll
/// it lets go of it. While `DISABLE` is set nobody gets `SCHED`; a request only
/// leaves `MISSED`, and so does the CPU when it withholds a poll or, after one,
/// the unmasking. `enable` answers whether that happened, and claims the instance
/// if so. An interrupt is thus never lost: not during a poll, not at its end, and
/// not while the instance is disabled.
///
/// An instance that is busy-polled keeps `SCHED` from one poll to the next, with
/// `IN_BUSY_POLL` beside it: requests are only noted, which costs nothing, since the
/// next poll comes anyway. [`complete`](Self::complete) ends that too.
///
/// Changes are compare-and-exchange loops over the one word: each is a decision
/// on a state that did not change while it was made. Failures mean that somebody
/// else made progress.
#[derive(Debug)]
pub struct NapiState(AtomicU32);

impl NapiState {
    /// An instance that is listed and disabled, and has missed nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU32::new(LISTED | DISABLE))
    }

    /// The word now.
    #[must_use]
    pub fn flags(&self) -> NapiFlags {
        NapiFlags::from_bits_retain(self.0.load(Ordering::Relaxed))
    }

    /// Asks for a poll. It may be called from any thread and in hard-interrupt
    /// context.
    #[inline]
    pub fn schedule(&self) -> Schedule {
        // Release, also when the request is only noted: the poll that it leads
        // to sees what the caller wrote before. Acquire: the one who claims sees
        // that the last poll has ended, and with it that its place in the poll
        // list is free.
        let old = self.update(Ordering::AcqRel, |old| match old & (SCHED | DISABLE) {
            0 => old | SCHED,
            _ => old | MISSED,
        });
        match old & (SCHED | DISABLE) {
            0 => Schedule::Claimed,
            _ => Schedule::Noted,
        }
    }

    /// Whether a scheduled instance may be polled; asked by its CPU before each
    /// poll. If not, it is at rest now and `MISSED` remembers the poll that it
    /// did not get.
    #[inline]
    pub fn begin_poll(&self) -> bool {
        // Relaxed: a `DISABLE` that is missed here was set after this poll became
        // unavoidable, and whoever set it waits for `SCHED` to go.
        self.0.load(Ordering::Relaxed) & DISABLE == 0 || self.begin_poll_again()
    }

    /// Decides once more, now on a word that cannot change meanwhile.
    #[cold]
    fn begin_poll_again(&self) -> bool {
        // Release: what earlier polls did is seen by the one who waits.
        let old = self.update(Ordering::AcqRel, |old| match old & DISABLE {
            0 => old,
            _ => (old & !(SCHED | IN_BUSY_POLL)) | MISSED,
        });
        old & DISABLE == 0
    }

    /// Keeps `SCHED` after a poll, for polls that nobody asks for. Only who owns
    /// `SCHED` calls it.
    pub(crate) fn begin_busy_poll(&self) {
        // Relaxed: it hands nothing over.
        self.0.fetch_or(IN_BUSY_POLL, Ordering::Relaxed);
    }

    /// Ends a poll that has found nothing more. Only who owns `SCHED` calls it.
    #[inline]
    pub fn complete(&self) -> Completion {
        // Release: what the poll did is seen by whoever claims the instance next
        // or waits for it to be disabled. Acquire: if it runs again because of a
        // request, that poll sees what was written before the request.
        let old = self.update(Ordering::AcqRel, |old| match old & (MISSED | DISABLE) {
            0 => old & !(SCHED | IN_BUSY_POLL),
            MISSED => old & !(MISSED | IN_BUSY_POLL),
            _ => (old & !(SCHED | IN_BUSY_POLL)) | MISSED,
        });
        match old & (MISSED | DISABLE) {
            0 => Completion::Complete,
            MISSED => Completion::Missed,
            _ => Completion::Disabled,
        }
    }

    /// Forbids polls. No poll begins any more once
    /// [`is_disabled`](Self::is_disabled) has said so.
    pub fn disable(&self) {
        // Relaxed: it hands nothing over; `is_disabled` is what is waited for.
        self.0.fetch_or(DISABLE, Ordering::Relaxed);
    }

    /// Whether polls are forbidden and none is under way.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        // Acquire: pairs with the Release of the CPU's letting go, so that the
        // caller sees all that the last poll did.
        self.0.load(Ordering::Acquire) & (DISABLE | SCHED) == DISABLE
    }

    /// Allows polls again, unless the instance was retired.
    /// [`Schedule::Claimed`] if a poll was asked for or withheld meanwhile: the
    /// caller then puts the instance on the poll list.
    pub fn enable(&self) -> Schedule {
        // AcqRel: it is a schedule on behalf of those that were only noted.
        let old = self.update(Ordering::AcqRel, |old| match old & WHOLE {
            WITHHELD => (old & !(MISSED | DISABLE)) | SCHED,
            _ if old & LISTED == 0 => old,
            _ => old & !DISABLE,
        });
        match old & WHOLE {
            WITHHELD => Schedule::Claimed,
            _ => Schedule::Noted,
        }
    }

    /// Takes a disabled instance out of service for ever. Refused while it is
    /// not [disabled](Self::is_disabled).
    pub fn retire(&self) -> bool {
        // Acquire: as in `is_disabled`.
        let old = self.update(Ordering::Acquire, |old| match old & (DISABLE | SCHED) {
            DISABLE => old & !LISTED,
            _ => old,
        });
        old & (DISABLE | SCHED) == DISABLE
    }

    /// Replaces the word by `next` of it and gives the old one.
    #[inline]
    fn update(&self, success: Ordering, next: impl Fn(u32) -> u32) -> u32 {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            // Relaxed on failure: the loop only needs the newer value.
            let result = self
                .0
                .compare_exchange_weak(old, next(old), success, Ordering::Relaxed);
            match result {
                Ok(_) => return old,
                Err(newer) => old = newer,
            }
        }
    }
}

impl Default for NapiState {
    fn default() -> Self {
        Self::new()
    }
}
