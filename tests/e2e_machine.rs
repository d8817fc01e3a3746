//! The machine as a library: who runs it, what it refuses, what it reports.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use softnet::netstack::wire::ipv4::Fragment;
use softnet::netstack::wire::{IpProtocol, Ipv4Header};
use softnet::netstack::{IfIndex, Snmp, StackConfig, StackError, UdpOptions};
use softnet::nic_hal::wire::Wire;
use softnet::softirq::VirtualClock;
use softnet::wire::cable::{self, CableConfig, CableEnd};
use softnet::{Machine, MachineError, NicConfig, NicKind, Time, run_together};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn virtual_time() -> Time {
    Time::Virtual(Arc::new(VirtualClock::new(0)))
}

/// A machine `10.0.0.N` on one end of a cable.
fn host(n: u8, end: CableEnd, time: Time) -> (Machine, IfIndex) {
    let mut machine = Machine::new(&StackConfig::default(), time).unwrap();
    let nic = NicConfig {
        mac: Some(softnet::nic_hal::MacAddress([2, 0, 0, 0, 0, n])),
        ..NicConfig::default()
    };
    let dev = machine.add_e1000(Box::new(end), &nic).unwrap();
    let address = [10, 0, 0, n].into();
    machine.stack_mut().add_address(dev, address, 24).unwrap();
    (machine, dev)
}

#[test]
fn a_virtual_clock_allows_no_threads() {
    let mut machine = Machine::new(&StackConfig::default(), virtual_time()).unwrap();
    let refused = machine.start(&Default::default()).unwrap_err();
    assert!(matches!(refused, MachineError::VirtualTime));
    machine.run_for(1_000_000).unwrap();
    assert_eq!(machine.now_ns(), 1_000_000);
}

#[test]
fn a_running_machine_is_not_run_by_hand() {
    let mut machine = Machine::new(&StackConfig::default(), Time::Real).unwrap();
    machine.start(&Default::default()).unwrap();
    assert!(machine.is_running());
    let refused = machine.run_for(1).unwrap_err();
    assert!(matches!(refused, MachineError::Running));
    let again = machine.start(&Default::default()).unwrap_err();
    assert!(matches!(again, MachineError::Stack(StackError::Running)));
    machine.stop().unwrap();
    machine.stop().unwrap();
    machine.run_for(1).unwrap();
}

#[test]
fn a_link_needs_somebody_at_the_other_end() {
    let (near, far) = cable::pair(&CableConfig::default());
    let (mut machine, dev) = host(1, near, virtual_time());
    assert!(machine.wait_for_link(dev, PATIENCE).unwrap());
    drop(far);
    machine.run_for(10_000_000).unwrap();
    assert!(!machine.interface(dev).unwrap().link().up);
    assert!(!machine.wait_for_link(dev, PATIENCE).unwrap());
}

#[test]
fn what_is_not_there_is_told() {
    let mut machine = Machine::new(&StackConfig::default(), virtual_time()).unwrap();
    let nobody = IfIndex(9);
    assert!(!machine.unplug(nobody));
    for refused in [
        machine.remove_nic(nobody).unwrap_err(),
        machine.interface(nobody).err().unwrap(),
        machine.wait_for_link(nobody, PATIENCE).unwrap_err(),
    ] {
        assert!(matches!(refused, MachineError::Stack(StackError::NoDevice(dev)) if dev == nobody));
    }
}

#[test]
fn a_nic_that_the_stack_refuses_leaves_its_slot() {
    let mut machine = Machine::new(&StackConfig::default(), virtual_time()).unwrap();
    let (near, _far) = cable::pair(&CableConfig::default());
    let nic = NicConfig {
        ring: Some(3),
        ..NicConfig::default()
    };
    assert!(machine.add_e1000(Box::new(near), &nic).is_err());
    assert!(machine.bus().functions().is_empty());
    assert!(machine.report().devices.is_empty());
}

#[test]
fn threads_come_and_go_under_a_socket() {
    let (near, far) = cable::pair(&CableConfig::default());
    let (mut server, _) = host(2, far, Time::Real);
    let (mut client, dev) = host(1, near, Time::Real);
    let options = UdpOptions::default();
    let bind = |machine: &mut Machine, address: &str| {
        let stack = machine.stack_mut();
        stack.udp_bind(address.parse().unwrap(), &options).unwrap()
    };
    let mut to = bind(&mut server, "10.0.0.2:7");
    let mut from = bind(&mut client, "10.0.0.1:0");
    for turn in 0..5u8 {
        server.start(&Default::default()).unwrap();
        client.start(&Default::default()).unwrap();
        assert!(client.wait_for_link(dev, PATIENCE).unwrap());
        let server_dev = server.stack().interfaces()[0].index();
        assert!(server.wait_for_link(server_dev, PATIENCE).unwrap());
        from.try_send_to(&[turn], to.local_addr()).unwrap();
        assert_eq!(to.recv(Some(PATIENCE)).unwrap()[..], [turn]);
        server.stop().unwrap();
        client.stop().unwrap();
    }
    assert_eq!(server.report().snmp(Snmp::UdpInDatagrams), 5);
}

#[test]
fn a_report_reads_like_linux_and_like_json() {
    let time = virtual_time();
    let (near, far) = cable::pair(&CableConfig::default());
    let mut hosts = [host(1, near, time.clone()).0, host(2, far, time).0];
    let options = UdpOptions::default();
    let address = "10.0.0.1:5000".parse().unwrap();
    let mut socket = hosts[0].stack_mut().udp_bind(address, &options).unwrap();
    run_together(&mut hosts, 10_000_000).unwrap();
    // Nobody listens there.
    let closed = "10.0.0.2:9".parse().unwrap();
    socket.try_send_to(b"hello", closed).unwrap();
    run_together(&mut hosts, 10_000_000).unwrap();

    let report = hosts[1].report();
    let text = report.to_string();
    for part in [
        "           CPU0 \n  0: ",
        "PCI-INTx 0000:00:03.0",
        "      NET_RX:          ",
        "\n00000002 00000000 00000000 ",
        "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP 1000 Mbit/s\n",
        "    link/ether 02:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff\n",
        "     rx_packets: 2\n",
        "\nUdp: InDatagrams NoPorts ",
        "\nUdp: 0 1 ",
        "         1 NO_SOCKET: No socket",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }

    let json = serde_json::to_value(&report).unwrap();
    for (pointer, expected) in [
        ("/devices/0/ethtool/rx_packets", 2),
        ("/devices/0/queues/0/rx_packets", 2),
        ("/devices/0/model/wire_tx", 2),
        ("/devices/0/wire/cable_rx_frames", 2),
        ("/softnet/0/processed", 2),
        ("/protocols/delivered", 1),
        ("/protocols/dropped", 1),
        ("/protocols/Udp/NoPorts", 1),
        ("/drops/0/received", 1),
    ] {
        let found = json.pointer(pointer).and_then(serde_json::Value::as_u64);
        assert_eq!(found, Some(expected), "{pointer} in {json}");
    }
    assert_eq!(json["drops"][0]["reason"], "NO_SOCKET");
    assert_eq!(json["devices"][0]["mac"], "02:00:00:00:00:02");
}

/// A UDP datagram to port 7 of 10.0.0.2, in its frame.
fn datagram(to: [u8; 6]) -> Vec<u8> {
    let ip = Ipv4Header {
        tos: 0,
        total_len: 32,
        id: 1,
        fragment: Fragment::DONT,
        ttl: 64,
        protocol: IpProtocol::UDP,
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
    };
    let mut header = [0; Ipv4Header::LEN];
    ip.emit(&mut header);
    // Ports, length, no checksum, data.
    let udp = [0, 9, 0, 7, 0, 12, 0, 0, 1, 2, 3, 4];
    let link = [&to[..], &[2, 0, 0, 0, 0, 1, 8, 0]].concat();
    [&link[..], &header, &udp].concat()
}

#[test]
fn a_frame_of_a_vlan_does_not_pass_for_one_without() {
    for kind in [NicKind::E1000, NicKind::Igb, NicKind::Ne2000] {
        let (near, mut far) = cable::pair(&CableConfig::default());
        let mut machine = Machine::new(&StackConfig::default(), virtual_time()).unwrap();
        let mac = [2, 0, 0, 0, 0, 2];
        let nic = NicConfig {
            mac: Some(softnet::nic_hal::MacAddress(mac)),
            ..NicConfig::default()
        };
        let dev = machine.add_nic(kind, Box::new(near), &nic).unwrap();
        let stack = machine.stack_mut();
        stack.add_address(dev, [10, 0, 0, 2].into(), 24).unwrap();
        let local = "10.0.0.2:7".parse().unwrap();
        let mut socket = stack.udp_bind(local, &UdpOptions::default()).unwrap();
        assert!(machine.wait_for_link(dev, PATIENCE).unwrap());
        let plain = datagram(mac);
        let tagged = [&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat();
        for (frame, arrives) in [(&tagged, false), (&plain, true)] {
            far.transmit(frame, machine.now_ns()).unwrap();
            machine.run_for(1_000_000).unwrap();
            assert_eq!(socket.try_recv().is_ok(), arrives, "{kind}");
        }
    }
}
