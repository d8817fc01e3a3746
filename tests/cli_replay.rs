//! `softnet replay` on captures of real traffic, whole and damaged.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod support;

use serde_json::Value;
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;
use support::{Folder, Running, json, kernel_socket, number, output, stderr};

/// Lets the kernel send a bit of everything, and records it: ARP, IPv6 and
/// multicast, pings short and in fragments, datagrams to services, to closed
/// ports, to everybody and to a stranger, and TCP.
fn record(capture: &Path) {
    let running = Running::start(&["--capture", capture.to_str().unwrap()]);
    assert!(support::ping(&["-c", "3", "-i", "0.2"]).status.success());
    // Nobody reassembles the fragments, so there is no answer to wait for.
    support::ping(&["-c", "1", "-W", "1", "-s", "4000"]);
    for port in [7, 9, 19, 99, 53] {
        let socket = kernel_socket(port);
        for len in [0, 1, 100, 1472] {
            // A closed port's ICMP answer makes a later send fail.
            let _ = socket.send(&vec![0x5a; len]);
        }
    }
    let everybody = UdpSocket::bind((support::KERNEL, 0)).unwrap();
    everybody.set_broadcast(true).unwrap();
    everybody.send_to(b"all", "10.0.0.255:9").unwrap();
    everybody.send_to(b"group", "224.0.0.251:5353").unwrap();
    everybody.send_to(b"stranger", "10.0.0.77:9").unwrap();
    let address = "10.0.0.2:80".parse().unwrap();
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err());
    running.finish();
}

/// Every packet has one outcome, whatever the outcome is.
fn adds_up(account: &Value) -> u64 {
    assert_eq!(account["adds_up"], Value::Bool(true), "{account}");
    let nic = account["nic"].as_object().unwrap().values();
    let dropped = account["dropped"].as_object().unwrap().values();
    let outcomes = nic.chain(dropped).map(|count| count.as_u64().unwrap());
    let read = number(account, "/read");
    let kept = number(account, "/delivered") + number(account, "/driver_errors");
    assert_eq!(outcomes.sum::<u64>() + kept, read, "{account}");
    read
}

fn replay(file: &Path, more: &[&str]) -> (Value, i32, String) {
    let mut command = support::softnet(&["replay", "--json", file.to_str().unwrap()]);
    let output = command.args(more).output().unwrap();
    (
        json(&output),
        output.status.code().unwrap(),
        stderr(&output),
    )
}

const AS_RECORDED: [&str; 8] = [
    "--mac",
    "52:54:00:12:34:56",
    "--address",
    "10.0.0.2/24",
    "--listen",
    "7",
    "--listen",
    "9",
];

#[test]
fn each_packet_of_mixed_traffic_has_its_outcome() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("replay-mixed");
    let file = folder.file("mixed.pcapng");
    record(&file);

    let (foreign, status, said) = replay(&file, &[]);
    assert_eq!((status, said.as_str()), (0, ""));
    assert_eq!(foreign["end"], "complete");
    let read = adds_up(&foreign["account"]);
    assert!(read > 40, "{read}");
    assert_eq!(number(&foreign, "/account/delivered"), 0);
    assert!(number(&foreign, "/account/dropped/OTHERHOST") > 0);

    let (own, status, _) = replay(&file, &AS_RECORDED);
    assert_eq!(status, 0);
    assert_eq!(adds_up(&own["account"]), read);
    // Four to echo, four to discard, one to everybody.
    assert_eq!(number(&own, "/report/protocols/Udp/InDatagrams"), 9);
    assert_eq!(number(&own, "/report/protocols/Icmp/InEchos"), 3);
    assert!(number(&own, "/account/dropped/IP_FRAGMENT") >= 2);
    assert!(number(&own, "/account/dropped/NO_SOCKET") > 0);

    let filtering: Vec<_> = AS_RECORDED.into_iter().chain(["--filter"]).collect();
    let (filtered, _, _) = replay(&file, &filtering);
    assert_eq!(adds_up(&filtered["account"]), read);
    assert!(number(&filtered, "/account/nic/filtered") > 0);
    assert_eq!(
        number(&filtered, "/account/delivered"),
        number(&own, "/account/delivered")
    );
}

#[test]
fn the_outcomes_do_not_depend_on_the_number_of_cpus() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("replay-cpus");
    let file = folder.file("mixed.pcapng");
    record(&file);
    let accounts: Vec<Value> = ["1", "2", "4"]
        .iter()
        .map(|cpus| {
            let more: Vec<_> = AS_RECORDED.into_iter().chain(["--cpus", cpus]).collect();
            let (outcome, status, _) = replay(&file, &more);
            assert_eq!(status, 0);
            adds_up(&outcome["account"]);
            outcome["account"].clone()
        })
        .collect();
    assert_eq!(accounts[0], accounts[1]);
    assert_eq!(accounts[0], accounts[2]);
}

#[test]
fn the_outcomes_do_not_depend_on_the_nic() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("replay-nics");
    let file = folder.file("mixed.pcapng");
    record(&file);
    let accounts = support::NICS.map(|nic| {
        let more: Vec<_> = AS_RECORDED.into_iter().chain(["--nic", nic]).collect();
        let (outcome, status, said) = replay(&file, &more);
        assert_eq!((status, said.as_str()), (0, ""), "{nic}");
        adds_up(&outcome["account"]);
        outcome["account"].clone()
    });
    assert!(accounts.iter().all(|account| *account == accounts[0]));
}

#[test]
fn a_truncated_capture_is_accounted_for_up_to_its_end() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("replay-truncated");
    let file = folder.file("mixed.pcapng");
    record(&file);
    let bytes = fs::read(&file).unwrap();
    let (whole, _, _) = replay(&file, &[]);
    let cut = folder.file("cut.pcapng");
    for length in (1000..bytes.len()).step_by(bytes.len() / 20) {
        fs::write(&cut, &bytes[..length]).unwrap();
        let (outcome, status, said) = replay(&cut, &AS_RECORDED);
        assert!(adds_up(&outcome["account"]) < number(&whole, "/account/read"));
        match outcome["end"].as_str().unwrap() {
            // The cut happened to fall between two packets.
            "complete" => assert_eq!((status, said.as_str()), (0, "")),
            "truncated" => {
                assert_eq!(status, 1);
                assert_eq!(said.lines().count(), 1, "{said}");
                assert!(said.contains("truncated"), "{said}");
            }
            other => panic!("a cut at {length} ended {other}"),
        }
    }
}

#[test]
fn a_corrupted_capture_is_accounted_for_up_to_the_damage() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("replay-corrupted");
    let file = folder.file("mixed.pcapng");
    record(&file);
    let bytes = fs::read(&file).unwrap();
    let broken = folder.file("broken.pcapng");
    let mut ends = Vec::new();
    for at in (28..bytes.len()).step_by(bytes.len() / 60) {
        let mut damaged = bytes.clone();
        for byte in &mut damaged[at..(at + 8).min(bytes.len())] {
            *byte ^= 0xff;
        }
        fs::write(&broken, damaged).unwrap();
        let path = broken.to_str().unwrap();
        let output = output(&["replay", "--json", path]);
        let said = stderr(&output);
        // Damage at the very start leaves nothing to account for.
        if output.stdout.is_empty() {
            assert_eq!(output.status.code(), Some(1), "{said}");
            continue;
        }
        let outcome = json(&output);
        adds_up(&outcome["account"]);
        let end = outcome["end"].as_str().unwrap().to_owned();
        assert_eq!(output.status.success(), end == "complete", "{said}");
        ends.push(end);
    }
    // Some of the damage hit a length, and some of it a payload only.
    assert!(ends.iter().any(|end| end == "complete"), "{ends:?}");
    assert!(ends.iter().any(|end| end != "complete"), "{ends:?}");
}

#[test]
fn a_classic_pcap_with_cut_packets_is_read_too() {
    if support::own_namespace().is_none() {
        return;
    }
    let folder = Folder::new("replay-classic");
    let (ng, classic) = (folder.file("a.pcapng"), folder.file("a.pcap"));
    record(&ng);
    // Wireshark's tool for it. 60 bytes of each packet, as captures often have.
    let mut editcap = std::process::Command::new("editcap");
    editcap
        .args(["-F", "pcap", "-s", "60"])
        .arg(&ng)
        .arg(&classic);
    match editcap.output() {
        Ok(output) => assert!(output.status.success(), "{}", stderr(&output)),
        Err(error) => return softnet_test_support::skip(format!("no editcap: {error}")),
    }
    let (outcome, status, _) = replay(&classic, &AS_RECORDED);
    let (whole, _, _) = replay(&ng, &AS_RECORDED);
    assert_eq!(status, 0);
    let read = adds_up(&outcome["account"]);
    assert_eq!(read, adds_up(&whole["account"]));
    assert!(number(&outcome, "/account/cut_short") > 0);
    assert!(number(&outcome, "/account/dropped/PKT_TOO_SMALL") > 0);
}
