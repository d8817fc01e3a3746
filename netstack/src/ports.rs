//! Ephemeral ports: RFC 6056.
//!
//! A port that nobody can guess makes it harder to forge packets for a flow.
//! A socket with a known peer gets its port by the double-hash algorithm
//! (section 3.3.4): each peer sees its own sequence, which starts at a secret
//! offset and returns late to a port that was used. A socket without a peer
//! gets a random one (section 3.3.2).

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use siphasher::sip::SipHasher13;

/// Linux's `ip_local_port_range`.
pub const DEFAULT_RANGE: RangeInclusive<u16> = 32_768..=60_999;

/// Counters that the peers share: the larger, the less one peer learns about
/// what another does (RFC 6056 section 3.3.4 calls it TABLE_LENGTH).
const COUNTERS: usize = 256;

/// Every port of the range is in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all ports from {} to {} are in use", range.start(), range.end())]
pub struct PortsExhausted {
    /// The ports that were tried.
    pub range: RangeInclusive<u16>,
}

/// The source of ephemeral ports.
pub struct EphemeralPorts {
    range: RangeInclusive<u16>,
    secret: (u64, u64),
    counters: Box<[u16]>,
    drawn: u64,
}

impl EphemeralPorts {
    /// Picks from `range`; an empty one is always exhausted. The secret decides
    /// all picks: it is to come from a good random source.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>, secret: [u64; 2]) -> Self {
        Self {
            range,
            secret: (secret[0], secret[1]),
            counters: vec![0; COUNTERS].into_boxed_slice(),
            drawn: 0,
        }
    }

    /// A port for a flow from `local` to `remote` that `is_suitable` agrees to:
    /// one that is not in use, say, and whose answers come to the right CPU.
    ///
    /// # Errors
    /// [`PortsExhausted`] when it agrees to none; each was tried once.
    pub fn pick_for_peer(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        is_suitable: impl FnMut(u16) -> bool,
    ) -> Result<u16, PortsExhausted> {
        let offset = self.keyed((0u8, local, remote));
        let counter = self.keyed((1u8, local, remote)) as usize % COUNTERS;
        let start = offset.wrapping_add(u64::from(self.counters[counter]));
        let (tried, port) = self.first_suitable(start, is_suitable)?;
        self.counters[counter] = self.counters[counter].wrapping_add(tried);
        Ok(port)
    }

    /// A port for a socket without a peer that `is_suitable` agrees to.
    ///
    /// # Errors
    /// [`PortsExhausted`] when it agrees to none; each was tried once.
    pub fn pick(&mut self, is_suitable: impl FnMut(u16) -> bool) -> Result<u16, PortsExhausted> {
        self.drawn = self.drawn.wrapping_add(1);
        let start = self.keyed((2u8, self.drawn));
        let (_, port) = self.first_suitable(start, is_suitable)?;
        Ok(port)
    }

    /// The first suitable port from `start` on, around the range, and how many
    /// were tried.
    fn first_suitable(
        &self,
        start: u64,
        mut is_suitable: impl FnMut(u16) -> bool,
    ) -> Result<(u16, u16), PortsExhausted> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let ports = (u64::from(last) + 1).saturating_sub(u64::from(first));
        let start = start.checked_rem(ports).unwrap_or(0);
        (0..ports)
            .map(|step| (step, first + ((start + step) % ports) as u16))
            .find(|&(_, port)| is_suitable(port))
            .map(|(step, port)| ((step + 1) as u16, port))
            .ok_or_else(|| PortsExhausted {
                range: self.range.clone(),
            })
    }

    fn keyed(&self, of: impl Hash) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        of.hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Debug for EphemeralPorts {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EphemeralPorts")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// A set of ports, for those that are in use: 8 KiB.
#[derive(Clone)]
pub struct PortSet {
    words: Box<[u64]>,
}

impl PortSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            words: vec![0; 65_536 / 64].into_boxed_slice(),
        }
    }

    /// Whether `port` is in it.
    #[must_use]
    #[inline]
    pub fn contains(&self, port: u16) -> bool {
        self.words[usize::from(port) / 64] & bit(port) != 0
    }

    /// Puts `port` in; whether it was not in before.
    #[inline]
    pub fn insert(&mut self, port: u16) -> bool {
        let new = !self.contains(port);
        self.words[usize::from(port) / 64] |= bit(port);
        new
    }

    /// Takes `port` out; whether it was in.
    #[inline]
    pub fn remove(&mut self, port: u16) -> bool {
        let was = self.contains(port);
        self.words[usize::from(port) / 64] &= !bit(port);
        was
    }

    /// How many ports are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether no port is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }
}

#[inline]
const fn bit(port: u16) -> u64 {
    1 << (port % 64)
}

impl Default for PortSet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries((0..=u16::MAX).filter(|&port| self.contains(port)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const LOCAL: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2));

    fn ports(seed: u64) -> EphemeralPorts {
        EphemeralPorts::new(DEFAULT_RANGE, [seed, 7])
    }

    fn remote(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 53))
    }

    #[test]
    fn every_pick_is_in_the_range_and_agreed_to() {
        let mut ports = ports(1);
        for _ in 0..1000 {
            let port = ports.pick(|port| port.is_multiple_of(3)).unwrap();
            assert!(DEFAULT_RANGE.contains(&port) && port.is_multiple_of(3));
        }
    }

    #[test]
    fn a_peer_sees_no_port_twice_before_all_were_used() {
        let mut ports = EphemeralPorts::new(100..=163, [1, 2]);
        let picks = |_| ports.pick_for_peer(LOCAL, remote(1), |_| true).unwrap();
        let mut seen: Vec<u16> = (0..64).map(picks).collect();
        seen.sort_unstable();
        assert_eq!(seen, (100..=163).collect::<Vec<_>>());
    }

    #[test]
    fn ports_that_do_not_suit_are_not_tried_again_at_once() {
        let mut ports = EphemeralPorts::new(100..=163, [1, 2]);
        let even = |port: u16| port.is_multiple_of(2);
        let picks = |_| ports.pick_for_peer(LOCAL, remote(1), even).unwrap();
        let mut seen: Vec<u16> = (0..32).map(picks).collect();
        seen.sort_unstable();
        assert_eq!(seen, (100..=163).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn peers_see_sequences_of_their_own() {
        let mut ports = ports(1);
        let mut first = |host| ports.pick_for_peer(LOCAL, remote(host), |_| true).unwrap();
        let mut seen: Vec<u16> = (1..=50).map(&mut first).collect();
        seen.sort_unstable();
        seen.dedup();
        // Fifty of 28,232: a pair may meet by chance, a pattern would not pass.
        assert!(seen.len() >= 48);
        assert!(seen.windows(2).any(|pair| pair[1] - pair[0] > 100));
    }

    #[test]
    fn the_secret_decides_all_picks() {
        let picks = |seed| {
            let mut ports = ports(seed);
            let mut next = |_| ports.pick(|_| true).unwrap();
            (0..8).map(&mut next).collect::<Vec<_>>()
        };
        assert_eq!(picks(1), picks(1));
        assert_ne!(picks(1), picks(2));
    }

    #[test]
    fn the_last_free_port_is_found_and_then_none() {
        let mut used = PortSet::new();
        DEFAULT_RANGE
            .filter(|&port| port != 40_000)
            .for_each(|port| {
                used.insert(port);
            });
        let mut ports = ports(3);
        assert_eq!(ports.pick(|port| !used.contains(port)), Ok(40_000));
        let again = ports.pick_for_peer(LOCAL, remote(9), |port| !used.contains(port));
        assert_eq!(again, Ok(40_000));
        used.insert(40_000);
        let range = DEFAULT_RANGE;
        assert_eq!(
            ports.pick(|port| !used.contains(port)),
            Err(PortsExhausted { range })
        );
    }

    #[test]
    fn each_port_is_tried_once_before_giving_up() {
        for range in [0..=u16::MAX, 5..=5, 100..=163] {
            let mut ports = EphemeralPorts::new(range.clone(), [4, 4]);
            let mut tried = PortSet::new();
            let picked = ports.pick(|port| {
                assert!(tried.insert(port), "{port} twice");
                false
            });
            assert_eq!(tried.len(), range.len());
            assert_eq!(picked, Err(PortsExhausted { range }));
        }
    }

    #[test]
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "an empty range is what is tested"
    )]
    fn an_empty_range_is_exhausted() {
        let mut ports = EphemeralPorts::new(9..=8, [4, 4]);
        assert!(ports.pick(|_| true).is_err());
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = PortSet::new();
        for port in [0, 63, 64, u16::MAX] {
            assert!(set.insert(port) && !set.insert(port) && set.contains(port));
        }
        assert_eq!(set.len(), 4);
        assert!(set.remove(63) && !set.remove(63) && !set.contains(63));
        assert!(set.contains(64) && set.contains(0));
        assert!(!set.is_empty());
    }
}
