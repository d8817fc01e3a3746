//! Frames, header by header.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const MULTICAST_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0, 0, 1];
pub(crate) const BROADCAST_MAC: [u8; 6] = [0xff; 6];
pub(crate) const OUR_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const OTHER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const OUR_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
pub(crate) const UDP: u8 = 17;

/// An Ethernet frame in parts.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) to: [u8; 6],
    /// EtherType and VLAN of each tag.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) ethertype: u16,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(ethertype: u16, payload: Vec<u8>) -> Self {
        Self {
            to: OUR_MAC,
            tags: Vec::new(),
            ethertype,
            payload,
        }
    }

    pub(crate) fn ipv4(packet: &Ipv4) -> Self {
        Self::new(0x0800, packet.bytes())
    }

    pub(crate) fn ipv6(packet: &Ipv6) -> Self {
        Self::new(0x86dd, packet.bytes())
    }

    pub(crate) fn to(mut self, mac: [u8; 6]) -> Self {
        self.to = mac;
        self
    }

    pub(crate) fn tag(mut self, ethertype: u16, vlan: u16) -> Self {
        self.tags.push((ethertype, vlan));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.to.to_vec();
        bytes.extend([2, 0, 0, 0, 0, 9]);
        for (ethertype, vlan) in &self.tags {
            bytes.extend(ethertype.to_be_bytes());
            // A priority of 5, which is no part of the VLAN's number.
            bytes.extend((vlan | 0xa000).to_be_bytes());
        }
        bytes.extend(self.ethertype.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// An IPv4 packet in parts.
#[derive(Debug, Clone)]
pub(crate) struct Ipv4 {
    pub(crate) to: Ipv4Addr,
    pub(crate) protocol: u8,
    /// Words of options.
    pub(crate) options: u8,
    /// Flags and fragment offset.
    pub(crate) fragment: u16,
    pub(crate) payload: Vec<u8>,
}

impl Ipv4 {
    pub(crate) fn udp(to: Ipv4Addr, port: u16) -> Self {
        Self {
            to,
            protocol: UDP,
            options: 0,
            fragment: 0x4000,
            payload: ports(port),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x45 + self.options, 0];
        let len = 20 + 4 * usize::from(self.options) + self.payload.len();
        bytes.extend((len as u16).to_be_bytes());
        bytes.extend([0, 7]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0, 10, 0, 0, 9]);
        bytes.extend(self.to.octets());
        bytes.extend(std::iter::repeat_n(1, 4 * usize::from(self.options)));
        bytes.extend(&self.payload);
        bytes
    }
}

/// An IPv6 packet in parts.
#[derive(Debug, Clone)]
pub(crate) struct Ipv6 {
    pub(crate) to: Ipv6Addr,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) protocol: u8,
    pub(crate) payload: Vec<u8>,
}

/// An extension header of IPv6.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extension {
    /// A header of this number with options, and its units of 8 bytes after the
    /// first.
    Options(u8, u8),
    /// A fragment header with its offset and flags.
    Fragment(u16),
}

impl Extension {
    const fn number(self) -> u8 {
        match self {
            Self::Options(number, _) => number,
            Self::Fragment(_) => 44,
        }
    }

    fn bytes(self, next: u8) -> Vec<u8> {
        match self {
            Self::Options(_, units) => {
                let mut bytes = vec![next, units];
                bytes.resize(8 + 8 * usize::from(units), 0);
                bytes
            }
            Self::Fragment(bits) => {
                let [high, low] = bits.to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 1]
            }
        }
    }
}

impl Ipv6 {
    pub(crate) fn udp(to: Ipv6Addr, port: u16) -> Self {
        Self {
            to,
            extensions: Vec::new(),
            protocol: UDP,
            payload: ports(port),
        }
    }

    /// Neighbour discovery of this type about `target`, to all nodes.
    pub(crate) fn neighbour(kind: u8, target: Ipv6Addr) -> Self {
        let mut payload = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        payload.extend(target.octets());
        Self {
            to: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            extensions: Vec::new(),
            protocol: 58,
            payload,
        }
    }

    pub(crate) fn behind(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut next = self.protocol;
        let mut body = self.payload.clone();
        for extension in self.extensions.iter().rev() {
            body.splice(0..0, extension.bytes(next));
            next = extension.number();
        }
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend([next, 64]);
        bytes.extend(OTHER_V6.octets());
        bytes.extend(self.to.octets());
        bytes.extend(body);
        bytes
    }
}

/// An ARP packet about `target`.
pub(crate) fn arp(target: Ipv4Addr) -> Frame {
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, 1];
    payload.extend([2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
    payload.extend(target.octets());
    Frame::new(0x0806, payload).to(BROADCAST_MAC)
}

/// A UDP header without checksum, as all transport headers begin.
pub(crate) fn ports(to: u16) -> Vec<u8> {
    let mut bytes = vec![0x30, 0x39];
    bytes.extend(to.to_be_bytes());
    bytes.extend([0, 8, 0, 0]);
    bytes
}
