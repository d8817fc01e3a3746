//! Flows go to the queues that their hashes name, and each queue interrupts by
//! itself.

use crate::conformance::qemus;
use crate::emulated::Emulated;
use crate::only::Only;
use softnet_dma_ring::{DmaRing, FramePool, HashKind, PoolConfig};
use softnet_igb::Igb;
use softnet_nic_hal::bus::{IrqMode, PciDevice};
use softnet_nic_hal::ethtool::EthtoolOps;
use softnet_nic_hal::testing::conformance::Harness;
use softnet_nic_hal::{IrqHandler, NicHal, OpenConfig, QueueId, QueuePair};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Source and destination, their ports, and the hash over all of that; of the
/// suite of verification vectors that Microsoft has published.
type Vector = ([u8; 4], [u8; 4], u16, u16, u32);

const VECTORS: [Vector; 5] = [
    (
        [66, 9, 149, 187],
        [161, 142, 100, 80],
        2794,
        1766,
        0x51cc_c178,
    ),
    (
        [199, 92, 111, 2],
        [65, 69, 140, 83],
        14230,
        4739,
        0xc626_b0ea,
    ),
    (
        [24, 19, 198, 95],
        [12, 22, 207, 184],
        12898,
        38024,
        0x5c2b_394a,
    ),
    (
        [38, 27, 205, 30],
        [209, 142, 163, 6],
        48228,
        2217,
        0xafc7_327f,
    ),
    (
        [153, 39, 163, 191],
        [202, 188, 127, 2],
        44251,
        1303,
        0x10e8_28a2,
    ),
];

const QUEUES: u16 = 4;

/// Notes for which queues it was called.
#[derive(Default)]
struct Calls {
    queues: Mutex<Vec<u16>>,
    links: AtomicUsize,
}

impl IrqHandler for Calls {
    fn irq(&self, queue: QueueId) {
        self.queues.lock().unwrap().push(queue.0);
    }

    fn link_changed(&self) {
        self.links.fetch_add(1, Ordering::SeqCst);
    }
}

/// A TCP segment without payload.
fn segment(to: [u8; 6], vector: Vector) -> Vec<u8> {
    let (source, destination, from_port, to_port, _) = vector;
    let mut packet = [&to[..], &[2, 0, 0, 0, 0, 1, 8, 0]].concat();
    packet.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend([source, destination].concat());
    let sum: u32 = packet[14..]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet.extend(from_port.to_be_bytes());
    packet.extend(to_port.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    packet.resize(60, 0);
    packet
}

type Pairs<N> = Vec<QueuePair<<N as NicHal>::Rx, <N as NicHal>::Tx>>;

/// Opens the queues, with frames posted and interrupts open.
fn open<H: Harness>(harness: &mut H, calls: &Arc<Calls>) -> (Pairs<H::Nic>, FramePool) {
    let pool = FramePool::new(PoolConfig {
        frames: 256,
        ..PoolConfig::default()
    });
    let pool = pool.unwrap();
    let nic = harness.nic();
    let config = OpenConfig {
        queues: QUEUES,
        rx_ring: 32,
        tx_ring: 32,
        ..OpenConfig::new(pool.clone())
    };
    let mut pairs = nic.open(&config, calls.clone()).unwrap();
    for pair in &mut pairs {
        for _ in 0..20 {
            pair.rx.post(pool.alloc().unwrap()).unwrap();
        }
        pair.rx.kick();
    }
    harness.step();
    for queue in 0..QUEUES {
        nic.unmask_irq(QueueId(queue));
    }
    harness.step();
    (pairs, pool)
}

/// Each of the published flows arrives where its hash says, with its hash, and
/// interrupts for that queue alone.
fn flows_go_where_their_hash_says<H, P>(mut harness: H)
where
    H: Harness<Nic = Igb<P>>,
    P: PciDevice,
{
    let calls = Arc::new(Calls::default());
    let (mut pairs, _) = open(&mut harness, &calls);
    let nic = harness.nic();
    for reversed in [false, true] {
        let mut rss = nic.rss().unwrap();
        if reversed {
            rss.table.reverse();
            nic.set_rss(&rss).unwrap();
        }
        for vector in VECTORS {
            let hash = vector.4;
            let queue = rss.table[hash as usize % rss.table.len()];
            harness.inject(QueueId(0), &segment(nic.capabilities().mac.0, vector));
            harness.step();
            let called = std::mem::take(&mut *calls.queues.lock().unwrap());
            assert_eq!(called, [queue], "{vector:?}");
            let frame = pairs[usize::from(queue)].rx.reap().unwrap();
            assert_eq!(frame.hash(), (hash, HashKind::L4), "{vector:?}");
            nic.unmask_irq(QueueId(queue));
            harness.step();
            assert!(calls.queues.lock().unwrap().is_empty(), "{vector:?}");
        }
    }
}

#[test]
fn flows_go_where_their_hash_says_on_the_emulated_chip() {
    flows_go_where_their_hash_says(Emulated::new(IrqMode::MsiX, u16::MAX));
}

#[test]
fn flows_go_where_their_hash_says_when_queues_share_vectors() {
    flows_go_where_their_hash_says(Emulated::new(IrqMode::MsiX, 3));
    flows_go_where_their_hash_says(Emulated::new(IrqMode::Msi, 1));
    flows_go_where_their_hash_says(Emulated::new(IrqMode::Intx, 1));
}

#[test]
fn flows_go_where_their_hash_says_on_qemus_82576() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    for (mode, vectors) in [
        (IrqMode::MsiX, u16::MAX),
        (IrqMode::MsiX, 3),
        (IrqMode::Intx, 1),
    ] {
        flows_go_where_their_hash_says::<_, Only<_>>(qemus(&qemu, mode, vectors));
    }
}

/// Every queue sends, and its own interrupt says when it is done.
fn every_queue_sends<H: Harness>(mut harness: H) {
    let calls = Arc::new(Calls::default());
    let (mut pairs, pool) = open(&mut harness, &calls);
    for (number, pair) in (0..).zip(&mut pairs) {
        for _ in 0..=number {
            let mut frame = pool.alloc().unwrap();
            frame.put(60 + usize::from(number)).unwrap().fill(0x55);
            pair.tx.post(frame).unwrap();
        }
        pair.tx.kick();
        harness.step();
        let called = std::mem::take(&mut *calls.queues.lock().unwrap());
        assert_eq!(called, [number]);
        let reaped = std::iter::from_fn(|| pair.tx.reap());
        assert_eq!(reaped.count(), usize::from(number) + 1);
    }
    let mut lengths = Vec::new();
    harness.drain(&mut |packet| lengths.push(packet.len()));
    assert_eq!(lengths, [60, 61, 61, 62, 62, 62, 63, 63, 63, 63]);
}

#[test]
fn every_queue_sends_on_the_emulated_chip() {
    every_queue_sends(Emulated::new(IrqMode::MsiX, u16::MAX));
}

#[test]
fn every_queue_sends_on_qemus_82576() {
    if let Some(qemu) = softnet_test_support::qemu() {
        every_queue_sends(qemus(&qemu, IrqMode::MsiX, u16::MAX));
    }
}
