//! Exact instruction counts, by valgrind's callgrind.

use anyhow::{Context, Result, bail};
use std::env;
use std::process::Command;

/// How many operations to count: the difference of two runs.
#[derive(Clone, Copy, Debug)]
pub struct Operations {
    /// Of the run that is subtracted.
    pub low: u64,
    /// Of the other one.
    pub high: u64,
}

/// Whether there is a valgrind to count with.
#[must_use]
pub fn is_installed() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Instructions for one operation of this program's work `arguments`.
///
/// # Errors
/// When valgrind is not installed or the program fails under it.
pub fn instructions_per_operation(arguments: &[&str]) -> Result<f64> {
    const OPERATIONS: Operations = Operations {
        low: 10_000,
        high: 30_000,
    };
    instructions_between(arguments, OPERATIONS)
}

/// Instructions for one operation of this program's work `arguments`: the
/// program is run under callgrind with a low and a high number of operations as
/// its last argument, and the difference leaves its start and end out.
///
/// # Errors
/// When valgrind is not installed or the program fails under it.
pub fn instructions_between(arguments: &[&str], operations: Operations) -> Result<f64> {
    let Operations { low, high } = operations;
    let difference = collected(arguments, high)? - collected(arguments, low)?;
    Ok(difference as f64 / (high - low) as f64)
}

fn collected(arguments: &[&str], operations: u64) -> Result<i64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(arguments)
        .arg(operations.to_string())
        .output()
        .context("valgrind is needed for instruction counts: apt-get install valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("callgrind: {text}");
    }
    let line = text.lines().find(|line| line.contains("Collected : "));
    let count = line.and_then(|line| line.split_whitespace().next_back());
    let count = count.context("callgrind printed no count")?;
    Ok(count.parse()?)
}
