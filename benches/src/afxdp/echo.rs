//! Datagrams answered as fast as one CPU can, under a flood.

use super::flood::Flood;
use super::forward::Span;
use super::lab::{Lab, NEAR, NEAR_KERNEL, NEAR_STACK, NOBODY, NOBODY_MAC};
use super::mmsg::{Batch, force_receive_buffer};
use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use softnet::Machine;
use softnet::af_xdp::bpf::{AttachMode, AttachOptions, Link, Program, ProgramOptions};
use softnet::af_xdp::netlink::Interface;
use softnet::af_xdp::{AfXdpConfig, Mode, ModeChoice, UmemConfig};
use softnet::netstack::{IfIndex, NicOptions, StackConfig, UdpOptions, UdpSocket};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The service.
const PORT: u16 = 7;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The whole stack and its socket, on one thread.
    Softnet,
    /// The kernel's socket, with recvmmsg and sendmmsg of 64.
    Kernel,
}

impl Server {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Softnet, Self::Kernel];

    /// The name in the rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Softnet => "softnet",
            Self::Kernel => "kernel sockets",
        }
    }

    const fn address(self) -> Ipv4Addr {
        match self {
            Self::Softnet => NEAR_STACK,
            Self::Kernel => NEAR_KERNEL,
        }
    }
}

/// What a run came to, in thousands a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Datagrams that were offered.
    pub offered: f64,
    /// Answers that have arrived at the far end.
    pub answered: f64,
    /// The same, for each second in which the server's thread had the CPU.
    pub answered_per_cpu: f64,
}

/// A machine on the near end that takes what is for its address.
///
/// # Errors
/// The kernel refuses.
pub fn machine() -> Result<(Machine, IfIndex)> {
    let mut machine = Machine::on_umem(&StackConfig::default(), UmemConfig::default())?;
    let config = AfXdpConfig {
        mode: ModeChoice::Only(Mode::Copy),
        ..AfXdpConfig::new(NEAR)
    };
    let eth0 = machine.add_af_xdp(config, &NicOptions::default())?;
    machine
        .stack_mut()
        .add_address(eth0, NEAR_STACK.into(), 24)?;
    Ok((machine, eth0))
}

/// A server at its work.
enum Running {
    Softnet(Box<Machine>, Box<UdpSocket>),
    Kernel(Box<KernelServer>),
}

struct KernelServer {
    socket: std::net::UdpSocket,
    batch: Batch,
    /// What comes passes its program to the kernel: without one, a veth takes no
    /// frames of the generator.
    _link: Link,
}

impl Running {
    fn open(server: Server) -> Result<Self> {
        match server {
            Server::Softnet => softnet(),
            Server::Kernel => kernel(),
        }
    }

    fn turn(&mut self) -> Result<()> {
        match self {
            Self::Softnet(machine, socket) => answer(machine, socket),
            Self::Kernel(server) => server.answer()?,
        }
        Ok(())
    }
}

fn softnet() -> Result<Running> {
    let (mut machine, eth0) = machine()?;
    let stack = machine.stack_mut();
    stack.add_neighbour(eth0, NOBODY, NOBODY_MAC)?;
    let options = UdpOptions {
        receive_buffer: 1 << 20,
        ..UdpOptions::default()
    };
    let socket = stack.udp_bind(SocketAddr::from((NEAR_STACK, PORT)), &options)?;
    Ok(Running::Softnet(Box::new(machine), Box::new(socket)))
}

#[inline]
fn answer(machine: &mut Machine, socket: &mut UdpSocket) {
    machine.run_once();
    while let Ok(datagram) = socket.try_recv() {
        let from = datagram.from();
        // One that finds no room is not answered, and not counted at the far end.
        let _ = socket.try_send_datagram(datagram, from);
    }
}

fn kernel() -> Result<Running> {
    let program = Program::load(&ProgramOptions::default())?;
    let options = AttachOptions {
        mode: AttachMode::Driver,
        ..AttachOptions::default()
    };
    let link = program.attach(Interface::open(NEAR)?.index(), options)?;
    let socket = std::net::UdpSocket::bind((NEAR_KERNEL, PORT))?;
    force_receive_buffer(&socket, 4 << 20)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(Running::Kernel(Box::new(KernelServer {
        socket,
        batch: Batch::new(),
        _link: link,
    })))
}

impl KernelServer {
    fn answer(&mut self) -> Result<()> {
        let count = self.batch.receive(&self.socket)?;
        // As above.
        let _ = self.batch.send_back(&self.socket, count);
        Ok(())
    }
}

/// One run: a flood, and a server who answers.
///
/// # Errors
/// The kernel refuses.
pub fn run(lab: &Lab, server: Server, span: Span) -> Result<Rates> {
    let mut running = Running::open(server)?;
    let flood = Flood::start(lab, server.address())?;
    serve(&mut running, span.warm_up)?;
    let (sent, arrived) = (flood.sent(), lab.arrived()?);
    let (start, cpu) = (Instant::now(), cpu_time()?);
    serve(&mut running, span.measured)?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_time()? - cpu);
    let (sent, arrived) = (flood.sent() - sent, lab.arrived()? - arrived);
    flood.stop()?;
    Ok(Rates {
        offered: sent as f64 / seconds / 1e3,
        answered: arrived as f64 / seconds / 1e3,
        answered_per_cpu: arrived as f64 / cpu.as_secs_f64() / 1e3,
    })
}

fn serve(running: &mut Running, time: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        for _ in 0..32 {
            running.turn()?;
        }
    }
    Ok(())
}

/// How long the calling thread has had a CPU.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
