//! Transmit: what packets ask of the chip, descriptor by descriptor (3.3.6, 3.3.7).

use crate::fake::{FRAMES, Open, TDBAL, TDT, open_as};
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, TxChecksum};
use softnet_nic_hal::ethtool::Features;
use softnet_nic_hal::{NicHal, NicStats};

const EOP: u64 = 1 << 24;
const IFCS: u64 = 1 << 25;
const TSE: u64 = 1 << 26;
const RS: u64 = 1 << 27;
const DEXT: u64 = 1 << 29;
const VLE: u64 = 1 << 30;
const DATA: u64 = 1 << 20 | DEXT;
const IXSM: u64 = 1 << 40;
const TXSM: u64 = 1 << 41;
const TCP: u64 = 1 << 24;
const IPV4: u64 = 1 << 25;

fn open() -> Open {
    open_as(8192, |_| {})
}

fn frame(open: &Open, bytes: &[u8]) -> Frame {
    let mut frame = open.pool.alloc().unwrap();
    frame.put(bytes.len()).unwrap().copy_from_slice(bytes);
    frame
}

fn dropped(open: &Open) -> u64 {
    let mut stats = NicStats::default();
    open.nic.stats(&mut stats);
    stats.tx_dropped
}

/// TCP over IPv4 from 10.0.0.1 to 10.0.0.2, with `payload` bytes.
fn tcp(payload: usize) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend([
        0x08, 0x00, 0x45, 0, 0x12, 0x34, 0, 7, 0, 0, 64, 6, 0xab, 0xcd,
    ]);
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([0; 12]);
    packet.extend([0x50, 0x18, 2, 0, 0x55, 0x55, 0, 0]);
    packet.extend((0..payload).map(|byte| byte as u8));
    packet
}

const TCP_CHECKSUM: TxChecksum = TxChecksum {
    start: 34,
    offset: 16,
};

#[test]
fn a_checksum_takes_a_context_which_the_chip_keeps() {
    let mut open = open();
    let packet = tcp(100);
    for _ in 0..2 {
        let mut frame = frame(&open, &packet);
        frame.set_tx_checksum(Some(TCP_CHECKSUM));
        open.pair.tx.post(frame).unwrap();
    }
    let udp = TxChecksum {
        start: 34,
        offset: 6,
    };
    let mut frame = frame(&open, &packet);
    frame.set_tx_checksum(Some(udp));
    open.pair.tx.post(frame).unwrap();
    open.pair.tx.kick();
    let data = 154 | DATA | EOP | IFCS | TXSM;
    let words: Vec<u64> = (0..5).map(|at| open.fake.descriptor(TDBAL, at).1).collect();
    assert_eq!(words, [DEXT | TCP, data, data, DEXT, data | RS]);
    assert_eq!(open.fake.descriptor(TDBAL, 0).0, 34 << 32 | 50 << 40);
    assert_eq!(open.fake.descriptor(TDBAL, 3).0, 34 << 32 | 40 << 40);
    assert_eq!(open.fake.packet(1), packet, "the packet is as it was");
    assert_eq!(open.fake.value(TDT), 5);
}

#[test]
fn each_packet_of_a_batch_has_its_own_field_in_the_packet() {
    let mut open = open();
    let mut batch = FrameBatch::new();
    for (len, start) in [(100, 34), (100, 34), (40, 34), (100, 38), (100, 34)] {
        let mut frame = frame(&open, &tcp(46)[..len]);
        frame.set_tx_checksum(Some(TxChecksum { start, offset: 16 }));
        batch.push(frame);
    }
    assert_eq!(open.pair.tx.post_from(&mut batch), 5);
    open.pair.tx.kick();
    // The third one has no such field; the fourth and the fifth each change the
    // context.
    let contexts: Vec<bool> = (0..7)
        .map(|at| open.fake.descriptor(TDBAL, at).1 & DATA == DEXT)
        .collect();
    assert_eq!(contexts, [true, false, false, true, false, true, false]);
    assert_eq!((dropped(&open), open.fake.value(TDT)), (1, 7));
}

#[test]
fn segmentation_prepares_the_headers_and_says_all_in_its_context() {
    let mut open = open();
    let mut frame = frame(&open, &tcp(5000));
    frame.set_tx_checksum(Some(TCP_CHECKSUM));
    frame.set_gso_size(Some(1460));
    let address = frame.dma_addr().0;
    open.pair.tx.post(frame).unwrap();
    open.pair.tx.kick();
    let context = (
        14 | 24 << 8 | 33 << 16 | 34 << 32 | 50 << 40,
        5000 | DEXT | TSE | TCP | IPV4 | 54 << 40 | 1460 << 48,
    );
    let command = DATA | TSE | IFCS;
    let descriptors: Vec<_> = (0..3).map(|at| open.fake.descriptor(TDBAL, at)).collect();
    assert_eq!(
        descriptors,
        [
            context,
            (address, 4096 | command | IXSM | TXSM),
            (address + 4096, 958 | command | EOP | RS),
        ]
    );
    let sent = open.fake.packet(1);
    assert_eq!(sent[16..18], [0, 0], "the total length");
    assert_eq!(sent[24..26], [0, 0], "the IP checksum");
    // 0a00 + 0001 + 0a00 + 0002 + 6.
    assert_eq!(
        sent[50..52],
        [0x14, 0x09],
        "the pseudo header without a length"
    );
}

#[test]
fn small_segments_bound_the_descriptors() {
    let mut open = open();
    let mut frame = frame(&open, &tcp(1000));
    frame.set_tx_checksum(Some(TCP_CHECKSUM));
    frame.set_gso_size(Some(100));
    open.pair.tx.post(frame).unwrap();
    open.pair.tx.kick();
    let lengths: Vec<u64> = (1..4)
        .map(|at| open.fake.descriptor(TDBAL, at).1 & 0xf_ffff)
        .collect();
    assert_eq!(lengths, [400, 400, 254]);
}

/// The chip may report a single descriptor of a segmented packet, and the one that
/// follows it, before it has read them.
#[test]
fn segments_and_what_follows_them_have_two_descriptors() {
    let mut open = open();
    let mut large = frame(&open, &tcp(1800));
    large.set_tx_checksum(Some(TCP_CHECKSUM));
    large.set_gso_size(Some(900));
    open.pair.tx.post(large).unwrap();
    for _ in 0..2 {
        let plain = frame(&open, &tcp(46));
        open.pair.tx.post(plain).unwrap();
    }
    open.pair.tx.kick();
    let lengths: Vec<u64> = (1..6)
        .map(|at| open.fake.descriptor(TDBAL, at).1 & 0xffff)
        .collect();
    assert_eq!(lengths, [1850, 4, 96, 4, 100]);
    (0..6).for_each(|at| open.fake.sent(at));
    let lens: Vec<usize> = std::iter::from_fn(|| open.pair.tx.reap())
        .map(|frame| frame.len())
        .collect();
    assert_eq!(lens, [1854, 100, 100]);
    assert_eq!(open.pair.tx.free_slots(), 15);
}

#[test]
fn what_this_chip_cannot_cut_is_refused() {
    let mut open = open();
    let request = |mut frame: Frame| {
        frame.set_tx_checksum(Some(TCP_CHECKSUM));
        frame.set_gso_size(Some(500));
        frame
    };
    let mut ipv6 = tcp(1000);
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    let mut no_payload = tcp(0);
    no_payload.truncate(54);
    let mut long_header = tcp(1000);
    long_header[46] = 0xf0;
    long_header[14] = 0x4f;
    for packet in [ipv6, no_payload, long_header] {
        let frame = request(frame(&open, &packet));
        open.pair.tx.post(frame).unwrap();
    }
    let mut large_segments = request(frame(&open, &tcp(5000)));
    large_segments.set_gso_size(Some(2000));
    open.pair.tx.post(large_segments).unwrap();
    assert_eq!(dropped(&open), 4);
    assert_eq!(open.pool.count_free(), FRAMES);
    assert_eq!(open.pair.tx.free_slots(), 15);
}

#[test]
fn a_tag_is_put_into_the_descriptor() {
    let mut open = open();
    let tags = Features::RX_VLAN | Features::TX_VLAN;
    open.nic.ethtool().unwrap().set_features(tags).unwrap();
    assert!(open.nic.capabilities().vlan);
    let mut plain = frame(&open, &tcp(46));
    plain.set_vlan_tci(Some(0xa123));
    open.pair.tx.post(plain).unwrap();
    let mut summed = frame(&open, &tcp(46));
    summed.set_vlan_tci(Some(5));
    summed.set_tx_checksum(Some(TCP_CHECKSUM));
    open.pair.tx.post(summed).unwrap();
    open.pair.tx.kick();
    let word = |at| open.fake.descriptor(TDBAL, at).1;
    assert_eq!(word(0), 100 | EOP | IFCS | VLE | 0xa123 << 48);
    assert_eq!(word(2), 100 | DATA | EOP | IFCS | VLE | RS | TXSM | 5 << 48);
}

#[test]
fn the_frames_of_a_packet_wait_for_its_last_and_come_home_in_order() {
    let mut open = open();
    let packet = tcp(800);
    let mut parts: Vec<Frame> = packet.chunks(300).map(|part| frame(&open, part)).collect();
    parts[0].set_tx_checksum(Some(TCP_CHECKSUM));
    parts[0].set_continues(true);
    parts[1].set_continues(true);
    let last = parts.pop().unwrap();
    for part in parts {
        open.pair.tx.post(part).unwrap();
    }
    open.pair.tx.kick();
    assert_eq!(open.fake.value(TDT), 0, "nothing is sent yet");
    open.pair.tx.post(last).unwrap();
    open.pair.tx.kick();
    let words: Vec<u64> = (1..4).map(|at| open.fake.descriptor(TDBAL, at).1).collect();
    let command = DATA | IFCS;
    assert_eq!(
        words,
        [
            300 | command | TXSM,
            300 | command,
            254 | command | EOP | RS
        ]
    );
    assert!(open.pair.tx.reap().is_none());
    open.fake.sent(3);
    let mut out = FrameBatch::new();
    assert_eq!(open.pair.tx.reap_into(&mut out, 8), 3);
    let bytes: Vec<u8> = out.iter().flat_map(|frame| frame.data().to_vec()).collect();
    assert_eq!(bytes, packet);
    assert_eq!(open.pair.tx.free_slots(), 15);
}

#[test]
fn the_first_frame_may_end_before_the_checksum() {
    let mut open = open();
    let packet = tcp(46);
    let mut first = frame(&open, &packet[..20]);
    first.set_continues(true);
    first.set_tx_checksum(Some(TCP_CHECKSUM));
    open.pair.tx.post(first).unwrap();
    let rest = frame(&open, &packet[20..]);
    open.pair.tx.post(rest).unwrap();
    open.pair.tx.kick();
    assert_eq!(open.fake.descriptor(TDBAL, 0).0, 34 << 32 | 50 << 40);
    assert_eq!((dropped(&open), open.fake.value(TDT)), (0, 3));
}

#[test]
fn a_packet_that_the_ring_could_never_hold_is_refused_whole() {
    let mut open = open();
    let frames = 20;
    for index in 0..frames {
        let mut part = frame(&open, &tcp(46));
        part.set_continues(index + 1 < frames);
        assert!(open.pair.tx.post(part).is_ok(), "frame {index}");
    }
    assert_eq!(dropped(&open), 1);
    assert_eq!(open.pool.count_free(), FRAMES);
    assert_eq!(open.pair.tx.free_slots(), 15);
    let after = frame(&open, &tcp(46));
    open.pair.tx.post(after).unwrap();
    open.pair.tx.kick();
    assert_eq!(open.fake.value(TDT), 1, "what follows is sent");
}

#[test]
fn a_packet_that_finds_no_room_now_is_given_back() {
    let mut open = open();
    for _ in 0..13 {
        let plain = frame(&open, &tcp(46));
        open.pair.tx.post(plain).unwrap();
    }
    open.pair.tx.kick();
    let mut large = frame(&open, &tcp(5000));
    large.set_tx_checksum(Some(TCP_CHECKSUM));
    large.set_gso_size(Some(1460));
    let given_back = open.pair.tx.post(large).unwrap_err().0;
    assert_eq!(given_back.len(), 5054);
    (0..13).for_each(|at| open.fake.sent(at));
    let mut out = FrameBatch::new();
    open.pair.tx.reap_into(&mut out, 64);
    drop(out);
    open.pair.tx.post(given_back).unwrap();
    assert_eq!(dropped(&open), 0);
}

#[test]
fn a_batch_of_all_kinds_keeps_its_order_and_stops_where_the_room_ends() {
    let mut open = open();
    let mut batch = FrameBatch::new();
    for kind in 0..12 {
        let mut frame = frame(&open, &tcp(46 + kind));
        if kind % 3 == 1 {
            frame.set_tx_checksum(Some(TCP_CHECKSUM));
        }
        batch.push(frame);
    }
    let mut sent = Vec::new();
    let mut out = FrameBatch::new();
    let mut reported = 0;
    while sent.len() < 12 {
        open.pair.tx.post_from(&mut batch);
        open.pair.tx.kick();
        let tail = u64::from(open.fake.value(TDT));
        while reported != tail {
            open.fake.sent(reported);
            reported = (reported + 1) % 16;
        }
        open.pair.tx.reap_into(&mut out, 64);
        sent.extend(out.drain(..).map(|frame| frame.len()));
    }
    let expected: Vec<usize> = (0..12).map(|kind| 100 + kind).collect();
    assert_eq!(sent, expected);
    assert_eq!(open.pool.count_free(), FRAMES);
}

#[test]
fn a_ring_that_is_dropped_gives_the_frames_of_an_unfinished_packet_back() {
    let mut open = open();
    let mut part = frame(&open, &tcp(46));
    part.set_continues(true);
    open.pair.tx.post(part).unwrap();
    open.nic.stop().unwrap();
    drop(open.pair);
    assert_eq!(open.pool.count_free(), FRAMES);
}
