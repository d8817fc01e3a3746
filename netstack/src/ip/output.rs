//! From a transport protocol to the link layer (RFC 1122 section 3.3).

use crate::address::AddressKind;
use crate::drop::DropReason;
use crate::mib::Snmp;
use crate::neigh::NeighKey;
use crate::netcore::{LOOPBACK, NetCore};
use crate::protocol::Verdict;
use crate::route::{IfIndex, RouteKind};
use crate::skb::SkBuff;
use crate::wire::ethernet::{EtherType, EthernetHeader};
use crate::wire::ipv4::{Fragment, IpProtocol, Ipv4Header};
use core::net::{IpAddr, Ipv4Addr};
use softnet_nic_hal::MacAddress;

/// A packet that a transport protocol wants to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    /// The sender's choice; the route's otherwise.
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: IpProtocol,
    pub(crate) ttl: u8,
    /// Whether it may go to everybody (`SO_BROADCAST`).
    pub(crate) broadcast: bool,
}

/// How a packet gets to its destination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) source: Ipv4Addr,
    next_hop: Ipv4Addr,
    kind: AddressKind,
    pub(crate) dev: IfIndex,
    pub(crate) mtu: u16,
}

impl Path {
    /// The neighbour that the packet goes to first, if it goes to one.
    pub(crate) fn neighbour(&self) -> Option<NeighKey> {
        let key = NeighKey::new(self.dev, IpAddr::V4(self.next_hop));
        (self.kind == AddressKind::Foreign).then_some(key)
    }
}

/// Why a packet was not sent. It has been counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// No route, or one that leads nowhere.
    NoRoute,
    /// Longer than the device takes, and DF is always set.
    TooLong,
    /// To everybody without the permission, or forbidden by a route.
    Prohibited,
    /// A queue was full, or a neighbour does not answer.
    Dropped,
}

impl NetCore {
    /// Finds the way for a packet (`ip_route_output_flow`).
    #[inline]
    pub(crate) fn route_output(&self, meta: &Outgoing) -> Result<Path, SendFailure> {
        let kind = self.addresses.kind(meta.destination);
        if kind == AddressKind::Local {
            return Ok(self.loopback_path(meta));
        }
        if kind == AddressKind::Broadcast && !meta.broadcast {
            return Err(SendFailure::Prohibited);
        }
        let destination = IpAddr::V4(meta.destination);
        let route = self
            .routes
            .lookup(destination)
            .ok_or(SendFailure::NoRoute)?;
        match route.kind {
            RouteKind::Unicast | RouteKind::Broadcast => {}
            RouteKind::Prohibit => return Err(SendFailure::Prohibited),
            RouteKind::Local | RouteKind::Blackhole | RouteKind::Unreachable => {
                return Err(SendFailure::NoRoute);
            }
        }
        let IpAddr::V4(next_hop) = route.next_hop(destination) else {
            return Err(SendFailure::NoRoute);
        };
        let device = self.device(route.device).ok_or(SendFailure::NoRoute)?;
        let source = match (meta.source, route.source) {
            (Some(source), _) | (None, Some(IpAddr::V4(source))) => source,
            _ => self
                .addresses
                .primary(route.device)
                .ok_or(SendFailure::NoRoute)?,
        };
        // RFC 1122 section 3.2.1.3 (g): never seen outside of a host.
        if source.is_loopback() {
            return Err(SendFailure::Prohibited);
        }
        let mtu = route.mtu.map_or(device.mtu(), |mtu| mtu.min(device.mtu()));
        Ok(Path {
            source,
            next_hop,
            kind,
            dev: route.device,
            mtu,
        })
    }

    /// To an address of this host: back up through the loopback device.
    fn loopback_path(&self, meta: &Outgoing) -> Path {
        Path {
            source: meta.source.unwrap_or(meta.destination),
            next_hop: meta.destination,
            kind: AddressKind::Local,
            dev: LOOPBACK,
            mtu: self.device(LOOPBACK).map_or(u16::MAX, |lo| lo.mtu()),
        }
    }

    /// Sends a packet whose data starts at the transport header
    /// (`ip_queue_xmit`). DF is set, so that the identification need not be
    /// unique (RFC 6864 section 4.1); it counts up all the same, for those who
    /// read traces.
    #[inline]
    pub(crate) fn ip_output(
        &mut self,
        mut skb: SkBuff,
        meta: &Outgoing,
        path: Path,
    ) -> Result<(), SendFailure> {
        let total_len = skb.len() + Ipv4Header::LEN;
        if total_len > usize::from(path.mtu) {
            return Err(self.fail_output(skb, SendFailure::TooLong));
        }
        let header = Ipv4Header {
            tos: 0,
            total_len: total_len as u16,
            id: self.next_ip_id(),
            fragment: Fragment::DONT,
            ttl: meta.ttl,
            protocol: meta.protocol,
            source: path.source,
            destination: meta.destination,
        };
        let Some(bytes) = skb
            .push(Ipv4Header::LEN)
            .and_then(|bytes| bytes.first_chunk_mut())
        else {
            return Err(self.fail_output(skb, SendFailure::TooLong));
        };
        header.emit(bytes);
        skb.reset_network_header();
        skb.set_dev(path.dev);
        skb.set_protocol(EtherType::IPV4.0);
        self.mib().inc(Snmp::IpOutRequests);
        match self.link_output(skb, path) {
            Verdict::Delivered => Ok(()),
            Verdict::Dropped(_) => {
                self.mib().inc(Snmp::IpOutDiscards);
                Err(SendFailure::Dropped)
            }
        }
    }

    /// Drops a packet that cannot be sent, and counts why. Returns the failure.
    #[cold]
    pub(crate) fn fail_output(&mut self, skb: SkBuff, failure: SendFailure) -> SendFailure {
        let (counter, reason) = match failure {
            SendFailure::NoRoute => (Snmp::IpOutNoRoutes, DropReason::IpOutnoroutes),
            SendFailure::TooLong => (Snmp::IpOutDiscards, DropReason::PktTooBig),
            SendFailure::Prohibited | SendFailure::Dropped => {
                (Snmp::IpOutDiscards, DropReason::IpOutnoroutes)
            }
        };
        self.mib().inc(counter);
        let _ = self.kfree_skb(skb, reason);
        failure
    }

    /// Chooses the link-layer destination (`ip_finish_output2`).
    #[inline]
    fn link_output(&mut self, skb: SkBuff, path: Path) -> Verdict {
        match path.kind {
            AddressKind::Foreign => self.neigh_output(skb, path.next_hop),
            AddressKind::Broadcast => self.hard_header(skb, MacAddress::BROADCAST),
            AddressKind::Multicast => self.hard_header(skb, multicast_mac(path.next_hop)),
            AddressKind::Local => self.hard_header(skb, MacAddress::default()),
        }
    }

    /// Pushes the Ethernet header and sends (`dev_hard_header`).
    #[inline]
    pub(crate) fn hard_header(&mut self, mut skb: SkBuff, destination: MacAddress) -> Verdict {
        let Some(source) = self.device(skb.dev()).map(|device| device.mac()) else {
            return self.kfree_skb(skb, DropReason::DevReady);
        };
        let ether_type = EtherType(skb.protocol());
        let header = EthernetHeader {
            destination,
            source,
            ether_type,
        };
        match skb
            .push(EthernetHeader::LEN)
            .and_then(|bytes| bytes.first_chunk_mut())
        {
            Some(bytes) => header.emit(bytes),
            None => return self.kfree_skb(skb, DropReason::DevHdr),
        }
        skb.reset_mac_header();
        self.dev_queue_xmit(skb)
    }
}

/// RFC 1112 section 6.4: the low 23 bits of the group in 01:00:5e:00:00:00.
fn multicast_mac(group: Ipv4Addr) -> MacAddress {
    let [_, b, c, d] = group.octets();
    MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_maps_to_its_low_23_bits() {
        let mac = multicast_mac(Ipv4Addr::new(239, 129, 2, 3));
        assert_eq!(mac, MacAddress([0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]));
    }
}
