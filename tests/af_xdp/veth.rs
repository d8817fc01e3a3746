//! A veth pair: our end in the test's namespace, the other one in a namespace of
//! its own, where the kernel has an address.

use super::support;
use softnet::Machine;
use softnet::af_xdp::bpf::Steering;
use softnet::af_xdp::{AfXdpConfig, Mode, ModeChoice, UmemConfig};
use softnet::netstack::{IfIndex, NicOptions, StackConfig, ThreadOptions, UdpOptions, UdpSocket};
use softnet::wire::netns::Beside;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that waits for it fails anyway.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Our end, in the test's namespace.
pub(crate) const NEAR: &str = "near0";
/// The kernel's end.
pub(crate) const FAR: &str = "far0";

pub(crate) const STACK: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
pub(crate) const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// The kernel's own address on our end.
pub(crate) const BESIDE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 3);

/// The pair, and a thread in the other namespace. Both namespaces end with the
/// test's process.
pub(crate) struct Veth {
    beside: Beside,
}

/// As [`support::own_namespace`], for tests that take root's rights.
#[track_caller]
pub(crate) fn own_namespace() -> Option<support::OwnNamespace> {
    if !support::is_root() {
        softnet_test_support::skip("AF_XDP takes root's rights");
        return None;
    }
    support::own_namespace()
}

impl Veth {
    /// A pair with that many queues at each end, up, with addresses for the kernel.
    pub(crate) fn new(queues: u16) -> Self {
        let veth = Self {
            beside: Beside::new().unwrap(),
        };
        let far = veth.beside.id();
        let q = queues.to_string();
        let q = ["numtxqueues", &q, "numrxqueues", &q];
        let mut add = ip(&["link", "add", NEAR]);
        add.args(q).args(["type", "veth", "peer", "name", FAR]);
        add.args(q).args(["netns", &far.to_string()]);
        run(&mut add);
        ip_now(&["link", "set", "lo", "up"]);
        ip_now(&["address", "add", &format!("{BESIDE}/24"), "dev", NEAR]);
        veth.set_near_up(true);
        veth.ip(&["address", "add", &format!("{KERNEL}/24"), "dev", FAR]);
        veth.ip(&["link", "set", FAR, "up"]);
        veth
    }

    /// Does work in the kernel's namespace, and waits for it.
    pub(crate) fn far<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        self.beside.run(work).unwrap()
    }

    /// Runs `ip` in the kernel's namespace.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        let mut command = ip(arguments);
        self.far(move || {
            run(&mut command);
        });
    }

    #[expect(clippy::unused_self, reason = "there is an end while there is a pair")]
    pub(crate) fn set_near_up(&self, up: bool) {
        ip_now(&["link", "set", NEAR, if up { "up" } else { "down" }]);
    }

    /// The kernel pings the stack.
    pub(crate) fn ping(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ping");
        command.args(arguments).arg(STACK.to_string());
        self.far(move || command.output().unwrap())
    }

    /// Fails unless all pings of that size are answered.
    #[track_caller]
    pub(crate) fn ping_all(&self, count: usize, size: usize) {
        let (count, size) = (count.to_string(), size.to_string());
        let arguments = ["-q", "-c", &count, "-i", "0.01", "-w", "20", "-s", &size];
        let output = self.ping(&arguments);
        assert!(output.status.success(), "{}", support::stdout(&output));
    }

    /// A socket of the kernel, connected to a port of the stack.
    pub(crate) fn socket(&self, port: u16) -> std::net::UdpSocket {
        self.far(move || {
            let socket = std::net::UdpSocket::bind((KERNEL, 0)).unwrap();
            socket.connect((STACK, port)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        })
    }
}

fn ip(arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments);
    command
}

/// Runs `ip` in the test's namespace.
#[track_caller]
pub(crate) fn ip_now(arguments: &[&str]) -> String {
    run(&mut ip(arguments))
}

/// What a shell prints in the test's network namespace and a mount namespace of its
/// own.
#[track_caller]
pub(crate) fn shell(script: &str) -> String {
    run(Command::new("unshare").args(["--mount", "--", "sh", "-c", script]))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    support::stdout(&output)
}

/// Whether a program is attached to our end.
pub(crate) fn has_program() -> bool {
    ip_now(&["link", "show", NEAR]).contains("xdp")
}

/// How the stack is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) cpus: usize,
    pub(crate) mode: Mode,
    pub(crate) threads: bool,
}

/// A machine on our end, whose address is [`STACK`].
pub(crate) fn machine(cpus: usize, mode: Mode) -> (Machine, IfIndex) {
    machine_on(UmemConfig::default(), cpus, mode)
}

/// The same, on memory of that shape.
pub(crate) fn machine_on(umem: UmemConfig, cpus: usize, mode: Mode) -> (Machine, IfIndex) {
    let config = StackConfig {
        cpus,
        seed: 7,
        ..StackConfig::default()
    };
    let mut machine = Machine::on_umem(&config, umem).unwrap();
    let dev = plug_in(&mut machine, mode);
    (machine, dev)
}

pub(crate) fn plug_in(machine: &mut Machine, mode: Mode) -> IfIndex {
    let mut config = AfXdpConfig::new(NEAR);
    config.mode = ModeChoice::Only(mode);
    config.steering = Steering::none().address(STACK);
    let dev = machine.add_af_xdp(config, &NicOptions::default()).unwrap();
    let stack = machine.stack_mut();
    stack.add_address(dev, IpAddr::V4(STACK), 24).unwrap();
    dev
}

/// An echo server on a stack, driven by the machine's threads or by its own.
pub(crate) struct Echo {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Machine>,
}

impl Echo {
    /// Serves port 7 until it is stopped.
    pub(crate) fn start(mut machine: Machine, threads: bool) -> Self {
        let (stop, stopped) = mpsc::channel();
        let options = UdpOptions::default();
        let mut socket = machine
            .stack_mut()
            .udp_bind((STACK, 7).into(), &options)
            .unwrap();
        let thread = std::thread::spawn(move || {
            if threads {
                machine.start(&ThreadOptions::default()).unwrap();
            }
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                turn(&mut machine, &mut socket, threads);
            }
            machine.stop().unwrap();
            machine
        });
        Self { stop, thread }
    }

    /// Returns the machine, inline.
    pub(crate) fn stop(self) -> Machine {
        // The server has gone if this fails, and says why.
        let _ = self.stop.send(());
        self.thread.join().unwrap()
    }
}

/// How long the server waits before it looks whether it is to stop.
const TURN: Duration = Duration::from_millis(50);

fn turn(machine: &mut Machine, socket: &mut UdpSocket, threads: bool) {
    if threads {
        if let Ok(datagram) = socket.recv(Some(TURN)) {
            echo(socket, datagram);
        }
        return;
    }
    let until_ns = machine.now_ns() + TURN.as_nanos() as u64;
    machine
        .run_until(until_ns, |_| socket.is_readable())
        .unwrap();
    while let Ok(datagram) = socket.try_recv() {
        echo(socket, datagram);
    }
}

fn echo(socket: &mut UdpSocket, datagram: softnet::netstack::Datagram) {
    let to = datagram.from();
    // What is not sent is missed by the other side.
    let _ = socket.try_send_datagram(datagram, to);
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
