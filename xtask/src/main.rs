//! The project's own jobs, run as `cargo xtask VERB`.
//!
//! `ci` runs all of them that a change has to pass; each other verb is one job.
#![forbid(unsafe_code)]

mod layers;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own jobs")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Check which crate depends on which, and where unsafe code may stand
    Layers,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    match verb {
        Verb::Layers => layers::run(&workspace),
    }
}
