//! The User Datagram Protocol: RFC 768, RFC 1122 section 4.1.

use super::be16;
use crate::checksum::Sum;
use core::ops::Range;

/// Why bytes are no UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpError {
    /// Fewer bytes than the header has.
    #[error("{len} bytes are too few for a UDP header")]
    TooShort {
        /// Bytes that are there.
        len: usize,
    },
    /// The length field names less than the header or more than the packet has.
    #[error("the UDP length {length} does not fit a payload of {have} bytes")]
    Length {
        /// The length field.
        length: u16,
        /// Bytes that are there.
        have: usize,
    },
    /// The checksum does not match.
    #[error("the UDP checksum is wrong")]
    Checksum,
}

/// The header of a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpHeader {
    /// Source port; 0 when no answer is expected.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Length of the header and the data, in bytes.
    pub length: u16,
    /// The checksum as it is on the wire; 0 when the sender computed none.
    pub checksum: u16,
}

impl UdpHeader {
    /// Length, in bytes.
    pub const LEN: usize = 8;

    /// Reads the header at the start of an IP payload. Bytes behind the UDP
    /// length are no part of the datagram. The checksum is another matter:
    /// [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`UdpError::TooShort`] and [`UdpError::Length`].
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<(Self, Range<usize>), UdpError> {
        let Some(bytes) = payload.first_chunk::<{ Self::LEN }>() else {
            let len = payload.len();
            return Err(UdpError::TooShort { len });
        };
        let header = Self {
            source: be16(bytes, 0),
            destination: be16(bytes, 2),
            length: be16(bytes, 4),
            checksum: be16(bytes, 6),
        };
        let end = usize::from(header.length);
        if end < Self::LEN || end > payload.len() {
            let (length, have) = (header.length, payload.len());
            return Err(UdpError::Length { length, have });
        }
        Ok((header, Self::LEN..end))
    }

    /// Verifies the checksum of `datagram`, which is the header and the data;
    /// `pseudo` is the sum of the pseudo-header with the UDP length. A checksum
    /// of 0 means none (RFC 768), and is right.
    ///
    /// # Errors
    /// [`UdpError::Checksum`].
    // As a call it costs 15 instructions more, most of them for the result.
    #[inline(always)]
    pub fn verify(&self, pseudo: Sum, datagram: &[u8]) -> Result<(), UdpError> {
        if self.checksum == 0 || pseudo.combine(Sum::of(datagram)).is_valid() {
            return Ok(());
        }
        Err(UdpError::Checksum)
    }

    /// The header with the checksum over `pseudo`, itself and `data`; a sum of
    /// zero is sent as all ones (RFC 768).
    #[must_use]
    #[inline]
    pub fn with_checksum(mut self, pseudo: Sum, data: &[u8]) -> Self {
        self.checksum = 0;
        let mut bytes = [0; Self::LEN];
        self.emit(&mut bytes);
        self.checksum = Self::on_wire(pseudo.combine(Sum::of(&bytes)).combine(Sum::of(data)));
        self
    }

    /// The checksum of everything that was summed, as it is sent: 0 says that
    /// there is none, so that all ones stand for it.
    #[must_use]
    #[inline]
    pub(crate) fn on_wire(sum: Sum) -> u16 {
        match sum.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// Writes the header, with the checksum as it stands.
    #[inline]
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        out[..2].copy_from_slice(&self.source.to_be_bytes());
        out[2..4].copy_from_slice(&self.destination.to_be_bytes());
        out[4..6].copy_from_slice(&self.length.to_be_bytes());
        out[6..].copy_from_slice(&self.checksum.to_be_bytes());
    }
}
