//! The side of the process that has no privilege.

use super::HandoverError;
use super::wire::{self, MemoryRequest, RefusedMode, Reply, Request, VERSION};
use crate::bpf::{Link, ProgramMaps};
use crate::error::{AfXdpError, Refusal};
use crate::mode::{Mode, ModeChoice};
use crate::nic::{Attached, Found, Halves, STEPS};
use crate::shared::{SharedMemory, map_rings};
use crate::socket::{SocketRx, SocketTx};
use crate::umem::{Backing, Pages, Parts, TxMetadata, UmemConfig};
use crate::xsk::MemoryShape;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use softnet_nic_hal::NicError;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a helper may take: it waits a second for each queue that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a [`Helper`](super::Helper), for one
/// [`Umem`](crate::Umem::from_helper).
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// Connects to the helper whose socket is at `path`.
    ///
    /// # Errors
    /// [`HandoverError::Connect`].
    pub fn open(path: &Path) -> Result<Self, HandoverError> {
        let opened = try_connect(path).map_err(|source| HandoverError::Connect {
            path: path.to_owned(),
            source,
        });
        opened.map(|socket| Self { socket })
    }

    /// A connection that somebody else has made, such as one end of a socket pair whose
    /// other end the parent [serves](super::Helper::serve_on). It is of type
    /// `SOCK_SEQPACKET`.
    #[must_use]
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { socket }
    }

    fn ask(&self, request: &Request) -> Result<(Reply, Vec<OwnedFd>), HandoverError> {
        set_socket_timeout(&self.socket, Timeout::Recv, Some(PATIENCE)).map_err(io::Error::from)?;
        wire::send(&self.socket, request, &[]).map_err(explain)?;
        let answer = wire::receive(&self.socket).map_err(explain)?;
        match answer.ok_or(HandoverError::HungUp)? {
            (Reply::Gone, _) => Err(HandoverError::Gone),
            (Reply::Refused(why), _) => Err(HandoverError::Refused(why)),
            answer => Ok(answer),
        }
    }

    /// Memory of that shape, on huge pages if they are asked for and there are some.
    pub(crate) fn memory(self, config: &UmemConfig) -> Result<Parts, HandoverError> {
        if !config.huge_pages {
            return self.granted(config, false, Pages::Ordinary);
        }
        match self.handed_memory(config, true) {
            Ok(handed) => self.parts(config.shape(true), handed, Pages::Huge),
            Err(HandoverError::Refused(why)) => {
                self.granted(config, false, Pages::NoHuge(io::Error::other(why)))
            }
            Err(error) => Err(error),
        }
    }

    fn granted(
        self,
        config: &UmemConfig,
        huge: bool,
        pages: Pages,
    ) -> Result<Parts, HandoverError> {
        let handed = self.handed_memory(config, huge)?;
        self.parts(config.shape(huge), handed, pages)
    }

    fn handed_memory(
        &self,
        config: &UmemConfig,
        huge: bool,
    ) -> Result<HandedMemory, HandoverError> {
        let shape = config.shape(huge);
        let request = Request::Memory(MemoryRequest {
            version: VERSION,
            chunks: shape.chunks,
            chunk_size: shape.chunk_size,
            ring: shape.ring,
            huge_pages: huge,
            multi_buffer: config.long_packet().is_some(),
        });
        let (Reply::Memory { interface }, mut fds) = self.ask(&request)? else {
            return Err(HandoverError::Malformed);
        };
        if fds.is_empty() {
            return Err(HandoverError::Malformed);
        }
        let maps = fds.split_off(1).try_into();
        let maps = maps.map_err(|_| HandoverError::Malformed)?;
        Ok(HandedMemory {
            interface,
            memory: SharedMemory::map(fds[0].as_fd(), shape.bytes())?,
            maps: ProgramMaps::from_fds(maps).map_err(|_| HandoverError::Malformed)?,
        })
    }

    fn parts(
        self,
        shape: MemoryShape,
        handed: HandedMemory,
        pages: Pages,
    ) -> Result<Parts, HandoverError> {
        let granted = Granted {
            connection: Mutex::new(self),
            interface: handed.interface,
            maps: handed.maps,
            shape,
        };
        Ok(Parts {
            backing: Backing::Helper(Arc::new(granted)),
            shape,
            region: Arc::new(handed.memory).into_region(),
            pages,
            metadata: Ok(TxMetadata::Off),
        })
    }
}

fn try_connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn explain(error: io::Error) -> HandoverError {
    match error.kind() {
        io::ErrorKind::WouldBlock => HandoverError::Silent,
        io::ErrorKind::InvalidData => HandoverError::Malformed,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => HandoverError::HungUp,
        _ => HandoverError::Talk(error),
    }
}

/// What the helper hands over for a UMEM.
struct HandedMemory {
    interface: String,
    memory: SharedMemory,
    maps: ProgramMaps,
}

/// What a helper has granted: an interface, and the maps of its program.
#[derive(Debug)]
pub(crate) struct Granted {
    connection: Mutex<Connection>,
    interface: String,
    maps: ProgramMaps,
    shape: MemoryShape,
}

impl Granted {
    /// Whether it is for this interface.
    pub(crate) fn check(&self, interface: &str) -> Result<(), AfXdpError> {
        if self.interface == interface {
            return Ok(());
        }
        Err(asking(HandoverError::OtherInterface {
            granted: self.interface.clone(),
            wanted: interface.to_owned(),
        }))
    }

    pub(crate) fn maps(&self) -> &ProgramMaps {
        &self.maps
    }

    /// Has the program attached and sockets bound.
    pub(crate) fn open(&self, queues: u16, modes: ModeChoice) -> Result<Found<Halves>, NicError> {
        self.try_open(queues, modes).map_err(|error| match error {
            HandoverError::Gone => NicError::Gone,
            error => asking(error).into(),
        })
    }

    fn try_open(&self, queues: u16, modes: ModeChoice) -> Result<Found<Halves>, HandoverError> {
        let mode = match modes {
            ModeChoice::Best => None,
            ModeChoice::Only(mode) => Some(mode.name().to_owned()),
        };
        let connection = self.connection.lock();
        let connection = connection.unwrap_or_else(PoisonError::into_inner);
        let (reply, mut fds) = connection.ask(&Request::Open { queues, mode })?;
        let Reply::Open { mode, refusals } = reply else {
            return Err(HandoverError::Malformed);
        };
        if fds.len() != usize::from(queues) + 1 {
            return Err(HandoverError::Malformed);
        }
        let sockets = fds.split_off(1).into_iter().map(|fd| self.rings(fd));
        let sockets = sockets.collect::<io::Result<_>>()?;
        let link = fds.pop().ok_or(HandoverError::Malformed)?;
        let link = Link::from_fd(link).map_err(|_| HandoverError::Malformed)?;
        Ok(Found {
            mode: mode_of(&mode)?,
            link: Attached::new(link),
            sockets,
            refusals: refusals
                .into_iter()
                .map(refusal)
                .collect::<Result<_, _>>()?,
        })
    }

    fn rings(&self, socket: OwnedFd) -> io::Result<Halves> {
        let (rx, tx) = map_rings(socket, self.shape.ring, self.shape.chunk_size)?;
        Ok((SocketRx::Shared(rx), SocketTx::Shared(tx)))
    }
}

fn asking(error: HandoverError) -> AfXdpError {
    AfXdpError::other("asking the helper", error)
}

fn mode_of(name: &str) -> Result<Mode, HandoverError> {
    name.parse().map_err(|_| HandoverError::Malformed)
}

fn refusal(refused: RefusedMode) -> Result<Refusal, HandoverError> {
    let step = STEPS.into_iter().find(|step| *step == refused.step);
    Ok(Refusal {
        mode: mode_of(&refused.mode)?,
        step: step.unwrap_or("opening"),
        reason: refused.reason.into(),
    })
}
