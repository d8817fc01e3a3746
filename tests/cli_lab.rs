//! `softnet lab`, as somebody runs it.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use serde_json::Value;
use std::process::{Command, Output};

fn lab(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softnet"));
    command.args(["lab", "irq"]).args(args).output().unwrap()
}

/// The outcomes of an experiment with `packets` at `rate`, by the schemes' order.
fn outcomes(rate: &str, packets: &str) -> Vec<Value> {
    let output = lab(&["--json", "--rates", rate, "--packets", packets]);
    assert!(output.status.success(), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["outcomes"].as_array().unwrap().clone()
}

fn find<'a>(outcomes: &'a [Value], scheme: &str) -> &'a Value {
    let named = |outcome: &&Value| outcome["scheme"].as_str().unwrap().starts_with(scheme);
    outcomes.iter().find(named).unwrap()
}

fn per_packet(outcomes: &[Value], scheme: &str) -> f64 {
    find(outcomes, scheme)["interrupts_per_packet"]
        .as_f64()
        .unwrap()
}

#[test]
fn seldom_packets_interrupt_one_by_one_and_only_a_fixed_interval_delays_them() {
    let found = outcomes("1000", "1000");
    for scheme in ["per packet", "adaptive"] {
        assert!(per_packet(&found, scheme) > 0.99, "{scheme}: {found:?}");
    }
    assert!(per_packet(&found, "busy poll") < 0.01);
    let slow = |scheme| find(&found, scheme)["p99_ns"].as_u64().unwrap();
    assert!(slow("fixed") > 10 * slow("adaptive"), "{found:?}");
    assert!(slow("busy poll") < slow("per packet"), "{found:?}");
}

#[test]
fn dense_packets_share_interrupts_where_these_are_moderated() {
    let found = outcomes("1000000", "4000");
    assert!(per_packet(&found, "per packet") > 0.3, "{found:?}");
    for scheme in ["fixed", "deferred", "busy poll"] {
        assert!(
            per_packet(&found, scheme) < 1.0 / 32.0,
            "{scheme}: {found:?}"
        );
    }
    assert!(per_packet(&found, "adaptive") < 0.15, "{found:?}");
    for outcome in &found {
        assert_eq!(outcome["received"], outcome["sent"], "{outcome}");
    }
}

#[test]
fn two_runs_come_to_the_same() {
    assert_eq!(outcomes("100000", "500"), outcomes("100000", "500"));
}

#[test]
fn a_rate_beyond_the_cpu_loses_packets_and_says_so() {
    let found = outcomes("10000000", "20000");
    let sum = |key: &str| {
        found
            .iter()
            .map(|row| row[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert!(sum("received") < sum("sent"), "{found:?}");
}

#[test]
fn the_curves_are_plotted() {
    let path = std::env::temp_dir().join(format!("softnet-lab-{}.svg", std::process::id()));
    let file = path.to_str().unwrap();
    let output = lab(&["--rates", "1000,100000", "--packets", "50", "--svg", file]);
    assert!(output.status.success(), "{output:?}");
    let svg = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for label in ["interrupts per packet", "adaptive", "busy poll"] {
        assert!(svg.contains(label), "no {label} in the plot");
    }
}

#[test]
fn what_cannot_be_tried_is_refused() {
    for wrong in [
        &["--rates", "0"] as &[&str],
        &["--rates", "many"],
        &["--packets", "0"],
        &["--real", "--irq-ns", "5"],
        &["--even", "--seed", "5"],
    ] {
        let output = lab(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    let nowhere = lab(&[
        "--packets",
        "5",
        "--rates",
        "1000",
        "--svg",
        "/nowhere/x.svg",
    ]);
    assert_eq!(nowhere.status.code(), Some(1));
    let told = String::from_utf8(nowhere.stderr).unwrap();
    assert!(told.contains("/nowhere/x.svg"), "{told}");
}
