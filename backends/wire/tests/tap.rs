//! The TAP wire against the kernel's own sockets and `ping`, in a network
//! namespace that this process makes for itself.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test program: a failed expectation ends the test"
)]

#[path = "tap_support/mod.rs"]
mod support;

use softnet_nic_hal::MacAddress;
use softnet_nic_hal::wire::{Wire, WireError};
use softnet_wire::interface::InterfaceError;
use softnet_wire::netns::{Namespace, NamespaceError};
use softnet_wire::tap::{Tap, TapConfig, TapError, TapIo, TapIoChoice};
use std::net::UdpSocket;
use std::sync::mpsc;
use support::{
    Answers, BROADCAST, Check, KERNEL, RunResult, counter, drain, run_all, skip, udp_frame,
};

fn main() {
    let namespace = Namespace::enter();
    let usable = namespace
        .as_ref()
        .map_err(ToString::to_string)
        .and_then(|_| {
            let probe = Tap::open(&TapConfig::default());
            probe.map(drop).map_err(|error| error.to_string())
        });
    let checks: &[Check] = &[
        (
            "the_namespace_is_entered_once_and_only_without_threads",
            enter_with_threads,
        ),
        (
            "frames_of_kernel_sockets_arrive_whole_and_in_order_by_uring",
            || kernel_to_wire(TapIoChoice::Uring),
        ),
        (
            "frames_of_kernel_sockets_arrive_whole_and_in_order_by_plain_calls",
            || kernel_to_wire(TapIoChoice::Plain),
        ),
        ("kernel_sockets_get_what_is_written_by_uring", || {
            wire_to_kernel(TapIoChoice::Uring)
        }),
        ("kernel_sockets_get_what_is_written_by_plain_calls", || {
            wire_to_kernel(TapIoChoice::Plain)
        }),
        ("ping_is_answered_by_uring", || ping(TapIoChoice::Uring)),
        ("ping_is_answered_by_plain_calls", || {
            ping(TapIoChoice::Plain)
        }),
        ("frames_dropped_at_a_full_queue_are_counted", full_queue),
        (
            "the_carrier_follows_the_kernels_side_and_ends_a_wait",
            carrier,
        ),
        ("a_waker_ends_the_wait_under_way_and_the_next_one", waker),
        ("a_timeout_ends_a_wait", timeout),
        ("a_second_open_says_busy", busy),
        ("names_that_are_none_are_refused", names),
        ("an_interface_that_is_no_tap_is_refused", no_tap),
        ("a_persistent_interface_outlives_its_wire", persistent),
        (
            "frames_longer_than_the_wire_takes_are_counted_both_ways",
            too_long,
        ),
        ("the_kernels_side_takes_settings", settings),
        ("a_wire_can_move_between_threads", moves),
    ];
    run_all(checks, usable.err().as_deref());
    drop(namespace);
}

/// A TAP that is up, with an address and without IPv6's own chatter.
fn up(name: &str, io: TapIoChoice) -> Tap {
    let mut config = TapConfig::named(name);
    config.io = io;
    up_with(&config)
}

fn up_with(config: &TapConfig) -> Tap {
    let mut tap = Tap::open(config).unwrap();
    tap.interface().set_ipv6_enabled(false).unwrap();
    tap.interface().set_address(KERNEL.into(), 24).unwrap();
    tap.interface().set_up(true).unwrap();
    tap.wait(Some(0));
    assert!(tap.carrier());
    drain(&mut tap);
    tap
}

fn broadcaster() -> UdpSocket {
    let socket = UdpSocket::bind((KERNEL, 0)).unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

fn send_numbered(socket: &UdpSocket, count: u32) {
    for number in 0..count {
        let sent = socket.send_to(&number.to_be_bytes(), (BROADCAST, 9));
        assert_eq!(sent.unwrap(), 4);
    }
}

/// The number in a frame of `send_numbered`: after the headers of Ethernet,
/// IPv4 and UDP.
fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[42..46].try_into().unwrap())
}

fn enter_with_threads() -> RunResult {
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv());
    let error = Namespace::enter().unwrap_err();
    assert!(
        matches!(error, NamespaceError::Threads { threads: 2 }),
        "{error}"
    );
    stop.send(()).unwrap();
    thread.join().unwrap().unwrap();
    Ok(())
}

fn kernel_to_wire(io: TapIoChoice) -> RunResult {
    let mut tap = up("tap_in", io);
    if io == TapIoChoice::Uring {
        assert_eq!(tap.io(), TapIo::Uring);
    }
    send_numbered(&broadcaster(), 300);
    let mut numbers = Vec::new();
    // A budget that is no multiple of a batch.
    while tap.receive(0, 7, &mut |frame| numbers.push(number(frame))) > 0 {}
    assert!(numbers.iter().copied().eq(0..300), "{numbers:?}");
    assert_eq!(counter(&tap, "tap_rx_frames"), 300);
    assert_eq!(counter(&tap, "kernel_tx_packets"), 300);
    Ok(())
}

fn wire_to_kernel(io: TapIoChoice) -> RunResult {
    let mut tap = up("tap_out", io);
    let socket = UdpSocket::bind((KERNEL, 7777)).unwrap();
    let mac = tap.interface().mac_address().unwrap();
    for number in 0..150_u32 {
        tap.transmit(&udp_frame(mac, 7777, &number.to_be_bytes()), 0)
            .unwrap();
    }
    tap.flush(0);
    for number in 0..150_u32 {
        let mut bytes = [0; 8];
        assert_eq!(socket.recv(&mut bytes).unwrap(), 4);
        assert_eq!(bytes[..4], number.to_be_bytes());
    }
    assert_eq!(counter(&tap, "tap_tx_frames"), 150);
    assert_eq!(counter(&tap, "kernel_rx_packets"), 150);
    Ok(())
}

fn ping(io: TapIoChoice) -> RunResult {
    let mut tap = up("tap_ping", io);
    let mut command = std::process::Command::new("ping");
    command.args(["-n", "-c", "3", "-i", "0.2", "-W", "20", "10.9.0.2"]);
    let Ok(child) = command.stdout(std::process::Stdio::piped()).spawn() else {
        return skip("there is no `ping`: install iputils-ping");
    };
    let waker = tap.waker();
    let waiter = std::thread::spawn(move || {
        let output = child.wait_with_output();
        waker.wake();
        output
    });
    let mut answers = Answers::new(MacAddress([2, 0, 0, 0, 0, 2]));
    while !waiter.is_finished() {
        tap.wait(Some(1_000_000_000));
        answers.serve(&mut tap);
    }
    let output = waiter.join().unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("3 received"), "{text}");
    Ok(())
}

fn full_queue() -> RunResult {
    let mut tap = up("tap_full", TapIoChoice::Auto);
    tap.interface().set_tx_queue_len(16).unwrap();
    let before = counter(&tap, "kernel_tx_dropped");
    send_numbered(&broadcaster(), 200);
    let mut arrived = 0;
    while tap.receive(0, 64, &mut |_| arrived += 1) > 0 {}
    let dropped = counter(&tap, "kernel_tx_dropped") - before;
    assert!(dropped > 0);
    assert_eq!(arrived + dropped, 200);
    Ok(())
}

fn carrier() -> RunResult {
    let mut tap = up("tap_link", TapIoChoice::Auto);
    tap.interface().set_up(false).unwrap();
    // It must come back although nothing limits it.
    while tap.carrier() {
        tap.wait(None);
    }
    assert_eq!(tap.transmit(&[0; 60], 0), Err(WireError::NoCarrier));
    tap.interface().set_up(true).unwrap();
    while !tap.carrier() {
        tap.wait(None);
    }
    tap.transmit(&[0; 60], 0).unwrap();
    tap.flush(0);
    assert_eq!(counter(&tap, "tap_tx_down"), 1);
    assert_eq!(counter(&tap, "tap_tx_frames"), 1);
    Ok(())
}

fn waker() -> RunResult {
    let mut tap = up("tap_wake", TapIoChoice::Auto);
    tap.waker().wake();
    tap.wait(None);
    let waker = tap.waker();
    let thread = std::thread::spawn(move || tap.wait(None));
    // One call is enough, whether it comes before, in or after the wait's
    // start: without it the join would never return.
    waker.wake();
    thread.join().unwrap();
    Ok(())
}

fn timeout() -> RunResult {
    let mut tap = up("tap_time", TapIoChoice::Auto);
    tap.wait(Some(0));
    tap.wait(Some(1));
    assert_eq!(drain(&mut tap), 0);
    Ok(())
}

fn busy() -> RunResult {
    let _tap = up("tap_busy", TapIoChoice::Auto);
    let error = Tap::open(&TapConfig::named("tap_busy")).unwrap_err();
    assert!(
        matches!(&error, TapError::Busy { name } if name == "tap_busy"),
        "{error}"
    );
    Ok(())
}

fn names() -> RunResult {
    for name in ["", "sixteen_bytes_xx", "a/b", "a b", "..", "a\0b"] {
        let error = Tap::open(&TapConfig::named(name)).unwrap_err();
        assert!(
            matches!(error, TapError::Interface(InterfaceError::Name(_))),
            "{name:?}"
        );
    }
    let tap = Tap::open(&TapConfig::named("fifteen_bytes_x")).unwrap();
    assert_eq!(tap.interface().name(), "fifteen_bytes_x");
    let tap = Tap::open(&TapConfig::named("wire%d")).unwrap();
    assert_eq!(tap.interface().name(), "wire0");
    Ok(())
}

fn no_tap() -> RunResult {
    let error = Tap::open(&TapConfig::named("lo")).unwrap_err();
    assert!(matches!(error, TapError::NotTap { .. }), "{error}");
    Ok(())
}

fn persistent() -> RunResult {
    let mut config = TapConfig::named("tap_stays");
    config.persistent = true;
    let index = Tap::open(&config).unwrap().interface().index().unwrap();
    config.persistent = false;
    let again = Tap::open(&config).unwrap();
    assert_eq!(again.interface().index().unwrap(), index);
    Ok(())
}

fn too_long() -> RunResult {
    let mut config = TapConfig::named("tap_long");
    config.max_frame = 100;
    let mut tap = up_with(&config);
    let error = WireError::TooLong { len: 101, max: 100 };
    assert_eq!(tap.transmit(&[0; 101], 0), Err(error));
    let socket = broadcaster();
    // 42 bytes of headers: 100 and 101 bytes of frame.
    for payload in [58, 59, 1000, 58] {
        socket.send_to(&vec![1; payload], (BROADCAST, 9)).unwrap();
    }
    let mut lens = Vec::new();
    tap.receive(0, 64, &mut |frame| lens.push(frame.len()));
    while tap.receive(0, 64, &mut |frame| lens.push(frame.len())) > 0 {}
    assert_eq!(lens, [100, 100]);
    assert_eq!(counter(&tap, "tap_rx_too_long"), 2);
    assert_eq!(counter(&tap, "tap_tx_too_long"), 1);
    Ok(())
}

fn settings() -> RunResult {
    let tap = up("tap_set", TapIoChoice::Auto);
    let kernel = tap.interface();
    kernel.set_mtu(9000).unwrap();
    assert_eq!(kernel.mtu().unwrap(), 9000);
    kernel.set_up(false).unwrap();
    let mac = MacAddress([2, 3, 4, 5, 6, 7]);
    kernel.set_mac_address(mac).unwrap();
    assert_eq!(kernel.mac_address().unwrap(), mac);
    assert!(!kernel.is_up().unwrap());
    let prefix = kernel.set_address(KERNEL.into(), 33).unwrap_err();
    assert!(matches!(prefix, InterfaceError::Prefix { prefix: 33, .. }));
    kernel.set_ipv6_enabled(true).unwrap();
    kernel.set_address("fd00::1".parse().unwrap(), 64).unwrap();
    Ok(())
}

/// The ring belongs to no thread: what one has opened another uses, and the one
/// that opened it may be gone.
fn moves() -> RunResult {
    let tap = std::thread::spawn(|| up("tap_move", TapIoChoice::Auto)).join();
    let mut tap = tap.unwrap();
    send_numbered(&broadcaster(), 3);
    let mut tap = std::thread::spawn(move || {
        assert_eq!(tap.receive(0, 2, &mut |_| {}), 2);
        tap
    })
    .join()
    .unwrap();
    tap.wait(None);
    assert_eq!(drain(&mut tap), 1);
    Ok(())
}
