//! What RFC 1122 demands of a host, section by section, as far as it concerns
//! what this stack speaks. Reassembly (section 3.3.2) it does not speak.

use super::host::{
    Host, OUR_MAC, OURS, PEER, PEER_MAC, Packet, SECOND, arp, checksum, datagram, peer, ping,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use softnet_netstack::{DropReason, RecvError, Snmp, UdpOptions};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const NET_BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);

/// The frame is dropped for the reason, and nobody is told.
fn is_silently_dropped(frame: &[u8], reason: DropReason) {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind_with(ANY, 7, &UdpOptions::default());
    host.receive(frame);
    assert_eq!(host.drops(reason), 1, "{reason:?}");
    assert_eq!(host.sent().len(), 0, "{reason:?}");
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
}

/// Section 2.3.2.1: what is cached of a station must be flushed when it is out
/// of date: an unused entry is asked for again, at its station first.
#[test]
fn the_arp_cache_is_validated_again() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    host.receive(&arp(1, (PEER_MAC, PEER), ([0; 6], OURS)));
    host.sent();
    assert_eq!(host.send(&mut socket, b"x", peer(9)).len(), 1);
    host.advance(6 * SECOND);
    let probes = host.sent();
    assert!(!probes.is_empty());
    assert_eq!(&probes[0][..6], &PEER_MAC);
    assert_eq!(&probes[0][12..14], &[8, 6]);
}

/// Section 2.3.2.1: no more than one request a second for one address.
#[test]
fn arp_does_not_flood() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    for _ in 0..50 {
        socket.try_send_to(b"x", peer(9)).unwrap();
        host.stack.run_until_idle();
    }
    assert_eq!(host.sent().len(), 1);
    host.advance(SECOND - 1);
    assert_eq!(host.sent().len(), 0);
    host.advance(1);
    assert_eq!(host.sent().len(), 1);
}

/// Section 2.3.2.2: at least the latest packet is kept while ARP asks.
#[test]
fn packets_wait_for_arp_and_leave_in_order() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    for payload in [b"1", b"2", b"3"] {
        socket.try_send_to(payload, peer(9)).unwrap();
    }
    host.stack.run_until_idle();
    assert_eq!(host.sent().len(), 1);
    host.receive(&super::host::arp_answer());
    let sent = host.sent();
    let payloads: Vec<&[u8]> = sent.iter().map(|frame| &frame[42..]).collect();
    assert_eq!(payloads, [b"1", b"2", b"3"]);
}

/// Section 2.3.3: RFC 894 encapsulation; a length field is not an EtherType.
#[test]
fn an_802_3_length_is_no_protocol() {
    let mut packet = Packet::udp(4000, 7, b"x");
    packet.ether_type = 46;
    is_silently_dropped(&packet.emit(), DropReason::UnhandledProto);
}

/// Section 3.2.1.1: another version than 4 is silently discarded.
#[test]
fn another_version_is_silently_discarded() {
    let mut frame = datagram(4000, 7, b"x");
    frame[14] = 0x65;
    super::host::fix_ip_checksum(&mut frame);
    is_silently_dropped(&frame, DropReason::IpInhdr);
}

/// Section 3.2.1.2: the header checksum is verified, and a bad one silently
/// discarded.
#[test]
fn a_bad_header_checksum_is_silently_discarded() {
    let mut frame = datagram(4000, 7, b"x");
    frame[24] ^= 1;
    is_silently_dropped(&frame, DropReason::IpCsum);
}

/// Section 3.2.1.3: a datagram that is not for this host is silently discarded.
#[test]
fn a_datagram_for_another_host_is_silently_discarded() {
    let frame = Packet::udp(4000, 7, b"x").to(Ipv4Addr::new(10, 0, 0, 3));
    is_silently_dropped(&frame.emit(), DropReason::IpInaddrerrors);
}

/// Section 3.2.1.3: a source that no host can have is silently discarded.
#[test]
fn impossible_sources_are_silently_discarded() {
    for (source, reason) in [
        ("0.0.0.0", DropReason::IpInvalidSource),
        ("224.0.0.9", DropReason::IpInvalidSource),
        ("255.255.255.255", DropReason::IpInvalidSource),
        ("10.0.0.255", DropReason::IpInvalidSource),
        ("127.0.0.1", DropReason::IpLocalnet),
        ("10.0.0.2", DropReason::IpLocalSource),
    ] {
        let source: Ipv4Addr = source.parse().unwrap();
        let udp = Packet::udp(4000, 7, b"x").from(source).emit();
        is_silently_dropped(&udp, reason);
        let mut echo = Packet::icmp(&[8, 0, 0, 0, 0, 1, 0, 1]).from(source);
        echo.to_mac = OUR_MAC;
        is_silently_dropped(&echo.emit(), reason);
    }
}

/// Section 3.2.1.3 (g): 127/8 is never seen outside of a host, neither as a
/// destination nor as a source.
#[test]
fn loopback_addresses_do_not_leave_the_host() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind_with(Ipv4Addr::LOCALHOST, 7, &UdpOptions::default());
    assert!(host.send(&mut socket, b"x", peer(9)).is_empty());
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::Prohibited);
    let prefix = softnet_netstack::route::IpPrefix::new(IpAddr::V4(ANY), 0).unwrap();
    let default = softnet_netstack::route::Route::on_link(prefix, host.dev);
    host.stack.add_route(default).unwrap();
    let other = SocketAddr::from(([127, 9, 9, 9], 7));
    assert!(host.send(&mut socket, b"x", other).is_empty());
    // 127.9.9.9 is this host, whose socket is bound to 127.0.0.1.
    assert_eq!(host.snmp(Snmp::UdpNoPorts), 1);
}

/// Section 3.2.1.3: the source of what is sent is one of the host's own
/// addresses, never a group.
#[test]
fn a_socket_bound_to_a_group_sends_from_the_hosts_address() {
    for group in [Ipv4Addr::new(224, 0, 0, 1), NET_BROADCAST] {
        let mut host = Host::new(1).knows_peer();
        let mut socket = host.bind_with(group, 7, &UdpOptions::default());
        let sent = host.send(&mut socket, b"x", peer(9));
        assert_eq!(&sent[0][26..30], &OURS.octets());
    }
}

/// Section 3.2.1.7: a datagram is not discarded because its TTL is below 2.
#[test]
fn a_ttl_of_zero_is_no_reason_to_discard() {
    for ttl in [0, 1] {
        let mut host = Host::new(1);
        let mut socket = host.bind(7);
        let mut packet = Packet::udp(4000, 7, b"last");
        packet.ttl = ttl;
        host.receive(&packet.emit());
        assert_eq!(&socket.try_recv().unwrap()[..], b"last");
    }
}

/// Section 3.2.1.7: nothing is sent with a TTL of 0.
#[test]
fn nothing_is_sent_with_a_ttl_of_zero() {
    let mut host = Host::new(1).knows_peer();
    let options = UdpOptions {
        ttl: 0,
        ..UdpOptions::default()
    };
    let mut socket = host.bind_with(OURS, 7, &options);
    let sent = host.send(&mut socket, b"x", peer(9));
    assert_eq!(sent[0][22], 1);
}

/// Section 3.2.1.8: options that are not known are ignored in silence.
#[test]
fn unknown_options_are_ignored() {
    for options in [vec![1, 1, 1, 0], vec![0x94, 4, 0, 0], vec![30, 3, 9, 0]] {
        let mut host = Host::new(1);
        let mut socket = host.bind(7);
        let mut packet = Packet::udp(4000, 7, b"with");
        packet.options = options;
        host.receive(&packet.emit());
        let datagram = socket.try_recv().unwrap();
        assert_eq!(&datagram[..], b"with");
        assert_eq!(datagram.from(), peer(4000));
    }
}

/// Section 3.2.2: a message of an unknown type is silently discarded.
#[test]
fn an_unknown_icmp_type_is_silently_discarded() {
    let message = Packet::icmp(&[99, 0, 0, 0, 0, 0, 0, 0]);
    is_silently_dropped(&message.emit(), DropReason::IcmpIgnored);
}

/// Section 3.2.2: an error quotes the header and at least 8 bytes of the
/// datagram, unchanged.
#[test]
fn an_error_quotes_the_datagram_unchanged() {
    let mut host = Host::new(1).knows_peer();
    let mut packet = Packet::udp(4000, 7, b"0123456789");
    packet.options = vec![1, 1, 1, 0];
    let frame = packet.emit();
    host.receive(&frame);
    let sent = host.sent();
    assert_eq!(&sent[0][34..36], &[3, 3]);
    assert_eq!(&sent[0][42..], &frame[14..]);
}

/// Section 3.2.2: no error about an error, about a packet to many in either
/// layer, about a later fragment, or to what is no one host's address.
#[test]
fn errors_are_not_sent_where_they_could_multiply() {
    let closed = || Packet::udp(4000, 7, b"x");
    let mut later = Packet::new(99, b"later fragment..");
    later.fragment = 2;
    let unreachable = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &closed().emit()[14..]].concat();
    for packet in [
        closed().to(NET_BROADCAST).framed_to([0xff; 6]),
        closed().to(Ipv4Addr::BROADCAST).framed_to([0xff; 6]),
        closed()
            .to(Ipv4Addr::new(224, 0, 0, 1))
            .framed_to([1, 0, 0x5e, 0, 0, 1]),
        closed().framed_to([0xff; 6]),
        closed().from(NET_BROADCAST),
        closed().from(ANY),
        closed().from(Ipv4Addr::new(240, 0, 0, 1)),
        later,
        Packet::icmp(&unreachable),
    ] {
        let mut host = Host::new(1).knows_peer();
        host.receive(&packet.emit());
        assert_eq!(host.sent().len(), 0, "{packet:?}");
        assert_eq!(host.snmp(Snmp::IcmpOutMsgs), 0, "{packet:?}");
    }
}

/// Section 3.2.2.1: a protocol that is not handled is answered, with code 2.
#[test]
fn an_unknown_protocol_is_answered() {
    let mut host = Host::new(1).knows_peer();
    host.receive(&Packet::new(132, b"sctp....").emit());
    let sent = host.sent();
    assert_eq!(&sent[0][34..36], &[3, 2]);
    assert_eq!(host.snmp(Snmp::IpInUnknownProtos), 1);
    assert_eq!(host.snmp(Snmp::IpInDelivers), 0);
}

/// Section 3.2.2.1: "unreachable" is reported to the transport layer.
#[test]
fn every_unreachable_reaches_the_connected_socket() {
    for (code, error) in [
        (0, RecvError::NetworkUnreachable),
        (1, RecvError::HostUnreachable),
        (3, RecvError::ConnectionRefused),
        (4, RecvError::MessageTooLong),
        (6, RecvError::NetworkUnreachable),
        (13, RecvError::HostUnreachable),
    ] {
        let mut host = Host::new(1).knows_peer();
        let mut socket = host.bind(7);
        host.stack.udp_connect(&mut socket, peer(9)).unwrap();
        let sent = host.send(&mut socket, b"x", peer(9));
        let mut message = vec![3, code, 0, 0, 0, 0, 5, 0];
        message.extend(&sent[0][14..42]);
        host.receive(&Packet::icmp(&message).emit());
        assert_eq!(socket.try_recv().unwrap_err(), error, "code {code}");
    }
}

/// Section 3.2.2.6: every host answers an echo request, with all its data, from
/// the address that was asked.
#[test]
fn an_echo_has_all_the_data_and_the_address_that_was_asked() {
    for len in [0, 1, 7, 56, 1472] {
        let mut host = Host::new(1).knows_peer();
        let second = Ipv4Addr::new(10, 0, 0, 77);
        host.stack
            .add_address(host.dev, IpAddr::V4(second), 24)
            .unwrap();
        let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let message = [&[8, 0, 0, 0, 1, 2, 3, 4][..], &data].concat();
        host.receive(&Packet::icmp(&message).to(second).emit());
        let sent = host.sent();
        assert_eq!(&sent[0][26..30], &second.octets());
        assert_eq!(&sent[0][30..34], &PEER.octets());
        assert_eq!(&sent[0][38..42], &[1, 2, 3, 4]);
        assert_eq!(&sent[0][42..], data);
        assert_eq!(checksum(&[&sent[0][34..]]), 0);
    }
}

/// Section 3.2.2.6: an echo request to many may be discarded, and is.
#[test]
fn an_echo_to_everybody_is_not_answered() {
    let frame = Packet::icmp(&[8, 0, 0, 0, 0, 1, 0, 1])
        .to(NET_BROADCAST)
        .framed_to([0xff; 6]);
    is_silently_dropped(&frame.emit(), DropReason::IcmpIgnored);
}

/// Section 3.3.6: a packet to one host in a frame to many is discarded.
#[test]
fn a_packet_to_one_in_a_frame_to_many_is_discarded() {
    let frame = Packet::udp(4000, 7, b"x").framed_to([0xff; 6]);
    is_silently_dropped(&frame.emit(), DropReason::UnicastInL2Multicast);
}

/// Section 4.1.3.1: a datagram to a closed port is answered by "port
/// unreachable".
#[test]
fn a_closed_port_is_answered() {
    let mut host = Host::new(1).knows_peer();
    host.receive(&datagram(4000, 7, b"x"));
    assert_eq!(&host.sent()[0][34..36], &[3, 3]);
}

/// Section 4.1.3.4: a bad checksum is silently discarded; 0 is none.
#[test]
fn a_bad_udp_checksum_is_silently_discarded_and_none_is_accepted() {
    let mut frame = datagram(4000, 7, b"x");
    frame[40] ^= 1;
    is_silently_dropped(&frame, DropReason::UdpCsum);
    frame[40..42].fill(0);
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    host.receive(&frame);
    assert_eq!(&socket.try_recv().unwrap()[..], b"x");
}

/// Section 4.1.3.4: checksums are generated, and one that comes out as 0 is
/// sent as all ones.
#[test]
fn a_checksum_is_always_sent_and_never_zero() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind(7);
    // All payloads of two bytes: one of them makes the sum come out as 0.
    let mut ones = 0;
    for payload in 0..=u16::MAX {
        let sent = host.send(&mut socket, &payload.to_be_bytes(), peer(9));
        let field = [sent[0][40], sent[0][41]];
        assert_ne!(field, [0, 0]);
        ones += usize::from(field == [0xff, 0xff]);
    }
    assert!(ones > 0);
}

/// Section 4.1.3.5: a host with several addresses answers from the one that
/// the application has bound.
#[test]
fn the_application_chooses_the_source() {
    let mut host = Host::new(1).knows_peer();
    let second = Ipv4Addr::new(10, 0, 0, 77);
    host.stack
        .add_address(host.dev, IpAddr::V4(second), 24)
        .unwrap();
    let mut socket = host.bind_with(second, 7, &UdpOptions::default());
    let sent = host.send(&mut socket, b"x", peer(9));
    assert_eq!(&sent[0][26..30], &second.octets());
}

/// Section 4.1.3.6: a datagram with an invalid source is discarded before an
/// application sees it.
#[test]
fn a_broadcast_source_reaches_no_socket() {
    let frame = Packet::udp(4000, 7, b"x").from(NET_BROADCAST);
    is_silently_dropped(&frame.emit(), DropReason::IpInvalidSource);
}

/// A host that hears its own question's answer late is still up: echo works
/// while ARP is asked (section 3.2.2.6 has no exception).
#[test]
fn an_echo_waits_for_arp_like_everything_else() {
    let mut host = Host::new(1);
    host.receive(&ping(b"abc"));
    assert_eq!(&host.sent()[0][12..14], &[8, 6]);
    host.receive(&super::host::arp_answer());
    assert_eq!(&host.sent()[0][42..], b"abc");
}
