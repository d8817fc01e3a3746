//! The Internet checksum: RFC 1071, its incremental update (RFC 1624), and the
//! pseudo-headers of RFC 768 (IPv4) and RFC 8200 section 8.1 (IPv6).
//!
//! The sum does not depend on byte order (RFC 1071 section 2 (B)), so words are
//! loaded as little-endian ones, eight bytes at a time, and the two bytes of the
//! result change places at the end. The carries out of the 64-bit additions
//! are kept (section 2 (C): deferred carries); everything is congruent modulo
//! 0xffff, whatever the width.

use crate::wire::IpProtocol;
use core::net::{Ipv4Addr, Ipv6Addr};

/// From this length on, summing in vectors beats summing in words.
const VECTOR_MIN: usize = 256;

/// The inverse of 0xffff modulo 2^64: 0xffff times its negative is 2^64 - 1.
const INVERSE: u64 = 0x0001_0001_0001_0001_u64.wrapping_neg();

/// A partial sum: a number that is congruent, modulo 0xffff, to the sum of the
/// 16-bit words seen so far.
///
/// Every part but the last has an even length; [`combine_at`](Self::combine_at)
/// takes care of parts that start at an odd offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum over `bytes`; an odd last byte counts as if a zero followed.
    // A call that is worth it: its callers stay small enough to be inlined.
    #[must_use]
    #[inline(never)]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.len() >= VECTOR_MIN {
            return of_long(bytes);
        }
        of_short(bytes)
    }

    /// The same, for bytes that are likely to be few: a loop over the words is then
    /// shorter than the blocks of [`of_short`].
    #[inline]
    pub(crate) fn of_small(bytes: &[u8]) -> Self {
        if bytes.len() >= 64 {
            return Self::of(bytes);
        }
        let (words, _) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(Self::ZERO, |sum, word| {
            sum.combine(Self(u64::from_le_bytes(*word)))
        });
        sum.combine(of_end(bytes, bytes.len() % 8))
    }

    /// The sum over an IPv4 header without options.
    #[must_use]
    #[inline]
    pub fn of_20(bytes: &[u8; 20]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let tail = rest
            .first_chunk::<4>()
            .map_or(0, |tail| u32::from_le_bytes(*tail));
        words.iter().fold(Self(u64::from(tail)), |sum, word| {
            sum.combine(Self(u64::from_le_bytes(*word)))
        })
    }

    /// The sum of eight bytes, given as the little-endian word that they are.
    #[must_use]
    #[inline]
    pub(crate) const fn of_le_word(word: u64) -> Self {
        Self(word)
    }

    /// The sum of one 16-bit word, given in host order.
    #[must_use]
    #[inline]
    pub const fn of_u16(word: u16) -> Self {
        Self(word.swap_bytes() as u64)
    }

    /// The sum of two parts, the second of which starts at an even offset.
    #[must_use]
    #[inline]
    pub const fn combine(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        // Two numbers below 2^64 add up to at most 2^65 - 2, so that the carry
        // cannot overflow again.
        Self(sum.wrapping_add(carry as u64))
    }

    /// The sum of two parts, the second of which starts `offset` bytes after the
    /// start of the first (RFC 1071 section 2 (B)).
    #[must_use]
    #[inline]
    pub const fn combine_at(self, other: Self, offset: usize) -> Self {
        if offset & 1 == 0 {
            self.combine(other)
        } else {
            self.combine(Self(other.0.rotate_left(8)))
        }
    }

    /// The checksum to be stored, in host order: the ones' complement of the
    /// sum.
    #[must_use]
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.fold().swap_bytes()
    }

    /// Whether the sum is that of data with its right checksum inside: a multiple of
    /// 0xffff, and not that of nothing.
    ///
    /// A number is a multiple of an odd one if its product with that one's inverse
    /// modulo 2^64 is the quotient, which is at most the largest there is (Granlund
    /// and Montgomery, "Division by Invariant Integers using Multiplication", section
    /// 9). This takes half the instructions of a fold.
    #[must_use]
    #[inline]
    pub const fn is_valid(self) -> bool {
        let quotient = self.0.wrapping_mul(INVERSE);
        quotient.wrapping_sub(1) < u64::MAX / 0xffff
    }

    /// Folds to 16 bits, still with the two bytes exchanged. Adding a number
    /// to itself with its halves exchanged leaves the sum of the halves, with
    /// its carry added at the other end, in the upper half.
    #[inline]
    const fn fold(self) -> u16 {
        let wide = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (wide.wrapping_add(wide.rotate_left(16)) >> 16) as u16
    }
}

/// The checksum over `bytes`, in host order.
#[must_use]
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).finish()
}

/// The checksum after one 16-bit word under it has changed (RFC 1624, equation
/// 3), all in host order.
#[must_use]
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = (!checksum) as u32 + (!old) as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

/// The sum of the IPv4 pseudo-header (RFC 768); `len` is that of the transport
/// header and its data, in bytes.
#[must_use]
#[inline]
pub const fn pseudo_header_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: IpProtocol, len: u16) -> Sum {
    let src = u32::from_le_bytes(src.octets()) as u64;
    let dst = u32::from_le_bytes(dst.octets()) as u64;
    let protocol = (protocol.0 as u64) << 8;
    Sum(src + dst + protocol + len.swap_bytes() as u64)
}

/// The sum of the IPv6 pseudo-header (RFC 8200 section 8.1); `len` is that of
/// the transport header and its data, in bytes.
#[must_use]
#[inline]
pub fn pseudo_header_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: IpProtocol, len: u32) -> Sum {
    let [len_high, len_low] = [(len >> 16) as u16, len as u16].map(Sum::of_u16);
    of_short(&src.octets())
        .combine(of_short(&dst.octets()))
        .combine(len_high)
        .combine(len_low)
        .combine(Sum::of_u16(u16::from(protocol.0)))
}

/// Word by word, with the carry of each addition going into the next one.
#[inline]
fn of_short(bytes: &[u8]) -> Sum {
    let (mut sum, mut rest) = (0, bytes);
    while let Some((block, after)) = rest.split_first_chunk::<32>() {
        sum = add_words(sum, block);
        rest = after;
    }
    if let Some((block, after)) = rest.split_first_chunk::<16>() {
        sum = add_words(sum, block);
        rest = after;
    }
    if let Some((block, after)) = rest.split_first_chunk::<8>() {
        sum = add_words(sum, block);
        rest = after;
    }
    Sum(sum).combine(of_end(bytes, rest.len()))
}

/// The sum of the last `len` bytes, which are fewer than 8: they are the high
/// ones of the last whole word, if there is one, wherever that starts.
#[inline]
fn of_end(bytes: &[u8], len: usize) -> Sum {
    match bytes.last_chunk::<8>() {
        Some(_) if len == 0 => Sum::ZERO,
        Some(word) => Sum(u64::from_le_bytes(*word) >> (8 * (8 - len))),
        None => of_few(bytes),
    }
}

/// At most 15 bytes. Each part starts at an even offset, so that nothing has to
/// be shifted into place.
#[inline]
fn of_few(mut rest: &[u8]) -> Sum {
    let mut sum = Sum::ZERO;
    if let Some((word, after)) = rest.split_first_chunk::<8>() {
        sum = Sum(u64::from_le_bytes(*word));
        rest = after;
    }
    if rest.is_empty() {
        return sum;
    }
    let mut few = 0;
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        few = u64::from(u32::from_le_bytes(*word));
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<2>() {
        few += u64::from(u16::from_le_bytes(*word));
        rest = after;
    }
    if let Some(&byte) = rest.first() {
        few += u64::from(byte);
    }
    sum.combine(Sum(few))
}

/// Adds the words of a block to a sum.
#[inline]
fn add_words<const N: usize>(sum: u64, block: &[u8; N]) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    let (sum, carry) = words.iter().fold((sum, false), |(sum, carry), word| {
        let (sum, first) = sum.overflowing_add(u64::from_le_bytes(*word));
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        (sum, first | second)
    });
    Sum(sum).combine(Sum(u64::from(carry))).0
}

/// In a loop that compiles to vectors. Their lanes have no carry; so the words
/// are summed modulo 2^64, and their upper halves on their own, exactly. What
/// the lower halves sum up to is the difference. It is below 2^64, and so exact
/// too.
#[inline(never)]
fn of_long(bytes: &[u8]) -> Sum {
    let (words, rest) = bytes.as_chunks::<8>();
    let (mut whole, mut upper) = (0u64, 0u64);
    for word in words {
        let word = u64::from_le_bytes(*word);
        whole = whole.wrapping_add(word);
        upper = upper.wrapping_add(word >> 32);
    }
    let lower = whole.wrapping_sub(upper << 32);
    Sum(lower).combine(Sum(upper)).combine(of_few(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// RFC 1071 section 1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(!checksum(&bytes), 0xddf2);
    }

    #[test]
    fn nothing_has_the_checksum_ffff() {
        assert_eq!(checksum(&[]), 0xffff);
    }

    #[test]
    fn carries_survive_in_the_longest_run_of_ones() {
        let bytes = std::vec![0xff; 65_535];
        for len in [20, 64, 255, 256, 257, 1460, 65_535] {
            assert_eq!(checksum(&bytes[..len]), naive(&bytes[..len]), "{len}");
        }
    }

    #[test]
    fn a_carry_that_carries_again_survives() {
        // The first two words leave 0 and a carry, which the third hands on.
        let words = [u64::MAX, 1, u64::MAX, 5].map(u64::to_le_bytes);
        let bytes = words.as_flattened();
        assert_eq!(checksum(bytes), naive(bytes));
    }

    #[test]
    fn the_update_of_rfc_1624_section_4_gives_0000() {
        // Its own example: HC = 0xdd2f, m = 0x5555, m' = 0x3285.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_sum(
            bytes in prop::collection::vec(any::<u8>(), 0..2100),
            skip in 0usize..9,
        ) {
            let part = bytes.get(skip..).unwrap_or(&[]);
            prop_assert_eq!(checksum(part), naive(part));
        }

        #[test]
        fn twenty_bytes_agree_with_the_naive_sum(bytes in any::<[u8; 20]>()) {
            prop_assert_eq!(Sum::of_20(&bytes).finish(), naive(&bytes));
        }

        #[test]
        fn parts_combine_at_any_offset(
            bytes in prop::collection::vec(any::<u8>(), 0..700),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let (front, back) = bytes.split_at(cut);
            let sum = Sum::of(front).combine_at(Sum::of(back), cut);
            prop_assert_eq!(sum.finish(), naive(&bytes));
        }

        #[test]
        fn a_sum_is_valid_if_it_folds_to_all_ones(any: u64, multiple in 0..=u64::MAX / 0xffff) {
            let bounds = [0, 1, 0xfffe, 0xffff, 0x1_0000, u64::MAX - 1, u64::MAX];
            for sum in bounds.into_iter().chain([any, multiple * 0xffff]) {
                prop_assert_eq!(Sum(sum).is_valid(), Sum(sum).fold() == 0xffff, "{}", sum);
            }
        }

        #[test]
        fn data_with_its_checksum_inside_is_valid(
            mut bytes in prop::collection::vec(any::<u8>(), 2..400),
            flip in any::<prop::sample::Index>(),
        ) {
            bytes[..2].fill(0);
            let right = checksum(&bytes);
            bytes[..2].copy_from_slice(&right.to_be_bytes());
            prop_assert!(Sum::of(&bytes).is_valid());
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!Sum::of(&bytes).is_valid());
        }

        #[test]
        fn an_update_agrees_with_summing_again(
            mut bytes in prop::collection::vec(any::<u8>(), 2..100),
            new in any::<u16>(),
        ) {
            // Some word that is not zero stays: the sum of nothing but zeros is
            // the one case with two representations.
            bytes.push(1);
            bytes.push(0);
            let old = u16::from_be_bytes([bytes[0], bytes[1]]);
            let before = checksum(&bytes);
            bytes[..2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), checksum(&bytes));
        }

        #[test]
        fn pseudo_headers_are_those_written_out(
            src in any::<[u8; 4]>(), dst in any::<[u8; 4]>(),
            src6 in any::<[u8; 16]>(), dst6 in any::<[u8; 16]>(),
            protocol in any::<u8>(), len in any::<u16>(), len6 in any::<u32>(),
        ) {
            let mut bytes: Vec<u8> = [src, dst].concat();
            bytes.extend([0, protocol]);
            bytes.extend(len.to_be_bytes());
            let sum = pseudo_header_v4(src.into(), dst.into(), IpProtocol(protocol), len);
            prop_assert_eq!(sum.finish(), naive(&bytes));

            let mut bytes: Vec<u8> = [src6, dst6].concat();
            bytes.extend(len6.to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
            let sum = pseudo_header_v6(src6.into(), dst6.into(), IpProtocol(protocol), len6);
            prop_assert_eq!(sum.finish(), naive(&bytes));
        }
    }
}
