//! Traffic for experiments: datagrams that say when they came.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use softnet_netstack::wire::ipv4::Fragment;
use softnet_netstack::wire::{EtherType, EthernetHeader, IpProtocol, Ipv4Header, UdpHeader};
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::wire::{Wire, WireError};
use std::net::Ipv4Addr;

/// Bytes of a frame, without FCS: Ethernet's shortest.
const FRAME: usize = 60;
const HEADERS: usize = EthernetHeader::LEN + Ipv4Header::LEN + UdpHeader::LEN;

/// How packets follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances.
    Even,
    /// Independently of each other (a Poisson process), by a seeded generator.
    Poisson {
        /// The generator's seed.
        seed: u64,
    },
}

/// A wire from which UDP datagrams come at a rate; what is sent into it is gone.
/// Each carries the time at which it came, in nanoseconds, as its first eight bytes.
pub(super) struct Traffic {
    frame: [u8; FRAME],
    gap_ns: f64,
    /// When the next one comes; a fraction of a nanosecond counts too.
    next_ns: f64,
    left: u64,
    random: Option<Pcg32>,
}

/// Where the datagrams go.
pub(super) struct Destination {
    pub(super) mac: MacAddress,
    pub(super) ip: Ipv4Addr,
    pub(super) port: u16,
}

impl Traffic {
    /// `count` datagrams, `rate` a second, the first of them after `start_ns`.
    pub(super) fn new(
        to: &Destination,
        rate: u64,
        count: u64,
        arrivals: Arrivals,
        start_ns: u64,
    ) -> Self {
        let random = match arrivals {
            Arrivals::Even => None,
            Arrivals::Poisson { seed } => Some(Pcg32::seed_from_u64(seed)),
        };
        Self {
            frame: frame(to),
            gap_ns: 1e9 / rate as f64,
            next_ns: start_ns as f64,
            left: count,
            random,
        }
    }

    fn advance(&mut self) {
        self.left -= 1;
        self.next_ns += match &mut self.random {
            None => self.gap_ns,
            // The inverse of the exponential distribution; 1 - u is never 0.
            Some(random) => {
                let uniform = f64::from(random.next_u32()) / 4_294_967_296.0;
                -self.gap_ns * (1.0 - uniform).ln()
            }
        };
    }
}

impl Wire for Traffic {
    fn transmit(&mut self, _: &[u8], _: u64) -> Result<(), WireError> {
        Ok(())
    }

    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut passed = 0;
        while passed < budget && self.left > 0 && self.next_ns as u64 <= now_ns {
            let stamp = (self.next_ns as u64).to_be_bytes();
            self.frame[HEADERS..HEADERS + stamp.len()].copy_from_slice(&stamp);
            sink(&self.frame);
            self.advance();
            passed += 1;
        }
        passed
    }

    fn next_event_ns(&self) -> Option<u64> {
        // The time is a whole number when the frame may be taken.
        (self.left > 0).then_some(self.next_ns as u64)
    }
}

/// When a datagram of [`Traffic`] came.
pub(super) fn stamp(payload: &[u8]) -> Option<u64> {
    payload
        .first_chunk()
        .map(|bytes| u64::from_be_bytes(*bytes))
}

fn frame(to: &Destination) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let ethernet = EthernetHeader {
        destination: to.mac,
        source: MacAddress([2, 0, 0, 0, 0, 1]),
        ether_type: EtherType::IPV4,
    };
    let [a, b, c, _] = to.ip.octets();
    let ip = Ipv4Header {
        tos: 0,
        total_len: (FRAME - EthernetHeader::LEN) as u16,
        id: 0,
        fragment: Fragment::DONT,
        ttl: 64,
        protocol: IpProtocol::UDP,
        source: Ipv4Addr::new(a, b, c, 1),
        destination: to.ip,
    };
    // No checksum (RFC 768): the payload changes with each datagram.
    let udp = UdpHeader {
        source: 9,
        destination: to.port,
        length: ip.total_len - Ipv4Header::LEN as u16,
        checksum: 0,
    };
    let (link, rest) = frame.split_at_mut(EthernetHeader::LEN);
    let (network, rest) = rest.split_at_mut(Ipv4Header::LEN);
    if let Some(out) = link.first_chunk_mut() {
        ethernet.emit(out);
    }
    if let Some(out) = network.first_chunk_mut() {
        ip.emit(out);
    }
    if let Some(out) = rest.first_chunk_mut() {
        udp.emit(out);
    }
    frame
}
