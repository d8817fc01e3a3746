//! What the end-to-end tests stand on.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as a test does"
)]
#![cfg_attr(
    test,
    allow(dead_code, reason = "each test program uses a part of these helpers")
)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

/// Set in a test that was started again inside of its own namespace.
const INSIDE: &str = "SOFTNET_TEST_INSIDE";

/// The proof that the test runs in a network namespace of its own, which ends
/// with it, and with everything in it.
pub(crate) struct OwnNamespace;

/// Starts the calling test again, alone, in a process and a network namespace
/// of its own, and returns `Some` there. Here it returns `None` when that
/// process has ended; the test fails if it failed.
///
/// Where the machine has no TAP or no namespaces to give, the test is skipped.
#[track_caller]
pub(crate) fn own_namespace() -> Option<OwnNamespace> {
    if std::env::var_os(INSIDE).is_some() {
        return Some(OwnNamespace);
    }
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    assert_ne!(test, "main", "this test finds itself by its thread's name");
    if let Err(reason) = namespaces() {
        softnet_test_support::skip(reason);
        return None;
    }
    let status = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its namespace");
    None
}

/// Without root, a user namespace comes with the network namespace.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if is_root() {
        command.args(["--net", "--"]);
    } else {
        command.args(["--net", "--map-root-user", "--"]);
    }
    command
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Whether a test can have a namespace and a TAP interface in it.
fn namespaces() -> Result<(), String> {
    let shell = "exec 3<>/dev/net/tun";
    let probe = unshare().args(["sh", "-c", shell]).output();
    let probe = probe.map_err(|error| format!("unshare cannot be run: {error}"))?;
    if probe.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&probe.stderr).into_owned();
    Err(format!("no namespace or no /dev/net/tun: {said}"))
}

/// The command under test.
pub(crate) fn softnet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softnet"));
    command.args(arguments);
    command
}

/// Runs the command to its end.
pub(crate) fn output(arguments: &[&str]) -> Output {
    softnet(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one JSON object on standard output.
pub(crate) fn json(output: &Output) -> Value {
    match serde_json::from_slice(&output.stdout) {
        Ok(value) => value,
        Err(error) => panic!(
            "no JSON on standard output ({error}): {} {}",
            stdout(output),
            stderr(output)
        ),
    }
}

/// A number in a JSON value, by its path.
#[track_caller]
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no number at {pointer} in {value}"))
}

/// A folder for one test's files, removed with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("softnet-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is in the system's folder for that.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The emulated NICs, by the names that the command knows.
pub(crate) const NICS: [&str; 3] = ["e1000", "igb", "ne2000"];

/// The addresses of the tests' links.
pub(crate) const KERNEL: &str = "10.0.0.1";
pub(crate) const STACK: &str = "10.0.0.2";

/// `softnet run` on a TAP of the test's namespace, with its link up.
pub(crate) struct Running {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// Starts it with further arguments, and waits until its link is up.
    #[track_caller]
    pub(crate) fn start(more: &[&str]) -> Self {
        let wire = ["run", "--json", "--wire", "tap:tap0"];
        let addresses = [
            "--kernel-address",
            "10.0.0.1/24",
            "--address",
            "10.0.0.2/24",
        ];
        let mut command = softnet(&wire);
        command.args(addresses).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        assert!(first.contains("the link is up"), "{first}");
        Self { child, said }
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.unwrap().split_ascii_whitespace().nth(1);
        number.unwrap().parse().unwrap()
    }

    /// Ends it with SIGTERM. Returns what it printed.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Value {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.unwrap().success());
        let rest: Vec<_> = self.said.by_ref().map(Result::unwrap).collect();
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{rest:?}");
        json(&output)
    }
}

/// A socket of the kernel, connected to a port of the stack.
pub(crate) fn kernel_socket(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((KERNEL, 0)).unwrap();
    socket.connect((STACK, port)).unwrap();
    // Long enough for a loaded machine: a test that waits for it fails anyway.
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

pub(crate) fn ping(arguments: &[&str]) -> Output {
    Command::new("ping")
        .args(arguments)
        .arg(STACK)
        .output()
        .unwrap()
}
