//! The link that hangs the program on an interface.

use super::attached::{self, attached_programs};
use super::error::AttachError;
use super::program::Program;
use super::syscall;
use crate::netlink::XdpMode;
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

impl From<XdpMode> for AttachMode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Driver => Self::Driver,
            XdpMode::Skb => Self::Skb,
            XdpMode::Hardware => Self::Hardware,
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
    /// It is detached first. Between the two, frames pass to the kernel. If ours
    /// cannot be attached then, one that netlink had attached is put back; a link
    /// of another process stays cut. To look at those takes CAP_SYS_ADMIN.
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
        match create(program, ifindex, options.mode) {
            Err(Errno::EBUSY | Errno::EEXIST) => Self::attach_in_place(program, ifindex, options),
            result => result.map_err(|errno| AttachError::new(ifindex, options.mode, errno)),
        }
    }

    /// Attaches where something is in the way: another program, also in another
    /// mode, since the kernel runs no two of driver and SKB mode on one interface.
    fn attach_in_place(
        program: BorrowedFd<'_>,
        ifindex: u32,
        options: AttachOptions,
    ) -> Result<Self, AttachError> {
        let others = attached_programs(ifindex)?;
        if options.existing == Existing::LeaveAlone && !others.is_empty() {
            return Err(AttachError::AlreadyAttached(others));
        }
        let detached = attached::detach(ifindex, &others)?;
        create(program, ifindex, options.mode).map_err(|errno| {
            detached.restore();
            AttachError::new(ifindex, options.mode, errno)
        })
    }

    /// Takes the program down now, also when somebody else has a descriptor of the
    /// link: a child that has not called exec yet, for example.
    ///
    /// # Errors
    /// The process may not, or the kernel is older than 5.9.
    pub fn detach(self) -> Result<(), AttachError> {
        syscall::link_detach(self.as_fd()).map_err(AttachError::System)
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

    /// The descriptor, to be handed to another process: the program then stays
    /// until that one has closed it too.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The index of the interface; `None` after the interface was deleted, or the
    /// program was detached by somebody else.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn ifindex(&self) -> Result<Option<u32>, AttachError> {
        let info = syscall::xdp_link_info(self.as_fd()).map_err(AttachError::System)?;
        let ifindex = info.map(|info| info.ifindex);
        Ok(ifindex.filter(|&ifindex| ifindex != 0))
    }

    /// Puts `new` in the place of `old`, without a frame between them.
    ///
    /// # Errors
    /// `old` is not what the link holds, or the interface is gone.
    pub fn update(&self, old: &Program, new: &Program) -> Result<(), AttachError> {
        syscall::link_update(self.as_fd(), new.as_fd(), old.as_fd()).map_err(AttachError::System)
    }
}

fn create(program: BorrowedFd<'_>, ifindex: u32, mode: AttachMode) -> Result<Link, Errno> {
    let fd = syscall::link_create(program, ifindex, mode.flags())?;
    Ok(Link { fd })
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
