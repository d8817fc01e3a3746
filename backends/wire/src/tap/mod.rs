//! A TAP interface of the Linux kernel as a wire.
//!
//! Frames are read and written in batches through io_uring where the system
//! lets us, and one by one otherwise; [`Tap::io`] tells which. A batch is always
//! reaped before the call that started it returns, so nothing of the wire's
//! memory is ever in the kernel's hands between calls. Waiting is one ppoll(2)
//! for frames, for the waker and for changes of the link.

mod batch;
mod error;
mod link;
mod open;
mod uring;
mod waker;

pub use error::TapError;

use crate::interface::{Interface, InterfaceError};
use batch::{Batch, Completed};
use link::LinkWatch;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use waker::FdWaker;

/// Frames in one batch: NAPI's weight.
const BATCH: usize = 64;

/// How a [`Tap`] is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapConfig {
    /// The interface's name; it is made if there is none. `%d` stands for the
    /// first free number, as in `tap%d`.
    pub name: String,
    /// How frames are read and written.
    pub io: TapIoChoice,
    /// Bytes of the longest frame, without FCS, that the wire carries.
    pub max_frame: usize,
    /// Whether the interface stays when the wire is dropped.
    pub persistent: bool,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self {
            name: "tap%d".to_owned(),
            io: TapIoChoice::Auto,
            max_frame: 16 * 1024,
            persistent: false,
        }
    }
}

impl TapConfig {
    /// The defaults, for an interface called `name`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// What the caller wants of [`TapIo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapIoChoice {
    /// io_uring where the system allows it, else plain calls.
    Auto,
    /// io_uring, or an error.
    Uring,
    /// Plain calls.
    Plain,
}

/// How frames are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapIo {
    /// A batch of frames in one io_uring_enter(2).
    Uring,
    /// A read(2) or write(2) for each frame.
    Plain,
}

/// A TAP interface.
///
/// What the kernel sends on the interface is received here, and the other way
/// round. The carrier is the kernel's side being up.
#[derive(Debug)]
pub struct Tap {
    device: OwnedFd,
    interface: Interface,
    batch: Batch,
    waker: Arc<FdWaker>,
    link: LinkWatch,
    up: bool,
    /// The kernel's side was deleted, which only an error of the device tells.
    deleted: bool,
    max_frame: usize,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    rx_frames: u64,
    rx_too_long: u64,
    rx_errors: u64,
    tx_frames: u64,
    tx_down: u64,
    tx_too_long: u64,
    tx_errors: u64,
}

impl Tap {
    /// Opens the interface, and makes it if there is none of that name. It is
    /// not brought up: that is [`interface`](Self::interface)'s part.
    ///
    /// # Errors
    /// See [`TapError`]: each says what to do.
    pub fn open(config: &TapConfig) -> Result<Self, TapError> {
        let (device, name) = open::attach(config)?;
        let interface = Interface::open(&name)?;
        let batch = Batch::new(&device, config)?;
        let link = LinkWatch::new().map_err(TapError::System)?;
        let waker = FdWaker::new().map_err(TapError::System)?;
        let up = interface.is_up()?;
        Ok(Self {
            device,
            interface,
            batch,
            waker: Arc::new(waker),
            link,
            up,
            deleted: false,
            max_frame: config.max_frame,
            counts: Counts::default(),
        })
    }

    /// The kernel's side: addresses, flags, MTU.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// How frames are read and written.
    #[must_use]
    pub fn io(&self) -> TapIo {
        self.batch.io()
    }

    /// Why io_uring is not in use although it was not ruled out.
    #[must_use]
    pub fn io_refusal(&self) -> Option<&std::io::Error> {
        self.batch.refusal()
    }

    /// Counts what became of frames that were handed to the kernel.
    fn account_written(&mut self, results: &[i32]) {
        for &result in results {
            match Errno::from_raw(-result.min(0)) {
                _ if result >= 0 => self.counts.tx_frames += 1,
                // The driver answers EIO while its interface is down.
                Errno::EIO => {
                    self.up = false;
                    self.counts.tx_down += 1;
                }
                _ => self.counts.tx_errors += 1,
            }
        }
    }

    fn write_gathered(&mut self) {
        let mut results = [0; BATCH];
        let written = self.batch.write(&self.device, &mut results);
        self.account_written(&results[..written]);
    }

    /// Passes one batch of completed reads on. Returns how many frames there
    /// were, and whether the device may have more.
    fn deliver(&mut self, completed: &Completed, sink: &mut dyn FnMut(&[u8])) -> (usize, bool) {
        let mut frames = 0;
        let mut more = completed.count() > 0;
        for slot in 0..completed.count() {
            match completed.result(slot) {
                Ok(len) if len > self.max_frame => self.counts.rx_too_long += 1,
                Ok(len) => {
                    sink(self.batch.received(slot, len));
                    frames += 1;
                }
                Err(Errno::EAGAIN) => more = false,
                Err(Errno::EINTR) => {}
                Err(_) => {
                    self.counts.rx_errors += 1;
                    more = false;
                }
            }
        }
        self.counts.rx_frames += frames as u64;
        (frames, more)
    }

    fn look_at_link(&mut self) {
        if self.link.changed() {
            self.refresh_link();
        }
    }

    fn refresh_link(&mut self) {
        self.up = self.interface.is_up().unwrap_or(false);
    }

    /// Waits, and returns whether the waker signalled.
    fn poll(&mut self, timeout: Option<TimeSpec>) -> bool {
        let mut fds = [
            PollFd::new(self.waker.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.link.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.device.as_fd(), PollFlags::POLLIN),
        ];
        // The device of an interface that was deleted would end every wait.
        let watched = if self.deleted { 2 } else { 3 };
        // An interrupted wait is a wait that has ended early, which is allowed.
        let _ = ppoll(&mut fds[..watched], timeout, None);
        let signalled = fds[0].any().unwrap_or(true);
        let device = fds[2].revents().unwrap_or(PollFlags::empty());
        self.deleted |= device.contains(PollFlags::POLLERR);
        signalled
    }
}

impl Wire for Tap {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        if !self.up {
            self.counts.tx_down += 1;
            return Err(WireError::NoCarrier);
        }
        if frame.len() > self.max_frame {
            self.counts.tx_too_long += 1;
            let (len, max) = (frame.len(), self.max_frame);
            return Err(WireError::TooLong { len, max });
        }
        if self.batch.gather(frame) {
            self.write_gathered();
        }
        Ok(())
    }

    fn flush(&mut self, _now_ns: u64) {
        self.write_gathered();
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut total = 0;
        while total < budget {
            let completed = self.batch.read(&self.device, budget - total);
            let (frames, more) = self.deliver(&completed, sink);
            total += frames;
            if !more {
                break;
            }
        }
        if total == 0 {
            self.look_at_link();
        }
        total
    }

    fn carrier(&self) -> bool {
        self.up
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        let timeout = timeout_ns.map(|ns| Duration::from_nanos(ns).into());
        let signalled = self.waker.begin_wait() && self.poll(timeout);
        self.waker.end_wait(signalled);
        self.look_at_link();
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        Arc::clone(&self.waker) as Arc<dyn WireWaker>
    }

    /// The wire's own counters, and those of the kernel's side: its
    /// `kernel_tx_dropped` are frames that found our queue full, its
    /// `kernel_rx_dropped` are ours that the kernel did not take.
    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        visit("tap_rx_frames", self.counts.rx_frames);
        visit("tap_rx_too_long", self.counts.rx_too_long);
        visit("tap_rx_errors", self.counts.rx_errors);
        visit("tap_tx_frames", self.counts.tx_frames);
        visit("tap_tx_down", self.counts.tx_down);
        visit("tap_tx_too_long", self.counts.tx_too_long);
        visit("tap_tx_errors", self.counts.tx_errors);
        if let Ok(kernel) = self.interface.kernel_counters() {
            visit("kernel_rx_packets", kernel.rx_packets);
            visit("kernel_rx_dropped", kernel.rx_dropped);
            visit("kernel_tx_packets", kernel.tx_packets);
            visit("kernel_tx_dropped", kernel.tx_dropped);
        }
    }
}

impl From<InterfaceError> for TapError {
    fn from(error: InterfaceError) -> Self {
        Self::Interface(error)
    }
}
