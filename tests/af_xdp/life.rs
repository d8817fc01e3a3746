//! Interfaces come and go, and so do machines.

use super::veth::{self, Echo, Veth, wait_until};
use softnet::af_xdp::{AfXdpConfig, Mode};
use softnet::netstack::{NicOptions, StackConfig, ThreadOptions};
use softnet::{Machine, MachineError, Time};

const BOTH: [bool; 2] = [false, true];

#[test]
fn a_link_that_was_down_carries_packets_again() {
    if veth::own_namespace().is_none() {
        return;
    }
    for threads in BOTH {
        let veth = Veth::new(1);
        let (machine, dev) = veth::machine(1, Mode::Copy);
        let interface = machine.interface(dev).unwrap();
        let echo = Echo::start(machine, threads);
        wait_until("the link is up", || interface.link().up);
        for _ in 0..3 {
            veth.ping_all(3, 56);
            veth.set_near_up(false);
            wait_until("the link is down", || !interface.link().up);
            veth.set_near_up(true);
            wait_until("the link is up again", || interface.link().up);
        }
        veth.ping_all(3, 56);
        drop(echo.stop());
        veth::ip_now(&["link", "delete", veth::NEAR]);
    }
}

#[test]
fn a_deleted_interface_takes_its_device_out_of_service() {
    if veth::own_namespace().is_none() {
        return;
    }
    for threads in BOTH {
        let veth = Veth::new(2);
        let (machine, dev) = veth::machine(2, Mode::Copy);
        let interface = machine.interface(dev).unwrap();
        let echo = Echo::start(machine, threads);
        veth.ping_all(3, 56);
        veth::ip_now(&["link", "delete", veth::NEAR]);
        wait_until("the device is gone", || interface.is_gone());
        let mut machine = echo.stop();
        assert!(machine.report().devices[0].gone);
        machine.remove_nic(dev).unwrap();
        // The machine is as good as new.
        let veth = Veth::new(2);
        veth::plug_in(&mut machine, Mode::Copy);
        let echo = Echo::start(machine, threads);
        veth.ping_all(3, 56);
        drop(echo.stop());
        veth::ip_now(&["link", "delete", veth::NEAR]);
    }
}

#[test]
fn a_machine_goes_through_many_starts_and_stops_while_packets_come() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(2);
    let (mut machine, _) = veth::machine(2, Mode::Copy);
    for _ in 0..10 {
        for threads in BOTH {
            let echo = Echo::start(machine, threads);
            let socket = veth.socket(7);
            socket.send(b"x").unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
            machine = echo.stop();
        }
    }
}

#[test]
fn a_nic_that_was_removed_can_be_added_again() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(1);
    let (mut machine, mut dev) = veth::machine(1, Mode::Copy);
    let free = machine.stack().pool().count_free();
    for round in 0..5 {
        machine.remove_nic(dev).unwrap();
        assert!(!veth::has_program(), "round {round}");
        dev = veth::plug_in(&mut machine, [Mode::Copy, Mode::Skb][round % 2]);
        assert!(veth::has_program(), "round {round}");
        assert_eq!(machine.stack().pool().count_free(), free, "round {round}");
    }
    let echo = Echo::start(machine, true);
    veth.ping_all(3, 56);
    echo.stop();
}

#[test]
fn a_machine_that_is_dropped_leaves_nothing_behind_in_any_order() {
    if veth::own_namespace().is_none() {
        return;
    }
    let _veth = Veth::new(1);
    for threads in BOTH {
        for machine_first in BOTH {
            let (mut machine, dev) = veth::machine(1, Mode::Copy);
            let nic = machine.af_xdp(dev).unwrap().clone();
            let pool = machine.stack().pool().clone();
            if threads {
                machine.start(&ThreadOptions::default()).unwrap();
            }
            assert!(veth::has_program());
            if machine_first {
                drop(machine);
                drop(nic);
            } else {
                drop(nic);
                drop(machine);
            }
            assert!(!veth::has_program());
            assert_eq!(pool.count_free(), pool.frames());
        }
    }
}

#[test]
fn a_machine_on_ordinary_memory_says_what_it_lacks() {
    let config = StackConfig::default();
    let virtual_time = Time::Virtual(std::sync::Arc::default());
    for time in [Time::Real, virtual_time] {
        let mut machine = Machine::new(&config, time).unwrap();
        let refused = machine.add_af_xdp(AfXdpConfig::new("lo"), &NicOptions::default());
        assert!(matches!(refused, Err(MachineError::NoUmem)));
    }
}

/// Counters of the kernel are the NIC's.
#[test]
fn packets_that_the_kernel_drops_are_in_the_report() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(1);
    let (mut machine, _) = veth::machine(1, Mode::Copy);
    // Nobody takes them from the ring: the machine does not run.
    let socket = veth.socket(9);
    let mac = machine.report().devices[0].mac.to_string();
    let ours = veth::STACK.to_string();
    veth.ip(&["neigh", "replace", &ours, "lladdr", &mac, "dev", veth::FAR]);
    for _ in 0..5000 {
        socket.send(&[0; 64]).unwrap();
    }
    let report = machine.report();
    let device = &report.devices[0];
    let lost = device.ethtool.value("xdp_rx_fill_ring_empty_descs");
    assert!(lost > 0, "{report}");
    assert_eq!(device.stats.rx_missed_errors, lost, "{report}");
    assert_eq!(report.nic_drops.len(), 1, "{report}");
    assert_eq!(report.nic_drops[0].packets, lost, "{report}");
    let text = report.to_string();
    assert!(
        text.contains("xdp_rx_fill_ring_empty_descs of eth0"),
        "{text}"
    );
}
