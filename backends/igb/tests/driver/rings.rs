//! The rings, descriptor by descriptor, against devices that lie.

use crate::fake::{DD, DT, EOP, FRAMES, Fake, Open, open, open_on, rx, tx};
use softnet_dma_ring::{ChecksumStatus, DmaRing, FrameBatch, FramePool, PoolConfig};
use softnet_nic_hal::NicHal;

/// The receiver has found an error.
const RXE: u64 = 1 << 31;

fn post_rx(open: &mut Open, count: usize) {
    for _ in 0..count {
        let frame = open.pool.alloc().unwrap();
        open.pair().rx.post(frame).unwrap();
    }
    open.pair().rx.kick();
}

fn send(open: &mut Open, len: usize) {
    let mut frame = open.pool.alloc().unwrap();
    frame.put(len).unwrap().fill(0xa5);
    open.pair().tx.post(frame).unwrap();
}

fn word(len: u64, status: u64) -> (u64, u64) {
    (0, len << 32 | status)
}

#[test]
fn one_descriptor_stays_free_and_the_tail_is_written_once_for_a_kick() {
    let mut open = open();
    assert_eq!(open.pair().rx.free_slots(), 7);
    open.fake.take_log();
    post_rx(&mut open, 7);
    assert_eq!(open.fake.take_log(), [(rx(0) + DT, 7)]);
    let frame = open.pool.alloc().unwrap();
    assert!(open.pair().rx.post(frame).is_err());
    open.pair().rx.kick();
    assert_eq!(open.fake.take_log(), []);
}

#[test]
fn a_receive_descriptor_holds_the_frames_address_and_a_cleared_status() {
    let mut open = open();
    let frame = open.pool.alloc().unwrap();
    let address = frame.dma_addr().0;
    open.pair().rx.post(frame).unwrap();
    assert_eq!(open.fake.descriptor(rx(0), 0), (address, 0));
}

#[test]
fn received_frames_come_in_order_and_slots_are_used_again() {
    let mut open = open();
    post_rx(&mut open, 7);
    for lap in 0..5_u64 {
        let first = lap * 3 % 8;
        for at in 0..3 {
            let bytes = [(lap * 3 + at) as u8; 64];
            open.fake.receive(0, (first + at) % 8, &bytes);
        }
        for at in 0..3 {
            let frame = open.pair().rx.reap().unwrap();
            assert_eq!(frame.data(), &[(lap * 3 + at) as u8; 64]);
        }
        assert!(open.pair().rx.reap().is_none());
        post_rx(&mut open, 3);
    }
    assert_eq!(open.stats().rx_packets, 15);
    assert_eq!(open.stats().rx_bytes, 15 * 64);
}

#[test]
fn queues_have_rings_of_their_own() {
    let mut open = open_on(Fake::new(), |config| config.queues = 3);
    for at in 0..3 {
        let frame = open.pool.alloc().unwrap();
        open.pairs[at].rx.post(frame).unwrap();
        open.pairs[at].rx.kick();
    }
    open.fake.receive(2, 0, &[9; 70]);
    assert!(open.pairs[0].rx.reap().is_none());
    assert_eq!(open.pairs[2].rx.reap().unwrap().data(), &[9; 70]);
    assert_eq!(open.ethtool_stat("rx_queue_2_packets"), 1);
    assert_eq!(open.ethtool_stat("rx_queue_0_packets"), 0);
}

#[test]
fn a_stale_done_bit_beyond_the_tail_is_not_believed() {
    let mut open = open();
    post_rx(&mut open, 1);
    open.fake.receive(0, 0, &[1; 60]);
    drop(open.pair().rx.reap().unwrap());
    // Nothing is posted, and the device writes on.
    for at in 0..8 {
        open.fake.write_back(rx(0), at, word(60, DD | EOP));
    }
    assert!(open.pair().rx.reap().is_none());
    let mut batch = FrameBatch::new();
    assert_eq!(open.pair().rx.reap_into(&mut batch, 8), 0);
}

#[test]
fn bad_packets_never_surface_and_their_buffers_go_round() {
    let mut open = open();
    post_rx(&mut open, 7);
    let bad = [
        word(60, DD | EOP | RXE),
        word(60, DD | EOP | 1 << 25), // refused by its security association
        word(0xffff, DD | EOP),       // longer than the buffer
        word(2049, DD | EOP),         // just longer
        word(0, DD | EOP),            // done, and nothing in it
    ];
    for (at, words) in bad.into_iter().enumerate() {
        open.fake.write_back(rx(0), at as u64, words);
    }
    open.fake.receive(0, 5, &[7; 60]);
    open.fake.take_log();
    let frame = open.pair().rx.reap().unwrap();
    assert_eq!(frame.data(), &[7; 60]);
    assert!(open.pair().rx.reap().is_none());
    // The five buffers are the device's again, behind the two that it had.
    assert_eq!(open.fake.take_log().last(), Some(&(rx(0) + DT, 4)));
    assert_eq!(open.pair().rx.free_slots(), 1);
    let stats = open.stats();
    assert_eq!((stats.rx_errors, stats.rx_length_errors), (5, 3));
    assert_eq!(stats.rx_packets, 1);
}

#[test]
fn a_packet_of_several_descriptors_is_thrown_away_whole_and_counted_once() {
    let mut open = open();
    post_rx(&mut open, 7);
    open.fake.write_back(rx(0), 0, word(2048, DD));
    open.fake.write_back(rx(0), 1, word(2048, DD));
    open.fake.write_back(rx(0), 2, word(100, DD | EOP));
    open.fake.receive(0, 3, &[9; 60]);
    assert_eq!(open.pair().rx.reap().unwrap().data(), &[9; 60]);
    assert!(open.pair().rx.reap().is_none());
    assert_eq!(open.stats().rx_length_errors, 1);
}

/// A ring whose packets may lie in several frames.
fn scattering() -> Open {
    let mut open = open_on(Fake::new(), |config| {
        config.scatter = true;
        config.mtu = 9000;
    });
    post_rx(&mut open, 7);
    open
}

#[test]
fn a_packet_of_several_frames_is_handed_out_once_it_is_whole() {
    let mut open = scattering();
    open.fake.receive_as(0, 0, &[1; 2048], 0, DD);
    open.fake.receive_as(0, 1, &[2; 2048], 0, DD);
    assert!(open.pair().rx.reap().is_none());
    // The last descriptor says the hash, the tag and the checksum.
    let hash = 0xdead_beef << 32 | 1;
    let status = 0x0123 << 48 | DD | EOP | 1 << 3 | 1 << 5;
    open.fake.receive_as(0, 2, &[3; 100], hash, status);
    open.fake.receive(0, 3, &[4; 60]);
    let mut batch = FrameBatch::new();
    assert_eq!(open.pair().rx.reap_into(&mut batch, 2), 2);
    assert_eq!(open.pair().rx.reap_into(&mut batch, 64), 2);
    let seen: Vec<_> = batch.iter().map(|f| (f.len(), f.continues())).collect();
    let expected = [(2048, true), (2048, true), (100, false), (60, false)];
    assert_eq!(seen, expected);
    let first = &batch[0];
    assert_eq!(first.hash().0, 0xdead_beef);
    assert_eq!(first.vlan_tci(), Some(0x0123));
    assert_eq!(first.checksum(), ChecksumStatus::Unnecessary);
    assert_eq!(batch[3].checksum(), ChecksumStatus::None);
    assert_eq!(open.stats().rx_packets, 2);
    assert_eq!(open.stats().rx_bytes, 2048 + 2048 + 100 + 60);
}

#[test]
fn a_bad_packet_of_several_frames_never_surfaces_in_part() {
    let ends = [word(100, DD | EOP | RXE), word(0, DD | EOP)];
    for end in ends {
        let mut open = scattering();
        open.fake.write_back(rx(0), 0, word(2048, DD));
        open.fake.write_back(rx(0), 1, end);
        open.fake.receive(0, 2, &[4; 60]);
        let frame = open.pair().rx.reap().unwrap();
        assert_eq!((frame.len(), frame.continues()), (60, false));
        assert!(open.pair().rx.reap().is_none());
        assert_eq!(open.stats().rx_errors, 1);
    }
}

#[test]
fn a_packet_without_an_end_does_not_stop_the_ring() {
    let mut open = scattering();
    for at in 0..7 {
        open.fake.write_back(rx(0), at, word(2048, DD));
    }
    assert!(open.pair().rx.reap().is_none());
    // Its seven buffers are the device's again.
    open.fake.write_back(rx(0), 7, word(10, DD | EOP));
    open.fake.receive(0, 0, &[5; 60]);
    assert_eq!(open.pair().rx.reap().unwrap().data(), &[5; 60]);
    assert_eq!(open.stats().rx_length_errors, 1);
}

#[test]
fn a_checksum_counts_as_verified_only_when_the_chip_says_so() {
    let mut open = open();
    post_rx(&mut open, 5);
    let l4i = 1 << 5;
    let statuses = [l4i, 0, l4i | 1 << 29, l4i | 1 << 30, 1 << 6];
    for (at, status) in statuses.into_iter().enumerate() {
        let words = word(60, DD | EOP | status);
        open.fake.write_back(rx(0), at as u64, words);
    }
    let seen: Vec<_> = std::iter::from_fn(|| open.pair().rx.reap())
        .map(|frame| frame.checksum())
        .collect();
    let none = ChecksumStatus::None;
    assert_eq!(seen, [ChecksumStatus::Unnecessary, none, none, none, none]);
    assert_eq!(open.ethtool_stat("rx_csum_offload_errors"), 2);
    assert_eq!(open.ethtool_stat("rx_csum_offload_good"), 1);
}

#[test]
fn a_tag_that_was_stripped_is_in_the_frame() {
    let mut open = open();
    post_rx(&mut open, 2);
    let tagged = 0xe005 << 48 | DD | EOP | 1 << 3;
    open.fake.receive_as(0, 0, &[1; 60], 0, tagged);
    open.fake
        .receive_as(0, 1, &[1; 60], 0, 0x0777 << 48 | DD | EOP);
    assert_eq!(open.pair().rx.reap().unwrap().vlan_tci(), Some(0xe005));
    assert_eq!(open.pair().rx.reap().unwrap().vlan_tci(), None);
}

#[test]
fn a_frame_with_too_much_headroom_gives_some_up_and_a_short_one_finds_no_slot() {
    let mut open = open();
    let mut frame = open.pool.alloc().unwrap();
    frame.reset(1000);
    open.pair().rx.post(frame).unwrap();
    open.pair().rx.kick();
    open.fake.receive(0, 0, &[3; 1514]);
    assert_eq!(open.pair().rx.reap().unwrap().data(), &[3; 1514]);
    let short = FramePool::new(PoolConfig {
        frames: 1,
        buffer_size: 1984,
        headroom: 0,
    });
    let short = short.unwrap().alloc().unwrap();
    assert!(open.pair().rx.post(short).is_err());
}

#[test]
fn a_packet_is_described_to_the_chip_and_reports_once_for_a_kick() {
    let mut open = open();
    open.fake.take_log();
    send(&mut open, 100);
    send(&mut open, 1514);
    assert_eq!(open.fake.take_log(), []);
    open.pair().tx.kick();
    assert_eq!(open.fake.take_log(), [(tx(0) + DT, 2)]);
    let command = |at| open.fake.descriptor(tx(0), at).1;
    // DEXT, data, IFCS, EOP; the second reports.
    let data = 1 << 29 | 0b0011 << 20 | 1 << 25 | 1 << 24;
    assert_eq!(command(0), data | 100 << 46 | 100);
    assert_eq!(command(1), data | 1 << 27 | 1514 << 46 | 1514);
    assert_eq!(open.fake.packet(0, 1), [0xa5; 1514]);
    assert!(open.pair().tx.reap().is_none());
    open.fake.sent(0, 1);
    assert!(open.pair().tx.reap().is_some() && open.pair().tx.reap().is_some());
    assert!(open.pair().tx.reap().is_none());
    assert_eq!(open.stats().tx_bytes, 1614);
    assert_eq!(open.stats().tx_packets, 2);
}

#[test]
fn a_long_batch_reports_every_32_packets() {
    let mut open = open_on(Fake::new(), |config| config.tx_ring = 64);
    for _ in 0..60 {
        send(&mut open, 60);
    }
    open.pair().tx.kick();
    let reports = |at: &u64| open.fake.descriptor(tx(0), *at).1 & 1 << 27 != 0;
    let at: Vec<u64> = (0..64).filter(reports).collect();
    assert_eq!(at, [31, 59]);
    open.fake.sent(0, 31);
    let mut batch = FrameBatch::new();
    assert_eq!(open.pair().tx.reap_into(&mut batch, 64), 32);
    assert_eq!(open.pair().tx.reap_into(&mut batch, 64), 0);
    open.fake.sent(0, 59);
    assert_eq!(open.pair().tx.reap_into(&mut batch, 20), 20);
    assert_eq!(open.pair().tx.reap_into(&mut batch, 64), 8);
    assert_eq!(open.pair().tx.free_slots(), 63);
}

#[test]
fn groups_end_rightly_wherever_the_ring_wraps() {
    let mut open = open();
    for lap in 0..50_u64 {
        let count = lap % 7 + 1;
        for _ in 0..count {
            send(&mut open, 60);
        }
        open.pair().tx.kick();
        assert!(open.pair().tx.reap().is_none());
        let tail = u64::from(open.fake.value(tx(0) + DT));
        open.fake.sent(0, (tail + 7) % 8);
        for _ in 0..count {
            drop(open.pair().tx.reap().unwrap());
        }
        assert!(open.pair().tx.reap().is_none());
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
    open.pair().tx.post(frame).unwrap();
    open.pair().tx.kick();
    let packet = open.fake.packet(0, 0);
    assert_eq!(packet.len(), 60);
    assert_eq!(packet[..14], [0xa5; 14]);
    assert_eq!(packet[14..], [0; 46]);
}

#[test]
fn what_the_chip_cannot_send_goes_home_and_is_counted() {
    let mut open = open();
    for len in [0, 13, 1515, 1900] {
        send(&mut open, len);
    }
    open.fake.take_log();
    open.pair().tx.kick();
    assert_eq!(open.fake.take_log(), []);
    assert_eq!(open.stats().tx_dropped, 4);
    assert_eq!(open.pool.count_free(), FRAMES);
    // A tag may make a packet longer.
    let mut frame = open.pool.alloc().unwrap();
    frame.put(1518).unwrap().fill(0);
    frame.data_mut()[12..14].copy_from_slice(&[0x81, 0]);
    open.pair().tx.post(frame).unwrap();
    open.pair().tx.kick();
    assert_eq!(open.fake.take_log(), [(tx(0) + DT, 1)]);
}

#[test]
fn rings_of_an_earlier_session_touch_nothing() {
    let mut open = open();
    post_rx(&mut open, 3);
    open.nic.stop().unwrap();
    let stack = open.stack.clone();
    let config = crate::fake::config(&open.pool, 1, 16);
    let mut pairs = open.nic.open(&config, stack).unwrap();
    let mut old = std::mem::replace(open.pair(), pairs.pop().unwrap());
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
    open.fake.write_back(rx(0), 0, (0, DD | EOP));
    assert!(open.pair().rx.reap().is_none());
    let counted = open.stats().rx_length_errors;
    assert!((1..=64).contains(&counted), "{counted} descriptors at once");
}
