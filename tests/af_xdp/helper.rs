//! `softnet run` as a user without privilege, on what `softnet af-xdp-helper` hands out.

use super::command::{Running, fails, run};
use super::support::{self, number};
use super::veth::{self, NEAR, Veth, has_program, wait_until};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A user without rights.
const NOBODY: &str = "65534";

/// `softnet af-xdp-helper` for our end, which listens.
struct Helper {
    child: Child,
    socket: PathBuf,
}

impl Helper {
    fn start() -> Self {
        let name = format!("softnet-run-helper-{}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let mut command = support::softnet(&["af-xdp-helper", NEAR, "--user", NOBODY]);
        command.arg("--socket").arg(&socket).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        assert!(first.contains("is handed out"), "{first}");
        Self { child, socket }
    }

    /// `softnet run` without any capability, now or later.
    fn run(&self, more: &[&str]) -> Command {
        let mut command = run(more);
        command.arg("--helper").arg(&self.socket);
        without_privilege(&command)
    }

    fn end(&mut self) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.unwrap().success());
        assert!(self.child.wait().unwrap().success());
        assert!(!self.socket.exists());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn without_privilege(command: &Command) -> Command {
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    unprivileged.args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
    unprivileged
        .arg(command.get_program())
        .args(command.get_args());
    unprivileged.stdout(Stdio::piped()).stderr(Stdio::piped());
    unprivileged
}

/// Whether that user can start the program where it was built. Otherwise the test is
/// skipped.
fn can_start() -> bool {
    let output = without_privilege(&support::softnet(&["--version"])).output();
    let started = output.is_ok_and(|output| output.status.success());
    if !started {
        softnet_test_support::skip("a user without rights cannot start what was built here");
    }
    started
}

#[test]
fn a_process_without_privilege_answers_the_kernel() {
    if veth::own_namespace().is_none() || !can_start() {
        return;
    }
    let veth = Veth::new(2);
    let mut helper = Helper::start();
    for more in [
        &["--xdp-mode", "copy"][..],
        &["--xdp-mode", "skb", "--steer", "mac", "--cpus", "2"],
    ] {
        let running = Running::of(&mut helper.run(more));
        let status = format!("/proc/{}/status", running.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        for line in [
            "Uid:\t65534\t65534\t65534\t65534",
            "CapPrm:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{status}");
        }
        assert!(has_program());
        veth.ping_all(20, 1400);
        let echo = veth.socket(7);
        echo.send(b"hello").unwrap();
        assert_eq!(echo.recv(&mut [0; 64]).unwrap(), 5, "{more:?}");
        let report = running.finish();
        assert!(number(&report, "/services/0/answered") >= 1);
        assert!(!has_program(), "{more:?}");
    }
    // What is open needs no helper.
    let running = Running::of(&mut helper.run(&[]));
    helper.end();
    veth.ping_all(5, 56);
    running.finish();
}

#[test]
fn a_killed_process_without_privilege_leaves_no_program_behind() {
    if veth::own_namespace().is_none() || !can_start() {
        return;
    }
    let veth = Veth::new(1);
    let helper = Helper::start();
    for _ in 0..2 {
        let mut running = Running::of(&mut helper.run(&[]));
        veth.ping_all(2, 56);
        assert!(has_program());
        running.signal("-KILL");
        running.child.wait().unwrap();
        wait_until("the program is detached", || !has_program());
    }
}

#[test]
fn a_helper_that_is_killed_leaves_no_program_and_no_process_without_frames() {
    if veth::own_namespace().is_none() || !can_start() {
        return;
    }
    let veth = Veth::new(1);
    let mut helper = Helper::start();
    let running = Running::of(&mut helper.run(&[]));
    helper.child.kill().unwrap();
    helper.child.wait().unwrap();
    veth.ping_all(5, 56);
    running.finish();
    assert!(!has_program());
    // Its socket is still there, and the next one takes its place.
    let helper = Helper::start();
    Running::of(&mut helper.run(&[])).finish();
}

#[test]
fn without_a_helper_its_command_is_named() {
    if veth::own_namespace().is_none() {
        return;
    }
    let _veth = Veth::new(1);
    let says = ["/nowhere/helper", "softnet af-xdp-helper"];
    fails(&mut run(&["--helper", "/nowhere/helper"]), &says);
}
