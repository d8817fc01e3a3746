//! Whether the kernel watches a queue's socket for the sleep of its CPU.
//!
//! A socket that epoll has in its list is called back for each packet that was sent, as
//! the kernel frees it: in copy mode a tenth of what it costs to send a small one. So
//! sockets are listed by a sleep, and taken off the list by a CPU that is awake and sends
//! more than a few packets.

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Packets whose call-backs cost about what it takes to unlist a socket and list it
/// again.
const FEW: u32 = 32;

/// What the kernel does about a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watched {
    /// It is not listed.
    #[default]
    Out,
    /// It is listed, and ends no sleep.
    Idle,
    /// It ends a sleep when it gets ready.
    Armed,
    /// It is not listed any more, ever: its queue was detached, or it has failed, which
    /// would end every sleep.
    Gone,
}

impl Watched {
    const fn is_listed(self) -> bool {
        matches!(self, Self::Idle | Self::Armed)
    }

    const fn flags(self) -> EventFlags {
        match self {
            Self::Armed => EventFlags::IN,
            Self::Out | Self::Idle | Self::Gone => EventFlags::empty(),
        }
    }
}

/// The watch over one socket, under a lock that is taken to change it: by a CPU that goes
/// to sleep, and by whoever sends for it or unmasks its queue meanwhile.
#[derive(Debug, Default)]
pub(super) struct Watch {
    now: Mutex<Watched>,
    /// As it says, for who sends to look at without the lock.
    listed: AtomicBool,
    /// Packets sent since it was armed.
    sent: AtomicU32,
}

impl Watch {
    pub(super) fn lock(&self) -> Watching<'_> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        Watching { watch: self, now }
    }

    /// Counts packets of which the kernel is told now. Returns whether the socket had
    /// better not be listed.
    #[inline]
    pub(super) fn is_costly(&self, packets: u32) -> bool {
        if !self.listed.load(Ordering::Relaxed) {
            return false;
        }
        let sent = self.sent.load(Ordering::Relaxed).saturating_add(packets);
        self.sent.store(sent, Ordering::Relaxed);
        sent > FEW
    }
}

/// A watch that nobody else changes.
pub(super) struct Watching<'a> {
    watch: &'a Watch,
    now: MutexGuard<'a, Watched>,
}

impl Watching<'_> {
    /// Has the kernel watch the socket, by this list and under this number, in another
    /// way. One that is gone stays as it is.
    pub(super) fn set(
        &mut self,
        to: Watched,
        list: &OwnedFd,
        socket: BorrowedFd<'_>,
        id: u64,
    ) -> Result<(), Errno> {
        let (now, data) = (*self.now, EventData::new_u64(id));
        self.watch.sent.store(0, Ordering::Relaxed);
        if now == to || now == Watched::Gone {
            return Ok(());
        }
        match (now.is_listed(), to.is_listed()) {
            (false, true) => epoll::add(list, socket, data, to.flags())?,
            (true, true) => epoll::modify(list, socket, data, to.flags())?,
            (true, false) => epoll::delete(list, socket)?,
            (false, false) => {}
        }
        *self.now = to;
        self.watch.listed.store(to.is_listed(), Ordering::Relaxed);
        Ok(())
    }
}
