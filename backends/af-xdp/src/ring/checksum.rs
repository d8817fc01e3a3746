//! Transport checksums: those that are left to the device, and those that a sender
//! on this machine has left half made.
//!
//! Between two interfaces of one machine the kernel computes no checksum: the packet
//! is marked (`CHECKSUM_PARTIAL`), and its field holds the sum of the pseudo-header
//! alone. The mark does not reach an XDP socket, the field does. A field that equals
//! the sum of the pseudo-header is therefore taken as the mark; a wrong checksum is
//! taken for one as often as it is taken for a right one, once in 65,536.

use softnet_dma_ring::{ChecksumStatus, Frame, TxChecksum};

/// Whether half-made checksums are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// They are wrong checksums, as on any wire.
    #[default]
    Verify,
    /// A TCP or UDP checksum that equals the sum of its pseudo-header is
    /// [`ChecksumStatus::Partial`]: for interfaces whose other end is this machine.
    AcceptPartial,
}

impl RxChecksum {
    /// What is right for a driver, by the name that `ethtool -i` shows.
    #[must_use]
    pub fn for_driver(driver: &str) -> Self {
        match driver {
            "veth" | "tun" | "virtio_net" | "netkit" => Self::AcceptPartial,
            _ => Self::Verify,
        }
    }

    /// Marks a received frame.
    #[inline]
    pub(super) fn mark(self, frame: &mut Frame) {
        if self == Self::AcceptPartial && is_partial(frame.data()) == Some(true) {
            frame.set_checksum(ChecksumStatus::Partial);
        }
    }
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const TCP: u8 = 6;
const UDP: u8 = 17;

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(word))
}

/// Whether a packet's TCP or UDP checksum is the sum of its pseudo-header; `None`
/// when the packet has no such checksum.
#[inline]
fn is_partial(packet: &[u8]) -> Option<bool> {
    match packet.first_chunk() {
        Some(head) if is_plain_udp(head) => Some(is_partial_udp(head)),
        _ => is_partial_any(packet),
    }
}

/// Bytes of an Ethernet, an IPv4 and a UDP header.
const HEAD: usize = 14 + 20 + 8;

/// Whether it is a whole UDP datagram over IPv4 without tags and options: what most
/// packets are.
#[inline]
fn is_plain_udp(head: &[u8; HEAD]) -> bool {
    let fragment = u16::from_be_bytes([head[20], head[21]]) & 0x3fff;
    head[12..15] == [0x08, 0x00, 0x45] && head[23] == UDP && fragment == 0
}

#[inline]
fn is_partial_udp(head: &[u8; HEAD]) -> bool {
    let word = |at: usize| u64::from(u16::from_be_bytes([head[at], head[at + 1]]));
    let Some(segment) = word(16).checked_sub(20) else {
        return false;
    };
    let addresses = word(26) + word(28) + word(30) + word(32);
    let stored = word(40);
    stored != 0 && stored == u64::from(fold(addresses + u64::from(UDP) + segment))
}

#[cold]
fn is_partial_any(packet: &[u8]) -> Option<bool> {
    let (mut kind, mut at) = (be16(packet, 12)?, 14);
    if kind == VLAN {
        (kind, at) = (be16(packet, 16)?, 18);
    }
    let ip = packet.get(at..)?;
    let (protocol, addresses, header, segment) = match kind {
        IPV4 => ipv4(ip)?,
        IPV6 => ipv6(ip)?,
        _ => return None,
    };
    let field = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let stored = be16(ip, header + field)?;
    let pseudo = sum(addresses) + u64::from(protocol) + segment;
    Some(stored != 0 && stored == fold(pseudo))
}

/// Protocol, addresses, length of the header, length of the segment (RFC 791).
fn ipv4(ip: &[u8]) -> Option<(u8, &[u8], usize, u64)> {
    let header = usize::from(*ip.first()? & 0xf) * 4;
    let segment = usize::from(be16(ip, 2)?).checked_sub(header)?;
    // A fragment's checksum is that of the whole datagram.
    let fragment = be16(ip, 6)? & 0x3fff != 0;
    let found = (*ip.get(9)?, ip.get(12..20)?, header, segment as u64);
    (!fragment).then_some(found)
}

/// The same of a packet without extension headers (RFC 8200).
fn ipv6(ip: &[u8]) -> Option<(u8, &[u8], usize, u64)> {
    let segment = u64::from(be16(ip, 4)?);
    Some((*ip.get(6)?, ip.get(8..40)?, 40, segment))
}

/// The sum of 16-bit words (RFC 1071), not folded; an odd byte counts as the first
/// of a word.
fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut sum: u64 = 0;
    for word in &mut words {
        if let Ok(word) = word.try_into() {
            sum += u64::from(u32::from_be_bytes(word));
        }
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    sum + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Computes the checksum that was left to the device, over the bytes from
/// `request.start` on, the field included: it holds what the sender has summed so
/// far. Returns whether the request was of bytes that the frame has.
#[must_use]
pub(super) fn complete(frame: &mut Frame, request: TxChecksum) -> bool {
    let start = usize::from(request.start);
    let Some(bytes) = frame.data_mut().get_mut(start..) else {
        return false;
    };
    let checksum = match !fold(sum(bytes)) {
        // UDP's zero says that there is none (RFC 768); to all others both are zero.
        0 => 0xffff,
        other => other,
    };
    let at = usize::from(request.offset);
    let Some(field) = bytes.get_mut(at..at + 2) else {
        return false;
    };
    field.copy_from_slice(&checksum.to_be_bytes());
    frame.set_tx_checksum(None);
    true
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use softnet_dma_ring::{FramePool, PoolConfig};

    /// 10.0.0.1:4096 to 10.0.0.2:7, UDP, four bytes of data.
    const DATAGRAM: [u8; 46] = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x26, 0xcb, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0x10, 0, 0, 7, 0, 12, 0, 0, b'p', b'i', b'n', b'g', // UDP
    ];
    /// 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + 12.
    const PSEUDO: [u8; 2] = [0x14, 0x20];
    const FIELD: usize = 40;

    fn datagram(checksum: [u8; 2]) -> Frame {
        let pool = FramePool::new(PoolConfig::default()).unwrap();
        let mut frame = pool.alloc().unwrap();
        frame.put(46).unwrap().copy_from_slice(&DATAGRAM);
        frame.data_mut()[FIELD..FIELD + 2].copy_from_slice(&checksum);
        frame
    }

    fn marked(rule: RxChecksum, mut frame: Frame) -> ChecksumStatus {
        rule.mark(&mut frame);
        frame.checksum()
    }

    #[test]
    fn a_half_made_checksum_is_recognised() {
        let status = marked(RxChecksum::AcceptPartial, datagram(PSEUDO));
        assert_eq!(status, ChecksumStatus::Partial);
    }

    #[test]
    fn other_checksums_stay_for_the_stack_to_verify() {
        for checksum in [[0, 0], [0x14, 0x21], [0xeb, 0xdf]] {
            let status = marked(RxChecksum::AcceptPartial, datagram(checksum));
            assert_eq!(status, ChecksumStatus::None, "{checksum:x?}");
        }
    }

    #[test]
    fn on_a_wire_a_half_made_checksum_is_a_wrong_one() {
        let status = marked(RxChecksum::Verify, datagram(PSEUDO));
        assert_eq!(status, ChecksumStatus::None);
        assert_eq!(RxChecksum::for_driver("ice"), RxChecksum::Verify);
        assert_eq!(RxChecksum::for_driver("veth"), RxChecksum::AcceptPartial);
    }

    #[test]
    fn a_fragment_has_no_checksum_of_its_own() {
        let mut frame = datagram(PSEUDO);
        frame.data_mut()[20] = 0x20;
        let status = marked(RxChecksum::AcceptPartial, frame);
        assert_eq!(status, ChecksumStatus::None);
    }

    #[test]
    fn a_cut_packet_is_left_alone() {
        for len in 0..DATAGRAM.len() - 4 {
            let mut frame = datagram(PSEUDO);
            frame.truncate(len);
            let status = marked(RxChecksum::AcceptPartial, frame);
            assert_eq!(status, ChecksumStatus::None, "{len} bytes");
        }
    }

    #[test]
    fn a_checksum_that_was_left_to_the_device_is_completed() {
        let mut frame = datagram(PSEUDO);
        let request = TxChecksum {
            start: 34,
            offset: 6,
        };
        frame.set_tx_checksum(Some(request));
        assert!(complete(&mut frame, request));
        assert_eq!(frame.tx_checksum(), None);
        // With the pseudo-header in place of the field's old content, the sum over
        // the segment is all ones.
        let pseudo = u64::from(u16::from_be_bytes(PSEUDO));
        assert_eq!(fold(sum(&frame.data()[34..]) + pseudo), 0xffff);
    }

    #[test]
    fn a_checksum_outside_of_the_packet_is_refused() {
        for (start, offset) in [(47, 0), (45, 0), (34, 11), (u16::MAX, u16::MAX)] {
            let mut frame = datagram(PSEUDO);
            assert!(!complete(&mut frame, TxChecksum { start, offset }));
        }
    }

    #[test]
    fn sums_of_all_lengths_agree_with_the_plain_definition() {
        let bytes: Vec<u8> = (0..67u8).map(|at| at.wrapping_mul(37)).collect();
        for len in 0..bytes.len() {
            let plain: u64 = bytes[..len]
                .iter()
                .enumerate()
                .map(|(at, &byte)| u64::from(byte) << if at % 2 == 0 { 8 } else { 0 })
                .sum();
            assert_eq!(fold(sum(&bytes[..len])), fold(plain), "{len} bytes");
        }
    }
}
