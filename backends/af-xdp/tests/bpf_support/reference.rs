//! The steering's rules a second time, written for the reader: what the program in
//! the kernel is compared with.

use softnet_af_xdp::bpf::{Fragments, IpPrefix, PortRule, Steering, Transport, Verdict, Vlans};
use softnet_nic_hal::MacAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) all: bool,
    pub(crate) vlans: Vlans,
    pub(crate) broadcast: bool,
    pub(crate) multicast: bool,
    pub(crate) macs: Vec<[u8; 6]>,
    pub(crate) addresses: Vec<IpPrefix>,
    pub(crate) ports_to: Vec<IpPrefix>,
    pub(crate) ports: Vec<(Transport, RangeInclusive<u16>, Fragments)>,
    pub(crate) protocols: Vec<u8>,
}

/// What the longest prefix says about an address.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Ours,
    PortsOnly,
    Nobody,
}

/// The headers end here.
struct Truncated;

impl Rules {
    pub(crate) fn steering(&self) -> Steering {
        let mut steering = if self.all {
            Steering::all()
        } else {
            Steering::none()
        };
        steering = steering.vlans(self.vlans);
        if self.broadcast {
            steering = steering.broadcast();
        }
        if self.multicast {
            steering = steering.multicast();
        }
        for mac in &self.macs {
            steering = steering.mac(MacAddress(*mac));
        }
        for prefix in &self.addresses {
            steering = steering.address(*prefix);
        }
        for prefix in &self.ports_to {
            steering = steering.ports_only_to(*prefix);
        }
        for (transport, ports, fragments) in &self.ports {
            let rule = PortRule::new(*transport, ports.clone());
            steering = steering.ports(rule.fragments(*fragments));
        }
        for protocol in &self.protocols {
            steering = steering.protocol(*protocol);
        }
        steering
    }

    pub(crate) fn decide(&self, frame: &[u8]) -> Verdict {
        self.judge(frame).unwrap_or(Verdict::PassTruncated)
    }

    fn judge(&self, frame: &[u8]) -> Result<Verdict, Truncated> {
        if self.all {
            return Ok(Verdict::All);
        }
        let mac: [u8; 6] = take(frame, 0)?;
        let (mut network, mut tags, mut vlan) = (14, 0, 0);
        while tags < 2 && matches!(half(frame, network - 2)?, 0x8100 | 0x88a8) {
            take::<4>(frame, network)?;
            if tags == 0 {
                vlan = half(frame, network)? & 0x0fff;
            }
            tags += 1;
            network += 4;
        }
        let in_scope = match self.vlans {
            Vlans::Any => true,
            Vlans::Untagged => vlan == 0,
            Vlans::Id(id) => vlan == id,
        };
        if !in_scope {
            return Ok(Verdict::PassVlan);
        }
        if self.takes_mac(mac) {
            return Ok(Verdict::Mac);
        }
        let packet = &frame[network..];
        match half(frame, network - 2)? {
            0x0806 if self.has(IpAddr::is_ipv4) => self.arp(packet),
            0x0800 => self.ipv4(packet),
            0x86dd => self.ipv6(packet),
            _ => Ok(Verdict::Pass),
        }
    }

    fn takes_mac(&self, mac: [u8; 6]) -> bool {
        let broadcast = mac == [0xff; 6];
        let multicast = mac[0] & 1 == 1 && !broadcast;
        broadcast && self.broadcast || multicast && self.multicast || self.macs.contains(&mac)
    }

    fn arp(&self, packet: &[u8]) -> Result<Verdict, Truncated> {
        let packet: [u8; 28] = take(packet, 0)?;
        if packet[..6] != [0, 1, 8, 0, 6, 4] {
            return Ok(Verdict::Pass);
        }
        let target = Ipv4Addr::from(take::<4>(&packet, 24)?);
        Ok(match self.owner(target.into()) {
            Owner::Ours => Verdict::Neighbour,
            _ => Verdict::Pass,
        })
    }

    fn ipv4(&self, packet: &[u8]) -> Result<Verdict, Truncated> {
        let header: [u8; 20] = take(packet, 0)?;
        let words = usize::from(header[0] & 0x0f);
        if header[0] >> 4 != 4 || words < 5 {
            return Ok(Verdict::Pass);
        }
        let to = Ipv4Addr::from(take::<4>(packet, 16)?);
        match self.owner(to.into()) {
            Owner::Ours => Ok(Verdict::Address),
            owner if !self.ports_hold(owner) => Ok(Verdict::Pass),
            _ if half(packet, 6)? & 0x3fff != 0 => Ok(self.fragment(header[9])),
            _ => self.transport(header[9], packet.get(4 * words..).unwrap_or_default()),
        }
    }

    fn ipv6(&self, packet: &[u8]) -> Result<Verdict, Truncated> {
        let header: [u8; 40] = take(packet, 0)?;
        if header[0] >> 4 != 6 {
            return Ok(Verdict::Pass);
        }
        let to = Ipv6Addr::from(take::<16>(packet, 24)?);
        let owner = self.owner(to.into());
        let ports_hold = self.ports_hold(owner);
        let discovery = self.has(IpAddr::is_ipv6);
        if owner == Owner::Ours {
            return Ok(Verdict::Address);
        }
        // No further header matters.
        if !discovery && !ports_hold {
            return Ok(Verdict::Pass);
        }
        self.upper_layer(header[6], &packet[40..], ports_hold, discovery)
    }

    fn upper_layer(
        &self,
        mut next: u8,
        mut rest: &[u8],
        ports_hold: bool,
        discovery: bool,
    ) -> Result<Verdict, Truncated> {
        for headers in 0.. {
            let known = matches!(next, 0 | 43 | 44 | 60);
            if known && headers == 6 {
                return Err(Truncated);
            }
            let len = match next {
                44 => {
                    let header: [u8; 8] = take(rest, 0)?;
                    next = header[0];
                    if half(rest, 2)? & 0xfff9 != 0 {
                        return Ok(if ports_hold {
                            self.fragment(next)
                        } else {
                            Verdict::Pass
                        });
                    }
                    8
                }
                0 | 43 | 60 => {
                    let [following, units] = take(rest, 0)?;
                    next = following;
                    8 + 8 * usize::from(units)
                }
                _ => break,
            };
            rest = rest.get(len..).unwrap_or_default();
        }
        if next == 58 && discovery && rest.len() >= 24 && matches!(rest[0], 135 | 136) {
            let target = Ipv6Addr::from(take::<16>(rest, 8)?);
            if self.owner(target.into()) == Owner::Ours {
                return Ok(Verdict::Neighbour);
            }
        }
        if ports_hold {
            self.transport(next, rest)
        } else {
            Ok(Verdict::Pass)
        }
    }

    fn transport(&self, protocol: u8, header: &[u8]) -> Result<Verdict, Truncated> {
        let port = if [6, 17, 33, 132, 136].contains(&protocol) {
            take::<4>(header, 0)?;
            Some(half(header, 2)?)
        } else {
            None
        };
        let by_port = |(transport, ports, _): &(Transport, RangeInclusive<u16>, Fragments)| {
            transport.number() == protocol && port.is_some_and(|port| ports.contains(&port))
        };
        let taken = self.protocols.contains(&protocol) || self.ports.iter().any(by_port);
        Ok(if taken { Verdict::Port } else { Verdict::Pass })
    }

    fn fragment(&self, protocol: u8) -> Verdict {
        let by_rule = |(transport, _, fragments): &(Transport, _, Fragments)| {
            transport.number() == protocol && *fragments == Fragments::Take
        };
        if self.protocols.contains(&protocol) || self.ports.iter().any(by_rule) {
            Verdict::Fragment
        } else {
            Verdict::PassFragment
        }
    }

    fn ports_hold(&self, owner: Owner) -> bool {
        let any = !(self.ports.is_empty() && self.protocols.is_empty());
        any && (owner == Owner::PortsOnly || self.ports_to.is_empty())
    }

    fn owner(&self, address: IpAddr) -> Owner {
        let holds = |prefix: &&IpPrefix| prefix.contains(address);
        let longest = |list: &[IpPrefix]| list.iter().filter(holds).map(|one| one.len()).max();
        match (longest(&self.addresses), longest(&self.ports_to)) {
            (None, None) => Owner::Nobody,
            // `None` is less than any length.
            (ours, ports) if ours >= ports => Owner::Ours,
            _ => Owner::PortsOnly,
        }
    }

    fn has(&self, family: fn(&IpAddr) -> bool) -> bool {
        let mut all = self.addresses.iter().chain(&self.ports_to);
        all.any(|prefix| family(&prefix.address()))
    }
}

fn take<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Truncated> {
    let bytes = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
    bytes.copied().ok_or(Truncated)
}

fn half(bytes: &[u8], offset: usize) -> Result<u16, Truncated> {
    take(bytes, offset).map(u16::from_be_bytes)
}
