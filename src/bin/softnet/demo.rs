//! `softnet demo`: the kernel talks to the stack.

use crate::args::{Demo, DemoNic};
use crate::ping::{self, PingReport};
use crate::services::{ServiceReport, Services};
use crate::udp_client::{self, ClientReport};
use crate::values::Cidr;
use crate::{layers, output, tap};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use softnet::netstack::{IfIndex, StackConfig, ThreadOptions};
use softnet::report::Report;
use softnet::wire::netns::Namespace;
use softnet::{Machine, NicConfig, NicKind, Time};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

mod af_xdp;

const KERNEL: Cidr = Cidr {
    address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    prefix_len: 24,
};
const STACK: Cidr = Cidr {
    address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    prefix_len: 24,
};
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// What the demonstration came to.
#[derive(Serialize)]
struct Outcome {
    success: bool,
    nic: DemoNic,
    /// Whether it ran without root.
    unprivileged: bool,
    ping: PingReport,
    udp: ClientReport,
    services: Vec<ServiceReport>,
    report: Report,
}

pub(crate) fn run(args: &Demo) -> Result<ExitCode> {
    let outcome = demonstrate(args)?;
    if args.json {
        output::json(&outcome)?;
    } else {
        output::text(text(&outcome))?;
    }
    Ok(if outcome.success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn demonstrate(args: &Demo) -> Result<Outcome> {
    // Before the first thread: the kernel asks for it.
    let namespace = Namespace::enter()?;
    let config = StackConfig {
        cpus: args.cpus,
        seed: crate::seed::draw(),
        ..StackConfig::default()
    };
    match args.nic {
        DemoNic::AfXdp => af_xdp::demonstrate(&namespace, config),
        DemoNic::E1000 => on_tap(args.nic, NicKind::E1000, &namespace, &config),
        DemoNic::Igb => on_tap(args.nic, NicKind::Igb, &namespace, &config),
        DemoNic::Ne2000 => on_tap(args.nic, NicKind::Ne2000, &namespace, &config),
    }
}

/// A stack behind an emulated NIC, whose wire is a TAP of the kernel.
fn on_tap(
    nic: DemoNic,
    kind: NicKind,
    namespace: &Namespace,
    config: &StackConfig,
) -> Result<Outcome> {
    let tap = tap::open("tap0", Some(KERNEL))?;
    // Its multicast would be counted among the packets that are shown.
    tap.interface().set_ipv6_enabled(false)?;
    let mut machine = Machine::new(config, Time::Real)?;
    let eth0 = machine.add_nic(kind, Box::new(tap), &NicConfig::default())?;
    exchange(nic, namespace, start((machine, eth0))?)
}

/// A stack that serves.
struct Running {
    machine: Machine,
    services: Services,
}

fn start((mut machine, eth0): (Machine, IfIndex)) -> Result<Running> {
    let stack = machine.stack_mut();
    stack.add_address(eth0, STACK.address, STACK.prefix_len)?;
    let services = Services::start(&mut machine)?;
    machine.start(&ThreadOptions::default())?;
    if !machine.wait_for_link(eth0, LINK_PATIENCE)? {
        bail!("the link of the NIC stays down: is the kernel's interface up?");
    }
    Ok(Running { machine, services })
}

/// The kernel talks to the stack.
fn exchange(nic: DemoNic, namespace: &Namespace, running: Running) -> Result<Outcome> {
    let Running {
        mut machine,
        services,
    } = running;
    let ping = ping::run(namespace, STACK.address);
    let udp = udp_client::run(KERNEL.address, STACK.address);
    machine.stop().context("the machine broke down")?;
    Ok(Outcome {
        success: ping.is_success() && udp.is_success(),
        nic,
        unprivileged: namespace.is_unprivileged(),
        ping,
        udp,
        services: services.report(),
        report: machine.report(),
    })
}

fn text(outcome: &Outcome) -> String {
    let Outcome { ping, udp, .. } = outcome;
    let mut sections = vec![headline(outcome), ping_text(ping), udp_text(udp)];
    sections.push(format!(
        "What happened, from the wire to the sockets and back\n\n{}",
        layers::text(&outcome.report, &outcome.services)
    ));
    sections.push(outcome.report.to_string());
    let verdict = if outcome.success {
        format!(
            "success: the kernel's ping and its UDP client were answered through {}",
            outcome.nic.words()
        )
    } else {
        "FAILED: see above what was not answered".to_owned()
    };
    sections.push(verdict);
    sections.join("\n\n")
}

fn headline(outcome: &Outcome) -> String {
    let root = match (outcome.nic, outcome.unprivileged) {
        (DemoNic::AfXdp, _) => "in two network namespaces of its own",
        (_, true) => "in a user and network namespace of its own, without root",
        (_, false) => "in a network namespace of its own",
    };
    let cable = match outcome.nic {
        DemoNic::E1000 => "tap0 -- emulated e1000",
        DemoNic::Igb => "tap0 -- emulated igb",
        DemoNic::Ne2000 => "tap0 -- emulated NE2000",
        DemoNic::AfXdp => "far0 -- veth -- near0 -- AF_XDP",
    };
    format!("softnet demo, {root}\n\n  the kernel {KERNEL} -- {cable} -- softnet {STACK}")
}

impl DemoNic {
    const fn words(self) -> &'static str {
        match self {
            Self::E1000 => "the emulated e1000",
            Self::Igb => "the emulated igb",
            Self::Ne2000 => "the emulated NE2000",
            Self::AfXdp => "AF_XDP",
        }
    }
}

fn ping_text(ping: &PingReport) -> String {
    let said = ping.error.as_ref().unwrap_or(&ping.output);
    let target = STACK.address;
    format!("$ ping -c {} -i 0.2 {target}\n{said}", ping::COUNT)
}

fn udp_text(udp: &ClientReport) -> String {
    let mut text = format!(
        "UDP client of the kernel, datagrams of 0 to 1472 bytes to port 7 (echo)\n\
         {} sent, {} echoed, round trip median {:.0} us, 99th percentile {:.0} us\n\
         a datagram to a closed port: {}",
        udp.sent,
        udp.echoed,
        udp.rtt_median_us,
        udp.rtt_p99_us,
        if udp.refused {
            "refused, as the ICMP answer says"
        } else {
            "not refused"
        }
    );
    if let Some(error) = &udp.error {
        text.push_str(&format!("\nthe client gave up: {error}"));
    }
    text
}
