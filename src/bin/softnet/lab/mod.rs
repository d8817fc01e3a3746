//! `softnet lab`: experiments with the packet path.

mod plot;

use crate::output;
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;
use softnet::lab::Arrivals;
use softnet::lab::irq::{Cost, Experiment, Outcome, Pace, Scheme};
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Try how the packet path behaves, and why it is made as it is.
#[derive(Debug, Parser)]
pub(crate) struct Lab {
    #[command(subcommand)]
    experiment: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    Irq(Irq),
}

/// Compare the ways of moderating interrupts: interrupts per packet and delay
/// against the rate of packets.
///
/// UDP datagrams come to a stack behind an emulated e1000 at each rate, once for each
/// way: an interrupt per packet; a fixed least interval (the NIC's throttle); an
/// interval that follows the load; NAPI's deferral by a timer; and busy polling.
///
/// Time is a virtual clock's, on which an interrupt, a poll and a packet cost what
/// --irq-ns, --poll-ns and --packet-ns say; two runs come to the same. With --real it is
/// the machine's own, and the work costs what it costs here.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  softnet lab irq
  softnet lab irq --svg irq.svg
  softnet lab irq --rates 1000,1000000 --even --json
  softnet lab irq --real --packets 200000")]
struct Irq {
    /// Packets a second, one experiment each.
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=20_000_000),
        default_values_t = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000])]
    rates: Vec<u64>,
    /// Packets of each experiment.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    packets: u64,
    /// Let packets come at equal distances, not independently of each other.
    #[arg(long)]
    even: bool,
    /// Seed of the distances.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "even")]
    seed: u64,
    /// What an interrupt costs, in nanoseconds.
    #[arg(long, value_name = "NS", default_value_t = Cost::default().irq_ns, conflicts_with = "real")]
    irq_ns: u64,
    /// What a poll costs, in nanoseconds.
    #[arg(long, value_name = "NS", default_value_t = Cost::default().poll_ns, conflicts_with = "real")]
    poll_ns: u64,
    /// What a packet costs, in nanoseconds.
    #[arg(long, value_name = "NS", default_value_t = Cost::default().packet_ns, conflicts_with = "real")]
    packet_ns: u64,
    /// Run in real time.
    #[arg(long)]
    real: bool,
    /// Write a plot to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// All that was found.
#[derive(Serialize)]
struct Findings {
    /// The costs on the virtual clock; none in real time.
    cost: Option<Cost>,
    outcomes: Vec<Outcome>,
}

pub(crate) fn run(lab: &Lab) -> Result<ExitCode> {
    let Which::Irq(irq) = &lab.experiment;
    let findings = irq.experiments()?;
    if let Some(path) = &irq.svg {
        plot::write(path, &findings.outcomes)
            .with_context(|| format!("cannot plot to {}", path.display()))?;
    }
    match irq.json {
        true => output::json(&findings)?,
        false => output::text(&findings)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Irq {
    fn experiments(&self) -> Result<Findings> {
        let cost = Cost {
            irq_ns: self.irq_ns,
            poll_ns: self.poll_ns,
            packet_ns: self.packet_ns,
        };
        let pace = if self.real {
            Pace::Real
        } else {
            Pace::Virtual(cost)
        };
        let mut outcomes = Vec::new();
        for &rate in &self.rates {
            for scheme in Scheme::ALL {
                let experiment = Experiment {
                    scheme,
                    rate,
                    packets: self.packets,
                    arrivals: self.arrivals(),
                    pace,
                };
                outcomes.push(experiment.run()?);
            }
        }
        let cost = (!self.real).then_some(cost);
        Ok(Findings { cost, outcomes })
    }

    fn arrivals(&self) -> Arrivals {
        match self.even {
            true => Arrivals::Even,
            false => Arrivals::Poisson { seed: self.seed },
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>10} {:<20} {:>10} {:>11} {:>10} {:>10} {:>6} {:>9}",
            "packets/s", "scheme", "interrupts", "per packet", "p50 us", "p99 us", "CPU", "lost"
        )?;
        for row in &self.outcomes {
            writeln!(
                f,
                "{:>10} {:<20} {:>10} {:>11.4} {:>10.1} {:>10.1} {:>5.0}% {:>9}",
                row.rate,
                row.scheme,
                row.interrupts,
                row.interrupts_per_packet,
                row.p50_ns as f64 / 1e3,
                row.p99_ns as f64 / 1e3,
                row.cpu * 100.0,
                row.sent - row.received,
            )?;
        }
        match &self.cost {
            Some(cost) => write!(
                f,
                "On a virtual clock: {} ns an interrupt, {} ns a poll, {} ns a packet.",
                cost.irq_ns, cost.poll_ns, cost.packet_ns
            ),
            None => write!(f, "In real time."),
        }
    }
}
