//! What the receiver knows of a frame before it is stored, and how the descriptor
//! says so (section 7.1.5).

use super::regs::{Registers, Rxcsum, offset};
use super::rss::{Rss, Spread};
use super::sctp;
use crate::filter::Accept;
use crate::offload::{Headers, Network, TAG_LEN, Transport, without_tag};
use softnet_dma_ring::{DmaAddr, DmaFault, DmaWindow};

/// Status and error bits of an advanced descriptor. The lower eight and the upper
/// eight are also those of a legacy one.
pub(super) mod status {
    pub(in crate::igb) const DD: u32 = 1;
    pub(in crate::igb) const EOP: u32 = 1 << 1;
    pub(in crate::igb) const VP: u32 = 1 << 3;
    pub(in crate::igb) const UDPCS: u32 = 1 << 4;
    pub(in crate::igb) const L4CS: u32 = 1 << 5;
    pub(in crate::igb) const IPCS: u32 = 1 << 6;
    pub(in crate::igb) const PIF: u32 = 1 << 7;
    pub(in crate::igb) const TS: u32 = 1 << 16;
    pub(in crate::igb) const HBO: u32 = 1 << 23;
    pub(in crate::igb) const L4E: u32 = 1 << 29;
    pub(in crate::igb) const IPE: u32 = 1 << 30;
    pub(in crate::igb) const RXE: u32 = 1 << 31;
}

/// Packet types (table 7-16), where they are in a descriptor's first word.
mod kind {
    pub(super) const IPV4: u32 = 1 << 4;
    pub(super) const IPV4_EXTENDED: u32 = 1 << 5;
    pub(super) const IPV6: u32 = 1 << 6;
    pub(super) const IPV6_EXTENDED: u32 = 1 << 7;
    pub(super) const TCP: u32 = 1 << 8;
    pub(super) const UDP: u32 = 1 << 9;
    pub(super) const SCTP: u32 = 1 << 10;
    /// An EtherType filter's number is in the lower three bits of the type.
    pub(super) const L2: u32 = 1 << 15;
    pub(super) const VLAN: u32 = 1 << 16;
    /// All but the tag's.
    pub(super) const ALL: u32 = 0xfff0;
}

/// Bits of an EtherType filter (section 8.10.20).
mod etqf {
    pub(super) const ENABLE: u32 = 1 << 26;
    pub(super) const STAMP: u32 = 1 << 30;
    pub(super) const QUEUE_ENABLE: u32 = 1 << 31;
}

/// EtherType filters.
const FILTERS: u32 = 8;

/// The registers that frames are judged by, read once a burst.
#[derive(Clone, Copy)]
pub(super) struct Judge {
    pub(super) rxcsum: Rxcsum,
    /// The EtherType of tags.
    pub(super) tpid: u16,
    /// CTRL.VME.
    pub(super) strip_tags: bool,
    /// Bytes of the FCS that go to memory.
    pub(super) fcs_len: usize,
    /// Whether any EtherType filter is on.
    filters: bool,
}

/// An EtherType filter that matched.
#[derive(Clone, Copy)]
struct Filter {
    number: u32,
    queue: Option<u8>,
    /// The packets of this type are to be stamped.
    stamp: bool,
}

/// What is known of one frame. It is small, as each frame has one: who needs more
/// looks into the frame again.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    /// An advanced descriptor's first word: types, and the hash or the
    /// identification.
    pub(super) first: u64,
    /// Status and errors, without DD and EOP.
    pub(super) flags: u32,
    pub(super) tci: Option<u16>,
    pub(super) queue: u8,
    /// An EtherType filter wants the frame stamped.
    pub(super) stamp: bool,
}

impl Judge {
    pub(super) fn load(registers: &Registers, strip_tags: bool, fcs_len: usize) -> Self {
        let filters = (0..FILTERS).map(|number| registers.load(offset::ETQF + number * 4));
        let filters = filters.fold(0, |sum, filter| sum | filter);
        Self {
            rxcsum: Rxcsum::from_bits_retain(registers.load(offset::RXCSUM)),
            tpid: registers.load(offset::VET) as u16,
            strip_tags,
            fcs_len,
            filters: filters & etqf::ENABLE != 0,
        }
    }

    /// Everything but whether the frame is accepted, and its tag, which are known
    /// already.
    #[inline]
    pub(super) fn judge(
        &self,
        frame: &[u8],
        (how, tci): (Accept, Option<u16>),
        rss: &Rss,
        registers: &Registers,
    ) -> Verdict {
        let headers = Headers::parse(frame, self.tpid);
        let spread = rss.spread(frame, headers.as_ref());
        let tagged = if tci.is_some() { kind::VLAN } else { 0 };
        let kind = u32::from(spread.kind) | headers.as_ref().map_or(0, header_kind) | tagged;
        let upper = self.hash_or_id(frame, &spread, headers.as_ref());
        let verdict = Verdict {
            first: u64::from(upper) << 32 | u64::from(kind),
            flags: self.flags(frame, how, tci, headers.as_ref()),
            tci,
            queue: spread.queue,
            stamp: false,
        };
        if self.filters {
            verdict.filtered(frame, registers)
        } else {
            verdict
        }
    }

    #[inline]
    fn flags(&self, frame: &[u8], how: Accept, tci: Option<u16>, headers: Option<&Headers>) -> u32 {
        let inexact = match how {
            Accept::Exact => 0,
            Accept::Inexact => status::PIF,
        };
        let stripped = if self.strip_tags && tci.is_some() {
            status::VP
        } else {
            0
        };
        inexact | stripped | headers.map_or(0, |headers| self.checksums(frame, headers))
    }

    /// The upper half of the first word: the hash, or the identification of an
    /// IPv4 packet.
    #[inline]
    fn hash_or_id(&self, frame: &[u8], spread: &Spread, headers: Option<&Headers>) -> u32 {
        if self.rxcsum.contains(Rxcsum::PCSD) {
            return spread.hash;
        }
        let ipv4 = headers.filter(|found| found.network == Network::Ipv4);
        let id = ipv4.and_then(|found| frame.get(found.network_at + 4..)?.first_chunk().copied());
        u32::from(u16::from_be_bytes(id.unwrap_or_default()))
    }

    #[inline]
    fn checksums(&self, frame: &[u8], headers: &Headers) -> u32 {
        let offloads = self.rxcsum & (Rxcsum::IPOFL | Rxcsum::TUOFL | Rxcsum::CRCOFL);
        if offloads.contains(Rxcsum::CRCOFL) && headers.transport == Transport::Sctp {
            return sctp_checksum(frame, headers) | Self::others(frame, headers, offloads);
        }
        Self::others(frame, headers, offloads)
    }

    /// Those of IPv4, TCP and UDP.
    #[inline]
    fn others(frame: &[u8], headers: &Headers, offloads: Rxcsum) -> u32 {
        if !offloads.intersects(Rxcsum::IPOFL | Rxcsum::TUOFL) {
            return 0;
        }
        let judged = headers.judge(frame);
        let network = match judged.network {
            Some(right) if offloads.contains(Rxcsum::IPOFL) => {
                status::IPCS | if right { 0 } else { status::IPE }
            }
            _ => 0,
        };
        let transport = match judged.transport {
            Some(right) if offloads.contains(Rxcsum::TUOFL) => {
                status::L4CS | if right { 0 } else { status::L4E }
            }
            _ => 0,
        };
        let udp = transport != 0 && headers.transport == Transport::Udp;
        network | transport | if udp { status::UDPCS } else { 0 }
    }

    /// Bytes of the frame that go to memory.
    #[inline]
    pub(super) fn stored_len(&self, frame: &[u8], verdict: &Verdict) -> usize {
        let tag = if verdict.tag_is_stripped() {
            TAG_LEN
        } else {
            0
        };
        frame.len() + self.fcs_len - tag
    }

    /// What of the frame goes to memory.
    #[inline]
    pub(super) fn pieces<'a>(&self, frame: &'a [u8], verdict: &Verdict) -> Pieces<'a> {
        let stripped = verdict.tag_is_stripped();
        let (head, tail): (&[u8], &[u8]) = match without_tag(frame) {
            Some((addresses, rest)) if stripped => (addresses, rest),
            _ => (frame, &[]),
        };
        let fcs = if self.fcs_len == 0 {
            [0; 4]
        } else {
            crc32fast::hash(frame).to_le_bytes()
        };
        Pieces {
            head,
            tail,
            fcs,
            len: head.len() + tail.len() + self.fcs_len,
        }
    }
}

#[cold]
fn sctp_checksum(frame: &[u8], headers: &Headers) -> u32 {
    let packet = frame.get(headers.transport_at..headers.end);
    match packet.filter(|_| !headers.fragment).and_then(sctp::judge) {
        Some(true) => status::L4CS,
        Some(false) => status::L4CS | status::L4E,
        None => 0,
    }
}

/// The first EtherType filter that matches.
fn filter(frame: &[u8], registers: &Registers) -> Option<Filter> {
    let &[high, low] = frame.get(12..)?.first_chunk()?;
    let wanted = u32::from(u16::from_be_bytes([high, low]));
    (0..FILTERS).find_map(|number| {
        let bits = registers.load(offset::ETQF + number * 4);
        let matches = bits & etqf::ENABLE != 0 && bits & 0xffff == wanted;
        matches.then(|| Filter {
            number,
            queue: (bits & etqf::QUEUE_ENABLE != 0).then_some((bits >> 16 & 7) as u8),
            stamp: bits & etqf::STAMP != 0,
        })
    })
}

impl Verdict {
    /// With what an EtherType filter says, if one matches.
    #[cold]
    fn filtered(mut self, frame: &[u8], registers: &Registers) -> Self {
        if let Some(filter) = filter(frame, registers) {
            let types = u64::from(kind::ALL);
            let kind = kind::L2 | filter.number << 4;
            self.first = self.first & !types | u64::from(kind);
            self.queue = filter.queue.unwrap_or(self.queue);
            self.stamp = filter.stamp;
        }
        self
    }

    #[inline]
    pub(super) fn tag_is_stripped(&self) -> bool {
        self.flags & status::VP != 0
    }

    /// The tag, in the second word.
    #[inline]
    pub(super) fn tag_word(&self) -> u64 {
        match self.tci {
            Some(tci) if self.tag_is_stripped() => u64::from(tci) << 48,
            _ => 0,
        }
    }
}

#[inline]
fn header_kind(headers: &Headers) -> u32 {
    let network = match (headers.network, headers.extended) {
        (Network::Ipv4, false) => kind::IPV4,
        (Network::Ipv4, true) => kind::IPV4_EXTENDED,
        (Network::Ipv6, false) => kind::IPV6,
        (Network::Ipv6, true) => kind::IPV6_EXTENDED,
    };
    let transport = match headers.transport {
        _ if headers.fragment => 0,
        Transport::Tcp => kind::TCP,
        Transport::Udp => kind::UDP,
        Transport::Sctp => kind::SCTP,
        Transport::Other => 0,
    };
    network | transport
}

/// A frame on its way to memory: without its tag if that is stripped, and with its
/// FCS if that is kept.
pub(super) struct Pieces<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    fcs: [u8; 4],
    pub(super) len: usize,
}

impl Pieces<'_> {
    /// Writes `len` bytes from `from` on to `at`.
    #[inline]
    pub(super) fn write(
        &self,
        to: &mut DmaWindow<'_>,
        at: DmaAddr,
        from: usize,
        len: usize,
    ) -> Result<(), DmaFault> {
        if from == 0 && len == self.head.len() {
            return to.write(at, self.head);
        }
        self.write_parts(to, at, from, len)
    }

    #[inline(never)]
    fn write_parts(
        &self,
        to: &mut DmaWindow<'_>,
        at: DmaAddr,
        from: usize,
        len: usize,
    ) -> Result<(), DmaFault> {
        let mut skip = from;
        let mut done = 0;
        for piece in [self.head, self.tail, &self.fcs] {
            let part = piece.get(skip..).unwrap_or_default();
            let part = &part[..part.len().min(len - done)];
            skip = skip.saturating_sub(piece.len());
            if !part.is_empty() {
                to.write(at.offset(done as u64), part)?;
                done += part.len();
            }
        }
        Ok(())
    }
}
