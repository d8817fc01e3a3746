//! What bpf(2) can refuse, and what to do about it.

use super::asm::AsmError;
use super::attached::{AttachedProgram, interface_name};
use super::link::AttachMode;
use crate::netlink::NetlinkError;
use nix::errno::Errno;
use std::fmt;

/// A capability of capabilities(7) that loading or attaching may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// `CAP_NET_ADMIN`: to load XDP programs, to make an XSKMAP, and to change settings.
    NetAdmin = 12,
    /// `CAP_NET_RAW`: to make XDP sockets.
    NetRaw = 13,
    /// `CAP_SYS_ADMIN`: to name programs of others.
    SysAdmin = 21,
    /// `CAP_BPF`: to make maps and load programs.
    Bpf = 39,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// Why the kernel answered EPERM, as far as the process can see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The capabilities that were wanted and that the thread does not have.
    pub missing: Vec<Capability>,
    /// The kernel's lockdown mode, if it is on and can be seen.
    pub lockdown: Option<String>,
}

impl Denied {
    /// Looks at what of `wanted` the calling thread lacks.
    pub(crate) fn of(wanted: &[Capability]) -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        Self {
            missing: missing_capabilities(&status, wanted),
            lockdown: lockdown_mode(&lockdown),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mode) = &self.lockdown {
            write!(f, "kernel lockdown is at {mode:?}; ")?;
        }
        if self.missing.is_empty() {
            return f.write_str(
                "the capabilities are there, but perhaps only in a user namespace (BPF asks for those of the first one), or a security module or a memlock limit forbids it (`ulimit -l unlimited`)",
            );
        }
        let names: Vec<String> = self.missing.iter().map(Capability::to_string).collect();
        write!(
            f,
            "this process lacks {}: run as root, or `setcap cap_net_raw,cap_net_admin,cap_bpf+ep PROGRAM`",
            names.join(" and ")
        )
    }
}

/// `CapEff` is a hexadecimal number with a bit a capability.
fn missing_capabilities(status: &str, wanted: &[Capability]) -> Vec<Capability> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    // CAP_SYS_ADMIN stands for CAP_BPF, from which it was split off.
    let has = |bits: u64, capability: Capability| bits & (1 << capability as u8) != 0;
    let lacks = |capability: Capability| {
        bits.is_some_and(|bits| {
            !(has(bits, capability)
                || capability == Capability::Bpf && has(bits, Capability::SysAdmin))
        })
    };
    wanted.iter().copied().filter(|&one| lacks(one)).collect()
}

/// The file lists the modes, and the one in force in brackets.
fn lockdown_mode(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    (mode != "none").then(|| mode.to_owned())
}

/// A map could not be made, read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The process may not.
    #[error("{action} of {map} is not allowed: {denied}")]
    NotPermitted {
        /// The map.
        map: &'static str,
        /// What was asked.
        action: &'static str,
        /// What is missing.
        denied: Denied,
    },
    /// The map has no room for a further entry, or not for this index.
    #[error("{map} has {entries} entries and no room: load the program with a larger one")]
    Full {
        /// The map.
        map: &'static str,
        /// Its most entries.
        entries: u32,
    },
    /// The descriptor is no map, or one of another shape.
    #[error("the descriptor given for {map} is another kind of map, or none")]
    Foreign {
        /// The map that was expected.
        map: &'static str,
    },
    /// The descriptor put into an XSKMAP is no XDP socket.
    #[error("the descriptor given for queue {queue} is no XDP socket")]
    NoXdpSocket {
        /// The queue.
        queue: u32,
    },
    /// Any other answer.
    #[error("{action} of {map} failed: {errno}")]
    System {
        /// The map.
        map: &'static str,
        /// What was asked.
        action: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

impl MapError {
    pub(super) fn new(map: &'static str, entries: u32, action: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => Self::NotPermitted {
                map,
                action,
                denied: Denied::of(&[Capability::Bpf, Capability::NetAdmin]),
            },
            Errno::E2BIG | Errno::ENOSPC => Self::Full { map, entries },
            Errno::EMEDIUMTYPE => Self::Foreign { map },
            errno => Self::System { map, action, errno },
        }
    }
}

/// The program could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The process may not.
    #[error("loading the XDP program is not allowed: {0}")]
    NotPermitted(Denied),
    /// The kernel's verifier turned the program down.
    #[error("the kernel's verifier refused the XDP program ({errno}):\n{log}")]
    Rejected {
        /// The kernel's answer.
        errno: Errno,
        /// The end of what the verifier wrote.
        log: String,
    },
    /// A map of the program could not be made or filled.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The program could not be put together.
    #[error(transparent)]
    Assemble(#[from] AsmError),
    /// Any other answer.
    #[error("loading the XDP program failed: {0}")]
    System(Errno),
}

/// The program could not be attached, or what is attached could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The process may not.
    #[error("attaching an XDP program is not allowed: {0}")]
    NotPermitted(Denied),
    /// Another program is there already, and was left alone.
    #[error("the interface has an XDP program already: {}; it was left alone (Existing::Replace takes its place)", list(.0))]
    AlreadyAttached(Vec<AttachedProgram>),
    /// There is no such interface in this network namespace.
    #[error("there is no interface with index {0} in this network namespace")]
    NoInterface(u32),
    /// The driver cannot run XDP programs in this mode.
    #[error(
        "the driver has no XDP in {0} mode, or not beside its present offloads: use SKB mode, or turn LRO off (`ethtool -K IFACE lro off`)"
    )]
    Unsupported(AttachMode),
    /// Frames of the interface's MTU do not fit into one buffer.
    #[error(
        "the MTU is too large for XDP in one buffer: lower it, or load the program with MultiBuffer::Yes"
    )]
    MtuTooLarge,
    /// The driver wants a transmit queue a CPU, or a receive queue for each of the peer's transmit
    /// queues.
    #[error("the driver has too few queues for XDP: change them by `ethtool -L IFACE`")]
    TooFewQueues,
    /// The driver refuses the interface's present settings.
    #[error(
        "the driver refuses XDP with the interface's present settings, as a rule because of its MTU, LRO or ring parameters; `dmesg` may say which"
    )]
    Refused,
    /// What is attached could not be read or detached.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Any other answer.
    #[error("attaching the XDP program failed: {0}")]
    System(Errno),
}

impl AttachError {
    /// What a refused BPF_LINK_CREATE means. EBUSY and EEXIST are for the caller,
    /// who can say what is in the way.
    pub(super) fn new(ifindex: u32, mode: AttachMode, errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => {
                Self::NotPermitted(Denied::of(&[Capability::NetAdmin, Capability::Bpf]))
            }
            // LINK_CREATE says EINVAL for a missing interface, too.
            Errno::ENODEV => Self::NoInterface(ifindex),
            Errno::EINVAL if interface_name(ifindex).is_none() => Self::NoInterface(ifindex),
            Errno::EOPNOTSUPP => Self::Unsupported(mode),
            Errno::ERANGE => Self::MtuTooLarge,
            Errno::ENOSPC => Self::TooFewQueues,
            Errno::EINVAL => Self::Refused,
            errno => Self::System(errno),
        }
    }
}

fn list(programs: &[AttachedProgram]) -> String {
    let texts: Vec<String> = programs.iter().map(AttachedProgram::to_string).collect();
    texts.join(", ")
}

/// A program could not be run on frames of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The process may not.
    #[error("a test run is not allowed: {0}")]
    NotPermitted(Denied),
    /// The kernel takes frames of 14 bytes up to a page, less some room.
    #[error("the kernel runs no program on a frame of {0} bytes")]
    FrameLength(usize),
    /// There is no such interface, or it lacks the queue.
    #[error("there is no interface with index {0} in this network namespace")]
    NoInterface(u32),
    /// A signal ended the run before all frames were sent.
    #[error("a signal ended the run")]
    Interrupted,
    /// Any other answer.
    #[error("the test run failed: {0}")]
    System(Errno),
}

impl RunError {
    pub(super) fn new(frame_len: usize, errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => {
                Self::NotPermitted(Denied::of(&[Capability::NetAdmin, Capability::Bpf]))
            }
            Errno::EINVAL => Self::FrameLength(frame_len),
            Errno::EINTR => Self::Interrupted,
            errno => Self::System(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [Capability; 2] = [Capability::Bpf, Capability::NetAdmin];

    #[test]
    fn a_missing_capability_is_named() {
        let none = missing_capabilities("CapEff:\t0000000000000000\n", &WANTED);
        assert_eq!(none, WANTED);
        let net_admin = missing_capabilities("CapEff:\t0000000000001000\n", &WANTED);
        assert_eq!(net_admin, [Capability::Bpf]);
        let denied = Denied {
            missing: net_admin,
            lockdown: None,
        };
        assert!(
            denied
                .to_string()
                .starts_with("this process lacks CAP_BPF: ")
        );
    }

    #[test]
    fn cap_sys_admin_stands_for_cap_bpf() {
        let missing = missing_capabilities("CapEff:\t0000000000200000\n", &WANTED);
        assert_eq!(missing, [Capability::NetAdmin]);
    }

    #[test]
    fn the_lockdown_mode_is_the_one_in_brackets() {
        let text = "none [integrity] confidentiality\n";
        assert_eq!(lockdown_mode(text).as_deref(), Some("integrity"));
        assert_eq!(lockdown_mode("[none] integrity confidentiality"), None);
        assert_eq!(lockdown_mode(""), None);
    }
}
