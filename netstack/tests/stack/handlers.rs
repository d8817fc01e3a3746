//! Protocols and taps that the user adds.

use super::host::{Host, Packet, datagram, peer};
use softnet_netstack::wire::ethernet::EtherType;
use softnet_netstack::wire::ipv4::IpProtocol;
use softnet_netstack::{
    Direction, DropReason, NetContext, PacketTap, ProtocolHandler, SkBuff, Snmp, StackError,
    Tapped, Verdict,
};
use std::sync::{Arc, Mutex};

type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// Keeps the bytes that it is given, and refuses those that start with 0.
struct Keep(Seen);

impl ProtocolHandler for Keep {
    fn receive(&mut self, net: &mut NetContext<'_>, skb: SkBuff) -> Verdict {
        if skb.data().first() == Some(&0) {
            return net.kfree_skb(skb, DropReason::InvalidProto);
        }
        self.0.lock().unwrap().push(skb.data().to_vec());
        net.consume_skb(skb);
        Verdict::Delivered
    }
}

#[test]
fn a_link_handler_gets_the_payload_of_its_ether_type() {
    let mut host = Host::new(1);
    let seen = Seen::default();
    let ether_type = EtherType(0x88b5);
    host.stack
        .add_link_handler(ether_type, |_| Box::new(Keep(seen.clone())))
        .unwrap();
    let frame = [
        &[2, 0, 0, 0, 0, 1, 2, 9, 9, 9, 9, 9, 0x88, 0xb5][..],
        b"hello",
    ]
    .concat();
    host.receive(&frame);
    let mut refused = frame.clone();
    refused[14] = 0;
    host.receive(&refused);
    assert_eq!(*seen.lock().unwrap(), [b"hello"]);
    assert_eq!(host.delivered(), 1);
    assert_eq!(host.drops(DropReason::InvalidProto), 1);
    assert_eq!(host.rx_drops(), 1);
}

#[test]
fn a_transport_handler_gets_the_payload_of_its_protocol() {
    for cpus in [1, 2] {
        let mut host = Host::new(cpus).knows_peer();
        let seen = Seen::default();
        host.stack
            .add_protocol(IpProtocol(132), |_| Box::new(Keep(seen.clone())))
            .unwrap();
        let mut packet = Packet::new(132, b"sctp");
        packet.options = vec![1, 1, 1, 0];
        host.receive(&packet.emit());
        assert_eq!(*seen.lock().unwrap(), [b"sctp"]);
        assert_eq!(host.snmp(Snmp::IpInDelivers), 1);
        assert!(host.sent().is_empty());
    }
}

#[test]
fn a_number_has_one_handler() {
    let mut host = Host::new(2);
    let seen = Seen::default();
    for (number, free) in [(17, false), (1, false), (132, true), (132, false)] {
        let added = host
            .stack
            .add_protocol(IpProtocol(number), |_| Box::new(Keep(seen.clone())));
        assert_eq!(added.is_ok(), free, "{number}");
        assert!(free || matches!(added, Err(StackError::Taken(_))));
    }
    let mut add = |ether_type| {
        host.stack
            .add_link_handler(ether_type, |_| Box::new(Keep(seen.clone())))
    };
    assert!(add(EtherType::IPV4).is_err());
    assert!(add(EtherType::ARP).is_err());
    assert!(add(EtherType(0x88b5)).is_ok());
    assert!(add(EtherType(0x88b5)).is_err());
}

type Frames = Arc<Mutex<Vec<(Direction, Vec<u8>)>>>;

struct Record(Frames);

impl PacketTap for Record {
    fn packet(&mut self, packet: Tapped<'_>) {
        let seen = (packet.direction, packet.frame.to_vec());
        self.0.lock().unwrap().push(seen);
    }
}

#[test]
fn a_tap_sees_every_frame_once_both_ways() {
    for cpus in [1, 2, 4] {
        let mut host = Host::new(cpus).knows_peer();
        let frames = Frames::default();
        host.stack
            .add_tap(|_| Box::new(Record(frames.clone())))
            .unwrap();
        let mut socket = host.bind(7);
        let incoming = datagram(4000, 7, b"in");
        host.receive(&incoming);
        let outgoing = host.send(&mut socket, b"out", peer(9)).remove(0);
        assert_eq!(
            *frames.lock().unwrap(),
            [
                (Direction::Incoming, incoming),
                (Direction::Outgoing, outgoing)
            ]
        );
    }
}
