//! What an answer of the kernel means for an XDP socket, and what to do about it.

use super::host::setcap;
use super::nic::{Nic, detach};
use crate::bpf::{AttachError, LoadError, MapError};
use crate::error::{AfXdpError, Refusal, UmemError};
use crate::mode::Mode;
use nix::errno::Errno;
use softnet_nic_hal::NicError;
use std::error::Error;
use std::io;

/// What was refused, and the innermost reason that is known.
pub(super) fn step_and_reason(error: &NicError) -> (&'static str, &(dyn Error + 'static)) {
    let NicError::Backend(inner) = error else {
        return ("opening the interface", error);
    };
    if let Some(error) = inner.downcast_ref::<UmemError>() {
        return ("making the UMEM", error);
    }
    match inner.downcast_ref::<AfXdpError>() {
        Some(error) => in_backend(error),
        None => ("opening the interface", inner.as_ref()),
    }
}

fn in_backend(error: &AfXdpError) -> (&'static str, &(dyn Error + 'static)) {
    match error {
        AfXdpError::NoMode { refusals, .. } => match refusals.first() {
            Some(Refusal { step, reason, .. }) => (step, reason.as_ref()),
            None => ("opening the interface", error),
        },
        AfXdpError::Other { step, source } => (step, source.as_ref()),
        AfXdpError::Queue { source, .. } => ("binding a socket", source),
        AfXdpError::QueueBusy { .. } => ("binding a socket", error),
    }
}

/// The kernel's error number behind an error.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.raw_os_error().map(Errno::from_raw);
    }
    if let Some(AfXdpError::QueueBusy { .. }) = error.downcast_ref() {
        return Some(Errno::EBUSY);
    }
    if let Some(UmemError::NotPermitted(_)) = error.downcast_ref() {
        return Some(Errno::EPERM);
    }
    if let Some(error) = error.downcast_ref::<AttachError>() {
        return of_attaching(error);
    }
    if let Some(error) = error.downcast_ref::<LoadError>() {
        return of_loading(error);
    }
    errno(error.source()?)
}

fn of_attaching(error: &AttachError) -> Option<Errno> {
    match error {
        AttachError::NotPermitted(_) => Some(Errno::EPERM),
        AttachError::AlreadyAttached(_) => Some(Errno::EBUSY),
        AttachError::NoInterface(_) => Some(Errno::ENODEV),
        AttachError::Unsupported(_) => Some(Errno::EOPNOTSUPP),
        AttachError::MtuTooLarge => Some(Errno::ERANGE),
        AttachError::TooFewQueues => Some(Errno::ENOSPC),
        AttachError::Refused => Some(Errno::EINVAL),
        AttachError::System(errno) => Some(*errno),
        AttachError::Netlink(error) => error.raw_os_error().map(Errno::from_raw),
    }
}

fn of_loading(error: &LoadError) -> Option<Errno> {
    match error {
        LoadError::NotPermitted(_) | LoadError::Map(MapError::NotPermitted { .. }) => {
            Some(Errno::EPERM)
        }
        LoadError::Rejected { errno, .. } | LoadError::System(errno) => Some(*errno),
        LoadError::Map(MapError::System { errno, .. }) => Some(*errno),
        _ => None,
    }
}

/// The reason in words, with the name of the error number.
pub(super) fn reason(error: &(dyn Error + 'static), errno: Option<Errno>, mode: Mode) -> String {
    let words = match (error.downcast_ref::<io::Error>(), errno) {
        (Some(_), Some(errno)) => of_socket(errno, mode).map(str::to_owned),
        _ => None,
    };
    let words = words.unwrap_or_else(|| error.to_string());
    match errno {
        Some(errno) => format!("{words} ({errno:?})"),
        None => words,
    }
}

/// What bind(2), or one of the socket's options, means by an error number.
fn of_socket(errno: Errno, mode: Mode) -> Option<&'static str> {
    Some(match (errno, mode) {
        (Errno::EOPNOTSUPP, Mode::ZeroCopy) => "the driver has no zero-copy",
        (Errno::EOPNOTSUPP, _) => "the driver or this kernel does not know what was asked of it",
        (Errno::EINVAL, Mode::ZeroCopy) => {
            "the driver refuses zero-copy with the interface's MTU or rings, or there is no such queue"
        }
        (Errno::EINVAL, _) => "there is no such queue, or the UMEM's shape does not go",
        (Errno::EBUSY, _) => "another XDP socket has the queue",
        (Errno::ENETDOWN, _) => "the interface is down",
        (Errno::EPERM | Errno::EACCES, _) => "it takes CAP_NET_RAW to make an XDP socket",
        (Errno::ENOBUFS, _) => "more memory than may be locked",
        (Errno::ENOMEM, _) => "the kernel or the driver has not enough memory",
        (Errno::ENODEV | Errno::ENXIO, _) => "the interface is gone",
        (Errno::EAFNOSUPPORT, _) => "this kernel has no XDP sockets (CONFIG_XDP_SOCKETS)",
        _ => return None,
    })
}

/// What the kernel's answer to memory with room for metadata means, with its name.
pub(super) fn of_registering(error: &io::Error) -> String {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return error.to_string();
    };
    let words = match errno {
        Errno::EINVAL => "this kernel does not know it, Linux has it from 6.11 on",
        errno => of_socket(errno, Mode::Copy).unwrap_or("the kernel refuses"),
    };
    format!("{words} ({errno:?})")
}

/// What to run against it, if anything would help.
pub(super) fn remedy(
    error: &(dyn Error + 'static),
    errno: Option<Errno>,
    nic: &Nic,
) -> Option<String> {
    let name = &nic.link.name;
    if let Some(AttachError::AlreadyAttached(programs)) = error.downcast_ref() {
        let link = programs.iter().find_map(|program| program.link);
        return Some(detach(nic, link));
    }
    Some(match errno? {
        Errno::EPERM | Errno::EACCES => setcap(),
        Errno::ENETDOWN => format!("ip link set {name} up"),
        Errno::EBUSY => "ss --xdp -p".to_owned(),
        Errno::ENOBUFS => "ulimit -l unlimited".to_owned(),
        Errno::ERANGE => format!("ip link set {name} mtu 1500"),
        Errno::ENOSPC => format!("ethtool -L {name} combined {}", nic.cpus),
        Errno::EAFNOSUPPORT => "grep XDP_SOCKETS /boot/config-$(uname -r)".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno as i32)
    }

    #[test]
    fn the_number_of_an_error_is_found_however_deep_it_lies() {
        let source = os(Errno::ENOBUFS);
        let umem = UmemError::Refused { bytes: 1, source };
        assert_eq!(errno(&umem), Some(Errno::ENOBUFS));
        assert_eq!(errno(&AttachError::MtuTooLarge), Some(Errno::ERANGE));
        assert_eq!(errno(&io::Error::other("no number")), None);
    }

    #[test]
    fn the_first_refusal_is_the_reason_of_a_mode_that_does_not_work() {
        let refusal = Refusal {
            mode: Mode::ZeroCopy,
            step: "binding a socket",
            reason: os(Errno::EOPNOTSUPP).into(),
        };
        let error = AfXdpError::NoMode {
            interface: "one".into(),
            refusals: vec![refusal],
        };
        let error = NicError::from(error);
        let (step, cause) = step_and_reason(&error);
        assert_eq!(step, "binding a socket");
        let words = reason(cause, errno(cause), Mode::ZeroCopy);
        assert_eq!(words, "the driver has no zero-copy (EOPNOTSUPP)");
    }

    #[test]
    fn an_error_number_means_what_the_mode_makes_of_it() {
        let error = os(Errno::EINVAL);
        let copy = reason(&error, errno(&error), Mode::Copy);
        let zero_copy = reason(&error, errno(&error), Mode::ZeroCopy);
        assert_ne!(copy, zero_copy);
        assert!(copy.ends_with("(EINVAL)"));
    }

    #[test]
    fn a_kernel_that_knows_no_metadata_is_named_with_the_one_that_does() {
        let words = of_registering(&os(Errno::EINVAL));
        let expected = "this kernel does not know it, Linux has it from 6.11 on (EINVAL)";
        assert_eq!(words, expected);
        let words = of_registering(&os(Errno::ENOBUFS));
        assert_eq!(words, "more memory than may be locked (ENOBUFS)");
    }
}
