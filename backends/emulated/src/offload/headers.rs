//! What a receiver finds in a frame: its IP and TCP or UDP header, and whether
//! their checksums are right.

use super::checksum::Sum;
use super::vlan::{TAG_LEN, tag};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// The EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// LLC and SNAP before an EtherType (RFC 1042), which a length field announces.
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];
const LONGEST_LENGTH: u16 = 1500;

/// IP protocol numbers, and the headers that extend IPv6's (RFC 8200).
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const SCTP: u8 = 132;
}

/// The most extension headers that are looked through.
const EXTENSIONS: usize = 8;

/// The protocol that an EtherType names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
}

/// The protocol that an IP header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
    /// SCTP (RFC 9260); its checksum, a CRC, is not judged here.
    Sctp,
    /// Another, or none that could be found.
    Other,
}

/// Where the headers of a frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The IP version.
    pub network: Network,
    /// Offset of the IP header.
    pub network_at: usize,
    /// Whether the IP header has options (IPv4) or extension headers (IPv6).
    pub extended: bool,
    /// Whether the packet is a fragment: then the transport is not judged.
    pub fragment: bool,
    /// Whether an IPv6 routing header names further addresses: then the one of
    /// the pseudo header is not in the IP header, and the transport is not judged.
    pub routed: bool,
    /// What is carried. Of a fragment, what its first one carries.
    pub transport: Transport,
    /// Offset of the transport header, or of what follows the last header that
    /// was understood.
    pub transport_at: usize,
    /// The end of the IP packet; what follows is padding.
    pub end: usize,
}

/// What the checksums of a frame were found to be; `None` is "not judged".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Judged {
    /// Whether the IPv4 header's is right.
    pub network: Option<bool>,
    /// Whether TCP's or UDP's is right. Not judged for fragments, for datagrams
    /// of UDP over IPv4 without one, and where a length does not fit.
    pub transport: Option<bool>,
}

impl Judged {
    /// Judges the commonest kind of packet at once: TCP or UDP, whole, over IPv4
    /// without options, in Ethernet II without a tag. `None`: it is of another
    /// kind, and [`Headers`] tells more.
    #[must_use]
    #[inline]
    pub fn at_once(frame: &[u8]) -> Option<Self> {
        let header: &[u8; 34] = frame.first_chunk()?;
        let half = |at| u16::from_be_bytes([header[at], header[at + 1]]);
        let common = half(12) == IPV4 && header[14] == 0x45 && half(20) & 0x3fff == 0;
        let end = ETHERNET + usize::from(half(16));
        if !common || end < 34 + 20 && header[23] == protocol::TCP {
            return None;
        }
        let segment = frame.get(34..end)?;
        let covered = match header[23] {
            protocol::TCP => Some(segment),
            protocol::UDP => datagram(segment, Network::Ipv4),
            _ => return None,
        };
        let network = Some(Sum::of_20(header[14..].first_chunk()?).is_ones());
        let mut judged = Self {
            network,
            transport: None,
        };
        if let Some(covered) = covered {
            let addresses = Sum::of_8(header[26..].first_chunk()?);
            let sum = addresses.plus(pseudo(covered, header[23]));
            judged.transport = Some(sum.plus(Sum::of(covered)).is_ones());
        }
        Some(judged)
    }
}

impl Headers {
    /// Looks for IP in a frame of Ethernet II or SNAP, behind a tag of type `tpid`
    /// if there is one. `None`: not IP, or an IP header that makes no sense.
    #[must_use]
    #[inline]
    pub fn parse(frame: &[u8], tpid: u16) -> Option<Self> {
        let after_tag = if tag(frame, tpid).is_some() {
            TAG_LEN
        } else {
            0
        };
        let mut at = ETHERNET + after_tag;
        let mut kind = word(frame, at - 2)?;
        if kind <= LONGEST_LENGTH {
            let llc = frame.get(at..)?;
            if !llc.starts_with(&SNAP) {
                return None;
            }
            at += SNAP.len() + 2;
            kind = word(frame, at - 2)?;
        }
        match kind {
            IPV4 => Self::ipv4(frame, at),
            IPV6 => Self::ipv6(frame, at),
            _ => None,
        }
    }

    #[inline]
    fn ipv4(frame: &[u8], at: usize) -> Option<Self> {
        let header: &[u8; 20] = frame.get(at..)?.first_chunk()?;
        let header_len = usize::from(header[0] & 15) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let sane = header[0] >> 4 == 4 && header_len >= 20 && total >= header_len;
        if !sane || at + total > frame.len() {
            return None;
        }
        Some(Self {
            network: Network::Ipv4,
            network_at: at,
            extended: header_len > 20,
            // More fragments, or an offset.
            fragment: u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0,
            routed: false,
            transport: transport(header[9]),
            transport_at: at + header_len,
            end: at + total,
        })
    }

    #[inline]
    fn ipv6(frame: &[u8], at: usize) -> Option<Self> {
        let header: &[u8; 40] = frame.get(at..)?.first_chunk()?;
        let end = at + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || end > frame.len() {
            return None;
        }
        let mut found = Self {
            network: Network::Ipv6,
            network_at: at,
            extended: false,
            fragment: false,
            routed: false,
            transport: transport(header[6]),
            transport_at: at + 40,
            end,
        };
        found.skip_extensions(frame, header[6]);
        Some(found)
    }

    /// Looks through the extension headers of IPv6, of which `next` is the first.
    #[inline]
    fn skip_extensions(&mut self, frame: &[u8], mut next: u8) {
        for _ in 0..EXTENSIONS {
            let known = matches!(
                next,
                protocol::HOP_BY_HOP
                    | protocol::ROUTING
                    | protocol::DESTINATION_OPTIONS
                    | protocol::FRAGMENT
            );
            if !known {
                break;
            }
            let rest = frame.get(self.transport_at..self.end);
            let Some(&[following, units]) = rest.and_then(<[u8]>::first_chunk) else {
                break;
            };
            self.extended = true;
            self.routed |= next == protocol::ROUTING && units > 0;
            self.fragment |= next == protocol::FRAGMENT;
            // The second byte of a fragment header is reserved.
            let units = if next == protocol::FRAGMENT { 0 } else { units };
            self.transport_at += 8 + usize::from(units) * 8;
            next = following;
        }
        self.transport = transport(next);
    }

    /// Judges the checksums of the frame that these are the headers of.
    #[must_use]
    #[inline]
    pub fn judge(&self, frame: &[u8]) -> Judged {
        Judged {
            network: self.judge_network(frame),
            transport: self.judge_transport(frame),
        }
    }

    #[inline]
    fn judge_network(&self, frame: &[u8]) -> Option<bool> {
        if self.network == Network::Ipv6 {
            return None;
        }
        let header = frame.get(self.network_at..self.transport_at)?;
        Some(Sum::of(header).is_ones())
    }

    #[inline]
    fn judge_transport(&self, frame: &[u8]) -> Option<bool> {
        let (number, covered) = self.covered(frame)?;
        let sum = Sum::of(self.addresses(frame)?).plus(pseudo(covered, number));
        Some(sum.plus(Sum::of(covered)).is_ones())
    }

    /// The protocol's number, and the bytes that its checksum covers beside the
    /// pseudo header; `None` when it is not to be judged.
    #[inline]
    fn covered<'a>(&self, frame: &'a [u8]) -> Option<(u8, &'a [u8])> {
        if self.fragment || self.routed {
            return None;
        }
        let segment = frame.get(self.transport_at..self.end)?;
        match self.transport {
            Transport::Tcp => (segment.len() >= 20).then_some((protocol::TCP, segment)),
            Transport::Udp => Some((protocol::UDP, datagram(segment, self.network)?)),
            Transport::Sctp | Transport::Other => None,
        }
    }

    #[inline]
    fn addresses<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let (first, len) = match self.network {
            Network::Ipv4 => (12, 8),
            Network::Ipv6 => (8, 32),
        };
        let first = self.network_at + first;
        frame.get(first..first + len)
    }
}

/// The length and the protocol of the pseudo header.
#[inline]
fn pseudo(covered: &[u8], number: u8) -> Sum {
    Sum::of_word(covered.len() as u16).plus(Sum::of_word(number.into()))
}

/// The bytes of a UDP datagram, if it fits and has a checksum.
#[inline]
fn datagram(segment: &[u8], network: Network) -> Option<&[u8]> {
    let datagram = segment.get(..usize::from(word(segment, 4)?))?;
    let without = word(datagram, 6)? == 0 && network == Network::Ipv4;
    (!without).then_some(datagram)
}

#[inline]
fn transport(number: u8) -> Transport {
    match number {
        protocol::TCP => Transport::Tcp,
        protocol::UDP => Transport::Udp,
        protocol::SCTP => Transport::Sctp,
        _ => Transport::Other,
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let &[high, low] = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes([high, low]))
}
