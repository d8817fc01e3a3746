//! What is done by the whole stack: udp-echo and latency.

use super::args::{AfXdp, Task};
use super::below::{config, refused};
use super::outcome::{Bound, Outcome, RoundTrip};
use anyhow::{Context, Result};
use softnet::Machine;
use softnet::af_xdp::UmemConfig;
use softnet::af_xdp::bpf::Steering;
use softnet::netstack::{IfIndex, NicOptions, StackConfig, UdpOptions, UdpSocket};
use std::net::SocketAddr;
use std::time::Instant;

/// The service that udp-echo is.
const ECHO: u16 = 7;
/// How long an answer may take, in nanoseconds.
const PATIENCE_NS: u64 = 100_000_000;
/// From one question to the next, in nanoseconds.
const PAUSE_NS: u64 = 200_000;

pub(super) fn run(args: &AfXdp) -> Result<Outcome> {
    let (mut machine, eth0) = open(args).with_context(|| args.interface.clone())?;
    let mode = machine.af_xdp(eth0).and_then(|nic| nic.mode());
    let mode = mode.map_or_else(String::new, |mode| mode.to_string());
    let outcome = Outcome::new(args, "stack", mode);
    let mut outcome = match args.task {
        Task::Latency => ask(&mut machine, args, outcome)?,
        _ => echo(&mut machine, args, outcome)?,
    };
    for drops in machine.report().drops {
        outcome.drop(drops.reason, drops.packets);
    }
    if let Some(nic) = machine.af_xdp(eth0) {
        outcome.count_nic(&**nic);
        outcome = outcome.refused(refused(nic));
    }
    Ok(outcome)
}

fn open(args: &AfXdp) -> Result<(Machine, IfIndex)> {
    let address = args.address.context("there is no --address")?;
    let umem = UmemConfig {
        chunks: u32::from(args.ring) * 4,
        ring: args.ring,
        ..UmemConfig::default()
    };
    let stack = StackConfig {
        seed: crate::seed::draw(),
        ..StackConfig::default()
    };
    let mut machine = Machine::on_umem(&stack, umem)?;
    let mut nic = config(args);
    nic.steering = Steering::none().address(address.address);
    let options = NicOptions {
        queues: args.queues,
        ..NicOptions::default()
    };
    let eth0 = machine.add_af_xdp(nic, &options)?;
    let stack = machine.stack_mut();
    stack.add_address(eth0, address.address, address.prefix_len)?;
    Ok((machine, eth0))
}

fn bind(machine: &mut Machine, args: &AfXdp, port: u16) -> Result<UdpSocket> {
    let address = args.address.context("there is no --address")?;
    let options = UdpOptions {
        receive_buffer: 1 << 20,
        ..UdpOptions::default()
    };
    let at = SocketAddr::new(address.address, port);
    Ok(machine.stack_mut().udp_bind(at, &options)?)
}

/// One turn, or a sleep until the socket has something.
fn turn(machine: &mut Machine, args: &AfXdp, socket: &UdpSocket, until_ns: u64) -> Result<()> {
    if args.sleep {
        machine.run_until(until_ns, |_| socket.is_readable())?;
    } else {
        machine.run_once();
    }
    Ok(())
}

fn echo(machine: &mut Machine, args: &AfXdp, outcome: Outcome) -> Result<Outcome> {
    let mut socket = bind(machine, args, ECHO)?;
    let (bound, mut answered) = (Bound::new(args), 0);
    while !bound.is_over(answered) {
        let until_ns = machine.now_ns() + PATIENCE_NS;
        turn(machine, args, &socket, until_ns)?;
        while let Ok(datagram) = socket.try_recv() {
            let from = datagram.from();
            let sent = socket.try_send_datagram(datagram, from);
            answered += u64::from(sent.is_ok());
        }
    }
    machine.run_once();
    Ok(outcome.moved(answered, bound.elapsed()))
}

fn ask(machine: &mut Machine, args: &AfXdp, outcome: Outcome) -> Result<Outcome> {
    let server = args.server.context("there is no --server")?;
    let mut socket = bind(machine, args, 0)?;
    let bound = Bound::new(args);
    let (mut times, mut lost) = (Vec::new(), 0);
    while !bound.is_over(times.len() as u64 + lost) {
        let question = (times.len() as u64 + lost).to_be_bytes();
        let start_ns = machine.now_ns();
        match round_trip(machine, args, &mut socket, server, &question)? {
            Some(ns) => times.push(ns),
            None => lost += 1,
        }
        machine.run_until(start_ns + PAUSE_NS, |_| false)?;
    }
    let answered = times.len() as u64;
    let outcome = outcome.moved(answered, bound.elapsed());
    Ok(outcome.round_trip(RoundTrip::of(times, lost)))
}

/// How long the answer took, in nanoseconds; `None` if there was none.
fn round_trip(
    machine: &mut Machine,
    args: &AfXdp,
    socket: &mut UdpSocket,
    server: SocketAddr,
    question: &[u8],
) -> Result<Option<u64>> {
    let start = Instant::now();
    let until_ns = machine.now_ns() + PATIENCE_NS;
    socket.try_send_to(question, server)?;
    while machine.now_ns() < until_ns {
        turn(machine, args, socket, until_ns)?;
        while let Ok(answer) = socket.try_recv() {
            if answer[..] == *question {
                return Ok(Some(u64::try_from(start.elapsed().as_nanos())?));
            }
        }
    }
    Ok(None)
}
