//! `softnet demo`, as root and as nobody.

mod support;

use serde_json::Value;
use std::process::{Command, Output};
use support::{Folder, json, number, stderr, stdout};

/// Everything was answered, and the layers agree on how much that was.
fn succeeded(output: &Output) -> Value {
    let told = stderr(output);
    assert!(output.status.success(), "{told} {}", stdout(output));
    let outcome = json(output);
    assert_eq!(outcome["success"], Value::Bool(true));
    assert_eq!(number(&outcome, "/ping/received"), 5);
    assert_eq!(number(&outcome, "/udp/echoed"), 1000);
    assert_eq!(outcome["udp"]["refused"], Value::Bool(true));
    let stored = number(&outcome, "/report/devices/0/ethtool/rx_packets");
    assert_eq!(stored, number(&outcome, "/report/devices/0/model/wire_rx"));
    let delivered = number(&outcome, "/report/protocols/delivered");
    let dropped = number(&outcome, "/report/protocols/dropped");
    assert_eq!(delivered + dropped, stored);
    outcome
}

#[test]
fn the_kernel_is_answered() {
    if support::own_namespace().is_none() {
        return;
    }
    for cpus in ["1", "2", "4"] {
        let output = support::output(&["demo", "--json", "--cpus", cpus]);
        succeeded(&output);
    }
}

#[test]
fn the_kernel_is_answered_through_every_nic() {
    if support::own_namespace().is_none() {
        return;
    }
    for nic in support::NICS {
        let output = support::output(&["demo", "--json", "--nic", nic]);
        let outcome = succeeded(&output);
        assert_eq!(outcome["nic"], nic);
    }
}

#[test]
fn the_text_shows_each_layer() {
    if support::own_namespace().is_none() {
        return;
    }
    let output = support::output(&["demo"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "5 packets transmitted, 5 received",
        "1000 sent, 1000 echoed",
        "# /proc/interrupts",
        "# /proc/softirqs",
        "# /proc/net/softnet_stat",
        "# ip -s link show eth0",
        "# ethtool -S eth0",
        "# /proc/net/snmp",
        "1 NO_SOCKET: ",
        "success: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// A folder of devices in which everybody may open the TUN driver, as on most
/// systems, seen by the command alone; and then nobody's rights.
const AS_NOBODY: &str = "mount -t tmpfs -o mode=755 none /dev/net && \
    mknod -m 666 /dev/net/tun c 10 200 && \
    exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" demo --json";

#[test]
fn nobody_can_run_it() {
    if !support::is_root() {
        return softnet_test_support::skip("only root can become nobody");
    }
    // The build's folder may be closed to others.
    let folder = Folder::new("as-nobody");
    let program = folder.file("softnet");
    std::fs::copy(env!("CARGO_BIN_EXE_softnet"), &program).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", AS_NOBODY])
        .arg(&program);
    let output = command.output().unwrap();
    let said = stderr(&output);
    if !output.status.success() && !said.starts_with("softnet: ") {
        return softnet_test_support::skip(format!("no private /dev/net: {said}"));
    }
    if said.contains("allows no user namespace") {
        return softnet_test_support::skip(said);
    }
    let outcome = succeeded(&output);
    assert_eq!(outcome["unprivileged"], Value::Bool(true));
}

#[test]
fn a_missing_ping_is_told_with_its_package() {
    if support::own_namespace().is_none() {
        return;
    }
    let empty = Folder::new("no-ping");
    let mut command = support::softnet(&["demo", "--json"]);
    let output = command.env("PATH", empty.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let outcome = json(&output);
    let told = outcome["ping"]["error"].as_str().unwrap_or_default();
    assert!(told.contains("iputils-ping"), "{told}");
    assert_eq!(number(&outcome, "/udp/echoed"), 1000);
}

#[cfg(not(feature = "af-xdp"))]
#[test]
fn without_af_xdp_it_says_how_to_build_it_in() {
    if support::own_namespace().is_none() {
        return;
    }
    let output = support::output(&["demo", "--nic", "af-xdp"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("--features af-xdp"), "{output:?}");
}
