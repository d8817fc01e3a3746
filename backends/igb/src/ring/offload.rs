//! What a packet leaves to the device, as descriptors say it (7.2.2).

use softnet_dma_ring::{Frame, TxChecksum};
use softnet_nic_hal::ethtool::Features;

/// Ethernet header: nothing shorter is a packet.
pub(super) const HEADER: usize = 14;
/// One VLAN tag in the packet itself.
const TAG: usize = 4;

/// Data descriptor: stamp the packet.
const MAC_1588: u64 = 1 << 19;
/// Both kinds: an advanced descriptor.
pub(super) const DEXT: u64 = 1 << 29;
/// Data descriptor: insert the VLAN tag of the context.
const VLE: u64 = 1 << 30;
/// Data descriptor: cut into segments.
const TSE: u64 = 1 << 31;
/// Data descriptor: which context counts.
const IDX_SHIFT: u32 = 36;
/// Data descriptor: insert the IP checksum.
const IXSM: u64 = 1 << 40;
/// Data descriptor: insert the transport checksum.
const TXSM: u64 = 1 << 41;

/// Context descriptor: its type.
const DTYP_CONTEXT: u64 = 0b0010 << 20;
/// Context descriptor: where MACLEN, and the VLAN tag, go.
const MACLEN_SHIFT: u32 = 9;
const VLAN_SHIFT: u32 = 16;
/// Context descriptor: the packet is IPv4.
const IPV4: u64 = 1 << 10;
/// Context descriptor: the transport is TCP, and not UDP.
const L4T_TCP: u64 = 1 << 11;
/// Context descriptor: where the transport header's length, and the segment
/// size, go.
const L4LEN_SHIFT: u32 = 40;
const MSS_SHIFT: u32 = 48;

/// Longest headers that segments can have (7.2.4.2), in bytes.
const MAX_HEADERS: usize = 240;
/// Shortest segment, in bytes of payload.
const MIN_MSS: u16 = 16;

/// A packet asks for what the device cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

/// What is asked for, in the words of descriptors.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Request {
    /// The context that the packet needs, if it needs one.
    pub(super) context: Option<[u64; 2]>,
    /// What the data descriptors say in their second word.
    pub(super) command: u64,
    /// Where the checksum ends that the device puts in; 0 when there is none.
    pub(super) sum_end: usize,
    /// Bytes that each segment repeats; 0 when there are none.
    pub(super) headers: usize,
    /// Bytes of payload of each segment; 0 when the packet is sent whole.
    pub(super) segment: usize,
}

/// Where a packet's headers are.
#[derive(Debug, Clone, Copy)]
struct Headers {
    /// Bytes before the IP header.
    mac_len: usize,
    ip_len: usize,
    is_ipv4: bool,
    is_tcp: bool,
}

impl Request {
    /// Reads what a packet's first frame asks for, and makes the frame's headers
    /// what segmentation starts from.
    pub(super) fn read(frame: &mut Frame, features: Features) -> Result<Self, Refused> {
        let mut request = Self::default();
        if frame.wants_tx_timestamp() {
            request.command |= MAC_1588;
        }
        let mut words = [HEADER_ONLY, DTYP_CONTEXT | DEXT];
        let mut needed = false;
        if let Some(tci) = frame.vlan_tci() {
            require(features, Features::TX_VLAN)?;
            words[0] |= u64::from(tci) << VLAN_SHIFT;
            request.command |= VLE;
            needed = true;
        }
        if let Some(checksum) = frame.tx_checksum() {
            require(features, Features::TX_CHECKSUM)?;
            let headers = Headers::read(frame.data(), checksum)?;
            words[0] = words[0] & !0xffff | headers.first_word();
            words[1] |= headers.second_word();
            request.command |= TXSM;
            request.sum_end = usize::from(checksum.start) + usize::from(checksum.offset) + 2;
            needed = true;
            if let Some(size) = frame.gso_size() {
                require(features, Features::TSO)?;
                request.segment(frame, headers, checksum, size, &mut words)?;
            }
        } else if frame.gso_size().is_some() {
            return Err(Refused);
        }
        request.context = needed.then_some(words);
        Ok(request)
    }

    /// Asks for segmentation (7.2.4).
    fn segment(
        &mut self,
        frame: &mut Frame,
        headers: Headers,
        checksum: TxChecksum,
        size: u16,
        words: &mut [u64; 2],
    ) -> Result<(), Refused> {
        let start = headers.mac_len + headers.ip_len;
        let l4_len = headers.transport_len(frame.data(), start)?;
        self.headers = start + l4_len;
        self.segment = usize::from(size);
        let fits = self.headers <= MAX_HEADERS && self.headers <= frame.len();
        if !fits || size < MIN_MSS {
            return Err(Refused);
        }
        headers.prepare(frame.data_mut(), start + usize::from(checksum.offset));
        words[1] |= (l4_len as u64) << L4LEN_SHIFT | u64::from(size) << MSS_SHIFT;
        self.command |= TSE;
        if headers.is_ipv4 {
            self.command |= IXSM;
        }
        Ok(())
    }

    /// How many packets become of one of `len` bytes.
    pub(super) fn packets(&self, len: usize) -> usize {
        if self.segment == 0 {
            return 1;
        }
        let payload = len.saturating_sub(self.headers);
        payload.div_ceil(self.segment).max(1)
    }

    /// Bytes that go out for a packet of `len` bytes.
    pub(super) fn bytes(&self, len: usize) -> usize {
        len + (self.packets(len) - 1) * self.headers
    }

    /// Whether the device computes the packet's checksum.
    pub(super) fn is_summed(&self) -> bool {
        self.command & TXSM != 0
    }

    /// Whether the packet is to be stamped.
    pub(super) fn is_stamped(&self) -> bool {
        self.command & MAC_1588 != 0
    }

    /// Takes the wish for a stamp back.
    pub(super) fn drop_stamp(&mut self) {
        self.command &= !MAC_1588;
    }
}

/// MACLEN of a packet that needs its context for the VLAN tag alone.
const HEADER_ONLY: u64 = (HEADER as u64) << MACLEN_SHIFT;

fn require(features: Features, feature: Features) -> Result<(), Refused> {
    if features.contains(feature) {
        Ok(())
    } else {
        Err(Refused)
    }
}

fn word_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.last()?]))
}

fn set_word(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Whether the EtherType is that of a VLAN tag.
pub(super) fn has_tag(packet: &[u8]) -> bool {
    matches!(word_at(packet, HEADER - 2), Some(0x8100 | 0x88a8))
}

impl Headers {
    /// Finds them in a packet whose transport header begins at the checksum's
    /// start, be it in this frame or a later one. TCP and UDP over IPv4 and IPv6
    /// only.
    fn read(packet: &[u8], checksum: TxChecksum) -> Result<Self, Refused> {
        let mac_len = if has_tag(packet) {
            HEADER + TAG
        } else {
            HEADER
        };
        let ether_type = word_at(packet, mac_len - 2).ok_or(Refused)?;
        let start = usize::from(checksum.start);
        let ip_len = start.checked_sub(mac_len).ok_or(Refused)?;
        let is_tcp = match checksum.offset {
            16 => true,
            6 => false,
            _ => return Err(Refused),
        };
        let is_ipv4 = match ether_type {
            0x0800 => true,
            0x86dd => false,
            _ => return Err(Refused),
        };
        let shortest = if is_ipv4 { 20 } else { 40 };
        let fits = (shortest..512).contains(&ip_len);
        let headers = Self {
            mac_len,
            ip_len,
            is_ipv4,
            is_tcp,
        };
        fits.then_some(headers).ok_or(Refused)
    }

    fn first_word(self) -> u64 {
        (self.mac_len as u64) << MACLEN_SHIFT | self.ip_len as u64
    }

    fn second_word(self) -> u64 {
        let version = if self.is_ipv4 { IPV4 } else { 0 };
        let transport = if self.is_tcp { L4T_TCP } else { 0 };
        version | transport
    }

    /// Length of the transport header.
    fn transport_len(self, packet: &[u8], start: usize) -> Result<usize, Refused> {
        if !self.is_tcp {
            return Ok(8);
        }
        let offset = *packet.get(start + 12).ok_or(Refused)?;
        let len = usize::from(offset >> 4) * 4;
        (len >= 20).then_some(len).ok_or(Refused)
    }

    /// What the device counts on before it cuts (7.2.4.5): no IP length, no IP
    /// checksum, and in the transport's checksum the sum of the pseudo-header
    /// without a length.
    fn prepare(self, packet: &mut [u8], checksum_at: usize) {
        let ip = self.mac_len;
        let (addresses, protocol) = if self.is_ipv4 {
            set_word(packet, ip + 2, 0);
            set_word(packet, ip + 10, 0);
            (ip + 12..ip + 20, packet.get(ip + 9))
        } else {
            set_word(packet, ip + 4, 0);
            // The last extension header's, but a transport that is no TCP is
            // UDP here.
            (ip + 8..ip + 40, Some(if self.is_tcp { &6 } else { &17 }))
        };
        let protocol = u32::from(*protocol.unwrap_or(&0));
        let bytes = packet.get(addresses).unwrap_or_default();
        let sum = bytes.chunks_exact(2).fold(protocol, |sum, pair| {
            sum + pair
                .iter()
                .fold(0, |word, &byte| word << 8 | u32::from(byte))
        });
        set_word(packet, checksum_at, fold(sum));
    }
}

/// Ones' complement, of up to 2^16 words.
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The two contexts that the device keeps for a queue (7.2.2.2): a packet that
/// needs one which is there sends no descriptor for it.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    kept: [Option<[u64; 2]>; 2],
    /// Which of them is replaced next.
    next: usize,
}

/// What a packet's context costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// None.
    Nothing,
    /// It is there, at this place.
    Kept(usize),
    /// It is to be sent.
    Sent([u64; 2]),
}

impl Contexts {
    /// What this request needs.
    pub(super) fn need(&self, request: &Request) -> Need {
        let Some(words) = request.context else {
            return Need::Nothing;
        };
        let kept = self.kept.iter().position(|kept| *kept == Some(words));
        kept.map_or(Need::Sent(words), Need::Kept)
    }

    /// Keeps a context in the place of the older one; gives the descriptor, and
    /// the place.
    pub(super) fn keep(&mut self, words: [u64; 2]) -> ([u64; 2], usize) {
        let place = self.next;
        self.next = 1 - place;
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = Some(words);
        }
        ([words[0], words[1] | (place as u64) << IDX_SHIFT], place)
    }

    /// What a data descriptor says to use the context at `place`.
    pub(super) fn command(place: usize) -> u64 {
        (place as u64) << IDX_SHIFT
    }

    /// Forgets all: a context that was written was never sent.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
