//! Changes of an interface, told by the kernel as they happen.

use super::error::NetlinkError;
use super::link::{self, Link};
use super::uapi;
use neli::consts::rtnl::{RtAddrFamily, Rtm};
use neli::consts::socket::NlFamily;
use neli::err::SocketError;
use neli::nl::{NlPayload, Nlmsghdr};
use neli::rtnl::Ifinfomsg;
use neli::socket::synchronous::NlSocketHandle;
use neli::utils::Groups;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// What happened to the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// It is as described now: up or down, its carrier, its MTU, its programs.
    /// The kernel tells more often than something of interest changes.
    Changed(Box<Link>),
    /// It is gone: deleted, or moved to another network namespace. Its number
    /// does not come back.
    Gone,
    /// The kernel told more than the socket could hold, so that changes were
    /// missed: ask for the interface's state.
    Missed,
}

/// Notifications about one interface (the group `RTNLGRP_LINK`).
///
/// The descriptor is readable when there may be a notification; reading never
/// blocks. Watch first and read the state then, so that no change falls
/// between.
pub struct LinkWatch {
    socket: NlSocketHandle,
    index: u32,
}

impl fmt::Debug for LinkWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkWatch")
            .field("fd", &self.socket.as_raw_fd())
            .field("index", &self.index)
            .finish()
    }
}

impl LinkWatch {
    /// Watches the interface with this number, in the network namespace of the
    /// calling thread.
    ///
    /// # Errors
    /// No socket could be had.
    pub fn open(index: u32) -> Result<Self, NetlinkError> {
        let groups = Groups::new_groups(&[uapi::link::GROUP]);
        let socket = NlSocketHandle::connect(NlFamily::Route, None, groups).map_err(failed)?;
        let watch = Self { socket, index };
        fcntl(&watch, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|error| NetlinkError::Socket(error.into()))?;
        Ok(watch)
    }

    /// The notifications that have come, oldest first; none if there are none.
    ///
    /// # Errors
    /// The socket failed.
    pub fn events(&self) -> Result<Vec<LinkEvent>, NetlinkError> {
        let mut events = Vec::new();
        loop {
            match self.socket.recv::<u16, Ifinfomsg>() {
                Ok((messages, _)) => {
                    events.extend(messages.filter_map(|message| self.event(message)))
                }
                Err(SocketError::Io(error)) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(events),
                    Some(libc::ENOBUFS) => events.push(LinkEvent::Missed),
                    Some(libc::EINTR) => {}
                    _ => return Err(failed(SocketError::Io(error))),
                },
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn event(&self, message: Result<Nlmsghdr<u16, Ifinfomsg>, SocketError>) -> Option<LinkEvent> {
        // What cannot be read may have been about our interface.
        let Ok(message) = message else {
            return Some(LinkEvent::Missed);
        };
        let NlPayload::Payload(payload) = message.nl_payload() else {
            return None;
        };
        // A bridge tells of its ports by messages of its own family: leaving
        // it is not the end of the interface.
        let ours = payload.ifi_index().cast_unsigned() == self.index;
        if !ours || *payload.ifi_family() != RtAddrFamily::Unspecified {
            return None;
        }
        match Rtm::from(*message.nl_type()) {
            Rtm::Newlink => Some(LinkEvent::Changed(Box::new(link::parse(payload)))),
            Rtm::Dellink => Some(LinkEvent::Gone),
            _ => None,
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as `self`, which is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

impl AsRawFd for LinkWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn failed(error: SocketError) -> NetlinkError {
    let source = match error {
        SocketError::Io(error) => error
            .raw_os_error()
            .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
        other => io::Error::other(other.to_string()),
    };
    NetlinkError::Socket(source)
}
