//! Attaching to the kernel's TUN driver.

use super::{TapConfig, TapError};
use crate::interface::{Request, check_name, interface_ioctl};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Opens the driver, and makes or finds the interface. Returns the device and
/// the interface's name.
pub(super) fn attach(config: &TapConfig) -> Result<(OwnedFd, String), TapError> {
    check_name(&config.name)?;
    let device = open_driver()?;
    let name = set_interface(&device, config)?;
    set_persistent(&device, config.persistent)?;
    Ok((device, name))
}

/// The device does not block: every read and write of a batch ends at once.
fn open_driver() -> Result<OwnedFd, TapError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun");
    match file {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => TapError::NoDriver,
            Some(libc::EACCES | libc::EPERM) => TapError::DeviceFile,
            _ => TapError::System(error),
        }),
    }
}

fn set_interface(device: &OwnedFd, config: &TapConfig) -> Result<String, TapError> {
    let mut request = Request::new(&config.name);
    let flags = (libc::IFF_TAP | libc::IFF_NO_PI) as u16;
    request.payload[..2].copy_from_slice(&flags.to_ne_bytes());
    interface_ioctl(device.as_raw_fd(), libc::TUNSETIFF, &mut request)
        .map_err(|error| classify(&config.name, error))?;
    Ok(request.name())
}

/// Only ever makes an interface persistent: one that was made so by somebody
/// else stays so.
fn set_persistent(device: &OwnedFd, persistent: bool) -> Result<(), TapError> {
    if !persistent {
        return Ok(());
    }
    make_persistent(device.as_raw_fd()).map_err(TapError::System)
}

fn make_persistent(fd: RawFd) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: TUNSETPERSIST takes its argument as a number and follows no pointer.
    let result = unsafe { libc::ioctl(fd, libc::TUNSETPERSIST, yes) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

fn classify(name: &str, error: io::Error) -> TapError {
    let name = name.to_owned();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TapError::Permission { name },
        Some(libc::EBUSY) => TapError::Busy { name },
        Some(libc::EINVAL) => TapError::NotTap { name },
        _ => TapError::System(error),
    }
}
