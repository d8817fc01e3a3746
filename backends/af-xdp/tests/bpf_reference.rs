//! The program in the kernel against the steering's rules in Rust, on random frames.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod bpf_support;

use bpf_support::Filter;
use bpf_support::frames::{
    BROADCAST_MAC, Extension, Frame, Ipv4, Ipv6, MULTICAST_MAC, OTHER_MAC, OTHER_V4, OTHER_V6,
    OUR_MAC, OUR_V4, OUR_V6, arp,
};
use bpf_support::reference::Rules;
use fastrand::Rng;
use softnet_af_xdp::bpf::{Fragments, IpPrefix, MultiBuffer, Transport, Verdict, Vlans};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4: [Ipv4Addr; 4] = [
    OUR_V4,
    OTHER_V4,
    Ipv4Addr::new(10, 0, 0, 130),
    Ipv4Addr::new(192, 0, 2, 1),
];
const V6: [Ipv6Addr; 3] = [
    OUR_V6,
    OTHER_V6,
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
];
const MACS: [[u8; 6]; 4] = [OUR_MAC, OTHER_MAC, MULTICAST_MAC, BROADCAST_MAC];
/// Those with ports, some without, and numbers of extension headers.
const PROTOCOLS: [u8; 9] = [1, 6, 17, 33, 47, 58, 132, 136, 44];
const PORTS: [u16; 8] = [0, 1, 52, 53, 54, 9000, 9099, u16::MAX];

#[test]
fn the_kernel_decides_as_the_rules_say() {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return softnet_test_support::skip(reason),
    };
    let mut seen = BTreeMap::new();
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let rules = random_rules(&mut rng);
        filter.steer(&rules.steering());
        for _ in 0..200 {
            let frame = random_frame(&mut rng);
            let expected = rules.decide(&frame);
            let verdict = filter.judge(&frame);
            assert_eq!(verdict, expected, "seed {seed}: {rules:?}\n{frame:02x?}");
            *seen.entry(verdict as u32).or_insert(0_u32) += 1;
        }
    }
    // The frames have to reach every verdict; only a missing socket is no choice.
    let unseen = Verdict::ALL
        .into_iter()
        .filter(|&verdict| seen.get(&(verdict as u32)).is_none_or(|&count| count < 20));
    let unseen: Vec<_> = unseen.collect();
    assert_eq!(unseen, [Verdict::PassNoSocket], "{seen:?}");
}

fn random_rules(rng: &mut Rng) -> Rules {
    let some = |rng: &mut Rng| rng.u32(..4) == 0;
    Rules {
        all: rng.u32(..30) == 0,
        vlans: *pick(
            rng,
            &[Vlans::Any, Vlans::Any, Vlans::Untagged, Vlans::Id(5)],
        ),
        broadcast: rng.u32(..8) == 0,
        multicast: rng.u32(..8) == 0,
        macs: if rng.u32(..6) == 0 {
            vec![*pick(rng, &MACS)]
        } else {
            vec![]
        },
        addresses: list(rng, 2, random_prefix),
        ports_to: if some(rng) {
            list(rng, 2, random_prefix)
        } else {
            vec![]
        },
        ports: list(rng, 3, random_ports),
        protocols: if some(rng) {
            list(rng, 2, |rng| *pick(rng, &PROTOCOLS))
        } else {
            vec![]
        },
    }
}

fn random_prefix(rng: &mut Rng) -> IpPrefix {
    let address = random_address(rng);
    let whole = if address.is_ipv4() { 32 } else { 128 };
    // A prefix with bits set behind its end must work too.
    let len = if rng.bool() { whole } else { rng.u8(..=whole) };
    IpPrefix::new(address, len.max(whole / 4)).unwrap()
}

fn random_address(rng: &mut Rng) -> IpAddr {
    if rng.bool() {
        IpAddr::V4(*pick(rng, &V4))
    } else {
        IpAddr::V6(*pick(rng, &V6))
    }
}

fn random_ports(rng: &mut Rng) -> (Transport, std::ops::RangeInclusive<u16>, Fragments) {
    let (a, b) = (*pick(rng, &PORTS), *pick(rng, &PORTS));
    let fragments = *pick(rng, &[Fragments::Pass, Fragments::Take]);
    (*pick(rng, &Transport::ALL), a.min(b)..=a.max(b), fragments)
}

fn random_frame(rng: &mut Rng) -> Vec<u8> {
    let mut frame = match rng.u32(..10) {
        0 => Frame::new(rng.u16(..), bytes(rng, 60)),
        1 => arp(*pick(rng, &V4)),
        2..=5 => Frame::ipv4(&random_ipv4(rng)),
        _ => Frame::ipv6(&random_ipv6(rng)),
    };
    frame = frame.to(*pick(rng, &MACS));
    for _ in 0..[0, 0, 0, 1, 1, 2, 3][rng.usize(..7)] {
        frame = frame.tag(*pick(rng, &[0x8100, 0x88a8]), *pick(rng, &[0, 5, 6]));
    }
    damage(rng, frame.bytes())
}

fn random_ipv4(rng: &mut Rng) -> Ipv4 {
    Ipv4 {
        to: *pick(rng, &V4),
        protocol: *pick(rng, &PROTOCOLS),
        options: *pick(rng, &[0, 0, 0, 1, 10]),
        fragment: *pick(rng, &[0, 0, 0x4000, 0x8000, 0x2000, 0x2001, 0x1fff]),
        ..Ipv4::udp(OUR_V4, *pick(rng, &PORTS))
    }
}

fn random_ipv6(rng: &mut Rng) -> Ipv6 {
    let mut packet = if rng.u32(..4) == 0 {
        Ipv6::neighbour(*pick(rng, &[133, 134, 135, 136, 137]), *pick(rng, &V6))
    } else {
        Ipv6 {
            protocol: *pick(rng, &PROTOCOLS),
            ..Ipv6::udp(*pick(rng, &V6), *pick(rng, &PORTS))
        }
    };
    for _ in 0..[0, 0, 1, 2, 3, 6, 7][rng.usize(..7)] {
        packet = packet.behind(random_extension(rng));
    }
    packet
}

fn random_extension(rng: &mut Rng) -> Extension {
    match rng.u32(..4) {
        0 => Extension::Fragment(*pick(rng, &[0, 0, 0, 0x0006, 0x0001, 0x0100, 0xfff8])),
        _ => Extension::Options(*pick(rng, &[0, 43, 60]), *pick(rng, &[0, 0, 1, 30])),
    }
}

/// Cuts some frames, and changes a byte in others.
fn damage(rng: &mut Rng, mut frame: Vec<u8>) -> Vec<u8> {
    match rng.u32(..8) {
        0 => frame.truncate(rng.usize(14..=frame.len())),
        1 => {
            let place = rng.usize(..frame.len());
            frame[place] = rng.u8(..);
        }
        _ => {}
    }
    frame
}

fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

fn list<T>(rng: &mut Rng, most: usize, mut one: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    let len = rng.usize(..=most);
    (0..len).map(|_| one(rng)).collect()
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}
