//! NICs that hang, flap, vanish, run dry, and come and go.

use super::host::{Host, OURS, QUEUE, SECOND, Shape, datagram, peer};
use core::net::IpAddr;
use softnet_netstack::{
    Deferral, Direction, DropReason, Interrupts, Moderation, NicOptions, PacketTap, RecvError,
    Rings, Snmp, StackError, Tapped,
};
use softnet_nic_hal::testing::{Injection, LoopConfig, LoopNic};
use std::sync::{Arc, Mutex};

fn short_ring() -> Shape {
    Shape {
        nic: NicOptions {
            ring: Some(8),
            ..NicOptions::default()
        },
        ..Shape::default()
    }
}

/// Sends and lets the watchdog find that nothing moves.
fn hang(host: &mut Host) {
    let mut socket = host.bind(7);
    host.port.set_tx_stalled(true);
    host.send(&mut socket, b"stuck", peer(9));
    host.advance(7 * SECOND);
}

#[test]
fn a_hung_transmitter_is_reset_and_traffic_goes_on() {
    let mut host = Host::new(2).knows_peer();
    hang(&mut host);
    host.port.set_tx_stalled(false);
    assert!(host.sent().is_empty(), "the reset gave up what was posted");
    let mut socket = host.bind(8);
    assert_eq!(host.send(&mut socket, b"again", peer(9)).len(), 1);
    host.receive(&datagram(4000, 8, b"in"));
    assert_eq!(&socket.try_recv().unwrap()[..], b"in");
}

#[test]
fn a_reset_that_is_refused_is_tried_again() {
    let mut host = Host::new(1).knows_peer();
    host.port.set_open_refused(Some("not now"));
    hang(&mut host);
    assert_eq!(
        host.receive(&datagram(4000, 8, b"x")),
        Injection::NoReceiver
    );
    host.port.set_tx_stalled(false);
    host.port.set_open_refused(None);
    host.advance(3 * SECOND);
    let mut socket = host.bind(8);
    host.receive(&datagram(4000, 8, b"in"));
    assert_eq!(&socket.try_recv().unwrap()[..], b"in");
    assert_eq!(host.send(&mut socket, b"out", peer(9)).len(), 1);
}

#[test]
fn an_unplugged_nic_is_retired_and_its_frames_come_home() {
    let mut host = Host::new(2).knows_peer();
    let mut socket = host.bind(7);
    let interface = host.stack.interface(host.dev).unwrap();
    host.send(&mut socket, b"x", peer(9));
    host.port.unplug();
    host.advance(3 * SECOND);
    assert!(interface.is_gone());
    socket.try_send_to(b"x", peer(9)).unwrap();
    host.stack.run_until_idle();
    assert_eq!(
        socket.try_recv().unwrap_err(),
        RecvError::NetworkUnreachable
    );
    host.stack.remove_nic(host.dev).unwrap();
    let pool = host.stack.pool().clone();
    drop((host, socket));
    assert_eq!(pool.count_free(), pool.frames());
}

#[test]
fn a_link_that_flaps_is_seen_at_once_and_traffic_goes_on() {
    let mut host = Host::new(1).knows_peer();
    let interface = host.stack.interface(host.dev).unwrap();
    let mut socket = host.bind(7);
    for round in 0..10 {
        host.port.set_link_up(false);
        host.stack.run_until_idle();
        assert!(!interface.link().up);
        host.port.set_link_up(true);
        host.stack.run_until_idle();
        assert!(interface.link().up);
        host.receive(&datagram(4000 + round, 7, b"x"));
        assert_eq!(socket.try_recv().unwrap().from(), peer(4000 + round));
        assert_eq!(host.send(&mut socket, b"y", peer(9)).len(), 1);
    }
}

#[test]
fn a_full_transmit_queue_drops_and_counts_and_says_nothing_of_the_host() {
    let mut host = Host::with(&short_ring()).knows_peer();
    let mut socket = host.bind(7);
    host.port.set_tx_stalled(true);
    let mut accepted = 0;
    for _ in 0..1200 {
        socket.try_send_to(b"x", peer(9)).unwrap();
        accepted += 1;
        host.stack.run_until_idle();
    }
    let dropped = host.drops(DropReason::QdiscDrop);
    assert!(dropped > 0);
    assert_eq!(host.snmp(Snmp::UdpOutDatagrams) + dropped, accepted);
    assert_eq!(host.snmp(Snmp::UdpSndbufErrors), dropped);
    assert_eq!(host.snmp(Snmp::IpOutDiscards), dropped);
    assert_eq!(socket.try_recv().unwrap_err(), RecvError::WouldBlock);
    host.port.set_tx_stalled(false);
    let mut on_the_wire = 0;
    loop {
        match host.sent().len() as u64 {
            0 => break,
            sent => on_the_wire += sent,
        }
    }
    assert_eq!(
        on_the_wire + dropped,
        accepted,
        "all that was not dropped left"
    );
}

#[test]
fn what_waits_in_the_transmit_queue_goes_home_with_the_nic() {
    let mut host = Host::with(&short_ring()).knows_peer();
    let mut socket = host.bind(7);
    host.port.set_tx_stalled(true);
    for _ in 0..200 {
        socket.try_send_to(b"x", peer(9)).unwrap();
    }
    host.stack.run_until_idle();
    host.stack.remove_nic(host.dev).unwrap();
    assert_eq!(host.drops(DropReason::DevReady), 192);
    let pool = host.stack.pool().clone();
    drop((host, socket));
    assert_eq!(pool.count_free(), pool.frames());
}

#[test]
fn nics_come_and_go_and_leave_nothing_behind() {
    let mut host = Host::new(2);
    let address = "10.9.0.2".parse::<IpAddr>().unwrap();
    let mut free = None;
    for round in 0..300 {
        let (nic, mut port) = LoopNic::new(LoopConfig::default());
        port.set_open_refused(Some("no"));
        let options = NicOptions::default();
        let refused = host.stack.add_nic(nic.clone(), &options);
        assert!(matches!(refused, Err(StackError::Nic(_))));
        port.set_open_refused(None);
        let dev = host.stack.add_nic(nic, &options).unwrap();
        host.stack.add_address(dev, address, 24).unwrap();
        port.inject(QUEUE, &datagram(1, 2, b"x"));
        host.stack.run_until_idle();
        host.stack.remove_nic(dev).unwrap();
        host.stack.run_until_idle();
        let now = host.stack.pool().count_free();
        // Each CPU keeps up to 16 frames at hand.
        let at_hand = 2 * 16;
        assert!(now + at_hand >= *free.get_or_insert(now), "round {round}");
        assert_eq!(host.stack.interfaces().len(), 1);
    }
    let pool = host.stack.pool().clone();
    drop(host);
    assert_eq!(pool.count_free(), pool.frames());
}

#[test]
fn a_ring_that_ran_dry_is_filled_again_when_frames_come_home() {
    let mut host = Host::with(&Shape {
        frames: 64,
        nic: NicOptions {
            ring: Some(32),
            ..NicOptions::default()
        },
        ..Shape::default()
    });
    let pool = host.stack.pool().clone();
    let hoard: Vec<_> = core::iter::from_fn(|| pool.alloc()).collect();
    let mut socket = host.bind(7);
    let mut missed = 0;
    for _ in 0..200 {
        missed += u32::from(host.receive(&datagram(4000, 7, b"x")) == Injection::Missed);
    }
    assert!(missed > 0, "the ring ran dry");
    drop(hoard);
    while socket.try_recv().is_ok() {}
    host.advance(SECOND / 100);
    assert_eq!(host.receive(&datagram(4000, 7, b"y")), Injection::Received);
    assert_eq!(&socket.try_recv().unwrap()[..], b"y");
}

/// A ring that gets no frame at all when its NIC is opened never interrupts.
#[test]
fn a_nic_that_opens_without_a_frame_receives_later() {
    let mut host = Host::with(&Shape {
        frames: 64,
        nic: NicOptions {
            ring: Some(8),
            ..NicOptions::default()
        },
        ..Shape::default()
    });
    host.stack.remove_nic(host.dev).unwrap();
    let pool = host.stack.pool().clone();
    // CPUs keep some frames at hand: the first NICs take those.
    let hoard: Vec<_> = core::iter::from_fn(|| pool.alloc()).collect();
    let mut nics = Vec::new();
    let mut dry = loop {
        let (nic, mut port) = LoopNic::new(LoopConfig::default());
        let options = NicOptions {
            ring: Some(8),
            ..NicOptions::default()
        };
        let dev = host.stack.add_nic(nic, &options).unwrap();
        if port.inject(QUEUE, &datagram(1, 2, b"x")) == Injection::Missed {
            break (dev, port);
        }
        nics.push(port);
        assert!(nics.len() < 20, "the frames never run out");
    };
    host.stack.run_until_idle();
    drop(hoard);
    host.advance(SECOND / 100);
    host.stack.add_address(dry.0, IpAddr::V4(OURS), 24).unwrap();
    let mut socket = host.bind(7);
    assert_eq!(
        dry.1.inject(QUEUE, &datagram(4000, 7, b"y")),
        Injection::Received
    );
    host.stack.run_until_idle();
    assert_eq!(&socket.try_recv().unwrap()[..], b"y");
}

type Drops = Arc<Mutex<Vec<(Direction, DropReason)>>>;

struct DropTap(Drops);

impl PacketTap for DropTap {
    fn packet(&mut self, _packet: Tapped<'_>) {}

    fn dropped(&mut self, packet: Tapped<'_>, reason: DropReason) {
        self.0.lock().unwrap().push((packet.direction, reason));
    }
}

#[test]
fn a_tap_is_told_which_way_a_dropped_packet_went() {
    let mut host = Host::new(1).knows_peer();
    let drops = Drops::default();
    let tap = drops.clone();
    host.stack
        .add_tap(|_| Box::new(DropTap(tap.clone())))
        .unwrap();
    let mut socket = host.bind(7);
    host.send(&mut socket, b"x", "192.0.2.1:9".parse().unwrap());
    host.receive(&datagram(4000, 8, b"x"));
    assert_eq!(
        *drops.lock().unwrap(),
        [
            (Direction::Outgoing, DropReason::IpOutnoroutes),
            (Direction::Incoming, DropReason::NoSocket)
        ]
    );
}

#[test]
fn a_nic_is_given_other_rings_and_traffic_goes_on() {
    let mut host = Host::with(&Shape {
        cpus: 2,
        queues: 4,
        ..Shape::default()
    })
    .knows_peer();
    let mut socket = host.bind(7);
    for queues in [4, 1, 2] {
        let rings = Rings {
            queues,
            rx: 16,
            tx: 32,
        };
        host.stack.set_rings(host.dev, rings).unwrap();
        assert_eq!(host.stack.interface(host.dev).unwrap().rings(), rings);
        host.receive(&datagram(4000, 7, b"in"));
        assert_eq!(&socket.try_recv().unwrap()[..], b"in");
    }
}

#[test]
fn rings_that_a_nic_cannot_have_leave_it_as_it_was() {
    let mut host = Host::new(1).knows_peer();
    let interface = host.stack.interface(host.dev).unwrap();
    let before = interface.rings();
    for wrong in [
        Rings {
            queues: 9,
            ..before
        },
        Rings { rx: 0, ..before },
    ] {
        let refused = host.stack.set_rings(host.dev, wrong).unwrap_err();
        assert!(matches!(refused, StackError::Nic(_)), "{refused:?}");
        assert_eq!(interface.rings(), before);
    }
    let mut socket = host.bind(8);
    host.receive(&datagram(4000, 8, b"in"));
    assert_eq!(&socket.try_recv().unwrap()[..], b"in");
}

#[test]
fn a_nic_without_a_throttle_refuses_intervals_and_takes_deferral() {
    let mut host = Host::new(1);
    for moderation in [Moderation::Fixed(50), Moderation::Adaptive] {
        let how = Interrupts {
            moderation,
            ..Interrupts::default()
        };
        let refused = host.stack.set_interrupts(host.dev, how).unwrap_err();
        assert!(matches!(refused, StackError::Nic(_)), "{refused:?}");
    }
    let how = Interrupts {
        deferral: Deferral {
            hard_irqs: 1,
            timeout_ns: 20_000,
        },
        ..Interrupts::default()
    };
    host.stack.set_interrupts(host.dev, how).unwrap();
    let mut socket = host.bind(8);
    host.receive(&datagram(4000, 8, b"first"));
    host.receive(&datagram(4000, 8, b"second"));
    assert_eq!(&socket.try_recv().unwrap()[..], b"first");
    assert_eq!(
        socket.try_recv().unwrap_err(),
        RecvError::WouldBlock,
        "the interrupt was let in"
    );
    host.advance(20_000);
    assert_eq!(&socket.try_recv().unwrap()[..], b"second");
}
