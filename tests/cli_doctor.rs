//! What `softnet doctor` prints about an interface, and its exit status.

mod support;

use serde_json::Value;
use std::process::{Command, Output};
use support::{output, stderr, stdout};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

/// Runs `softnet doctor` with these arguments, behind a shell script, in a network namespace of
/// its own; `None` if the test cannot run here.
fn doctor(script: &str, arguments: &str) -> Option<Output> {
    let script = format!("set -e\n{script}\nexec {SOFTNET} doctor {arguments}");
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .output();
    match output {
        Ok(output) if !stderr(&output).contains("unshare failed") => Some(output),
        Ok(output) => {
            softnet_test_support::skip(stderr(&output));
            None
        }
        Err(error) => {
            softnet_test_support::skip(format!("unshare: {error}"));
            None
        }
    }
}

const VETH: &str = "ip link add one type veth peer name two
    ip link set one up
    ip link set two up";

#[test]
fn one_table_says_what_works_what_not_and_why() {
    let Some(output) = doctor(VETH, "one") else {
        return;
    };
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{table}{}", stderr(&output));
    let line = |check: &str| table.lines().find(|line| line.contains(check)).unwrap();
    assert!(line("CHECK").contains("WHAT MENDS IT"));
    assert!(line("try zero-copy").contains("no zero-copy (EOPNOTSUPP)"));
    assert!(line("try copy").contains(" ok "));
    assert!(line("driver").contains("veth"));
    assert_eq!(table.lines().last(), Some("one works, in copy mode"));
}

#[test]
fn a_script_reads_one_object_of_json() {
    let Some(output) = doctor(VETH, "one --json") else {
        return;
    };
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["verdict"], "works");
    assert_eq!(report["mode"], "copy");
    assert_eq!(report["trials"][0]["mode"], "zero-copy");
    assert_eq!(report["nic"]["link"]["kind"], "veth");
}

#[test]
fn the_exit_status_is_1_where_it_does_not_work() {
    let Some(output) = doctor("", "nobody0") else {
        return;
    };
    assert_eq!(output.status.code(), Some(1));
    let table = stdout(&output);
    assert!(table.contains("there is no interface nobody0"), "{table}");
    assert!(table.contains("ip -br link"), "{table}");
    assert!(
        table.ends_with("nobody0 does not work as it is\n"),
        "{table}"
    );
}

#[test]
fn an_interface_has_to_be_named() {
    let output = output(&["doctor"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("<IFACE>"));
}
