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
use crate::netcore::NetCore;
use crate::skb::{PLAIN_HEADERS, datagram};
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

/// The two addresses and the two ports: the bytes of the headers as little-endian
/// words.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Flow {
    addresses: u64,
    ports: u32,
}

impl Flow {
    /// The socket that it leads to; `None` when there is none, or when the layers
    /// have to say more about the addresses.
    fn lookup(self, net: &NetCore, udp: &Udp) -> Option<u32> {
        let [a, b, c, d, e, f, g, h] = self.addresses.to_le_bytes();
        let [from_high, from_low, to_high, to_low] = self.ports.to_le_bytes();
        let source = Ipv4Addr::new(a, b, c, d);
        let destination = Ipv4Addr::new(e, f, g, h);
        martian::check(source, destination).ok()?;
        if !net.addresses.is_delivery(source, destination) {
            return None;
        }
        let from = u16::from_be_bytes([from_high, from_low]);
        let to = u16::from_be_bytes([to_high, to_low]);
        let from = SocketAddr::new(IpAddr::V4(source), from);
        udp.lookup(IpAddr::V4(destination), to, from)
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
    /// The socket of `last`.
    slot: u32,
    /// What [`stamp`](Self::stamp) was then; 0 is no stamp.
    stamp: u64,
}

/// A slot that no socket ever has, so that the layers take the packet.
const NO_SOCKET: u32 = u32::MAX;

impl Early {
    /// Delivers a plain UDP datagram for a socket of this CPU, which the caller
    /// counts ([`NetCore::count_early`]); gives the frame back as it was otherwise.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        net: &mut NetCore,
        udp: &mut Udp,
        station: Station,
        mut frame: Frame,
    ) -> Result<(), Frame> {
        let verified = frame.checksum() != ChecksumStatus::None;
        let Some((flow, payload)) = parse(frame.data(), station, verified) else {
            return Err(frame);
        };
        let Some(slot) = self.slot_of(flow, net, udp) else {
            return Err(frame);
        };
        let Some(room) = udp.room(slot, &mut net.cache) else {
            // The socket's drop has a reason, which the layers find.
            return Err(frame);
        };
        let _ = frame.narrow(HEADERS, payload);
        room.lend(datagram(frame, PLAIN_HEADERS));
        Ok(())
    }

    #[inline]
    fn slot_of(&mut self, flow: Flow, net: &NetCore, udp: &Udp) -> Option<u32> {
        if flow != self.last {
            self.slot = flow.lookup(net, udp)?;
            self.last = flow;
        }
        Some(self.slot)
    }

    /// Forgets where the last packet went if that may have changed. To be called
    /// before the first of a run of packets, and after each that went by the
    /// layers, whose handlers can change it.
    #[inline]
    pub(crate) fn revalidate(&mut self, net: &NetCore, udp: &Udp) {
        let stamp = Self::stamp(net, udp);
        if stamp != self.stamp {
            self.stamp = stamp;
            self.last = Flow::default();
            self.slot = NO_SOCKET;
        }
    }

    /// Stays the same for as long as the answer does: each term only ever grows.
    #[inline]
    fn stamp(net: &NetCore, udp: &Udp) -> u64 {
        net.addresses.generation() + udp.generation() + 1
    }
}

/// The flow of a datagram and the length of its payload; `None`
/// unless the frame is all that this module is for, and sound.
#[inline]
fn parse(frame: &[u8], station: Station, verified: bool) -> Option<(Flow, usize)> {
    let header = frame.first_chunk::<HEADERS>()?;
    if !is_plain(header, station) {
        return None;
    }
    let addresses = u64::from_le_bytes(*part(header, ADDRESSES));
    // The ports, the length and the checksum.
    let udp = u64::from_le_bytes(*part(header, UDP));
    let length = ((udp >> 32) as u16).swap_bytes();
    let total = usize::from(u16::from_be_bytes(*part(header, IP + 2)));
    if total != usize::from(length) + 20 || length < 8 {
        return None;
    }
    let payload = frame.get(HEADERS..IP + total)?;
    if !verified && udp >> 48 != 0 {
        // The pseudo-header: the addresses, the protocol, and the length.
        let rest = Sum::of_u16(length).combine(Sum::of_u16(u16::from(IpProtocol::UDP.0)));
        let words = Sum::of_le_word(addresses).combine(Sum::of_le_word(udp));
        if !Sum::of_small(payload)
            .combine(words)
            .combine(rest)
            .is_valid()
        {
            return None;
        }
    }
    let ports = udp as u32;
    Some((Flow { addresses, ports }, payload.len()))
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
