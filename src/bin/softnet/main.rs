//! The `softnet` command.
#![forbid(unsafe_code)]

mod af_xdp;
mod args;
mod bench;
mod demo;
mod device;
mod doctor;
mod fault;
mod helper;
mod lab;
mod layers;
mod output;
mod ping;
mod replay;
mod run;
mod seed;
mod services;
mod tap;
mod udp_client;
mod values;
mod wires;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return output::usage(&error),
    };
    let checked = match &args.command {
        Command::Run(run) => run.check(),
        Command::Bench(bench) => bench.check(),
        _ => Ok(()),
    };
    if let Err(error) = checked {
        return output::usage(&error);
    }
    let outcome = match args.command {
        Command::Demo(demo) => demo::run(&demo),
        Command::Run(run) => run::run(&run),
        Command::Device(device) => device::run(&device),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::AfXdpHelper(helper) => helper::run(&helper),
        Command::Bench(bench) => bench::run(&bench),
        Command::Lab(lab) => lab::run(&lab),
        Command::Replay(replay) => replay::run(&replay),
    };
    match outcome {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("softnet: {}", output::one_line(&error));
            ExitCode::FAILURE
        }
    }
}
