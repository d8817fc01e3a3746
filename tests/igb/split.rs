//! Headers in frames of their own, on the models.

use crate::conformance::qemus;
use crate::emulated::Emulated;
use softnet_dma_ring::{DmaRing, FramePool, PoolConfig};
use softnet_igb::Igb;
use softnet_nic_hal::bus::{IrqMode, PciDevice};
use softnet_nic_hal::testing::conformance::Harness;
use softnet_nic_hal::{IrqHandler, NicHal, OpenConfig, QueueId};
use std::sync::Arc;

struct Quiet;

impl IrqHandler for Quiet {
    fn irq(&self, _queue: QueueId) {}
}

/// An IPv4 packet to everybody, with zeros for what no filter looks at.
fn ipv4(protocol: u8, len: usize) -> Vec<u8> {
    let mut packet = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]].concat();
    packet.extend(((len - 14) as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 = packet[14..]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet.resize(len, 0);
    if protocol == 17 {
        packet[38..40].copy_from_slice(&((len - 34) as u16).to_be_bytes());
    } else {
        packet[46] = 0x50;
    }
    for (at, byte) in packet.iter_mut().enumerate().skip(54) {
        *byte = at as u8;
    }
    packet
}

/// A packet of no protocol that is known.
fn strange(len: usize) -> Vec<u8> {
    let mut packet = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xb5]].concat();
    packet.resize(len, 7);
    packet
}

fn headers_have_frames_of_their_own<H, P>(mut harness: H)
where
    H: Harness<Nic = Igb<P>>,
    P: PciDevice,
{
    let pool = FramePool::new(PoolConfig {
        frames: 128,
        ..PoolConfig::default()
    });
    let (nic, pool) = (harness.nic(), pool.unwrap());
    nic.set_header_split(true);
    let config = OpenConfig {
        rx_ring: 16,
        mtu: 9000,
        scatter: true,
        ..OpenConfig::new(pool.clone())
    };
    let mut pair = nic.open(&config, Arc::new(Quiet)).unwrap().pop().unwrap();
    let packets: [(Vec<u8>, &[usize]); 5] = [
        (ipv4(6, 500), &[54, 446]),
        (ipv4(17, 500), &[42, 458]),
        (strange(200), &[200]),
        (ipv4(6, 4500), &[54, 2048, 2048, 350]),
        (strange(3000), &[2048, 952]),
    ];
    for _ in 0..10 {
        for (packet, lengths) in &packets {
            while pair.rx.free_slots() > 0 {
                pair.rx.post(pool.alloc().unwrap()).unwrap();
            }
            pair.rx.kick();
            harness.step();
            harness.inject(QueueId(0), packet);
            harness.step();
            let frames: Vec<_> = std::iter::from_fn(|| pair.rx.reap()).collect();
            let seen: Vec<_> = frames.iter().map(|frame| frame.len()).collect();
            assert_eq!(seen, *lengths);
            let bytes: Vec<_> = frames.iter().map(|frame| frame.data()).collect();
            assert_eq!(bytes.concat(), *packet);
            let (last, others) = frames.split_last().unwrap();
            assert!(!last.continues() && others.iter().all(|frame| frame.continues()));
        }
    }
    nic.stop().unwrap();
    drop(pair);
    assert_eq!(pool.count_free(), 128);
}

#[test]
fn headers_have_frames_of_their_own_on_the_emulated_chip() {
    headers_have_frames_of_their_own(Emulated::new(IrqMode::MsiX, u16::MAX));
}

#[test]
fn headers_have_frames_of_their_own_on_qemus_82576() {
    if let Some(qemu) = softnet_test_support::qemu() {
        headers_have_frames_of_their_own(qemus(&qemu, IrqMode::MsiX, u16::MAX));
    }
}
