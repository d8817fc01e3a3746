//! Running the program on frames of the caller (`BPF_PROG_TEST_RUN`).

use super::error::RunError;
use super::program::Program;
use super::syscall::{self, TestRun};
use std::os::fd::AsFd;

/// What a program has done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XdpAction {
    /// The program failed; the frame is dropped.
    Aborted,
    /// The frame is dropped.
    Drop,
    /// It goes on to the kernel.
    Pass,
    /// It goes back out of the interface.
    Tx,
    /// It goes to a socket, or to another interface.
    Redirect,
    /// No action of the kernel's; the frame is dropped.
    Unknown(u32),
}

impl From<u32> for XdpAction {
    fn from(value: u32) -> Self {
        match value {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            other => Self::Unknown(other),
        }
    }
}

/// The outcome of a test run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRunResult {
    /// What the program answered.
    pub action: XdpAction,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// The time of one run, in nanoseconds, on average.
    pub duration_ns: u32,
}

impl Program {
    /// Runs the program `repeat` times on a frame that is said to have come by
    /// queue 0 of the loopback interface. Nothing is sent anywhere.
    ///
    /// # Errors
    /// The process lacks CAP_NET_ADMIN, or the frame is shorter than 14 bytes or
    /// longer than a page less some room.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<TestRunResult, RunError> {
        let run = TestRun {
            frame,
            repeat,
            ..TestRun::default()
        };
        let outcome = syscall::test_run(self.as_fd(), &run, frame.len())
            .map_err(|errno| RunError::new(frame.len(), errno))?;
        Ok(TestRunResult {
            action: outcome.retval.into(),
            frame: outcome.data,
            duration_ns: outcome.duration,
        })
    }
}
