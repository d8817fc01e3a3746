//! Two NICs on one UMEM through a long series of floods, flaps, closes and changes, in
//! an order that a seed decides. After each step what the kernel handed over is
//! accounted for; whenever a NIC is closed, its program is gone; when both are, all
//! frames are home and no descriptor is left over. It is a program of its own, so that
//! nobody else opens descriptors meanwhile.
#![expect(clippy::unwrap_used, reason = "this is how a test fails")]

#[path = "../veth/support.rs"]
#[expect(dead_code, reason = "another test program uses the rest")]
mod support;

use softnet_af_xdp::bpf::{Generator, GeneratorOptions, attached_programs};
use softnet_af_xdp::netlink::Interface;
use softnet_af_xdp::settings::{Consent, Settings};
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem};
use softnet_dma_ring::{DmaRing, Frame};
use softnet_nic_hal::{NicError, NicHal};
use std::sync::Arc;
use support::{
    Calls, PacketSocket, Pair, counter, datagram, in_namespace, ip, nic, open, open_config, umem,
    veth, wait_for,
};

const SEED: u64 = 0x50a4;
const STEPS: usize = 150;
/// Steps after which memory does not grow any more.
const WARM: usize = 50;
/// Frames that an application holds at the most.
const HELD: usize = 64;

/// One NIC, and the other end of its pair.
struct Side {
    name: &'static str,
    other: &'static str,
    nic: Arc<AfXdpNic>,
    umem: Arc<Umem>,
    peer: PacketSocket,
    flood: Generator,
    settings: Settings,
    queues: u16,
    pairs: Vec<Pair>,
    held: Vec<Frame>,
    /// Frames that waited in a ring when it was closed.
    lost: u64,
    taken: u64,
}

impl Side {
    fn new(name: &'static str, other: &'static str, umem: &Arc<Umem>) -> Self {
        veth(name, other, 2);
        let nic = nic(AfXdpConfig::new(name), umem);
        let template = datagram(nic.capabilities().mac, 9);
        let options = GeneratorOptions::default();
        let interface = Interface::open(name).unwrap();
        Self {
            name,
            other,
            umem: umem.clone(),
            peer: PacketSocket::open(other).unwrap(),
            flood: Generator::new(index(other), &template, options).unwrap(),
            settings: Settings::new(interface, Consent::QUEUES).unwrap(),
            queues: 2,
            pairs: Vec::new(),
            held: Vec::new(),
            lost: 0,
            taken: 0,
            nic,
        }
    }

    fn open(&mut self) {
        self.pairs = open(&self.nic, &self.umem, self.queues);
        self.fill();
    }

    fn fill(&mut self) {
        for pair in &mut self.pairs {
            while pair.rx.free_slots() > 0
                && let Some(frame) = self.umem.pool().alloc()
            {
                pair.rx.post(frame).unwrap();
            }
            pair.rx.kick();
        }
    }

    /// Frames that the program sent to sockets.
    fn handed_over(&self) -> u64 {
        self.nic.kernel().program().counters().unwrap().ours()
    }

    /// Frames of which it is known what became.
    fn accounted(&self) -> u64 {
        let names = ["rx_packets", "xdp_rx_dropped", "xdp_rx_ring_full"];
        let counted: u64 = names.iter().map(|name| counter(&self.nic, name)).sum();
        counted + self.lost
    }

    /// Takes what has come: sends it back, holds it or drops it, in turn.
    fn take_all(&mut self) {
        for pair in &mut self.pairs {
            while let Some(frame) = pair.rx.reap() {
                self.taken += 1;
                match self.taken % 3 {
                    // Without room it is dropped.
                    0 => drop(pair.tx.post(frame)),
                    1 if self.held.len() < HELD => self.held.push(frame),
                    _ => drop(frame),
                }
            }
            pair.tx.kick();
            while pair.tx.reap().is_some() {}
        }
    }

    /// Takes what has come, and sees that nothing else has.
    fn settle(&mut self) {
        wait_for("all frames are accounted for", || {
            self.take_all();
            self.handed_over() == self.accounted()
        });
        for name in ["rx_bad_descriptors", "tx_bad_completions"] {
            assert_eq!(counter(&self.nic, name), 0, "{name}");
        }
    }

    /// The peer sends a frame. It arrives in SKB mode too, in which the NIC is with one
    /// queue, and which the flood does not reach.
    fn send(&self, seed: u16) {
        let frame = datagram(self.nic.capabilities().mac, seed);
        // After a flap the first call says so, and sends nothing.
        let _ = self.peer.try_send(&frame);
    }

    /// Closes the NIC, in one order or the other.
    fn close(&mut self, rings_first: bool) {
        if rings_first {
            self.pairs.clear();
        }
        self.nic.stop().unwrap();
        self.pairs.clear();
        let (handed_over, accounted) = (self.handed_over(), self.accounted());
        assert!(handed_over >= accounted, "{handed_over} < {accounted}");
        self.lost += handed_over - accounted;
        assert!(attached_programs(index(self.name)).unwrap().is_empty());
    }

    fn step(&mut self, random: &mut fastrand::Rng) {
        match random.u8(0..9) {
            0 => self.flood.send(random.u32(1..3000)).unwrap(),
            1 => (0..100).for_each(|seed| self.send(seed)),
            2 => self.held.clear(),
            3..=5 => {
                let end = if random.bool() { self.name } else { self.other };
                self.flood.send(random.u32(1..300)).unwrap();
                ip(&format!("link set {end} down")).unwrap();
                self.take_all();
                ip(&format!("link set {end} up")).unwrap();
            }
            6 => {
                let mtu = random.u16(1000..=1500);
                ip(&format!("link set {} mtu {mtu}", self.name)).unwrap();
            }
            7 => {
                self.settle();
                self.close(random.bool());
                self.queues = random.u16(1..=2);
                // The kernel lets go of a closed socket's queue a little later.
                let queues = u32::from(self.queues);
                wait_for("the queues", || self.settings.set_queues(queues).is_ok());
                self.open();
            }
            _ => {
                let before = self.handed_over();
                self.flood.send(random.u32(1..300)).unwrap();
                wait_for("a frame in the ring", || {
                    self.send(0);
                    self.handed_over() > before
                });
                self.close(random.bool());
                self.open();
            }
        }
    }

    /// After the interface has gone.
    fn bury(mut self) {
        let calls = Arc::new(Calls::default());
        let config = open_config(&self.nic, &self.umem, 1);
        wait_for("the watchdog", || self.nic.watchdog(0).gone);
        while self.pairs.iter_mut().any(|pair| pair.rx.reap().is_some()) {}
        self.nic.stop().unwrap();
        self.pairs.clear();
        assert!(matches!(self.nic.open(&config, calls), Err(NicError::Gone)));
        self.settings.restore().unwrap();
    }
}

fn index(interface: &str) -> u32 {
    Interface::open(interface).unwrap().index()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory in bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split_ascii_whitespace().nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4096
}

fn assert_all_home(umem: &Umem) {
    assert_eq!(umem.pool().count_free(), umem.pool().frames());
    let side = umem.side_pool().unwrap();
    assert_eq!(side.count_free(), side.frames());
}

/// Frames were received, found no chunk, and waited in a ring that was closed: there
/// was something to account for.
fn assert_all_happened(sides: &[Side; 2]) {
    for side in sides {
        for name in ["rx_packets", "tx_packets", "xdp_rx_dropped"] {
            assert!(counter(&side.nic, name) > 100, "{name}");
        }
        assert!(side.lost > 0);
    }
}

/// Steps of both sides, in random order.
fn go_on(sides: &mut [Side; 2], random: &mut fastrand::Rng) {
    let mut warm = None;
    for step in 0..STEPS {
        let side = &mut sides[random.usize(0..2)];
        side.step(random);
        side.settle();
        side.fill();
        if step == WARM {
            warm = Some(memory());
        }
    }
    let (before, after) = (warm.unwrap(), memory());
    assert!(after < before + (4 << 20), "{before} grew to {after}");
}

fn soak() {
    let at_first = descriptors();
    let umem = umem();
    let mut sides =
        [("sx0", "sx1"), ("sy0", "sy1")].map(|(name, other)| Side::new(name, other, &umem));
    let mut random = fastrand::Rng::with_seed(SEED);
    sides.iter_mut().for_each(Side::open);
    // By the end of the first pass all that is made once is made: what puts settings
    // back has descriptors of its own from the first change on.
    let passes = [(); 2].map(|()| {
        go_on(&mut sides, &mut random);
        for side in &mut sides {
            side.close(random.bool());
            side.held.clear();
        }
        assert_all_home(&umem);
        let closed = descriptors();
        sides.iter_mut().for_each(Side::open);
        (closed, descriptors())
    });
    assert_eq!(passes[0], passes[1]);
    assert_all_happened(&sides);
    let [deleted, destroyed] = sides;
    deleted.flood.send(100).unwrap();
    ip("link del sx0").unwrap();
    deleted.bury();
    destroyed.flood.send(100).unwrap();
    let name = format!("softnet-soak-{}", std::process::id());
    ip(&format!("netns add {name}")).unwrap();
    let moved = ip(&format!("link set sy1 netns {name}"));
    ip(&format!("netns del {name}")).unwrap();
    moved.unwrap();
    destroyed.bury();
    assert_all_home(&umem);
    drop(umem);
    assert_eq!(descriptors(), at_first);
}

#[test]
fn floods_flaps_closes_and_changes_lose_nothing_and_leave_nothing() {
    in_namespace(soak);
}
