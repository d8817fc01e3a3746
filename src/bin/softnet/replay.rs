//! `softnet replay`: a capture through the whole path.

mod account;
mod shared;

use crate::args::Replay as Args;
use crate::{layers, output};
use account::Account;
use anyhow::{Context, Result};
use serde::Serialize;
use shared::SharedReplay;
use softnet::netstack::{StackConfig, UdpOptions, UdpSocket};
use softnet::report::Report;
use softnet::softirq::VirtualClock;
use softnet::wire::pcap::PcapError;
use softnet::{Machine, NicConfig, NicKind, Time};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far the clock moves for each frame: what 64 bytes take on a line of one
/// gigabit.
const FRAME_NS: u64 = 672;
/// How long the stack is left running after the last packet, so that what
/// waits for a neighbour's answer has an end: longer than all retries.
const SETTLE_NS: u64 = 10_000_000_000;
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// What a replay came to.
#[derive(Serialize)]
struct Outcome {
    file: String,
    /// How the file ended.
    end: &'static str,
    /// What is wrong with it.
    error: Option<String>,
    seconds: f64,
    packets_per_second: f64,
    account: Account,
    report: Report,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let outcome = replay(args)?;
    if args.json {
        output::json(&outcome)?;
    } else {
        output::text(text(&outcome))?;
    }
    let file = &outcome.file;
    if let Some(error) = &outcome.error {
        eprintln!("softnet: {file}: {error}; what was before that is accounted for");
    }
    for error in outcome.account.errors() {
        eprintln!("softnet: the account does not add up: {error}");
    }
    let good = outcome.error.is_none() && outcome.account.adds_up();
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn replay(args: &Args) -> Result<Outcome> {
    let file = args.file.display().to_string();
    let wire = SharedReplay::open(&args.file, burst(args.nic)).with_context(|| file.clone())?;
    let (mut machine, clock) = assemble(args, &wire)?;
    let mut sockets = listen(&mut machine, &args.listen)?;
    let start = Instant::now();
    push_through(&mut machine, &clock, &wire, &mut sockets);
    let seconds = start.elapsed().as_secs_f64();
    machine.run_for(SETTLE_NS)?;
    let report = machine.report();
    let account = Account::new(&report, &wire);
    let packets_per_second = account.read() as f64 / seconds.max(1e-9);
    Ok(Outcome {
        file,
        end: wire.with_failure(end),
        error: wire.with_failure(|failure| failure.map(ToString::to_string)),
        seconds,
        packets_per_second,
        account,
        report,
    })
}

/// Frames that the NIC is given at a time: as many as surely fit into its memory.
const fn burst(nic: NicKind) -> usize {
    match nic {
        NicKind::Ne2000 => 8,
        _ => usize::MAX,
    }
}

fn assemble(args: &Args, wire: &SharedReplay) -> Result<(Machine, Arc<VirtualClock>)> {
    let clock = Arc::new(VirtualClock::new(0));
    let config = StackConfig {
        cpus: args.cpus,
        ..StackConfig::default()
    };
    let mut machine = Machine::new(&config, Time::Virtual(clock.clone()))?;
    let nic = NicConfig {
        mac: args.mac,
        promiscuous: !args.filter,
        ..NicConfig::default()
    };
    let eth0 = machine.add_nic(args.nic, Box::new(wire.clone()), &nic)?;
    for cidr in &args.address {
        machine
            .stack_mut()
            .add_address(eth0, cidr.address, cidr.prefix_len)?;
    }
    machine.wait_for_link(eth0, LINK_PATIENCE)?;
    Ok((machine, clock))
}

fn listen(machine: &mut Machine, ports: &[u16]) -> Result<Vec<UdpSocket>> {
    let bind = |&port| {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let socket = machine
            .stack_mut()
            .udp_bind(address, &UdpOptions::default());
        socket.with_context(|| format!("no socket on port {port}"))
    };
    ports.iter().map(bind).collect()
}

/// Feeds the NIC a burst at a time, so that neither its ring nor a socket has
/// to hold more than one.
fn push_through(
    machine: &mut Machine,
    clock: &VirtualClock,
    wire: &SharedReplay,
    sockets: &mut [UdpSocket],
) {
    wire.let_go();
    while !wire.is_finished() {
        let before = wire.offered();
        machine.run_once();
        for socket in &mut *sockets {
            while socket.try_recv().is_ok() {}
        }
        clock.advance((wire.offered() - before) * FRAME_NS);
    }
    machine.run_until_idle();
    for socket in sockets {
        while socket.try_recv().is_ok() {}
    }
}

fn end(failure: Option<&PcapError>) -> &'static str {
    match failure {
        None => "complete",
        Some(PcapError::Truncated) => "truncated",
        Some(PcapError::LinkType(_)) => "not Ethernet",
        Some(PcapError::Read | PcapError::Open { .. }) => "unreadable",
        Some(_) => "corrupted",
    }
}

fn text(outcome: &Outcome) -> String {
    let Outcome {
        file,
        seconds,
        packets_per_second,
        account,
        report,
        ..
    } = outcome;
    format!(
        "{file} ({}): {} packets in {seconds:.3} s, {packets_per_second:.0} packets/s\n\n\
         {account}\n\n{}\n\n{report}",
        outcome.end,
        account.read(),
        layers::text(report, &[]),
    )
}
