//! The ways that a packet can take.

use super::host::{Host, OURS, PEER, PEER_MAC, Packet, QUEUE, checksum, datagram};
use core::net::{IpAddr, SocketAddr};
use softnet_dma_ring::PoolConfig;
use softnet_netstack::{DropReason, RecvError, Snmp, UdpOptions};

#[test]
fn a_datagram_reaches_the_socket_bound_to_its_port() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    let frame = datagram(4000, 7, b"hello");
    host.receive(&frame);
    let datagram = socket.try_recv().unwrap();
    assert_eq!(&datagram[..], b"hello");
    assert_eq!(datagram.from(), SocketAddr::new(IpAddr::V4(PEER), 4000));
    assert_eq!(datagram.to(), SocketAddr::new(IpAddr::V4(OURS), 7));
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
}

#[test]
fn an_answer_in_the_same_frame_goes_back_to_the_sender() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind(7);
    let frame = datagram(4000, 7, b"ping!");
    host.receive(&frame);
    let datagram_in = socket.try_recv().unwrap();
    let from = datagram_in.from();
    socket.try_send_datagram(datagram_in, from).unwrap();
    host.stack.run_until_idle();
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    let answer = &sent[0];
    assert_eq!(&answer[..6], &PEER_MAC);
    assert_eq!(&answer[26..30], &OURS.octets());
    assert_eq!(&answer[30..34], &PEER.octets());
    assert_eq!(&answer[34..38], &[0, 7, 0x0f, 0xa0]);
    assert_eq!(&answer[42..], b"ping!");
    assert_eq!(checksum(&[&answer[14..34]]), 0);
    let pseudo = [&answer[26..34], &[0, 17, 0, 13]].concat();
    assert_eq!(checksum(&[&pseudo, &answer[34..]]), 0);
}

#[test]
fn an_unknown_neighbour_is_asked_for_and_the_packet_waits() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    let peer = SocketAddr::new(IpAddr::V4(PEER), 9);
    socket.try_send_to(b"x", peer).unwrap();
    host.stack.run_until_idle();
    let asked = host.sent();
    assert_eq!(asked.len(), 1);
    assert_eq!(&asked[0][12..14], &[8, 6]);
    assert_eq!(&asked[0][38..42], &PEER.octets());
    let mut reply = [&host.mac.0[..], &PEER_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
    reply.extend(PEER_MAC);
    reply.extend(PEER.octets());
    reply.extend(host.mac.0);
    reply.extend(OURS.octets());
    host.receive(&reply);
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(&sent[0][42..], b"x");
}

#[test]
fn a_ping_is_answered_with_its_data() {
    let mut host = Host::new(1).knows_peer();
    let mut echo = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    echo.extend(b"abcdefgh");
    let sum = checksum(&[&echo]);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let frame = Packet::new(1, &echo).emit();
    host.receive(&frame);
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][34], 0);
    assert_eq!(&sent[0][38..], &echo[4..]);
    assert_eq!(checksum(&[&sent[0][34..]]), 0);
}

#[test]
fn a_closed_port_is_answered_and_the_drop_explained() {
    let mut host = Host::new(1).knows_peer();
    let frame = datagram(4000, 7, b"hello");
    host.receive(&frame);
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(&sent[0][34..36], &[3, 3]);
    assert_eq!(&sent[0][42..], &frame[14..]);
    assert_eq!(checksum(&[&sent[0][34..]]), 0);
    assert_eq!(host.drops(DropReason::NoSocket), 1);
    assert_eq!(host.snmp(Snmp::UdpNoPorts), 1);
}

#[test]
fn a_connected_socket_hears_of_a_refusal() {
    let mut host = Host::new(1).knows_peer();
    let mut socket = host.bind(0);
    let peer = SocketAddr::new(IpAddr::V4(PEER), 9);
    host.stack.udp_connect(&mut socket, peer).unwrap();
    socket.try_send(b"anybody?").unwrap();
    host.stack.run_until_idle();
    let sent = host.sent();
    let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
    error.extend(&sent[0][14..42]);
    let sum = checksum(&[&error]);
    error[2..4].copy_from_slice(&sum.to_be_bytes());
    let frame = Packet::new(1, &error).emit();
    host.receive(&frame);
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::ConnectionRefused);
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
}

#[test]
fn a_full_receive_buffer_drops_and_counts() {
    let mut host = Host::new(1);
    let address = SocketAddr::new(IpAddr::V4(OURS), 7);
    let options = UdpOptions {
        receive_buffer: 10_000,
        ..UdpOptions::default()
    };
    let mut socket = host.stack.udp_bind(address, &options).unwrap();
    let frame = datagram(4000, 7, b"flood");
    for _ in 0..10 {
        host.receive(&frame);
    }
    let frame_size = u64::from(PoolConfig::default().buffer_size) + 64;
    let fits = 10_000 / frame_size;
    assert_eq!(host.drops(DropReason::SocketRcvbuff), 10 - fits);
    assert_eq!(socket.drops(), 10 - fits);
    assert_eq!(host.snmp(Snmp::UdpRcvbufErrors), 10 - fits);
    for _ in 0..fits {
        socket.try_recv().unwrap();
    }
    host.receive(&frame);
    assert!(socket.try_recv().is_ok());
}

#[test]
fn all_frames_are_home_when_the_nic_has_been_removed() {
    let mut host = Host::new(2).knows_peer();
    let mut socket = host.bind(7);
    for _ in 0..20 {
        let frame = datagram(4000, 7, b"hello");
        host.receive(&frame);
    }
    socket
        .try_send_to(b"x", SocketAddr::new(IpAddr::V4(PEER), 9))
        .unwrap();
    host.stack.run_until_idle();
    let pool = host.stack.pool().clone();
    host.stack.remove_nic(host.dev).unwrap();
    drop(socket);
    drop(host);
    assert_eq!(pool.count_free(), pool.frames());
}

#[test]
fn a_packet_to_an_own_address_comes_back_up() {
    let mut host = Host::new(1);
    let mut server = host.bind(7);
    let mut client = host.bind(0);
    client.try_send_to(b"self", server.local_addr()).unwrap();
    host.stack.run_until_idle();
    let datagram = server.try_recv().unwrap();
    assert_eq!(&datagram[..], b"self");
    assert_eq!(datagram.from(), client.local_addr());
}

#[test]
fn every_flow_finds_its_cpu_and_the_socket_hears_all() {
    for cpus in [1, 2, 4] {
        let mut host = Host::new(cpus).knows_peer();
        let mut socket = host.bind(7);
        for from in 0..64 {
            let frame = datagram(5000 + from, 7, b"hello");
            host.receive(&frame);
        }
        let mut from: Vec<u16> = core::iter::from_fn(|| socket.try_recv().ok())
            .map(|d| d.from().port())
            .collect();
        from.sort_unstable();
        assert_eq!(from, (5000..5064).collect::<Vec<_>>());
        let busy = (0..cpus)
            .filter(|&cpu| {
                host.stack
                    .counters(cpu)
                    .unwrap()
                    .snmp
                    .value(Snmp::UdpInDatagrams)
                    > 0
            })
            .count();
        assert_eq!(busy, cpus);
    }
}

#[test]
fn threads_receive_and_answer() {
    let mut host = Host::new(2).knows_peer();
    let mut socket = host.bind(7);
    host.stack.start(&Default::default()).unwrap();
    for from in 0..32u16 {
        let frame = datagram(6000 + from, 7, b"hello");
        host.port.inject(QUEUE, &frame);
        let datagram = socket.recv(None).unwrap();
        assert_eq!(datagram.from().port(), 6000 + from);
    }
    host.stack.stop().unwrap();
    assert_eq!(host.snmp(Snmp::UdpInDatagrams), 32);
}
