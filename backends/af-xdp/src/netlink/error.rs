//! Why the kernel did not answer a question about an interface, or refused to
//! change it.

use nix::errno::Errno;
use std::fmt;
use std::io;

/// A request about an interface failed.
///
/// What a kernel or driver merely does not know is no error: the readers
/// answer `None` there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// There is no such interface in this network namespace, or no longer.
    #[error("there is no interface {0}: `ip link` lists those of this network namespace")]
    Missing(String),
    /// The caller may not change the interface.
    #[error(
        "{action} of {interface} needs CAP_NET_ADMIN in its network namespace: run as root, or `setcap cap_net_admin+ep` the program"
    )]
    Permission {
        /// The interface.
        interface: String,
        /// What was asked.
        action: &'static str,
    },
    /// The kernel or the driver has no such setting.
    #[error("{action} of {interface}: its driver or this kernel has no such setting{said}")]
    Unsupported {
        /// The interface.
        interface: String,
        /// What was asked.
        action: &'static str,
        /// The kernel's own words.
        said: Said,
    },
    /// Something uses what is to be changed.
    #[error(
        "{action} of {interface}: something uses it{said}; close the XDP sockets on the queues concerned (`ss --xdp` lists them) and try again"
    )]
    Busy {
        /// The interface.
        interface: String,
        /// What was asked.
        action: &'static str,
        /// The kernel's own words.
        said: Said,
    },
    /// Anything else that the kernel answered.
    #[error("{action} of {interface} was refused: {source}{said}")]
    Refused {
        /// The interface.
        interface: String,
        /// What was asked.
        action: &'static str,
        /// The kernel's error number.
        source: io::Error,
        /// The kernel's own words.
        said: Said,
    },
    /// No netlink socket could be had.
    #[error("no netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel's answer is not what its interface describes.
    #[error("{action} of {interface}: the kernel's answer could not be understood")]
    Malformed {
        /// The interface.
        interface: String,
        /// What was asked.
        action: &'static str,
    },
}

impl NetlinkError {
    /// The kernel's error number, where it gave one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Missing(_) => Some(libc::ENODEV),
            Self::Permission { .. } => Some(libc::EPERM),
            Self::Unsupported { .. } => Some(libc::EOPNOTSUPP),
            Self::Busy { .. } => Some(libc::EBUSY),
            Self::Refused { source, .. } | Self::Socket(source) => source.raw_os_error(),
            Self::Malformed { .. } => None,
        }
    }
}

/// What the kernel said beside its error number (the message of an extended
/// acknowledgement), if anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(pub Option<String>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(words) => write!(f, " ({words})"),
            None => Ok(()),
        }
    }
}

/// Why one exchange with the kernel failed, before it is known what for.
#[derive(Debug)]
pub(super) enum Refusal {
    Kernel { errno: Errno, said: Said },
    Socket(io::Error),
    Malformed,
}

impl Refusal {
    /// Whether the kernel or the driver does not know what was asked for.
    pub(super) const fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::Kernel {
                errno: Errno::EOPNOTSUPP,
                ..
            }
        )
    }

    pub(super) fn about(self, interface: &str, action: &'static str) -> NetlinkError {
        let interface = interface.to_owned();
        match self {
            Self::Socket(source) => NetlinkError::Socket(source),
            Self::Malformed => NetlinkError::Malformed { interface, action },
            Self::Kernel { errno, said } => classify(errno, said, interface, action),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        let said = Said(None);
        Self::Kernel { errno, said }
    }
}

fn classify(errno: Errno, said: Said, interface: String, action: &'static str) -> NetlinkError {
    match errno {
        Errno::ENODEV => NetlinkError::Missing(interface),
        Errno::EPERM | Errno::EACCES => NetlinkError::Permission { interface, action },
        Errno::EOPNOTSUPP => NetlinkError::Unsupported {
            interface,
            action,
            said,
        },
        Errno::EBUSY => NetlinkError::Busy {
            interface,
            action,
            said,
        },
        errno => NetlinkError::Refused {
            interface,
            action,
            source: errno.into(),
            said,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: Errno, words: &str) -> String {
        let said = Said(Some(words.to_owned()));
        let error = Refusal::Kernel { errno, said }.about("eth7", "setting the channels");
        assert_eq!(error.raw_os_error(), Some(errno as i32));
        error.to_string()
    }

    #[test]
    fn an_error_names_the_interface_what_was_asked_and_the_kernels_words() {
        let text = refusal(Errno::EINVAL, "requested channel count exceeds maximum");
        assert!(text.contains("setting the channels of eth7"), "{text}");
        assert!(text.contains("exceeds maximum"), "{text}");
    }

    #[test]
    fn an_error_with_a_remedy_tells_it() {
        assert!(refusal(Errno::EPERM, "").contains("CAP_NET_ADMIN"));
        assert!(refusal(Errno::EBUSY, "").contains("close the XDP sockets"));
        assert!(refusal(Errno::ENODEV, "").contains("`ip link`"));
    }
}
