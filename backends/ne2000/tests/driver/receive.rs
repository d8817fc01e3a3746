//! What is read out of the card's ring.

use crate::fake::{Fake, Open, PRX, Size, open, open_on};
use softnet_dma_ring::{DmaRing, FrameBatch};
use softnet_nic_hal::NicHal;

fn with_posted() -> Open {
    let mut open = open();
    open.post(16);
    open
}

fn packet(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(7) ^ seed)
        .collect()
}

#[test]
fn packets_of_every_length_are_read_as_they_are() {
    for size in [Size::Small, Size::Large] {
        let mut open = open_on(Fake::with(0x10ec, 0x8029, size));
        for len in (60..=1518).step_by(3) {
            open.post(1);
            let packet = packet(len, len as u8);
            open.fake.store(&packet);
            open.fake.set_causes(PRX);
            assert_eq!(open.pair.rx.reap().unwrap().data(), packet, "{len} bytes");
            // The boundary is one page behind what is read next.
            let (start, stop) = (open.fake.written(0, 1), open.fake.written(0, 2));
            let behind = match open.fake.curr() {
                curr if curr == start => stop - 1,
                curr => curr - 1,
            };
            assert_eq!(open.fake.written(0, 3), behind);
        }
        assert_eq!(open.stats().rx_errors, 0);
    }
}

#[test]
fn a_batch_is_as_long_as_the_frames_last() {
    let mut open = open();
    open.post(3);
    for number in 0..5 {
        open.fake.store(&[number; 60]);
    }
    let mut batch = FrameBatch::new();
    assert_eq!(open.pair.rx.reap_into(&mut batch, 64), 3);
    open.post(8);
    assert_eq!(open.pair.rx.reap_into(&mut batch, 64), 2);
    let firsts: Vec<u8> = batch.iter().map(|frame| frame.data()[0]).collect();
    assert_eq!(firsts, [0, 1, 2, 3, 4]);
}

#[test]
fn a_bad_packet_is_passed_over_and_counted_by_what_is_wrong() {
    let mut open = with_posted();
    // CRC error, FIFO overrun, not received at all, too short, too long.
    let bad = [
        (0x03, 64, 1),
        (0x09, 64, 1),
        (0x00, 64, 1),
        (0x01, 32, 1),
        (0x01, 1600, 7),
    ];
    for (status, count, pages) in bad {
        let next = open.fake.curr() + pages;
        open.fake.store_as(&[1; 60], [status, next], count);
        open.fake.set_curr(next);
    }
    open.fake.store(&[9; 60]);
    let mut batch = FrameBatch::new();
    assert_eq!(open.pair.rx.reap_into(&mut batch, 64), 1);
    assert_eq!(batch[0].data(), [9; 60]);
    let stats = open.stats();
    assert_eq!(stats.rx_errors, 5);
    assert_eq!((stats.rx_length_errors, stats.rx_fifo_errors), (2, 1));
    assert_eq!(stats.rx_packets, 1);
}

#[test]
fn a_header_that_cannot_be_true_empties_the_ring() {
    for next in [0x00, 0x63, 0x66 + 9, 0xc0, 0xff] {
        let mut open = with_posted();
        open.fake.store_as(&[1; 60], [1, next], 64);
        open.fake.set_curr(0x70);
        assert!(open.pair.rx.reap().is_none(), "{next:#x}");
        assert_eq!(open.counter("rx_resyncs"), 1);
        // What comes after that is read.
        open.fake.store(&[2; 60]);
        assert_eq!(open.pair.rx.reap().unwrap().data(), [2; 60]);
    }
}

#[test]
fn a_current_page_outside_of_the_ring_is_not_believed() {
    let mut open = with_posted();
    for curr in [0x00, 0x63, 0xc0, 0xff] {
        open.fake.set_curr(curr);
        assert!(open.pair.rx.reap().is_none());
    }
}

#[test]
fn groups_are_counted_but_not_broadcasts() {
    let mut open = with_posted();
    for first in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [2; 6]] {
        let mut packet = packet(60, 0);
        packet[..6].copy_from_slice(&first);
        open.fake.store(&packet);
    }
    assert_eq!(open.pair.rx.reap_into(&mut FrameBatch::new(), 64), 3);
    assert_eq!(open.stats().multicast, 1);
}

#[test]
fn a_card_that_is_gone_gives_nothing() {
    let mut open = with_posted();
    open.fake.store(&[1; 60]);
    open.unmask();
    open.fake.unplug();
    assert!(open.pair.rx.reap().is_none());
    assert!(open.nic.watchdog(0).gone);
    assert_eq!(open.stack.irqs(), 0);
    open.nic.stop().unwrap();
}
