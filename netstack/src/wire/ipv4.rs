//! The Internet Protocol, version 4: RFC 791, RFC 1122 section 3.2.1.

use super::{be16, four};
use crate::checksum::Sum;
use core::fmt;
use core::net::Ipv4Addr;
use core::ops::Range;

/// What a packet carries: the protocol numbers of the IANA, Linux's
/// `IPPROTO_*`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// IGMP (RFC 3376).
    pub const IGMP: Self = Self(2);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::ICMP => "ICMP",
            Self::IGMP => "IGMP",
            Self::TCP => "TCP",
            Self::UDP => "UDP",
            Self::ICMPV6 => "ICMPv6",
            Self(other) => return write!(f, "protocol {other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why bytes are no IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ipv4Error {
    /// Fewer bytes than the header has.
    #[error("{len} bytes are too few for an IPv4 header")]
    TooShort {
        /// Bytes that are there.
        len: usize,
    },
    /// Another version of IP.
    #[error("the version is {0} and not 4")]
    Version(u8),
    /// The header would be shorter than 20 bytes.
    #[error("a header length of {len} bytes is less than 20")]
    HeaderLength {
        /// The header length, in bytes.
        len: usize,
    },
    /// The header checksum does not match.
    #[error("the header checksum is wrong")]
    Checksum,
    /// The total length is more than there is: the packet was cut.
    #[error("the total length is {total}, and {have} bytes are there")]
    Truncated {
        /// The total length field.
        total: u16,
        /// Bytes that are there.
        have: usize,
    },
    /// The total length is less than the header length.
    #[error("the total length {total} is less than the header's {header}")]
    TotalLength {
        /// The total length field.
        total: u16,
        /// The header length, in bytes.
        header: usize,
    },
}

/// The flags and the fragment offset, as they stand in the header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct Fragment(pub u16);

impl Fragment {
    const DF: u16 = 0x4000;
    const MF: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;

    /// A whole packet that may not be fragmented.
    pub const DONT: Self = Self(Self::DF);
    /// A whole packet that may be fragmented.
    pub const MAY: Self = Self(0);

    /// Whether routers must not fragment the packet.
    #[must_use]
    #[inline]
    pub const fn dont_fragment(self) -> bool {
        self.0 & Self::DF != 0
    }

    /// Whether further fragments follow this one.
    #[must_use]
    #[inline]
    pub const fn more_fragments(self) -> bool {
        self.0 & Self::MF != 0
    }

    /// Where this fragment's payload starts in the whole, in bytes.
    #[must_use]
    #[inline]
    pub const fn offset(self) -> u16 {
        (self.0 & Self::OFFSET) * 8
    }

    /// Whether the packet is a part of another (`ip_is_fragment`).
    #[must_use]
    #[inline]
    pub const fn is_fragment(self) -> bool {
        self.0 & (Self::MF | Self::OFFSET) != 0
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragment")
            .field("dont_fragment", &self.dont_fragment())
            .field("more_fragments", &self.more_fragments())
            .field("offset", &self.offset())
            .finish()
    }
}

/// The fixed part of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header {
    /// DSCP (6 bits) and ECN (2 bits): RFC 2474, RFC 3168.
    pub tos: u8,
    /// Length of header, options and payload, in bytes.
    pub total_len: u16,
    /// Identification, by which fragments find each other.
    pub id: u16,
    /// The flags and the fragment offset.
    pub fragment: Fragment,
    /// Hops that are left.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: IpProtocol,
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Who is to receive it.
    pub destination: Ipv4Addr,
}

impl Ipv4Header {
    /// Length without options, in bytes.
    pub const LEN: usize = 20;
    /// Length with all the options that fit, in bytes.
    pub const MAX_LEN: usize = 60;

    /// Reads and checks the header of `packet`, and gives the range of the
    /// payload: options are before it, link-layer padding behind it. The
    /// checks are those of RFC 1122 section 3.2.1.1 to 3.2.1.3 that need no
    /// more than the bytes.
    ///
    /// # Errors
    /// [`Ipv4Error`], in the order of its variants.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Self, Range<usize>), Ipv4Error> {
        let Some(bytes) = packet.first_chunk::<{ Self::LEN }>() else {
            return Err(Ipv4Error::TooShort { len: packet.len() });
        };
        let header_len = match bytes[0] {
            0x45 => Self::check_plain(bytes)?,
            _ => Self::check_with_options(packet)?,
        };
        let header = Self::read(bytes);
        let end = usize::from(header.total_len);
        if end > packet.len() || end < header_len {
            return Err(Self::bad_total_len(header.total_len, header_len, packet));
        }
        Ok((header, header_len..end))
    }

    /// Writes the header, without options and with its checksum.
    #[inline]
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        out[..2].copy_from_slice(&[0x45, self.tos]);
        out[2..4].copy_from_slice(&self.total_len.to_be_bytes());
        out[4..6].copy_from_slice(&self.id.to_be_bytes());
        out[6..8].copy_from_slice(&self.fragment.0.to_be_bytes());
        out[8..12].copy_from_slice(&[self.ttl, self.protocol.0, 0, 0]);
        out[12..16].copy_from_slice(&self.source.octets());
        out[16..].copy_from_slice(&self.destination.octets());
        let checksum = Sum::of_20(out).finish();
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
    }

    #[inline]
    fn read(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            tos: bytes[1],
            total_len: be16(bytes, 2),
            id: be16(bytes, 4),
            fragment: Fragment(be16(bytes, 6)),
            ttl: bytes[8],
            protocol: IpProtocol(bytes[9]),
            source: four(bytes, 12).into(),
            destination: four(bytes, 16).into(),
        }
    }

    #[inline]
    fn check_plain(bytes: &[u8; Self::LEN]) -> Result<usize, Ipv4Error> {
        if Sum::of_20(bytes).is_valid() {
            return Ok(Self::LEN);
        }
        Err(Ipv4Error::Checksum)
    }

    /// The header with options, and every other first byte that is not 0x45.
    #[cold]
    fn check_with_options(packet: &[u8]) -> Result<usize, Ipv4Error> {
        let first = packet.first().copied().unwrap_or(0);
        if first >> 4 != 4 {
            return Err(Ipv4Error::Version(first >> 4));
        }
        let len = usize::from(first & 0xf) * 4;
        if len < Self::LEN {
            return Err(Ipv4Error::HeaderLength { len });
        }
        let Some(header) = packet.get(..len) else {
            return Err(Ipv4Error::TooShort { len: packet.len() });
        };
        if !Sum::of(header).is_valid() {
            return Err(Ipv4Error::Checksum);
        }
        Ok(len)
    }

    #[cold]
    fn bad_total_len(total: u16, header: usize, packet: &[u8]) -> Ipv4Error {
        if usize::from(total) < header {
            return Ipv4Error::TotalLength { total, header };
        }
        let have = packet.len();
        Ipv4Error::Truncated { total, have }
    }
}

/// One option of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// Copied flag, class and number, in one byte.
    pub kind: u8,
    /// Where it stands, in bytes from the start of the IPv4 header: the pointer
    /// of an ICMP parameter problem.
    pub at: u8,
    /// What follows the kind and the length.
    pub data: &'a [u8],
}

impl Ipv4Option<'_> {
    /// Record route (RFC 791).
    pub const RECORD_ROUTE: u8 = 7;
    /// Internet timestamp (RFC 791).
    pub const TIMESTAMP: u8 = 68;
    /// Loose source routing (RFC 791).
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source routing (RFC 791).
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;

    /// Whether the sender chooses the path (RFC 7126 section 4.3: drop by
    /// default).
    #[must_use]
    pub const fn is_source_route(&self) -> bool {
        matches!(
            self.kind,
            Self::LOOSE_SOURCE_ROUTE | Self::STRICT_SOURCE_ROUTE
        )
    }
}

/// An option whose length is below 2 or reaches behind the header. What follows
/// it cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the option at byte {at} of the header has an impossible length")]
pub struct OptionError {
    /// Where it stands, in bytes from the start of the IPv4 header: the pointer
    /// of an ICMP parameter problem.
    pub at: u8,
}

/// The options of an IPv4 header, one after the other. No-operations are
/// skipped, and the end of the list ends them (RFC 791 section 3.1).
#[derive(Clone, Debug)]
pub struct Ipv4Options<'a> {
    bytes: &'a [u8],
    at: u8,
}

impl<'a> Ipv4Options<'a> {
    const END: u8 = 0;
    const NOP: u8 = 1;

    /// The options of `packet`, whose payload starts at `payload_start`, as
    /// [`Ipv4Header::parse`] gave it.
    #[must_use]
    pub fn new(packet: &'a [u8], payload_start: usize) -> Self {
        Self {
            bytes: packet.get(Ipv4Header::LEN..payload_start).unwrap_or(&[]),
            at: Ipv4Header::LEN as u8,
        }
    }

    fn split(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, back) = self.bytes.split_at_checked(len)?;
        self.bytes = back;
        self.at = self.at.saturating_add(len as u8);
        Some(front)
    }
}

impl<'a> Iterator for Ipv4Options<'a> {
    type Item = Result<Ipv4Option<'a>, OptionError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.bytes.first() == Some(&Self::NOP) {
            self.split(1)?;
        }
        let (at, kind) = (self.at, *self.bytes.first()?);
        if kind == Self::END {
            self.bytes = &[];
            return None;
        }
        let len = self.bytes.get(1).map_or(0, |&len| usize::from(len));
        match self.split(len) {
            Some([kind, _, data @ ..]) => Some(Ok(Ipv4Option {
                kind: *kind,
                at,
                data,
            })),
            _ => {
                self.bytes = &[];
                Some(Err(OptionError { at }))
            }
        }
    }
}
