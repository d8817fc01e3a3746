//! Interfaces of the kernel as NICs.

use softnet::netstack::{StackConfig, ThreadOptions, UdpOptions};
use softnet::{Machine, Time};
use std::net::SocketAddr;
use std::time::Duration;

/// Long enough for a loaded machine; a test that waits for it fails anyway.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn cpus_at_event_loops_are_woken_by_sockets_inline_and_on_threads() {
    let config = StackConfig {
        cpus: 2,
        ..StackConfig::default()
    };
    let mut machine = Machine::new(&config, Time::Real).unwrap();
    let to: SocketAddr = "127.0.0.1:7".parse().unwrap();
    let options = UdpOptions::default();
    let mut socket = machine.stack_mut().udp_bind(to, &options).unwrap();
    for round in 0..20_u8 {
        machine.start(&ThreadOptions::default()).unwrap();
        socket.try_send_to(&[round], to).unwrap();
        assert_eq!(&socket.recv(Some(PATIENCE)).unwrap()[..], [round]);
        machine.stop().unwrap();
        socket.try_send_to(&[round], to).unwrap();
        let until_ns = machine.now_ns() + PATIENCE.as_nanos() as u64;
        let arrived = machine.run_until(until_ns, |_| socket.is_readable());
        assert!(arrived.unwrap());
        assert_eq!(&socket.try_recv().unwrap()[..], [round]);
    }
}
