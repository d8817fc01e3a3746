//! The early path and the layers, side by side: two hosts get the same frames,
//! and one of them has a tap, so that all its packets go by the layers.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as a test does"
)]

use crate::checksum::{self, pseudo_header_v4};
use crate::link::{PacketTap, Tapped};
use crate::wire::ipv4::IpProtocol;
use crate::{Snmp, Stack, StackConfig, UdpOptions, UdpSocket};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use proptest::prelude::*;
use softnet_nic_hal::QueueId;
use softnet_nic_hal::testing::{LoopConfig, LoopNic, LoopPort};
use softnet_softirq::{Clock, VirtualClock};
use std::format;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PAYLOAD: usize = 22;

struct Ignore;

impl PacketTap for Ignore {
    fn packet(&mut self, _packet: Tapped<'_>) {}
}

struct Host {
    stack: Stack,
    port: LoopPort,
    sockets: Vec<UdpSocket>,
}

impl Host {
    fn new(by_layers: bool) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(1_000_000_000));
        let mut config = StackConfig::default();
        config.pool.frames = 1024;
        let mut stack = Stack::new(&config, &clock).unwrap();
        let (nic, port) = LoopNic::new(LoopConfig::default());
        let dev = stack.add_nic(nic, &Default::default()).unwrap();
        stack.add_address(dev, IpAddr::V4(OURS), 24).unwrap();
        if by_layers {
            stack.add_tap(|_| Box::new(Ignore)).unwrap();
        }
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let bound = [(any, 7), (IpAddr::V4(OURS), 8)];
        let sockets = bound.map(|(ip, port)| {
            let address = SocketAddr::new(ip, port);
            stack.udp_bind(address, &UdpOptions::default()).unwrap()
        });
        stack.run_until_idle();
        let sockets = sockets.into();
        Self {
            stack,
            port,
            sockets,
        }
    }

    /// Everything that a frame does to the host, in words.
    fn outcome(&mut self, frame: &[u8]) -> Vec<alloc::string::String> {
        self.port.inject(QueueId(0), frame);
        self.stack.run_until_idle();
        let mut seen = Vec::new();
        for socket in &mut self.sockets {
            while let Ok(datagram) = socket.try_recv() {
                let stamp = datagram.timestamp_ns();
                let (from, to) = (datagram.from(), datagram.to());
                seen.push(format!("{:?} {from} {to} {stamp:?}", &datagram[..]));
            }
        }
        self.port.transmitted(QueueId(0), 64, |sent| {
            seen.push(format!("sent {sent:?}"));
        });
        let counters = self.stack.counters(0).unwrap();
        seen.push(format!("delivered {}", counters.delivered()));
        let drops = counters.rx_drops.iter().filter(|(_, count)| *count > 0);
        seen.extend(drops.map(|drop| format!("{drop:?}")));
        let snmp = Snmp::ALL.iter().map(|&each| counters.snmp.value(each));
        seen.push(format!("{:?}", snmp.collect::<Vec<_>>()));
        seen
    }
}

/// A sound datagram to one of the sockets.
fn sound(to: u16) -> Vec<u8> {
    let length = (PAYLOAD + 8) as u16;
    let mut udp = Vec::new();
    for word in [4000, to, length, 0] {
        udp.extend(u16::to_be_bytes(word));
    }
    udp.extend([7; PAYLOAD]);
    let pseudo = pseudo_header_v4(PEER, OURS, IpProtocol::UDP, length);
    let sum = pseudo.combine(checksum::Sum::of(&udp)).finish();
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut ip = Vec::from([0x45, 0]);
    ip.extend((length + 20).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(PEER.octets());
    ip.extend(OURS.octets());
    let mac = LoopConfig::default().mac.0;
    let mut frame = [&mac[..], &[2, 0, 0, 0, 9, 9], &[8, 0], &ip, &udp].concat();
    mend_header(&mut frame);
    frame
}

/// Makes the IPv4 header's checksum right for what the header says now.
fn mend_header(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum::checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Makes the UDP checksum right too, if the lengths allow.
fn mend_datagram(frame: &mut [u8]) {
    let length = u16::from_be_bytes([frame[38], frame[39]]);
    let end = 34 + usize::from(length);
    if length < 8 || end > frame.len() {
        return;
    }
    frame[40..42].fill(0);
    let [mut source, mut destination] = [[0; 4]; 2];
    source.copy_from_slice(&frame[26..30]);
    destination.copy_from_slice(&frame[30..34]);
    let pseudo = pseudo_header_v4(
        source.into(),
        destination.into(),
        IpProtocol(frame[23]),
        length,
    );
    let sum = pseudo.combine(checksum::Sum::of(&frame[34..end])).finish();
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn a_datagram_that_is_taken_early_is_counted_as_delivered() {
    let mut host = Host::new(false);
    host.outcome(&sound(7));
    assert_eq!(host.stack.counters(0).unwrap().delivered(), 1);
}

/// What the early path remembers of the last packet is right only until the
/// sockets or the addresses change.
#[test]
fn a_train_ends_with_its_socket_and_with_its_address() {
    type Change = fn(&mut Host);
    let changes: [Change; 4] = [
        |host| drop(host.sockets.remove(0)),
        |host| {
            drop(host.sockets.remove(0));
            let address = SocketAddr::new(IpAddr::V4(OURS), 7);
            let another = host.stack.udp_bind(address, &UdpOptions::default());
            host.sockets.push(another.unwrap());
        },
        |host| {
            let peer = SocketAddr::new(IpAddr::V4(PEER), 53);
            let socket = &mut host.sockets[0];
            host.stack.udp_connect(socket, peer).unwrap();
        },
        |host| {
            let dev = host.stack.interfaces()[0].index();
            host.stack.remove_address(dev, IpAddr::V4(OURS)).unwrap();
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let (mut early, mut layers) = (Host::new(false), Host::new(true));
        for _ in 0..2 {
            assert_eq!(early.outcome(&sound(7)), layers.outcome(&sound(7)));
        }
        for host in [&mut early, &mut layers] {
            change(host);
            host.stack.run_until_idle();
        }
        let (one, other) = (early.outcome(&sound(7)), layers.outcome(&sound(7)));
        assert_eq!(one, other, "change {n}");
    }
}

/// Every bit of the headers, wrong by itself, with the checksums left as they
/// were and made right.
#[test]
fn both_paths_agree_on_every_single_wrong_bit() {
    let (mut early, mut layers) = (Host::new(false), Host::new(true));
    for bit in 0..42 * 8 {
        for mend in 0..3 {
            let mut frame = sound(7);
            frame[bit / 8] ^= 1 << (bit % 8);
            if mend > 0 {
                mend_header(&mut frame);
            }
            if mend > 1 {
                mend_datagram(&mut frame);
            }
            let (one, other) = (early.outcome(&frame), layers.outcome(&frame));
            assert_eq!(one, other, "bit {bit}, mended {mend}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_paths_agree_on_damaged_frames(
        frames in prop::collection::vec(
            (
                prop_oneof![Just(7u16), Just(8), Just(9)],
                prop::collection::vec((0usize..64, any::<u8>()), 0..4),
                0usize..70,
                0u8..3,
            ),
            1..40,
        ),
    ) {
        let (mut early, mut layers) = (Host::new(false), Host::new(true));
        for (to, damage, len, mend) in frames {
            let mut frame = sound(to);
            for (at, value) in damage {
                frame[at] = value;
            }
            if mend > 0 {
                mend_header(&mut frame);
            }
            if mend > 1 {
                mend_datagram(&mut frame);
            }
            // Padded, or cut short anywhere behind the Ethernet header.
            if len >= 14 {
                frame.resize(len, 0);
            }
            prop_assert_eq!(early.outcome(&frame), layers.outcome(&frame));
        }
    }
}
