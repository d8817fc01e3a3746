//! How a test of this workspace says that it could not run here.
//!
//! The test harness knows two outcomes, and a test that returns early because
//! the machine has no TAP would count as passed. So such a test calls [`skip`]
//! before it returns, and `cargo xtask ci` counts it as skipped and prints why:
//!
//! ```
//! # fn open_tap() -> Result<(), &'static str> { Err("no TAP on this machine") }
//! fn the_kernel_answers_through_a_tap() {
//!     let tap = match open_tap() {
//!         Ok(tap) => tap,
//!         Err(reason) => return softnet_test_support::skip(reason),
//!     };
//!     // ... the test proper
//! # let _ = tap;
//! }
//! ```
//!
//! The crate is a dev-dependency only, and has no dependency of its own.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::path::PathBuf;

/// The environment variable that names the file to which skipped tests are
/// added, one line each: `NAME: REASON`. `cargo xtask ci` sets it.
pub const SKIP_LOG: &str = "SOFTNET_SKIP_LOG";

/// Notes that the calling test cannot run on this machine, and why.
///
/// Call it on the test's own thread, at most once, and return. Without
/// [`SKIP_LOG`] in the environment, the note goes to standard error only.
///
/// # Panics
///
/// If the log cannot be written: a skip that nobody hears of is a false pass.
#[track_caller]
pub fn skip(reason: impl Display) {
    let line = skip_line(&test_name(Location::caller()), &reason.to_string());
    eprintln!("skipped: {line}");
    if let Some(path) = std::env::var_os(SKIP_LOG) {
        let log = OpenOptions::new().append(true).create(true).open(path);
        // One write to a file opened for appending: tests run side by side.
        log.and_then(|mut log| log.write_all(format!("{line}\n").as_bytes()))
            .expect("the skip log takes a line");
    }
}

/// The program that runs QEMU as `scripts/qemu.sh` has fetched it. Where it was not
/// fetched, the calling test is noted as skipped: it has to return.
///
/// ```
/// fn a_chip_of_qemu_answers() {
///     let Some(qemu) = softnet_test_support::qemu() else {
///         return;
///     };
///     // ... the test proper
/// # let _ = qemu;
/// }
/// ```
///
/// # Panics
///
/// As [`skip`] does.
#[must_use]
#[track_caller]
pub fn qemu() -> Option<PathBuf> {
    let wrapper = qemu_cache().map(|cache| cache.join("qemu-system-x86_64"));
    let found = wrapper.filter(|wrapper| wrapper.exists());
    if found.is_none() {
        skip("QEMU was not fetched: run scripts/qemu.sh");
    }
    found
}

/// Where `scripts/qemu.sh` keeps it.
fn qemu_cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(cache) = folder("SOFTNET_QEMU_CACHE") {
        return Some(cache.into());
    }
    let caches = folder("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(folder("HOME")?).join(".cache")));
    Some(caches?.join("softnet/qemu"))
}

/// The harness names each test's thread after the test, except with
/// `--test-threads=1`, where the place in the source has to do.
fn test_name(caller: &Location<'_>) -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("{}:{}", caller.file(), caller.line()),
    }
}

fn skip_line(name: &str, reason: &str) -> String {
    let reason: Vec<&str> = reason.split_whitespace().collect();
    format!("{name}: {}", reason.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_several_lines_becomes_one_line() {
        assert_eq!(
            skip_line("tap::ping", "no\n  TAP\there\n"),
            "tap::ping: no TAP here"
        );
    }

    #[test]
    fn a_test_is_known_by_its_own_name() {
        let name = test_name(Location::caller());
        assert!(
            name == "tests::a_test_is_known_by_its_own_name"
                || name.starts_with("xtask/test-support/src/lib.rs:"),
            "{name}"
        );
    }
}
