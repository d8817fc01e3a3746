//! `softnet demo`: the kernel talks to the stack.

use crate::args::Demo;
use crate::ping::{self, PingReport};
use crate::services::{ServiceReport, Services};
use crate::udp_client::{self, ClientReport};
use crate::values::Cidr;
use crate::{layers, output, tap};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use softnet::netstack::{StackConfig, ThreadOptions};
use softnet::report::Report;
use softnet::wire::netns::Namespace;
use softnet::{Machine, NicConfig, Time};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

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
    /// Whether it ran without root.
    unprivileged: bool,
    ping: PingReport,
    udp: ClientReport,
    services: Vec<ServiceReport>,
    report: Report,
}

pub(crate) fn run(args: &Demo) -> Result<ExitCode> {
    let outcome = demonstrate(args.cpus)?;
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

fn demonstrate(cpus: usize) -> Result<Outcome> {
    // Before the first thread: the kernel asks for it.
    let namespace = Namespace::enter()?;
    let tap = tap::open("tap0", Some(KERNEL))?;
    // Its multicast would be counted among the packets that are shown.
    tap.interface().set_ipv6_enabled(false)?;
    let config = StackConfig {
        cpus,
        seed: crate::seed::draw(),
        ..StackConfig::default()
    };
    let mut machine = Machine::new(&config, Time::Real)?;
    let eth0 = machine.add_e1000(Box::new(tap), &NicConfig::default())?;
    let stack = machine.stack_mut();
    stack.add_address(eth0, STACK.address, STACK.prefix_len)?;
    let services = Services::start(&mut machine)?;
    machine.start(&ThreadOptions::default())?;
    if !machine.wait_for_link(eth0, LINK_PATIENCE)? {
        bail!("the link of the emulated NIC stays down: is the TAP interface up?");
    }
    let ping = ping::run(&namespace, STACK.address);
    let udp = udp_client::run(KERNEL.address, STACK.address);
    machine.stop().context("the machine broke down")?;
    Ok(Outcome {
        success: ping.is_success() && udp.is_success(),
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
        "success: the kernel's ping and its UDP client were answered through the emulated e1000"
    } else {
        "FAILED: see above what was not answered"
    };
    sections.push(verdict.to_owned());
    sections.join("\n\n")
}

fn headline(outcome: &Outcome) -> String {
    let root = if outcome.unprivileged {
        "in a user and network namespace of its own, without root"
    } else {
        "in a network namespace of its own"
    };
    format!(
        "softnet demo, {root}\n\n  the kernel {KERNEL} -- tap0 -- emulated e1000 -- softnet {STACK}"
    )
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
