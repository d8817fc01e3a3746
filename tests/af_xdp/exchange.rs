//! The kernel and the stack talk.

use super::veth::{self, Echo, PATIENCE, Shape, Veth};
use softnet::af_xdp::{AfXdpNic, Mode, TxMetadata, UmemConfig};
use softnet::netstack::{DropReason, StackConfig, ThreadOptions, UdpOptions};
use softnet::nic_hal::NicHal;
use softnet::{Machine, Time};
use std::net::SocketAddr;

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

/// Pings of mixed sizes, and datagrams of mixed sizes from several sockets, each of
/// which comes back as it was.
fn exchange(shape: Shape, metadata: TxMetadata) {
    let umem = UmemConfig {
        tx_metadata: metadata,
        ..UmemConfig::default()
    };
    let veth = Veth::new(shape.cpus as u16);
    let (machine, dev) = veth::machine_on(umem, shape.cpus, shape.mode);
    let nic = machine.af_xdp(dev).unwrap().clone();
    if let Err(reason) = nic.kernel().umem().tx_metadata() {
        return softnet_test_support::skip(format!("no room for metadata: {reason}"));
    }
    assert_eq!(nic.mode(), Some(shape.mode));
    let echo = Echo::start(machine, shape.threads);
    for size in [0, 1, 56, 1000, 1472] {
        veth.ping_all(20, size);
    }
    let mut sockets: Vec<_> = (0..8).map(|_| veth.socket(7)).collect();
    for round in 0..50 {
        // In the end one is left, to which datagrams go one after another.
        sockets.truncate(if round < 40 { 8 } else { 1 });
        for (at, socket) in sockets.iter().enumerate() {
            let size = (round * 131 + at * 17) % 1473;
            let sent: Vec<u8> = (0..size).map(|byte| (byte ^ round ^ at) as u8).collect();
            socket.send(&sent).unwrap();
            let mut answer = [0; 2048];
            let len = socket.recv(&mut answer).unwrap();
            assert_eq!(&answer[..len], sent, "{shape:?}, round {round}");
        }
    }
    let mut machine = echo.stop();
    let report = machine.report();
    let device = report.devices.first().unwrap();
    assert!(device.rx_packets() >= 430, "{shape:?}: {report}");
    assert_eq!(device.queues.len(), shape.cpus);
    for queue in &device.queues {
        // In SKB mode a veth has all frames on its first queue.
        let idle = queue.rx_packets == 0 && shape.mode != Mode::Skb;
        assert!(!idle, "{shape:?}: an idle queue: {report}");
    }
    assert_eq!(report.dropped(DropReason::UdpCsum), 0, "{report}");
    assert_eq!(report.dropped(DropReason::IpCsum), 0, "{report}");
    // A datagram to another peer than the one before may have its own from the layers.
    let left = counter(&nic, "tx_checksums_left") > 0;
    assert_eq!(left, metadata != TxMetadata::Off, "{shape:?}");
    assert_eq!(counter(&nic, "tx_checksums"), 0);
    assert_eq!(counter(&nic, "xdp_tx_invalid_descs"), 0);
}

fn counter(nic: &AfXdpNic, name: &str) -> u64 {
    let mut value = None;
    nic.ethtool_stats(&mut |have, count| {
        if have == name {
            value = Some(count);
        }
    });
    value.unwrap()
}

macro_rules! exchanges {
    ($($name:ident: $cpus:literal, $mode:ident, $threads:literal, $metadata:ident;)*) => {$(
        #[test]
        fn $name() {
            if veth::own_namespace().is_some() {
                let shape = Shape {
                    cpus: $cpus,
                    mode: Mode::$mode,
                    threads: $threads,
                };
                exchange(shape, TxMetadata::$metadata);
            }
        }
    )*};
}

exchanges! {
    the_kernel_talks_to_one_inline_cpu_in_driver_mode: 1, Copy, false, Off;
    the_kernel_talks_to_one_inline_cpu_in_skb_mode: 1, Skb, false, Off;
    the_kernel_talks_to_two_inline_cpus_in_driver_mode: 2, Copy, false, Off;
    the_kernel_talks_to_two_inline_cpus_in_skb_mode: 2, Skb, false, Off;
    the_kernel_talks_to_one_threaded_cpu_in_driver_mode: 1, Copy, true, Off;
    the_kernel_talks_to_one_threaded_cpu_in_skb_mode: 1, Skb, true, Off;
    the_kernel_talks_to_two_threaded_cpus_in_driver_mode: 2, Copy, true, Off;
    the_kernel_talks_to_two_threaded_cpus_in_skb_mode: 2, Skb, true, Off;
    checksums_are_left_half_made_in_driver_mode: 1, Copy, false, Room;
    checksums_are_left_half_made_in_skb_mode: 1, Skb, false, Room;
    checksums_are_left_half_made_by_two_threaded_cpus: 2, Copy, true, Room;
    checksums_are_computed_by_the_kernel_in_driver_mode: 2, Copy, false, SoftwareChecksum;
    checksums_are_computed_by_the_kernel_in_skb_mode: 1, Skb, false, SoftwareChecksum;
}

#[test]
fn one_cpu_serves_all_queues_of_a_nic() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(4);
    let (machine, _) = veth::machine(1, Mode::Copy);
    let echo = Echo::start(machine, true);
    for at in 0..50 {
        let socket = veth.socket(7);
        socket.send(&[at]).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
    }
    let report = echo.stop().report();
    let queues = report.devices[0].queues.iter();
    assert_eq!(queues.filter(|queue| queue.rx_packets > 0).count(), 4);
}

#[test]
fn a_nic_with_one_queue_serves_two_cpus() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(1);
    let (machine, _) = veth::machine(2, Mode::Copy);
    let echo = Echo::start(machine, true);
    for at in 0..20 {
        let socket = veth.socket(7);
        socket.send(&[at]).unwrap();
        let mut answer = [0; 8];
        assert_eq!(socket.recv(&mut answer).unwrap(), 1);
    }
    let mut machine = echo.stop();
    // Packets were steered to the other CPU in software.
    let report = machine.report();
    assert!(
        report.softnet.iter().all(|cpu| cpu.processed > 0),
        "{report}"
    );
}

#[test]
fn other_addresses_of_the_interface_stay_the_kernels() {
    use std::io::{Read, Write};
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(1);
    let (machine, _) = veth::machine(1, Mode::Copy);
    let echo = Echo::start(machine, true);
    let listener = std::net::TcpListener::bind((veth::BESIDE, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[7; 100_000]).unwrap();
    });
    let read = veth.far(move || {
        let mut stream = std::net::TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    assert_eq!(read, 100_000);
    server.join().unwrap();
    veth.ping_all(5, 56);
    echo.stop();
}
