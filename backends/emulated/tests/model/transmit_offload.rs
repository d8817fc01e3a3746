//! Transmit: contexts and data, checksums, segments, tags.

use crate::frames::*;
use crate::rig::*;
use softnet_nic_hal::bus::CoherentMemory;

const IXSM: u64 = 1 << 40;
const TXSM: u64 = 1 << 41;
const DATA: u64 = EOP | IFCS | RS;

/// The first word of a context for IPv4 without options and TCP or UDP, with the
/// checksum `at` bytes into the latter.
const fn offsets(at: u64) -> u64 {
    // Start, field and last byte of IP, then of what is in it.
    14 | 24 << 8 | 33 << 16 | 34 << 32 | (34 + at) << 40
}

/// The second word of a context.
fn context(tucmd: u64, header_len: u64, mss: u64, payload_len: u64) -> u64 {
    payload_len | (tucmd | DEXT) << 24 | header_len << 40 | mss << 48
}

const TCP: u64 = 1;
const IPV4: u64 = 1 << 1;

/// What software leaves to the chip: no IP checksum, and the sum of the pseudo
/// header in place of the other.
fn unfinished(frame: &[u8], at: usize, pseudo: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[24..26].fill(0);
    frame[34 + at..34 + at + 2].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

/// The sum over 10.0.0.1, 10.0.0.2, a protocol and a length.
fn pseudo(protocol: u16, len: u16) -> u16 {
    0x0a00 + 1 + 0x0a00 + 2 + protocol + len
}

#[test]
fn a_context_has_both_checksums_inserted() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, 0);
    ring.raw(offsets(16), context(TCP | IPV4 | RS, 0, 0, 0));
    let tcp = golden(TCP_IPV4);
    ring.put_data(&unfinished(&tcp, 16, pseudo(6, 25)), DATA, IXSM | TXSM);
    ring.raw(offsets(6), context(IPV4, 0, 0, 0));
    let udp = golden(UDP_IPV4);
    ring.put_data(&unfinished(&udp, 6, pseudo(17, 11)), DATA, IXSM | TXSM);
    let zero = golden(UDP_SUM_OF_ZERO);
    ring.put_data(&unfinished(&zero, 6, pseudo(17, 10)), DATA, IXSM | TXSM);
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.wire.sent(), [tcp, udp, zero]);
    assert_eq!([0, 1, 2].map(|at| ring.done(at)), [true, true, false]);
}

#[test]
fn each_option_is_for_its_own_checksum_and_the_first_descriptor_has_them() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(16, 0);
    ring.raw(offsets(16), context(TCP | IPV4, 0, 0, 0));
    let good = golden(TCP_IPV4);
    let raw = unfinished(&good, 16, pseudo(6, 25));
    for options in [0, IXSM, TXSM] {
        ring.put_data(&raw[..50], 0, options);
        ring.put_data(&raw[50..], DATA, IXSM | TXSM);
    }
    ring.ring_doorbell(&rig);
    rig.step();
    let mut ip_only = raw.clone();
    ip_only[24..26].copy_from_slice(&good[24..26]);
    let mut tcp_only = raw.clone();
    tcp_only[50..52].copy_from_slice(&good[50..52]);
    assert_eq!(rig.wire.sent(), [raw, ip_only, tcp_only]);
}

/// One packet that the golden segments are cut from.
fn large() -> Vec<u8> {
    let segments = TCP_SEGMENTS.map(golden);
    let mut packet = unfinished(&segments[0][..54], 16, pseudo(6, 0));
    packet[16..18].fill(0);
    packet[47] = segments[2][47];
    packet.extend(1..=11);
    packet
}

#[test]
fn tse_cuts_a_packet_into_segments_wherever_its_buffers_end() {
    for piece in [5, 54, 65] {
        let mut rig = Rig::new();
        let mut ring = rig.tx_ring(32, 0);
        ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 4, 11));
        let packet = large();
        let count = packet.len().div_ceil(piece);
        for (index, piece) in packet.chunks(piece).enumerate() {
            let end = if index + 1 == count { EOP } else { 0 };
            ring.put_data(piece, end | IFCS | TSE | RS, IXSM | TXSM);
        }
        ring.ring_doorbell(&rig);
        rig.step();
        assert_eq!(
            rig.wire.sent(),
            TCP_SEGMENTS.map(golden),
            "pieces of {piece}"
        );
        assert_eq!((rig.r(TSCTC), rig.r(TSCTFC), rig.r(TPT)), (1, 0, 3));
        assert!((1..=count).all(|at| ring.done(at)));
    }
}

#[test]
fn the_two_kinds_of_context_do_not_disturb_each_other() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(16, 0);
    ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 4, 11));
    ring.raw(offsets(6), context(IPV4, 0, 0, 0));
    let udp = golden(UDP_IPV4);
    for _ in 0..2 {
        ring.put_data(&large(), DATA | TSE, IXSM | TXSM);
        ring.put_data(&unfinished(&udp, 6, pseudo(17, 11)), DATA, IXSM | TXSM);
    }
    ring.ring_doorbell(&rig);
    rig.step();
    let mut once: Vec<_> = TCP_SEGMENTS.map(golden).into();
    once.push(udp);
    assert_eq!(rig.wire.sent(), [once.clone(), once].concat());
}

#[test]
fn with_neither_tcp_nor_ip_a_block_is_cut_under_an_unchanging_header() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, 0);
    ring.raw(0, context(TSE, 20, 40, 100));
    let block: Vec<u8> = (0..120).collect();
    ring.put_data(&block, DATA | TSE, 0);
    ring.ring_doorbell(&rig);
    rig.step();
    let with_header = |part: &[u8]| [&block[..20], part].concat();
    let expected = [20..60, 60..100, 100..120].map(|part| with_header(&block[part]));
    assert_eq!(rig.wire.sent(), expected);
}

#[test]
fn segments_that_cannot_be_are_given_up_and_counted() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(16, 0);
    // No MSS; nothing to send; a buffer that is not there.
    for (mss, payload_len) in [(0, 11), (4, 0)] {
        ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, mss, payload_len));
        ring.put_data(&large(), DATA | TSE, IXSM | TXSM);
    }
    ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 4, 11));
    ring.raw(0x6666_0000, 65 | 1 << 20 | (DATA | TSE | DEXT) << 24);
    ring.put_data(&large(), DATA | TSE, IXSM | TXSM);
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.wire.sent(), TCP_SEGMENTS.map(golden), "the good one");
    assert_eq!((rig.r(TSCTFC), rig.r(TSCTC)), (3, 1));
    assert_eq!(rig.nic.counters().tx_discarded, 3);
    assert_eq!(rig.dev.dma_faults(), 1);
}

#[test]
fn a_packet_that_is_shorter_or_longer_than_its_context_says_ends_at_the_first_end() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(16, 0);
    let packet = large();
    ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 4, 1000));
    ring.put_data(&packet[..54 + 6], DATA | TSE, IXSM | TXSM);
    ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 4, 8));
    ring.put_data(&packet, DATA | TSE, IXSM | TXSM);
    ring.ring_doorbell(&rig);
    rig.step();
    let sent = rig.wire.sent();
    assert_eq!(
        sent.iter().map(Vec::len).collect::<Vec<_>>(),
        [58, 56, 58, 58]
    );
    let flags: Vec<u8> = sent.iter().map(|segment| segment[47]).collect();
    assert_eq!(flags, [0xd0, 0xd9, 0xd0, 0xd9]);
}

#[test]
fn tags_are_put_into_packets_whose_last_descriptor_asks_for_it() {
    let mut rig = Rig::new();
    rig.w(CTRL, SLU | 1 | VME);
    let mut ring = rig.tx_ring(16, PSP);
    let plain = frame(MAC, 100);
    ring.put(&plain[..60], VLE);
    ring.put(&plain[60..], DATA);
    let at = ring.buffers.dma_addr().0;
    ring.put(&plain, 0);
    ring.tail -= 1;
    ring.raw(at + 2 * 2048, 100 | (DATA | VLE) << 24 | 0xa123 << 48);
    ring.put_data(&plain, DATA | VLE, 0x0456 << 48);
    ring.ring_doorbell(&rig);
    rig.step();
    let expected = [
        plain.clone(),
        tagged(&plain, 0x8100, 0xa123),
        tagged(&plain, 0x8100, 0x0456),
    ];
    assert_eq!(rig.wire.sent(), expected);
    assert_eq!(rig.r(GOTCL), 104 + 108 + 108);
}

#[test]
fn the_tags_type_is_vets_and_without_vme_there_is_none() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(16, PSP);
    let plain = frame(MAC, 100);
    ring.put_data(&plain, DATA | VLE, 7 << 48);
    ring.ring_doorbell(&rig);
    rig.step();
    rig.w(CTRL, SLU | 1 | VME);
    rig.w(VET, 0x88a8);
    ring.put_data(&plain, DATA | VLE, 7 << 48);
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.wire.sent(), [plain.clone(), tagged(&plain, 0x88a8, 7)]);
}

#[test]
fn each_segment_has_the_tag() {
    let mut rig = Rig::new();
    rig.w(CTRL, SLU | 1 | VME);
    let mut ring = rig.tx_ring(8, 0);
    ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 4, 11));
    ring.put_data(&large(), DATA | TSE | VLE, IXSM | TXSM | 0x0123 << 48);
    ring.ring_doorbell(&rig);
    rig.step();
    let expected = TCP_SEGMENTS.map(|segment| tagged(&golden(segment), 0x8100, 0x0123));
    assert_eq!(rig.wire.sent(), expected);
}

#[test]
fn descriptors_of_no_known_type_are_reported_done_and_not_sent() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    ring.raw(
        ring.buffers.dma_addr().0,
        100 | 7 << 20 | (DEXT | DATA) << 24,
    );
    let sent = frame(MAC, 60);
    ring.put(&sent, DATA);
    ring.ring_doorbell(&rig);
    rig.step();
    assert!(ring.done(0) && ring.done(1));
    assert_eq!(rig.wire.sent(), [sent]);
    assert_eq!(rig.nic.counters().tx_unsupported, 1);
}

#[test]
fn a_large_packet_of_many_buffers_arrives_whole() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(64, 0);
    let payload: Vec<u8> = (0..60_000u32).map(|byte| (byte * 7 / 8) as u8).collect();
    ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 1460, 60_000));
    ring.put_data(&large()[..54], IFCS | TSE, IXSM | TXSM);
    let count = payload.len().div_ceil(2048);
    for (index, part) in payload.chunks(2048).enumerate() {
        let end = if index + 1 == count { EOP | RS } else { 0 };
        ring.put_data(part, end | IFCS | TSE, 0);
    }
    ring.ring_doorbell(&rig);
    rig.settle();
    let sent = rig.wire.sent();
    assert_eq!(sent.len(), 60_000usize.div_ceil(1460));
    let got: Vec<u8> = sent
        .iter()
        .flat_map(|segment| segment[54..].to_vec())
        .collect();
    assert!(got == payload);
    for (index, segment) in sent.iter().enumerate() {
        let sequence = u32::from_be_bytes([segment[38], segment[39], segment[40], segment[41]]);
        assert_eq!(sequence, 0xffff_fffe_u32.wrapping_add(index as u32 * 1460));
    }
}

/// The packet whose segments have a byte each, which counts up.
fn many(count: usize) -> Vec<u8> {
    let mut packet = large()[..54].to_vec();
    packet.extend((0..count).map(|at| at as u8));
    packet
}

/// Asserts that `segments` are the first of those that `packet` is cut into.
fn assert_single_bytes(segments: &[Vec<u8>], packet: &[u8]) {
    let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let sequence = |frame: &[u8]| u32::from_be_bytes(*frame[38..].first_chunk().unwrap());
    let sum = |words: &[u8]| {
        let words = words
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        words.sum::<u32>()
    };
    for (number, segment) in segments.iter().enumerate() {
        assert_eq!(
            sequence(segment),
            sequence(packet).wrapping_add(number as u32)
        );
        assert_eq!(
            word(segment, 18),
            word(packet, 18).wrapping_add(number as u16)
        );
        assert_eq!((word(segment, 16), segment[54]), (41, packet[54 + number]));
        assert_eq!(sum(&segment[14..34]) % 0xffff, 0, "the header's checksum");
        let pseudo = sum(&segment[26..34]) + 6 + 21;
        assert_eq!((sum(&segment[34..55]) + pseudo) % 0xffff, 0, "and TCP's");
    }
}

/// A card with a ring in which there is one packet of `count` segments.
fn with_many(count: usize) -> (Rig, TxRing, Vec<u8>) {
    let rig = Rig::new();
    let mut ring = rig.tx_ring(8, 0);
    let packet = many(count);
    ring.raw(offsets(16), context(TSE | TCP | IPV4, 54, 1, count as u64));
    ring.put_data(&packet, DATA | TSE, IXSM | TXSM);
    ring.ring_doorbell(&rig);
    (rig, ring, packet)
}

#[test]
fn many_segments_take_many_steps_and_none_is_lost_between_two() {
    let (mut rig, ring, packet) = with_many(1900);
    let mut sent = Vec::new();
    let mut steps = 0;
    while !ring.done(1) {
        let step = rig.step();
        let segments = rig.wire.sent();
        assert!(segments.len() <= 256, "{} in one step", segments.len());
        sent.extend(segments);
        steps += 1;
        assert_eq!(step.again, rig.r(TDH) != 2);
    }
    assert!(steps > 1900 / 256);
    assert_eq!(sent.len(), 1900);
    assert_single_bytes(&sent, &packet);
    assert_eq!((rig.r(TSCTC), rig.r(TPT)), (1, 1900));
    rig.settle();
    assert!(rig.wire.sent().is_empty());
}

#[test]
fn between_two_steps_of_a_packet_the_transmitter_can_be_stopped() {
    let (mut rig, ring, packet) = with_many(600);
    rig.step();
    rig.w(TCTL, 0);
    let mut sent = rig.wire.sent();
    assert!(!rig.step().again);
    assert!(rig.wire.sent().is_empty());
    rig.w(TCTL, EN);
    rig.settle();
    sent.extend(rig.wire.sent());
    assert_eq!(sent.len(), 600);
    assert_single_bytes(&sent, &packet);
    assert!(ring.done(1));
}

#[test]
fn between_two_steps_of_a_packet_its_memory_and_the_card_can_be_taken_away() {
    let (
        mut rig,
        TxRing {
            buffers,
            ring: _ring,
            ..
        },
        _,
    ) = with_many(600);
    assert!(rig.step().again);
    rig.wire.sent();
    drop(buffers);
    rig.settle();
    assert!(rig.wire.sent().is_empty());
    assert_eq!(
        (rig.dev.dma_faults(), rig.nic.counters().tx_discarded),
        (1, 1)
    );
    let (mut rig, ring, _) = with_many(600);
    assert!(rig.step().again);
    rig.wire.sent();
    rig.dev.unplug();
    assert!(!rig.step().again);
    assert!(rig.wire.sent().is_empty() && !ring.done(1));
}

#[test]
fn in_loopback_nothing_of_many_segments_is_lost() {
    // More than there is room for on the way back.
    let (mut rig, _ring, _) = with_many(1900);
    let _rx = rig.rx_ring(2048, SECRC | 1 << 6 | UPE | MPE);
    rig.settle();
    assert_eq!((rig.r(TPT), rig.r(TPR)), (1900, 1900));
    assert_eq!(rig.nic.counters().wire_tx_lost, 0);
}
