//! `softnet run` on a TAP, against the kernel's sockets.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod support;

use serde_json::Value;
use std::net::UdpSocket;
use std::time::Duration;
use support::{Folder, Running, kernel_socket, number};

/// Sends datagrams from many ports, so that they are many flows, and wants each
/// back.
fn echo_from_many_ports(flows: u16, each: u8) {
    let sockets: Vec<UdpSocket> = (0..flows).map(|_| kernel_socket(7)).collect();
    for turn in 0..each {
        for (flow, socket) in sockets.iter().enumerate() {
            let payload = [turn, flow as u8, 0xa5];
            socket.send(&payload).unwrap();
            let mut answer = [0; 16];
            let len = socket.recv(&mut answer).unwrap();
            assert_eq!(answer[..len], payload);
        }
    }
}

/// An answer is behind all that was sent before. Any one of these may be lost.
fn wait_for_an_answer() {
    let socket = kernel_socket(7);
    let patience = Duration::from_millis(100);
    socket.set_read_timeout(Some(patience)).unwrap();
    let answered = (0..200).any(|_| {
        socket.send(b"there yet?").unwrap();
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(answered);
}

fn service<'a>(state: &'a Value, name: &str) -> &'a Value {
    let services = state["services"].as_array().unwrap();
    services.iter().find(|s| s["name"] == name).unwrap()
}

#[test]
fn echo_answers_every_flow_on_any_number_of_cpus() {
    if support::own_namespace().is_none() {
        return;
    }
    for cpus in [1, 2, 4] {
        let running = Running::start(&["--cpus", &cpus.to_string()]);
        echo_from_many_ports(32, 8);
        let state = running.finish();
        assert_eq!(service(&state, "echo")["answered"], 256);
        let busy = state["report"]["softirqs"].as_array().unwrap();
        let busy = busy.iter().filter(|cpu| number(cpu, "/vectors/NET_RX") > 0);
        assert_eq!(busy.count(), cpus, "{state}");
    }
}

#[test]
fn every_nic_carries_every_flow() {
    if support::own_namespace().is_none() {
        return;
    }
    for nic in support::NICS {
        let running = Running::start(&["--nic", nic, "--cpus", "2"]);
        echo_from_many_ports(16, 8);
        let state = running.finish();
        assert_eq!(service(&state, "echo")["answered"], 128, "{nic}");
        let device = &state["report"]["devices"][0];
        assert_eq!(number(device, "/stats/rx_missed_errors"), 0, "{device}");
        assert_eq!(number(device, "/stats/tx_errors"), 0, "{device}");
    }
}

/// The NIC spreads flows by the hash that the stack would use: no packet has to be
/// handed from one CPU to another.
#[test]
fn each_queue_of_the_igb_interrupts_its_own_cpu() {
    if support::own_namespace().is_none() {
        return;
    }
    let running = Running::start(&["--nic", "igb", "--cpus", "4"]);
    echo_from_many_ports(64, 4);
    let state = running.finish();
    assert_eq!(service(&state, "echo")["answered"], 256);
    let queues = state["report"]["devices"][0]["queues"].as_array().unwrap();
    let cpus: Vec<_> = queues.iter().map(|queue| number(queue, "/cpu")).collect();
    assert_eq!(cpus, [0, 1, 2, 3]);
    assert!(queues.iter().all(|queue| number(queue, "/rx_packets") > 0));
    let interrupts = state["report"]["interrupts"].as_array().unwrap();
    for cpu in 0..4 {
        let pointer = format!("/delivered/{cpu}");
        let delivered = interrupts.iter().map(|line| number(line, &pointer));
        assert!(delivered.sum::<u64>() > 0, "{interrupts:?}");
    }
    let softnet = state["report"]["softnet"].as_array().unwrap();
    let steered = softnet.iter().map(|cpu| number(cpu, "/received_rps"));
    assert_eq!(steered.sum::<u64>(), 0, "{softnet:?}");
}

#[test]
fn discard_is_silent_and_chargen_is_not() {
    if support::own_namespace().is_none() {
        return;
    }
    let running = Running::start(&[]);
    let discard = kernel_socket(9);
    discard.send(b"into the void").unwrap();
    let chargen = kernel_socket(19);
    let mut answer = [0; 2048];
    for _ in 0..10 {
        chargen.send(b"?").unwrap();
        let len = chargen.recv(&mut answer).unwrap();
        assert!(len <= 512);
        let printing = |byte: &u8| (b' '..=b'~').contains(byte) || b"\r\n".contains(byte);
        assert!(answer[..len].iter().all(printing));
    }
    discard.set_nonblocking(true).unwrap();
    assert!(discard.recv(&mut answer).is_err());
    let state = running.finish();
    assert_eq!(service(&state, "discard")["received"], 1);
    assert_eq!(service(&state, "discard")["answered"], 0);
    assert_eq!(service(&state, "chargen")["answered"], 10);
}

#[test]
fn two_services_do_not_talk_for_ever() {
    if support::own_namespace().is_none() {
        return;
    }
    let running = Running::start(&[]);
    let forged = UdpSocket::bind((support::KERNEL, 19)).unwrap();
    forged.send_to(b"echo me", (support::STACK, 7)).unwrap();
    let after = kernel_socket(7);
    after.send(b"and me").unwrap();
    after.recv(&mut [0; 16]).unwrap();
    let state = running.finish();
    assert_eq!(service(&state, "echo")["answered"], 1);
    assert_eq!(service(&state, "echo")["unanswered"], 1);
}

#[test]
fn ping_is_answered_also_in_the_longest_packet() {
    if support::own_namespace().is_none() {
        return;
    }
    for nic in support::NICS {
        let running = Running::start(&["--nic", nic, "--mac", "02:00:00:00:00:42"]);
        let said = support::ping(&["-c", "3", "-i", "0.2", "-s", "1472", "-M", "do"]);
        assert!(said.status.success(), "{nic}: {said:?}");
        let state = running.finish();
        assert_eq!(state["report"]["devices"][0]["mac"], "02:00:00:00:00:42");
        assert_eq!(number(&state, "/report/protocols/Icmp/OutEchoReps"), 3);
    }
}

#[test]
fn faults_lose_what_they_count() {
    if support::own_namespace().is_none() {
        return;
    }
    let running = Running::start(&["--fault", "loss=30%", "--seed", "1"]);
    // The answers to ARP would be lost too, and the kernel gives up.
    let known = [
        "neigh",
        "add",
        support::STACK,
        "lladdr",
        "52:54:00:12:34:56",
    ];
    let mut ip = std::process::Command::new("ip");
    match ip.args(known).args(["dev", "tap0"]).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => return softnet_test_support::skip(format!("no ip: {error}")),
    }
    let socket = kernel_socket(9);
    for turn in 0..200u8 {
        socket.send(&[turn]).unwrap();
    }
    wait_for_an_answer();
    let state = running.finish();
    let wire = &state["report"]["devices"][0]["wire"];
    let lost = number(wire, "/fault_rx_lost");
    assert!(lost > 30, "{wire}");
    assert_eq!(
        number(wire, "/fault_rx_in"),
        number(wire, "/fault_rx_out") + lost
    );
    let stored = number(&state, "/report/devices/0/model/wire_rx");
    assert_eq!(stored, number(wire, "/fault_rx_out"));
}

#[test]
fn a_capture_has_what_passed() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("run-capture");
    let capture = folder.file("trace.pcapng");
    let path = capture.to_str().unwrap();
    let running = Running::start(&["--capture", path]);
    echo_from_many_ports(4, 5);
    let state = running.finish();
    let frames = number(&state, "/report/devices/0/wire/recorder_frames");
    assert!(frames >= 40, "{frames}");
    let replayed = support::output(&["replay", "--json", path]);
    let account = support::json(&replayed);
    assert_eq!(number(&account, "/account/read"), frames);
}

#[test]
fn an_interface_that_goes_away_takes_the_link_with_it() {
    if support::own_namespace().is_none() {
        return;
    }
    let running = Running::start(&[]);
    echo_from_many_ports(1, 1);
    let mut ip = std::process::Command::new("ip");
    match ip.args(["link", "delete", "tap0"]).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => return softnet_test_support::skip(format!("no ip: {error}")),
    }
    let device = &running.finish()["report"]["devices"][0];
    assert_eq!(device["link"]["up"], Value::Bool(false), "{device}");
}

#[test]
fn a_capture_can_be_the_wire() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("run-pcap");
    let capture = folder.file("trace.pcapng");
    let path = capture.to_str().unwrap();
    let running = Running::start(&["--capture", path]);
    // What comes before the link is up is not heard, here as there.
    for _ in 0..10 {
        echo_from_many_ports(4, 1);
    }
    running.finish();
    let wire = format!("pcap:{path}");
    let arguments = ["run", "--json", "--wire", &wire, "--duration", "500ms"];
    let mut command = support::softnet(&arguments);
    let output = command.args(["--address", "10.0.0.2/24"]).output().unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    let state = support::json(&output);
    let frames = number(&state, "/report/devices/0/wire/replay_rx_frames");
    assert!(frames >= 80, "{frames}");
    assert!(service(&state, "echo")["received"].as_u64() > Some(0));
}

#[test]
fn counters_come_at_the_interval_and_at_the_end() {
    if support::own_namespace().is_none() {
        return;
    }
    let arguments = [
        "run",
        "--json",
        "--wire",
        "tap:tap0",
        "--address",
        "10.0.0.2/24",
    ];
    let times = ["--duration", "350ms", "--stats-interval", "100ms"];
    let output = support::softnet(&arguments).args(times).output().unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    let text = support::stdout(&output);
    let reports: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(reports.len() >= 2, "{text}");
    let last = reports.last().unwrap();
    assert_eq!(
        last["report"]["devices"][0]["link"]["up"],
        Value::Bool(true)
    );
}

#[test]
fn a_namespace_of_its_own_needs_no_other() {
    if support::own_namespace().is_none() {
        return;
    }
    let arguments = ["run", "--own-namespace", "--wire", "tap:tap0", "--json"];
    let addresses = [
        "--kernel-address",
        "10.0.0.1/24",
        "--address",
        "10.0.0.2/24",
    ];
    let mut command = support::softnet(&arguments);
    let output = command
        .args(addresses)
        .args(["--duration", "50ms"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", support::stderr(&output));
    assert!(support::stderr(&output).contains("nsenter"));
    let interfaces = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    assert!(!interfaces.contains("tap0"), "{interfaces}");
}
