//! Why a TAP interface could not be opened.

use crate::interface::InterfaceError;
use std::io;

/// A TAP interface could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The kernel offers no TUN/TAP device.
    #[error(
        "/dev/net/tun is missing: load the module with `modprobe tun`, or pass the device to the container"
    )]
    NoDriver,
    /// The device file may not be opened.
    #[error(
        "/dev/net/tun may not be opened by this user: run as root, or let all users open it, as most systems do (`chmod 666 /dev/net/tun`)"
    )]
    DeviceFile,
    /// The interface may not be made or attached to.
    #[error(
        "the TAP interface {name} needs CAP_NET_ADMIN, or must belong to this user: run as root, in a namespace of your own (netns::Namespace::enter), or after `ip tuntap add {name} mode tap user $USER`"
    )]
    Permission {
        /// The interface asked for.
        name: String,
    },
    /// Another process has the interface open.
    #[error(
        "the TAP interface {name} is in use by another process: stop that one, or use another name"
    )]
    Busy {
        /// The interface asked for.
        name: String,
    },
    /// There is an interface of that name, and it is no single-queue TAP.
    #[error(
        "the interface {name} is there and is not a single-queue TAP interface: use another name"
    )]
    NotTap {
        /// The interface asked for.
        name: String,
    },
    /// io_uring was asked for and is not to be had.
    #[error(
        "the system refuses io_uring ({0}): use plain calls, or lift the sysctl kernel.io_uring_disabled or the container's seccomp filter"
    )]
    NoUring(#[source] io::Error),
    /// A setting of the interface could not be read.
    #[error(transparent)]
    Interface(InterfaceError),
    /// The system had no resources left, or answered what it should not.
    #[error("the system could not set up the TAP interface: {0}")]
    System(#[source] io::Error),
}
