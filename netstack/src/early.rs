//! Early demultiplexing: the one kind of packet that arrives by the million.
//!
//! A whole UDP datagram over IPv4, without options, to this station and this
//! host, takes the same checks here as in the layers, but all at once: the
//! headers lie at fixed places, so one look at their length serves all of them,
//! and the data is narrowed to the payload in one step. Everything else (and
//! everything that is wrong in any way) is left to the layers, untouched: they
//! find out what it is and give the reason for a drop. So this path delivers, or
//! does nothing.

use crate::checksum::Sum;
use crate::martian;
use crate::mib::Snmp;
use crate::netcore::NetCore;
use crate::route::IfIndex;
use crate::skb::SkBuff;
use crate::udp::Udp;
use crate::wire::ipv4::IpProtocol;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use softnet_dma_ring::{ChecksumStatus, Frame};
use softnet_nic_hal::MacAddress;

/// Ethernet 14, IPv4 20 and UDP 8 bytes.
const HEADERS: usize = 42;
/// Where the IPv4 and the UDP header start.
const IP: usize = 14;
const UDP: usize = 34;
/// Where some fields are: the EtherType, the IPv4 flags and fragment offset, and
/// the IPv4 addresses.
const ETHER_TYPE: usize = 12;
const FRAGMENT: usize = 20;
const ADDRESSES: usize = 26;

/// A station address as the low 48 bits of a word, to be compared at once.
#[derive(Clone, Copy)]
pub(crate) struct Station(u64);

impl Station {
    pub(crate) fn new(mac: MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

/// EtherType 0x0800, then version 4 with a header of five words, in bytes 12 to
/// 19 of the frame. The bytes that are no part of the mask (type of service, total
/// length, identification) may be anything.
const ETHER_IP: Masked = Masked::new(
    [0x08, 0x00, 0x45, 0, 0, 0, 0, 0],
    [!0, !0, !0, 0, 0, 0, 0, 0],
);
/// No fragment (neither MF nor an offset), any TTL, and UDP, in bytes 20 to 23.
const WHOLE_UDP: Masked = Masked::new([0, 0, 0, 17, 0, 0, 0, 0], [0x3f, !0, 0, !0, 0, 0, 0, 0]);

/// Bytes to be found in a header, all at once.
struct Masked {
    wanted: u64,
    mask: u64,
}

impl Masked {
    const fn new(wanted: [u8; 8], mask: [u8; 8]) -> Self {
        Self {
            wanted: u64::from_le_bytes(wanted),
            mask: u64::from_le_bytes(mask),
        }
    }

    /// The bits of `word` that are wrong.
    #[inline]
    const fn wrong(&self, word: u64) -> u64 {
        (word ^ self.wanted) & self.mask
    }
}

/// What the headers say.
struct Plain {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    from: u16,
    to: u16,
    /// Bytes of the UDP header and its payload.
    length: u16,
}

/// Delivers a plain UDP datagram for a socket of this CPU; gives the frame back
/// as it was otherwise.
#[inline]
pub(crate) fn receive(
    net: &mut NetCore,
    udp: &mut Udp,
    station: Station,
    dev: IfIndex,
    mut frame: Frame,
) -> Result<(), Frame> {
    let verified = frame.checksum() != ChecksumStatus::None;
    let Some(plain) = parse(frame.data(), station, verified) else {
        return Err(frame);
    };
    let to = IpAddr::V4(plain.destination);
    let from = SocketAddr::new(IpAddr::V4(plain.source), plain.from);
    if !net.addresses.is_delivery(plain.source, plain.destination) {
        return Err(frame);
    }
    let Some(slot) = udp.lookup(to, plain.to, from) else {
        return Err(frame);
    };
    net.mib().inc(Snmp::IpInReceives);
    net.mib().inc(Snmp::IpInDelivers);
    let start = frame.headroom();
    let _ = frame.narrow(HEADERS, usize::from(plain.length) - (HEADERS - UDP));
    let skb = SkBuff::with_headers(frame, dev, [start, start + IP, start + UDP]);
    // A drop from here on is the socket's, which has its reason.
    let verdict = udp.queue(net, slot, skb);
    net.count_received(&verdict);
    Ok(())
}

/// `None` unless the frame is all that this module is for, and sound.
#[inline]
fn parse(frame: &[u8], station: Station, verified: bool) -> Option<Plain> {
    let header = frame.first_chunk::<HEADERS>()?;
    if !is_plain(header, station) {
        return None;
    }
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (total, length) = (usize::from(word(IP + 2)), word(UDP + 4));
    if total != usize::from(length) + 20 || length < 8 {
        return None;
    }
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let (source, destination) = (address(ADDRESSES), address(ADDRESSES + 4));
    martian::check(source, destination).ok()?;
    // The pseudo-header starts with the two addresses, which stand right before
    // the datagram.
    let summed = frame.get(ADDRESSES..IP + total)?;
    if !verified && word(UDP + 6) != 0 {
        let rest = Sum::of_u16(length).combine(Sum::of_u16(u16::from(IpProtocol::UDP.0)));
        if !Sum::of(summed).combine(rest).is_valid() {
            return None;
        }
    }
    Some(Plain {
        source,
        destination,
        from: word(UDP),
        to: word(UDP + 2),
        length,
    })
}

/// Whether these are the headers of a whole datagram to this station, without
/// options and with the right header checksum.
#[inline]
fn is_plain(header: &[u8; HEADERS], station: Station) -> bool {
    let word = |at: usize| {
        header[at..]
            .first_chunk()
            .map_or(0, |w| u64::from_le_bytes(*w))
    };
    let wrong = (word(0) ^ station.0) << 16
        | ETHER_IP.wrong(word(ETHER_TYPE))
        | WHOLE_UDP.wrong(word(FRAGMENT));
    let (ip, _) = header.split_at(UDP);
    wrong == 0 && ip.last_chunk().is_some_and(|ip| Sum::of_20(ip).is_valid())
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests;
