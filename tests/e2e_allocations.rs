//! No packet costs an allocation, once everything is warm: through the whole
//! emulated e1000, and through a NIC that is only rings.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use softnet::dma_ring::Frame;
use softnet::netstack::{IfIndex, NicOptions, Stack, StackConfig, UdpOptions, UdpSocket};
use softnet::nic_hal::testing::{LoopConfig, LoopNic, LoopPort};
use softnet::nic_hal::wire::{Wire, WireError};
use softnet::nic_hal::{MacAddress, QueueId};
use softnet::softirq::{Clock, VirtualClock};
use softnet::{Machine, NicConfig, Time};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what each thread asks of the system's allocator.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may free and allocate when its counter is gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this same function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this same function, and the
        // pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PORT: u16 = 7;
const WARM_UP: u64 = 2_000;
const PACKETS: u64 = 10_000;
/// Frames that arrive at once.
const BURST: u64 = 32;
/// Between two bursts, in nanoseconds.
const PAUSE_NS: u64 = 20_000;

/// An Ethernet frame with a UDP datagram of 64 bytes to the socket, without a
/// UDP checksum (RFC 768 allows that).
fn datagram(mac: MacAddress) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 92, 0, 1, 0x40, 0, 64, 17, 0, 0];
    header.extend(PEER.octets());
    header.extend(OURS.octets());
    let sum: u32 = header
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp = [0x0f, 0xa0, 0, PORT as u8, 0, 72, 0, 0];
    [&mac.0[..], &PEER_MAC.0, &[8, 0], &header, &udp, &[0x5a; 64]].concat()
}

/// What the application does with a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Application {
    /// Reads it, and gives the frame back.
    Reads,
    /// Sends it back in the same frame.
    Echoes,
    /// Sends a fresh datagram for each.
    Sends,
}

impl Application {
    /// Serves all that waits; returns how many that were.
    fn serve(self, socket: &mut UdpSocket) -> u64 {
        let mut served = 0;
        while let Ok(datagram) = socket.try_recv() {
            assert_eq!(datagram.len(), 64);
            let from = datagram.from();
            match self {
                Self::Reads => {}
                Self::Echoes => {
                    let sent = socket.try_send_datagram(datagram, from);
                    assert!(sent.map_err(|(error, _): (_, Frame)| error).is_ok());
                }
                Self::Sends => socket.try_send_to(&datagram, from).unwrap(),
            }
            served += 1;
        }
        served
    }
}

fn bind(stack: &mut Stack, dev: IfIndex) -> UdpSocket {
    stack.add_address(dev, IpAddr::V4(OURS), 24).unwrap();
    stack.add_neighbour(dev, PEER, PEER_MAC).unwrap();
    let address = SocketAddr::new(IpAddr::V4(OURS), PORT);
    stack.udp_bind(address, &UdpOptions::default()).unwrap()
}

/// A wire on which the same frame comes as often as it is asked for.
struct Source {
    frame: Vec<u8>,
    due: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

impl Wire for Source {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        assert_eq!(frame.len(), 106);
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let take = self.due.load(Ordering::Relaxed).min(budget as u64);
        self.due.fetch_sub(take, Ordering::Relaxed);
        for _ in 0..take {
            sink(&self.frame);
        }
        take as usize
    }
}

/// The chip's model, DMA, the interrupt, the driver, NAPI, IP, UDP, the socket.
struct ThroughE1000 {
    machine: Machine,
    clock: Arc<VirtualClock>,
    socket: UdpSocket,
    due: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

impl ThroughE1000 {
    fn new(cpus: usize) -> Self {
        let clock = Arc::new(VirtualClock::new(0));
        let time = Time::Virtual(clock.clone());
        let config = StackConfig {
            cpus,
            ..StackConfig::default()
        };
        let mut machine = Machine::new(&config, time).unwrap();
        let (due, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let source = Source {
            frame: datagram(MAC),
            due: due.clone(),
            sent: sent.clone(),
        };
        let nic = NicConfig {
            mac: Some(MAC),
            ..NicConfig::default()
        };
        let dev = machine.add_e1000(Box::new(source), &nic).unwrap();
        let socket = bind(machine.stack_mut(), dev);
        let patience = std::time::Duration::from_secs(1);
        assert!(machine.wait_for_link(dev, patience).unwrap());
        Self {
            machine,
            clock,
            socket,
            due,
            sent,
        }
    }

    /// Handles so many packets, and returns the allocations that it took.
    fn handle(&mut self, packets: u64, application: Application) -> u64 {
        let mut served = 0;
        let count = allocations(|| {
            while served < packets {
                self.due.store(BURST, Ordering::Relaxed);
                self.clock.advance(PAUSE_NS);
                self.machine.run_until_idle();
                served += application.serve(&mut self.socket);
                self.machine.run_until_idle();
            }
        });
        assert!(served >= packets);
        count
    }
}

#[test]
fn no_packet_through_the_e1000_allocates() {
    for cpus in [1, 2, 4] {
        for application in [Application::Reads, Application::Echoes, Application::Sends] {
            let mut path = ThroughE1000::new(cpus);
            path.handle(WARM_UP, application);
            assert_eq!(path.handle(PACKETS, application), 0);
            let sent = path.sent.load(Ordering::Relaxed);
            let answers = application != Application::Reads;
            assert_eq!(sent >= WARM_UP + PACKETS, answers, "{sent}");
        }
    }
}

/// The path from the ring to the socket alone.
struct ThroughRings {
    stack: Stack,
    clock: Arc<VirtualClock>,
    socket: UdpSocket,
    port: LoopPort,
    frame: Vec<u8>,
    sent: u64,
}

impl ThroughRings {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new(0));
        let source: Arc<dyn Clock> = clock.clone();
        let mut stack = Stack::new(&StackConfig::default(), &source).unwrap();
        let config = LoopConfig::default();
        let frame = datagram(config.mac);
        let (nic, port) = LoopNic::new(config);
        let dev = stack.add_nic(nic, &NicOptions::default()).unwrap();
        let socket = bind(&mut stack, dev);
        stack.run_until_idle();
        Self {
            stack,
            clock,
            socket,
            port,
            frame,
            sent: 0,
        }
    }

    /// Handles so many packets, and returns the allocations of the stack and of
    /// the application. The NIC's other side belongs to the test.
    fn handle(&mut self, packets: u64, application: Application) -> u64 {
        let (mut served, mut count) = (0, 0);
        while served < packets {
            for _ in 0..BURST {
                self.port.inject(QueueId(0), &self.frame);
            }
            self.clock.advance(PAUSE_NS);
            count += allocations(|| {
                self.stack.run_until_idle();
                served += application.serve(&mut self.socket);
                self.stack.run_until_idle();
            });
            let sent = &mut self.sent;
            self.port
                .transmitted(QueueId(0), BURST as usize, |_| *sent += 1);
        }
        assert!(served >= packets);
        count
    }
}

#[test]
fn no_packet_through_bare_rings_allocates() {
    for application in [Application::Reads, Application::Echoes, Application::Sends] {
        let mut path = ThroughRings::new();
        path.handle(WARM_UP, application);
        assert_eq!(path.handle(PACKETS, application), 0);
        let answers = application != Application::Reads;
        assert_eq!(path.sent >= PACKETS, answers, "{}", path.sent);
    }
}

#[test]
fn the_allocator_counts() {
    let count = allocations(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(count, 1);
}
