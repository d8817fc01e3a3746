//! What the tests of the XDP program stand on: frames, a harness around the
//! program, and veth pairs.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses a part of the support, and fails by panicking"
)]

pub(crate) mod frames;
pub(crate) mod reference;

use frames::Frame;
use softnet_af_xdp::bpf::{
    Counters, LoadError, MultiBuffer, Program, ProgramOptions, Steering, Verdict, XdpAction,
};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

/// The program with a socket for queue 0, which no frame of a test run reaches:
/// the kernel tells where it would have gone.
pub(crate) struct Filter {
    pub(crate) program: Program,
    _socket: OwnedFd,
}

impl Filter {
    /// `Err` says why the test cannot run here.
    pub(crate) fn new(multi_buffer: MultiBuffer) -> Result<Self, String> {
        let options = ProgramOptions {
            multi_buffer,
            ..ProgramOptions::default()
        };
        let program = match Program::load(&options) {
            Err(LoadError::NotPermitted(denied)) => return Err(denied.to_string()),
            Err(LoadError::Map(error)) => return Err(error.to_string()),
            program => program.unwrap(),
        };
        let socket = xdp_socket().ok_or("no AF_XDP sockets here")?;
        program.xsk_map().insert(0, socket.as_fd()).unwrap();
        Ok(Self {
            program,
            _socket: socket,
        })
    }

    pub(crate) fn steer(&self, steering: &Steering) {
        self.program.update(steering).unwrap();
    }

    /// The verdict on a frame, which the action has to agree with.
    pub(crate) fn judge(&self, frame: &[u8]) -> Verdict {
        let before = self.program.counters().unwrap();
        let result = self.program.test_run(frame, 1).unwrap();
        let verdict = counted(&before, &self.program.counters().unwrap());
        let expected = if verdict.is_ours() {
            XdpAction::Redirect
        } else {
            XdpAction::Pass
        };
        assert_eq!(result.action, expected, "{verdict:?}");
        assert_eq!(result.frame, frame, "the program changes no frame");
        verdict
    }

    pub(crate) fn judge_frame(&self, frame: &Frame) -> Verdict {
        self.judge(&frame.bytes())
    }
}

/// The one verdict whose counter has moved.
fn counted(before: &Counters, after: &Counters) -> Verdict {
    let moved = Verdict::ALL
        .into_iter()
        .filter(|&verdict| after.of(verdict) != before.of(verdict));
    let moved: Vec<Verdict> = moved.collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    moved[0]
}

/// A socket that is bound to nothing.
pub(crate) fn xdp_socket() -> Option<OwnedFd> {
    // SAFETY: socket(2) follows no pointer.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: the kernel has just made the descriptor for this call.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
