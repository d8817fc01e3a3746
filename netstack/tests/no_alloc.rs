//! The packet path allocates nothing: counted by the program's own allocator.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as a test does"
)]

#[path = "stack/host.rs"]
#[expect(dead_code, reason = "shared with the other tests, which need more")]
mod host;

use core::cell::Cell;
use host::{Host, QUEUE, datagram, peer, ping};
use softnet_netstack::UdpSocket;
use softnet_softirq::Clock;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::LazyLock;

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting
// touches a thread-local cell that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Made when the first test warms up.
static ANSWER: LazyLock<Vec<u8>> = LazyLock::new(host::arp_answer);

const PACKETS: usize = 10_000;

/// Runs `packet` until it is warm, and then counts.
fn allocates_nothing(what: &str, mut packet: impl FnMut(usize)) {
    (0..500).for_each(&mut packet);
    let before = ALLOCATIONS.get();
    (0..PACKETS).for_each(&mut packet);
    assert_eq!(ALLOCATIONS.get() - before, 0, "{what}");
}

/// A host whose peer is known because it has asked, with flows for all CPUs.
fn rig(cpus: usize) -> (Host, UdpSocket, Vec<Vec<u8>>) {
    let mut host = Host::new(cpus);
    let asked = host::arp(1, (host::PEER_MAC, host::PEER), ([0; 6], host::OURS));
    host.receive(&asked);
    host.sent();
    host.receive(&ANSWER);
    let socket = host.bind(7);
    let frames = (4000..4016).map(|from| datagram(from, 7, b"payload of some length"));
    (host, socket, frames.collect())
}

fn receive(host: &mut Host, frame: &[u8]) {
    host.receive(frame);
    // Time passes, so that the timers have their turn; and the peer answers.
    host.clock.advance(1_000_000);
    if host.clock.now_ns().is_multiple_of(host::SECOND) {
        host.receive(&ANSWER);
    }
}

#[test]
fn receiving_allocates_nothing() {
    for cpus in [1, 2] {
        let (mut host, mut socket, frames) = rig(cpus);
        allocates_nothing("try_recv", |n| {
            receive(&mut host, &frames[n % frames.len()]);
            drop(socket.try_recv().unwrap());
        });
        let mut buffer = [0; 64];
        allocates_nothing("try_recv_from", |n| {
            receive(&mut host, &frames[n % frames.len()]);
            socket.try_recv_from(&mut buffer).unwrap();
        });
    }
}

#[test]
fn dropping_allocates_nothing() {
    for cpus in [1, 2] {
        let (mut host, _socket, frames) = rig(cpus);
        allocates_nothing("a full buffer", |n| {
            receive(&mut host, &frames[n % frames.len()]);
        });
        let closed = datagram(4000, 99, b"x");
        allocates_nothing("a closed port", |_| {
            receive(&mut host, &closed);
            host.port.discard_transmitted(QUEUE, 64);
        });
    }
}

#[test]
fn echoing_allocates_nothing() {
    for cpus in [1, 2] {
        let (mut host, mut socket, frames) = rig(cpus);
        let finish = |host: &mut Host| {
            host.stack.run_until_idle();
            assert!(host.port.discard_transmitted(QUEUE, 64) > 0);
            host.stack.run_until_idle();
        };
        allocates_nothing("the same frame", |n| {
            receive(&mut host, &frames[n % frames.len()]);
            let datagram = socket.try_recv().unwrap();
            let from = datagram.from();
            assert!(socket.try_send_datagram(datagram, from).is_ok());
            finish(&mut host);
        });
        let mut buffer = [0; 64];
        allocates_nothing("a copy", |n| {
            receive(&mut host, &frames[n % frames.len()]);
            let (len, from) = socket.try_recv_from(&mut buffer).unwrap();
            socket.try_send_to(&buffer[..len], from).unwrap();
            finish(&mut host);
        });
        let echo = ping(b"data");
        allocates_nothing("ICMP", |_| {
            receive(&mut host, &echo);
            finish(&mut host);
        });
    }
}

#[test]
fn sending_allocates_nothing() {
    for cpus in [1, 2] {
        let (mut host, mut socket, _) = rig(cpus);
        allocates_nothing("send", |n| {
            let to = peer(9000 + (n % 16) as u16);
            socket.try_send_to(b"payload", to).unwrap();
            host.stack.run_until_idle();
            assert!(host.port.discard_transmitted(QUEUE, 64) > 0);
            host.stack.run_until_idle();
        });
    }
}
