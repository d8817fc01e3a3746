//! The frames that arrive, and which socket each of them is for.

use super::BATCH;
use super::scenario::{HEADERS, Scenario, Service};
use core::net::Ipv4Addr;
use std::array;

/// The address of the host under test.
pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The address of who sends to it.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The station address of who sends to it.
pub(crate) const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xee, 0x01];
/// The port of the first socket; the others follow.
pub(crate) const FIRST_PORT: u16 = 10_000;
const PEER_PORT: u16 = 4_000;

/// Sockets' ports.
pub(crate) fn port_of(socket: usize) -> u16 {
    FIRST_PORT.wrapping_add(socket as u16)
}

/// Frames that arrive over and over in the same order.
pub(crate) struct Traffic {
    bytes: Vec<u8>,
    frame_len: usize,
    /// Where the next frame starts.
    at: usize,
}

impl Traffic {
    pub(crate) fn new(scenario: &Scenario, to: [u8; 6]) -> Self {
        let frame = |socket| match scenario.service {
            Service::Ping => ping(to, scenario.payload),
            _ => datagram(to, port_of(socket), scenario.payload),
        };
        Self {
            bytes: scenario.order().into_iter().flat_map(frame).collect(),
            frame_len: scenario.frame_len(),
            at: 0,
        }
    }

    /// The next frame.
    #[inline]
    pub(crate) fn next(&mut self) -> &[u8] {
        let start = self.advance();
        &self.bytes[start..start + self.frame_len]
    }

    /// The next frames.
    #[inline]
    pub(crate) fn next_batch(&mut self) -> [&[u8]; BATCH] {
        let starts: [usize; BATCH] = array::from_fn(|_| self.advance());
        starts.map(|start| &self.bytes[start..start + self.frame_len])
    }

    #[inline]
    fn advance(&mut self) -> usize {
        let start = self.at;
        self.at += self.frame_len;
        if self.at == self.bytes.len() {
            self.at = 0;
        }
        start
    }

    /// Changes the last byte of every frame, and no checksum.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self) {
        for frame in self.bytes.chunks_mut(self.frame_len) {
            if let Some(last) = frame.last_mut() {
                *last ^= 1;
            }
        }
    }
}

/// The sockets in the order in which the frames are for them.
pub(crate) struct Readers {
    order: Vec<usize>,
    at: usize,
}

impl Readers {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            order: scenario.order(),
            at: 0,
        }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        let socket = self.order[self.at];
        self.at += 1;
        if self.at == self.order.len() {
            self.at = 0;
        }
        socket
    }
}

/// The payload of each frame.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8 ^ 0x5a).collect()
}

/// An ARP request of the peer (RFC 826), from which a host learns where it is.
pub(crate) fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(PEER_MAC);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(PEER_MAC);
    frame.extend(PEER.octets());
    frame.extend([0; 6]);
    frame.extend(OURS.octets());
    frame
}

/// A UDP datagram (RFC 768) in its frame.
fn datagram(to: [u8; 6], port: u16, payload_len: usize) -> Vec<u8> {
    let length = (payload_len + 8) as u16;
    let mut udp = Vec::new();
    for word in [PEER_PORT, port, length, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(payload(payload_len));
    let mut summed = [PEER.octets(), OURS.octets()].concat();
    summed.extend([0, 17]);
    summed.extend(length.to_be_bytes());
    summed.extend(&udp);
    udp[6..8].copy_from_slice(&checksum(&summed).to_be_bytes());
    ip(to, 17, &udp)
}

/// An ICMP echo request (RFC 792) in its frame.
fn ping(to: [u8; 6], payload_len: usize) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    icmp.extend(payload(payload_len));
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(to, 1, &icmp)
}

fn ip(to: [u8; 6], protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((body.len() as u16 + 20).to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(PEER.octets());
    header.extend(OURS.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let frame = [&to[..], &PEER_MAC, &[8, 0], &header, body].concat();
    debug_assert!(frame.len() >= HEADERS);
    frame
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
