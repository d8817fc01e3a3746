//! `softnet run` on an interface of the kernel.

use super::support::{self, number, stderr};
use super::veth::{self, NEAR, Veth, has_program, wait_until};
use serde_json::Value;
use softnet::af_xdp::netlink::Interface;
use softnet::af_xdp::settings::{Consent, Settings};
use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

/// `softnet run` on our end, with its link up.
pub(crate) struct Running {
    pub(crate) child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

pub(crate) fn run(more: &[&str]) -> Command {
    let nic = format!("af-xdp:{NEAR}");
    let mut command = support::softnet(&["run", "--json", "--nic", &nic]);
    command.args(["--address", "10.7.0.2/24"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    #[track_caller]
    fn start(more: &[&str]) -> Self {
        Self::of(&mut run(more))
    }

    /// Waits until its link is up.
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        assert!(first.contains("the link is up"), "{first}");
        Self { child, said }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args([signal, &pid]).status();
        assert!(killed.unwrap().success());
    }

    /// What it said besides, when it has ended.
    pub(crate) fn rest(&mut self) -> String {
        let lines: Vec<_> = self.said.by_ref().map(Result::unwrap).collect();
        lines.join("\n")
    }

    /// Ends it with SIGTERM. Returns what it printed.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Value {
        self.signal("-TERM");
        let said = self.rest();
        let mut printed = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        serde_json::from_str(&printed).unwrap()
    }
}

/// One line that says what to do, and exit status 1.
#[track_caller]
pub(crate) fn fails(command: &mut Command, says: &[&str]) {
    let output = command.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for what in says {
        assert!(said.contains(what), "{what:?} is not in {said:?}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_services_answer_the_kernel_and_a_sigterm_ends_them() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(2);
    for more in [
        &["--xdp-mode", "copy"][..],
        &["--xdp-mode", "skb", "--steer", "mac"],
        &["--cpus", "2", "--spin", "50us", "--steer", "all"],
        &["--steer", "ip", "--steer", "udp:7-19"],
    ] {
        let running = Running::start(more);
        assert!(has_program());
        veth.ping_all(5, 56);
        let echo = veth.socket(7);
        echo.send(b"hello").unwrap();
        assert_eq!(echo.recv(&mut [0; 64]).unwrap(), 5, "{more:?}");
        let chargen = veth.socket(19);
        chargen.send(b"x").unwrap();
        chargen.recv(&mut [0; 1024]).unwrap();
        let report = running.finish();
        assert!(number(&report, "/services/0/answered") >= 1);
        assert!(!has_program(), "{more:?}");
    }
}

#[test]
fn a_sigkill_leaves_no_program_behind() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(1);
    let mut running = Running::start(&[]);
    veth.ping_all(2, 56);
    assert!(has_program());
    running.signal("-KILL");
    running.child.wait().unwrap();
    wait_until("the program is detached", || !has_program());
    // The next one finds the queue free.
    let running = Running::start(&[]);
    veth.ping_all(2, 56);
    running.finish();
}

#[test]
fn an_interface_that_is_deleted_ends_the_run_with_an_error() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(1);
    let mut running = Running::start(&[]);
    veth.ping_all(2, 56);
    veth::ip_now(&["link", "delete", NEAR]);
    let said = running.rest();
    assert_eq!(running.child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("the interface is gone"), "{said}");
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    if veth::own_namespace().is_none() {
        return;
    }
    fails(&mut run(&[]), &[NEAR, "ip link"]);
}

#[test]
fn a_mode_that_the_interface_has_not_says_why() {
    if veth::own_namespace().is_none() {
        return;
    }
    let _veth = Veth::new(1);
    fails(&mut run(&["--xdp-mode", "zero-copy"]), &[NEAR, "zero-copy"]);
    assert!(!has_program());
}

#[test]
fn a_program_that_is_attached_already_is_left_alone_unless_told() {
    if veth::own_namespace().is_none() {
        return;
    }
    let _veth = Veth::new(1);
    let first = Running::start(&["--xdp-mode", "copy"]);
    fails(&mut run(&[]), &[NEAR, "softnet_xdp", "--replace-program"]);
    assert!(has_program());
    drop(first);
}

#[test]
fn missing_rights_are_told_by_name() {
    if veth::own_namespace().is_none() {
        return;
    }
    let _veth = Veth::new(1);
    let nic = format!("af-xdp:{NEAR}");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(env!("CARGO_BIN_EXE_softnet"));
    command.args(["run", "--nic", &nic, "--address", "10.7.0.2/24"]);
    if let Err(error) = Command::new("setpriv").arg("--version").output() {
        return softnet_test_support::skip(format!("no setpriv: {error}"));
    }
    fails(&mut command, &["CAP_"]);
}

/// The interface's numbers of queues, received and sent.
fn queues() -> (usize, usize) {
    // The interface's own namespace is the one that sysfs is mounted in. The folder is
    // only listed: a queue in it may be gone before anything is asked about it.
    let list = veth::shell(&format!(
        "mount -t sysfs none /sys && ls -U /sys/class/net/{NEAR}/queues"
    ));
    let count = |what| list.lines().filter(|name| name.starts_with(what)).count();
    (count("rx-"), count("tx-"))
}

#[test]
fn queues_that_were_set_are_put_back_however_the_run_ends() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(2);
    for signal in ["-TERM", "-KILL"] {
        let mut running = Running::start(&["--set-queues", "1"]);
        assert_eq!(queues(), (1, 1));
        veth.ping_all(5, 56);
        running.signal(signal);
        running.rest();
        wait_until("the queues are two again", || queues() == (2, 2));
    }
    let nic = run(&["--set-queues", "200"]).output().unwrap();
    assert!(stderr(&nic).contains("200 queues"), "{}", stderr(&nic));
}

/// Queues are taken away while the kernel may not have let go of their sockets.
#[test]
fn queues_that_were_added_are_taken_away_however_the_run_ends() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(2);
    let open = || Interface::open(NEAR).unwrap();
    let in_use = || open().rx_queues().unwrap();
    let mut settings = Settings::new(open(), Consent::QUEUES).unwrap();
    settings.set_queues(1).unwrap();
    for signal in ["-TERM", "-KILL"] {
        let mut running = Running::start(&["--set-queues", "2"]);
        assert_eq!(in_use(), 2);
        veth.ping_all(5, 56);
        running.signal(signal);
        let said = running.rest();
        running.child.wait().unwrap();
        assert!(!said.contains("queues"), "{said}");
        wait_until("the queue is one again", || in_use() == 1);
    }
}

/// Of a veth the kernel may not know what to poll; packets must not wait for a timer
/// then.
#[test]
fn interrupts_are_put_off_only_while_the_kernel_polls() {
    if veth::own_namespace().is_none() {
        return;
    }
    let veth = Veth::new(2);
    for cpus in ["1", "2"] {
        let arguments = ["--busy-poll", "20", "--cpus", cpus, "--spin", "1ms"];
        let mut running = Running::start(&arguments);
        veth.ping_all(100, 56);
        let napis = Interface::open(NEAR).unwrap().napis().unwrap();
        let napis = napis.unwrap_or_default().into_iter();
        let deferred = napis.filter_map(|napi| napi.deferral);
        let deferred = deferred.filter(|deferral| deferral.defer_hard_irqs > 0);
        let deferred = deferred.count();
        running.signal("-TERM");
        let said = running.rest();
        assert!(running.child.wait().unwrap().success(), "{said}");
        let polled = !said.contains("interrupts were left alone");
        assert_eq!(deferred > 0, polled, "{said}");
    }
}

#[test]
fn the_demonstration_goes_through_af_xdp() {
    if veth::own_namespace().is_none() {
        return;
    }
    for cpus in ["1", "2"] {
        let output = support::output(&["demo", "--json", "--nic", "af-xdp", "--cpus", cpus]);
        assert!(output.status.success(), "{output:?}");
        let outcome = support::json(&output);
        assert_eq!(outcome["nic"], Value::from("af-xdp"));
        assert_eq!(number(&outcome, "/ping/received"), 5);
        assert_eq!(number(&outcome, "/udp/echoed"), 1000);
        assert_eq!(outcome["udp"]["refused"], Value::Bool(true));
    }
}
