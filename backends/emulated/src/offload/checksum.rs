//! Internet checksums (RFC 1071).

/// The ones' complement sum of 16-bit words, the high byte first, folded into one
/// word and not complemented. An odd last byte counts as a high byte.
#[must_use]
#[inline]
pub fn ones_sum(bytes: &[u8]) -> u16 {
    // The sum does not care for the byte order that it is done in, only its
    // result does (RFC 1071, section 2 B); so it is done in the machine's.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words
        .iter()
        .map(|&word| u64::from(u32::from_ne_bytes(word)))
        .sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum += u64::from(u32::from_ne_bytes(last));
    u16::from_be(fold(sum))
}

/// Ends the carries.
#[inline]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Adds two ones' complement numbers.
#[inline]
pub(super) fn ones_add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
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
