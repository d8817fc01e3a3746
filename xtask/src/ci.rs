//! Everything that CI runs, in order.
//!
//! A failing step does not stop the ones after it: one run shows all that is
//! wrong. The last line is the sum, `N passed, N failed, N skipped`.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{c_tests, header, layers, loom, package};

/// Which steps to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Steps to run; all if none is given
    #[arg(value_parser = STEPS.map(|step| step.name))]
    steps: Vec<String>,
}

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<Tally>,
}

const STEPS: [Step; 12] = [
    step("fmt", "the sources are as rustfmt writes them", fmt),
    step("scripts", "shellcheck has nothing to say", scripts),
    step("layers", "no forbidden edge", layers::run),
    step("clippy", "no warning, benches included", clippy),
    step(
        "no-std",
        "crates with a std feature build without it",
        no_std,
    ),
    step("test", "unit, integration and documentation tests", test),
    step("doc", "the documentation builds without a warning", doc),
    step(
        "header",
        "include/softnet.h is what ffi exports",
        check_header,
    ),
    step("c-tests", "C and C++, sanitizers, valgrind", c_tests::run),
    step("loom", "every model within its bounds", check_loom),
    step("benches", "the benches build", benches),
    step(
        "package",
        "every published crate builds from its package",
        package::run,
    ),
];

const fn step(
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<Tally>,
) -> Step {
    Step { name, about, run }
}

/// Runs the steps; the caller prints the sum.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Tally> {
    let asked = |step: &&Step| {
        options.steps.is_empty() || options.steps.iter().any(|asked| asked == step.name)
    };
    let mut total = Tally::default();
    let mut times = Vec::new();
    for step in STEPS.iter().filter(asked) {
        println!("\n== {}: {}", step.name, step.about);
        let start = Instant::now();
        let tally = step.tally(workspace);
        let line = time_line(step.name, &tally, start.elapsed());
        println!("== {line}");
        times.push(line);
        total += tally;
    }
    println!("\n== summary");
    times.iter().for_each(|line| println!("{line}"));
    Ok(total)
}

impl Step {
    /// A step that could not be carried out has failed.
    fn tally(&self, workspace: &Workspace) -> Tally {
        (self.run)(workspace).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Tally::check(self.name, false)
        })
    }
}

fn time_line(name: &str, tally: &Tally, time: Duration) -> String {
    let outcome = if tally.failed.is_empty() {
        "ok"
    } else {
        "FAILED"
    };
    let seconds = time.as_secs_f32();
    format!("{name:<8} {outcome:<6} {seconds:>7.1} s  {tally}")
}

fn fmt(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, manifest) in [("fmt", "Cargo.toml"), ("fmt fuzz", FUZZ)] {
        let mut cargo = workspace.cargo();
        cargo.args(["fmt", "--all", "--check", "--manifest-path", manifest]);
        tally.count(name, process::succeeds(&mut cargo)?);
    }
    Ok(tally)
}

fn scripts(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    if !process::is_installed("shellcheck") {
        tally.skip("scripts", "shellcheck is not installed");
        return Ok(tally);
    }
    let mut command = Command::new("shellcheck");
    command
        .current_dir(workspace.root())
        .args(["-x", ".ci/run"]);
    for folder in ["scripts", "tests/guest"] {
        command.args(process::files(&workspace.path(folder), "sh"));
    }
    tally.count("scripts", process::succeeds(&mut command)?);
    Ok(tally)
}

/// What of the root package is there with AF_XDP only.
const AF_XDP: [&str; 4] = ["--package", "softnet", "--features", "af-xdp"];

/// The fuzz targets, a workspace of their own: the stable compiler builds them, though
/// running them takes nightly.
const FUZZ: &str = "fuzz/Cargo.toml";

fn clippy(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    let sets: [(&str, &[&str]); 2] = [("clippy", &["--workspace"]), ("clippy af-xdp", &AF_XDP)];
    for (name, packages) in sets {
        let mut cargo = workspace.cargo();
        cargo.args(["clippy", "--all-targets"]).args(packages);
        cargo.args(["--", "-D", "warnings"]);
        tally.count(name, process::succeeds(&mut cargo)?);
    }
    let mut cargo = workspace.cargo();
    cargo.args(["clippy", "--manifest-path", FUZZ, "--target-dir"]);
    cargo.arg(workspace.target().join("fuzz"));
    cargo.args(["--", "-D", "warnings"]);
    tally.count("clippy fuzz", process::succeeds(&mut cargo)?);
    Ok(tally)
}

fn no_std(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    for package in workspace.packages() {
        if !package.features.contains_key("std") {
            continue;
        }
        let mut cargo = workspace.cargo();
        cargo.args(["check", "--quiet", "--no-default-features"]);
        let ok = process::succeeds(cargo.args(["--package", &package.name]))?;
        tally.count(&format!("no-std {}", package.name), ok);
    }
    Ok(tally)
}

/// The default members, and AF_XDP, which is none of them. The benches are built, not
/// run, and by their own step.
fn test(workspace: &Workspace) -> Result<Tally> {
    let log = SkipLog::new(workspace)?;
    let mut tally = Tally::default();
    run_tests(workspace, &log, &[], &mut tally)?;
    run_tests(
        workspace,
        &log,
        &["--package", "softnet-af-xdp"],
        &mut tally,
    )?;
    let facade = [&AF_XDP[..], &["--test", "af_xdp*"]].concat();
    run_tests(workspace, &log, &facade, &mut tally)?;
    tally.take_skips(&log.read());
    Ok(tally)
}

fn run_tests(workspace: &Workspace, log: &SkipLog, which: &[&str], sum: &mut Tally) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast"]).args(which);
    cargo.env("SOFTNET_SKIP_LOG", &log.path);
    let mut tally = Tally::default();
    let ok = process::stream(&mut cargo, |line| {
        println!("{line}");
        tally.read_harness_line(line);
    })?;
    if !ok && tally.failed.is_empty() {
        let name = format!(
            "test {}: a program did not build or crashed",
            which.join(" ")
        );
        tally.count(&name, false);
    }
    *sum += tally;
    Ok(())
}

/// The file in which tests note that they could not run.
struct SkipLog {
    path: PathBuf,
}

impl SkipLog {
    fn new(workspace: &Workspace) -> Result<Self> {
        std::fs::create_dir_all(workspace.target())?;
        let path = workspace.target().join("skipped-tests.txt");
        std::fs::write(&path, "")?;
        Ok(Self { path })
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap_or_default()
    }
}

fn doc(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    let with_af_xdp = [&AF_XDP[..], &["--package", "softnet-af-xdp"]].concat();
    for (name, packages) in [("doc", &[][..]), ("doc af-xdp", &with_af_xdp)] {
        let mut cargo = workspace.cargo();
        cargo.args(["doc", "--no-deps"]).args(packages);
        let ok = process::succeeds(cargo.env("RUSTDOCFLAGS", "-D warnings"))?;
        tally.count(name, ok);
    }
    Ok(tally)
}

fn check_header(workspace: &Workspace) -> Result<Tally> {
    header::run(workspace, true)
}

fn check_loom(workspace: &Workspace) -> Result<Tally> {
    loom::run(workspace, &loom::Bounds::default())
}

fn benches(workspace: &Workspace) -> Result<Tally> {
    let mut cargo = workspace.cargo();
    cargo.args(["check", "--package", "softnet-benches", "--all-targets"]);
    let ok = process::succeeds(&mut cargo)?;
    Ok(Tally::check("benches", ok))
}
