//! ARP (RFC 826, RFC 1122 section 2.3.2): packets, and the neighbour table that
//! they feed.

use crate::drop::DropReason;
use crate::message::Control;
use crate::neigh::{Event, Evidence, NeighHandle, NeighKey, Output};
use crate::netcore::NetCore;
use crate::protocol::Verdict;
use crate::route::IfIndex;
use crate::skb::{PacketType, SkBuff};
use crate::wire::arp::{ArpOperation, ArpPacket};
use crate::wire::ethernet::EtherType;
use crate::wire::icmpv4::Unreachable;
use core::net::{IpAddr, Ipv4Addr};
use softnet_nic_hal::MacAddress;

/// Takes a packet whose data starts at the ARP header (`arp_rcv`).
pub(crate) fn receive(net: &mut NetCore, mut skb: SkBuff) -> Verdict {
    if skb.packet_type() == PacketType::OtherHost {
        return net.kfree_skb(skb, DropReason::Otherhost);
    }
    let Ok((packet, range)) = ArpPacket::parse(skb.data()) else {
        return net.kfree_skb(skb, DropReason::ArpInvalid);
    };
    let Some(own) = net.device(skb.dev()).map(|device| device.mac()) else {
        return net.kfree_skb(skb, DropReason::DevReady);
    };
    let dev = skb.dev();
    // An announcement of our own address by somebody else is a conflict, and
    // nothing to learn from (RFC 5227 section 2.4 would have us defend it).
    if packet.sender_mac == own || net.is_unicast_local(packet.sender_ip) {
        return net.kfree_skb(skb, DropReason::ArpIgnored);
    }
    let how = Evidence::of_arp(&packet, own, |ip| net.addresses.is_on(dev, ip));
    let mut known = net.neigh_learn(dev, packet.sender_ip, packet.sender_mac, how);
    // An answer to this host may be to another CPU's question, of which this
    // one knows nothing.
    if known || how == Evidence::Answered {
        known |= net.share_neighbour(dev, packet.sender_ip, packet.sender_mac, how);
    }
    if packet.operation == ArpOperation::REQUEST && how == Evidence::Asked {
        skb.trim(range.end);
        return reply(net, skb, packet.reply(own));
    }
    if known {
        net.consume_skb(skb);
        return Verdict::Delivered;
    }
    net.kfree_skb(skb, DropReason::ArpIgnored)
}

/// Answers in the same frame.
fn reply(net: &mut NetCore, mut skb: SkBuff, answer: ArpPacket) -> Verdict {
    let target = answer.target_mac;
    match skb.data_mut().first_chunk_mut() {
        Some(bytes) => answer.emit(bytes),
        None => return net.kfree_skb(skb, DropReason::ArpInvalid),
    }
    skb.set_protocol(EtherType::ARP.0);
    net.hard_header(skb, target)
}

impl NetCore {
    /// Learns a neighbour's station address, and sends what waited for it.
    /// Returns whether the table has it now.
    pub(crate) fn neigh_learn(
        &mut self,
        dev: IfIndex,
        ip: Ipv4Addr,
        mac: MacAddress,
        how: Evidence,
    ) -> bool {
        let key = NeighKey::new(dev, IpAddr::V4(ip));
        let known = self.neighbours.learn(key, mac, how, self.now_ns());
        self.neigh_events();
        known
    }

    /// Tells the other CPUs what this one has learnt: each has its own table,
    /// and ARP packets come to one CPU only. A CPU whose door is full does not
    /// hear of it and asks by itself. Returns whether anybody was told.
    fn share_neighbour(&self, dev: IfIndex, ip: Ipv4Addr, mac: MacAddress, how: Evidence) -> bool {
        let mut told = false;
        for (cpu, peer) in self.peers().iter().enumerate() {
            if cpu != self.cpu() {
                let news = Control::Neighbour { dev, ip, mac, how };
                told |= peer.control(news).is_ok();
            }
        }
        told
    }

    /// Sets a neighbour that no message changes. Returns whether there was room.
    pub(crate) fn neigh_set_permanent(
        &mut self,
        dev: IfIndex,
        ip: Ipv4Addr,
        mac: MacAddress,
    ) -> bool {
        let key = NeighKey::new(dev, IpAddr::V4(ip));
        let now_ns = self.now_ns();
        let set = self.neighbours.set_permanent(key, mac, now_ns);
        self.neigh_events();
        set
    }

    /// Sends an IP packet to a station on its device's link
    /// (`neigh_resolve_output`), or keeps it until the station is known.
    #[inline]
    pub(crate) fn neigh_output(&mut self, skb: SkBuff, next_hop: Ipv4Addr) -> Verdict {
        let key = NeighKey::new(skb.dev(), IpAddr::V4(next_hop));
        let now_ns = self.now_ns();
        // Even a known neighbour may start a timer, when it is stale.
        self.neigh_used = true;
        match self.neighbours.output(key, skb, now_ns) {
            Output::Send { packet, mac, .. } => self.hard_header(packet, mac),
            Output::Waiting => {
                self.neigh_events();
                Verdict::Delivered
            }
            Output::Dropped { packet, reason } => {
                self.neigh_events();
                self.kfree_skb(packet, reason)
            }
        }
    }

    /// The station address of a neighbour that was found before; `None` when it
    /// has to be looked for again.
    #[inline]
    pub(crate) fn neigh_cached(&mut self, neighbour: NeighHandle) -> Option<MacAddress> {
        // Even a known neighbour may start a timer, when it is stale.
        self.neigh_used = true;
        self.neighbours.cached(neighbour, self.now_ns())
    }

    /// When the neighbour table's timers are to run next; `None` when nothing
    /// has changed that.
    #[inline]
    pub(crate) fn take_neigh_deadline(&mut self) -> Option<u64> {
        if !core::mem::take(&mut self.neigh_used) {
            return None;
        }
        self.neighbours.next_deadline()
    }

    /// Does what the neighbour table asks for.
    pub(crate) fn neigh_events(&mut self) {
        self.neigh_used = true;
        while let Some(event) = self.neighbours.next_event() {
            match event {
                Event::Probe { key, to } => self.arp_solicit(key, to),
                Event::Send { mac, packet, .. } => {
                    let _ = self.hard_header(packet, mac);
                }
                Event::Dropped { packet, reason, .. } => self.neigh_drop(packet, reason),
            }
        }
    }

    /// A packet's neighbour does not answer: its sender, which is a socket of
    /// this host, hears of it.
    fn neigh_drop(&mut self, skb: SkBuff, reason: DropReason) {
        if reason == DropReason::NeighFailed {
            self.icmp_unreachable(&skb, Unreachable::Host);
        }
        let _ = self.kfree_skb(skb, reason);
    }

    /// Runs the neighbour table's timers.
    pub(crate) fn run_neigh_timers(&mut self) {
        let now_ns = self.now_ns();
        self.neighbours.poll(now_ns);
        self.neigh_events();
    }

    /// Asks who has an address (`arp_solicit`): everybody, or the station that
    /// had it.
    fn arp_solicit(&mut self, key: NeighKey, to: Option<MacAddress>) {
        let IpAddr::V4(target) = key.address else {
            return;
        };
        let Some(own) = self.device(key.device).map(|device| device.mac()) else {
            return;
        };
        let source = self
            .addresses
            .primary(key.device)
            .unwrap_or(Ipv4Addr::UNSPECIFIED);
        let request = ArpPacket::request(own, source, target);
        let Some(mut skb) = self.alloc_skb() else {
            return;
        };
        skb.set_dev(key.device);
        skb.set_protocol(EtherType::ARP.0);
        match skb
            .put(ArpPacket::LEN)
            .and_then(|bytes| bytes.first_chunk_mut())
        {
            Some(bytes) => request.emit(bytes),
            None => return self.consume_skb(skb),
        }
        let _ = self.hard_header(skb, to.unwrap_or(MacAddress::BROADCAST));
    }
}
