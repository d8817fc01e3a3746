//! What is written into the card's buffers, and what becomes of it.

use crate::fake::{FRAMES, Fake, Faults, PTX, QUEUE, Size, TXE, open, open_on};
use softnet_dma_ring::{DmaRing, FrameBatch, TxChecksum};
use softnet_nic_hal::NicHal;

const ABT_COL: u8 = 0x0c;
const FU: u8 = 0x20;

#[test]
fn a_short_packet_is_padded_with_zeros_whatever_was_there() {
    let mut open = open();
    open.fake.set_memory(0x4000, &[0xee; 256]);
    open.send(17, 1..2);
    let sent = open.fake.sending().unwrap();
    assert_eq!((&sent[..17], &sent[17..]), (&[1; 17][..], &[0; 43][..]));
}

#[test]
fn buffers_are_filled_in_turn_and_sent_one_by_one() {
    let mut open = open();
    open.send(1514, 1..9);
    // Six fit into the card, two wait in the ring.
    let last = open.fake.memory(0x4000 + 5 * 0x600, 1514);
    assert_eq!(last, [6; 1514]);
    for number in 1..9 {
        assert_eq!(open.fake.sending().unwrap(), [number; 1514]);
        open.fake.finish(PTX, 1);
        assert!(open.pair.tx.reap().is_some());
    }
    assert_eq!(open.fake.sending(), None);
    let stats = open.stats();
    assert_eq!((stats.tx_packets, stats.tx_bytes), (8, 8 * 1514));
}

#[test]
fn a_small_card_has_two_buffers() {
    let mut open = open_on(Fake::with(0x10ec, 0x8029, Size::Small));
    open.send(60, 1..5);
    for number in 1..5 {
        assert_eq!(open.fake.sending().unwrap(), [number; 60]);
        open.fake.finish(PTX, 1);
        assert!(open.pair.tx.reap().is_some());
    }
}

#[test]
fn a_packet_that_was_given_up_is_sent_twice_more() {
    let mut open = open();
    open.send(60, 1..3);
    for status in [ABT_COL, FU, ABT_COL] {
        assert_eq!(open.fake.sending().unwrap(), [1; 60]);
        open.unmask();
        open.fake.finish(TXE, status);
    }
    // Given up for good: the next one's turn.
    assert_eq!(open.fake.sending().unwrap(), [2; 60]);
    open.fake.finish(PTX, 1);
    assert_eq!(open.pair.tx.reap_into(&mut FrameBatch::new(), 9), 2);
    let stats = open.stats();
    assert_eq!((stats.tx_errors, stats.tx_packets), (1, 1));
    let counters = ["tx_retries", "tx_aborted_errors", "collisions"];
    assert_eq!(counters.map(|name| open.counter(name)), [2, 1, 32]);
}

#[test]
fn collisions_that_ended_well_are_counted() {
    let mut open = open();
    open.send(60, 1..2);
    open.unmask();
    open.fake.set_collisions(5);
    open.fake.finish(PTX, 0x05);
    assert_eq!(open.counter("collisions"), 5);
    assert_eq!(open.stats().tx_packets, 1);
}

#[test]
fn a_late_collision_is_an_error_and_no_reason_to_send_again() {
    let mut open = open();
    open.send(60, 1..2);
    open.unmask();
    open.fake.finish(TXE, 0x80);
    assert_eq!(open.fake.sending(), None);
    assert_eq!(open.counter("tx_window_errors"), 1);
    assert_eq!(open.stats().tx_errors, 1);
}

#[test]
fn a_packet_that_cannot_be_sent_as_asked_goes_home() {
    let mut open = open();
    let mut post = |change: fn(&mut softnet_dma_ring::Frame)| {
        let mut frame = open.pool.alloc().unwrap();
        frame.put(100).unwrap().fill(1);
        change(&mut frame);
        open.pair.tx.post(frame).unwrap();
    };
    post(|frame| frame.truncate(13));
    post(|frame| frame.set_vlan_tci(Some(1)));
    post(|frame| frame.set_gso_size(Some(500)));
    post(|frame| {
        let (start, offset) = (34, 6);
        frame.set_tx_checksum(Some(TxChecksum { start, offset }));
    });
    // A packet in two frames: the second goes with the first.
    post(|frame| frame.set_continues(true));
    post(|_| {});
    post(|_| {});
    open.pair.tx.kick();
    assert_eq!(open.fake.sending().unwrap(), [1; 100]);
    assert_eq!(open.stats().tx_dropped, 6);
    assert_eq!(open.pool.count_free(), FRAMES - 1);
}

#[test]
fn a_card_that_takes_no_packet_is_reported_as_hanging_and_a_reopen_heals_it() {
    let mut open = open();
    let write_hangs = true;
    open.fake.set_faults(Faults {
        write_hangs,
        ..Faults::default()
    });
    open.send(60, 1..4);
    assert_eq!(open.fake.sending(), None);
    assert_eq!(open.nic.watchdog(0).tx_hang, None);
    assert_eq!(open.nic.watchdog(4_000_000_000).tx_hang, Some(QUEUE));
    assert_eq!(open.stats().tx_timeouts, 1);
    open.nic.stop().unwrap();
    open.fake.set_faults(Faults::default());
    let config = crate::fake::config(&open.pool);
    open.pair = open
        .nic
        .open(&config, open.stack.clone())
        .unwrap()
        .remove(0);
    open.send(60, 4..5);
    assert_eq!(open.fake.sending().unwrap(), [4; 60]);
}

#[test]
fn a_packet_that_never_ends_is_a_hang_and_progress_is_none() {
    let mut open = open();
    open.send(60, 1..4);
    for second in [0, 2, 3] {
        assert_eq!(open.nic.watchdog(second * 1_000_000_000).tx_hang, None);
    }
    open.fake.finish(PTX, 1);
    assert_eq!(open.nic.watchdog(4_000_000_000).tx_hang, None);
    assert_eq!(open.nic.watchdog(7_900_000_000).tx_hang, None);
    assert_eq!(open.nic.watchdog(8_000_000_000).tx_hang, Some(QUEUE));
}

#[test]
fn an_end_that_is_told_without_a_packet_is_ignored() {
    let mut open = open();
    open.send(60, 1..2);
    open.fake.finish(PTX, 1);
    assert!(open.pair.tx.reap().is_some());
    open.fake.raise(PTX | TXE);
    assert!(open.pair.tx.reap().is_none());
    open.unmask();
    assert_eq!((open.stack.irqs(), open.stats().tx_packets), (0, 1));
}
