//! Receive side scaling (section 7.1.1.7): the Toeplitz hash over addresses and
//! ports, and the table of queues that it is looked up in.

use super::regs::{Registers, offset};
use crate::offload::{Headers, Network, Transport};

/// Bytes of the longest hash input: two IPv6 addresses and two ports.
const LONGEST: usize = 36;
/// Bytes of the key.
const KEY: usize = 40;

/// Bits of MRQC (section 8.10.9).
mod mrqc {
    /// Several queues by RSS.
    pub(super) const RSS: u32 = 2;
    pub(super) const MODE: u32 = 7;
    pub(super) const TCP_IPV4: u32 = 1 << 16;
    pub(super) const IPV4: u32 = 1 << 17;
    pub(super) const TCP_IPV6_EX: u32 = 1 << 18;
    pub(super) const IPV6_EX: u32 = 1 << 19;
    pub(super) const IPV6: u32 = 1 << 20;
    pub(super) const TCP_IPV6: u32 = 1 << 21;
    pub(super) const UDP_IPV4: u32 = 1 << 22;
    pub(super) const UDP_IPV6: u32 = 1 << 23;
    pub(super) const UDP_IPV6_EX: u32 = 1 << 24;
}

/// What was hashed, as in the descriptor (table 7-15).
mod kind {
    pub(super) const NONE: u8 = 0;
    pub(super) const TCP_IPV4: u8 = 1;
    pub(super) const IPV4: u8 = 2;
    pub(super) const TCP_IPV6: u8 = 3;
    pub(super) const IPV6_EX: u8 = 4;
    pub(super) const IPV6: u8 = 5;
    pub(super) const TCP_IPV6_EX: u8 = 6;
    pub(super) const UDP_IPV4: u8 = 7;
    pub(super) const UDP_IPV6: u8 = 8;
    pub(super) const UDP_IPV6_EX: u8 = 9;
}

/// What RSS says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Spread {
    pub(super) queue: u8,
    pub(super) hash: u32,
    /// The RSS type of the descriptor; 0: no hash.
    pub(super) kind: u8,
}

/// The registers, in the form that is quick to use: the hash of each byte value at
/// each place, which are added up without carry.
pub(super) struct Rss {
    enabled: bool,
    fields: u32,
    table: [u8; 128],
    hashes: Box<[[u32; 256]; LONGEST]>,
}

impl Rss {
    pub(super) fn new() -> Self {
        Self {
            enabled: false,
            fields: 0,
            table: [0; 128],
            hashes: Box::new([[0; 256]; LONGEST]),
        }
    }

    /// Takes MRQC, RETA and RSSRK over.
    pub(super) fn load(&mut self, registers: &Registers) {
        let mrqc = registers.load(offset::MRQC);
        self.enabled = mrqc & mrqc::MODE == mrqc::RSS;
        self.fields = mrqc;
        for (index, word) in self.table.chunks_exact_mut(4).enumerate() {
            let entries = registers
                .load(offset::RETA + index as u32 * 4)
                .to_le_bytes();
            for (entry, queue) in word.iter_mut().zip(entries) {
                *entry = queue & 0xf;
            }
        }
        if self.enabled {
            self.load_key(registers);
        }
    }

    fn load_key(&mut self, registers: &Registers) {
        let mut key = [0; KEY];
        for (index, bytes) in key.chunks_exact_mut(4).enumerate() {
            let word = registers.load(offset::RSSRK + index as u32 * 4);
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        for (place, hashes) in self.hashes.iter_mut().enumerate() {
            // The five bytes of the key that a byte at this place meets.
            let window = key[place..].iter().take(5);
            let window = window.fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
            for (value, hash) in hashes.iter_mut().enumerate() {
                let bits = (0..8).filter(|bit| value & 0x80 >> bit != 0);
                *hash = bits.fold(0, |sum, bit| sum ^ (window >> (8 - bit)) as u32);
            }
        }
    }

    /// Which queue a frame goes to.
    #[inline]
    pub(super) fn spread(&self, frame: &[u8], headers: Option<&Headers>) -> Spread {
        match headers {
            Some(headers) if self.enabled => self.of_headers(frame, headers),
            _ => Spread::default(),
        }
    }

    #[inline]
    fn of_headers(&self, frame: &[u8], headers: &Headers) -> Spread {
        let kind = self.kind(headers);
        let hash = match kind {
            kind::NONE => None,
            kind::IPV4 | kind::IPV6 | kind::IPV6_EX => self.hash(frame, headers, false),
            _ => self.hash(frame, headers, true),
        };
        hash.map_or(Spread::default(), |hash| Spread {
            queue: self.table[(hash & 0x7f) as usize],
            hash,
            kind,
        })
    }

    /// The most specific kind that MRQC lets be hashed.
    #[inline]
    fn kind(&self, headers: &Headers) -> u8 {
        let transport = match headers.transport {
            _ if headers.fragment => Transport::Other,
            transport => transport,
        };
        let choices: &[(u32, u8)] = match (headers.network, transport, headers.extended) {
            (Network::Ipv4, Transport::Tcp, _) => {
                &[(mrqc::TCP_IPV4, kind::TCP_IPV4), (mrqc::IPV4, kind::IPV4)]
            }
            (Network::Ipv4, Transport::Udp, _) => {
                &[(mrqc::UDP_IPV4, kind::UDP_IPV4), (mrqc::IPV4, kind::IPV4)]
            }
            (Network::Ipv4, ..) => &[(mrqc::IPV4, kind::IPV4)],
            (Network::Ipv6, transport, extended) => ipv6_choices(transport, extended),
        };
        let allowed = choices.iter().find(|(field, _)| self.fields & field != 0);
        allowed.map_or(kind::NONE, |&(_, kind)| kind)
    }

    #[inline]
    fn hash(&self, frame: &[u8], headers: &Headers, ports: bool) -> Option<u32> {
        let (first, len) = match headers.network {
            Network::Ipv4 => (12, 8),
            Network::Ipv6 => (8, 32),
        };
        let at = headers.network_at + first;
        let hash = self.sum(0, frame.get(at..at + len)?);
        if !ports {
            return Some(hash);
        }
        let at = headers.transport_at;
        Some(hash ^ self.sum(len, frame.get(at..at + 4)?))
    }

    #[inline]
    fn sum(&self, place: usize, bytes: &[u8]) -> u32 {
        let hashes = self.hashes.iter().skip(place);
        let parts = bytes.iter().zip(hashes);
        parts.fold(0, |sum, (&byte, hashes)| sum ^ hashes[usize::from(byte)])
    }
}

/// With extension headers, the kinds that take them count too.
fn ipv6_choices(transport: Transport, extended: bool) -> &'static [(u32, u8)] {
    match (transport, extended) {
        (Transport::Tcp, false) => &[
            (mrqc::TCP_IPV6, kind::TCP_IPV6),
            (mrqc::TCP_IPV6_EX, kind::TCP_IPV6_EX),
            (mrqc::IPV6, kind::IPV6),
            (mrqc::IPV6_EX, kind::IPV6_EX),
        ],
        (Transport::Udp, false) => &[
            (mrqc::UDP_IPV6, kind::UDP_IPV6),
            (mrqc::UDP_IPV6_EX, kind::UDP_IPV6_EX),
            (mrqc::IPV6, kind::IPV6),
            (mrqc::IPV6_EX, kind::IPV6_EX),
        ],
        (Transport::Tcp, true) => &[
            (mrqc::TCP_IPV6_EX, kind::TCP_IPV6_EX),
            (mrqc::IPV6_EX, kind::IPV6_EX),
            (mrqc::IPV6, kind::IPV6),
        ],
        (Transport::Udp, true) => &[
            (mrqc::UDP_IPV6_EX, kind::UDP_IPV6_EX),
            (mrqc::IPV6_EX, kind::IPV6_EX),
            (mrqc::IPV6, kind::IPV6),
        ],
        _ => &[(mrqc::IPV6, kind::IPV6), (mrqc::IPV6_EX, kind::IPV6_EX)],
    }
}
