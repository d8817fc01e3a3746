//! Martians: IPv4 addresses that no packet from a link can have.
//!
//! RFC 1122 section 3.2.1.3 says which addresses a host must not send from or
//! to; it must discard such packets in silence. RFC 1812 section 5.3.7 gives
//! routers the same list. Whether the source is one of this host's own addresses
//! only its address table can say: [`Martian::OwnSource`] is for whoever asks it.

use crate::drop::DropReason;
use core::net::Ipv4Addr;

/// What is wrong with a packet's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Martian {
    /// The source is in 0/8, and the packet is no host's that still asks for
    /// its address.
    #[error("the source is in 0/8")]
    ZeroSource,
    /// The source is a multicast group.
    #[error("the source is a multicast group")]
    MulticastSource,
    /// The source is in 240/4, which is reserved, or is the broadcast address.
    #[error("the source is reserved or broadcast")]
    ReservedSource,
    /// The source is one of this host's own addresses.
    #[error("the source is one of this host's own addresses")]
    OwnSource,
    /// The source is in 127/8, and the packet came from a link.
    #[error("the source is in 127/8")]
    LoopbackSource,
    /// The destination is in 127/8, and the packet came from a link.
    #[error("the destination is in 127/8")]
    LoopbackDestination,
    /// The destination is in 0/8.
    #[error("the destination is in 0/8")]
    ZeroDestination,
    /// The destination is in 240/4 and not the broadcast address.
    #[error("the destination is reserved")]
    ReservedDestination,
}

impl From<Martian> for DropReason {
    fn from(martian: Martian) -> Self {
        match martian {
            Martian::ZeroSource | Martian::MulticastSource | Martian::ReservedSource => {
                Self::IpInvalidSource
            }
            Martian::OwnSource => Self::IpLocalSource,
            Martian::LoopbackSource | Martian::LoopbackDestination => Self::IpLocalnet,
            Martian::ZeroDestination | Martian::ReservedDestination => Self::IpInvalidDest,
        }
    }
}

/// Checks the addresses of a packet that came from a link (a loopback device is
/// none).
///
/// # Errors
/// [`Martian`] says which address is impossible; the source is looked at first.
#[inline]
pub fn check(source: Ipv4Addr, destination: Ipv4Addr) -> Result<(), Martian> {
    // All that can be wrong shows in the first byte, and hardly ever is.
    let ([from, ..], [to, ..]) = (source.octets(), destination.octets());
    let plain = (1..=223).contains(&from) && from != 127 && (1..=239).contains(&to) && to != 127;
    if plain {
        return Ok(());
    }
    check_source(source, destination)?;
    check_destination(destination)
}

#[cold]
fn check_source(source: Ipv4Addr, destination: Ipv4Addr) -> Result<(), Martian> {
    match source.octets()[0] {
        // A host that does not know its address yet (RFC 1122 section 3.2.1.3
        // (a)): BOOTP and IGMP ask like this.
        0 if source.is_unspecified() && reaches_link_only(destination) => Ok(()),
        0 => Err(Martian::ZeroSource),
        127 => Err(Martian::LoopbackSource),
        224..=239 => Err(Martian::MulticastSource),
        240.. => Err(Martian::ReservedSource),
        _ => Ok(()),
    }
}

#[cold]
fn check_destination(destination: Ipv4Addr) -> Result<(), Martian> {
    match destination.octets()[0] {
        _ if destination.is_broadcast() => Ok(()),
        0 => Err(Martian::ZeroDestination),
        127 => Err(Martian::LoopbackDestination),
        240.. => Err(Martian::ReservedDestination),
        _ => Ok(()),
    }
}

/// Broadcast, or a group of 224.0.0/24, which no router forwards (RFC 5771
/// section 4).
fn reaches_link_only(destination: Ipv4Addr) -> bool {
    destination.is_broadcast() || matches!(destination.octets(), [224, 0, 0, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(source: &str, destination: &str) -> Result<(), Martian> {
        check(source.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn ordinary_addresses_pass() {
        assert_eq!(verdict("10.0.0.1", "10.0.0.2"), Ok(()));
        assert_eq!(verdict("1.0.0.0", "223.255.255.255"), Ok(()));
        assert_eq!(verdict("126.1.1.1", "128.0.0.1"), Ok(()));
        assert_eq!(verdict("10.0.0.1", "224.0.0.251"), Ok(()));
        assert_eq!(verdict("10.0.0.1", "255.255.255.255"), Ok(()));
    }

    #[test]
    fn impossible_sources_are_martians() {
        let to = "10.0.0.2";
        assert_eq!(verdict("0.0.0.0", to), Err(Martian::ZeroSource));
        assert_eq!(verdict("0.1.2.3", to), Err(Martian::ZeroSource));
        assert_eq!(verdict("127.0.0.1", to), Err(Martian::LoopbackSource));
        assert_eq!(verdict("224.0.0.1", to), Err(Martian::MulticastSource));
        assert_eq!(verdict("239.9.9.9", to), Err(Martian::MulticastSource));
        assert_eq!(verdict("240.0.0.1", to), Err(Martian::ReservedSource));
        assert_eq!(verdict("255.255.255.255", to), Err(Martian::ReservedSource));
    }

    #[test]
    fn impossible_destinations_are_martians() {
        let from = "10.0.0.1";
        assert_eq!(verdict(from, "0.0.0.0"), Err(Martian::ZeroDestination));
        assert_eq!(
            verdict(from, "127.0.0.1"),
            Err(Martian::LoopbackDestination)
        );
        assert_eq!(
            verdict(from, "240.0.0.1"),
            Err(Martian::ReservedDestination)
        );
        assert_eq!(
            verdict(from, "255.255.255.254"),
            Err(Martian::ReservedDestination)
        );
    }

    #[test]
    fn a_host_without_an_address_reaches_its_link_only() {
        assert_eq!(verdict("0.0.0.0", "255.255.255.255"), Ok(()));
        assert_eq!(verdict("0.0.0.0", "224.0.0.1"), Ok(()));
        assert_eq!(verdict("0.0.0.0", "224.0.1.1"), Err(Martian::ZeroSource));
        assert_eq!(
            verdict("0.0.0.1", "255.255.255.255"),
            Err(Martian::ZeroSource)
        );
    }

    #[test]
    fn the_source_is_looked_at_first() {
        assert_eq!(
            verdict("127.0.0.1", "127.0.0.1"),
            Err(Martian::LoopbackSource)
        );
    }
}
