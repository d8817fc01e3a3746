//! What a job counts: passed, failed with its names, skipped with its reasons.

use std::fmt;
use std::ops::AddAssign;
use std::process::ExitCode;

/// The counts of one job, or of a whole run.
///
/// Its display is the line that CI reads: `N passed, N failed, N skipped`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many tests or checks passed.
    pub(crate) passed: usize,
    /// The names of those that failed.
    pub(crate) failed: Vec<String>,
    /// `NAME: REASON` of those that could not run.
    pub(crate) skipped: Vec<String>,
}

impl Tally {
    /// One check, by its name.
    pub(crate) fn check(name: &str, ok: bool) -> Self {
        let mut tally = Self::default();
        tally.count(name, ok);
        tally
    }

    /// Counts one more check.
    pub(crate) fn count(&mut self, name: &str, ok: bool) {
        if ok {
            self.passed += 1;
        } else {
            self.failed.push(name.to_owned());
        }
    }

    /// Counts one check that could not run.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped.push(format!("{name}: {reason}"));
    }

    /// Moves tests that the harness took for passed to the skipped: `log` has
    /// one line for each, more than one if several assertions gave up.
    pub(crate) fn take_skips(&mut self, log: &str) {
        let mut lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        lines.dedup();
        self.passed = self.passed.saturating_sub(lines.len());
        self.skipped.extend(lines.into_iter().map(str::to_owned));
    }

    /// Takes in one line that a test harness printed.
    pub(crate) fn read_harness_line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += passed_count(counts);
        } else if let Some((name, outcome)) = outcome(line) {
            match outcome.split_once(", ").unwrap_or((outcome, "ignored")) {
                ("FAILED", _) => self.failed.push(name.to_owned()),
                ("ignored", reason) => self.skip(name, reason),
                _ => {}
            }
        }
    }

    /// Prints who was skipped and who failed, then the counts alone on a line.
    pub(crate) fn report(&self) -> ExitCode {
        println!();
        for skip in &self.skipped {
            println!("skipped: {skip}");
        }
        for failure in &self.failed {
            println!("failed: {failure}");
        }
        println!("{self}");
        self.exit_code()
    }

    /// Failure if anything failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// `ok. 12 passed; 0 failed; ...` -> 12.
fn passed_count(counts: &str) -> usize {
    let count = counts
        .split_once(" passed;")
        .and_then(|(before, _)| before.rsplit(' ').next())
        .and_then(|count| count.parse().ok());
    count.unwrap_or(0)
}

/// `test NAME ... OUTCOME`. The name of a documentation test has spaces.
fn outcome(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.rsplit_once(" ... ")
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        write!(
            f,
            "{} passed, {failed} failed, {skipped} skipped",
            self.passed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(harness: &str) -> Tally {
        let mut tally = Tally::default();
        harness
            .lines()
            .for_each(|line| tally.read_harness_line(line));
        tally
    }

    #[test]
    fn the_harness_output_is_counted_and_the_failed_are_named() {
        let tally = tally(
            "running 3 tests\n\
             test ring::full ... ok\n\
             test ring::empty ... FAILED\n\
             test ring::slow ... ignored, needs a day\n\
             test src/lib.rs - skip (line 10) ... ok\n\
             test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.passed, 2);
        assert_eq!(tally.failed, ["ring::empty"]);
        assert_eq!(tally.skipped, ["ring::slow: needs a day"]);
        assert_eq!(tally.to_string(), "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let mut tally = tally("test result: ok. 5 passed; 0 failed; 0 ignored\n");
        tally.take_skips("tap::ping: no TAP\ntap::ping: no TAP\ntap::udp: no TAP\n");
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 2 skipped");
    }
}
