//! On a virtual clock a run can be repeated, byte by byte.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use softnet::netstack::{StackConfig, UdpOptions, UdpSocket};
use softnet::nic_hal::MacAddress;
use softnet::softirq::VirtualClock;
use softnet::wire::Recorder;
use softnet::wire::cable::{self, CableConfig, CableEnd};
use softnet::wire::fault::{Chance, Fault, FaultConfig, Impairment, Reorder};
use softnet::wire::pcap::{Capture, CaptureConfig};
use softnet::{Machine, NicConfig, NicKind, Time, run_together};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// A file in memory that two hold.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line on which everything goes wrong now and then.
fn bad_line(seed: u64) -> FaultConfig {
    let mut line = Impairment::default();
    line.loss = Chance::of(0.1);
    line.duplicate = Chance::of(0.05);
    line.corrupt = Chance::of(0.05);
    line.delay_ns = 200_000;
    line.jitter_ns = 300_000;
    line.reorder = Some(Reorder {
        chance: Chance::of(0.1),
        packets: 2,
        timeout_ns: 2_000_000,
    });
    let mut config = FaultConfig::seeded(seed);
    config.transmit = line.clone();
    config.receive = line;
    config
}

/// What a run is like.
#[derive(Clone, Copy)]
struct Shape {
    seed: u64,
    cpus: usize,
    nic: NicKind,
}

struct Host {
    machine: Machine,
    trace: Shared,
}

fn host(n: u8, shape: Shape, end: CableEnd, time: &Time) -> Host {
    let Shape { seed, cpus, nic } = shape;
    let config = StackConfig {
        cpus,
        seed,
        ..StackConfig::default()
    };
    let mut machine = Machine::new(&config, time.clone()).unwrap();
    let trace = Shared::default();
    let capture = Capture::new(trace.clone(), &CaptureConfig::default()).unwrap();
    let wire = Recorder::new(Fault::new(end, &bad_line(seed + u64::from(n))), capture);
    let options = NicConfig {
        mac: Some(MacAddress([2, 0, 0, 0, 0, n])),
        ..NicConfig::default()
    };
    let dev = machine.add_nic(nic, Box::new(wire), &options).unwrap();
    let address = [10, 0, 0, n].into();
    machine.stack_mut().add_address(dev, address, 24).unwrap();
    Host { machine, trace }
}

fn echo(server: &mut UdpSocket) {
    while let Ok(datagram) = server.try_recv() {
        let from = datagram.from();
        assert!(server.try_send_datagram(datagram, from).is_ok());
    }
}

/// Everything that can be seen from outside of one run.
#[derive(PartialEq, Eq)]
struct Seen {
    traces: [Vec<u8>; 2],
    reports: [String; 2],
    answers: Vec<Vec<u8>>,
}

fn run(shape: Shape) -> Seen {
    let time = Time::Virtual(Arc::new(VirtualClock::new(0)));
    let (near, far) = cable::pair(&CableConfig::default());
    let (near, far) = (host(1, shape, near, &time), host(2, shape, far, &time));
    let traces = [near.trace, far.trace];
    let mut hosts = [near.machine, far.machine];
    let options = UdpOptions::default();
    let mut bind = |host: usize, address: &str| {
        let stack = hosts[host].stack_mut();
        stack.udp_bind(address.parse().unwrap(), &options).unwrap()
    };
    let mut clients = [bind(0, "10.0.0.1:0"), bind(0, "10.0.0.1:0")];
    let mut server = bind(1, "0.0.0.0:7");
    run_together(&mut hosts, 5_000_000).unwrap();
    let mut answers = Vec::new();
    for turn in 0..300u16 {
        for client in &mut clients {
            let to = if turn % 10 == 0 {
                "10.0.0.2:99"
            } else {
                "10.0.0.2:7"
            };
            let payload = vec![turn as u8; usize::from(turn)];
            client.try_send_to(&payload, to.parse().unwrap()).unwrap();
        }
        run_together(&mut hosts, 10_000_000).unwrap();
        echo(&mut server);
        for client in &mut clients {
            answers.extend(std::iter::from_fn(|| client.try_recv().ok()).map(|d| d.to_vec()));
        }
    }
    let reports = hosts.each_mut().map(|host| host.report().to_string());
    drop(hosts);
    Seen {
        traces: traces.map(|trace| trace.0.lock().unwrap().clone()),
        reports,
        answers,
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_the_same_counters() {
    let e1000 = [1, 2, 4].map(|cpus| (NicKind::E1000, cpus));
    let others = NicKind::ALL.map(|nic| (nic, 1));
    for (nic, cpus) in e1000.into_iter().chain(others) {
        let seed = 42;
        let shape = Shape { seed, cpus, nic };
        let (first, second) = (run(shape), run(shape));
        assert!(first.traces == second.traces, "the traces differ");
        assert_eq!(first.reports, second.reports);
        assert!(first.answers == second.answers, "the answers differ");
        // It was worth comparing: much arrived, and not all.
        let answered = first.answers.len();
        assert!((100..500).contains(&answered), "{answered} through {nic}");
    }
}

#[test]
fn another_seed_gives_another_run() {
    let traces = [1, 2].map(|seed| {
        let (cpus, nic) = (1, NicKind::E1000);
        run(Shape { seed, cpus, nic }).traces
    });
    assert!(traces[0] != traces[1]);
}
