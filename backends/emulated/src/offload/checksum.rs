//! Internet checksums (RFC 1071).

/// From this length on, summing in vectors beats summing in words.
const VECTOR_MIN: usize = 256;

/// A number that is congruent, modulo 0xffff, to a sum of 16-bit words. The sum does
/// not depend on byte order (RFC 1071, section 2 B), so it is one of little-endian
/// words, and the carries out of 64 bits are added again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Sum {
    /// The sum over `bytes`, of which an odd last one counts as if a zero followed.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.len() >= VECTOR_MIN {
            return Self::of_many(bytes);
        }
        let (words, rest) = bytes.as_chunks::<8>();
        let sum = words
            .iter()
            .fold(Self::default(), |sum, word| sum.plus(Self::of_8(word)));
        if rest.is_empty() {
            return sum;
        }
        let end = match bytes.last_chunk::<8>() {
            // Of the last eight bytes, those that were summed are the lower ones.
            Some(last) => u64::from_le_bytes(*last) >> (64 - rest.len() * 8),
            None => rest
                .iter()
                .rev()
                .fold(0, |end, &byte| end << 8 | u64::from(byte)),
        };
        sum.plus(Self(end))
    }

    #[inline(never)]
    fn of_many(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let words = words
            .iter()
            .map(|&word| u64::from(u32::from_le_bytes(word)));
        let end = rest
            .iter()
            .rev()
            .fold(0, |end, &byte| end << 8 | u64::from(byte));
        Self(words.sum::<u64>() + end)
    }

    /// The sum over eight bytes.
    #[inline]
    pub(super) fn of_8(bytes: &[u8; 8]) -> Self {
        Self(u64::from_le_bytes(*bytes))
    }

    /// The sum over an IPv4 header without options.
    #[inline]
    pub(super) fn of_20(bytes: &[u8; 20]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let end = rest.first_chunk().map_or(0, |end| u32::from_le_bytes(*end));
        let end = Self(end.into());
        words
            .iter()
            .fold(end, |sum, word| sum.plus(Self::of_8(word)))
    }

    /// The sum of a word that is in the packet in network byte order.
    #[inline]
    pub(super) fn of_word(word: u16) -> Self {
        Self(word.swap_bytes().into())
    }

    #[inline]
    pub(super) fn plus(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum.wrapping_add(carry.into()))
    }

    /// Whether it is that of data with the right checksum in it: all ones.
    #[inline]
    pub(super) fn is_ones(self) -> bool {
        self.0 != 0 && self.0.is_multiple_of(0xffff)
    }

    /// The sum in one word.
    #[inline]
    fn fold(self) -> u16 {
        let halves = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (halves & 0xffff) + (halves >> 16 & 0xffff) + (halves >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        (sum as u16 + (sum >> 16) as u16).swap_bytes()
    }
}

/// The ones' complement sum of 16-bit words, the high byte first, folded into one
/// word and not complemented. An odd last byte counts as a high byte.
#[must_use]
#[inline]
pub fn ones_sum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).fold()
}

/// Adds two ones' complement numbers.
#[inline]
pub(super) fn ones_add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// What is stored for a checksum of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ZeroSum {
    /// Zero, as it is.
    #[default]
    Zero,
    /// All ones, the other zero of ones' complement: in UDP, zero says that there
    /// is no checksum (RFC 768).
    Ones,
}

/// A checksum that the hardware computes and stores.
///
/// The field itself is part of what is summed: whoever asks leaves zero there, or
/// the sum of what is covered beside the packet's bytes, the pseudo header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ChecksumField {
    /// The first byte that is summed.
    pub start: usize,
    /// Where the checksum is stored, two bytes.
    pub at: usize,
    /// The first byte that is no longer summed; `None`: the packet's end.
    pub end: Option<usize>,
    /// What a result of zero becomes.
    pub zero: ZeroSum,
}

impl ChecksumField {
    /// Stores the checksum. Returns whether it did: neither the start nor the
    /// field may be beyond the packet's end, and a range's end is cut to it.
    #[inline]
    pub fn insert(&self, packet: &mut [u8]) -> bool {
        let end = self.end.map_or(packet.len(), |end| end.min(packet.len()));
        let Some(covered) = packet.get(self.start..end).filter(|all| !all.is_empty()) else {
            return false;
        };
        let checksum = self.finish(ones_sum(covered));
        let Some(field) = packet.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut) else {
            return false;
        };
        *field = checksum.to_be_bytes();
        true
    }

    fn finish(self, sum: u16) -> u16 {
        match (!sum, self.zero) {
            (0, ZeroSum::Ones) => u16::MAX,
            (checksum, _) => checksum,
        }
    }
}
