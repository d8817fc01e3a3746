//! The port book, the receive buffers, and what an application can do wrong.

use super::host::{Host, OURS, PEER, Packet, SECOND, Shape, datagram, peer};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use softnet_netstack::{BindError, DropReason, NicOptions, RecvError, SendError, Snmp, UdpOptions};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ip), port)
}

fn options(receive_buffer: usize) -> UdpOptions {
    UdpOptions {
        receive_buffer,
        ..UdpOptions::default()
    }
}

#[test]
fn a_port_is_shared_by_different_addresses_only() {
    let mut host = Host::new(1);
    let second = Ipv4Addr::new(10, 0, 0, 77);
    host.stack
        .add_address(host.dev, IpAddr::V4(second), 24)
        .unwrap();
    let first = host.bind(7);
    let other = host.bind_with(second, 7, &options(0));
    let mut bind = |ip| host.stack.udp_bind(at(ip, 7), &options(0)).map(drop);
    assert_eq!(bind(OURS), Err(BindError::InUse(at(OURS, 7))));
    assert_eq!(bind(ANY), Err(BindError::InUse(at(ANY, 7))));
    drop((first, other));
    assert_eq!(bind(ANY), Ok(()));
    assert_eq!(bind(OURS), Ok(()));
}

#[test]
fn only_own_addresses_can_be_bound() {
    let mut host = Host::new(1);
    let mut bind = |ip| host.stack.udp_bind(at(ip, 7), &options(0)).map(drop);
    assert_eq!(bind(PEER), Err(BindError::NotLocal(IpAddr::V4(PEER))));
    assert_eq!(bind(Ipv4Addr::new(127, 1, 2, 3)), Ok(()));
    let v6 = "[::1]:7".parse().unwrap();
    let refused = host.stack.udp_bind(v6, &options(0)).map(drop);
    assert_eq!(refused, Err(BindError::Family(v6.ip())));
}

#[test]
fn ephemeral_ports_run_out_and_come_back() {
    let mut host = Host::new(1);
    let range = 32_768..=60_999u16;
    let mut sockets = Vec::new();
    for _ in range.clone() {
        sockets.push(host.bind_with(ANY, 0, &options(0)));
    }
    let mut ports: Vec<u16> = sockets.iter().map(|s| s.local_addr().port()).collect();
    ports.sort_unstable();
    assert!(ports.iter().copied().eq(range));
    let full = host.stack.udp_bind(at(ANY, 0), &options(0)).map(drop);
    assert!(matches!(full, Err(BindError::Exhausted(_))));
    let freed = sockets.swap_remove(1000).local_addr().port();
    assert_eq!(
        host.bind_with(ANY, 0, &options(0)).local_addr().port(),
        freed
    );
}

#[test]
fn connected_sockets_share_a_port_by_their_peers() {
    let mut host = Host::new(2);
    let mut connected = Vec::new();
    for from in 4000..4010 {
        let mut socket = host.bind(7);
        host.stack.udp_connect(&mut socket, peer(from)).unwrap();
        connected.push(socket);
    }
    let mut listener = host.bind(7);
    assert_eq!(
        host.stack.udp_connect(&mut listener, peer(4000)),
        Err(BindError::InUse(at(OURS, 7)))
    );
    for from in 3999..4011 {
        host.receive(&datagram(from, 7, b"x"));
    }
    for (socket, from) in connected.iter_mut().zip(4000..) {
        assert_eq!(socket.try_recv().unwrap().from(), peer(from));
        assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
    }
    let mut heard = || listener.try_recv().unwrap().from().port();
    let mut others = [heard(), heard()];
    others.sort_unstable();
    assert_eq!(others, [3999, 4010]);
}

/// More sockets than frames: what they have read lies in their queues until it is
/// collected, and counts as held until then.
#[test]
fn frames_that_were_read_come_back_from_sockets_that_hear_nothing_more() {
    let shape = Shape {
        frames: 256,
        nic: NicOptions {
            ring: Some(64),
            ..NicOptions::default()
        },
        ..Shape::default()
    };
    let mut host = Host::with(&shape);
    let mut sockets: Vec<_> = (0..400).map(|n| host.bind(1000 + n)).collect();
    let mut buffer = [0; 4];
    for (socket, port) in sockets.iter_mut().zip(1000..) {
        host.receive(&datagram(9, port, b"data"));
        let (len, from) = socket.try_recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"data"[..], peer(9)));
    }
    assert_eq!(host.all_drops(), 0);
    // With time alone all but those of the ring and the stock come home.
    let held = host.stack.pool().count_free();
    host.advance(2 * SECOND);
    assert!(host.stack.pool().count_free() > held);
}

#[test]
fn connecting_a_wildcard_socket_gives_it_the_routes_address() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind_with(ANY, 7, &options(100_000));
    assert_eq!(
        host.stack
            .udp_connect(&mut socket, "192.0.2.1:9".parse().unwrap()),
        Err(BindError::NoRoute("192.0.2.1:9".parse().unwrap()))
    );
    host.stack.udp_connect(&mut socket, peer(9)).unwrap();
    assert_eq!(socket.local_addr(), at(OURS, 7));
    assert_eq!(socket.peer_addr(), Some(peer(9)));
    // It moves to another peer, and hears only that one.
    host.stack.udp_connect(&mut socket, peer(10)).unwrap();
    host.receive(&datagram(9, 7, b"old"));
    host.receive(&datagram(10, 7, b"new"));
    assert_eq!(&socket.try_recv().unwrap()[..], b"new");
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
    assert_eq!(host.snmp(Snmp::UdpNoPorts), 1);
}

/// The book gives a closed socket's slot out again at once, before the CPUs have
/// heard of the close.
#[test]
fn a_reused_slot_hears_nothing_of_its_former_socket() {
    let mut host = Host::new(2);
    for round in 0..50u16 {
        let mut socket = host.bind(7 + round % 2);
        assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
        host.receive(&datagram(4000, 7 + round % 2, b"x"));
        assert!(socket.is_readable());
    }
}

/// What closed sockets have not read must not count against the memory of all
/// for ever.
#[test]
fn closing_unread_sockets_gives_the_memory_of_all_back() {
    let mut host = Host::with(&Shape {
        frames: 512,
        ..Shape::default()
    });
    for _ in 0..100 {
        let socket = host.bind(7);
        for _ in 0..50 {
            host.receive(&datagram(4000, 7, b"unread"));
        }
        assert_eq!(socket.drops(), 0);
        drop(socket);
        // No pass of the CPU in between: the next socket takes the same slot.
    }
    assert_eq!(host.drops(DropReason::ProtoMem), 0);
}

#[test]
fn all_sockets_together_hold_half_of_the_frames_at_the_most() {
    let mut host = Host::with(&Shape {
        frames: 512,
        ..Shape::default()
    });
    let mut sockets: Vec<_> = (7..11).map(|port| host.bind(port)).collect();
    for n in 0..400 {
        host.receive(&datagram(4000, 7 + n % 4, b"x"));
    }
    assert_eq!(host.drops(DropReason::ProtoMem), 144);
    assert_eq!(host.snmp(Snmp::UdpMemErrors), 144);
    assert_eq!(host.snmp(Snmp::UdpInErrors), 144);
    assert!(sockets[0].try_recv().is_ok());
    host.receive(&datagram(4000, 8, b"x"));
    assert_eq!(host.drops(DropReason::ProtoMem), 144);
}

#[test]
fn one_datagram_fits_the_smallest_buffer() {
    let mut host = Host::new(1);
    let mut socket = host.bind_with(OURS, 7, &options(0));
    for _ in 0..3 {
        host.receive(&datagram(4000, 7, b"a"));
        host.receive(&datagram(4000, 7, b"b"));
        assert_eq!(&socket.try_recv().unwrap()[..], b"a");
    }
    assert_eq!(socket.drops(), 3);
}

#[test]
fn what_was_sent_before_the_close_still_leaves() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind(7);
    for _ in 0..600 {
        socket.try_send_to(b"last words", peer(9)).unwrap();
    }
    drop(socket);
    host.stack.run_until_idle();
    let mut count = 0;
    while count < 600 {
        let sent = host.sent().len();
        assert_ne!(sent, 0, "after {count}");
        count += sent;
    }
    assert_eq!(host.drops(DropReason::SocketClose), 0);
}

#[test]
fn a_socket_that_sends_too_fast_is_told_to_wait() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind(7);
    let sent = (0..2000).take_while(|_| socket.try_send_to(b"x", peer(9)).is_ok());
    assert_eq!(sent.count(), 1024);
    assert_eq!(
        socket.try_send_to(b"x", peer(9)),
        Err(SendError::WouldBlock)
    );
    host.stack.run_until_idle();
    assert_eq!(socket.try_send_to(b"x", peer(9)), Ok(()));
}

#[test]
fn what_cannot_be_sent_is_refused_or_told_later() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind(7);
    assert_eq!(socket.try_send(b"x"), Err(SendError::NotConnected));
    let bad = peer(0);
    let refused = socket.try_send_to(b"x", bad);
    assert_eq!(refused, Err(SendError::BadDestination(bad)));
    let huge = socket.try_send_to(&[0; 4000], peer(9)).unwrap_err();
    assert!(matches!(huge, SendError::TooLong { len: 4000, .. }));
    for (payload, to, error, reason) in [
        (
            1473,
            peer(9),
            RecvError::MessageTooLong,
            DropReason::PktTooBig,
        ),
        (
            1,
            at(Ipv4Addr::new(192, 0, 2, 1), 9),
            RecvError::NetworkUnreachable,
            DropReason::IpOutnoroutes,
        ),
        (
            1,
            at(Ipv4Addr::new(10, 0, 0, 255), 9),
            RecvError::Prohibited,
            DropReason::IpOutnoroutes,
        ),
    ] {
        let before = host.drops(reason);
        assert!(host.send(&mut socket, &vec![0; payload], to).is_empty());
        assert_eq!(socket.try_recv().unwrap_err(), error);
        assert_eq!(host.drops(reason), before + 1);
    }
    assert_eq!(host.send(&mut socket, &[0; 1472], peer(9)).len(), 1);
}

#[test]
fn broadcasts_need_permission_and_go_to_everybody() {
    let mut host = Host::new(1);
    let options = UdpOptions {
        broadcast: true,
        ..UdpOptions::default()
    };
    let mut socket = host.bind_with(ANY, 7, &options);
    let to = at(Ipv4Addr::new(10, 0, 0, 255), 9);
    let sent = host.send(&mut socket, b"all", to);
    assert_eq!(&sent[0][..6], &[0xff; 6]);
    let everybody = Packet::udp(4000, 7, b"in")
        .to(Ipv4Addr::new(10, 0, 0, 255))
        .framed_to([0xff; 6]);
    host.receive(&everybody.emit());
    assert_eq!(&socket.try_recv().unwrap()[..], b"in");
}

#[test]
fn a_closed_local_port_refuses_at_any_local_address() {
    for ip in [OURS, Ipv4Addr::LOCALHOST] {
        let mut host = Host::new(1);
        let mut socket = host.bind_with(ip, 7, &UdpOptions::default());
        host.stack.udp_connect(&mut socket, at(ip, 8)).unwrap();
        socket.try_send(b"x").unwrap();
        host.stack.run_until_idle();
        assert_eq!(socket.try_recv().unwrap_err(), RecvError::ConnectionRefused);
    }
}

#[test]
fn errors_to_one_peer_are_limited_and_counted() {
    let mut host = Host::new(1).knows_peer();
    for _ in 0..20 {
        host.receive(&datagram(4000, 7, b"x"));
    }
    assert_eq!(host.sent().len(), 6);
    assert_eq!(host.snmp(Snmp::IcmpOutRateLimit), 14);
    host.advance(SECOND);
    host.receive(&datagram(4000, 7, b"x"));
    assert_eq!(host.sent().len(), 1);
}

#[test]
fn padding_is_not_part_of_a_datagram() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    let mut frame = datagram(4000, 7, b"ab");
    frame.resize(60, 0xee);
    host.receive(&frame);
    assert_eq!(&socket.try_recv().unwrap()[..], b"ab");
    // Nor is what the IP packet has behind the UDP length.
    let mut packet = Packet::udp(4000, 7, b"cd");
    packet.body.extend(b"tail");
    host.receive(&packet.emit());
    assert_eq!(&socket.try_recv().unwrap()[..], b"cd");
}

#[test]
fn fragments_are_dropped_and_counted() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    for fragment in [0x2000, 0x0001, 0x3fff] {
        let mut packet = Packet::udp(4000, 7, b"part");
        packet.fragment = fragment;
        host.receive(&packet.emit());
    }
    assert_eq!(host.drops(DropReason::IpFragment), 3);
    assert_eq!(host.snmp(Snmp::IpInDiscards), 3);
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
}

#[test]
fn the_second_address_of_a_network_inherits_its_route() {
    let mut host = Host::new(1).knows_peer();
    let second = Ipv4Addr::new(10, 0, 0, 77);
    let (dev, old) = (host.dev, IpAddr::V4(OURS));
    host.stack.add_address(dev, IpAddr::V4(second), 24).unwrap();
    host.stack.remove_address(dev, old).unwrap();
    let mut socket = host.bind_with(ANY, 7, &UdpOptions::default());
    let sent = host.send(&mut socket, b"x", peer(9));
    assert_eq!(&sent[0][26..30], &second.octets());
    assert!(host.stack.remove_address(dev, old).is_err());
    host.stack.remove_address(dev, IpAddr::V4(second)).unwrap();
    assert!(host.send(&mut socket, b"x", peer(9)).is_empty());
    assert_eq!(
        socket.try_recv().unwrap_err(),
        RecvError::NetworkUnreachable
    );
}

#[test]
fn a_frame_for_another_station_was_not_received_by_ip() {
    let mut host = Host::new(1);
    let frame = Packet::udp(4000, 7, b"x").framed_to([2, 9, 9, 9, 9, 9]);
    host.receive(&frame.emit());
    assert_eq!(host.drops(DropReason::Otherhost), 1);
    assert_eq!(host.snmp(Snmp::IpInReceives), 0);
}
