//! Learning that the kernel's side went up or down.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A netlink socket in the group of link changes (rtnetlink(7)).
///
/// Only that something changed is taken from it, never what: the flags are then
/// read from the interface, so no message is parsed and none can be missed.
#[derive(Debug)]
pub(super) struct LinkWatch {
    socket: OwnedFd,
}

impl LinkWatch {
    pub(super) fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        let group = NetlinkAddr::new(0, libc::RTMGRP_LINK.cast_unsigned());
        bind(socket.as_raw_fd(), &group)?;
        Ok(Self { socket })
    }

    /// Whether any link has changed since the last call. An overrun of the
    /// socket (ENOBUFS) is a change too.
    pub(super) fn changed(&self) -> bool {
        let mut changed = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_TRUNC) {
                Ok(_) | Err(nix::errno::Errno::ENOBUFS) => changed = true,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
