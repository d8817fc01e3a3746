//! Which frames are ours.

use softnet_nic_hal::MacAddress;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The choice of frames that go to the sockets. The rules add up: a frame that one
/// of them takes is ours, and what none takes passes to the kernel.
///
/// Rules by address or port look into Ethernet frames with up to two VLAN tags.
/// The tags, ARP and the fixed part of the IP header have to lie in the frame's
/// first buffer. A frame that ends before its headers do passes to the kernel, and
/// is counted. ICMP errors about a
/// port go by the address, not by the port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steering {
    pub(super) all: bool,
    pub(super) vlans: Vlans,
    pub(super) broadcast: bool,
    pub(super) multicast: bool,
    pub(super) macs: Vec<MacAddress>,
    pub(super) addresses: Vec<IpPrefix>,
    pub(super) ports_to: Vec<IpPrefix>,
    pub(super) ports: Vec<PortRule>,
    pub(super) protocols: Vec<u8>,
}

impl Steering {
    /// Nothing is ours.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// All frames of the queues that have a socket, whatever is in them and
    /// whatever the other rules say.
    #[must_use]
    pub fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Frames to this MAC address.
    #[must_use]
    pub fn mac(mut self, mac: MacAddress) -> Self {
        self.macs.push(mac);
        self
    }

    /// Frames to all stations. The kernel does not see them then.
    #[must_use]
    pub fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    /// Frames to any multicast MAC address other than broadcast. The kernel does
    /// not see them then.
    #[must_use]
    pub fn multicast(mut self) -> Self {
        self.multicast = true;
        self
    }

    /// Packets to this address or network, fragments included; with it the ARP
    /// packets whose target is in it, and the neighbour solicitations and
    /// advertisements (RFC 4861) about it. Where prefixes nest, the longest decides.
    ///
    /// Advertisements of others to all nodes, of routers above all, go to the
    /// kernel unless `ff02::1` is ours too.
    #[must_use]
    pub fn address(mut self, prefix: impl Into<IpPrefix>) -> Self {
        self.addresses.push(prefix.into());
        self
    }

    /// Packets of a transport protocol to these ports.
    #[must_use]
    pub fn ports(mut self, rule: PortRule) -> Self {
        self.ports.push(rule);
        self
    }

    /// All packets of the IP protocol with this number, fragments included.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocols.push(protocol);
        self
    }

    /// Holds the rules by port and protocol to packets for this address or
    /// network; without any, they hold for every destination. ARP and neighbour
    /// discovery for it stay with the kernel.
    #[must_use]
    pub fn ports_only_to(mut self, prefix: impl Into<IpPrefix>) -> Self {
        self.ports_to.push(prefix.into());
        self
    }

    /// Which frames the rules look at, by their VLAN. NICs that strip tags
    /// (`ethtool -K IFACE rxvlan off` stops them) show all frames as untagged.
    #[must_use]
    pub fn vlans(mut self, vlans: Vlans) -> Self {
        self.vlans = vlans;
        self
    }

    pub(super) fn has_port_rules(&self) -> bool {
        !(self.ports.is_empty() && self.protocols.is_empty())
    }
}

/// Which VLANs the rules hold for. The outer tag counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Vlans {
    /// Tagged or not.
    #[default]
    Any,
    /// Frames without a tag, or with priority tag (VLAN 0).
    Untagged,
    /// Frames of this VLAN, 1 to 4094.
    Id(u16),
}

/// A transport protocol whose header begins with two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Transport {
    /// RFC 9293
    Tcp = 6,
    /// RFC 768
    Udp = 17,
    /// RFC 4340
    Dccp = 33,
    /// RFC 9260
    Sctp = 132,
    /// RFC 3828
    UdpLite = 136,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Dccp, Self::Sctp, Self::UdpLite];

    /// The number in the IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// What becomes of fragments under a rule by port. Only a datagram's first fragment
/// has the ports, so all its fragments go one way, to be put together again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fragments {
    /// They pass to the kernel.
    #[default]
    Pass,
    /// All fragments of the rule's protocol are ours, whatever their ports.
    Take,
}

/// Takes packets to a range of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRule {
    pub(super) transport: Transport,
    pub(super) ports: RangeInclusive<u16>,
    pub(super) fragments: Fragments,
}

impl PortRule {
    /// Unfragmented packets of the protocol to these destination ports. An empty
    /// range takes nothing.
    #[must_use]
    pub const fn new(transport: Transport, ports: RangeInclusive<u16>) -> Self {
        Self {
            transport,
            ports,
            fragments: Fragments::Pass,
        }
    }

    /// The same rule with this choice for fragments.
    #[must_use]
    pub const fn fragments(mut self, fragments: Fragments) -> Self {
        self.fragments = fragments;
        self
    }
}

/// An address with the number of leading bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    len: u8,
}

/// A prefix longer than its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a prefix of {len} bits is too long for {address}")]
pub struct PrefixError {
    /// The address.
    pub address: IpAddr,
    /// The bits asked for.
    pub len: u8,
}

impl IpPrefix {
    /// The network of `address` with `len` bits.
    ///
    /// # Errors
    /// The prefix is longer than 32 bits (IPv4) or 128 (IPv6).
    pub const fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let most = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        if len > most {
            return Err(PrefixError { address, len });
        }
        Ok(Self { address, len })
    }

    /// The address; bits beyond the prefix do not count.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits count. (A prefix is never empty.)
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a number of bits")]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// Whether `address` lies in the network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        fn bits(address: IpAddr) -> (u128, bool) {
            match address {
                IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
                IpAddr::V6(address) => (address.to_bits(), false),
            }
        }
        let ((ours, family), (theirs, other)) = (bits(self.address), bits(address));
        let differing = ours ^ theirs;
        family == other && differing.leading_zeros() >= u32::from(self.len)
    }
}

impl<A: Into<IpAddr>> From<A> for IpPrefix {
    fn from(address: A) -> Self {
        let address = address.into();
        let len = if address.is_ipv4() { 32 } else { 128 };
        Self { address, len }
    }
}

/// Splits a range of ports into prefixes: (port, leading bits that count).
pub(super) fn port_prefixes(ports: &RangeInclusive<u16>) -> Vec<(u16, u8)> {
    let mut prefixes = Vec::new();
    let (mut next, end) = (u32::from(*ports.start()), u32::from(*ports.end()));
    while next <= end {
        // The largest block that begins here and does not reach past the end.
        let aligned = next.trailing_zeros().min(16);
        let fits = (end - next + 1).ilog2();
        let bits = aligned.min(fits);
        prefixes.push((next as u16, 16 - bits as u8));
        next += 1 << bits;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn the_prefixes_of_a_port_range_cover_it_and_nothing_else() {
        let ranges = [
            0..=0,
            0..=u16::MAX,
            1..=u16::MAX - 1,
            80..=80,
            9000..=9099,
            1023..=1025,
            u16::MAX..=u16::MAX,
        ];
        for range in ranges {
            let prefixes = port_prefixes(&range);
            assert!(prefixes.len() <= 30, "{range:?}");
            for port in 0..=u16::MAX {
                let covering = prefixes.iter().filter(|(start, len)| {
                    u32::from(port ^ start).leading_zeros() >= 16 + u32::from(*len)
                });
                assert_eq!(covering.count(), usize::from(range.contains(&port)));
            }
        }
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "it is the case at hand")]
    fn an_empty_range_of_ports_has_no_prefix() {
        assert_eq!(port_prefixes(&(10..=9)), []);
    }

    #[test]
    fn a_prefix_holds_the_addresses_that_share_its_bits() {
        let net = IpPrefix::new(Ipv4Addr::new(10, 1, 2, 3).into(), 24).unwrap();
        assert!(net.contains(Ipv4Addr::new(10, 1, 2, 200).into()));
        assert!(!net.contains(Ipv4Addr::new(10, 1, 3, 3).into()));
        assert!(!net.contains(Ipv6Addr::LOCALHOST.into()));
        let everything = IpPrefix::new(Ipv6Addr::UNSPECIFIED.into(), 0).unwrap();
        assert!(everything.contains(Ipv6Addr::LOCALHOST.into()));
        assert!(!everything.contains(Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn a_prefix_is_not_longer_than_its_address() {
        assert!(IpPrefix::new(Ipv4Addr::LOCALHOST.into(), 33).is_err());
        assert!(IpPrefix::new(Ipv6Addr::LOCALHOST.into(), 129).is_err());
    }
}
