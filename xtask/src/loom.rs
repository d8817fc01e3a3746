//! The loom models: found, run one by one, and shown with their bounds.
//!
//! A model is a test in a module whose path contains `loom`, or in a file
//! `tests/loom*.rs`. Other tests of these crates are left alone: under
//! `--cfg loom` their atomics would run outside of a model.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Message, Package};
use clap::Args;

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// A model that searches longer than this is too large to be run on each change.
const TIME_LIMIT: &str = "15m";

/// The whole set goes through this many in less than a minute.
const PREEMPTIONS: usize = 5;

/// What bounds the search.
#[derive(Args)]
pub(crate) struct Bounds {
    /// How often a thread may be preempted in one interleaving
    #[arg(long, default_value_t = PREEMPTIONS)]
    preemptions: usize,
    /// Crates to run, by folder or by name; all that have models if none is given
    crates: Vec<String>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            preemptions: PREEMPTIONS,
            crates: Vec::new(),
        }
    }
}

/// One model: a test in a program that was built with `--cfg loom`.
struct Model {
    program: PathBuf,
    /// The crate, and the file below `tests/` if it is one.
    place: String,
    test: String,
}

/// How a model's run ended.
struct Run {
    name: String,
    ok: bool,
    output: String,
    time: Duration,
}

/// Runs the models, as many at a time as the machine has CPUs.
pub(crate) fn run(workspace: &Workspace, bounds: &Bounds) -> Result<Tally> {
    let (models, tally) = find(workspace, bounds)?;
    let queue = Mutex::new(models.into_iter());
    let tally = Mutex::new(tally);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&queue, &tally, bounds));
        }
    });
    let tally = tally.into_inner().ok().context("a worker panicked")?;
    println!(
        "loom: {tally} with at most {} preemptions",
        bounds.preemptions
    );
    Ok(tally)
}

fn work(queue: &Mutex<impl Iterator<Item = Model>>, tally: &Mutex<Tally>, bounds: &Bounds) {
    loop {
        let next = queue.lock().ok().and_then(|mut queue| queue.next());
        let Some(model) = next else { return };
        let run = model.run(bounds);
        if let Ok(mut tally) = tally.lock() {
            tally.count(&run.name, run.ok);
            run.print();
        }
    }
}

impl Model {
    fn run(&self, bounds: &Bounds) -> Run {
        let name = format!("{} {}", self.place, self.test);
        let start = Instant::now();
        let output = Command::new("timeout")
            .arg(TIME_LIMIT)
            .arg(&self.program)
            .args(["--exact", "--nocapture", "--test-threads=1", &self.test])
            .env("LOOM_MAX_PREEMPTIONS", bounds.preemptions.to_string())
            // Loom says here how many interleavings it went through.
            .env("LOOM_LOG", "loom::model=info")
            .env("RUST_BACKTRACE", "0")
            .output();
        let (ok, output) = match output {
            Ok(output) => (
                output.status.success(),
                format!(
                    "{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                ),
            ),
            Err(error) => (false, error.to_string()),
        };
        Run {
            name,
            ok,
            output,
            time: start.elapsed(),
        }
    }
}

impl Run {
    fn print(&self) {
        let outcome = if self.ok { "ok" } else { "FAILED" };
        let seconds = self.time.as_secs_f32();
        match interleavings(&self.output) {
            Some(count) => println!(
                "loom {} ... {outcome} (interleavings: {count}, {seconds:.1} s)",
                self.name
            ),
            None => println!("loom {} ... {outcome} ({seconds:.1} s)", self.name),
        }
        if !self.ok {
            println!("{}", self.output);
        }
    }
}

/// The sum of what each search in one test reports: `Completed in N iterations`.
fn interleavings(output: &str) -> Option<u64> {
    let counts = output.split("Completed in ").skip(1);
    let numbers = counts.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    numbers.reduce(|sum, count| sum + count)
}

/// The models asked for; a crate whose models do not build has failed already.
fn find(workspace: &Workspace, bounds: &Bounds) -> Result<(Vec<Model>, Tally)> {
    let packages = workspace.packages().iter();
    let (mut models, mut tally) = (Vec::new(), Tally::default());
    for package in packages.filter(|package| has_models(package)) {
        if !bounds.asks_for(workspace, package) {
            continue;
        }
        match build(workspace, package) {
            Ok(found) => models.extend(found),
            Err(error) => {
                println!("loom {} ... FAILED: {error:#}", package.name);
                tally.count(&format!("loom {}", package.name), false);
            }
        }
    }
    if models.is_empty() && tally.failed.is_empty() {
        bail!("no crate with loom models by that name");
    }
    Ok((models, tally))
}

impl Bounds {
    fn asks_for(&self, workspace: &Workspace, package: &Package) -> bool {
        let folder = workspace.folder(package);
        self.crates.is_empty()
            || self
                .crates
                .iter()
                .any(|asked| *asked == package.name.as_str() || Path::new(asked) == folder)
    }
}

/// A crate with models depends on loom, under `cfg(loom)` only.
fn has_models(package: &Package) -> bool {
    let mut dependencies = package.dependencies.iter();
    dependencies.any(|dependency| dependency.name == "loom")
}

/// Builds the crate's test programs under loom and lists their models.
fn build(workspace: &Workspace, package: &Package) -> Result<Vec<Model>> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--no-run", "--lib", "--package", &package.name])
        .arg("--message-format=json-render-diagnostics")
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", workspace.target().join("loom"))
        // A search is long; the release profile's link-time optimisation is longer.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "3");
    for target in package.targets.iter().filter(|target| target.is_test()) {
        if target.name.starts_with("loom") {
            cargo.args(["--test", &target.name]);
        }
    }
    let messages = process::output(&mut cargo)?;
    let mut models = Vec::new();
    for message in Message::parse_stream(messages.as_bytes()) {
        models.extend(models_in(&message?, package)?);
    }
    if models.is_empty() {
        bail!(
            "{} depends on loom and has no model: name its module loom",
            package.name
        );
    }
    Ok(models)
}

fn models_in(message: &Message, package: &Package) -> Result<Vec<Model>> {
    let Message::CompilerArtifact(artifact) = message else {
        return Ok(Vec::new());
    };
    let Some(program) = &artifact.executable else {
        return Ok(Vec::new());
    };
    let whole_file = artifact.target.is_test();
    let place = if whole_file {
        format!("{} {}", package.name, artifact.target.name)
    } else {
        package.name.to_string()
    };
    let listing = process::output(Command::new(program).args(["--list", "--format", "terse"]))?;
    let tests = listing
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    Ok(tests
        .filter(|test| whole_file || test.contains("loom"))
        .map(|test| Model {
            program: program.clone().into(),
            place: place.clone(),
            test: test.to_owned(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleavings_are_summed_over_the_searches_of_a_test() {
        let output = "INFO loom::model: Completed in 12 iterations\n\
                      INFO loom::model: Completed in 30 iterations\n";
        assert_eq!(interleavings(output), Some(42));
        assert_eq!(interleavings("running 1 test"), None);
    }
}
