//! A packet on its way to memory.

use super::descriptor;
use crate::offload::{ones_sum, without_tag};
use softnet_dma_ring::{DmaAddr, DmaFault, DmaWindow};

/// The parts of a packet, one after the other: the frame, or what is before and
/// behind a tag that is taken out, and its FCS if that is kept.
pub(super) struct Packet<'a> {
    parts: [&'a [u8]; 2],
    fcs: [u8; 4],
    fcs_len: usize,
    pub(super) len: usize,
    /// Bytes that are in memory.
    pub(super) at: usize,
    /// Bits of the second word of its descriptors.
    pub(super) flags: u64,
}

impl<'a> Packet<'a> {
    /// `fcs_len`: bytes of the FCS that are kept. It is the one of the wire, also
    /// when the tag is taken out, as the flag VP says. `checksum_from`: where the
    /// packet checksum starts, if it is not 0.
    pub(super) fn new(frame: &'a [u8], fcs_len: usize, flags: u64, checksum_from: usize) -> Self {
        let strip = flags & descriptor::VP != 0;
        let parts = match without_tag(frame).filter(|_| strip) {
            Some((addresses, rest)) => [&addresses[..], rest],
            None => [frame, &[]],
        };
        let mut packet = Self {
            parts,
            fcs: [0; 4],
            fcs_len,
            len: parts[0].len() + parts[1].len() + fcs_len,
            at: 0,
            flags,
        };
        if fcs_len != 0 {
            packet.fcs = crc32fast::hash(frame).to_le_bytes();
        }
        if checksum_from != 0 {
            packet.flags |= u64::from(packet.checksum(checksum_from)) << 16;
        }
        packet
    }

    fn all(&self) -> [&[u8]; 3] {
        [self.parts[0], self.parts[1], &self.fcs[..self.fcs_len]]
    }

    /// The packet checksum from `start` on.
    fn checksum(&self, start: usize) -> u16 {
        let (mut sum, mut before) = (0u64, 0);
        for part in self.all() {
            let covered = &part[start.saturating_sub(before).min(part.len())..];
            let of_part = ones_sum(covered);
            // A part that begins at an odd byte has its words the other way
            // round (RFC 1071, section 2 B).
            let odd = before > start && (before - start) % 2 == 1;
            sum += u64::from(if odd { of_part.swap_bytes() } else { of_part });
            before += part.len();
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// Writes the next `len` bytes to `to`.
    pub(super) fn write(
        &self,
        memory: &mut DmaWindow<'_>,
        to: DmaAddr,
        len: usize,
    ) -> Result<(), DmaFault> {
        let (mut skip, mut left, mut done) = (self.at, len, 0);
        for part in self.all() {
            let piece = &part[skip.min(part.len())..];
            let piece = &piece[..piece.len().min(left)];
            skip = skip.saturating_sub(part.len());
            if !piece.is_empty() {
                memory.write(to.offset(done as u64), piece)?;
                done += piece.len();
                left -= piece.len();
            }
        }
        Ok(())
    }
}
