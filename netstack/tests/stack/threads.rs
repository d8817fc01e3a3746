//! The CPUs on threads of their own.

use super::host::{Host, QUEUE, datagram, peer};
use core::time::Duration;
use softnet_netstack::{BindError, RecvError, StackError, ThreadOptions, UdpOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn start(host: &mut Host) {
    host.stack.start(&ThreadOptions::default()).unwrap();
}

#[test]
fn a_stack_goes_through_many_starts_and_stops() {
    let mut host = Host::new(2);
    let mut socket = host.bind(7);
    for round in 0..20 {
        start(&mut host);
        let twice = host.stack.start(&ThreadOptions::default());
        assert!(matches!(twice, Err(StackError::Running)));
        host.port.inject(QUEUE, &datagram(4000 + round, 7, b"x"));
        assert_eq!(socket.recv(None).unwrap().from(), peer(4000 + round));
        host.stack.stop().unwrap();
        host.stack.stop().unwrap();
        host.receive(&datagram(5000 + round, 7, b"y"));
        assert_eq!(socket.try_recv().unwrap().from(), peer(5000 + round));
    }
    start(&mut host);
    let pool = host.stack.pool().clone();
    drop((host, socket));
    assert_eq!(pool.count_free(), pool.frames());
}

#[test]
fn a_receive_gives_up_when_its_time_is_up() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    start(&mut host);
    let none = socket.recv(Some(Duration::from_millis(1)));
    assert_eq!(none.unwrap_err(), RecvError::TimedOut);
    host.port.inject(QUEUE, &datagram(4000, 7, b"x"));
    let mut buffer = [0; 8];
    let (len, from) = socket.recv_from(&mut buffer, None).unwrap();
    assert_eq!((len, from), (1, peer(4000)));
}

#[test]
fn sockets_with_one_notify_are_waited_for_together() {
    let mut host = Host::new(2);
    let notify = host.stack.new_notify();
    let options = UdpOptions {
        notify: Some(notify.clone()),
        ..UdpOptions::default()
    };
    let mut sockets: Vec<_> = (7..11)
        .map(|port| host.bind_with(super::host::OURS, port, &options))
        .collect();
    start(&mut host);
    for round in 0..100u16 {
        let to = 7 + round % 4;
        host.port.inject(QUEUE, &datagram(4000 + round, to, b"x"));
        assert!(notify.wait(None, || sockets.iter().any(|s| s.is_readable())));
        let socket = &mut sockets[usize::from(round % 4)];
        assert_eq!(socket.try_recv().unwrap().from(), peer(4000 + round));
    }
}

/// A listener is called when it was asked for, and datagrams of a burst before
/// the next request do not call it again.
#[test]
fn a_listener_is_called_once_for_each_rearm() {
    let mut host = Host::new(1);
    let mut socket = host.bind(7);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    socket.notify().set_listener(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    host.receive(&datagram(4000, 7, b"x"));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    for round in 1..=5 {
        while socket.try_recv().is_ok() {}
        socket.notify().rearm();
        assert!(!socket.is_readable());
        host.receive(&datagram(4000, 7, b"x"));
        host.receive(&datagram(4000, 7, b"x"));
        assert_eq!(calls.load(Ordering::Relaxed), round);
    }
}

/// More senders than one wait for room at the same CPU's door; each of them
/// gets through.
#[test]
fn senders_that_share_a_full_door_all_get_through() {
    const EACH: usize = 3000;
    let mut host = Host::new(1).knows_peer();
    let sockets: Vec<_> = (7..10).map(|port| host.bind(port)).collect();
    start(&mut host);
    let senders: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            std::thread::spawn(move || {
                for _ in 0..EACH {
                    // What the queue to the NIC drops, the sender is not told.
                    while let Err(error) = socket.send_to(b"x", peer(9), None) {
                        assert_eq!(error, softnet_netstack::SendError::NoBuffers);
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    while !senders.iter().all(|sender| sender.is_finished()) {
        host.port.discard_transmitted(QUEUE, 64);
    }
    for sender in senders {
        sender.join().unwrap();
    }
    host.stack.stop().unwrap();
}

#[test]
fn a_dead_cpu_is_an_error_and_not_a_hang() {
    let mut host = Host::new(2);
    let socket = host.bind(7);
    start(&mut host);
    let died = host.stack.on_each_cpu(|shard| {
        assert_eq!(shard.core().cpu(), 0, "a panic that the test wants");
    });
    assert!(matches!(died, Err(StackError::Stopped)));
    let address = "10.0.0.2:9".parse().unwrap();
    let bound = host.stack.udp_bind(address, &UdpOptions::default());
    assert_eq!(bound.map(drop), Err(BindError::Stopped));
    assert!(matches!(host.stack.stop(), Err(StackError::Stopped)));
    drop((host, socket));
}

#[test]
fn an_unplugged_nic_is_retired_by_the_worker() {
    let mut host = Host::new(2).knows_peer();
    start(&mut host);
    let interface = host.stack.interface(host.dev).unwrap();
    host.port.unplug();
    // The link interrupt has the watchdog look at once.
    host.port.set_link_up(false);
    while !interface.is_gone() {
        std::thread::yield_now();
    }
    host.stack.remove_nic(host.dev).unwrap();
    host.stack.stop().unwrap();
}
