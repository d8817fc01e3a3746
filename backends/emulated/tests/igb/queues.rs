//! Several queues side by side.

use crate::rig::*;
use softnet_nic_hal::bus::CoherentMemory;

#[test]
fn all_transmit_queues_send() {
    let mut rig = Rig::new();
    let mut rings: Vec<TxRing> = (0..16).map(|queue| rig.tx_ring(queue, 8)).collect();
    rig.w(TCTL, EN);
    for (queue, ring) in rings.iter_mut().enumerate() {
        ring.put(&frame(BROADCAST, 60 + queue), WHOLE);
        ring.ring_doorbell(&rig);
    }
    rig.settle();
    let mut lengths: Vec<usize> = rig.wire.sent().iter().map(Vec::len).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (60..76).collect::<Vec<_>>());
    assert!(rings.iter().all(|ring| ring.done(0)));
    // Packets and octets of the queue.
    assert_eq!((rig.r(0x1_0914), rig.r(0x1_0934)), (1, 73));
}

#[test]
fn a_busy_queue_leaves_the_others_their_turn() {
    let mut rig = Rig::new();
    let mut busy = rig.tx_ring(0, 2048);
    let mut other = rig.tx_ring(1, 8);
    rig.w(TCTL, EN);
    for _ in 0..1000 {
        // All from one buffer.
        let words = [busy.buffers.dma_addr().0, 60 | WHOLE | 60 << 46];
        busy.raw(words);
    }
    busy.ring_doorbell(&rig);
    other.put(&frame(BROADCAST, 99), WHOLE);
    other.ring_doorbell(&rig);
    let steps = (1..10).find(|_| {
        rig.step();
        rig.wire.sent().iter().any(|sent| sent.len() == 99)
    });
    assert!(steps.is_some_and(|steps| steps <= 2), "{steps:?}");
    rig.settle();
    assert!(busy.done(999));
}

#[test]
fn a_queue_that_is_off_sends_when_it_is_switched_on() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(3, 8);
    rig.w(TCTL, EN);
    rig.w(ring.at + DCTL, 0);
    ring.put(&frame(BROADCAST, 60), WHOLE);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert!(rig.wire.sent().is_empty());
    rig.w(ring.at + DCTL, ENABLE);
    rig.settle();
    assert_eq!(rig.wire.sent().len(), 1);
}

#[test]
fn what_waits_for_one_queue_keeps_those_behind_it_waiting() {
    let mut rig = Rig::new();
    let full = rig.rx_ring(2, 8, ONE_BUFFER);
    rig.w(RX + 2 * 0x40 + TAIL, 0);
    let other = rig.receive(SECRC | UPE);
    rig.w(ETQF, 1 << 31 | 1 << 26 | 2 << 16 | 0x88b5);
    rig.deliver(&frame(MAC, 60));
    let mut second = frame(MAC, 61);
    second[12] = 0x99;
    rig.deliver(&second);
    rig.settle();
    assert!(!other.done(0), "it is behind the first");
    rig.w(RX + 2 * 0x40 + TAIL, 7);
    rig.settle();
    assert!(full.done(0) && other.done(0));
    assert_eq!(other.len(0), 61);
}

#[test]
fn what_goes_to_a_queue_that_is_off_is_lost() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC);
    rig.w(ETQF, 1 << 31 | 1 << 26 | 4 << 16 | 0x88b5);
    rig.deliver(&frame(MAC, 60));
    rig.w(ETQF, 0);
    rig.deliver(&frame(MAC, 61));
    assert_eq!(ring.len(0), 61);
    assert_eq!(rig.nic.counters().rx_unheard, 1);
}
