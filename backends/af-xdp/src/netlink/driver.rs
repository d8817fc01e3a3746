//! What only the older interface tells: the driver's name, and which fields it
//! hashes (`SIOCETHTOOL`, linux/ethtool.h).

use super::attributes::text;
use super::uapi::ioctl;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::Serialize;
use std::os::fd::{AsRawFd, OwnedFd};

/// The driver of an interface (`ethtool -i`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriverInfo {
    /// Its name, as `ixgbe` or `veth`.
    pub name: String,
    /// Its version; for drivers of the kernel's tree the kernel's release.
    pub version: String,
    /// The NIC's firmware; may be empty.
    pub firmware: String,
    /// Where the NIC is, as `0000:03:00.0`; may be empty.
    pub bus: String,
}

/// A socket that takes the requests, in the network namespace of the thread that
/// made it.
#[derive(Debug)]
pub(super) struct Control(OwnedFd);

impl Control {
    pub(super) fn open() -> Result<Self, Errno> {
        let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
        socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map(Self)
    }

    pub(super) fn driver(&self, interface: &str) -> Result<DriverInfo, Errno> {
        let mut request = Request::new(ioctl::GDRVINFO);
        self.ask(interface, &mut request)?;
        Ok(DriverInfo {
            name: request.text(4..36),
            version: request.text(36..68),
            firmware: request.text(68..100),
            bus: request.text(100..132),
        })
    }

    /// Whether the ports of UDP over IPv4 are hashed.
    pub(super) fn hashes_udp_ports(&self, interface: &str) -> Result<bool, Errno> {
        let mut request = Request::new(ioctl::GRXFH);
        request.0[4..8].copy_from_slice(&ioctl::UDP_V4_FLOW.to_ne_bytes());
        self.ask(interface, &mut request)?;
        let mut fields = [0; 8];
        fields.copy_from_slice(&request.0[8..16]);
        Ok(u64::from_ne_bytes(fields) & ioctl::HASHES_PORTS == ioctl::HASHES_PORTS)
    }

    fn ask(&self, interface: &str, request: &mut Request) -> Result<(), Errno> {
        let mut ifreq = IfReq::new(interface, request);
        // SAFETY: SIOCETHTOOL reads and writes one `ifreq`, which the exclusive
        // reference keeps alive, and through its pointer at most the 256 bytes
        // of the request, which is borrowed exclusively by this function.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL, &mut ifreq) };
        Errno::result(result).map(drop)
    }
}

/// A request, which the answer overwrites: larger than `struct ethtool_drvinfo`
/// (196 bytes) and `struct ethtool_rxnfc` (192 bytes), and aligned for both.
#[repr(C, align(8))]
struct Request([u8; 256]);

impl Request {
    fn new(command: u32) -> Self {
        let mut bytes = [0; 256];
        bytes[..4].copy_from_slice(&command.to_ne_bytes());
        Self(bytes)
    }

    fn text(&self, at: std::ops::Range<usize>) -> String {
        text(&self.0[at])
    }
}

/// `struct ifreq` with a pointer in its union.
#[repr(C)]
struct IfReq {
    name: [u8; libc::IFNAMSIZ],
    data: *mut Request,
    /// The rest of the union.
    rest: [u8; 24 - size_of::<*mut Request>()],
}

impl IfReq {
    fn new(interface: &str, data: &mut Request) -> Self {
        let mut name = [0; libc::IFNAMSIZ];
        let len = interface.len().min(libc::IFNAMSIZ - 1);
        name[..len].copy_from_slice(&interface.as_bytes()[..len]);
        let rest = [0; 24 - size_of::<*mut Request>()];
        Self { name, data, rest }
    }
}
