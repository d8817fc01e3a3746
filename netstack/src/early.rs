//! Early demultiplexing: the one kind of packet that arrives by the million.
//!
//! A whole UDP datagram over IPv4, without options, to this station and this
//! host, takes the same checks here as in the layers, but all at once: the
//! headers lie at fixed places, so one look at their length serves all of them,
//! and the data is narrowed to the payload in one step. Everything else (and
//! everything that is wrong in any way) is left to the layers, untouched: they
//! find out what it is and give the reason for a drop. So this path delivers, or
//! does nothing.

use crate::checksum::{Sum, pseudo_header_v4};
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

/// A station address as the low 48 bits of a word, to be compared at once.
#[derive(Clone, Copy)]
pub(crate) struct Station(u64);

impl Station {
    pub(crate) fn new(mac: MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
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
    // A drop from here on is the socket's, and is counted there.
    let _ = udp.queue(net, slot, skb);
    Ok(())
}

/// `None` unless the frame is all that this module is for, and sound.
#[inline]
fn parse(frame: &[u8], station: Station, verified: bool) -> Option<Plain> {
    let header = frame.first_chunk::<HEADERS>()?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (ip, _) = header[IP..].split_first_chunk::<20>()?;
    let (first, _) = header.split_first_chunk::<8>()?;
    let to_us = u64::from_le_bytes(*first) << 16 == station.0 << 16;
    // EtherType 0x0800, and version 4 with a header of five words.
    let is_ip = header[12..15] == [0x08, 0x00, 0x45];
    let is_whole = word(IP + 6) & 0x3fff == 0;
    let is_udp = IpProtocol(header[IP + 9]) == IpProtocol::UDP;
    if !(to_us && is_ip && is_whole && is_udp && Sum::of_20(ip).is_valid()) {
        return None;
    }
    let (total, length) = (usize::from(word(IP + 2)), word(UDP + 4));
    if total != usize::from(length) + 20 || length < 8 {
        return None;
    }
    let datagram = frame.get(UDP..IP + total)?;
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let (source, destination) = (address(IP + 12), address(IP + 16));
    martian::check(source, destination).ok()?;
    if !verified && word(UDP + 6) != 0 {
        let pseudo = pseudo_header_v4(source, destination, IpProtocol::UDP, length);
        if !pseudo.combine(Sum::of(datagram)).is_valid() {
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
