//! The fuzz targets: each run for a stated number of executions.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// What to run, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Targets to run; all if none is given
    targets: Vec<String>,
    /// Executions of each target
    #[arg(long, default_value_t = 100_000)]
    runs: u64,
    /// The fuzzer's seed
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

/// Bytes of the longest input.
const MAX_LEN: usize = 4096;

/// Inputs that a fuzzer begins with.
const SEEDS: u64 = 8;

/// Runs the targets, and says of each how many executions it has stood.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Tally> {
    let mut tally = Tally::default();
    for target in targets(workspace, &options.targets)? {
        let name = format!("fuzz {target}");
        if !process::is_installed("cargo-fuzz") {
            tally.skip(&name, "cargo-fuzz is not installed");
            continue;
        }
        eprintln!("{name}: {} executions", options.runs);
        plant(&workspace.path("fuzz/corpus").join(&target))?;
        let ok = process::succeeds(&mut command(workspace, &target, options))?;
        println!("{name}: {}", if ok { "stood them all" } else { "FAILED" });
        tally.count(&name, ok);
    }
    Ok(tally)
}

/// The targets asked for, in the order of their names.
fn targets(workspace: &Workspace, asked: &[String]) -> Result<Vec<String>> {
    let folder = workspace.path("fuzz/fuzz_targets");
    let files = process::files(&folder, "rs");
    let stems = files.iter().filter_map(|file| file.file_stem());
    let all: Vec<String> = stems.map(|stem| stem.to_string_lossy().into()).collect();
    if let Some(unknown) = asked.iter().find(|one| !all.contains(one)) {
        bail!("{unknown} is no fuzz target: there are {}", all.join(", "));
    }
    let wanted = |one: &String| asked.is_empty() || asked.contains(one);
    let targets: Vec<String> = all.into_iter().filter(wanted).collect();
    targets.first().context("there are no fuzz targets")?;
    Ok(targets)
}

/// Gives a fuzzer that has found nothing yet long inputs to begin with, of pseudo-random
/// bytes: the short ones that it would begin with reach no ring.
fn plant(corpus: &Path) -> Result<()> {
    fs::create_dir_all(corpus)?;
    for seed in 1..=SEEDS {
        let file = corpus.join(format!("seed-{seed}"));
        if !file.exists() {
            fs::write(file, noise(seed))?;
        }
    }
    Ok(())
}

/// The same bytes for a seed each time.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(byte).take(MAX_LEN).collect()
}

fn command(workspace: &Workspace, target: &str, options: &Options) -> Command {
    // The toolchain that runs this program is in the environment.
    let mut cargo = Command::new("rustup");
    cargo
        .current_dir(workspace.path("fuzz"))
        .args(["run", "nightly", "cargo", "fuzz", "run", target, "--"])
        .arg(format!("-runs={}", options.runs))
        .arg(format!("-seed={}", options.seed))
        .arg(format!("-max_len={MAX_LEN}"))
        .arg("-len_control=0")
        // What a model or a driver allocates in a run is not much.
        .arg("-rss_limit_mb=2048");
    cargo
}
