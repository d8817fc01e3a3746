//! The Address Resolution Protocol for IPv4 over Ethernet: RFC 826.

use super::{be16, four, six};
use core::net::Ipv4Addr;
use core::ops::Range;
use softnet_nic_hal::MacAddress;

/// `ar$op`: what a packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ArpOperation(pub u16);

impl ArpOperation {
    /// Who has this address?
    pub const REQUEST: Self = Self(1);
    /// I have.
    pub const REPLY: Self = Self(2);
}

/// Why bytes are no ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArpError {
    /// Fewer bytes than the packet has.
    #[error("{len} bytes are too few for an ARP packet")]
    TooShort {
        /// Bytes that are there.
        len: usize,
    },
    /// Another hardware than Ethernet (`ar$hrd`, `ar$hln`).
    #[error("hardware type {hardware} with addresses of {len} bytes is not Ethernet")]
    Hardware {
        /// Hardware type; Ethernet is 1.
        hardware: u16,
        /// Length of its addresses, in bytes.
        len: u8,
    },
    /// Another protocol than IPv4 (`ar$pro`, `ar$pln`).
    #[error("protocol {protocol:#06x} with addresses of {len} bytes is not IPv4")]
    Protocol {
        /// EtherType of the protocol.
        protocol: u16,
        /// Length of its addresses, in bytes.
        len: u8,
    },
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpPacket {
    /// Request, reply or something unknown.
    pub operation: ArpOperation,
    /// `ar$sha`: the sender's station address.
    pub sender_mac: MacAddress,
    /// `ar$spa`: the sender's address; 0.0.0.0 in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// `ar$tha`: the target's station address; of no meaning in a request.
    pub target_mac: MacAddress,
    /// `ar$tpa`: the target's address.
    pub target_ip: Ipv4Addr,
}

const ETHERNET: u16 = 1;
const IPV4: u16 = 0x0800;

impl ArpPacket {
    /// Length, in bytes; an Ethernet frame pads it to 46.
    pub const LEN: usize = 28;

    /// Who has `target`? For the broadcast address, or for the station that had
    /// it before.
    #[must_use]
    pub const fn request(mac: MacAddress, ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            operation: ArpOperation::REQUEST,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: MacAddress([0; 6]),
            target_ip: target,
        }
    }

    /// The reply to this request: `mac` has the address that was asked for
    /// (RFC 826, "Packet Reception": the fields change places).
    #[must_use]
    pub const fn reply(&self, mac: MacAddress) -> Self {
        Self {
            operation: ArpOperation::REPLY,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Whether a station tells everybody its own address (RFC 5227 section
    /// 2.3, RFC 5944 section 4.6).
    #[must_use]
    #[inline]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Reads a packet; padding after it is ignored.
    ///
    /// # Errors
    /// [`ArpError`] says what is not Ethernet or not IPv4.
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<(Self, Range<usize>), ArpError> {
        let Some(bytes) = payload.first_chunk::<{ Self::LEN }>() else {
            let len = payload.len();
            return Err(ArpError::TooShort { len });
        };
        let (hardware, protocol) = (be16(bytes, 0), be16(bytes, 2));
        let [hardware_len, protocol_len] = [bytes[4], bytes[5]];
        if (hardware, hardware_len) != (ETHERNET, 6) {
            let len = hardware_len;
            return Err(ArpError::Hardware { hardware, len });
        }
        if (protocol, protocol_len) != (IPV4, 4) {
            let len = protocol_len;
            return Err(ArpError::Protocol { protocol, len });
        }
        let packet = Self {
            operation: ArpOperation(be16(bytes, 6)),
            sender_mac: MacAddress(six(bytes, 8)),
            sender_ip: four(bytes, 14).into(),
            target_mac: MacAddress(six(bytes, 18)),
            target_ip: four(bytes, 24).into(),
        };
        Ok((packet, Self::LEN..payload.len()))
    }

    /// Writes the packet.
    #[inline]
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        out[..2].copy_from_slice(&ETHERNET.to_be_bytes());
        out[2..4].copy_from_slice(&IPV4.to_be_bytes());
        out[4..6].copy_from_slice(&[6, 4]);
        out[6..8].copy_from_slice(&self.operation.0.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..].copy_from_slice(&self.target_ip.octets());
    }
}
