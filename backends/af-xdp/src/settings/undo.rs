//! How one setting is put back: a netlink request, or the text of a file of
//! sysfs, ready as bytes.
//!
//! Running one allocates nothing and takes no lock, so that a process that was
//! forked from one with many threads can do it.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

/// The way back from one change: a tag, and then a netlink message, or a path, a
/// NUL and the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Undo(Vec<u8>);

const NETLINK: u8 = 1;
const FILE: u8 = 2;

/// The sockets of a closed process hold their queues for some milliseconds.
const PAUSE: Duration = Duration::from_millis(10);

impl Undo {
    /// Sends this message of the generic netlink.
    pub(super) fn message(message: &[u8]) -> Self {
        Self([&[NETLINK], message].concat())
    }

    /// Writes this text to this file.
    pub(super) fn file(path: &CStr, text: &str) -> Self {
        Self([&[FILE], path.to_bytes_with_nul(), text.as_bytes()].concat())
    }

    /// The bytes that [`run`] takes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The socket that the messages go through.
pub(super) fn generic_socket() -> Result<OwnedFd, Errno> {
    socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )
}

/// Puts a setting back, and tries again `tries` times while something still
/// uses what is to be changed.
///
/// What is gone needs no putting back: that is a success.
pub(super) fn run(socket: BorrowedFd<'_>, undo: &[u8], tries: u32) -> Result<(), Errno> {
    let mut result = run_once(socket, undo);
    for _ in 0..tries {
        if !result.is_err_and(may_pass) {
            break;
        }
        sleep(PAUSE);
        result = run_once(socket, undo);
    }
    match result {
        Err(Errno::ENODEV | Errno::ENOENT) => Ok(()),
        result => result,
    }
}

/// Whether a refusal may be one for the moment. Fewer queues are EINVAL for as long
/// as an XDP socket is bound to one that would go.
const fn may_pass(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EBUSY | Errno::EINVAL | Errno::EAGAIN | Errno::EINTR
    )
}

fn run_once(socket: BorrowedFd<'_>, undo: &[u8]) -> Result<(), Errno> {
    match undo.split_first() {
        Some((&NETLINK, message)) => send_message(socket, message),
        Some((&FILE, rest)) => write_file(rest),
        _ => Err(Errno::EINVAL),
    }
}

fn send_message(socket: BorrowedFd<'_>, message: &[u8]) -> Result<(), Errno> {
    let fd = socket.as_raw_fd();
    send(fd, message, MsgFlags::empty())?;
    // Large enough for the acknowledgement, which comes with the message that
    // it acknowledges; what is longer is cut, and not looked at.
    let mut answer = [0; 4096];
    loop {
        let len = recv(fd, &mut answer, MsgFlags::empty())?;
        if let Some(result) = acknowledgement(answer.get(..len).unwrap_or(&[])) {
            return result;
        }
    }
}

/// What an acknowledgement says: `struct nlmsghdr`, whose type is at byte 4, and
/// after its 16 bytes the negative error number (netlink(7)).
fn acknowledgement(message: &[u8]) -> Option<Result<(), Errno>> {
    let kind = message.get(4..6)?.first_chunk()?;
    if i32::from(u16::from_ne_bytes(*kind)) != libc::NLMSG_ERROR {
        return None;
    }
    let error = i32::from_ne_bytes(*message.get(16..)?.first_chunk()?);
    Some(match error {
        0 => Ok(()),
        error => Err(Errno::from_raw(error.wrapping_neg())),
    })
}

fn write_file(path_and_text: &[u8]) -> Result<(), Errno> {
    let path = CStr::from_bytes_until_nul(path_and_text).map_err(|_| Errno::EINVAL)?;
    let text = path_and_text.get(path.count_bytes() + 1..).unwrap_or(&[]);
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(file.as_fd(), text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn ack(kind: u16, error: i32) -> Vec<u8> {
        let mut message = vec![0; 36];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[16..20].copy_from_slice(&error.to_ne_bytes());
        message
    }

    #[test]
    fn an_acknowledgement_says_how_it_went() {
        assert_eq!(acknowledgement(&ack(2, 0)), Some(Ok(())));
        let busy = Some(Err(Errno::EBUSY));
        assert_eq!(acknowledgement(&ack(2, -libc::EBUSY)), busy);
        assert_eq!(acknowledgement(&ack(21, 0)), None);
        assert_eq!(acknowledgement(&ack(2, 0)[..18]), None);
        assert_eq!(acknowledgement(&[]), None);
    }

    #[test]
    fn a_file_gets_its_text_back() {
        let path = std::env::temp_dir().join(format!("softnet-undo-{}", std::process::id()));
        std::fs::write(&path, "new").unwrap();
        let name = CString::new(path.to_str().unwrap()).unwrap();
        let socket = generic_socket().unwrap();
        let undo = Undo::file(&name, "old");
        assert_eq!(run(socket.as_fd(), undo.bytes(), 0), Ok(()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        std::fs::remove_file(&path).unwrap();
        // The interface whose file it was is gone: nothing is left to put back.
        assert_eq!(run(socket.as_fd(), undo.bytes(), 0), Ok(()));
    }

    #[test]
    fn a_way_back_that_makes_no_sense_is_refused() {
        let socket = generic_socket().unwrap();
        assert_eq!(run(socket.as_fd(), &[], 0), Err(Errno::EINVAL));
        assert_eq!(run(socket.as_fd(), &[9, 1], 0), Err(Errno::EINVAL));
        assert_eq!(run(socket.as_fd(), &[FILE, b'x'], 0), Err(Errno::EINVAL));
    }
}
