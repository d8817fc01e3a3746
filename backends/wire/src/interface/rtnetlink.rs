//! The one setting that netdevice(7) keeps for the system's root: the kernel
//! checks SIOCSIFTXQLEN against the first user namespace, and the same request
//! by rtnetlink(7) against the one that owns the network namespace.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::io;
use std::os::fd::AsRawFd;

/// `struct nlmsghdr` and `struct ifinfomsg`, 16 bytes each, then one attribute
/// of 8. All are in the byte order of the machine.
const MESSAGE_LEN: usize = 40;

/// Sets the queue length of the interface with this index.
pub(super) fn set_tx_queue_len(index: u32, frames: u32) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let message = set_link_message(index, frames);
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 64];
    let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    acknowledged(&answer[..len.min(answer.len())])
}

fn set_link_message(index: u32, frames: u32) -> [u8; MESSAGE_LEN] {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut message = [0; MESSAGE_LEN];
    message[..4].copy_from_slice(&(MESSAGE_LEN as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[20..24].copy_from_slice(&index.to_ne_bytes());
    message[32..34].copy_from_slice(&8_u16.to_ne_bytes());
    message[34..36].copy_from_slice(&libc::IFLA_TXQLEN.to_ne_bytes());
    message[36..].copy_from_slice(&frames.to_ne_bytes());
    message
}

/// The answer is an NLMSG_ERROR, whose error is 0 or a negative error number.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).map(|bytes| [bytes[0], bytes[1]]);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), error.map(i32::from_ne_bytes)) {
        (Some(kind), Some(0)) if i32::from(kind) == libc::NLMSG_ERROR => Ok(()),
        (Some(kind), Some(error)) if i32::from(kind) == libc::NLMSG_ERROR => {
            Err(io::Error::from_raw_os_error(error.saturating_neg()))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        assert!(acknowledged(&[]).is_err());
        assert!(acknowledged(&[0; 19]).is_err());
        assert!(acknowledged(&[0; 64]).is_err());
    }

    #[test]
    fn the_kernels_error_number_is_reported() {
        let mut answer = [0; 36];
        answer[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        assert!(acknowledged(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        let error = acknowledged(&answer).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
