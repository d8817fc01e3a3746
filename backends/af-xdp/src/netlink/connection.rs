//! One netlink socket: a request, and the answers up to the acknowledgement.

use super::attributes::{self, Attribute, Attributes, Read};
use super::error::{Refusal, Said};
use neli::consts::nl::NlmF;
use neli::consts::socket::NlFamily;
use neli::err::{Nlmsgerr, NlmsghdrErr, SocketError};
use neli::genl::{Genlmsghdr, GenlmsghdrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::utils::Groups;
use neli::{FromBytesWithInput, Size, ToBytes};
use nix::errno::Errno;
use std::cell::Cell;
use std::fmt::Debug;
use std::io::{self, Cursor};

/// A message of a generic family.
pub(super) type Generic = Genlmsghdr<u8, u16>;

/// A message that can be received.
pub(super) trait Answer: Size + FromBytesWithInput<Input = usize> + Clone + Debug {}
impl<T: Size + FromBytesWithInput<Input = usize> + Clone + Debug> Answer for T {}

/// A socket of one netlink family, in the network namespace of the thread that
/// opened it. Requests go one by one, so it is not shared between threads.
pub(super) struct Connection {
    socket: NlSocketHandle,
    sequence: Cell<u32>,
}

impl Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn open(family: NlFamily) -> Result<Self, Refusal> {
        let socket = NlSocketHandle::connect(family, None, Groups::empty())?;
        // An old kernel without them only says less.
        let _ = socket.enable_ext_ack(true);
        let sequence = Cell::new(0);
        Ok(Self { socket, sequence })
    }

    /// Sends a request and collects what comes until it is acknowledged.
    pub(super) fn ask<P: Answer + ToBytes>(
        &self,
        kind: u16,
        flags: NlmF,
        payload: P,
    ) -> Result<Vec<P>, Refusal> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let message = NlmsghdrBuilder::default()
            .nl_type(kind)
            .nl_flags(flags | NlmF::REQUEST | NlmF::ACK)
            .nl_seq(sequence)
            .nl_payload(NlPayload::Payload(payload))
            .build();
        self.socket
            .send(&message.map_err(|_| Refusal::Malformed)?)?;
        self.collect(sequence)
    }

    /// A command of a generic family.
    pub(super) fn command(
        &self,
        family: u16,
        flags: NlmF,
        command: u8,
        attributes: Vec<Attribute>,
    ) -> Result<Vec<Attributes>, Refusal> {
        let payload = generic(command, attributes)?;
        let answers = self.ask(family, flags, payload)?;
        Ok(answers
            .iter()
            .map(|answer| answer.attrs().clone())
            .collect())
    }

    fn collect<P: Answer>(&self, sequence: u32) -> Result<Vec<P>, Refusal> {
        let mut answers = Vec::new();
        loop {
            if self.receive(sequence, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Takes one datagram of answers; whether it ended them.
    fn receive<P: Answer>(&self, sequence: u32, answers: &mut Vec<P>) -> Result<bool, Refusal> {
        let (messages, _) = self.socket.recv::<u16, P>()?;
        for message in messages {
            let message = message?;
            // What is left of an exchange that was broken off is not for us.
            if *message.nl_seq() != sequence {
                continue;
            }
            match message.nl_payload() {
                NlPayload::Err(refused) => return Err(refusal(refused)),
                NlPayload::Ack(_) => return Ok(true),
                NlPayload::DumpExtAck(end) => return end_of_dump(*end.error()),
                NlPayload::Empty => return Ok(true),
                NlPayload::Payload(payload) => answers.push(payload.clone()),
            }
        }
        Ok(false)
    }
}

/// A generic message.
pub(super) fn generic(command: u8, attributes: Vec<Attribute>) -> Result<Generic, Refusal> {
    GenlmsghdrBuilder::default()
        .cmd(command)
        .version(1)
        .attrs(attributes.into_iter().collect())
        .build()
        .map_err(|_| Refusal::Malformed)
}

/// The bytes of a request that wants an acknowledgement.
pub(super) fn encode(family: u16, payload: Generic) -> Result<Vec<u8>, Refusal> {
    let message = NlmsghdrBuilder::default()
        .nl_type(family)
        .nl_flags(NlmF::REQUEST | NlmF::ACK)
        .nl_payload(NlPayload::Payload(payload))
        .build()
        .map_err(|_| Refusal::Malformed)?;
    let mut bytes = Cursor::new(Vec::new());
    message
        .to_bytes(&mut bytes)
        .map_err(|_| Refusal::Malformed)?;
    Ok(bytes.into_inner())
}

/// The number of a generic family; `None` if this kernel has no such family.
pub(super) fn resolve(connection: &Connection, family: &str) -> Result<Option<u16>, Refusal> {
    let name = attributes::attribute(CTRL_ATTR_FAMILY_NAME, family)?;
    let asked = connection.command(
        libc::GENL_ID_CTRL as u16,
        NlmF::empty(),
        libc::CTRL_CMD_GETFAMILY as u8,
        vec![name],
    );
    match asked {
        Ok(answers) => Ok(answers
            .iter()
            .find_map(|answer| answer.u16(CTRL_ATTR_FAMILY_ID))),
        Err(Refusal::Kernel {
            errno: Errno::ENOENT,
            ..
        }) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

const CTRL_ATTR_FAMILY_ID: u16 = libc::CTRL_ATTR_FAMILY_ID as u16;
const CTRL_ATTR_FAMILY_NAME: u16 = libc::CTRL_ATTR_FAMILY_NAME as u16;

fn refusal<P>(refused: &Nlmsgerr<NlmsghdrErr<u16, P>>) -> Refusal {
    let errno = Errno::from_raw(-*refused.error());
    let said = Said(refused.ext_ack().text(NLMSGERR_ATTR_MSG));
    Refusal::Kernel { errno, said }
}

const NLMSGERR_ATTR_MSG: u16 = 1;

/// The last message of a dump says whether it went well.
fn end_of_dump(error: i32) -> Result<bool, Refusal> {
    match error {
        0.. => Ok(true),
        error => Err(Errno::from_raw(-error).into()),
    }
}

impl From<SocketError> for Refusal {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Io(error) => Self::Socket(copy(&error)),
            _ => Self::Malformed,
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}
