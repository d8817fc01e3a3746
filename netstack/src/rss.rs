//! Receive-side scaling: which CPU a flow belongs to.
//!
//! The hash is Toeplitz's as Microsoft's RSS specification defines it and NICs
//! compute it, so that a flow goes to the same CPU whether a NIC or this code
//! has hashed it. Each set bit of the input contributes the 32 bits of the key
//! that start at its position; bits do not influence each other, so the
//! contributions of a byte can be looked up. A table for each position costs
//! 1 KiB, of which a flow touches one cache line: 12 lines for an IPv4 flow with
//! its ports.

use crate::wire::{Fragment, IpProtocol};
use alloc::boxed::Box;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use softnet_dma_ring::HashKind;

/// Bytes of the longest input: an IPv6 flow.
const INPUT: usize = 36;
/// Bytes of a key: every bit of the longest input has 32 bits from its own
/// position on.
pub const KEY_LEN: usize = INPUT + 4;
/// Entries of the indirection table.
pub const INDIRECTION_LEN: usize = 128;

/// The key of Microsoft's specification, which most drivers set by default.
pub const DEFAULT_KEY: [u8; KEY_LEN] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// A key that repeats every 16 bits, so that both directions of a flow have one
/// hash (Woo and Park, "Scalable TCP Session Monitoring with Symmetric
/// Receive-side Scaling", 2012).
pub const SYMMETRIC_KEY: [u8; KEY_LEN] = {
    let mut key = [0x5a; KEY_LEN];
    let mut at = 0;
    while at < KEY_LEN {
        key[at] = 0x6d;
        at += 2;
    }
    key
};

/// The Toeplitz hash for one key.
#[derive(Clone)]
pub struct Toeplitz {
    /// By position and value of an input byte.
    tables: Box<[[u32; 256]; INPUT]>,
}

impl Toeplitz {
    /// Computes the tables of a key.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut tables = Box::new([[0; 256]; INPUT]);
        for (at, table) in tables.iter_mut().enumerate() {
            fill(table, window(key, at));
        }
        Self { tables }
    }

    /// The hash over two IPv4 addresses.
    #[must_use]
    #[inline]
    pub fn hash_v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> u32 {
        self.part(0, source.octets()) ^ self.part(4, destination.octets())
    }

    /// The hash over two IPv6 addresses.
    #[must_use]
    #[inline]
    pub fn hash_v6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> u32 {
        self.part(0, source.octets()) ^ self.part(16, destination.octets())
    }

    /// The hash over the two addresses of a packet (2-tuple). Addresses of
    /// different families, which no packet has, count as IPv6.
    #[must_use]
    #[inline]
    pub fn hash_addresses(&self, source: IpAddr, destination: IpAddr) -> u32 {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.hash_v4(source, destination),
            (source, destination) => self.hash_v6(to_v6(source), to_v6(destination)),
        }
    }

    /// The hash over the addresses and ports of a packet (4-tuple).
    #[must_use]
    #[inline]
    pub fn hash_flow(&self, source: SocketAddr, destination: SocketAddr) -> u32 {
        let ports = ports_at(source.ip(), destination.ip());
        self.hash_addresses(source.ip(), destination.ip())
            ^ self.part(ports, source.port().to_be_bytes())
            ^ self.part(ports + 2, destination.port().to_be_bytes())
    }

    /// The hash of a packet that starts with its IPv4 header, over the ports
    /// too if it is a whole TCP or UDP packet; 0 and [`HashKind::None`] if it is
    /// no IPv4 packet. It checks no more than that, so it does not replace
    /// parsing.
    #[must_use]
    #[inline]
    pub fn hash_ipv4_packet(&self, packet: &[u8]) -> (u32, HashKind) {
        let Some(header) = packet.first_chunk::<20>() else {
            return (0, HashKind::None);
        };
        if header[0] >> 4 != 4 {
            return (0, HashKind::None);
        }
        let hash = (12..20).fold(0, |hash, at| {
            hash ^ self.tables[at - 12][usize::from(header[at])]
        });
        let start = usize::from(header[0] & 0xf) * 4;
        let ports = packet.get(start..).and_then(|rest| rest.first_chunk::<4>());
        match ports {
            Some(ports) if has_ports(header) => (hash ^ self.part(8, *ports), HashKind::L4),
            _ => (hash, HashKind::L3),
        }
    }

    /// What `bytes` contribute from position `at` on.
    #[inline]
    fn part<const N: usize>(&self, at: usize, bytes: [u8; N]) -> u32 {
        let tables = self.tables[at..].iter();
        tables
            .zip(bytes)
            .fold(0, |hash, (table, byte)| hash ^ table[usize::from(byte)])
    }
}

impl fmt::Debug for Toeplitz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Toeplitz").finish_non_exhaustive()
    }
}

/// The 40 bits of the key that a byte at position `at` sees, in the upper bits.
fn window(key: &[u8; KEY_LEN], at: usize) -> u64 {
    let bytes = key.iter().skip(at).take(5);
    bytes.fold(0, |window, &byte| window << 8 | u64::from(byte)) << 24
}

/// Fills the table of one position: a value is the value without its lowest set
/// bit, and that bit's own contribution.
fn fill(table: &mut [u32; 256], window: u64) {
    for value in 1..256usize {
        let lowest = value.trailing_zeros();
        let rest = table[value & (value - 1)];
        table[value] = rest ^ (window << (7 - lowest) >> 32) as u32;
    }
}

/// Where the ports are in the input.
#[inline]
fn ports_at(source: IpAddr, destination: IpAddr) -> usize {
    if source.is_ipv4() && destination.is_ipv4() {
        8
    } else {
        32
    }
}

fn to_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// A fragment's ports are in the first one only, so that the others would go
/// elsewhere if it counted them.
#[inline]
fn has_ports(header: &[u8; 20]) -> bool {
    let whole = !Fragment(u16::from_be_bytes([header[6], header[7]])).is_fragment();
    whole && matches!(IpProtocol(header[9]), IpProtocol::TCP | IpProtocol::UDP)
}

/// Which CPU each flow belongs to: the hash and the indirection table.
#[derive(Clone, Debug)]
pub struct Rss {
    key: [u8; KEY_LEN],
    toeplitz: Toeplitz,
    indirection: [u16; INDIRECTION_LEN],
}

impl Rss {
    /// Spreads flows evenly over CPUs 0 to `cpus - 1`; with none, all go to
    /// CPU 0.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN], cpus: u16) -> Self {
        let cpus = usize::from(cpus.max(1));
        Self {
            key: *key,
            toeplitz: Toeplitz::new(key),
            indirection: core::array::from_fn(|entry| (entry % cpus) as u16),
        }
    }

    /// The same hash with another indirection table.
    #[must_use]
    pub fn with_indirection(mut self, indirection: [u16; INDIRECTION_LEN]) -> Self {
        self.indirection = indirection;
        self
    }

    /// The key of the hash.
    #[must_use]
    pub const fn key(&self) -> &[u8; KEY_LEN] {
        &self.key
    }

    /// The highest CPU that the table names.
    pub(crate) fn max_cpu(&self) -> u16 {
        self.indirection.iter().copied().max().unwrap_or(0)
    }

    /// The hash.
    #[must_use]
    #[inline]
    pub const fn toeplitz(&self) -> &Toeplitz {
        &self.toeplitz
    }

    /// The CPU of a hash: the indirection table's entry for its lowest 7 bits.
    #[must_use]
    #[inline]
    pub const fn cpu(&self, hash: u32) -> u16 {
        self.indirection[hash as usize % INDIRECTION_LEN]
    }

    /// The CPU that receives what `remote` sends to `local`.
    #[must_use]
    #[inline]
    pub fn cpu_of_flow(&self, local: SocketAddr, remote: SocketAddr) -> u16 {
        self.cpu(self.toeplitz.hash_flow(remote, local))
    }

    /// The CPUs that receive what `remote` sends to `local`, by local port: with
    /// it `connect` picks a port whose answers come to the CPU that it runs on.
    #[must_use]
    pub fn return_flow(&self, local: IpAddr, remote: SocketAddr) -> ReturnFlow<'_> {
        let local_without_port = SocketAddr::new(local, 0);
        ReturnFlow {
            rss: self,
            hash: self.toeplitz.hash_flow(remote, local_without_port),
            port_at: ports_at(remote.ip(), local) + 2,
        }
    }
}

/// A flow whose local port is still open; see [`Rss::return_flow`].
#[derive(Clone, Copy, Debug)]
pub struct ReturnFlow<'a> {
    rss: &'a Rss,
    /// The hash for port 0, which contributes nothing.
    hash: u32,
    port_at: usize,
}

impl ReturnFlow<'_> {
    /// The CPU that receives the answers if the local port is `port`.
    #[must_use]
    #[inline]
    pub fn cpu(&self, port: u16) -> u16 {
        let part = self.rss.toeplitz.part(self.port_at, port.to_be_bytes());
        self.rss.cpu(self.hash ^ part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Destination, source, hash over addresses, hash over addresses and ports:
    /// "Verifying the RSS Hash Calculation" of Microsoft's specification.
    const VECTORS: [(&str, &str, u32, u32); 8] = [
        (
            "161.142.100.80:1766",
            "66.9.149.187:2794",
            0x323e_8fc2,
            0x51cc_c178,
        ),
        (
            "65.69.140.83:4739",
            "199.92.111.2:14230",
            0xd718_262a,
            0xc626_b0ea,
        ),
        (
            "12.22.207.184:38024",
            "24.19.198.95:12898",
            0xd2d0_a5de,
            0x5c2b_394a,
        ),
        (
            "209.142.163.6:2217",
            "38.27.205.30:48228",
            0x8298_9176,
            0xafc7_327f,
        ),
        (
            "202.188.127.2:1303",
            "153.39.163.191:44251",
            0x5d18_09c5,
            0x10e8_28a2,
        ),
        (
            "[3ffe:2501:200:3::1]:1766",
            "[3ffe:2501:200:1fff::7]:2794",
            0x2cc1_8cd5,
            0x4020_7d3d,
        ),
        (
            "[ff02::1]:4739",
            "[3ffe:501:8::260:97ff:fe40:efab]:14230",
            0x0f0c_461c,
            0xdde5_1bbf,
        ),
        (
            "[fe80::200:f8ff:fe21:67cf]:38024",
            "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
            0x4b61_e985,
            0x02d1_feef,
        ),
    ];

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_published_vectors_come_out() {
        let toeplitz = Toeplitz::new(&DEFAULT_KEY);
        for (to, from, addresses, flow) in VECTORS {
            let (to, from) = (address(to), address(from));
            assert_eq!(
                toeplitz.hash_addresses(from.ip(), to.ip()),
                addresses,
                "{from}"
            );
            assert_eq!(toeplitz.hash_flow(from, to), flow, "{from}");
        }
    }

    /// The definition, bit by bit.
    fn naive(key: &[u8; KEY_LEN], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
        let mut hash = 0;
        for at in 0..input.len() * 8 {
            for offset in 0..32 {
                hash ^= (bit(input, at) & bit(key, at + offset)) << (31 - offset);
            }
        }
        hash
    }

    fn packet(protocol: u8, fragment: u16, options: usize) -> std::vec::Vec<u8> {
        let mut packet = std::vec![0u8; 20 + 4 * options];
        packet[0] = 0x45 + options as u8;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[66, 9, 149, 187]);
        packet[16..20].copy_from_slice(&[161, 142, 100, 80]);
        packet.extend(2794u16.to_be_bytes());
        packet.extend(1766u16.to_be_bytes());
        packet
    }

    #[test]
    fn a_packet_hashes_as_its_flow() {
        let toeplitz = Toeplitz::new(&DEFAULT_KEY);
        let (l3, l4) = ((0x323e_8fc2, HashKind::L3), (0x51cc_c178, HashKind::L4));
        for options in [0, 1, 10] {
            assert_eq!(toeplitz.hash_ipv4_packet(&packet(17, 0, options)), l4);
            assert_eq!(toeplitz.hash_ipv4_packet(&packet(6, 0x4000, options)), l4);
        }
        assert_eq!(toeplitz.hash_ipv4_packet(&packet(1, 0, 0)), l3);
    }

    #[test]
    fn all_fragments_of_a_packet_hash_alike() {
        let toeplitz = Toeplitz::new(&DEFAULT_KEY);
        let l3 = (0x323e_8fc2, HashKind::L3);
        assert_eq!(toeplitz.hash_ipv4_packet(&packet(17, 0x2000, 0)), l3);
        assert_eq!(toeplitz.hash_ipv4_packet(&packet(17, 0x00b9, 0)), l3);
    }

    #[test]
    fn a_symmetric_key_hashes_both_directions_alike() {
        let toeplitz = Toeplitz::new(&SYMMETRIC_KEY);
        for (a, b, ..) in VECTORS {
            let (a, b) = (address(a), address(b));
            assert_eq!(toeplitz.hash_flow(a, b), toeplitz.hash_flow(b, a));
        }
    }

    #[test]
    fn flows_spread_over_the_cpus_alone() {
        let rss = Rss::new(&DEFAULT_KEY, 3);
        let mut seen = [0; 3];
        for hash in 0..INDIRECTION_LEN as u32 {
            seen[usize::from(rss.cpu(hash))] += 1;
        }
        assert_eq!(seen, [43, 43, 42]);
    }

    #[test]
    fn an_indirection_table_decides() {
        let rss = Rss::new(&DEFAULT_KEY, 4).with_indirection([7; INDIRECTION_LEN]);
        assert_eq!(rss.cpu(0xdead_beef), 7);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            key in prop::array::uniform32(any::<u8>()), more in any::<[u8; 8]>(),
            v4 in any::<[u8; 12]>(), v6 in prop::array::uniform32(any::<u8>()),
        ) {
            let key: [u8; KEY_LEN] = [key.as_slice(), &more].concat().try_into().unwrap();
            let toeplitz = Toeplitz::new(&key);
            prop_assert_eq!(toeplitz.part(0, v4), naive(&key, &v4));
            let long: [u8; INPUT] = [v6.as_slice(), &v4[..4]].concat().try_into().unwrap();
            prop_assert_eq!(toeplitz.part(0, long), naive(&key, &long));
        }

        #[test]
        fn a_return_flow_knows_the_cpu_of_each_port(
            vector in 0usize..8, port in any::<u16>(), cpus in 1u16..9,
        ) {
            let rss = Rss::new(&DEFAULT_KEY, cpus);
            let (local, remote) = (address(VECTORS[vector].0), address(VECTORS[vector].1));
            let flow = rss.return_flow(local.ip(), remote);
            let local = SocketAddr::new(local.ip(), port);
            prop_assert_eq!(flow.cpu(port), rss.cpu_of_flow(local, remote));
            prop_assert!(flow.cpu(port) < cpus);
        }
    }
}
