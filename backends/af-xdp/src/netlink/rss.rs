//! How the NIC spreads received packets over its queues (`ethtool -x`).

use super::attributes::{Attributes, Read};
use super::uapi::rss;
use serde::Serialize;

/// The receive-side scaling of an interface: which queue a packet comes to.
///
/// Queue = `table[hash % table.len()]`, where the hash is of the packet's
/// addresses, and of its ports where the NIC is set so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RssView {
    /// The key in the order of the specification; 40 or 52 bytes as a rule.
    /// Empty if the driver does not tell it.
    pub key: Vec<u8>,
    /// The queue of each remainder of the hash. Empty if the driver does not
    /// tell it.
    pub table: Vec<u32>,
    /// The hash.
    pub function: RssFunction,
    /// Whether the NIC mixes the addresses and ports before it hashes them, so
    /// that both directions of a flow have one hash.
    pub symmetric: bool,
    /// Whether the ports of UDP over IPv4 are hashed too; `None` if the driver
    /// does not tell. Many drivers hash the addresses only, until told so by
    /// `ethtool -N IFACE rx-flow-hash udp4 sdfn`.
    pub udp_ports: Option<bool>,
    /// Receive queues in use.
    pub queues: u32,
}

/// The hash that a NIC computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RssFunction {
    /// Toeplitz's.
    Toeplitz,
    /// Exclusive or.
    Xor,
    /// CRC-32.
    Crc32,
    /// One that this kernel does not name.
    Unknown,
}

impl RssView {
    /// The key, if the hash is the one that software can compute with it: the
    /// plain Toeplitz hash. A longer key is cut: an IPv6 flow, the longest input,
    /// uses its first 40 bytes.
    #[must_use]
    pub fn toeplitz_key<const N: usize>(&self) -> Option<[u8; N]> {
        let plain = self.function == RssFunction::Toeplitz && !self.symmetric;
        self.key.first_chunk().filter(|_| plain).copied()
    }

    /// The table with `N` entries, if such a table can say the same: `N` is a
    /// multiple of its length, or it repeats itself after `N` entries.
    #[must_use]
    pub fn indirection<const N: usize>(&self) -> Option<[u16; N]> {
        let len = self.table.len();
        let fits =
            len != 0 && (N.is_multiple_of(len) || (len.is_multiple_of(N) && self.repeats_after(N)));
        let mut table = [0; N];
        for (at, entry) in table.iter_mut().enumerate() {
            *entry = u16::try_from(*self.table.get(at % len.max(1))?).ok()?;
        }
        fits.then_some(table)
    }

    fn repeats_after(&self, entries: usize) -> bool {
        let mut pairs = self.table.iter().zip(self.table.iter().skip(entries));
        pairs.all(|(early, late)| early == late)
    }

    pub(super) fn parse(answer: &Attributes, udp_ports: Option<bool>, queues: u32) -> Self {
        Self {
            key: answer
                .bytes(rss::HKEY)
                .map_or_else(Vec::new, <[u8]>::to_vec),
            table: answer.bytes(rss::INDIR).map_or_else(Vec::new, words),
            function: function(answer.u32(rss::HFUNC)),
            symmetric: answer.u32(rss::INPUT_XFRM).is_some_and(is_mixed),
            udp_ports,
            queues,
        }
    }
}

/// `ETH_RSS_HASH_*`.
const fn function(bits: Option<u32>) -> RssFunction {
    match bits {
        Some(1) => RssFunction::Toeplitz,
        Some(2) => RssFunction::Xor,
        Some(4) => RssFunction::Crc32,
        _ => RssFunction::Unknown,
    }
}

/// `RXH_XFRM_*`: none, or that nothing is known of it.
const fn is_mixed(transform: u32) -> bool {
    !matches!(transform, 0 | 0xff | u32::MAX)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks_exact(4).filter_map(<[u8]>::first_chunk);
    words.map(|four| u32::from_ne_bytes(*four)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::attributes::attribute;
    use super::*;

    fn view(table: Vec<u32>) -> RssView {
        RssView {
            key: (0..52).collect(),
            table,
            function: RssFunction::Toeplitz,
            symmetric: false,
            udp_ports: None,
            queues: 4,
        }
    }

    #[test]
    fn the_kernels_answer_is_read_in_its_own_byte_order() {
        let table: Vec<u8> = [3_u32, 1].iter().flat_map(|q| q.to_ne_bytes()).collect();
        let answer = Attributes::from_iter([
            attribute(rss::HFUNC, 1_u32).unwrap(),
            attribute(rss::INDIR, table).unwrap(),
            attribute(rss::HKEY, vec![0x6d_u8, 0x5a]).unwrap(),
            attribute(rss::INPUT_XFRM, 1_u32).unwrap(),
        ]);
        let view = RssView::parse(&answer, Some(true), 4);
        assert_eq!(view.table, [3, 1]);
        assert_eq!(view.key, [0x6d, 0x5a]);
        assert_eq!(view.function, RssFunction::Toeplitz);
        assert!(view.symmetric);
    }

    #[test]
    fn a_driver_that_tells_nothing_gives_an_empty_view() {
        let view = RssView::parse(&Attributes::new(), None, 1);
        assert_eq!(view.function, RssFunction::Unknown);
        assert_eq!(view.toeplitz_key::<40>(), None);
        assert_eq!(view.indirection::<128>(), None);
    }

    #[test]
    fn a_table_is_given_in_another_length_only_if_it_says_the_same() {
        assert_eq!(view(vec![0, 1]).indirection(), Some([0, 1, 0, 1]));
        assert_eq!(view(vec![0, 1, 0, 1]).indirection(), Some([0, 1]));
        assert_eq!(view(vec![0, 1, 1, 0]).indirection::<2>(), None);
        assert_eq!(view(vec![0, 1, 2]).indirection::<4>(), None);
        assert_eq!(view(vec![0x1_0000]).indirection::<1>(), None);
    }

    #[test]
    fn a_hash_that_software_would_not_get_has_no_key() {
        let mut view = view(vec![0]);
        assert_eq!(view.toeplitz_key::<40>().map(|key| key[39]), Some(39));
        view.symmetric = true;
        assert_eq!(view.toeplitz_key::<40>(), None);
        view.symmetric = false;
        view.function = RssFunction::Xor;
        assert_eq!(view.toeplitz_key::<40>(), None);
    }
}
