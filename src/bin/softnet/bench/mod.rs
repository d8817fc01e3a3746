//! `softnet bench`: what an interface gives.

mod args;
#[cfg(feature = "af-xdp")]
mod below;
#[cfg(feature = "af-xdp")]
mod outcome;
#[cfg(feature = "af-xdp")]
mod stack;

pub(crate) use args::Bench;

use anyhow::Result;
use args::What;
use clap::error::ErrorKind;
use std::process::ExitCode;

impl Bench {
    /// Refuses what does not go together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let What::AfXdp(args) = &self.what;
        let Some(fault) = args.fault() else {
            return Ok(());
        };
        let mut command = <crate::args::Args as clap::CommandFactory>::command();
        Err(command.error(ErrorKind::ArgumentConflict, fault))
    }
}

#[cfg(feature = "af-xdp")]
pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    let What::AfXdp(args) = &bench.what;
    let outcome = match (args.task.is_of_the_stack(), args.bare) {
        (true, _) => stack::run(args)?,
        (false, true) => below::bare(args)?,
        (false, false) => below::napi(args)?,
    };
    match args.json {
        true => crate::output::json(&outcome)?,
        false => crate::output::text(&outcome)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "af-xdp"))]
pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    let What::AfXdp(args) = &bench.what;
    anyhow::bail!(
        "this softnet cannot measure {}, since it was built without AF_XDP: build it with `cargo build --release --features af-xdp`",
        args.interface
    )
}
