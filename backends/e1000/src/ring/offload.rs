//! What a packet asks of the chip, in descriptors (3.3.3, 3.3.6, 3.3.7).

use softnet_dma_ring::{Frame, TxChecksum};

/// Longest header that a context can describe: HDRLEN has eight bits.
const MAX_HEADER: usize = 255;
/// Longest payload of a segmented packet: PAYLEN has twenty bits; an IP packet
/// bounds it before.
const MAX_SEGMENTED: usize = 0xffff;

/// Bytes of one data descriptor, at most.
const MAX_PIECE: usize = 4096;
/// Bytes of the last descriptor of a segmented packet that would be the only
/// one. With a single one the chip may report it before it was read.
const SENTINEL: usize = 4;

/// Commands and the type, where the second word has them.
pub(crate) const EOP: u64 = 1 << 24;
pub(crate) const IFCS: u64 = 1 << 25;
const TSE: u64 = 1 << 26;
const DEXT: u64 = 1 << 29;
const VLE: u64 = 1 << 30;
const DATA: u64 = 1 << 20;
/// Options of the first data descriptor: insert the checksum of IP, of TCP or UDP.
const IXSM: u64 = 1 << 40;
const TXSM: u64 = 1 << 41;
/// Bits of a context: TCP and not UDP; IPv4 and not IPv6.
const CONTEXT_TCP: u64 = 1 << 24;
const CONTEXT_IPV4: u64 = 1 << 25;

/// The command, type and options of a packet in one descriptor that has its checksum
/// inserted.
pub(crate) const CHECKSUMMED: u64 = EOP | IFCS | DEXT | DATA | TXSM;

/// Where the checksum is in the header that it belongs to.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const UDP_HEADER: usize = 8;

const IPV4: u16 = 0x0800;
const ETHERNET: usize = 14;
const VLAN: u16 = 0x8100;
const TAG: usize = 4;

/// How a packet is put into descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The context that comes first, if the chip does not have it already.
    pub(crate) context: Option<Context>,
    /// What each descriptor's second word has beside its length, its options and
    /// EOP.
    pub(crate) command: u64,
    /// What the first one has beside.
    pub(crate) options: u64,
    /// Bytes of one descriptor, at most.
    pub(crate) piece: usize,
    /// Whether the packet is cut into segments.
    pub(crate) segmented: bool,
}

/// Both words of a context descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context(pub(crate) [u64; 2]);

/// What the chip was set up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the longest packet on the wire, without FCS and tag.
    pub(crate) longest: usize,
    /// Tags can be inserted.
    pub(crate) vlan: bool,
}

impl Plan {
    /// The plan of a packet of `len` bytes, whose first frame is `first`; `None`
    /// when the chip cannot send it as asked.
    ///
    /// A packet that is to be segmented is prepared: the fields that the chip
    /// fills in for each segment are cleared, and the checksum becomes the sum of
    /// the pseudo header without a length (3.5.7).
    pub(crate) fn of(first: &mut Frame, len: usize, limits: Limits) -> Option<Self> {
        let tag = tag(first, limits)?;
        let request = first.tx_checksum();
        let plan = match (request, first.gso_size()) {
            (None, None) => Self::plain(),
            (Some(request), None) => Self::checksummed(request, len)?,
            (Some(request), Some(mss)) => Self::segmented(first, len, request, mss, limits)?,
            (None, Some(_)) => return None,
        };
        let fits = plan.segmented || len <= limits.longest;
        let command = plan.command | tag;
        fits.then_some(Self { command, ..plan })
    }

    fn plain() -> Self {
        Self {
            context: None,
            command: IFCS,
            options: 0,
            piece: MAX_PIECE,
            segmented: false,
        }
    }

    fn checksummed(request: TxChecksum, len: usize) -> Option<Self> {
        let (start, offset) = (usize::from(request.start), usize::from(request.offset));
        let at = start + offset;
        is_covered(request, len).then_some(Self {
            context: Some(Context([
                transport_field(start, at),
                DEXT | if offset == UDP_CHECKSUM {
                    0
                } else {
                    CONTEXT_TCP
                },
            ])),
            command: IFCS | DEXT | DATA,
            options: TXSM,
            piece: MAX_PIECE,
            segmented: false,
        })
    }

    fn segmented(
        first: &mut Frame,
        len: usize,
        request: TxChecksum,
        mss: u16,
        limits: Limits,
    ) -> Option<Self> {
        let headers = Headers::find(first.data(), request)?;
        let payload = len.checked_sub(headers.end).filter(|&bytes| bytes > 0)?;
        let mss = usize::from(mss);
        let possible = headers.end + mss <= limits.longest && len <= MAX_SEGMENTED;
        if !possible || !headers.prepare(first.data_mut()) {
            return None;
        }
        Some(Self {
            context: Some(headers.context(mss, payload)),
            command: IFCS | TSE | DEXT | DATA,
            options: IXSM | TXSM,
            // The chip checks its FIFO for four segments at a time.
            piece: MAX_PIECE.min(4 * mss),
            segmented: true,
        })
    }
}

/// Whether the field is in the first `len` bytes, and a context can name it.
#[inline]
pub(crate) fn is_covered(request: TxChecksum, len: usize) -> bool {
    let at = usize::from(request.start) + usize::from(request.offset);
    at + 2 <= len && at <= 0xff
}

/// The bits that have a tag inserted; `None` when that cannot be.
fn tag(frame: &Frame, limits: Limits) -> Option<u64> {
    match frame.vlan_tci() {
        None => Some(0),
        Some(tci) => limits.vlan.then_some(VLE | u64::from(tci) << 48),
    }
}

/// TUCSS, TUCSO, and TUCSE 0: to the packet's end.
fn transport_field(start: usize, at: usize) -> u64 {
    (start as u64) << 32 | (at as u64) << 40
}

/// Descriptors that a frame takes at most, with the context before it.
pub(crate) fn descriptors(frame: &Frame) -> usize {
    let piece = match frame.gso_size() {
        Some(mss) => MAX_PIECE.min(4 * usize::from(mss)),
        None => MAX_PIECE,
    };
    2 + frame.len().div_ceil(piece)
}

/// Where a frame's descriptors begin in it, and their lengths, each `piece` bytes at
/// most. There is one at least. With `sentinel`, a single one becomes two.
pub(crate) fn pieces(
    len: usize,
    piece: usize,
    sentinel: bool,
) -> impl Iterator<Item = (usize, usize)> {
    let piece = piece.max(1);
    let split = sentinel && len <= piece && len > 2 * SENTINEL;
    let first = if split { len - SENTINEL } else { piece };
    let mut next = Some(0);
    core::iter::from_fn(move || {
        let from = next?;
        let step = if from == 0 { first } else { piece };
        let bytes = step.min(len - from);
        next = Some(from + bytes).filter(|&end| end < len);
        Some((from, bytes))
    })
}

/// The headers of a packet that is to be segmented: IPv4, which is all that this
/// chip can bring up to date, and TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Headers {
    network: usize,
    transport: usize,
    /// Where the payload begins.
    end: usize,
    tcp: bool,
}

impl Headers {
    fn find(packet: &[u8], request: TxChecksum) -> Option<Self> {
        let transport = usize::from(request.start);
        let network = ETHERNET + if word(packet, 12)? == VLAN { TAG } else { 0 };
        let is_ipv4 = word(packet, network - 2)? == IPV4;
        let header_len = usize::from(packet.get(network)? & 15) * 4;
        if !is_ipv4 || header_len < 20 || network + header_len != transport {
            return None;
        }
        let (tcp, len) = match usize::from(request.offset) {
            TCP_CHECKSUM => (true, usize::from(packet.get(transport + 12)? >> 4) * 4),
            UDP_CHECKSUM => (false, UDP_HEADER),
            _ => return None,
        };
        let end = transport + len;
        let sane = (len >= 20 || !tcp) && end <= MAX_HEADER && end <= packet.len();
        sane.then_some(Self {
            network,
            transport,
            end,
            tcp,
        })
    }

    fn checksum_at(self) -> usize {
        self.transport + if self.tcp { TCP_CHECKSUM } else { UDP_CHECKSUM }
    }

    /// Clears the IP header's length and checksum, and seeds the other one.
    fn prepare(self, packet: &mut [u8]) -> bool {
        let Some(header) = packet.get_mut(..self.end) else {
            return false;
        };
        let at = self.network;
        let addresses = (at + 12..at + 20).step_by(2);
        let sum: u32 = addresses
            .filter_map(|at| word(header, at))
            .map(u32::from)
            .chain(header.get(at + 9).map(|&protocol| protocol.into()))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        set_word(header, at + 2, 0)
            && set_word(header, at + 10, 0)
            && set_word(header, self.checksum_at(), sum as u16)
    }

    fn context(self, mss: usize, payload: usize) -> Context {
        let network = self.network as u64;
        let last = self.transport as u64 - 1;
        let tcp = if self.tcp { CONTEXT_TCP } else { 0 };
        Context([
            network
                | (network + 10) << 8
                | last << 16
                | transport_field(self.transport, self.checksum_at()),
            payload as u64
                | TSE
                | DEXT
                | CONTEXT_IPV4
                | tcp
                | (self.end as u64) << 40
                | (mss as u64) << 48,
        ])
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    let &[high, low] = packet.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes([high, low]))
}

fn set_word(packet: &mut [u8], at: usize, value: u16) -> bool {
    let Some(bytes) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else {
        return false;
    };
    *bytes = value.to_be_bytes();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn lengths(len: usize, piece: usize, sentinel: bool) -> Vec<(usize, usize)> {
        pieces(len, piece, sentinel).collect()
    }

    #[test]
    fn pieces_cover_a_frame_once_and_in_order() {
        assert_eq!(lengths(60, 4096, false), [(0, 60)]);
        assert_eq!(
            lengths(10_000, 4096, false),
            [(0, 4096), (4096, 4096), (8192, 1808)]
        );
        assert_eq!(lengths(4096, 4096, false), [(0, 4096)]);
        assert_eq!(lengths(0, 4096, false), [(0, 0)]);
    }

    #[test]
    fn a_sentinel_is_cut_off_only_where_there_would_be_one_descriptor() {
        assert_eq!(lengths(100, 4096, true), [(0, 96), (96, 4)]);
        assert_eq!(lengths(5000, 4096, true), [(0, 4096), (4096, 904)]);
        assert_eq!(lengths(8, 4096, true), [(0, 8)]);
    }

    fn tcp_over(network: &[u8]) -> Vec<u8> {
        let mut packet = [0; 12].to_vec();
        packet.extend(network);
        packet.extend([0; 12]);
        packet.extend([0x50, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        packet
    }

    #[test]
    fn headers_are_found_where_the_packet_says_and_the_request_agrees() {
        let mut network = [0; 22];
        network[..2].copy_from_slice(&[8, 0]);
        network[2] = 0x45;
        let packet = tcp_over(&network);
        let request = |start| TxChecksum { start, offset: 16 };
        let found = Headers::find(&packet, request(34));
        assert_eq!(
            found,
            Some(Headers {
                network: 14,
                transport: 34,
                end: 54,
                tcp: true
            })
        );
        assert_eq!(Headers::find(&packet, request(38)), None);
        assert_eq!(Headers::find(&packet[..50], request(34)), None);
        let mut ipv6 = packet.clone();
        ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
        assert_eq!(Headers::find(&ipv6, request(34)), None);
        for end in 0..packet.len() {
            let _ = Headers::find(&packet[..end], request(34));
        }
    }
}
