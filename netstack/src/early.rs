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

/// The two addresses and the two ports, as they stand in the headers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Flow {
    addresses: u64,
    ports: u32,
}

impl Flow {
    #[inline]
    fn of(header: &[u8; HEADERS]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *part(header, ADDRESSES);
        Self {
            addresses: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            ports: u32::from_be_bytes([i, j, k, l]),
        }
    }

    /// The socket that it leads to; `None` when there is none, or when the layers
    /// have to say more about the addresses.
    fn lookup(self, net: &NetCore, udp: &Udp) -> Option<u32> {
        let source = Ipv4Addr::from_bits((self.addresses >> 32) as u32);
        let destination = Ipv4Addr::from_bits(self.addresses as u32);
        martian::check(source, destination).ok()?;
        if !net.addresses.is_delivery(source, destination) {
            return None;
        }
        let from = SocketAddr::new(IpAddr::V4(source), (self.ports >> 16) as u16);
        udp.lookup(IpAddr::V4(destination), self.ports as u16, from)
    }
}

/// One CPU's early path.
///
/// Packets come in trains, so it remembers where the last one went (the
/// one-behind cache of Partridge and Pink, "A Faster UDP", 1993), for as long as
/// neither the host's addresses nor the sockets' bindings change.
#[derive(Default)]
pub(crate) struct Early {
    last: Flow,
    /// The socket of `last`, and what [`stamp`](Self::stamp) was then; 0 is no
    /// stamp.
    slot: u32,
    stamp: u64,
}

impl Early {
    /// Delivers a plain UDP datagram for a socket of this CPU; gives the frame
    /// back as it was otherwise.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        net: &mut NetCore,
        udp: &mut Udp,
        station: Station,
        dev: IfIndex,
        mut frame: Frame,
    ) -> Result<(), Frame> {
        let verified = frame.checksum() != ChecksumStatus::None;
        let Some((flow, length)) = parse(frame.data(), station, verified) else {
            return Err(frame);
        };
        let Some(slot) = self.slot_of(flow, net, udp) else {
            return Err(frame);
        };
        net.mib().inc(Snmp::IpInReceives);
        net.mib().inc(Snmp::IpInDelivers);
        let start = frame.headroom();
        let _ = frame.narrow(HEADERS, length - (HEADERS - UDP));
        let skb = SkBuff::with_headers(frame, dev, [start, start + IP, start + UDP]);
        // A drop from here on is the socket's, which has its reason.
        let verdict = udp.queue(net, slot, skb);
        net.count_received(&verdict);
        Ok(())
    }

    #[inline]
    fn slot_of(&mut self, flow: Flow, net: &NetCore, udp: &Udp) -> Option<u32> {
        let stamp = Self::stamp(net, udp);
        if flow != self.last || stamp != self.stamp {
            self.slot = flow.lookup(net, udp)?;
            self.last = flow;
            self.stamp = stamp;
        }
        Some(self.slot)
    }

    /// Stays the same for as long as the answer does: each term only ever grows.
    #[inline]
    fn stamp(net: &NetCore, udp: &Udp) -> u64 {
        net.addresses.generation() + udp.generation() + 1
    }
}

/// The flow of a datagram and the bytes of its UDP header and payload; `None`
/// unless the frame is all that this module is for, and sound.
#[inline]
fn parse(frame: &[u8], station: Station, verified: bool) -> Option<(Flow, usize)> {
    let header = frame.first_chunk::<HEADERS>()?;
    if !is_plain(header, station) {
        return None;
    }
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (total, length) = (usize::from(word(IP + 2)), word(UDP + 4));
    if total != usize::from(length) + 20 || length < 8 {
        return None;
    }
    // The pseudo-header starts with the two addresses, which stand right before
    // the datagram.
    let summed = frame.get(ADDRESSES..IP + total)?;
    if !verified && word(UDP + 6) != 0 {
        let rest = Sum::of_u16(length).combine(Sum::of_u16(u16::from(IpProtocol::UDP.0)));
        if !Sum::of(summed).combine(rest).is_valid() {
            return None;
        }
    }
    Some((Flow::of(header), usize::from(length)))
}

/// Whether these are the headers of a whole datagram to this station, without
/// options and with the right header checksum.
#[inline]
fn is_plain(header: &[u8; HEADERS], station: Station) -> bool {
    let word = |at: usize| u64::from_le_bytes(*part(header, at));
    let wrong = (word(0) ^ station.0) << 16
        | ETHER_IP.wrong(word(ETHER_TYPE))
        | WHOLE_UDP.wrong(word(FRAGMENT));
    wrong == 0 && Sum::of_20(part(header, IP)).is_valid()
}

/// `N` bytes of the headers from `at`. Every caller asks inside of them, so that
/// no check remains in the code.
#[inline(always)]
fn part<const N: usize>(header: &[u8; HEADERS], at: usize) -> &[u8; N] {
    header[at..].first_chunk().unwrap_or(&[0; N])
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests;
