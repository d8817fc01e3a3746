//! Every packet is accounted for: it reached somebody, or was dropped for a
//! reason, and its frame comes home. And two runs with one seed are one run.

use super::equivalence::frame;
use super::host::{Host, OURS, QUEUE, Shape, peer};
use core::net::SocketAddr;
use proptest::prelude::*;
use softnet_netstack::{Direction, PacketTap, Snmp, Tapped, UdpOptions, UdpSocket};
use softnet_nic_hal::testing::Injection;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
enum Step {
    Inject(Vec<u8>),
    Open(u16),
    Close(usize),
    Connect(usize, u16),
    Read(usize),
    Send(usize, u16, Vec<u8>),
    Advance(u64),
    Transmit(usize),
    Run,
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        20 => frame().prop_map(Step::Inject),
        2 => (5..12u16).prop_map(Step::Open),
        1 => (0..6usize).prop_map(Step::Close),
        1 => ((0..6usize), (4000..4003u16)).prop_map(|(at, port)| Step::Connect(at, port)),
        3 => (0..6usize).prop_map(Step::Read),
        3 => ((0..6usize), (1..9u16), payload).prop_map(|(at, to, data)| Step::Send(at, to, data)),
        1 => prop_oneof![0..2_000_000u64, 0..9_000_000_000u64].prop_map(Step::Advance),
        2 => (1..40usize).prop_map(Step::Transmit),
        4 => Just(Step::Run),
    ]
}

/// What a run has shown.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    injected: u64,
    opened: u64,
    read: Vec<Vec<u8>>,
    wire: Vec<Vec<u8>>,
}

struct World {
    host: Host,
    sockets: Vec<UdpSocket>,
    trace: Trace,
}

impl World {
    fn new(cpus: usize) -> Self {
        let host = Host::with(&Shape {
            cpus,
            frames: 1024,
            ..Shape::default()
        });
        Self {
            host,
            sockets: Vec::new(),
            trace: Trace::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Inject(frame) => {
                let taken = self.host.port.inject(QUEUE, frame) == Injection::Received;
                self.trace.injected += u64::from(taken);
            }
            Step::Open(port) => self.open(*port),
            Step::Close(at) => {
                if *at < self.sockets.len() {
                    self.sockets.swap_remove(*at);
                }
            }
            Step::Connect(at, port) => {
                if let Some(socket) = self.sockets.get_mut(*at) {
                    let _ = self.host.stack.udp_connect(socket, peer(*port));
                }
            }
            Step::Read(at) => self.read(*at),
            Step::Send(at, port, data) => {
                if let Some(socket) = self.sockets.get_mut(*at) {
                    let _ = socket.try_send_to(data, peer(*port));
                }
            }
            Step::Advance(ns) => self.host.advance(*ns),
            Step::Transmit(most) => {
                let wire = &mut self.trace.wire;
                self.host
                    .port
                    .transmitted(QUEUE, *most, |frame| wire.push(frame.to_vec()));
            }
            Step::Run => {
                self.host.stack.run_until_idle();
            }
        }
    }

    fn open(&mut self, port: u16) {
        let address = SocketAddr::from((OURS, port));
        let options = UdpOptions {
            receive_buffer: 8000,
            ..UdpOptions::default()
        };
        if let Ok(socket) = self.host.stack.udp_bind(address, &options) {
            self.sockets.push(socket);
            self.trace.opened += 1;
        }
    }

    fn read(&mut self, at: usize) {
        if let Some(socket) = self.sockets.get_mut(at) {
            while let Ok(datagram) = socket.try_recv() {
                self.trace.read.push(datagram.to_vec());
            }
        }
    }

    fn snmp(&self, counters: &[Snmp]) -> u64 {
        counters.iter().map(|&c| self.host.snmp(c)).sum()
    }
}

/// A packet that this host has sent to itself went up as well: the unreachable
/// host that a socket is told of.
#[derive(Default)]
struct LoopCount(Arc<Mutex<u64>>);

impl PacketTap for LoopCount {
    fn packet(&mut self, packet: Tapped<'_>) {
        let loops = packet.dev == softnet_netstack::IfIndex(1);
        *self.0.lock().unwrap() += u64::from(loops && packet.direction == Direction::Incoming);
    }
}

fn obeys(cpus: usize, steps: &[Step], tapped: bool) -> Result<(), TestCaseError> {
    let mut world = World::new(cpus);
    let loops = LoopCount::default();
    if tapped {
        let make = |_| Box::new(LoopCount(loops.0.clone())) as Box<dyn PacketTap>;
        world.host.stack.add_tap(make).unwrap();
    }
    for step in steps {
        world.step(step);
    }
    world.host.stack.run_until_idle();
    let looped = *loops.0.lock().unwrap();
    let host = &world.host;
    // What the CPUs took from their rings is what the wire put there.
    prop_assert_eq!(
        host.delivered() + host.rx_drops(),
        world.trace.injected + looped
    );
    // Each reason of a received packet's drop is also one of all drops.
    prop_assert!(host.rx_drops() <= host.all_drops());
    // RFC 4293's figure 1, as far as there is one.
    prop_assert_eq!(
        world.snmp(&[Snmp::IpInReceives]),
        world.snmp(&[
            Snmp::IpInHdrErrors,
            Snmp::IpInAddrErrors,
            Snmp::IpInUnknownProtos,
            Snmp::IpInDiscards,
            Snmp::IpInDelivers,
        ])
    );
    prop_assert_eq!(
        world.snmp(&[Snmp::IpInDelivers]),
        world.snmp(&[
            Snmp::UdpInDatagrams,
            Snmp::UdpNoPorts,
            Snmp::UdpInErrors,
            Snmp::IcmpInMsgs,
        ])
    );
    let pool = world.host.stack.pool().clone();
    drop(world);
    prop_assert_eq!(pool.count_free(), pool.frames());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_packet_reached_somebody_or_was_dropped_for_a_reason(
        cpus in prop::sample::select(vec![1usize, 2, 4]),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        obeys(cpus, &steps, true)?;
    }

    /// Without connected sockets nobody is told of an unreachable host, and so
    /// nothing loops: the law holds on the short way too.
    #[test]
    fn the_short_way_loses_nothing(
        steps in prop::collection::vec(step().prop_filter("sends", |step| {
            !matches!(step, Step::Send(..))
        }), 1..150),
    ) {
        obeys(1, &steps, false)?;
    }

    #[test]
    fn two_runs_with_one_seed_are_the_same(
        cpus in prop::sample::select(vec![1usize, 2, 4]),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let run = || {
            let mut world = World::new(cpus);
            let taps = Frames::default();
            let make = |cpu| Box::new(Record(cpu, taps.clone())) as Box<dyn PacketTap>;
            world.host.stack.add_tap(make).unwrap();
            for step in &steps {
                world.step(step);
            }
            let seen = core::mem::take(&mut *taps.lock().unwrap());
            (core::mem::take(&mut world.trace), seen)
        };
        prop_assert_eq!(run(), run());
    }
}

type Frames = Arc<Mutex<Vec<(usize, u64, Vec<u8>)>>>;

struct Record(usize, Frames);

impl PacketTap for Record {
    fn packet(&mut self, packet: Tapped<'_>) {
        let seen = (self.0, packet.now_ns, packet.frame.to_vec());
        self.1.lock().unwrap().push(seen);
    }
}
