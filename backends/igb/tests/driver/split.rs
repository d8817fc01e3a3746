//! Header split, descriptor by descriptor.

use crate::fake::{DD, DT, EOP, FRAMES, Fake, Open, config, rx};
use softnet_dma_ring::{ChecksumStatus, DmaRing, Frame, FrameBatch};
use softnet_igb::Igb;
use softnet_nic_hal::{NicHal, QueueId};
use std::sync::Arc;

/// The headers were found; so many bytes of them.
const fn headers(len: u64) -> u64 {
    1 << 31 | len << 21
}

/// A NIC that splits, with a ring of 8 and `frames` frames posted.
fn splitting(frames: usize) -> Open {
    let fake = Fake::new();
    let nic = Igb::probe(fake.clone()).unwrap();
    nic.set_header_split(true);
    let (pool, stack) = (crate::fake::pool(), Arc::new(crate::fake::Stack::default()));
    let mut config = config(&pool, 1, 8);
    config.scatter = true;
    let pairs = nic.open(&config, stack.clone()).unwrap();
    let mut open = Open {
        fake,
        nic,
        stack,
        pool,
        pairs,
    };
    for _ in 0..frames {
        let frame = open.pool.alloc().unwrap();
        open.pair().rx.post(frame).unwrap();
    }
    open.pair().rx.kick();
    open
}

fn reap_all(open: &mut Open) -> Vec<Frame> {
    std::iter::from_fn(|| open.pair().rx.reap()).collect()
}

fn shape(frames: &[Frame]) -> Vec<(usize, bool)> {
    frames.iter().map(|f| (f.len(), f.continues())).collect()
}

#[test]
fn a_descriptor_takes_two_frames() {
    let mut open = splitting(0);
    assert_eq!(open.pair().rx.free_slots(), 14);
    let frames: Vec<_> = (0..2).map(|_| open.pool.alloc().unwrap()).collect();
    let [head, body] = [0, 1].map(|at: usize| frames[at].dma_addr().0);
    for (left, frame) in [13, 12].into_iter().zip(frames) {
        open.pair().rx.post(frame).unwrap();
        assert_eq!(open.pair().rx.free_slots(), left);
    }
    open.pair().rx.kick();
    assert_eq!(open.fake.value(rx(0) + DT), 1);
    assert_eq!(open.fake.descriptor(rx(0), 0), (body, head));
    // Split, headers of up to 256 bytes, payload of 2048; and of which packets.
    assert_eq!(open.fake.value(rx(0) + 0xc), 2 | 4 << 8 | 0b010 << 25);
    assert_eq!(open.fake.value(0x5480), 0b11_1000_1110);
}

#[test]
fn headers_and_payload_come_in_two_frames() {
    let mut open = splitting(14);
    let first = headers(54) | 0xabcd << 32 | 1;
    open.fake
        .receive_as(0, 0, &[2; 446], first, DD | EOP | 1 << 5);
    let frames = reap_all(&mut open);
    assert_eq!(shape(&frames), [(54, true), (446, false)]);
    assert_eq!(frames[1].data(), &[2; 446]);
    assert_eq!(frames[0].hash().0, 0xabcd);
    assert_eq!(frames[0].checksum(), ChecksumStatus::Unnecessary);
    let stats = open.stats();
    assert_eq!((stats.rx_packets, stats.rx_bytes), (1, 500));
}

#[test]
fn a_packet_that_is_not_split_leaves_a_frame_to_spare() {
    let mut open = splitting(14);
    assert_eq!(open.pair().rx.free_slots(), 0);
    open.fake.receive(0, 0, &[1; 200]);
    // And one that has no payload.
    open.fake.receive_as(0, 1, &[], headers(42), DD | EOP);
    let frames = reap_all(&mut open);
    assert_eq!(shape(&frames), [(200, false), (42, false)]);
    // Two descriptors are free, and both have a frame already.
    assert_eq!(open.pair().rx.free_slots(), 2);
    for _ in 0..2 {
        let frame = open.pool.alloc().unwrap();
        open.pair().rx.post(frame).unwrap();
    }
    assert_eq!(open.pair().rx.free_slots(), 0);
    let frame = open.pool.alloc().unwrap();
    assert!(open.pair().rx.post(frame).is_err());
}

#[test]
fn a_long_packet_has_its_headers_in_the_first_descriptor() {
    let mut open = splitting(14);
    open.fake.receive_as(0, 0, &[1; 2048], headers(54), DD);
    assert!(open.pair().rx.reap().is_none());
    open.fake.receive_as(0, 1, &[2; 100], headers(54), DD | EOP);
    let frames = reap_all(&mut open);
    assert_eq!(shape(&frames), [(54, true), (2048, true), (100, false)]);
    assert_eq!(open.stats().rx_packets, 1);
}

#[test]
fn frames_that_a_poll_left_behind_are_announced() {
    let mut open = splitting(14);
    open.fake.receive_as(0, 0, &[1; 100], headers(54), DD | EOP);
    let mut batch = FrameBatch::new();
    assert_eq!(open.pair().rx.reap_into(&mut batch, 1), 1);
    open.nic.unmask_irq(QueueId(0));
    open.fake.deliver();
    assert_eq!(open.stack.irqs(), 1);
    assert_eq!(open.pair().rx.reap_into(&mut batch, 8), 1);
    open.nic.unmask_irq(QueueId(0));
    open.fake.deliver();
    assert_eq!(open.stack.irqs(), 1);
}

#[test]
fn bad_packets_never_surface_and_their_frames_go_round() {
    let mut open = splitting(14);
    let bad = [
        (headers(54), 60 << 32 | DD | EOP | 1 << 31),
        (headers(257), 60 << 32 | DD | EOP),
        (headers(54), 2049 << 32 | DD | EOP),
        (0, DD | EOP),
    ];
    for (at, words) in (0..).zip(bad) {
        open.fake.write_back(rx(0), at, words);
    }
    open.fake.receive_as(0, 4, &[7; 60], headers(42), DD | EOP);
    assert_eq!(shape(&reap_all(&mut open)), [(42, true), (60, false)]);
    let stats = open.stats();
    assert_eq!((stats.rx_errors, stats.rx_length_errors), (4, 3));
    // The device has two that it had, and four again.
    assert_eq!(open.fake.value(rx(0) + DT), 3);
    assert_eq!(open.pair().rx.free_slots(), 2);
}

#[test]
fn a_packet_without_an_end_does_not_stop_the_ring() {
    let mut open = splitting(14);
    for at in 0..7 {
        open.fake.write_back(rx(0), at, (0, 2048 << 32 | DD));
    }
    assert!(open.pair().rx.reap().is_none());
    assert_eq!(open.stats().rx_length_errors, 1);
    open.fake.receive(0, 7, &[5; 60]);
    assert_eq!(shape(&reap_all(&mut open)), [(60, false)]);
}

#[test]
fn all_frames_come_home() {
    let mut open = splitting(14);
    for lap in 0..40_u64 {
        let first = headers(54) * (lap % 2);
        open.fake.receive_as(0, lap % 8, &[1; 100], first, DD | EOP);
        drop(open.pair().rx.reap().unwrap());
        let mut batch = FrameBatch::new();
        for _ in 0..3 {
            batch.push(open.pool.alloc().unwrap());
        }
        drop(reap_all(&mut open));
        let posted = open.pair().rx.post_from(&mut batch);
        assert_eq!(posted + batch.len(), 3);
        open.pair().rx.kick();
    }
    open.nic.stop().unwrap();
    drop(open.pairs);
    assert_eq!(open.pool.count_free(), FRAMES);
}

#[test]
fn without_scatter_nothing_is_split() {
    let fake = Fake::new();
    let nic = Igb::probe(fake.clone()).unwrap();
    nic.set_header_split(true);
    let config = config(&crate::fake::pool(), 1, 8);
    let stack = Arc::new(crate::fake::Stack::default());
    drop(nic.open(&config, stack).unwrap());
    assert_eq!(fake.value(rx(0) + 0xc), 2 | 0b001 << 25);
}
