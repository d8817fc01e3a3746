//! The kernel's busy polling (socket(7), `Documentation/networking/napi.rst`):
//! system calls on a socket poll the device's NAPI instance, instead of its
//! interrupts doing so.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// How the kernel is to poll a device for a socket.
///
/// The device interrupts as before, until its interrupts are put off by
/// `napi_defer_hard_irqs` and `gro_flush_timeout`: then whoever owns the socket
/// has the CPU that it is busy polled on to himself. Those are to be set only when the
/// kernel [does poll](super::Events::is_busy_polled): packets would wait for the
/// timeout otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long a blocking call would poll, in microseconds (`SO_BUSY_POLL`). The
    /// calls made here do not block and poll once; 0 turns polling off.
    pub usecs: u32,
    /// Packets of one poll (`SO_BUSY_POLL_BUDGET`).
    pub budget: u16,
}

impl Default for BusyPoll {
    /// 20 microseconds and 64 packets.
    fn default() -> Self {
        Self {
            usecs: 20,
            budget: 64,
        }
    }
}

impl BusyPoll {
    /// Sets the socket's options.
    pub(super) fn set(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let usecs = i32::try_from(self.usecs).unwrap_or(i32::MAX);
        set_option(socket, libc::SO_PREFER_BUSY_POLL, 1)?;
        set_option(socket, libc::SO_BUSY_POLL, usecs)?;
        set_option(socket, libc::SO_BUSY_POLL_BUDGET, i32::from(self.budget))
    }
}

fn set_option(socket: BorrowedFd<'_>, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option's value is an int, which `value` is, and the kernel only
    // reads it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Whether the kernel knows which NAPI instance to poll for the socket. It learns it
/// with the first packet; of some devices (a veth, on Linux 6.18) it never does.
pub(super) fn is_polled(socket: BorrowedFd<'_>) -> bool {
    let mut id = 0_u32;
    let mut len = size_of_val(&id) as libc::socklen_t;
    // SAFETY: the option's value is an unsigned int, for which `id` has the room that
    // `len` says.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut id).cast(),
            &raw mut len,
        )
    };
    outcome == 0 && id != 0
}

/// Has the kernel poll the socket's device once.
pub(super) fn drive(socket: BorrowedFd<'_>) {
    // An XDP socket has no data to be received this way; what the device had is in
    // the rings afterwards. A device that is down is the watchdog's affair.
    let _ = rustix::net::recv(
        socket.as_fd(),
        &mut [0_u8; 0],
        rustix::net::RecvFlags::DONTWAIT,
    );
}
