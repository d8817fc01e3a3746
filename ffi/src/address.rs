//! Socket addresses, as C spells them.

use crate::memory;
use crate::result::{Code, Error};
use libc::{sockaddr, socklen_t};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of `struct sockaddr_in`.
const IN: usize = size_of::<libc::sockaddr_in>();
/// Bytes of `struct sockaddr_in6`.
const IN6: usize = size_of::<libc::sockaddr_in6>();

/// Reads an address of the caller.
///
/// # Safety
/// `address` is NULL, or good for reads of `len` bytes.
pub(crate) unsafe fn read(address: *const sockaddr, len: socklen_t) -> Result<SocketAddr, Error> {
    memory::wanted(address, "the address")?;
    // SAFETY: the caller vouches for `len` bytes.
    let bytes = unsafe { memory::bytes(address.cast(), len as usize, "the address") }?;
    parse(bytes)
}

/// The family in the machine's byte order, the port and the address in the
/// network's: ip(7), ipv6(7).
fn parse(bytes: &[u8]) -> Result<SocketAddr, Error> {
    let family = bytes.first_chunk().copied().map(u16::from_ne_bytes);
    let port = array(bytes, 2).map(u16::from_be_bytes).unwrap_or(0);
    match family.map(i32::from) {
        Some(libc::AF_INET) if bytes.len() >= IN => {
            let ip = Ipv4Addr::from(array::<4>(bytes, 4).unwrap_or_default());
            Ok(SocketAddrV4::new(ip, port).into())
        }
        Some(libc::AF_INET6) if bytes.len() >= IN6 => {
            let ip = Ipv6Addr::from(array::<16>(bytes, 8).unwrap_or_default());
            Ok(SocketAddrV6::new(ip, port, 0, 0).into())
        }
        Some(libc::AF_INET | libc::AF_INET6) | None => Err(Error::invalid(format_args!(
            "an address of {} bytes is too short for its family",
            bytes.len()
        ))),
        Some(other) => Err(Error::new(
            Code::SOFTNET_RESULT_UNSUPPORTED,
            format_args!("address family {other}: AF_INET is what is supported"),
        )),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Writes an address as accept(2) does: as much as fits, and its whole length.
/// NULL for `to` asks for nothing.
///
/// # Safety
/// `to` and `len` are NULL, or good for reads and writes of what `len` says.
pub(crate) unsafe fn write(
    from: SocketAddr,
    to: *mut sockaddr,
    len: *mut socklen_t,
) -> Result<(), Error> {
    if to.is_null() {
        return Ok(());
    }
    memory::wanted(len, "the address's length")?;
    // SAFETY: not NULL; the caller vouches for the rest.
    let room = unsafe { len.read_unaligned() } as usize;
    let mut bytes = [0; IN6];
    let used = format(from, &mut bytes);
    // SAFETY: the caller vouches for `room` bytes.
    unsafe { memory::copy_out(to.cast(), room, &bytes[..used]) };
    // SAFETY: as for the read.
    unsafe { memory::store(len, used as socklen_t, "the address's length") }
}

/// As [`write`], into memory that is large enough.
pub(crate) fn storage(from: SocketAddr) -> libc::sockaddr_storage {
    let mut bytes = [0; IN6];
    format(from, &mut bytes);
    // SAFETY: zeros are a socket address of no family.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let to: *mut libc::sockaddr_storage = &mut storage;
    // SAFETY: the storage holds every kind of address, so it is larger.
    unsafe { memory::copy_out(to.cast(), size_of::<libc::sockaddr_storage>(), &bytes) };
    storage
}

/// Returns how many bytes the address takes.
fn format(from: SocketAddr, bytes: &mut [u8; IN6]) -> usize {
    bytes[2..4].copy_from_slice(&from.port().to_be_bytes());
    match from {
        SocketAddr::V4(v4) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            IN
        }
        SocketAddr::V6(v6) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            IN6
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["10.1.2.3:4567", "[2001:db8::7]:80"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut bytes = [0; IN6];
            let used = format(address, &mut bytes);
            assert_eq!(parse(&bytes[..used]).unwrap(), address);
        }
    }

    #[test]
    fn an_address_that_is_too_short_is_refused() {
        let mut bytes = [0; IN6];
        let used = format("10.1.2.3:4567".parse().unwrap(), &mut bytes);
        for len in 0..used {
            let error = parse(&bytes[..len]).unwrap_err();
            assert_eq!(error.code, Code::SOFTNET_RESULT_INVALID, "{len} bytes");
        }
    }
}
