//! The link layer: taps for all packets (`ptype_all`), and handlers by EtherType
//! (`ptype_base`).

use crate::arp;
use crate::drop::DropReason;
use crate::ip;
use crate::netcore::NetCore;
use crate::protocol::{NetContext, ProtocolHandler, Verdict};
use crate::route::IfIndex;
use crate::skb::{PacketType, SkBuff};
use crate::transport::Transports;
use crate::wire::ethernet::{EtherType, EthernetHeader};
use alloc::boxed::Box;
use alloc::vec::Vec;
use softnet_nic_hal::MacAddress;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It was received.
    Incoming,
    /// It will be sent.
    Outgoing,
}

/// A packet that a tap is shown.
#[derive(Clone, Copy, Debug)]
pub struct Tapped<'a> {
    /// The device.
    pub dev: IfIndex,
    /// Which way it goes.
    pub direction: Direction,
    /// The CPU's clock, in nanoseconds.
    pub now_ns: u64,
    /// The frame, from the link-layer header on, without FCS.
    pub frame: &'a [u8],
}

/// Sees all packets of a CPU (`ptype_all`).
///
/// It is called on the packet path: what takes time belongs behind a ring, such
/// as [`softnet_dma_ring::overwrite`].
pub trait PacketTap: Send {
    /// A packet was received, before any protocol looked at it, or is about to
    /// be sent.
    fn packet(&mut self, packet: Tapped<'_>);

    /// A packet was dropped. The bytes are from its link-layer header on, if it
    /// has one already.
    fn dropped(&mut self, packet: Tapped<'_>, reason: DropReason) {
        let _ = (packet, reason);
    }
}

/// The taps of one CPU. Without taps they cost one branch a packet.
#[derive(Default)]
pub(crate) struct Taps(Vec<Box<dyn PacketTap>>);

impl Taps {
    pub(crate) fn add(&mut self, tap: Box<dyn PacketTap>) {
        self.0.push(tap);
    }

    /// Whether nobody looks.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn packet(&mut self, skb: &SkBuff, direction: Direction, now_ns: u64) {
        for tap in &mut self.0 {
            tap.packet(Tapped {
                dev: skb.dev(),
                direction,
                now_ns,
                frame: skb.data(),
            });
        }
    }

    #[inline]
    pub(crate) fn dropped(&mut self, skb: &SkBuff, reason: DropReason, now_ns: u64) {
        for tap in &mut self.0 {
            let direction = match skb.packet_type() {
                PacketType::Outgoing => Direction::Outgoing,
                _ => Direction::Incoming,
            };
            let frame = skb.mac_header();
            tap.dropped(
                Tapped {
                    dev: skb.dev(),
                    direction,
                    now_ns,
                    frame,
                },
                reason,
            );
        }
    }
}

/// The handlers of one CPU, by EtherType. IPv4 and ARP are built in.
#[derive(Default)]
pub(crate) struct LinkLayer {
    others: Vec<(EtherType, Box<dyn ProtocolHandler>)>,
}

/// The protocol number has a handler already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has a handler already")]
pub struct HandlerTaken(pub &'static str);

impl LinkLayer {
    /// Adds the handler of an EtherType (`dev_add_pack`).
    ///
    /// # Errors
    /// [`HandlerTaken`] when it has one, or is built in.
    pub(crate) fn add(
        &mut self,
        ether_type: EtherType,
        handler: Box<dyn ProtocolHandler>,
    ) -> Result<(), HandlerTaken> {
        let built_in = [EtherType::IPV4, EtherType::ARP].contains(&ether_type);
        if built_in || self.others.iter().any(|(have, _)| *have == ether_type) {
            return Err(HandlerTaken("the EtherType"));
        }
        self.others.push((ether_type, handler));
        Ok(())
    }

    /// Takes a packet whose data starts at the link-layer header
    /// (`netif_receive_skb`).
    #[inline]
    pub(crate) fn receive(
        &mut self,
        core: &mut NetCore,
        transports: &mut Transports,
        mut skb: SkBuff,
    ) -> Verdict {
        skb.reset_mac_header();
        core.taps.packet(&skb, Direction::Incoming, core.now_ns());
        let Ok((header, _)) = EthernetHeader::parse(skb.data()) else {
            return core.kfree_skb(skb, DropReason::HdrTrunc);
        };
        skb.set_protocol(header.ether_type.0);
        skb.set_packet_type(eth_type_trans(core, &skb, &header));
        let _ = skb.pull(EthernetHeader::LEN);
        skb.reset_network_header();
        let mut net = NetContext::link(core, transports);
        match header.ether_type {
            EtherType::IPV4 => ip::receive(&mut net, skb),
            EtherType::ARP => arp::receive(&mut net, skb),
            other => self.receive_other(&mut net, other, skb),
        }
    }

    fn receive_other(
        &mut self,
        net: &mut NetContext<'_>,
        ether_type: EtherType,
        skb: SkBuff,
    ) -> Verdict {
        match self.others.iter_mut().find(|(have, _)| *have == ether_type) {
            Some((_, handler)) => handler.receive(net, skb),
            None if ether_type.is_vlan() => net.kfree_skb(skb, DropReason::VlanUnknown),
            None => net.kfree_skb(skb, DropReason::UnhandledProto),
        }
    }
}

/// To whom a frame was addressed (`eth_type_trans`).
#[inline]
fn eth_type_trans(core: &NetCore, skb: &SkBuff, header: &EthernetHeader) -> PacketType {
    let own = core.device(skb.dev()).map(|device| device.mac());
    match header.destination {
        destination if Some(destination) == own => PacketType::Host,
        MacAddress::BROADCAST => PacketType::Broadcast,
        destination if destination.is_multicast() => PacketType::Multicast,
        _ => PacketType::OtherHost,
    }
}
