//! How many ICMP errors may be sent: RFC 1812 section 4.3.2.8, with Linux's
//! two limits.
//!
//! Errors of all kinds together are limited by a token bucket
//! (`icmp_msgs_per_sec`, `icmp_msgs_burst`), and those to one destination by
//! another (`icmp_ratelimit`). Destinations share a table of fixed size by a
//! keyed hash: two that meet share a bucket, so that the memory is bounded and
//! a forged source gets nobody more than its share.

use crate::wire::IcmpMessage;
use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use core::hash::BuildHasher;
use core::net::IpAddr;
use foldhash::fast::FixedState;

const SECOND: u64 = 1_000_000_000;
/// Buckets that the destinations share.
const BUCKETS: usize = 256;
/// How many intervals a destination can save up.
const PEER_BURST: u64 = 6;

/// A token bucket that starts full. Tokens are kept as the time that they took
/// to come in, so that no fraction is lost.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Nanoseconds for one token.
    interval: u64,
    /// The most that can be saved up, in nanoseconds.
    capacity: u64,
    saved: u64,
    last: u64,
}

impl TokenBucket {
    /// One token every `interval_ns`, of which up to `burst` are saved.
    #[must_use]
    pub const fn new(interval_ns: u64, burst: u64) -> Self {
        let capacity = interval_ns.saturating_mul(burst);
        Self {
            interval: interval_ns,
            capacity,
            saved: capacity,
            last: 0,
        }
    }

    /// Whether there is a token at `now`, in nanoseconds.
    #[must_use]
    pub fn has_token(&self, now: u64) -> bool {
        self.saved_at(now) >= self.interval
    }

    /// Takes a token if there is one, and says whether.
    #[must_use]
    pub fn take(&mut self, now: u64) -> bool {
        let saved = self.saved_at(now);
        let Some(left) = saved.checked_sub(self.interval) else {
            return false;
        };
        (self.saved, self.last) = (left, now.max(self.last));
        true
    }

    fn saved_at(&self, now: u64) -> u64 {
        let since = now.saturating_sub(self.last);
        self.saved.saturating_add(since).min(self.capacity)
    }
}

/// The settings: Linux's, under `net.ipv4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpLimits {
    /// Time between two errors to one destination, in nanoseconds; 0 is no
    /// limit.
    pub icmp_ratelimit_ns: u64,
    /// The types that are limited, a bit each.
    pub icmp_ratemask: u32,
    /// Errors a second to all destinations together.
    pub icmp_msgs_per_sec: u32,
    /// Errors at once to all destinations together.
    pub icmp_msgs_burst: u32,
}

impl Default for IcmpLimits {
    fn default() -> Self {
        Self {
            icmp_ratelimit_ns: SECOND,
            // Destination unreachable, source quench, time exceeded, parameter
            // problem.
            icmp_ratemask: 1 << 3 | 1 << 4 | 1 << 11 | 1 << 12,
            icmp_msgs_per_sec: 1000,
            icmp_msgs_burst: 50,
        }
    }
}

/// Which ICMP messages may be sent now.
pub struct IcmpRateLimit {
    limits: IcmpLimits,
    all: TokenBucket,
    peers: Box<[TokenBucket]>,
    hasher: FixedState,
}

impl IcmpRateLimit {
    /// With all buckets full. `seed` keys the hash of the destinations.
    #[must_use]
    pub fn new(limits: IcmpLimits, seed: u64) -> Self {
        let interval = SECOND / u64::from(limits.icmp_msgs_per_sec.max(1));
        let peer = TokenBucket::new(limits.icmp_ratelimit_ns, PEER_BURST);
        Self {
            limits,
            all: TokenBucket::new(interval, u64::from(limits.icmp_msgs_burst)),
            peers: vec![peer; BUCKETS].into_boxed_slice(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Whether `message` may be sent to `destination` at `now`, in nanoseconds;
    /// if so, it counts as sent.
    #[must_use]
    pub fn allow(&mut self, message: IcmpMessage, destination: IpAddr, now: u64) -> bool {
        if !self.is_limited(message) {
            return true;
        }
        let bucket = self.hasher.hash_one(destination) as usize % BUCKETS;
        // A message that one limit refuses costs nothing of the other.
        self.all.has_token(now) && self.peers[bucket].take(now) && self.all.take(now)
    }

    fn is_limited(&self, message: IcmpMessage) -> bool {
        let kind = u32::from(message.kind());
        self.limits.icmp_ratemask.checked_shr(kind).unwrap_or(0) & 1 != 0
    }
}

impl fmt::Debug for IcmpRateLimit {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IcmpRateLimit")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Unreachable;
    use proptest::prelude::*;

    const PORT: IcmpMessage = IcmpMessage::DestinationUnreachable(Unreachable::Port);

    fn host(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    fn allowed(limit: &mut IcmpRateLimit, to: IpAddr, asked: usize, now: u64) -> usize {
        (0..asked).filter(|_| limit.allow(PORT, to, now)).count()
    }

    #[test]
    fn one_destination_gets_six_at_once_and_then_one_a_second() {
        let mut limit = IcmpRateLimit::new(IcmpLimits::default(), 1);
        assert_eq!(allowed(&mut limit, host(1), 20, 0), 6);
        assert_eq!(allowed(&mut limit, host(1), 20, SECOND - 1), 0);
        assert_eq!(allowed(&mut limit, host(1), 20, SECOND), 1);
        assert_eq!(allowed(&mut limit, host(1), 20, 3 * SECOND), 2);
        assert_eq!(allowed(&mut limit, host(1), 20, 900 * SECOND), 6);
    }

    #[test]
    fn all_destinations_together_get_fifty_at_once_and_a_thousand_a_second() {
        let mut limit = IcmpRateLimit::new(IcmpLimits::default(), 1);
        let mut sweep = |now| {
            (0..400)
                .filter(|&n| limit.allow(PORT, host(n), now))
                .count()
        };
        assert_eq!(sweep(0), 50);
        assert_eq!(sweep(SECOND / 1000 - 1), 0);
        assert_eq!(sweep(SECOND / 100), 10);
    }

    #[test]
    fn what_one_limit_refuses_costs_nothing_of_the_other() {
        let mut limit = IcmpRateLimit::new(IcmpLimits::default(), 1);
        assert_eq!(allowed(&mut limit, host(1), 1000, 0), 6);
        let others = (2..400).filter(|&n| limit.allow(PORT, host(n), 0)).count();
        assert_eq!(others, 44);
        // Nothing is left for all together; a new host loses nothing by asking.
        assert_eq!(allowed(&mut limit, host(5000), 100, 0), 0);
        assert_eq!(allowed(&mut limit, host(5000), 100, SECOND / 50), 6);
    }

    #[test]
    fn echo_replies_are_not_limited() {
        let mut limit = IcmpRateLimit::new(IcmpLimits::default(), 1);
        let reply = IcmpMessage::EchoReply { id: 1, sequence: 1 };
        assert!((0..10_000).all(|_| limit.allow(reply, host(1), 0)));
    }

    #[test]
    fn an_interval_of_zero_is_no_limit() {
        let limits = IcmpLimits {
            icmp_ratelimit_ns: 0,
            icmp_msgs_burst: 1000,
            ..IcmpLimits::default()
        };
        let mut limit = IcmpRateLimit::new(limits, 1);
        assert_eq!(allowed(&mut limit, host(1), 1000, 0), 1000);
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_tokens() {
        let mut bucket = TokenBucket::new(10, 2);
        assert!(bucket.take(100) && bucket.take(100));
        assert!(!bucket.take(50) && !bucket.take(109));
        assert!(bucket.take(110));
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            interval in 1u64..50, burst in 1u64..9,
            steps in prop::collection::vec(0u64..40, 1..200),
        ) {
            let mut bucket = TokenBucket::new(interval, burst);
            let (mut now, mut taken) = (0, 0);
            for step in steps {
                now += step;
                taken += u64::from(bucket.take(now));
                prop_assert!(taken <= burst + now / interval);
            }
        }
    }
}
