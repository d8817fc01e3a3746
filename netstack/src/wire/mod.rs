//! Bytes to headers and back, without state.
//!
//! Each header is a plain struct in host order. `parse` takes the bytes that
//! start with it, makes every check that needs no more than these bytes, and
//! gives the header and the range of its payload; `emit` writes exactly the
//! header's bytes into an array, so that a length can be neither wrong nor
//! checked. Nothing here allocates, and no bytes whatever make it panic.

pub mod arp;
pub mod ethernet;
pub mod icmpv4;
pub mod ipv4;
pub mod udp;

pub use arp::{ArpError, ArpOperation, ArpPacket};
pub use ethernet::{EtherType, EthernetError, EthernetHeader, VlanHeader};
pub use icmpv4::{IcmpError, IcmpMessage, Unreachable};
pub use ipv4::{Fragment, IpProtocol, Ipv4Error, Ipv4Header, Ipv4Option, Ipv4Options};
pub use udp::{UdpError, UdpHeader};

/// The big-endian word at `at`. Every caller asks inside of the array, which is
/// of a known length, so that no check remains in the code.
#[inline]
const fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The four bytes at `at`; see [`be16`].
#[inline]
const fn four<const N: usize>(bytes: &[u8; N], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

/// The six bytes at `at`; see [`be16`].
#[inline]
const fn six<const N: usize>(bytes: &[u8; N], at: usize) -> [u8; 6] {
    let [a, b, c, d] = four(bytes, at);
    [a, b, c, d, bytes[at + 4], bytes[at + 5]]
}
