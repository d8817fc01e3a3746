//! Ending a ppoll(2) from another thread.

use nix::sys::eventfd::{EfdFlags, EventFd};
use softnet_nic_hal::wire::WireWaker;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody waits and nobody has called.
const IDLE: u8 = 0;
/// The wire is in, or just before, its ppoll(2).
const WAITING: u8 = 1;
/// Somebody called since the last wait.
const WOKEN: u8 = 2;

/// An eventfd with a word before it, so that waking a wire that does not wait
/// costs one atomic exchange and no system call.
///
/// The word goes IDLE -> WAITING by `begin_wait`, anything -> WOKEN by `wake`,
/// and anything -> IDLE by `end_wait`. Whoever replaces WAITING by WOKEN
/// signals the eventfd; since `begin_wait` comes before the ppoll(2), the wait
/// that a caller saw cannot miss the signal. A signal that comes after the wait
/// has ended for another reason makes the next wait return early, which the
/// contract allows.
///
/// What the caller wrote before `wake` must be seen after the wait: the
/// exchanges are acquire and release on the same word.
#[derive(Debug)]
pub(super) struct FdWaker {
    state: AtomicU8,
    event: EventFd,
}

impl FdWaker {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            state: AtomicU8::new(IDLE),
            event: EventFd::from_flags(flags)?,
        })
    }

    /// Whether to wait: false when somebody has called already.
    pub(super) fn begin_wait(&self) -> bool {
        self.state
            .compare_exchange(IDLE, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// `signalled` tells whether the ppoll(2) found the eventfd readable.
    pub(super) fn end_wait(&self, signalled: bool) {
        let woken = self.state.swap(IDLE, Ordering::AcqRel) == WOKEN;
        if woken || signalled {
            // Empty is fine: the caller saw no wait and signalled nothing.
            let _ = nix::unistd::read(&self.event, &mut [0; 8]);
        }
    }
}

impl AsFd for FdWaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl WireWaker for FdWaker {
    fn wake(&self) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            // It fails only when 2^64 - 2 wake-ups are unread.
            let _ = self.event.write(1);
        }
    }
}
