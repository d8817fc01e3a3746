//! The side that has the privilege.

use super::wire::{self, MAX_QUEUES, MemoryRequest, RefusedMode, Reply, Request, VERSION};
use crate::bpf::{Capability, Denied, Existing, MultiBuffer, Program, ProgramOptions};
use crate::error::Refusal;
use crate::maker::{Maker, SocketShape, xdp_socket};
use crate::mode::{Mode, ModeChoice};
use crate::netlink::{Interface, NetlinkError};
use crate::nic::{Found, Opening};
use crate::shared::SharedMemory;
use crate::umem::TxMetadata;
use rustix::fs::{MemfdFlags, Mode as FileMode, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::Uid;
use softnet_nic_hal::NicError;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The id of a user, who is given by name or number.
///
/// # Errors
/// The system's users cannot be read.
pub fn uid_of(user: &str) -> io::Result<Option<u32>> {
    if let Ok(uid) = user.parse() {
        return Ok(Some(uid));
    }
    let found = nix::unistd::User::from_name(user)?;
    Ok(found.map(|user| user.uid.as_raw()))
}

/// What a helper hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperConfig {
    /// The interface, of the helper's network namespace.
    pub interface: String,
    /// What becomes of an XDP program that is there already.
    pub existing: Existing,
    /// The most memory of a process, in bytes. It is locked.
    pub max_memory: u64,
}

impl HelperConfig {
    /// For one interface, whose present program is left alone, with up to 1 GiB.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            existing: Existing::LeaveAlone,
            max_memory: 1 << 30,
        }
    }
}

/// Why there is no helper.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The process may not make XDP sockets.
    #[error("making an XDP socket is not allowed: {0}")]
    NotPermitted(Denied),
    /// No XDP socket can be made.
    #[error("no XDP socket: {0}")]
    NoXdp(#[source] io::Error),
    /// There is no such interface.
    #[error(transparent)]
    Interface(#[from] NetlinkError),
    /// Another process listens there, or the place does not do.
    #[error("no socket at {}: {source}", path.display())]
    Listen {
        /// The place.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Processes cannot be waited for.
    #[error("no process can connect: {0}")]
    Accept(#[source] io::Error),
}

/// Hands an interface over to processes without privilege, one at a time.
///
/// It needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, and CAP_IPC_LOCK or a memlock limit
/// that allows for the memory.
#[derive(Debug)]
pub struct Helper {
    config: HelperConfig,
    listener: OwnedFd,
    path: PathBuf,
}

impl Helper {
    /// Listens at `path`, where only this user, or the one with the id `user`, may
    /// connect. A socket that a helper left there is replaced.
    ///
    /// # Errors
    /// [`HelperError`]: also when the process lacks what it takes, or there is no such
    /// interface.
    pub fn listen(
        config: HelperConfig,
        path: &Path,
        user: Option<u32>,
    ) -> Result<Self, HelperError> {
        xdp_socket().map_err(|error| match error {
            Errno::PERM => HelperError::NotPermitted(Denied::of(&[Capability::NetRaw])),
            error => HelperError::NoXdp(error.into()),
        })?;
        Interface::open(&config.interface)?;
        let listener = listen(path, user).map_err(|source| HelperError::Listen {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            config,
            listener,
            path: path.to_owned(),
        })
    }

    /// Waits for a process, and serves it until it hangs up.
    ///
    /// # Errors
    /// [`HelperError::Accept`].
    pub fn serve_one(&self) -> Result<(), HelperError> {
        let flags = SocketFlags::CLOEXEC;
        let connection = loop {
            match rustix::net::accept_with(&self.listener, flags) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                result => break result.map_err(|error| HelperError::Accept(error.into()))?,
            }
        };
        Self::serve_on(&self.config, &connection);
        Ok(())
    }

    /// Serves the process at the other end of a socket of type `SOCK_SEQPACKET`, such as
    /// a child with the other end of a pair, until it hangs up or says what is no
    /// request.
    pub fn serve_on(config: &HelperConfig, connection: &OwnedFd) {
        let mut session = Session {
            config,
            handed: None,
        };
        while let Ok(Some((request, _))) = wire::receive(connection) {
            let answer = session.answer(request);
            let sent = wire::send(connection, &answer.reply, &wire::borrowed(&answer.fds));
            if sent.is_err() {
                return;
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen(path: &Path, user: Option<u32>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // The file gets the socket's mode, so that nobody else can connect in between.
    rustix::fs::fchmod(&socket, FileMode::RUSR | FileMode::WUSR)?;
    let address = SocketAddrUnix::new(path)?;
    if let Err(error) = rustix::net::bind(&socket, &address) {
        if error != Errno::ADDRINUSE || !is_left_behind(&address)? {
            return Err(error.into());
        }
        std::fs::remove_file(path)?;
        rustix::net::bind(&socket, &address)?;
    }
    rustix::net::listen(&socket, 8)?;
    if let Some(user) = user {
        rustix::fs::chown(path, Some(Uid::from_raw(user)), None)?;
    }
    Ok(socket)
}

/// Whether nobody listens at a socket any more.
fn is_left_behind(address: &SocketAddrUnix) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(rustix::net::connect(&probe, address) == Err(Errno::CONNREFUSED))
}

/// An answer and what goes with it.
struct Answer {
    reply: Reply,
    fds: Vec<OwnedFd>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let fds = Vec::new();
        Self { reply, fds }
    }
}

/// Why the process gets nothing, in words.
struct Refused(String);

impl<E: ToString> From<E> for Refused {
    fn from(why: E) -> Self {
        Self(why.to_string())
    }
}

/// One process.
struct Session<'a> {
    config: &'a HelperConfig,
    handed: Option<Handed>,
}

/// What it has got to begin with.
struct Handed {
    shape: MemoryRequest,
    memory: SharedMemory,
    program: Program,
    index: u32,
}

impl Handed {
    fn sockets(&self) -> SocketShape {
        SocketShape {
            chunk_size: self.shape.chunk_size,
            ring: self.shape.ring,
            multi_buffer: self.shape.multi_buffer,
            metadata: TxMetadata::Off,
        }
    }
}

impl Session<'_> {
    fn answer(&mut self, request: Request) -> Answer {
        let answer = match request {
            Request::Memory(shape) => self.hand_memory(shape),
            Request::Open { queues, mode } => self.open(queues, mode.as_deref()),
        };
        answer.unwrap_or_else(|Refused(why)| Reply::Refused(why).into())
    }

    fn hand_memory(&mut self, shape: MemoryRequest) -> Result<Answer, Refused> {
        let bytes = self.check(&shape)?;
        let interface = Interface::open(&self.config.interface)?;
        let (file, memory) = memory(bytes, shape.huge_pages)
            .map_err(|why| format!("no memory of {bytes} bytes: {why}"))?;
        let program = program(&interface, shape.multi_buffer)?;
        let mut fds = vec![file];
        for map in program.maps().as_fds() {
            fds.push(map.try_clone_to_owned()?);
        }
        self.handed = Some(Handed {
            shape,
            memory,
            program,
            index: interface.index(),
        });
        let interface = self.config.interface.clone();
        let reply = Reply::Memory { interface };
        Ok(Answer { reply, fds })
    }

    /// The memory's length in bytes, if the shape is allowed.
    fn check(&self, shape: &MemoryRequest) -> Result<usize, Refused> {
        if shape.version != VERSION {
            let version = shape.version;
            return Err(format!("the protocol's version is {VERSION}, not {version}").into());
        }
        let (bytes, most) = (shape.bytes(), self.config.max_memory);
        if bytes == 0 || bytes > most {
            return Err(format!("{bytes} bytes of memory are more than {most}, or none").into());
        }
        Ok(usize::try_from(bytes)?)
    }

    fn open(&self, queues: u16, mode: Option<&str>) -> Result<Answer, Refused> {
        let handed = self.handed.as_ref();
        let handed = handed.ok_or("memory has to be asked for first")?;
        if !(1..=MAX_QUEUES).contains(&queues) {
            return Err(format!("1 to {MAX_QUEUES} queues, not {queues}").into());
        }
        let mode = mode.map(str::parse::<Mode>).transpose()?;
        let opening = Opening {
            interface: &self.config.interface,
            index: handed.index,
            program: &handed.program,
            existing: self.config.existing,
            modes: mode.map_or(ModeChoice::Best, ModeChoice::Only),
            binder: Maker::new(&handed.memory, handed.sockets(), handed.index),
        };
        match opening.open(queues) {
            Ok(found) => Ok(opened(found)),
            Err(NicError::Gone) => Ok(Reply::Gone.into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn opened(found: Found<OwnedFd>) -> Answer {
    let refused = |refusal: Refusal| RefusedMode {
        mode: refusal.mode.name().to_owned(),
        step: refusal.step.to_owned(),
        reason: refusal.reason.to_string(),
    };
    let link = found.link.into_fd();
    let fds = link.into_iter().chain(found.sockets).collect();
    let reply = Reply::Open {
        mode: found.mode.name().to_owned(),
        refusals: found.refusals.into_iter().map(refused).collect(),
    };
    Answer { reply, fds }
}

/// A memory file of a fixed length, and its mapping here.
fn memory(bytes: usize, huge_pages: bool) -> io::Result<(OwnedFd, SharedMemory)> {
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    flags.set(MemfdFlags::HUGETLB, huge_pages);
    let file = rustix::fs::memfd_create("softnet-umem", flags)?;
    rustix::fs::ftruncate(&file, bytes as u64)?;
    // Both sides rely on the length.
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    let memory = SharedMemory::map(file.as_fd(), bytes)?;
    Ok((file, memory))
}

fn program(interface: &Interface, multi_buffer: bool) -> Result<Program, Refused> {
    let options = ProgramOptions {
        queues: interface.link()?.rx_queues.unwrap_or(1),
        multi_buffer: MultiBuffer::of(multi_buffer),
        ..ProgramOptions::default()
    };
    Ok(Program::load(&options)?)
}
