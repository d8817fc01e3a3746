//! Frames both ways.

use super::support::{
    Calls, OURS, PEER, PacketSocket, Pair, arrival, counter, datagram, echo, in_namespace, nic,
    open, open_config, packet, post_rx, reap_one, run, send, small, umem, veth, wait_for,
};
use softnet_af_xdp::{AfXdpConfig, ChunkSize, Mode, ModeChoice, Umem, UmemConfig};
use softnet_dma_ring::{ChecksumStatus, DmaRing};
use softnet_nic_hal::{NicHal, NicStats};

#[test]
fn zero_copy_is_refused_by_a_veth_and_the_reason_is_kept() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let _queues = open(&nic, &umem, 1);
        let refusals = nic
            .kernel()
            .with_refusals(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(nic.mode(), Some(Mode::Copy));
        let reason = "zero-copy: binding a socket: Operation not supported (os error 95)";
        assert_eq!(refusals, [reason]);
    });
}

#[test]
fn a_forced_mode_is_taken_or_refused_and_nothing_else() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let only = |mode| AfXdpConfig {
            mode: ModeChoice::Only(mode),
            ..AfXdpConfig::new(OURS)
        };
        let zero_copy = nic(only(Mode::ZeroCopy), &umem);
        let config = open_config(&zero_copy, &umem, 1);
        let error = zero_copy
            .open(&config, std::sync::Arc::new(Calls::default()))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "sx0 cannot be opened:\n  zero-copy: binding a socket: Operation not supported (os error 95)"
        );
        let skb = nic(only(Mode::Skb), &umem);
        let _queues = open(&skb, &umem, 1);
        assert_eq!(skb.mode(), Some(Mode::Skb));
    });
}

#[test]
fn frames_go_both_ways() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        let mut pair = open(&nic, &umem, 1).pop().unwrap();
        post_rx(&mut pair, &umem, 8);
        for len in [60, 100, 1514] {
            echo(&mut pair, &peer, &packet(nic.capabilities().mac, len, len));
        }
    });
}

#[test]
fn two_queues_carry_frames_each() {
    in_namespace(|| {
        veth(OURS, PEER, 2);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        assert_eq!(nic.capabilities().max_queues, 2);
        let mut pairs = open(&nic, &umem, 2);
        for pair in &mut pairs {
            post_rx(pair, &umem, 16);
        }
        // The peer spreads its flows over the queues.
        let mut seen = [false; 2];
        let mut seed = 0;
        wait_for("frames on both queues", || {
            seed += 1;
            peer.send(&datagram(nic.capabilities().mac, seed));
            let mut reaped = None;
            wait_for("the frame", || {
                reaped = pairs
                    .iter_mut()
                    .find_map(|pair| Some((pair.id.0, pair.rx.reap()?)));
                reaped.is_some()
            });
            let (queue, frame) = reaped.unwrap();
            seen[usize::from(queue)] = true;
            let pair = &mut pairs[usize::from(queue)];
            pair.rx.post(frame).unwrap();
            pair.rx.kick();
            seen == [true; 2]
        });
        for (at, pair) in pairs.iter_mut().enumerate() {
            let sent = packet(nic.capabilities().mac, 80, at);
            send(pair, &umem, &sent);
            assert_eq!(arrival(&peer), sent, "from queue {at}");
        }
    });
}

fn jumbo() -> UmemConfig {
    UmemConfig {
        chunk_size: ChunkSize::Page,
        side_packet: 9216,
        ..small()
    }
}

fn jumbo_both_ways(mode: Mode) {
    veth(OURS, PEER, 1);
    run("ip", "link set sx0 mtu 9000").unwrap();
    run("ip", "link set sx1 mtu 9000").unwrap();
    let umem = Umem::new(jumbo()).unwrap();
    let config = AfXdpConfig {
        mode: ModeChoice::Only(mode),
        ..AfXdpConfig::new(OURS)
    };
    let nic = nic(config, &umem);
    assert_eq!(nic.capabilities().max_mtu, 9000);
    let peer = PacketSocket::open(PEER).unwrap();
    let mut pair = open(&nic, &umem, 1).pop().unwrap();
    post_rx(&mut pair, &umem, 16);
    for len in [100, 3840, 3841, 8192, 9014] {
        echo(&mut pair, &peer, &packet(nic.capabilities().mac, len, len));
    }

    assert_eq!(counter(&nic, "rx_linearized"), 3);
    assert_eq!(counter(&nic, "tx_copied_in"), 3);
    assert_eq!(
        pair.rx.free_slots(),
        16 + 2,
        "parts stay, the two others left"
    );
}

#[test]
fn packets_of_several_chunks_go_both_ways_in_driver_mode() {
    in_namespace(|| jumbo_both_ways(Mode::Copy));
}

#[test]
fn packets_of_several_chunks_go_both_ways_in_skb_mode() {
    in_namespace(|| jumbo_both_ways(Mode::Skb));
}

#[test]
fn a_frame_goes_from_one_nic_to_another_of_the_same_umem_without_a_copy() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        veth("sy0", "sy1", 1);
        let umem = umem();
        let (left, right) = (
            nic(AfXdpConfig::new(OURS), &umem),
            nic(AfXdpConfig::new("sy0"), &umem),
        );
        let (left_peer, right_peer) = (
            PacketSocket::open(PEER).unwrap(),
            PacketSocket::open("sy1").unwrap(),
        );
        let mut one = open(&left, &umem, 1).pop().unwrap();
        let mut other = open(&right, &umem, 1).pop().unwrap();
        // The first NIC's socket is the one that libxdp holds on to: the second goes on
        // without it, and the first comes back.
        for _ in 0..3 {
            forward(&mut one, &mut other, &umem, &left_peer, &right_peer);
            left.stop().unwrap();
            send(&mut other, &umem, &packet(right.capabilities().mac, 70, 9));
            arrival(&right_peer);
            drop(one);
            one = open(&left, &umem, 1).pop().unwrap();
            forward(&mut one, &mut other, &umem, &left_peer, &right_peer);
            right.stop().unwrap();
            drop(other);
            other = open(&right, &umem, 1).pop().unwrap();
        }
        assert_eq!(counter(&right, "tx_copied_in"), 0);
    });
}

fn forward(
    from: &mut Pair,
    to: &mut Pair,
    umem: &Umem,
    from_peer: &PacketSocket,
    to_peer: &PacketSocket,
) {
    post_rx(from, umem, 1);
    let sent = packet(softnet_nic_hal::MacAddress::BROADCAST, 200, 3);
    from_peer.send(&sent);
    let frame = reap_one(&mut from.rx);
    let place = frame.data().as_ptr();
    assert_eq!(frame.data(), sent);
    to.tx.post(frame).unwrap();
    to.tx.kick();
    assert_eq!(arrival(to_peer), sent);
    let frame = reap_one(&mut to.tx);
    assert_eq!(frame.data().as_ptr(), place, "the same bytes");
}

#[test]
fn a_packet_without_a_chunk_is_counted_as_missed() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        let _pair = open(&nic, &umem, 1);
        peer.send(&packet(nic.capabilities().mac, 60, 1));
        let mut stats = NicStats::default();
        wait_for("the count", || {
            nic.stats(&mut stats);
            stats.rx_missed_errors == 1
        });
        assert_eq!((stats.rx_errors, stats.rx_packets), (0, 0));
        nic.stop().unwrap();
        let after = counter(&nic, "xdp_rx_fill_ring_empty_descs");
        assert_eq!(after, 1, "it is kept after the stop");
    });
}

#[test]
fn a_half_made_checksum_of_the_kernel_is_recognised() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        run("ip", "addr add 10.9.0.2/24 dev sx1").unwrap();
        run("ip", "neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev sx1").unwrap();
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let mut pair = open(&nic, &umem, 1).pop().unwrap();
        post_rx(&mut pair, &umem, 8);
        let socket = std::net::UdpSocket::bind("10.9.0.2:0").unwrap();
        socket.send_to(b"half", "10.9.0.1:7").unwrap();
        let frame = reap_one(&mut pair.rx);
        assert_eq!(frame.data()[42..], *b"half");
        assert_eq!(frame.checksum(), ChecksumStatus::Partial);
    });
}

#[test]
fn a_queue_that_runs_low_of_chunks_copies_packets_out() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        let mut pair = open(&nic, &umem, 1).pop().unwrap();
        post_rx(&mut pair, &umem, 4);
        let hoard: Vec<_> = std::iter::from_fn(|| umem.pool().alloc()).collect();
        let mut kept = Vec::new();
        for seed in 0..20 {
            let sent = packet(nic.capabilities().mac, 90, seed);
            peer.send(&sent);
            let frame = reap_one(&mut pair.rx);
            assert_eq!(frame.data(), sent);
            kept.push(frame);
        }
        assert_eq!(counter(&nic, "rx_copied_out"), 20);
        assert_eq!(pair.rx.free_slots(), 32 - 4, "no chunk has left the ring");
        drop(hoard);
        // With frames at home again, they go up as they are.
        let sent = packet(nic.capabilities().mac, 90, 99);
        peer.send(&sent);
        assert_eq!(reap_one(&mut pair.rx).data(), sent);
        assert_eq!(counter(&nic, "rx_copied_out"), 20);
    });
}
