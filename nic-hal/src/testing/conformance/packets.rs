//! Packets of the Internet protocols, and what is right about them (RFC 791,
//! 768, 9293, 1071).

use super::{Check, ensure, ensure_eq};
use crate::nic::MacAddress;
use alloc::vec::Vec;
use softnet_dma_ring::TxChecksum;

/// Where the transport header is: behind those of Ethernet and IPv4.
pub(super) const L4: usize = 34;

/// A transport protocol, as far as a checksum has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn number(self) -> u8 {
        match self {
            Self::Udp => 17,
            Self::Tcp => 6,
        }
    }

    fn header(self) -> usize {
        match self {
            Self::Udp => 8,
            Self::Tcp => 20,
        }
    }

    fn checksum_offset(self) -> usize {
        match self {
            Self::Udp => 6,
            Self::Tcp => 16,
        }
    }

    /// Bytes of all headers.
    pub(super) fn headers(self) -> usize {
        L4 + self.header()
    }

    pub(super) fn request(self) -> TxChecksum {
        TxChecksum {
            start: L4 as u16,
            offset: self.checksum_offset() as u16,
        }
    }
}

/// A packet to `to` from that port, with `payload` bytes. Its transport checksum is
/// that of the pseudo-header alone, as it is left to a NIC.
pub(super) fn partial(kind: Transport, to: MacAddress, port: u16, payload: usize) -> Vec<u8> {
    let mut bytes = [to.0, [0x02, 0, 0, 0, 0xaa, 0xbb]].concat();
    let total = (20 + kind.header() + payload) as u16;
    bytes.extend([0x08, 0x00, 0x45, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend([
        0,
        7,
        0x40,
        0,
        64,
        kind.number(),
        0,
        0,
        10,
        0,
        0,
        2,
        10,
        0,
        0,
        1,
    ]);
    let header = !sum(&bytes[14..L4], 0);
    bytes[24..26].copy_from_slice(&header.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend(7u16.to_be_bytes());
    match kind {
        Transport::Udp => bytes.extend((total - 20).to_be_bytes()),
        // Sequence number, acknowledgement, offset, ACK and PSH, window.
        Transport::Tcp => bytes.extend([0, 0, 1, 0, 0, 0, 2, 0, 0x50, 0x18, 0x10, 0]),
    }
    bytes.resize(kind.headers(), 0);
    bytes.extend((0..payload).map(|at| (at * 13 + usize::from(port)) as u8));
    let sum = pseudo(kind, &bytes);
    put_checksum(kind, &mut bytes, sum);
    bytes
}

/// The same with the whole checksum.
pub(super) fn whole(kind: Transport, to: MacAddress, port: u16, payload: usize) -> Vec<u8> {
    let mut bytes = partial(kind, to, port, payload);
    let sum = !sum(&bytes[L4..], 0);
    put_checksum(kind, &mut bytes, sum);
    bytes
}

pub(super) fn put_checksum(kind: Transport, bytes: &mut [u8], sum: u16) {
    let at = L4 + kind.checksum_offset();
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Holds a packet to its lengths and checksums.
pub(super) fn ensure_right(kind: Transport, bytes: &[u8]) -> Check {
    ensure(bytes.len() >= kind.headers(), "a packet lacks its headers")?;
    let total = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    ensure_eq("the length in the IP header", total, bytes.len() - 14)?;
    ensure_eq("the sum of the IP header", sum(&bytes[14..L4], 0), 0xffff)?;
    let all = sum(&bytes[L4..], pseudo(kind, bytes));
    ensure_eq("the sum of the transport", all, 0xffff)
}

/// The pseudo-header's sum.
fn pseudo(kind: Transport, bytes: &[u8]) -> u16 {
    let len = (bytes.len() - L4) as u16;
    let [high, low] = len.to_be_bytes();
    sum(&bytes[26..L4], sum(&[0, kind.number(), high, low], 0))
}

/// The one's complement sum of 16-bit words, from `start` on.
fn sum(bytes: &[u8], start: u16) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum = words.sum::<u32>() + u32::from(start);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
