//! The project's own jobs, run as `cargo xtask VERB`.
//!
//! `ci` runs all of them that a change has to pass; each other verb is one job.
#![forbid(unsafe_code)]

mod bench;
mod c_tests;
mod ci;
mod fuzz;
mod header;
mod layers;
mod loom;
mod package;
mod process;
mod tally;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::tally::Tally;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own jobs")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run everything that a change has to pass, in order
    Ci(ci::Options),
    /// Check which crate depends on which, and where unsafe code may stand
    Layers,
    /// Run the loom models and show their bounds
    Loom(loom::Bounds),
    /// Write include/softnet.h from the ffi crate
    Header {
        /// Compare only, and print the difference
        #[arg(long)]
        check: bool,
    },
    /// Build and run the C tests and examples
    CTests,
    /// Package every published crate and build it from its package
    Package,
    /// Run the fuzz targets for a number of executions each
    Fuzz(fuzz::Options),
    /// Run the benches and print what they measured
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    match run(&verb) {
        // A bench prints its rows and nothing after them.
        Ok(tally) if matches!(verb, Verb::Bench(_)) => tally.exit_code(),
        Ok(tally) => tally.report(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<Tally> {
    let workspace = Workspace::load()?;
    match verb {
        Verb::Ci(options) => ci::run(&workspace, options),
        Verb::Layers => layers::run(&workspace),
        Verb::Loom(bounds) => loom::run(&workspace, bounds),
        Verb::Header { check } => header::run(&workspace, *check),
        Verb::CTests => c_tests::run(&workspace),
        Verb::Package => package::run(&workspace),
        Verb::Fuzz(options) => fuzz::run(&workspace, options),
        Verb::Bench(options) => bench::run(&workspace, options),
    }
}
