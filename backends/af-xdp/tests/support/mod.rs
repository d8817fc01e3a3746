//! A network namespace for one test, with a veth pair in it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test program uses a part of the support, and fails by panicking"
)]

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::process::Command;
use std::thread;

/// Runs `test` on a thread of its own, in a network namespace of its own, which
/// is gone, with all that is in it, when the thread ends.
///
/// A test without root is skipped.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let name = thread::current().name().unwrap_or("test").to_owned();
    let body = move || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => test(),
        Err(error) => softnet_test_support::skip(format!("no network namespace: {error}")),
    };
    let thread = thread::Builder::new().name(name).spawn(body).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes the pair `one` and `two`, up, with up to `queues` queues each way.
pub fn veth(one: &str, two: &str, queues: u32) {
    let queues = queues.to_string();
    let side = ["numrxqueues", &queues, "numtxqueues", &queues];
    let mut add = vec!["link", "add", one];
    add.extend(side);
    add.extend(["type", "veth", "peer", "name", two]);
    add.extend(side);
    ip(&add);
    for name in [one, two] {
        quiet_ipv6(name);
        ip(&["link", "set", name, "up"]);
    }
}

/// Keeps the kernel from sending neighbour discovery of its own accord.
fn quiet_ipv6(name: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    // A kernel without IPv6 has nothing to keep quiet.
    let _ = std::fs::write(path, "1");
}

/// Runs ip(8) in the calling thread's namespace.
pub fn ip(arguments: &[&str]) -> String {
    run("ip", arguments)
}

/// What `ip -j -d link show` says about an interface.
pub fn ip_link(name: &str) -> Value {
    let text = ip(&["-j", "-d", "link", "show", "dev", name]);
    let list: Value = serde_json::from_str(&text).unwrap();
    list[0].clone()
}

/// Runs a program in the calling thread's namespace; it has to succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a program can be run at all.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// The path of an object file with an XDP program, section `xdp`, that passes
/// every frame; an error when there is no clang. (A symbol with the name of its
/// section is one too many for some of its versions.)
pub fn pass_program() -> Result<String, String> {
    const SOURCE: &str = r#"
        __attribute__((section("xdp"), used)) int pass_all(void *frame) { return 2; }
        char _license[] __attribute__((section("license"), used)) = "GPL";
    "#;
    let folder = env!("CARGO_TARGET_TMPDIR");
    let (id, thread) = (std::process::id(), thread::current().id());
    let stem = format!("{folder}/pass-{id}-{thread:?}");
    let (source, object) = (format!("{stem}.c"), format!("{stem}.o"));
    std::fs::write(&source, SOURCE).unwrap();
    let arguments = ["-O2", "-g", "-target", "bpf", "-c", &source, "-o", &object];
    let clang = Command::new("clang").args(arguments).output();
    match clang {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            Ok(object)
        }
        Err(error) => Err(format!("clang: {error}")),
    }
}
