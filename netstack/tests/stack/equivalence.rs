//! Early demultiplexing and the layers never disagree: the same frames go
//! through a stack that may take the short way and one whose tap forbids it.

use super::host::{
    Host, OUR_MAC, OURS, PEER, Packet, QUEUE, fix_ip_checksum, fix_udp_checksum, peer,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use proptest::prelude::*;
use softnet_netstack::{DropReason, PacketTap, Snmp, Tapped, UdpOptions, UdpSocket};

struct Idle;

impl PacketTap for Idle {
    fn packet(&mut self, _packet: Tapped<'_>) {}
}

const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);

pub(crate) struct Rig {
    pub(crate) host: Host,
    pub(crate) sockets: Vec<UdpSocket>,
}

impl Rig {
    fn new(tapped: bool) -> Self {
        let mut host = Host::new(1).knows_peer();
        if tapped {
            host.stack.add_tap(|_| Box::new(Idle)).unwrap();
        }
        let dev = host.dev;
        host.stack
            .add_address(dev, IpAddr::V4(SECOND_ADDRESS), 24)
            .unwrap();
        let any = Ipv4Addr::UNSPECIFIED;
        let small = UdpOptions {
            receive_buffer: 5000,
            ..UdpOptions::default()
        };
        let usual = UdpOptions::default();
        let mut connected = host.bind_with(OURS, 9, &usual);
        host.stack.udp_connect(&mut connected, peer(4000)).unwrap();
        let sockets = vec![
            connected,
            host.bind_with(any, 7, &usual),
            host.bind_with(OURS, 8, &usual),
            host.bind_with(SECOND_ADDRESS, 8, &usual),
            host.bind_with(any, 10, &small),
        ];
        Self { host, sockets }
    }

    fn read(&mut self) -> Vec<Read> {
        let mut all = Vec::new();
        for (at, socket) in self.sockets.iter_mut().enumerate() {
            while let Ok(d) = socket.try_recv() {
                all.push((at, d.to_vec(), d.from(), d.to(), d.timestamp_ns()));
            }
        }
        all
    }

    fn counts(&self) -> Vec<(String, u64)> {
        let snmp = Snmp::ALL.map(|c| (format!("{:?}", c.name()), self.host.snmp(c)));
        let counters = self.host.stack.counters(0).unwrap();
        let drops = DropReason::all().flat_map(|reason| {
            [
                (format!("{reason:?}"), counters.drops.load(reason)),
                (format!("rx {reason:?}"), counters.rx_drops.load(reason)),
            ]
        });
        let delivered = ("delivered".to_string(), counters.delivered());
        let drops_of = self.sockets.iter().map(|s| ("socket".into(), s.drops()));
        let mut all: Vec<_> = snmp.into_iter().chain(drops).collect();
        all.extend(drops_of);
        all.push(delivered);
        all
    }
}

/// A datagram: its socket, bytes, sender, destination and time.
type Read = (usize, Vec<u8>, SocketAddr, SocketAddr, Option<u64>);

#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Set(usize, u8),
    Flip(usize, u8),
    Truncate(usize),
    Pad(usize),
    FixIp,
    FixUdp,
    NoUdpChecksum,
}

impl Mutation {
    fn apply(&self, frame: &mut Vec<u8>) {
        match *self {
            Self::Set(at, value) => {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            Self::Flip(at, bit) => {
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Truncate(len) => frame.truncate(len.max(14)),
            Self::Pad(len) => frame.resize(frame.len() + len, 0xa5),
            Self::FixIp => fix_ip_checksum(frame),
            Self::FixUdp => fix_udp_checksum(frame),
            Self::NoUdpChecksum => {
                if let Some(field) = frame.get_mut(40..42) {
                    field.fill(0);
                }
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let header = 0..46usize;
    prop_oneof![
        (header.clone(), any::<u8>()).prop_map(|(at, value)| Mutation::Set(at, value)),
        (header, 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (14..100usize).prop_map(Mutation::Truncate),
        (1..30usize).prop_map(Mutation::Pad),
        Just(Mutation::FixIp),
        Just(Mutation::FixUdp),
        Just(Mutation::NoUdpChecksum),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    let source = prop_oneof![
        6 => Just(PEER),
        2 => Just(Ipv4Addr::new(10, 0, 0, 3)),
        1 => prop::sample::select(vec![
            OURS,
            SECOND_ADDRESS,
            Ipv4Addr::new(10, 0, 0, 255),
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(224, 0, 0, 5),
            Ipv4Addr::new(250, 0, 0, 5),
        ]),
    ];
    let destination = prop_oneof![
        6 => Just(OURS),
        2 => Just(SECOND_ADDRESS),
        1 => prop::sample::select(vec![
            Ipv4Addr::new(10, 0, 0, 255),
            Ipv4Addr::BROADCAST,
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::new(224, 0, 0, 1),
            Ipv4Addr::new(224, 0, 0, 2),
            Ipv4Addr::new(10, 0, 0, 9),
            Ipv4Addr::UNSPECIFIED,
        ]),
    ];
    let mac = prop_oneof![
        8 => Just(OUR_MAC),
        1 => Just([0xff; 6]),
        1 => Just([1, 0, 0x5e, 0, 0, 1]),
        1 => Just([2, 0, 0, 0, 0, 2]),
    ];
    let options = prop_oneof![
        8 => Just(vec![]),
        1 => prop::sample::select(vec![
            vec![1, 1, 1, 0],
            vec![0x94, 4, 0, 0],
            vec![0x83, 7, 4, 10, 0, 0, 1, 0],
            vec![7, 200, 4, 0],
        ]),
    ];
    let fragment = prop_oneof![8 => Just(0x4000u16), 2 => Just(0), 1 => any::<u16>()];
    let ports = (4000..4003u16, 6..12u16);
    let payload = prop::collection::vec(any::<u8>(), 0..50);
    (source, destination, mac, options, fragment, ports, payload).prop_map(
        |(source, destination, mac, options, fragment, (from, to), payload)| Packet {
            options,
            fragment,
            ..Packet::udp(from, to, &payload)
                .from(source)
                .to(destination)
                .framed_to(mac)
        },
    )
}

pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (packet(), prop::collection::vec(mutation(), 0..4)).prop_map(|(packet, how)| {
        let mut frame = packet.emit();
        how.iter().for_each(|mutation| mutation.apply(&mut frame));
        frame
    });
    let echo = prop::collection::vec(any::<u8>(), 0..20).prop_map(|data| super::host::ping(&data));
    let arps = prop_oneof![
        Just(super::host::arp_answer()),
        Just(super::host::arp(
            1,
            (super::host::PEER_MAC, PEER),
            ([0; 6], OURS)
        ))
    ];
    prop_oneof![
        4 => packet().prop_map(|packet| packet.emit()),
        8 => mutated,
        1 => prop::collection::vec(any::<u8>(), 14..120),
        1 => echo,
        1 => arps,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_short_way_and_the_layers_agree(
        bursts in prop::collection::vec((prop::collection::vec(frame(), 1..12), any::<bool>()), 1..10),
    ) {
        let (mut short, mut layers) = (Rig::new(false), Rig::new(true));
        for (burst, reads) in bursts {
            let frames: Vec<&[u8]> = burst.iter().map(Vec::as_slice).collect();
            for rig in [&mut short, &mut layers] {
                rig.host.port.inject_batch(QUEUE, &frames);
                rig.host.stack.run_until_idle();
            }
            prop_assert_eq!(short.host.sent(), layers.host.sent());
            prop_assert_eq!(short.counts(), layers.counts());
            if reads {
                prop_assert_eq!(short.read(), layers.read());
            }
        }
        prop_assert_eq!(short.read(), layers.read());
    }
}
