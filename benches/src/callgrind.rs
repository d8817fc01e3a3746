//! Exact instruction counts, by valgrind's callgrind.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
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

/// Instructions for one operation of this program's work `arguments`, by the part of
/// the program that their source files belong to, as `part_of` a file's path says.
/// What was inlined counts where it was written; code of a library that no part owns
/// counts for the part that it stands in, or for none.
///
/// # Errors
/// When valgrind is not installed, the program fails under it, or was built without
/// line numbers.
pub fn instructions_by_part<P: Copy + Ord>(
    arguments: &[&str],
    operations: Operations,
    part_of: impl Fn(&str) -> Option<P>,
) -> Result<BTreeMap<Option<P>, f64>> {
    let Operations { low, high } = operations;
    let before = profile(arguments, low, &part_of)?;
    let mut parts = BTreeMap::new();
    for (part, count) in profile(arguments, high, &part_of)? {
        let more = count - before.get(&part).copied().unwrap_or(0);
        parts.insert(part, more as f64 / (high - low) as f64);
    }
    if parts.keys().all(Option::is_none) {
        bail!("the program has no line numbers: run it by cargo xtask bench");
    }
    Ok(parts)
}

fn profile<P: Copy + Ord>(
    arguments: &[&str],
    operations: u64,
    part_of: &impl Fn(&str) -> Option<P>,
) -> Result<BTreeMap<Option<P>, i64>> {
    let path = env::temp_dir().join(format!("softnet-callgrind-{}", std::process::id()));
    let counted = run(arguments, operations, path.as_os_str());
    let text = std::fs::read_to_string(&path);
    // It may not be there, if valgrind has failed.
    let _ = std::fs::remove_file(&path);
    counted?;
    Ok(parts(&text?, part_of))
}

/// Sums the costs of a profile up (the *Callgrind Format Specification* of valgrind's
/// manual), names and positions uncompressed.
fn parts<P: Copy + Ord>(
    text: &str,
    part_of: &impl Fn(&str) -> Option<P>,
) -> BTreeMap<Option<P>, i64> {
    let mut sums = BTreeMap::new();
    let (mut part, mut is_call) = (None, false);
    for line in text.lines() {
        if let Some(file) = line.strip_prefix("fl=") {
            part = part_of(file);
        } else if let Some(file) = line.strip_prefix("fi=").or(line.strip_prefix("fe=")) {
            part = part_of(file).or(part);
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            // The line after a call is what the callee has cost.
            if !std::mem::take(&mut is_call) {
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
                *sums.entry(part).or_insert(0) += cost.unwrap_or(0);
            }
        }
    }
    sums
}

fn collected(arguments: &[&str], operations: u64) -> Result<i64> {
    run(arguments, operations, "/dev/null".as_ref())
}

/// Runs the work under callgrind, which writes its profile to `out`.
fn run(arguments: &[&str], operations: u64, out: &OsStr) -> Result<i64> {
    let mut to_file = OsString::from("--callgrind-out-file=");
    to_file.push(out);
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--compress-strings=no",
            "--compress-pos=no",
        ])
        .arg(to_file)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_count_for_the_part_that_wrote_the_line() {
        let profile = "\
positions: line
events: Ir
fl=/w/driver/rx.rs
fn=reap
10 5
fi=/rustc/core/atomic.rs
20 2
fi=/w/model/chip.rs
30 7
fe=/w/driver/rx.rs
11 1
cfn=memcpy
calls=1 0
12 100

fl=/libc/memcpy.S
fn=memcpy
1 100
";
        let part_of = |file: &str| match file.split('/').nth(2) {
            Some("driver") => Some('d'),
            Some("model") => Some('m'),
            _ => None,
        };
        let expected = [(None, 100), (Some('d'), 8), (Some('m'), 7)];
        assert_eq!(parts(profile, &part_of), expected.into());
    }
}
