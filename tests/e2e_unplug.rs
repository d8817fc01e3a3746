//! A NIC that is pulled out, whatever it is doing: nothing breaks, nothing is
//! lost for ever.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use softnet::dma_ring::FramePool;
use softnet::netstack::{IfIndex, StackConfig, UdpOptions, UdpSocket};
use softnet::nic_hal::MacAddress;
use softnet::nic_hal::wire::{Wire, WireError, WireWaker};
use softnet::softirq::VirtualClock;
use softnet::{Machine, NicConfig, NicKind, Time};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// A datagram to port 7, without a UDP checksum.
fn datagram() -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 92, 0, 1, 0x40, 0, 64, 17, 0, 0];
    header.extend(PEER.octets());
    header.extend(OURS.octets());
    let words = header.chunks(2);
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp = [0x0f, 0xa0, 0, 7, 0, 72, 0, 0];
    [&MAC.0[..], &PEER_MAC.0, &[8, 0], &header, &udp, &[0x5a; 64]].concat()
}

/// A wire on which frames come without end, and which counts the answers.
struct Endless {
    frame: Vec<u8>,
    answers: Arc<AtomicU64>,
}

impl Wire for Endless {
    fn transmit(&mut self, _frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        self.answers.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let burst = budget.min(16);
        for _ in 0..burst {
            sink(&self.frame);
        }
        burst
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        struct NeverAsleep;
        impl WireWaker for NeverAsleep {
            fn wake(&self) {}
        }
        Arc::new(NeverAsleep)
    }
}

fn plug_in(machine: &mut Machine, kind: NicKind) -> (IfIndex, Arc<AtomicU64>) {
    let answers = Arc::new(AtomicU64::new(0));
    let wire = Endless {
        frame: datagram(),
        answers: answers.clone(),
    };
    let nic = NicConfig {
        mac: Some(MAC),
        ..NicConfig::default()
    };
    let dev = machine.add_nic(kind, Box::new(wire), &nic).unwrap();
    let stack = machine.stack_mut();
    stack.add_address(dev, IpAddr::V4(OURS), 24).unwrap();
    stack.add_neighbour(dev, PEER, PEER_MAC).unwrap();
    (dev, answers)
}

fn bind(machine: &mut Machine) -> UdpSocket {
    let address = "0.0.0.0:7".parse().unwrap();
    let options = UdpOptions::default();
    machine.stack_mut().udp_bind(address, &options).unwrap()
}

fn machine(cpus: usize, time: Time) -> Machine {
    let config = StackConfig {
        cpus,
        ..StackConfig::default()
    };
    Machine::new(&config, time).unwrap()
}

fn echo(socket: &mut UdpSocket) {
    while let Ok(datagram) = socket.try_recv() {
        let from = datagram.from();
        // With the device gone there is no room, and at last no route.
        let _ = socket.try_send_datagram(datagram, from);
    }
}

/// An application that echoes on its own thread until it is dropped.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(mut socket: UdpSocket) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                echo(&mut socket);
                std::thread::yield_now();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Far more than anything here takes: only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < HANG, "it does not happen");
        std::thread::yield_now();
    }
}

#[track_caller]
fn all_home(pool: &FramePool) {
    assert_eq!(pool.count_free(), pool.frames());
}

#[test]
fn a_nic_pulled_out_of_a_busy_machine_leaves_nothing_behind() {
    for turn in 0..40u64 {
        let mut machine = machine(1 + turn as usize % 2, Time::Real);
        let kind = NicKind::ALL[turn as usize % NicKind::ALL.len()];
        let (dev, answers) = plug_in(&mut machine, kind);
        let echo = Echo::start(bind(&mut machine));
        machine.start(&Default::default()).unwrap();
        until(|| answers.load(Ordering::Relaxed) > 50 * turn);
        assert!(machine.unplug(dev));
        assert!(!machine.unplug(dev), "it is out already");
        let pool = machine.stack().pool().clone();
        drop(machine);
        drop(echo);
        all_home(&pool);
    }
}

#[test]
fn the_driver_finds_out_and_the_next_nic_works() {
    let mut machine = machine(2, Time::Real);
    let echo = Echo::start(bind(&mut machine));
    machine.start(&Default::default()).unwrap();
    for kind in NicKind::ALL {
        let (dev, answers) = plug_in(&mut machine, kind);
        until(|| answers.load(Ordering::Relaxed) > 1000);
        let interface = machine.interface(dev).unwrap();
        machine.unplug(dev);
        until(|| interface.is_gone());
        assert!(machine.report().devices[0].gone);
        machine.remove_nic(dev).unwrap();
        assert!(machine.report().devices.is_empty());
    }
    let pool = machine.stack().pool().clone();
    drop(echo);
    drop(machine);
    all_home(&pool);
}

#[test]
fn frames_go_home_while_the_machine_lives_on() {
    for kind in NicKind::ALL {
        go_home(kind);
    }
}

fn go_home(kind: NicKind) {
    let clock = Arc::new(VirtualClock::new(0));
    let mut machine = machine(2, Time::Virtual(clock.clone()));
    let (dev, answers) = plug_in(&mut machine, kind);
    let mut socket = bind(&mut machine);
    for _ in 0..1000 {
        machine.run_once();
        echo(&mut socket);
        clock.advance(10_000);
    }
    assert!(answers.load(Ordering::Relaxed) > 500);
    machine.unplug(dev);
    machine.run_for(3_000_000_000).unwrap();
    assert!(machine.interface(dev).unwrap().is_gone());
    drop(socket);
    machine.run_for(1_000_000).unwrap();
    // All but what the CPUs keep at hand: 256 each.
    let pool = machine.stack().pool().clone();
    let away = pool.frames() - pool.count_free();
    assert!(away <= 2 * 256, "{away} frames are away");
    drop(machine);
    all_home(&pool);
}
