//! ARP and what waits for it, on one CPU and on several.

use super::host::{Host, OUR_MAC, OURS, PEER, PEER_MAC, SECOND, Shape, arp, arp_answer, peer};
use core::net::{IpAddr, Ipv4Addr};
use softnet_netstack::rss::{DEFAULT_KEY, Rss};
use softnet_netstack::{DropReason, NicOptions, RecvError, Snmp, UdpSocket};
use softnet_nic_hal::testing::{LoopConfig, LoopNic};

/// A socket on each of the ports, so that every CPU has flows.
fn sockets(host: &mut Host) -> Vec<UdpSocket> {
    (7000..7032).map(|port| host.bind(port)).collect()
}

/// Each CPU has a neighbour table of its own, and ARP packets come to one CPU
/// only: the answer to any CPU's question has to reach that CPU.
#[test]
fn an_answer_ends_the_questions_of_all_cpus() {
    for cpus in [1, 2, 4] {
        let mut host = Host::new(cpus);
        let mut sockets = sockets(&mut host);
        for socket in &mut sockets {
            socket.try_send_to(b"x", peer(9)).unwrap();
        }
        host.stack.run_until_idle();
        assert_eq!(host.sent().len(), cpus, "one question of each CPU");
        host.receive(&arp_answer());
        assert_eq!(host.sent().len(), sockets.len());
        host.advance(4 * SECOND);
        assert_eq!(host.sent().len(), 0, "no CPU asks any more");
        assert_eq!(host.drops(DropReason::ArpIgnored), 0);
    }
}

#[test]
fn a_question_to_this_host_teaches_all_cpus_who_asked() {
    let mut host = Host::new(4);
    let mut sockets = sockets(&mut host);
    host.receive(&arp(1, (PEER_MAC, PEER), ([0; 6], OURS)));
    let answer = host.sent();
    assert_eq!(answer, [arp(2, (OUR_MAC, OURS), (PEER_MAC, PEER))]);
    for socket in &mut sockets {
        assert_eq!(host.send(socket, b"x", peer(9)).len(), 1);
    }
}

#[test]
fn a_connected_socket_hears_that_its_neighbour_does_not_answer() {
    for cpus in [1, 2, 4] {
        let mut host = Host::new(cpus);
        for mut socket in sockets(&mut host) {
            host.stack.udp_connect(&mut socket, peer(9)).unwrap();
            host.send(&mut socket, b"x", peer(9));
            host.advance(5 * SECOND);
            assert_eq!(socket.try_recv().unwrap_err(), RecvError::HostUnreachable);
            host.sent();
        }
        assert_eq!(host.drops(DropReason::NeighFailed), 32);
    }
}

#[test]
fn a_probe_for_this_hosts_address_is_answered_and_teaches_nothing() {
    let mut host = Host::new(1);
    host.receive(&arp(1, (PEER_MAC, Ipv4Addr::UNSPECIFIED), ([0; 6], OURS)));
    assert_eq!(host.sent().len(), 1);
    let mut socket = host.bind(7);
    let sent = host.send(&mut socket, b"x", peer(9));
    assert_eq!(&sent[0][12..14], &[8, 6]);
}

#[test]
fn arp_that_concerns_nobody_here_is_dropped_and_counted() {
    let other = Ipv4Addr::new(10, 0, 0, 9);
    for frame in [
        arp(1, (PEER_MAC, PEER), ([0; 6], other)),
        arp(2, (PEER_MAC, OURS), (OUR_MAC, OURS)),
        arp(1, ([0xff; 6], PEER), (OUR_MAC, other)),
    ] {
        let mut host = Host::new(1);
        host.receive(&frame);
        assert_eq!(host.drops(DropReason::ArpIgnored), 1);
        assert_eq!(host.sent().len(), 0);
    }
    let mut host = Host::new(1);
    host.receive(&arp_answer()[..41]);
    assert_eq!(host.drops(DropReason::ArpInvalid), 1);
}

#[test]
fn too_many_packets_for_one_neighbour_drop_the_oldest() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    for n in 0..110u8 {
        socket.try_send_to(&[n], peer(9)).unwrap();
    }
    host.stack.run_until_idle();
    assert_eq!(host.drops(DropReason::NeighQueuefull), 9);
    host.sent();
    host.receive(&arp_answer());
    let mut sent = host.sent();
    sent.extend(host.sent());
    assert_eq!(sent.len(), 101);
    assert_eq!(sent[0][42], 9);
}

/// The address is on both networks: each NIC is asked with its own address.
#[test]
fn each_of_two_nics_speaks_for_its_own_network() {
    let mut host = Host::new(1);
    let config = LoopConfig {
        mac: softnet_nic_hal::MacAddress([2, 0, 0, 0, 0, 2]),
        ..LoopConfig::default()
    };
    let (nic, mut port) = LoopNic::new(config);
    let second = host.stack.add_nic(nic, &NicOptions::default()).unwrap();
    let address = Ipv4Addr::new(10, 1, 0, 2);
    host.stack
        .add_address(second, IpAddr::V4(address), 24)
        .unwrap();
    let mut socket = host.bind_with(Ipv4Addr::UNSPECIFIED, 7, &Default::default());
    let there = "10.1.0.1:9".parse().unwrap();
    assert!(host.send(&mut socket, b"x", there).is_empty());
    let mut asked = Vec::new();
    port.transmitted(super::host::QUEUE, 9, |frame| asked.push(frame.to_vec()));
    assert_eq!(&asked[0][28..32], &address.octets());
    // A question on the first link for the second's address is not answered.
    host.receive(&arp(1, (PEER_MAC, PEER), ([0; 6], address)));
    assert_eq!(host.sent().len(), 0);
    assert_eq!(host.snmp(Snmp::IpInReceives), 0);
}

#[test]
fn what_waits_for_arp_goes_home_with_the_nic() {
    let mut host = Host::with(&Shape {
        cpus: 2,
        ..Shape::default()
    });
    for mut socket in sockets(&mut host) {
        socket.try_send_to(b"x", peer(9)).unwrap();
        host.stack.run_until_idle();
    }
    host.stack.remove_nic(host.dev).unwrap();
    assert_eq!(host.drops(DropReason::NeighDead), 32);
    let pool = host.stack.pool().clone();
    drop(host);
    assert_eq!(pool.count_free(), pool.frames());
}

/// The CPU that takes the answer has never heard of the neighbour.
#[test]
fn an_answer_to_another_cpus_question_reaches_it() {
    let mut host = Host::new(2);
    let mut socket = host.bind(7);
    let rss = Rss::new(&DEFAULT_KEY, 2);
    let far = |&to: &u16| rss.cpu_of_flow(socket.local_addr(), peer(to)) == 1;
    let to = (9000..9100).find(far).unwrap();
    host.send(&mut socket, b"x", peer(to));
    host.receive(&arp_answer());
    assert_eq!(&host.sent()[0][42..], b"x");
    assert_eq!(host.drops(DropReason::ArpIgnored), 0);
}
