//! The programs that hang on an interface already.

use super::error::{AttachError, Capability, Denied};
use super::link::AttachMode;
use super::syscall::{self, XdpLinkInfo};
use crate::netlink::{Interface, XdpMode};
use nix::errno::Errno;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

/// A program that is attached to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedProgram {
    /// The kernel's number for the program.
    pub id: u32,
    /// Its name; `None` if the process may not ask (it needs CAP_SYS_ADMIN).
    pub name: Option<String>,
    /// Where it runs.
    pub mode: XdpMode,
    /// The number of the link that holds it; `None` if it was attached by netlink,
    /// or the process may not ask.
    pub link: Option<u32>,
}

impl fmt::Display for AttachedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if name.is_empty() => f.write_str("a program without a name")?,
            Some(name) => write!(f, "{name:?}")?,
            None => f.write_str("a program whose name only CAP_SYS_ADMIN shows")?,
        }
        write!(f, " (id {}, {} mode", self.id, AttachMode::from(self.mode))?;
        match self.link {
            Some(link) => write!(f, ", held by link {link})"),
            None => f.write_str(")"),
        }
    }
}

/// The XDP programs on the interface with this index; usually none or one.
///
/// # Errors
/// There is no such interface.
pub fn attached_programs(ifindex: u32) -> Result<Vec<AttachedProgram>, AttachError> {
    let links = xdp_links();
    let found = interface(ifindex)?.link()?.xdp;
    let describe = |id, mode| AttachedProgram {
        id,
        name: name_of(id),
        mode,
        link: links
            .iter()
            .find(|link| link.program == id && link.ifindex == ifindex)
            .map(|link| link.id),
    };
    Ok(found
        .iter()
        .map(|one| describe(one.program, one.mode))
        .collect())
}

/// What was detached, in case that it has to go back.
pub(super) struct Detached {
    interface: Interface,
    /// Those that hung by netlink.
    programs: Vec<(XdpMode, OwnedFd)>,
}

impl Detached {
    /// Puts back what can be put back. The error that made it necessary is worth
    /// more than one from here.
    pub(super) fn restore(&self) {
        for (mode, program) in &self.programs {
            let _ = self.interface.attach_xdp(*mode, program.as_fd());
        }
    }
}

/// Detaches these programs.
pub(super) fn detach(ifindex: u32, others: &[AttachedProgram]) -> Result<Detached, AttachError> {
    let interface = interface(ifindex)?;
    let mut programs = Vec::new();
    for other in others {
        if let Some(link) = other.link {
            cut(link)?;
        } else {
            let program = syscall::program_by_id(other.id).map_err(by_number)?;
            interface.detach_xdp(other.mode, program.as_fd())?;
            programs.push((other.mode, program));
        }
    }
    Ok(Detached {
        interface,
        programs,
    })
}

fn cut(link: u32) -> Result<(), AttachError> {
    let link = syscall::link_by_id(link).map_err(by_number)?;
    syscall::link_detach(link.as_fd()).map_err(by_number)
}

fn by_number(errno: Errno) -> AttachError {
    match errno {
        Errno::EPERM => AttachError::NotPermitted(Denied::of(&[Capability::SysAdmin])),
        errno => AttachError::System(errno),
    }
}

fn interface(ifindex: u32) -> Result<Interface, AttachError> {
    let name = interface_name(ifindex).ok_or(AttachError::NoInterface(ifindex))?;
    Ok(Interface::open(&name)?)
}

/// The name of the interface in this network namespace.
pub(super) fn interface_name(ifindex: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(ifindex).ok()?;
    // Of a missing interface, nix tells an empty name.
    let name = name.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

fn name_of(program: u32) -> Option<String> {
    let program = syscall::program_by_id(program).ok()?;
    Some(syscall::program_info(program.as_fd()).ok()?.name)
}

/// All XDP links of the system that the process may see.
fn xdp_links() -> Vec<XdpLinkInfo> {
    let ids = std::iter::successors(next_link(0), |&id| next_link(id));
    let info = |id| {
        let link = syscall::link_by_id(id).ok()?;
        syscall::xdp_link_info(link.as_fd()).ok()?
    };
    ids.filter_map(info).collect()
}

fn next_link(id: u32) -> Option<u32> {
    syscall::next_link_id(id).ok()?
}
