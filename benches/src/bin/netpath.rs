//! The packet path against smoltcp.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use softnet_benches::netpath::measure::{self, Effort};
use softnet_benches::netpath::{Contender, SCENARIOS, Scenario};
use softnet_benches::options::Common;
use softnet_benches::row;
use softnet_benches::{callgrind, pair};
use std::time::Duration;

/// Measures the path of a packet in instructions and time, against smoltcp
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    work: Option<Work>,
}

#[derive(Subcommand)]
enum Work {
    /// The work that callgrind counts
    #[command(hide = true)]
    Count {
        contender: Contender,
        scenario: usize,
        packets: usize,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(Work::Count {
        contender,
        scenario,
        packets,
    }) = options.work
    {
        let scenario = SCENARIOS.get(scenario).context("no such scenario")?;
        return measure::work(contender, scenario, packets);
    }
    let count = callgrind::is_installed();
    if !count {
        eprintln!("netpath: skipped: instructions (apt-get install valgrind)");
    }
    pair::pin(pair::CPUS[1]);
    against_peers(&options, count)?;
    emulated(&options, count)
}

fn against_peers(options: &Options, count: bool) -> Result<()> {
    for (number, scenario) in chosen(options) {
        eprintln!("netpath: {}, {}", scenario.group(), scenario.name());
        if count {
            row::print(
                &measure::instructions(scenario, number)?,
                options.common.json,
            )?;
        }
        let rows = measure::nanoseconds(scenario, effort(options))?;
        row::print(&rows, options.common.json)?;
    }
    Ok(())
}

/// One socket only: what lies below does not depend on their number.
fn emulated(options: &Options, count: bool) -> Result<()> {
    for (number, scenario) in chosen(options).filter(|(_, scenario)| scenario.sockets == 1) {
        let (group, name) = (scenario.group(), scenario.name());
        eprintln!("netpath: e1000, {group}, {name}");
        let rows = measure::emulated(scenario, number, effort(options), count)?;
        row::print(&rows, options.common.json)?;
    }
    Ok(())
}

fn chosen(options: &Options) -> impl Iterator<Item = (usize, &'static Scenario)> {
    let quick = options.common.quick;
    let all = SCENARIOS.iter().enumerate();
    all.filter(move |(_, scenario)| !quick || scenario.is_quick())
}

fn effort(options: &Options) -> Effort {
    Effort {
        runs: if options.common.quick { 9 } else { 51 },
        run: Duration::from_millis(2),
        limit: Duration::from_secs(if options.common.quick { 1 } else { 4 }),
    }
}
