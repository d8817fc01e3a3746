//! Three hosts do the same. One of them forgets its headers before each datagram, so
//! that the layers write them all, and one leaves its checksums to its NIC. Nobody can
//! tell them apart by what is on the wire.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as a test does"
)]

use crate::route::{IfIndex, IpPrefix, Route};
use crate::{
    Direction, DropReason, PacketTap, Snmp, Stack, StackConfig, Tapped, UdpOptions, UdpSocket,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use proptest::prelude::*;
use softnet_nic_hal::testing::{LoopConfig, LoopNic, LoopPort};
use softnet_nic_hal::{MacAddress, QueueId};
use softnet_softirq::{Clock, VirtualClock};
use std::format;

const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Debug)]
enum Op {
    Send {
        socket: usize,
        to: u8,
        port: u16,
        len: usize,
    },
    Neighbour {
        host: u8,
        mac: u8,
    },
    NoNeighbour {
        host: u8,
    },
    Answer {
        host: u8,
        mac: u8,
    },
    AddAddress(u8),
    RemoveAddress(u8),
    Route {
        via: u8,
        mtu: Option<u16>,
    },
    NoRoute,
    Connect {
        socket: usize,
        to: u8,
    },
    Reopen {
        socket: usize,
    },
    Wait(u64),
    Pull,
    Plug,
}

struct Host {
    stack: Stack,
    port: LoopPort,
    clock: Arc<VirtualClock>,
    dev: IfIndex,
    sockets: Vec<UdpSocket>,
    forgets: bool,
}

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn far() -> IpPrefix {
    IpPrefix::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), 24).unwrap()
}

fn bind(stack: &mut Stack, port: u16) -> UdpSocket {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    stack.udp_bind(any, &UdpOptions::default()).unwrap()
}

impl Host {
    fn new(forgets: bool) -> Self {
        Self::on(LoopConfig::default(), forgets)
    }

    /// On a NIC that fills in checksums.
    fn unsummed() -> Self {
        let config = LoopConfig {
            tx_checksum: true,
            ..LoopConfig::default()
        };
        Self::on(config, false)
    }

    fn on(nic: LoopConfig, forgets: bool) -> Self {
        let clock = Arc::new(VirtualClock::new(SECOND));
        let source: Arc<dyn Clock> = clock.clone();
        let mut config = StackConfig::default();
        config.pool.frames = 1024;
        let mut stack = Stack::new(&config, &source).unwrap();
        let (nic, port) = LoopNic::new(nic);
        let dev = stack.add_nic(nic, &Default::default()).unwrap();
        stack.add_address(dev, IpAddr::V4(host(2)), 24).unwrap();
        let sockets = (0..2).map(|n| bind(&mut stack, 1000 + n)).collect();
        Self {
            stack,
            port,
            clock,
            dev,
            sockets,
            forgets,
        }
    }

    fn send(&mut self, socket: usize, to: SocketAddr, len: usize) {
        if self.forgets {
            let forget = |shard: &mut crate::Shard| shard.transports.udp.forget_headers();
            self.stack.on_each_cpu(forget).unwrap();
        }
        let payload: Vec<u8> = (0..len).map(|n| n as u8 ^ 0xff).collect();
        let _ = self.sockets[socket].try_send_to(&payload, to);
    }

    /// An ARP reply to this host.
    fn answer(&mut self, from: u8, mac: u8) {
        let own = LoopConfig::default().mac.0;
        let mac = [2, 0, 0, 0, 9, mac];
        let frame = [
            &own[..],
            &mac,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &mac,
            &host(from).octets(),
            &own,
            &host(2).octets(),
        ];
        self.port.inject(QueueId(0), &frame.concat());
    }

    fn address_of(to: u8, port: u16) -> SocketAddr {
        // The hosts from 100 on are behind a router.
        let ip = if to < 100 {
            host(to)
        } else {
            Ipv4Addr::new(192, 0, 2, to)
        };
        SocketAddr::new(IpAddr::V4(ip), port)
    }

    fn apply(&mut self, op: &Op) {
        let dev = self.dev;
        match *op {
            Op::Send {
                socket,
                to,
                port,
                len,
            } => self.send(socket, Self::address_of(to, port), len),
            Op::Neighbour { host: at, mac } => {
                let mac = MacAddress([2, 0, 0, 0, 0, mac]);
                self.stack.add_neighbour(dev, host(at), mac).unwrap();
            }
            Op::NoNeighbour { host: at } => {
                let key = crate::neigh::NeighKey::new(dev, IpAddr::V4(host(at)));
                let remove = move |shard: &mut crate::Shard| shard.core.neighbours.remove(key);
                self.stack.on_each_cpu(remove).unwrap();
            }
            Op::Answer { host, mac } => self.answer(host, mac),
            Op::AddAddress(last) => {
                let _ = self.stack.add_address(dev, IpAddr::V4(host(last)), 24);
            }
            Op::RemoveAddress(last) => {
                let _ = self.stack.remove_address(dev, IpAddr::V4(host(last)));
            }
            Op::Route { via, mtu } => {
                let route = Route {
                    mtu,
                    ..Route::via(far(), dev, IpAddr::V4(host(via)))
                };
                let _ = self.stack.add_route(route);
            }
            Op::NoRoute => {
                let remove = |shard: &mut crate::Shard| shard.core.routes.remove(far(), 0);
                self.stack.on_each_cpu(remove).unwrap();
            }
            Op::Connect { socket, to } => {
                let peer = Self::address_of(to, 53);
                let _ = self.stack.udp_connect(&mut self.sockets[socket], peer);
            }
            Op::Reopen { socket } => {
                drop(self.sockets.remove(socket));
                self.sockets.insert(socket, bind(&mut self.stack, 0));
            }
            Op::Wait(ns) => self.clock.advance(ns),
            Op::Pull => self.port.set_link_up(false),
            Op::Plug => self.port.set_link_up(true),
        }
    }

    /// What anybody can see after an operation.
    fn outcome(&mut self, op: &Op) -> Vec<alloc::string::String> {
        self.apply(op);
        self.stack.run_until_idle();
        let mut seen = Vec::new();
        self.port
            .transmitted(QueueId(0), 64, |sent| seen.push(format!("{sent:?}")));
        self.stack.run_until_idle();
        for socket in &mut self.sockets {
            seen.push(format!("{:?}", socket.try_recv()));
        }
        let counters = self.stack.counters(0).unwrap();
        let snmp = Snmp::ALL.iter().map(|&each| counters.snmp.value(each));
        seen.push(format!("{:?}", snmp.collect::<Vec<_>>()));
        let drops = DropReason::all().map(|reason| counters.drops.load(reason));
        seen.push(format!("{:?}", drops.collect::<Vec<_>>()));
        seen
    }
}

fn op() -> impl Strategy<Value = Op> {
    let near = prop_oneof![Just(1u8), Just(3)];
    let to =
        prop_oneof![4 => Just(1u8), 2 => Just(3), 3 => Just(100), 1 => Just(2), 1 => Just(255)];
    let len = prop_oneof![4 => 0usize..70, 1 => Just(400), 1 => 1470usize..1476];
    let socket = 0usize..2;
    let send =
        (socket.clone(), to.clone(), 7u16..9, len).prop_map(|(socket, to, port, len)| Op::Send {
            socket,
            to,
            port,
            len,
        });
    let mac = 1u8..4;
    let rare = prop_oneof![
        (near.clone(), mac.clone()).prop_map(|(host, mac)| Op::Neighbour { host, mac }),
        near.clone().prop_map(|host| Op::NoNeighbour { host }),
        (near.clone(), mac).prop_map(|(host, mac)| Op::Answer { host, mac }),
        (2u8..5).prop_map(Op::AddAddress),
        (2u8..5).prop_map(Op::RemoveAddress),
        (near, prop::option::of(Just(300u16))).prop_map(|(via, mtu)| Op::Route { via, mtu }),
        Just(Op::NoRoute),
        (socket.clone(), to).prop_map(|(socket, to)| Op::Connect { socket, to }),
        socket.prop_map(|socket| Op::Reopen { socket }),
        (0u64..40).prop_map(|s| Op::Wait(s * SECOND)),
        Just(Op::Pull),
        Just(Op::Plug),
    ];
    prop_oneof![3 => send, 2 => rare]
}

/// How many of a host's headers are kept now.
fn kept(host: &mut Host) -> usize {
    let count = |shard: &mut crate::Shard| shard.transports.udp.headers_kept();
    host.stack.on_each_cpu(count).unwrap()[0]
}

#[test]
fn headers_are_kept_for_a_neighbour_and_not_for_this_host() {
    let mut host = Host::new(false);
    host.outcome(&Op::Neighbour { host: 1, mac: 1 });
    for to in [2, 255] {
        host.outcome(&Op::Send {
            socket: 0,
            to,
            port: 7,
            len: 5,
        });
        assert_eq!(kept(&mut host), 0);
    }
    host.outcome(&Op::Send {
        socket: 0,
        to: 1,
        port: 7,
        len: 5,
    });
    assert_eq!(kept(&mut host), 1);
}

type Fields = Arc<spin::Mutex<Vec<u16>>>;

/// Records UDP's checksum field of what is sent.
struct Record(Fields);

impl PacketTap for Record {
    fn packet(&mut self, packet: Tapped<'_>) {
        if packet.direction == Direction::Outgoing && packet.frame[23] == 17 {
            let field = u16::from_be_bytes([packet.frame[40], packet.frame[41]]);
            self.0.lock().push(field);
        }
    }
}

/// The taps see a packet before the NIC does.
#[test]
fn a_nic_that_fills_in_checksums_gets_the_sum_of_the_pseudo_header_and_others_the_whole() {
    let fields = [Host::new(false), Host::unsummed()].map(|mut host| {
        let seen = Fields::default();
        let tap = |_| Box::new(Record(seen.clone())) as Box<dyn PacketTap>;
        host.stack.add_tap(tap).unwrap();
        host.outcome(&Op::Neighbour { host: 1, mac: 1 });
        for _ in 0..2 {
            let (socket, to, port, len) = (0, 1, 7, 4);
            host.outcome(&Op::Send {
                socket,
                to,
                port,
                len,
            });
        }
        seen.lock().clone()
    });
    // 10.0.0.2:1000 to 10.0.0.1:7, UDP, 12 bytes: 0xff, 0xfe, 0xfd, 0xfc.
    let pseudo = 0x0a00 + 2 + 0x0a00 + 1 + 17 + 12;
    let whole = !fold(pseudo + 1000 + 7 + 12 + 0xfffe + 0xfdfc);
    assert_eq!(fields, [vec![whole, whole], vec![whole, pseudo as u16]]);
}

fn fold(sum: u32) -> u16 {
    ((sum & 0xffff) + (sum >> 16)) as u16
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn kept_headers_are_those_that_the_layers_would_write(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let (mut keeps, mut forgets) = (Host::new(false), Host::new(true));
        let mut unsummed = Host::unsummed();
        for op in ops {
            let kept = keeps.outcome(&op);
            prop_assert_eq!(&kept, &forgets.outcome(&op), "{:?}", op);
            prop_assert_eq!(&kept, &unsummed.outcome(&op), "{:?}", op);
        }
    }
}
