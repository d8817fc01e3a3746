//! The kernel's side of a network interface: flags, addresses, MTU.
//!
//! The plain requests of netdevice(7) serve: each is one system call on one
//! socket. A netlink library would bring an asynchronous runtime, or its own
//! message builder, for the same six settings. One of them is not allowed that
//! way in a user namespace; see `rtnetlink`.

mod rtnetlink;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use softnet_nic_hal::MacAddress;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A request to the kernel about an interface failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The name is empty, longer than 15 bytes, or has a byte that no name has.
    #[error("{0:?} is no interface name: use 1 to 15 bytes, without '/', white space or NUL")]
    Name(String),
    /// There is no such interface in this network namespace.
    #[error("there is no interface {0}: `ip link` lists those of this network namespace")]
    Missing(String),
    /// The caller may not do this.
    #[error(
        "{action} of {name} needs CAP_NET_ADMIN: run as root, or in a namespace of your own (netns::Namespace::enter)"
    )]
    Permission {
        /// The interface.
        name: String,
        /// What was asked.
        action: &'static str,
    },
    /// The prefix is longer than the address.
    #[error("a prefix of {prefix} bits is too long for {address}")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// Bits of the prefix.
        prefix: u8,
    },
    /// Anything else that the kernel answered.
    #[error("{action} of {name} failed: {source}")]
    System {
        /// The interface.
        name: String,
        /// What was asked.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// An interface of the network namespace in which this value was made.
#[derive(Debug)]
pub struct Interface {
    name: String,
    /// Requests go to the namespace that the socket was made in, wherever the
    /// calling thread is by then.
    control: OwnedFd,
}

impl Interface {
    /// The interface called `name`.
    ///
    /// # Errors
    /// The name is not one, or there is no such interface.
    pub fn open(name: &str) -> Result<Self, InterfaceError> {
        check_name(name)?;
        let control = datagram_socket(AddressFamily::Inet)
            .map_err(|error| classify(name, "opening a control socket", error.into()))?;
        let name = name.to_owned();
        let interface = Self { name, control };
        interface.index()?;
        Ok(interface)
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number for the interface.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn index(&self) -> Result<u32, InterfaceError> {
        let request = self.ask(libc::SIOCGIFINDEX, "reading the index", self.request())?;
        Ok(request.value_i32().cast_unsigned())
    }

    /// Whether the kernel's side is administratively up.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn is_up(&self) -> Result<bool, InterfaceError> {
        Ok(self.flags()? & up_flag() != 0)
    }

    /// Sets the kernel's side up or down.
    ///
    /// # Errors
    /// CAP_NET_ADMIN is missing, or the interface is gone.
    pub fn set_up(&self, up: bool) -> Result<(), InterfaceError> {
        let flags = if up {
            self.flags()? | up_flag()
        } else {
            self.flags()? & !up_flag()
        };
        let mut request = self.request();
        request.payload[..2].copy_from_slice(&flags.to_ne_bytes());
        self.tell(libc::SIOCSIFFLAGS, "setting the flags", request)
    }

    /// The MTU in bytes: the longest payload of a frame.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> Result<u32, InterfaceError> {
        let request = self.ask(libc::SIOCGIFMTU, "reading the MTU", self.request())?;
        Ok(request.value_i32().cast_unsigned())
    }

    /// Sets the MTU in bytes.
    ///
    /// # Errors
    /// The kernel takes no such MTU, CAP_NET_ADMIN is missing, or the interface
    /// is gone.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), InterfaceError> {
        let request = self.request().with_u32(mtu);
        self.tell(libc::SIOCSIFMTU, "setting the MTU", request)
    }

    /// Sets how many frames the kernel queues for the reader before it drops.
    /// On a TAP this is the length of the ring that `read` empties.
    ///
    /// # Errors
    /// CAP_NET_ADMIN is missing, or the interface is gone.
    pub fn set_tx_queue_len(&self, frames: u32) -> Result<(), InterfaceError> {
        let index = self.index()?;
        rtnetlink::set_tx_queue_len(index, frames)
            .map_err(|error| classify(&self.name, "setting txqueuelen", error))
    }

    /// The MAC address of the kernel's side.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mac_address(&self) -> Result<MacAddress, InterfaceError> {
        let request = self.ask(
            libc::SIOCGIFHWADDR,
            "reading the MAC address",
            self.request(),
        )?;
        let mut mac = [0; 6];
        mac.copy_from_slice(&request.payload[2..8]);
        Ok(MacAddress(mac))
    }

    /// Sets the MAC address of the kernel's side.
    ///
    /// # Errors
    /// The address is a multicast address, CAP_NET_ADMIN is missing, or the
    /// interface is gone.
    pub fn set_mac_address(&self, mac: MacAddress) -> Result<(), InterfaceError> {
        let mut request = self.request();
        request.payload[..2].copy_from_slice(&libc::ARPHRD_ETHER.to_ne_bytes());
        request.payload[2..8].copy_from_slice(&mac.0);
        self.tell(libc::SIOCSIFHWADDR, "setting the MAC address", request)
    }

    /// Gives the kernel's side an address. The kernel adds the route to the
    /// network of `prefix` bits once the interface is up. A further IPv4
    /// address replaces the one before.
    ///
    /// # Errors
    /// The prefix is too long, CAP_NET_ADMIN is missing, or the interface is
    /// gone.
    pub fn set_address(&self, address: IpAddr, prefix: u8) -> Result<(), InterfaceError> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(InterfaceError::Prefix { address, prefix });
        }
        match address {
            IpAddr::V4(address) => self.set_ipv4(address, prefix),
            IpAddr::V6(address) => self.add_ipv6(address, prefix),
        }
    }

    /// Turns the kernel's IPv6 off or on for this interface. When it is off, no
    /// neighbour or multicast discovery goes out.
    ///
    /// # Errors
    /// The caller may not write the setting.
    pub fn set_ipv6_enabled(&self, enabled: bool) -> Result<(), InterfaceError> {
        let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.name);
        let value = if enabled { "0" } else { "1" };
        match std::fs::write(path, value) {
            // A kernel without IPv6 has nothing to turn off.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !enabled => Ok(()),
            result => result.map_err(|error| classify(&self.name, "setting disable_ipv6", error)),
        }
    }

    /// The kernel's own counters. Receive and transmit are the kernel's: it
    /// receives what a TAP's owner writes.
    ///
    /// They come from `/proc/thread-self/net/dev`, that is, from the calling
    /// thread's network namespace; sysfs would show the one it was mounted in.
    ///
    /// # Errors
    /// The interface is gone, or /proc is not mounted.
    pub fn kernel_counters(&self) -> Result<KernelCounters, InterfaceError> {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev")
            .map_err(|error| classify(&self.name, "reading the counters", error))?;
        parse_counters(&text, &self.name).ok_or_else(|| InterfaceError::Missing(self.name.clone()))
    }

    fn set_ipv4(&self, address: Ipv4Addr, prefix: u8) -> Result<(), InterfaceError> {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(prefix))
            .unwrap_or_default();
        let request = self.request().with_ipv4(address);
        self.tell(libc::SIOCSIFADDR, "setting the address", request)?;
        let request = self.request().with_ipv4(Ipv4Addr::from_bits(mask));
        self.tell(libc::SIOCSIFNETMASK, "setting the netmask", request)
    }

    fn add_ipv6(&self, address: Ipv6Addr, prefix: u8) -> Result<(), InterfaceError> {
        let action = "adding the address";
        let request = In6Request {
            address: address.octets(),
            prefix: u32::from(prefix),
            index: self.index()?,
        };
        datagram_socket(AddressFamily::Inet6)
            .map_err(io::Error::from)
            .and_then(|socket| set_in6_address(socket.as_raw_fd(), &request))
            .map_err(|error| classify(&self.name, action, error))
    }

    fn flags(&self) -> Result<u16, InterfaceError> {
        let request = self.ask(libc::SIOCGIFFLAGS, "reading the flags", self.request())?;
        Ok(u16::from_ne_bytes([request.payload[0], request.payload[1]]))
    }

    fn request(&self) -> Request {
        Request::new(&self.name)
    }

    fn tell(
        &self,
        code: libc::Ioctl,
        action: &'static str,
        request: Request,
    ) -> Result<(), InterfaceError> {
        self.ask(code, action, request).map(drop)
    }

    fn ask(
        &self,
        code: libc::Ioctl,
        action: &'static str,
        mut request: Request,
    ) -> Result<Request, InterfaceError> {
        interface_ioctl(self.control.as_raw_fd(), code, &mut request)
            .map_err(|error| classify(&self.name, action, error))?;
        Ok(request)
    }
}

/// What the kernel counts for an interface, seen from the kernel's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelCounters {
    /// Frames that the kernel got from the interface.
    pub rx_packets: u64,
    /// Frames that came from the interface and were dropped by the kernel.
    pub rx_dropped: u64,
    /// Frames that the kernel sent on the interface.
    pub tx_packets: u64,
    /// Frames that the kernel meant to send and dropped: on a TAP, those that
    /// found the queue to the reader full.
    pub tx_dropped: u64,
}

/// Finds `name` in the text of `/proc/net/dev`: after the colon eight columns
/// of receive counters, then eight of transmit counters.
fn parse_counters(text: &str, name: &str) -> Option<KernelCounters> {
    let columns = text.lines().find_map(|line| {
        let (device, columns) = line.split_once(':')?;
        (device.trim() == name).then_some(columns)
    })?;
    let column = |index| columns.split_ascii_whitespace().nth(index)?.parse().ok();
    Some(KernelCounters {
        rx_packets: column(1)?,
        rx_dropped: column(3)?,
        tx_packets: column(9)?,
        tx_dropped: column(11)?,
    })
}

/// `struct ifreq` of netdevice(7): a name of 16 bytes, then a union of 24.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) name: [u8; libc::IFNAMSIZ],
    pub(crate) payload: [u8; 24],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
const _: () = assert!(align_of::<Request>() >= align_of::<libc::ifreq>());

impl Request {
    /// A request about `name`, which [`check_name`] has passed.
    pub(crate) fn new(name: &str) -> Self {
        let mut request = Self {
            name: [0; libc::IFNAMSIZ],
            payload: [0; 24],
        };
        let len = name.len().min(libc::IFNAMSIZ - 1);
        request.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        request
    }

    /// The name that the kernel has written.
    pub(crate) fn name(&self) -> String {
        let bytes = self.name.iter().copied();
        let name: Vec<u8> = bytes.take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&name).into_owned()
    }

    fn with_u32(mut self, value: u32) -> Self {
        self.payload[..4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// A `struct sockaddr_in`: the family, a port of zero, the address.
    fn with_ipv4(mut self, address: Ipv4Addr) -> Self {
        let family = (libc::AF_INET as libc::sa_family_t).to_ne_bytes();
        self.payload[..2].copy_from_slice(&family);
        self.payload[4..8].copy_from_slice(&address.octets());
        self
    }

    fn value_i32(&self) -> i32 {
        let [a, b, c, d, ..] = self.payload;
        i32::from_ne_bytes([a, b, c, d])
    }
}

/// `struct in6_ifreq`.
#[repr(C, align(4))]
struct In6Request {
    address: [u8; 16],
    prefix: u32,
    index: u32,
}

/// Asks whether `name` can name an interface.
pub(crate) fn check_name(name: &str) -> Result<(), InterfaceError> {
    let fits = (1..libc::IFNAMSIZ).contains(&name.len());
    let bad = |c: char| c == '/' || c == '\0' || c == ':' || c.is_whitespace();
    if !fits || name == "." || name == ".." || name.contains(bad) {
        return Err(InterfaceError::Name(name.to_owned()));
    }
    Ok(())
}

/// One request that reads and writes a `struct ifreq`.
pub(crate) fn interface_ioctl(
    fd: RawFd,
    code: libc::Ioctl,
    request: &mut Request,
) -> io::Result<()> {
    // SAFETY: the caller passes a code of netdevice(7) or of the TUN driver, all
    // of which access at most one `struct ifreq` behind the pointer; `Request` has
    // its size and alignment, is borrowed exclusively, and any bytes are valid in
    // it. A descriptor of another kind makes the kernel answer ENOTTY.
    let result = unsafe { libc::ioctl(fd, code, core::ptr::from_mut(request)) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

fn set_in6_address(fd: RawFd, request: &In6Request) -> io::Result<()> {
    // SAFETY: SIOCSIFADDR on an IPv6 socket reads one `struct in6_ifreq`, whose
    // layout `In6Request` has; the reference is valid for the call.
    let result = unsafe { libc::ioctl(fd, libc::SIOCSIFADDR, core::ptr::from_ref(request)) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

fn datagram_socket(family: AddressFamily) -> nix::Result<OwnedFd> {
    socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

const fn up_flag() -> u16 {
    libc::IFF_UP as u16
}

fn classify(name: &str, action: &'static str, source: io::Error) -> InterfaceError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENODEV) => InterfaceError::Missing(name),
        Some(libc::EPERM | libc::EACCES) => InterfaceError::Permission { name, action },
        _ => InterfaceError::System {
            name,
            action,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    2    3    4     5          6         7      200      8    9   10   11    12      13         14
  tap0: 1000 11 0 13 0 0 0 0 2000 19 0 21 0 0 0 0
";

    #[test]
    fn the_counters_are_those_of_the_named_interface() {
        let counters = parse_counters(TEXT, "tap0").unwrap();
        let expected = KernelCounters {
            rx_packets: 11,
            rx_dropped: 13,
            tx_packets: 19,
            tx_dropped: 21,
        };
        assert_eq!(counters, expected);
        assert_eq!(parse_counters(TEXT, "tap"), None);
        assert_eq!(parse_counters("tap0: 1 2 3", "tap0"), None);
    }

    #[test]
    fn a_name_has_at_most_15_bytes_and_no_separator() {
        assert!(check_name("fifteen_bytes_x").is_ok());
        for name in [
            "",
            "sixteen_bytes_xx",
            "a/b",
            "a b",
            "a:1",
            ".",
            "..",
            "a\0",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
