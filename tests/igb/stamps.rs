//! The chip's clock and its stamps, on the models.

use crate::conformance::qemus;
use crate::emulated::Emulated;
use softnet_dma_ring::{DmaRing, FramePool, PoolConfig};
use softnet_igb::{Igb, RxStamps};
use softnet_nic_hal::bus::{IrqMode, PciDevice};
use softnet_nic_hal::testing::conformance::Harness;
use softnet_nic_hal::{IrqHandler, NicHal, OpenConfig, QueueId};
use std::sync::Arc;

struct Quiet;

impl IrqHandler for Quiet {
    fn irq(&self, _queue: QueueId) {}
}

/// A PTP version 2 message over Ethernet (IEEE 1588-2008, annex F) of that type, to
/// everybody, so that any filter takes it.
fn ptp(message: u8) -> Vec<u8> {
    let mut packet = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xf7]].concat();
    packet.extend([message, 2, 0, 44]);
    packet.resize(60, 0);
    packet
}

/// Of received packets, PTP's of the type that was chosen have a stamp; and it is
/// of the stack's time, as the watchdog has told it.
fn ptp_is_stamped<H: Harness<Nic = Igb<P>>, P: PciDevice>(mut harness: H) {
    let pool = FramePool::new(PoolConfig {
        frames: 64,
        ..PoolConfig::default()
    });
    let (nic, pool) = (harness.nic(), pool.unwrap());
    let config = OpenConfig::new(pool.clone());
    let mut pair = nic.open(&config, Arc::new(Quiet)).unwrap().pop().unwrap();
    for _ in 0..8 {
        pair.rx.post(pool.alloc().unwrap()).unwrap();
    }
    pair.rx.kick();
    harness.step();
    nic.set_rx_stamps(RxStamps::Ptp2(0)).unwrap();
    let told = 3_600_000_000_000;
    nic.watchdog(told);
    let mut times = Vec::new();
    for message in [0, 1, 0] {
        harness.inject(QueueId(0), &ptp(message));
        harness.step();
        let frame = pair.rx.reap().unwrap();
        times.push(frame.timestamp_ns());
    }
    let [Some(first), None, Some(last)] = times[..] else {
        panic!("{times:?}");
    };
    assert!(told <= first && first < last, "{times:?}");
    // Two steps lie between, of some milliseconds to a second each.
    assert!(last - first < 10_000_000_000, "{times:?}");
}

#[test]
fn ptp_is_stamped_on_the_emulated_chip() {
    ptp_is_stamped(Emulated::new(IrqMode::MsiX, u16::MAX));
}

#[test]
fn ptp_is_stamped_on_qemus_82576() {
    if let Some(qemu) = softnet_test_support::qemu() {
        ptp_is_stamped(qemus(&qemu, IrqMode::MsiX, u16::MAX));
    }
}
