//! The link that hangs the program on an interface.

use super::error::AttachError;
use super::syscall;
use nix::errno::Errno;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AttachMode {
    /// The driver where it can, else on SKBs: the kernel's choice.
    #[default]
    Any,
    /// In the driver (`XDP_FLAGS_DRV_MODE`).
    Driver,
    /// On SKBs (`XDP_FLAGS_SKB_MODE`), with any driver.
    Skb,
    /// On the NIC itself (`XDP_FLAGS_HW_MODE`).
    Hardware,
}

impl AttachMode {
    const fn flags(self) -> u32 {
        match self {
            Self::Any => 0,
            Self::Skb => 1 << 1,
            Self::Driver => 1 << 2,
            Self::Hardware => 1 << 3,
        }
    }
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Driver => "driver",
            Self::Skb => "SKB",
            Self::Hardware => "hardware",
        })
    }
}

/// What becomes of a program that is attached already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// It stays, and attaching fails with its name.
    #[default]
    LeaveAlone,
    /// It is detached first. Between the two, frames pass to the kernel.
    Replace,
}

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttachOptions {
    /// Where it runs.
    pub mode: AttachMode,
    /// What becomes of a program that is attached already.
    pub existing: Existing,
}

/// A program that is attached to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedProgram {
    /// The kernel's number for the program.
    pub id: u32,
    /// Its name; `None` if the process may not ask (it needs CAP_SYS_ADMIN).
    pub name: Option<String>,
    /// Where it runs.
    pub mode: AttachMode,
    /// The number of the link that holds it; `None` if it was attached by netlink,
    /// or the process may not ask.
    pub link: Option<u32>,
}

impl fmt::Display for AttachedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if name.is_empty() => f.write_str("a program without a name")?,
            Some(name) => write!(f, "{name:?}")?,
            None => f.write_str("a program whose name CAP_SYS_ADMIN shows")?,
        }
        write!(f, " (id {}, {} mode", self.id, self.mode)?;
        match self.link {
            Some(link) => write!(f, ", held by link {link})"),
            None => f.write_str(")"),
        }
    }
}

/// A program that hangs on an interface as long as this value lives. The kernel
/// takes it down when the last descriptor of the link is closed, so also when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches an XDP program to the interface with this index.
    ///
    /// # Errors
    /// Another program is there, the driver cannot run it, or the process lacks
    /// CAP_NET_ADMIN.
    pub fn attach(
        program: BorrowedFd<'_>,
        ifindex: u32,
        options: AttachOptions,
    ) -> Result<Self, AttachError> {
        let mode = options.mode;
        match syscall::link_create(program, ifindex, mode.flags()) {
            Ok(fd) => Ok(Self { fd }),
            Err(errno) => Err(AttachError::new(ifindex, mode, errno)),
        }
    }

    /// A link that another process made and handed over.
    ///
    /// # Errors
    /// The descriptor is no link of an XDP program.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, AttachError> {
        match syscall::xdp_link_info(fd.as_fd()) {
            Ok(Some(_)) => Ok(Self { fd }),
            Ok(None) => Err(AttachError::System(Errno::EINVAL)),
            Err(errno) => Err(AttachError::System(errno)),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
