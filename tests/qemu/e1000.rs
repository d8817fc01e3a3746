//! What the e1000 driver asks of QEMU's chip beyond the contract of every NIC.

use crate::bench::{Bench, MAC};
use softnet_dma_ring::{DmaRing, Frame, FramePool, PoolConfig, TxChecksum};
use softnet_e1000::{E1000, RxRing, TxRing};
use softnet_emulated::offload::{Headers, Judged};
use softnet_nic_hal::ethtool::{EthtoolOps, Features};
use softnet_nic_hal::testing::conformance::Harness;
use softnet_nic_hal::{IrqHandler, NicHal, OpenConfig, QueueId, QueuePair};
use softnet_qemu::QemuFunction;
use std::sync::Arc;

struct Quiet;

impl IrqHandler for Quiet {
    fn irq(&self, _queue: QueueId) {}
}

struct Card {
    bench: Bench<E1000<QemuFunction>>,
    pool: FramePool,
    pair: QueuePair<RxRing<QemuFunction>, TxRing<QemuFunction>>,
}

impl Card {
    /// A card with these offloads; `None` where there is no QEMU.
    fn new(features: Features) -> Option<Self> {
        let qemu = softnet_test_support::qemu()?;
        let mut bench = Bench::new(&qemu, "e1000", |function| E1000::probe(function).unwrap());
        bench.nic.set_features(features).unwrap();
        let pool = FramePool::new(PoolConfig {
            frames: 64,
            buffer_size: 16512,
            ..PoolConfig::default()
        })
        .unwrap();
        let config = OpenConfig {
            rx_ring: 32,
            ..OpenConfig::new(pool.clone())
        };
        let mut pairs = bench.nic.open(&config, Arc::new(Quiet)).unwrap();
        let mut pair = pairs.remove(0);
        while pair.rx.free_slots() > 0 {
            pair.rx.post(pool.alloc().unwrap()).unwrap();
        }
        pair.rx.kick();
        bench.step();
        Some(Self { bench, pool, pair })
    }

    fn send(&mut self, frames: Vec<Frame>) -> Vec<Vec<u8>> {
        for frame in frames {
            self.pair.tx.post(frame).unwrap();
        }
        self.pair.tx.kick();
        self.bench.step();
        let mut sent = Vec::new();
        self.bench.drain(&mut |frame| sent.push(frame.to_vec()));
        sent
    }

    fn frame(&self, bytes: &[u8]) -> Frame {
        let mut frame = self.pool.alloc().unwrap();
        frame.put(bytes.len()).unwrap().copy_from_slice(bytes);
        frame
    }
}

/// A TCP packet over IPv4 with FIN and PSH, without checksums.
fn tcp(payload: usize) -> Vec<u8> {
    let mut packet = [&[0xff; 6], &MAC.0[..], &[8, 0, 0x45, 0]].concat();
    packet.extend((payload as u16 + 40).to_be_bytes());
    packet.extend([0xff, 0xff, 0x40, 0, 64, 6, 0, 0]);
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x13, 0x88, 0x13, 0x89]);
    packet.extend([
        0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0x50, 0x19, 1, 0, 0, 0, 0, 0,
    ]);
    packet.extend((0..payload).map(|byte| (byte * 31 / 7) as u8));
    packet
}

fn ask_for_segments(first: &mut Frame, size: u16) {
    let (start, offset) = (34, 16);
    first.set_tx_checksum(Some(TxChecksum { start, offset }));
    first.set_gso_size(Some(size));
}

fn is_right(frame: &[u8]) -> bool {
    let right = Judged {
        network: Some(true),
        transport: Some(true),
    };
    Headers::parse(frame, 0x8100).is_some_and(|headers| headers.judge(frame) == right)
}

/// What follows the headers of segments; the header's length includes a tag.
fn payload(segments: &[Vec<u8>], header: usize) -> Vec<u8> {
    let parts = segments.iter().map(|segment| &segment[header..]);
    parts.flatten().copied().collect()
}

#[test]
fn large_packets_become_right_segments_on_qemus_82540em() {
    let Some(mut card) = Card::new(Features::TX_CHECKSUM | Features::TSO) else {
        return;
    };
    for (bytes, pieces) in [(10_001, 1), (40_001, 4), (1_500, 1)] {
        let packet = tcp(bytes);
        let pieces = packet.chunks(packet.len().div_ceil(pieces));
        let mut frames: Vec<Frame> = pieces.map(|piece| card.frame(piece)).collect();
        let last = frames.len() - 1;
        frames[..last]
            .iter_mut()
            .for_each(|frame| frame.set_continues(true));
        ask_for_segments(&mut frames[0], 1400);
        let sent = card.send(frames);
        assert_eq!(sent.len(), bytes.div_ceil(1400));
        assert!(sent.iter().all(|segment| is_right(segment)));
        assert!(payload(&sent, 54) == packet[54..]);
        let marked: Vec<bool> = sent.iter().map(|segment| segment[47] & 9 == 9).collect();
        assert_eq!(marked.iter().position(|&last| last), Some(sent.len() - 1));
    }
}

#[test]
fn tags_travel_beside_the_packet_on_qemus_82540em() {
    let features = Features::TX_CHECKSUM | Features::TSO | Features::RX_VLAN | Features::TX_VLAN;
    let Some(mut card) = Card::new(features) else {
        return;
    };
    let packet = tcp(3001);
    let mut frame = card.frame(&packet);
    frame.set_vlan_tci(Some(0x6123));
    ask_for_segments(&mut frame, 1000);
    let sent = card.send(vec![frame]);
    assert_eq!(sent.len(), 4);
    for segment in &sent {
        assert_eq!(segment[12..16], [0x81, 0, 0x61, 0x23]);
        assert!(is_right(segment));
    }
    assert!(payload(&sent, 58) == packet[54..]);
    card.bench.inject(QueueId(0), &sent[0]);
    card.bench.step();
    let received = card.pair.rx.reap().unwrap();
    assert_eq!(received.vlan_tci(), Some(0x6123));
    assert_eq!(received.data()[12..], sent[0][16..]);
}
