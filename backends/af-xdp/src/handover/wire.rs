//! The messages, and how they and descriptors get through a unix socket.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The protocol's version.
pub(super) const VERSION: u32 = 1;
/// Most queues of one opening: with the link, they go into one packet (`SCM_MAX_FD` is
/// 253).
pub(super) const MAX_QUEUES: u16 = 252;
/// Bytes of the longest message.
const MAX_MESSAGE: usize = 16 << 10;

/// What a process asks.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Make the memory and load the program.
    Memory(MemoryRequest),
    /// Attach and bind.
    Open { queues: u16, mode: Option<String> },
}

/// The shape of the memory and of what works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemoryRequest {
    pub(super) version: u32,
    pub(super) chunks: u32,
    pub(super) chunk_size: u32,
    pub(super) ring: u32,
    pub(super) huge_pages: bool,
    pub(super) multi_buffer: bool,
}

impl MemoryRequest {
    /// Bytes of the memory.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.chunks) * u64::from(self.chunk_size)
    }
}

/// What a helper answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    Memory {
        interface: String,
    },
    Open {
        mode: String,
        refusals: Vec<RefusedMode>,
    },
    Gone,
    Refused(String),
}

/// A mode that was tried.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusedMode {
    pub(super) mode: String,
    pub(super) step: String,
    pub(super) reason: String,
}

/// Sends a message with descriptors.
pub(super) fn send(
    socket: &OwnedFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A peer that is gone is an error and no signal.
    let flags = SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)?;
    Ok(())
}

/// Receives a message with its descriptors, which close on exec; `None` when the other
/// side has hung up. What is no message is [`io::ErrorKind::InvalidData`].
pub(super) fn receive<M: DeserializeOwned>(
    socket: &OwnedFd,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let most = usize::from(MAX_QUEUES) + 1;
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(most))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; MAX_MESSAGE];
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        match recvmsg(socket, &mut parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let fds = descriptors(&mut control);
    if received.bytes == 0 {
        return Ok(None);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let message = bytes.get(..received.bytes).map(serde_json::from_slice);
    match message {
        Some(Ok(message)) => Ok(Some((message, fds))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn descriptors(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    fds
}

/// All of these, borrowed.
pub(super) fn borrowed<F: AsFd>(fds: &[F]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        socketpair(family, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (one, two) = pair();
        let reply = Reply::Open {
            mode: "copy".to_owned(),
            refusals: vec![],
        };
        send(&one, &reply, &[one.as_fd(), two.as_fd()]).unwrap();
        let (got, fds) = receive::<Reply>(&two).unwrap().unwrap();
        assert_eq!((got, fds.len()), (reply, 2));
    }

    #[test]
    fn as_many_descriptors_as_an_opening_may_have_fit_a_message() {
        let (one, two) = pair();
        let fds = vec![one.as_fd(); usize::from(MAX_QUEUES) + 1];
        send(&one, &Reply::Gone, &fds).unwrap();
        let (_, got) = receive::<Reply>(&two).unwrap().unwrap();
        assert_eq!(got.len(), fds.len());
    }

    #[test]
    fn a_hang_up_and_garbage_are_told_apart() {
        let (one, two) = pair();
        send(&one, &"no request", &[one.as_fd()]).unwrap();
        let error = receive::<Request>(&two).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(one);
        assert!(receive::<Request>(&two).unwrap().is_none());
    }

    #[test]
    fn the_messages_are_those_of_the_documentation() {
        let open = Request::Open {
            queues: 2,
            mode: None,
        };
        let text = serde_json::to_string(&open).unwrap();
        assert_eq!(text, r#"{"Open":{"queues":2,"mode":null}}"#);
        assert_eq!(serde_json::to_string(&Reply::Gone).unwrap(), r#""Gone""#);
        let memory = Reply::Memory {
            interface: "eth1".to_owned(),
        };
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(text, r#"{"Memory":{"interface":"eth1"}}"#);
    }
}
