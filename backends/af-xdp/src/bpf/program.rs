//! The loaded program with its maps.

use super::asm::Instruction;
use super::error::{AttachError, Capability, Denied, LoadError, MapError};
use super::filter::{self, FilterMaps};
use super::link::{AttachOptions, Link};
use super::maps::{CounterMap, Counters, XskMap};
use super::steering::Steering;
use super::syscall;
use super::tables::{TABLE_FDS, Tables};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Whether frames may come in several buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiBuffer {
    /// Frames fit into one buffer. An interface with a larger MTU refuses such a
    /// program.
    #[default]
    No,
    /// Frames may have fragments (`BPF_F_XDP_HAS_FRAGS`). The sockets need
    /// XDP_USE_SG then.
    Yes,
}

impl MultiBuffer {
    /// For sockets that use several buffers a packet or not.
    pub(crate) const fn of(several: bool) -> Self {
        match several {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

/// How a program is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramOptions {
    /// The name by which the kernel shows the program: letters, digits, `_` and
    /// `.`, of which 15 count.
    pub name: String,
    /// Room for the sockets of queues 0 to `queues` - 1.
    pub queues: u32,
    /// Whether frames may come in several buffers.
    pub multi_buffer: MultiBuffer,
}

impl Default for ProgramOptions {
    fn default() -> Self {
        Self {
            name: "softnet_xdp".to_owned(),
            queues: 64,
            multi_buffer: MultiBuffer::No,
        }
    }
}

/// The XDP program in the kernel, and its maps.
///
/// It lives as long as this value, or a link that attaches it. It takes nothing
/// until it is told a [`Steering`].
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    maps: ProgramMaps,
}

impl Program {
    /// How many descriptors [`Program::into_fds`] gives.
    pub const FDS: usize = 1 + ProgramMaps::FDS;

    /// Makes the maps and loads the program.
    ///
    /// # Errors
    /// The process lacks CAP_BPF or CAP_NET_ADMIN, or the kernel refuses the
    /// program; then the error holds what the verifier said. It wants kernel 5.18.
    /// (With CAP_PERFMON too, the kernel leaves out guards against speculation.)
    pub fn load(options: &ProgramOptions) -> Result<Self, LoadError> {
        let maps = ProgramMaps::new(options.queues)?;
        let code = filter::assemble(maps.for_filter())?;
        let fd = load_code(&code, &options.name, options.multi_buffer)?;
        Ok(Self { fd, maps })
    }

    /// A program that another process loaded and handed over, for example over a
    /// unix socket. What the process may do without privilege: change the
    /// steering, put in sockets, read the counters, and also attach the program by
    /// a link, since the kernel asks for capabilities only when it is loaded.
    /// (One that is not to attach it gets [the maps](ProgramMaps) alone.)
    ///
    /// # Errors
    /// The descriptors are not those of [`Program::into_fds`], in its order.
    pub fn from_fds(fds: [OwnedFd; Self::FDS]) -> Result<Self, MapError> {
        let [fd, maps @ ..] = fds;
        if !syscall::program_info(fd.as_fd()).is_ok_and(|info| info.is_xdp()) {
            return Err(MapError::Foreign { map: "the program" });
        }
        let maps = ProgramMaps::from_fds(maps)?;
        Ok(Self { fd, maps })
    }

    /// The descriptors to hand over to another process, in the order that
    /// [`Program::from_fds`] wants: the program, the XSKMAP,
    /// the counters, and the tables of the steering.
    #[must_use]
    pub fn into_fds(self) -> [OwnedFd; Self::FDS] {
        let [a, b, c, d, e, f, g, h, i] = self.maps.into_fds();
        [self.fd, a, b, c, d, e, f, g, h, i]
    }

    /// The same descriptors, borrowed.
    #[must_use]
    pub fn as_fds(&self) -> [BorrowedFd<'_>; Self::FDS] {
        let [a, b, c, d, e, f, g, h, i] = self.maps.as_fds();
        [self.as_fd(), a, b, c, d, e, f, g, h, i]
    }

    /// The maps, through which it is told what is ours and says what it did.
    #[must_use]
    pub const fn maps(&self) -> &ProgramMaps {
        &self.maps
    }

    /// See [`ProgramMaps::update`].
    ///
    /// # Errors
    /// A table is full, or the process may not write to it.
    pub fn update(&self, steering: &Steering) -> Result<(), MapError> {
        self.maps.update(steering)
    }

    /// Attaches the program to the interface with this index.
    ///
    /// # Errors
    /// Another program is there, the driver cannot run it, or the process lacks
    /// CAP_NET_ADMIN.
    pub fn attach(&self, ifindex: u32, options: AttachOptions) -> Result<Link, AttachError> {
        Link::attach(self.as_fd(), ifindex, options)
    }

    /// The sockets by queue.
    #[must_use]
    pub const fn xsk_map(&self) -> &XskMap {
        self.maps.xsk_map()
    }

    /// See [`ProgramMaps::counters`].
    ///
    /// # Errors
    /// The process may not read the map.
    pub fn counters(&self) -> Result<Counters, MapError> {
        self.maps.counters()
    }
}

/// The maps of a program: what is ours, the sockets, and the counters. They live as
/// long as this value or the program.
#[derive(Debug)]
pub struct ProgramMaps {
    xsks: XskMap,
    counters: CounterMap,
    tables: Tables,
}

impl ProgramMaps {
    /// How many descriptors [`ProgramMaps::as_fds`] gives.
    pub const FDS: usize = 2 + TABLE_FDS;

    fn new(queues: u32) -> Result<Self, MapError> {
        Ok(Self {
            xsks: XskMap::new(queues)?,
            counters: CounterMap::new()?,
            tables: Tables::new()?,
        })
    }

    fn for_filter(&self) -> FilterMaps<'_> {
        let tables = &self.tables;
        FilterMaps {
            selector: tables.selector.as_fd(),
            macs: tables.macs.as_fd(),
            ipv4: tables.ipv4.as_fd(),
            ipv6: tables.ipv6.as_fd(),
            ports: tables.ports.as_fd(),
            counters: self.counters.as_fd(),
            xsks: self.xsks.as_fd(),
        }
    }

    /// Maps that another process made and handed over. Who has them may change the
    /// steering, put in sockets and read the counters, without any privilege.
    ///
    /// # Errors
    /// The descriptors are not those of [`ProgramMaps::as_fds`], in its order.
    pub fn from_fds(fds: [OwnedFd; Self::FDS]) -> Result<Self, MapError> {
        let [xsks, counters, tables @ ..] = fds;
        Ok(Self {
            xsks: XskMap::from_fd(xsks)?,
            counters: CounterMap::from_fd(counters)?,
            tables: Tables::from_fds(tables)?,
        })
    }

    fn into_fds(self) -> [OwnedFd; Self::FDS] {
        let [a, b, c, d, e, f, g] = self.tables.into_fds();
        let (xsks, counters) = (self.xsks.into_fd(), self.counters.into_fd());
        [xsks, counters, a, b, c, d, e, f, g]
    }

    /// The descriptors: the XSKMAP, the counters, and the tables of the steering.
    #[must_use]
    pub fn as_fds(&self) -> [BorrowedFd<'_>; Self::FDS] {
        let [a, b, c, d, e, f, g] = self.tables.as_fds();
        let (xsks, counters) = (self.xsks.as_fd(), self.counters.as_fd());
        [xsks, counters, a, b, c, d, e, f, g]
    }

    /// Puts `steering` in force, while the program runs. Each frame meets the old
    /// one or the new one. After an error the old one is still in force.
    ///
    /// It waits for programs that are running, some milliseconds at most.
    ///
    /// # Errors
    /// A table is full, or the process may not write to it.
    pub fn update(&self, steering: &Steering) -> Result<(), MapError> {
        self.tables.update(steering)
    }

    /// The sockets by queue.
    #[must_use]
    pub const fn xsk_map(&self) -> &XskMap {
        &self.xsks
    }

    /// Frames by verdict since the program was loaded.
    ///
    /// # Errors
    /// The process may not read the map.
    pub fn counters(&self) -> Result<Counters, MapError> {
        self.counters.read()
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `BPF_F_XDP_HAS_FRAGS`
const HAS_FRAGS: u32 = 1 << 5;

/// Loads instructions. A refusal is asked for again with a log.
pub(super) fn load_code(
    code: &[Instruction],
    name: &str,
    multi_buffer: MultiBuffer,
) -> Result<OwnedFd, LoadError> {
    let flags = match multi_buffer {
        MultiBuffer::No => 0,
        MultiBuffer::Yes => HAS_FRAGS,
    };
    match syscall::load_xdp(code, name, flags, None) {
        Ok(fd) => Ok(fd),
        Err(Errno::EPERM) => {
            let wanted = [Capability::Bpf, Capability::NetAdmin];
            Err(LoadError::NotPermitted(Denied::of(&wanted)))
        }
        Err(_) => load_with_log(code, name, flags),
    }
}

fn load_with_log(code: &[Instruction], name: &str, flags: u32) -> Result<OwnedFd, LoadError> {
    /// The kernel keeps the end of a log that is longer.
    const LOG_LEN: usize = 64 << 10;
    let mut log = vec![0; LOG_LEN];
    let result = syscall::load_xdp(code, name, flags, Some(&mut log));
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(LOG_LEN);
    let log = String::from_utf8_lossy(&log[..end]).trim().to_owned();
    result.map_err(|errno| match errno {
        errno if log.is_empty() => LoadError::System(errno),
        errno => LoadError::Rejected { errno, log },
    })
}
