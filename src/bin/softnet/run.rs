//! `softnet run`: the stack on a wire, for as long as it is wanted.

use crate::args::Run;
use crate::services::{ServiceReport, Services};
use crate::values::Nic;
use crate::{af_xdp, layers, output, seed, wires};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use softnet::netstack::route::Route;
use softnet::netstack::{IfIndex, StackConfig, ThreadOptions};
use softnet::report::Report;
use softnet::vfio::VfioFunction;
use softnet::wire::Recorder;
use softnet::wire::fault::Fault;
use softnet::wire::netns::Namespace;
use softnet::{Machine, NicConfig, NicKind, Time};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long the link may take before the user is told that it is down.
const LINK_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether the NIC is still there.
const LOOK: Duration = Duration::from_millis(250);

/// What the stack did, at the end or at an interval.
#[derive(Serialize)]
struct State<'a> {
    services: &'a [ServiceReport],
    report: &'a Report,
}

pub(crate) fn run(args: &Run) -> Result<ExitCode> {
    // Before the first thread: the kernel asks for it.
    let namespace = args.own_namespace.then(Namespace::enter).transpose()?;
    let seed = args.seed.unwrap_or_else(seed::draw);
    let config = StackConfig {
        cpus: args.cpus,
        seed,
        ..StackConfig::default()
    };
    let mut tuned = af_xdp::Tuned::before(args)?;
    let mut machine = match &args.nic {
        Nic::Emulated(_) | Nic::Vfio(_) => Machine::new(&config, Time::Real)?,
        Nic::AfXdp(interface) => af_xdp::machine(&config, interface, args)?,
    };
    let eth0 = plug_in(&mut machine, args, seed)?;
    configure(&mut machine, eth0, args)?;
    let services = Services::start(&mut machine)?;
    let interrupted = interruptions()?;
    machine.start(&threads(args))?;
    let up = machine.wait_for_link(eth0, LINK_PATIENCE)?;
    announce(args, namespace.is_some(), up);
    af_xdp::announce(&machine, eth0);
    let gone = serve(
        &mut machine,
        eth0,
        &services,
        args,
        &interrupted,
        &mut tuned,
    )?;
    machine.stop().context("the machine broke down")?;
    print(&mut machine, &services, args.json)?;
    drop(services);
    drop(machine);
    if gone {
        bail!("the interface is gone: it was deleted, or its device was unplugged");
    }
    tuned.restore()?;
    Ok(ExitCode::SUCCESS)
}

fn threads(args: &Run) -> ThreadOptions {
    let spin = args.spin.unwrap_or_default();
    ThreadOptions {
        spin_ns: u64::try_from(spin.as_nanos()).unwrap_or(u64::MAX),
        ..ThreadOptions::default()
    }
}

fn plug_in(machine: &mut Machine, args: &Run, seed: u64) -> Result<IfIndex> {
    match &args.nic {
        Nic::Emulated(kind) => plug_in_emulated(machine, *kind, args, seed),
        Nic::AfXdp(interface) => af_xdp::plug_in(machine, interface, args),
        Nic::Vfio(name) => {
            let irqs = Arc::clone(machine.bus().irqs());
            let function = VfioFunction::open(name, irqs)?;
            Ok(machine.add_pci(Arc::new(function), &NicConfig::default())?)
        }
    }
}

fn plug_in_emulated(
    machine: &mut Machine,
    kind: NicKind,
    args: &Run,
    seed: u64,
) -> Result<IfIndex> {
    let wire = args.wire.as_ref().context("there is no --wire")?;
    let mut wire = wires::open(wire, args.kernel_address)?;
    if let Some(faults) = &args.fault {
        wire = Box::new(Fault::new(wire, &faults.config(seed)));
    }
    if let Some(path) = &args.capture {
        let capture = wires::create_capture(path, machine.now_ns())?;
        wire = Box::new(Recorder::new(wire, capture));
    }
    let nic = NicConfig {
        mac: args.mac,
        ..NicConfig::default()
    };
    Ok(machine.add_nic(kind, wire, &nic)?)
}

fn configure(machine: &mut Machine, eth0: IfIndex, args: &Run) -> Result<()> {
    let stack = machine.stack_mut();
    for cidr in &args.address {
        stack.add_address(eth0, cidr.address, cidr.prefix_len)?;
    }
    if let Some(gateway) = args.gateway {
        stack
            .add_route(Route::default_via(eth0, gateway))
            .with_context(|| format!("{gateway} cannot be the gateway"))?;
    }
    Ok(())
}

/// Ctrl-C, SIGTERM and SIGHUP come out of this channel.
fn interruptions() -> Result<Receiver<()>> {
    let (interrupt, interrupted) = mpsc::channel();
    let handler = move || {
        // When nobody listens any more, the end is near anyway.
        let _ = interrupt.send(());
    };
    ctrlc::set_handler(handler).context("signals cannot be caught")?;
    Ok(interrupted)
}

/// Says on standard error, which is not for programs, that it runs.
fn announce(args: &Run, own_namespace: bool, up: bool) {
    let addresses: Vec<_> = args.address.iter().map(ToString::to_string).collect();
    let link = if up { "up" } else { "DOWN" };
    eprintln!(
        "softnet: {} on eth0, the link is {link}; Ctrl-C ends",
        addresses.join(" ")
    );
    if own_namespace {
        let pid = std::process::id();
        eprintln!("softnet: from outside: nsenter --preserve-credentials -U -n -t {pid} COMMAND");
    }
}

/// Waits for the end, and prints the counters now and then. Returns whether it came
/// to an end because the NIC is gone.
fn serve(
    machine: &mut Machine,
    eth0: IfIndex,
    services: &Services,
    args: &Run,
    interrupted: &Receiver<()>,
    tuned: &mut af_xdp::Tuned,
) -> Result<bool> {
    let interface = machine.interface(eth0)?;
    let start = Instant::now();
    let end = args.duration.and_then(|after| start.checked_add(after));
    let mut next = args.stats_interval.map(|interval| start + interval);
    while !interface.is_gone() {
        tuned.look(machine)?;
        let look = Instant::now() + LOOK;
        let until = [end, next].into_iter().flatten().min();
        if !wait(interrupted, until.map_or(look, |until| until.min(look)))
            || end.is_some_and(|end| end <= Instant::now())
        {
            return Ok(false);
        }
        if let (Some(interval), Some(due)) = (args.stats_interval, &mut next)
            && *due <= Instant::now()
        {
            *due += interval;
            print_interval(machine, services, args.json, start.elapsed())?;
        }
    }
    Ok(true)
}

/// Returns whether the time has come, and not an interruption.
fn wait(interrupted: &Receiver<()>, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    interrupted.recv_timeout(left) == Err(RecvTimeoutError::Timeout)
}

fn print(machine: &mut Machine, services: &Services, json: bool) -> Result<()> {
    let (report, services) = (machine.report(), services.report());
    if json {
        return output::json(&State {
            services: &services,
            report: &report,
        });
    }
    output::text(format_args!(
        "{}\n\n{report}",
        layers::text(&report, &services)
    ))
}

fn print_interval(
    machine: &mut Machine,
    services: &Services,
    json: bool,
    elapsed: Duration,
) -> Result<()> {
    if json {
        return print(machine, services, true);
    }
    output::text(line(&machine.report(), elapsed))
}

fn line(report: &Report, elapsed: Duration) -> String {
    let mut line = format!("{:8.1}s", elapsed.as_secs_f64());
    for device in &report.devices {
        let stats = &device.stats;
        // A String takes everything.
        let _ = write!(
            line,
            "  {}: rx {} tx {} missed {}",
            device.name, stats.rx_packets, stats.tx_packets, stats.rx_missed_errors
        );
    }
    let Report { protocols, .. } = report;
    let _ = write!(
        line,
        "  delivered {} dropped {}",
        protocols.delivered, protocols.dropped
    );
    line
}
