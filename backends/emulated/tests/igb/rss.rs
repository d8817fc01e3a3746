//! Receive side scaling against the vectors that Microsoft publishes ("Verifying
//! the RSS Hash Calculation").

use crate::rig::*;
use std::net::{IpAddr, SocketAddr};

const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Destination, source, the hash with the addresses alone, and with the ports.
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

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// The kinds of hashes, as the descriptor numbers them, and their bits in MRQC.
const TCP_IPV4: (u32, u32) = (1, 1 << 16);
const JUST_IPV4: (u32, u32) = (2, 1 << 17);
const TCP_IPV6: (u32, u32) = (3, 1 << 21);
const JUST_IPV6: (u32, u32) = (5, 1 << 20);
const UDP_IPV4: (u32, u32) = (7, 1 << 22);
const UDP_IPV6: (u32, u32) = (8, 1 << 23);

/// A packet without checksums.
fn packet(to: SocketAddr, from: SocketAddr, protocol: u8) -> Vec<u8> {
    let mut packet = MAC.0.to_vec();
    packet.extend([2, 0, 0, 0, 0, 1]);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, protocol, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => panic!("of one family"),
    }
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.resize(100, 0);
    packet
}

/// A card with all queues on, RSS by these fields, and entry N of the table naming
/// the queue N modulo `queues`.
fn card(fields: u32, queues: u32) -> (Rig, Vec<RxRing>) {
    let rig = Rig::new();
    let rings = (0..16).map(|queue| rig.rx_ring(queue, 32, ONE_BUFFER));
    let rings = rings.collect();
    for (index, word) in KEY.as_chunks::<4>().0.iter().enumerate() {
        rig.w(RSSRK + index as u32 * 4, u32::from_le_bytes(*word));
    }
    for index in 0..32 {
        let entries = [0, 1, 2, 3].map(|at| ((index * 4 + at) % queues) as u8);
        rig.w(RETA + index * 4, u32::from_le_bytes(entries));
    }
    rig.w(MRQC, fields | 2);
    rig.w(RXCSUM, 1 << 13);
    rig.w(RCTL, EN | SECRC);
    (rig, rings)
}

/// Which queue the packet went to, its hash, and of which kind that is.
fn spread(rig: &mut Rig, rings: &[RxRing], packet: &[u8]) -> (u32, u32, u32) {
    let heads = |rig: &Rig| {
        (0..16)
            .map(|q| rig.r(RX + q * 0x40 + HEAD))
            .collect::<Vec<_>>()
    };
    let before = heads(rig);
    rig.deliver(packet);
    let queue = heads(rig).iter().zip(&before).position(|(a, b)| a != b);
    let queue = queue.unwrap();
    let first = rings[queue].words(before[queue] as usize)[0];
    (queue as u32, (first >> 32) as u32, first as u32 & 0xf)
}

#[test]
fn hashes_are_those_that_are_published() {
    let all = [TCP_IPV4, JUST_IPV4, TCP_IPV6, JUST_IPV6, UDP_IPV4, UDP_IPV6];
    let (mut rig, rings) = card(all.iter().fold(0, |sum, kind| sum | kind.1), 16);
    for (to, from, plain, with_ports) in VECTORS {
        let (to, from): (SocketAddr, SocketAddr) = (to.parse().unwrap(), from.parse().unwrap());
        let kinds = if to.is_ipv4() {
            [TCP_IPV4, UDP_IPV4, JUST_IPV4]
        } else {
            [TCP_IPV6, UDP_IPV6, JUST_IPV6]
        };
        for (protocol, hash, kind) in [
            (TCP, with_ports, kinds[0].0),
            (UDP, with_ports, kinds[1].0),
            (ICMP, plain, kinds[2].0),
        ] {
            let found = spread(&mut rig, &rings, &packet(to, from, protocol));
            assert_eq!(
                found,
                (hash & 0xf, hash, kind),
                "{from} to {to}, {protocol}"
            );
        }
    }
}

#[test]
fn a_kind_that_is_not_enabled_is_not_hashed() {
    let (to, from, plain, with_ports) = VECTORS[0];
    let packet = packet(to.parse().unwrap(), from.parse().unwrap(), TCP);
    for (fields, expected) in [
        (0, (0, 0, 0)),
        (UDP_IPV4.1 | TCP_IPV6.1, (0, 0, 0)),
        (JUST_IPV4.1, (plain & 7, plain, 2)),
        (TCP_IPV4.1, (with_ports & 7, with_ports, 1)),
    ] {
        let (mut rig, rings) = card(fields, 8);
        assert_eq!(spread(&mut rig, &rings, &packet), expected, "{fields:#x}");
    }
}

#[test]
fn a_new_table_counts_from_the_next_frame_on() {
    let (mut rig, rings) = card(TCP_IPV4.1, 16);
    let (to, from, _, hash) = VECTORS[1];
    let packet = packet(to.parse().unwrap(), from.parse().unwrap(), TCP);
    assert_eq!(spread(&mut rig, &rings, &packet).0, hash & 0xf);
    for index in 0..32 {
        rig.w(RETA + index * 4, 0x0707_0707);
    }
    assert_eq!(spread(&mut rig, &rings, &packet).0, 7);
    rig.w(MRQC, 0);
    assert_eq!(spread(&mut rig, &rings, &packet), (0, 0, 0), "RSS is off");
}

#[test]
fn what_is_not_ip_goes_to_the_first_queue() {
    let (mut rig, rings) = card(JUST_IPV4.1, 16);
    assert_eq!(spread(&mut rig, &rings, &frame(MAC, 60)), (0, 0, 0));
}
