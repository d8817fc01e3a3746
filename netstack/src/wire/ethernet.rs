//! Ethernet II frames (RFC 894) and their VLAN tags (IEEE 802.1Q clause 9).

use super::{be16, six};
use core::fmt;
use core::ops::Range;
use softnet_nic_hal::MacAddress;

/// What a frame carries: Linux's `ETH_P_*`, in host order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (`ETH_P_IP`).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (`ETH_P_ARP`).
    pub const ARP: Self = Self(0x0806);
    /// A VLAN tag (`ETH_P_8021Q`).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (`ETH_P_IPV6`).
    pub const IPV6: Self = Self(0x86dd);
    /// A provider's VLAN tag (`ETH_P_8021AD`).
    pub const QINQ: Self = Self(0x88a8);
    /// Link-layer discovery (`ETH_P_LLDP`).
    pub const LLDP: Self = Self(0x88cc);
    /// The least value that is a type; what is below is a length (IEEE 802.3
    /// clause 3.2.6, Linux's `ETH_P_802_3_MIN`).
    pub const MIN: Self = Self(0x0600);

    /// Whether it is the length of an 802.3 frame and no type.
    #[must_use]
    #[inline]
    pub const fn is_length(self) -> bool {
        self.0 < Self::MIN.0
    }

    /// Whether a VLAN tag follows.
    #[must_use]
    #[inline]
    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::QINQ)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::IPV4 => "IPv4",
            Self::ARP => "ARP",
            Self::VLAN => "802.1Q",
            Self::IPV6 => "IPv6",
            Self::QINQ => "802.1ad",
            Self::LLDP => "LLDP",
            Self(other) => return write!(f, "{other:#06x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why bytes are no Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EthernetError {
    /// Fewer bytes than the header has.
    #[error("{len} bytes are too few for an Ethernet header")]
    TooShort {
        /// Bytes that are there.
        len: usize,
    },
}

/// The header of an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Who is to receive it.
    pub destination: MacAddress,
    /// Who sent it.
    pub source: MacAddress,
    /// What follows; when [`EtherType::is_vlan`], a [`VlanHeader`].
    pub ether_type: EtherType,
}

impl EthernetHeader {
    /// Length, in bytes (Linux's `ETH_HLEN`).
    pub const LEN: usize = 14;

    /// Reads the header of `frame`.
    ///
    /// # Errors
    /// [`EthernetError::TooShort`].
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Self, Range<usize>), EthernetError> {
        let Some(bytes) = frame.first_chunk::<{ Self::LEN }>() else {
            return Err(EthernetError::TooShort { len: frame.len() });
        };
        let header = Self {
            destination: MacAddress(six(bytes, 0)),
            source: MacAddress(six(bytes, 6)),
            ether_type: EtherType(be16(bytes, 12)),
        };
        Ok((header, Self::LEN..frame.len()))
    }

    /// Writes the header.
    #[inline]
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        out[..6].copy_from_slice(&self.destination.0);
        out[6..12].copy_from_slice(&self.source.0);
        out[12..].copy_from_slice(&self.ether_type.0.to_be_bytes());
    }
}

/// What follows an EtherType that says VLAN: the tag and the EtherType proper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanHeader {
    /// Tag control information: priority (3 bits), drop eligible (1), VLAN
    /// identifier (12).
    pub tci: u16,
    /// What follows the tag.
    pub ether_type: EtherType,
}

impl VlanHeader {
    /// Length, in bytes (Linux's `VLAN_HLEN`).
    pub const LEN: usize = 4;

    /// The VLAN's identifier, 0 to 4095.
    #[must_use]
    #[inline]
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0 to 7.
    #[must_use]
    #[inline]
    pub const fn priority(self) -> u8 {
        (self.tci >> 13) as u8
    }

    /// Reads the header at the start of an Ethernet payload.
    ///
    /// # Errors
    /// [`EthernetError::TooShort`].
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<(Self, Range<usize>), EthernetError> {
        let Some(bytes) = payload.first_chunk::<{ Self::LEN }>() else {
            let len = payload.len();
            return Err(EthernetError::TooShort { len });
        };
        let header = Self {
            tci: be16(bytes, 0),
            ether_type: EtherType(be16(bytes, 2)),
        };
        Ok((header, Self::LEN..payload.len()))
    }

    /// Writes the header.
    #[inline]
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        out[..2].copy_from_slice(&self.tci.to_be_bytes());
        out[2..].copy_from_slice(&self.ether_type.0.to_be_bytes());
    }
}
