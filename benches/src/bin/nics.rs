//! The emulated NICs, their drivers, and the stack above.

use anyhow::Result;
use clap::{Parser, Subcommand};
use softnet_benches::nics::{self, Chip, Job};
use softnet_benches::options::Common;
use softnet_benches::{callgrind, pair, row};
use std::time::Duration;

/// Measures emulated NICs with their drivers: frames a second in both directions at once,
/// interrupts for each, and instructions, model and driver and stack apart
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
        chip: Chip,
        job: Job,
        packets: usize,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(Work::Count { chip, job, packets }) = options.work {
        return nics::count(chip, job, packets);
    }
    let count = callgrind::is_installed();
    if !count {
        eprintln!("nics: skipped: instructions (apt-get install valgrind)");
    }
    pair::pin(pair::CPUS[1]);
    let limit = Duration::from_millis(if options.common.quick { 500 } else { 4_000 });
    for chip in [Chip::E1000, Chip::Igb] {
        for job in [Job::Forward, Job::Echo, Job::Flood] {
            eprintln!("nics: {chip}, {job}");
            let mut rows = nics::rate(chip, job, limit)?;
            if count && job != Job::Flood {
                rows.extend(nics::instructions(chip, job)?);
            }
            row::print(&rows, options.common.json)?;
        }
    }
    Ok(())
}
