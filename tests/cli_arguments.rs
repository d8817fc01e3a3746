//! What the command says when it cannot do what it was asked.

mod support;

use support::{output, stderr, stdout};

/// Wrong arguments: one line that names what is wrong, and exit status 2.
fn refuses(arguments: &[&str], says: &str) {
    let output = output(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(said.starts_with("softnet: "), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
    assert_eq!(stdout(&output), "", "{arguments:?}");
}

/// A failure: one line that says what to do, and exit status 1.
fn fails(arguments: &[&str], says: &str) {
    let output = output(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
}

const WIRE: &str = "tap:softnet-test0";

/// `run` on a wire that is all right, with further arguments.
fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", "--wire", WIRE, "--address", "10.0.0.2/24"];
    arguments.extend(more);
    arguments
}

#[test]
fn a_command_that_is_not_there_is_refused() {
    refuses(&["fly"], "'fly'");
    refuses(&["demo", "now"], "'now'");
    refuses(&["demo", "--jsn"], "--json");
}

#[test]
fn what_run_needs_is_asked_for() {
    refuses(&["run", "--address", "10.0.0.2/24"], "--wire <WIRE>");
    refuses(&["run", "--wire", WIRE], "--address <A/LEN>");
    refuses(&["replay"], "<FILE>");
}

#[test]
fn what_bench_needs_is_asked_for() {
    let bench = |more: &[&'static str]| {
        let mut arguments = vec!["bench", "af-xdp"];
        arguments.extend(more);
        arguments
    };
    refuses(&bench(&["rx-drop"]), "<IFACE>");
    refuses(&bench(&["fly", "eth1"]), "rx-drop");
    refuses(&bench(&["tx-only", "eth1"]), "--destination MAC");
    refuses(&bench(&["udp-echo", "eth1"]), "--address A/LEN");
    let address = ["latency", "eth1", "--address", "10.0.0.2/24"];
    refuses(&bench(&address), "--server A:PORT");
    refuses(&bench(&["l2fwd", "eth1", "--ring", "100"]), "power of two");
    let two = ["l2fwd", "eth1", "--bare", "--queues", "2"];
    refuses(&bench(&two), "one queue");
    fails(&bench(&["rx-drop", "no-such-if0"]), "no-such-if0");
}

#[test]
fn a_wrong_value_is_told_with_a_right_one() {
    refuses(
        &["run", "--wire", "tap0", "--address", "10.0.0.2/24"],
        "tap:NAME",
    );
    refuses(
        &["run", "--wire", "tap:", "--address", "10.0.0.2/24"],
        "tap:tap0",
    );
    let long = "tap:a-name-that-is-too-long";
    refuses(
        &["run", "--wire", long, "--address", "10.0.0.2/24"],
        "15 bytes",
    );
    refuses(
        &["run", "--wire", WIRE, "--address", "10.0.0.2"],
        "10.0.0.2/24",
    );
    refuses(
        &["run", "--wire", WIRE, "--address", "10.0.0.2/40"],
        "32 bits",
    );
    refuses(
        &["run", "--wire", WIRE, "--address", "fe80::2/64"],
        "IPv4 only",
    );
    refuses(&run(&["--nic", "rtl8139"]), "e1000");
    refuses(&run(&["--cpus", "0"]), "1 to 64");
    refuses(&run(&["--cpus", "many"]), "1 to 64");
    refuses(&run(&["--mac", "52:54:00"]), "52:54:00:12:34:56");
    refuses(&run(&["--mac", "01:00:5e:00:00:01"]), "group");
    refuses(&run(&["--duration", "soon"]), "10s");
    refuses(&run(&["--stats-interval", "0s"]), "above zero");
    refuses(&run(&["--gateway", "home"]), "--gateway");
    refuses(&run(&["--seed", "luck"]), "--seed");
    refuses(&["replay", "x.pcap", "--listen", "0"], "--listen");
    refuses(&run(&["--spin", "long"]), "500ms");
}

/// `run` on an interface of the kernel, with further arguments.
fn run_af_xdp<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", "--nic", "af-xdp:lo", "--address", "10.0.0.2/24"];
    arguments.extend(more);
    arguments
}

#[test]
fn a_wrong_value_for_af_xdp_is_told_with_a_right_one() {
    refuses(&run(&["--nic", "af-xdp:"]), "af-xdp:eth1");
    refuses(&run_af_xdp(&["--xdp-mode", "fast"]), "zero-copy, copy, skb");
    for wrong in ["everything", "udp", "udp:x", "udp:9-7", "udp:70000"] {
        refuses(&run_af_xdp(&["--steer", wrong]), "udp:7-19");
    }
    refuses(&run_af_xdp(&["--busy-poll", "often"]), "--busy-poll");
    refuses(&run_af_xdp(&["--set-queues", "none"]), "--set-queues");
}

#[test]
fn what_is_for_another_nic_is_refused() {
    for option in [
        &["--xdp-mode", "copy"][..],
        &["--steer", "all"],
        &["--replace-program"],
        &["--set-queues", "2"],
        &["--busy-poll", "20"],
    ] {
        let says = format!("{} is for --nic af-xdp:IFACE", option[0]);
        refuses(&run(option), &says);
    }
    for option in [
        &["--wire", WIRE][..],
        &["--mac", "52:54:00:12:34:56"],
        &["--kernel-address", "10.0.0.1/24"],
        &["--own-namespace"],
        &["--fault", "loss=1%"],
        &["--capture", "x.pcapng"],
    ] {
        let says = format!("{} is for an emulated NIC", option[0]);
        refuses(&run_af_xdp(option), &says);
    }
}

#[cfg(not(feature = "af-xdp"))]
#[test]
fn an_interface_without_af_xdp_built_in_says_how_to_build_it_in() {
    let build = "cargo build --release --features af-xdp";
    fails(&run_af_xdp(&[]), build);
    fails(&["doctor", "lo"], build);
}

#[test]
fn a_wrong_fault_is_told_with_the_right_ones() {
    refuses(&run(&["--fault", "rain=1%"]), "loss, duplicate");
    refuses(&run(&["--fault", "loss"]), "loss=1%");
    refuses(&run(&["--fault", "loss=2"]), "0% to 100%");
    refuses(&run(&["--fault", "loss=1%,rate=10"]), "mbit");
    refuses(&run(&["--fault", "delay=5 ms"]), "500ms");
}

#[test]
fn a_missing_file_is_named() {
    fails(
        &["replay", "/nowhere/x.pcap"],
        "/nowhere/x.pcap: No such file",
    );
    let wire = [
        "run",
        "--wire",
        "pcap:/nowhere/x.pcap",
        "--address",
        "10.0.0.2/24",
    ];
    fails(&wire, "/nowhere/x.pcap: No such file");
}

#[test]
fn a_file_that_is_no_capture_is_told() {
    fails(&["replay", "/proc/version"], "neither a pcap nor a pcapng");
    fails(&["replay", "/dev/null"], "/dev/null: ");
}

#[test]
fn a_capture_has_no_kernel_side() {
    let mut arguments = run(&["--kernel-address", "10.0.0.1/24"]);
    arguments[2] = "pcap:/proc/version";
    fails(&arguments, "--kernel-address is for a TAP");
}

#[test]
fn an_interface_that_is_no_tap_is_told() {
    if support::own_namespace().is_none() {
        return;
    }
    let wire = ["run", "--wire", "tap:lo", "--address", "10.0.0.2/24"];
    fails(&wire, "use another name");
}

#[test]
fn an_address_that_no_device_can_have_is_told() {
    if support::own_namespace().is_none() {
        return;
    }
    for wrong in ["224.0.0.1/24", "127.0.0.1/8", "0.0.0.0/0"] {
        let wire = ["run", "--wire", WIRE, "--address", wrong];
        fails(&wire, "cannot be a device's address");
    }
    let gateway = run(&["--gateway", "192.168.7.1", "--duration", "1ms"]);
    fails(&gateway, "192.168.7.1 cannot be the gateway");
}

#[test]
fn missing_rights_are_told() {
    if !support::is_root() {
        return softnet_test_support::skip("only root can become somebody without rights");
    }
    let mut command = std::process::Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(env!("CARGO_BIN_EXE_softnet")).args(run(&[]));
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return softnet_test_support::skip(format!("no setpriv: {error}")),
    };
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("run as root"), "{said}");
}

#[test]
fn help_and_version_are_no_failure() {
    let help = output(&["run", "--help"]);
    assert!(help.status.success());
    assert!(stdout(&help).contains("Examples:"));
    let version = output(&["--version"]);
    assert!(version.status.success());
    let expected = concat!("softnet ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(stdout(&version), expected);
}
