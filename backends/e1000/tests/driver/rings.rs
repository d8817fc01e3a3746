//! The rings, descriptor by descriptor, against devices that lie.

use crate::fake::{DD, EOP, FRAMES, Open, RDBAL, RDT, TDBAL, TDT, open, open_with};
use softnet_dma_ring::{ChecksumStatus, DmaRing, FrameBatch, FramePool, PoolConfig, TxChecksum};
use softnet_nic_hal::{NicHal, NicStats};

fn post_rx(open: &mut Open, count: usize) {
    for _ in 0..count {
        open.pair.rx.post(open.pool.alloc().unwrap()).unwrap();
    }
    open.pair.rx.kick();
}

fn send(open: &mut Open, len: usize) {
    let mut frame = open.pool.alloc().unwrap();
    frame.put(len).unwrap().fill(0xa5);
    open.pair.tx.post(frame).unwrap();
}

fn stats(open: &Open) -> NicStats {
    let mut stats = NicStats::default();
    open.nic.stats(&mut stats);
    stats
}

#[test]
fn one_descriptor_stays_free_and_the_tail_is_written_once_for_a_kick() {
    let mut open = open();
    assert_eq!(open.pair.rx.free_slots(), 7);
    open.fake.take_log();
    post_rx(&mut open, 7);
    assert_eq!(open.fake.take_log(), [(RDT, 7)]);
    assert!(open.pair.rx.post(open.pool.alloc().unwrap()).is_err());
    open.pair.rx.kick();
    assert_eq!(open.fake.take_log(), []);
}

#[test]
fn a_receive_descriptor_holds_the_frames_address_and_a_cleared_status() {
    let mut open = open();
    let frame = open.pool.alloc().unwrap();
    let address = frame.dma_addr().0;
    open.pair.rx.post(frame).unwrap();
    assert_eq!(open.fake.descriptor(RDBAL, 0), (address, 0));
}

#[test]
fn received_frames_come_in_order_and_slots_are_used_again() {
    let mut open = open();
    post_rx(&mut open, 7);
    for lap in 0..5_u64 {
        let first = lap * 3 % 8;
        for at in 0..3 {
            open.fake
                .receive((first + at) % 8, &[(lap * 3 + at) as u8; 64]);
        }
        for at in 0..3 {
            let frame = open.pair.rx.reap().unwrap();
            assert_eq!(frame.data(), &[(lap * 3 + at) as u8; 64]);
        }
        assert!(open.pair.rx.reap().is_none());
        post_rx(&mut open, 3);
    }
    assert_eq!(stats(&open).rx_packets, 15);
    assert_eq!(stats(&open).rx_bytes, 15 * 64);
}

#[test]
fn a_stale_done_bit_beyond_the_tail_is_not_believed() {
    let mut open = open();
    post_rx(&mut open, 1);
    open.fake.receive(0, &[1; 60]);
    drop(open.pair.rx.reap().unwrap());
    // Nothing is posted, and the device writes on.
    for at in 0..8 {
        open.fake.write_back(RDBAL, at, 60 | DD | EOP);
    }
    assert!(open.pair.rx.reap().is_none());
}

#[test]
fn bad_packets_never_surface_and_their_buffers_go_round() {
    let mut open = open();
    post_rx(&mut open, 7);
    let bad = [
        60 | DD | EOP | 1 << 40, // CE
        60 | DD | EOP | 1 << 47, // RXE
        0xffff | DD | EOP,       // longer than the buffer
        2049 | DD | EOP,         // just longer
        DD | EOP,                // done, and nothing in it
    ];
    for (at, word) in bad.into_iter().enumerate() {
        open.fake.write_back(RDBAL, at as u64, word);
    }
    open.fake.receive(5, &[7; 60]);
    open.fake.take_log();
    let frame = open.pair.rx.reap().unwrap();
    assert_eq!(frame.data(), &[7; 60]);
    assert!(open.pair.rx.reap().is_none());
    // The five buffers are the device's again, behind the two that it had.
    assert_eq!(open.fake.take_log().last(), Some(&(RDT, 4)));
    assert_eq!(open.pair.rx.free_slots(), 1);
    let stats = stats(&open);
    assert_eq!((stats.rx_errors, stats.rx_length_errors), (5, 3));
    assert_eq!(stats.rx_packets, 1);
}

#[test]
fn a_packet_of_several_descriptors_is_thrown_away_whole_and_counted_once() {
    let mut open = open();
    post_rx(&mut open, 7);
    open.fake.write_back(RDBAL, 0, 2048 | DD);
    open.fake.write_back(RDBAL, 1, 2048 | DD);
    open.fake.write_back(RDBAL, 2, 100 | DD | EOP);
    open.fake.receive(3, &[9; 60]);
    assert_eq!(open.pair.rx.reap().unwrap().data(), &[9; 60]);
    assert!(open.pair.rx.reap().is_none());
    assert_eq!(stats(&open).rx_length_errors, 1);
}

#[test]
fn a_checksum_counts_as_verified_only_when_the_chip_says_so() {
    let mut open = open();
    post_rx(&mut open, 5);
    let tcpcs = 1 << 37;
    let words = [tcpcs, 0, tcpcs | 1 << 34, tcpcs | 1 << 45, tcpcs | 1 << 46];
    for (at, word) in words.into_iter().enumerate() {
        open.fake.write_back(RDBAL, at as u64, 60 | DD | EOP | word);
    }
    let seen: Vec<_> = std::iter::from_fn(|| open.pair.rx.reap())
        .map(|frame| frame.checksum())
        .collect();
    let none = ChecksumStatus::None;
    assert_eq!(seen, [ChecksumStatus::Unnecessary, none, none, none, none]);
}

#[test]
fn a_frame_with_too_much_headroom_gives_some_up_and_a_short_one_finds_no_slot() {
    let mut open = open();
    let mut frame = open.pool.alloc().unwrap();
    frame.reset(1000);
    open.pair.rx.post(frame).unwrap();
    open.pair.rx.kick();
    open.fake.receive(0, &[3; 1514]);
    assert_eq!(open.pair.rx.reap().unwrap().data(), &[3; 1514]);
    let short = FramePool::new(PoolConfig {
        frames: 1,
        buffer_size: 1984,
        headroom: 0,
    });
    let short = short.unwrap().alloc().unwrap();
    assert!(open.pair.rx.post(short).is_err());
}

#[test]
fn a_packet_is_described_to_the_chip_and_reports_once_for_a_kick() {
    let mut open = open();
    open.fake.take_log();
    send(&mut open, 100);
    send(&mut open, 1518);
    assert_eq!(open.fake.take_log(), []);
    open.pair.tx.kick();
    assert_eq!(open.fake.take_log(), [(TDT, 2)]);
    let command = |at| open.fake.descriptor(TDBAL, at).1;
    assert_eq!(command(0), 100 | 0b0011 << 24);
    assert_eq!(command(1), 1518 | 0b1011 << 24);
    assert_eq!(open.fake.packet(1), [0xa5; 1518]);
    assert!(open.pair.tx.reap().is_none());
    open.fake.sent(1);
    assert!(open.pair.tx.reap().is_some() && open.pair.tx.reap().is_some());
    assert!(open.pair.tx.reap().is_none());
    assert_eq!(stats(&open).tx_bytes, 1618);
}

#[test]
fn a_long_batch_reports_every_32_packets() {
    let mut open = open_with(64);
    for _ in 0..60 {
        send(&mut open, 60);
    }
    open.pair.tx.kick();
    let reports = |at: &u64| open.fake.descriptor(TDBAL, *at).1 & 1 << 27 != 0;
    let at: Vec<u64> = (0..64).filter(reports).collect();
    assert_eq!(at, [31, 59]);
    open.fake.sent(31);
    let mut batch = FrameBatch::new();
    assert_eq!(open.pair.tx.reap_into(&mut batch, 64), 32);
    assert_eq!(open.pair.tx.reap_into(&mut batch, 64), 0);
    open.fake.sent(59);
    assert_eq!(open.pair.tx.reap_into(&mut batch, 20), 20);
    assert_eq!(open.pair.tx.reap_into(&mut batch, 64), 8);
    assert_eq!(open.pair.tx.free_slots(), 63);
}

#[test]
fn groups_end_rightly_wherever_the_ring_wraps() {
    let mut open = open();
    for lap in 0..50_u64 {
        let count = lap % 7 + 1;
        for _ in 0..count {
            send(&mut open, 60);
        }
        open.pair.tx.kick();
        assert!(open.pair.tx.reap().is_none());
        let tail = u64::from(open.fake.value(TDT));
        open.fake.sent((tail + 7) % 8);
        for _ in 0..count {
            drop(open.pair.tx.reap().unwrap());
        }
        assert!(open.pair.tx.reap().is_none());
        assert_eq!(open.pool.count_free(), FRAMES);
    }
}

#[test]
fn short_packets_are_padded_with_zeros() {
    let mut open = open();
    let mut frame = open.pool.alloc().unwrap();
    // What an earlier packet has left in the buffer must not leave the host.
    frame.put(200).unwrap().fill(0xee);
    frame.reset(128);
    frame.put(14).unwrap().fill(0xa5);
    open.pair.tx.post(frame).unwrap();
    open.pair.tx.kick();
    let packet = open.fake.packet(0);
    assert_eq!(packet.len(), 60);
    assert_eq!(packet[..14], [0xa5; 14]);
    assert_eq!(packet[14..], [0; 46]);
}

#[test]
fn what_the_chip_cannot_send_goes_home_and_is_counted() {
    let mut open = open();
    for len in [0, 13, 1519, 1900] {
        send(&mut open, len);
    }
    // Beyond the packet; beyond what a context can name; segments without a
    // checksum; a tag, which is switched off.
    for (start, offset, len) in [(34, 25, 60), (250, 6, 400)] {
        let mut frame = open.pool.alloc().unwrap();
        frame.put(len).unwrap().fill(1);
        frame.set_tx_checksum(Some(TxChecksum { start, offset }));
        open.pair.tx.post(frame).unwrap();
    }
    let mut frame = open.pool.alloc().unwrap();
    frame.put(1000).unwrap().fill(1);
    frame.set_gso_size(Some(500));
    frame.set_vlan_tci(None);
    let mut tagged = open.pool.alloc().unwrap();
    tagged.put(60).unwrap().fill(1);
    tagged.set_vlan_tci(Some(5));
    open.pair.tx.post(tagged).unwrap();
    open.fake.take_log();
    open.pair.tx.kick();
    assert_eq!(open.fake.take_log(), []);
    assert_eq!(stats(&open).tx_dropped, 7);
    drop(frame);
    assert_eq!(open.pool.count_free(), FRAMES);
}

#[test]
fn rings_of_an_earlier_session_touch_nothing() {
    let mut open = open();
    post_rx(&mut open, 3);
    open.nic.stop().unwrap();
    let stack = open.stack.clone();
    let config = crate::fake::config(&open.pool, 16);
    let mut pairs = open.nic.open(&config, stack).unwrap();
    let mut old = std::mem::replace(&mut open.pair, pairs.pop().unwrap());
    open.fake.take_log();
    old.rx.kick();
    old.tx.kick();
    assert!(old.rx.reap().is_none() && old.tx.reap().is_none());
    assert_eq!((old.rx.free_slots(), old.tx.free_slots()), (0, 0));
    drop(old);
    assert_eq!(open.fake.take_log(), []);
    assert_eq!(open.pool.count_free(), FRAMES);
}

#[test]
fn a_device_that_completes_garbage_without_end_does_not_hold_the_stack() {
    let mut open = open();
    post_rx(&mut open, 7);
    // Every descriptor that is given back comes back empty at once.
    open.fake.complete_every_receive_tail();
    open.fake.write_back(RDBAL, 0, DD | EOP);
    assert!(open.pair.rx.reap().is_none());
    let counted = stats(&open).rx_length_errors;
    assert!((1..=64).contains(&counted), "{counted} descriptors at once");
}
