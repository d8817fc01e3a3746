//! Transmit: descriptors, contexts, segments, loopback.

use crate::frames::*;
use crate::rig::*;
use softnet_nic_hal::bus::{CoherentMemory, PciDevice};

/// A context for IPv4 without options.
const OVER_IPV4: Context = Context {
    index: 0,
    mac_len: 14,
    ip_len: 20,
    l4_len: 0,
    mss: 0,
    tci: 0,
    tucmd: IPV4,
};

#[test]
fn a_packet_goes_out_as_it_is() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    let packet = frame(BROADCAST, 100);
    ring.put(&packet, WHOLE);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [packet]);
    assert!(ring.done(0));
    assert_eq!(rig.r(TX + HEAD), 1);
    assert_eq!(rig.r(GPTC), 1);
}

#[test]
fn a_packet_may_lie_in_several_buffers() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    let packet = frame(BROADCAST, 100);
    ring.put_part(&packet[..10], DATA | 100 << 46);
    ring.put_part(&packet[10..50], DATA);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert!(rig.wire.sent().is_empty(), "it has no end yet");
    ring.put_part(&packet[50..], DATA | EOP | IFCS | RS);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [packet]);
    assert_eq!([0, 1, 2].map(|at| ring.done(at)), [false, false, true]);
}

#[test]
fn a_legacy_descriptor_inserts_its_own_checksum_and_tag() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    let good = golden(TCP_IPV4);
    let raw = unfinished(&good, 16, pseudo(6, 25));
    let mut half = raw.clone();
    half[24..26].copy_from_slice(&good[24..26]);
    // CSO 50, CSS 34, tag 5.
    ring.put(&half, EOP | IFCS | RS | IC | 50 << 16 | 34 << 40);
    ring.put(&good, EOP | IFCS | RS | VLE | 5 << 48);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(
        padded(rig.wire.sent()),
        padded([good.clone(), tagged(&good, 0x8100, 5)])
    );
    assert!(ring.done(1));
}

/// As a chip pads them.
fn padded(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let pad = |mut frame: Vec<u8>| {
        frame.resize(frame.len().max(60), 0);
        frame
    };
    frames.into_iter().map(pad).collect()
}

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
fn two_contexts_are_kept_side_by_side() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    ring.context(Context {
        tucmd: IPV4 | TCP,
        ..OVER_IPV4
    });
    ring.context(Context {
        index: 1,
        ..OVER_IPV4
    });
    let [tcp, udp, zero] = [TCP_IPV4, UDP_IPV4, UDP_SUM_OF_ZERO].map(golden);
    let second = 1 << 36;
    ring.put(
        &unfinished(&udp, 6, pseudo(17, 11)),
        WHOLE | IXSM | TXSM | second,
    );
    ring.put(&unfinished(&tcp, 16, pseudo(6, 25)), WHOLE | IXSM | TXSM);
    ring.put(
        &unfinished(&zero, 6, pseudo(17, 10)),
        WHOLE | IXSM | TXSM | second,
    );
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(padded(rig.wire.sent()), padded([udp, tcp, zero]));
    assert!(!ring.done(0) && ring.done(2));
}

#[test]
fn sctp_gets_its_crc() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    ring.context(Context {
        tucmd: IPV4 | SCTP,
        ..OVER_IPV4
    });
    let good = golden(SCTP_IPV4);
    let mut raw = good.clone();
    raw[24..26].fill(0);
    raw[42..46].fill(0);
    ring.put(&raw, WHOLE | IXSM | TXSM);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [good]);
}

#[test]
fn each_checksum_has_an_option_of_its_own() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    ring.context(Context {
        tucmd: IPV4 | TCP,
        ..OVER_IPV4
    });
    let good = golden(TCP_IPV4);
    let raw = unfinished(&good, 16, pseudo(6, 25));
    for options in [0, IXSM, TXSM] {
        ring.put(&raw, WHOLE | options);
    }
    ring.ring_doorbell(&rig);
    rig.settle();
    let mut ip_only = raw.clone();
    ip_only[24..26].copy_from_slice(&good[24..26]);
    let mut tcp_only = raw.clone();
    tcp_only[50..52].copy_from_slice(&good[50..52]);
    assert_eq!(padded(rig.wire.sent()), padded([raw, ip_only, tcp_only]));
}

/// One packet that the golden segments are cut from.
fn large() -> Vec<u8> {
    let segments = TCP_SEGMENTS.map(golden);
    let mut large = unfinished(&segments[0][..54], 16, pseudo(6, 0));
    // FIN and PSH, which only the last segment keeps; no length.
    large[47] = golden(TCP_SEGMENTS[2])[47];
    large[16..18].fill(0);
    large.extend(segments.iter().flat_map(|segment| segment[54..].to_vec()));
    large
}

/// Sends it in parts of these lengths.
fn tso(rig: &mut Rig, parts: &[usize], tci: Option<u64>) -> Vec<Vec<u8>> {
    let mut ring = rig.transmit();
    // Segments keep all flags but FIN and PSH, which the last one has.
    rig.w(DTXTCPFLGL, 0x0ff6_0ff6);
    rig.w(DTXTCPFLGL + 4, 0xfff);
    ring.context(Context {
        l4_len: 20,
        mss: 4,
        tci: tci.unwrap_or(0),
        tucmd: IPV4 | TCP,
        ..OVER_IPV4
    });
    let large = large();
    let tag = if tci.is_some() { VLE } else { 0 };
    let mut from = 0;
    for (number, &len) in parts.iter().enumerate() {
        let first = if number == 0 {
            TSE | tag | IXSM | TXSM | 11 << 46
        } else {
            0
        };
        let last = if number + 1 == parts.len() {
            EOP | RS
        } else {
            0
        };
        let part = &large[from..from + len];
        ring.put_part(part, DATA | IFCS | first | last);
        from += len;
    }
    ring.ring_doorbell(rig);
    rig.settle();
    assert!(ring.done(parts.len()));
    rig.wire.sent()
}

#[test]
fn a_large_packet_is_cut_into_segments_wherever_its_buffers_end() {
    let expected = padded(TCP_SEGMENTS.map(golden));
    for parts in [&[65][..], &[54, 11], &[20, 20, 16, 1, 8], &[64, 1]] {
        let mut rig = Rig::new();
        assert_eq!(tso(&mut rig, parts, None), expected, "{parts:?}");
        assert_eq!((rig.r(TSCTC), rig.r(GPTC)), (1, 3));
    }
}

#[test]
fn segments_keep_the_flags_that_the_registers_name() {
    let mut rig = Rig::new();
    tso(&mut rig, &[65], None);
    let mut ring = rig.tx_ring(1, 8);
    ring.context(Context {
        l4_len: 20,
        mss: 4,
        tucmd: IPV4 | TCP,
        ..OVER_IPV4
    });
    rig.w(DTXTCPFLGL, 0x0040_0001);
    rig.w(DTXTCPFLGL + 4, 0x010);
    ring.put_part(&large(), WHOLE | TSE | 11 << 46);
    ring.ring_doorbell(&rig);
    rig.settle();
    let flags: Vec<u8> = rig.wire.sent().iter().map(|frame| frame[47]).collect();
    let all = large()[47];
    assert_eq!(flags, [all & 0x01, all & 0x40, all & 0x10]);
}

#[test]
fn each_segment_has_the_tag() {
    let mut rig = Rig::new();
    let expected = TCP_SEGMENTS.map(|segment| tagged(&golden(segment), 0x8100, 0x2064));
    assert_eq!(tso(&mut rig, &[65], Some(0x2064)), padded(expected));
}

#[test]
fn a_tag_comes_from_the_context() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    ring.context(Context {
        tci: 0x6007,
        ..Context::default()
    });
    let packet = frame(BROADCAST, 100);
    ring.put(&packet, WHOLE | VLE);
    rig.w(VET, 0x88a8);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [tagged(&packet, 0x88a8, 0x6007)]);
}

#[test]
fn the_head_is_written_to_memory_instead_of_the_descriptors() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    let head = rig.dev.alloc_coherent(64).unwrap();
    head.write_u64(0, u64::MAX);
    rig.w(TX + TDWBAH, (head.dma_addr().0 >> 32) as u32);
    rig.w(TX + TDWBAL, head.dma_addr().0 as u32 | 1);
    for _ in 0..3 {
        ring.put(&frame(BROADCAST, 60), WHOLE);
    }
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(head.read_u64(0), 0xffff_ffff_0000_0003);
    assert!(!ring.done(2));
}

#[test]
fn without_ifcs_the_packet_brings_its_fcs() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    let packet = frame(BROADCAST, 60);
    let fcs = crc32fast::hash(&packet).to_le_bytes();
    ring.put(&[&packet[..], &fcs].concat(), DATA | EOP | RS);
    ring.put(&[&packet[..], &[0; 4]].concat(), DATA | EOP | RS);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [packet]);
    assert_eq!(rig.nic.counters().tx_discarded, 1);
}

#[test]
fn a_packet_that_is_too_long_or_not_mapped_is_given_up() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    ring.put(&frame(BROADCAST, 9000), DATA);
    ring.put(&frame(BROADCAST, 9000), DATA | EOP | IFCS | RS);
    ring.raw([0xdead_0000, 60 | WHOLE | 60 << 46]);
    ring.put(&frame(BROADCAST, 61), WHOLE);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [frame(BROADCAST, 61)]);
    assert_eq!(rig.nic.counters().tx_discarded, 2);
    assert_eq!(rig.dev.dma_faults(), 1);
    assert!(ring.done(1) && ring.done(2));
}

#[test]
fn segments_of_nothing_are_given_up() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    ring.context(Context {
        mss: 0,
        tucmd: IPV4 | TCP,
        ..OVER_IPV4
    });
    ring.put(&large(), WHOLE | TSE);
    ring.put(&frame(BROADCAST, 61), WHOLE);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [frame(BROADCAST, 61)]);
    assert_eq!(rig.nic.counters().tx_discarded, 1);
}

#[test]
fn what_is_sent_in_loopback_comes_back_and_does_not_leave() {
    let mac = |rig: &Rig| rig.w(RCTL, EN | SECRC | BAM | 1 << 6);
    let phy = |rig: &Rig| rig.phy_write(0, 0x4140);
    for (name, loop_back) in [("MAC", mac as fn(&Rig)), ("PHY", phy)] {
        let mut rig = Rig::new();
        let rx = rig.receive(SECRC | BAM);
        let mut tx = rig.transmit();
        loop_back(&rig);
        rig.step();
        assert_ne!(rig.r(STATUS) & 2, 0, "{name}: the link is up");
        let packet = frame(BROADCAST, 100);
        tx.put(&packet, WHOLE);
        tx.ring_doorbell(&rig);
        rig.wire.push(&frame(BROADCAST, 61));
        rig.settle();
        rig.settle();
        assert_eq!(rx.bytes(0), packet, "{name}");
        assert!(!rx.done(1), "{name}: the wire is not heard");
        assert!(rig.wire.sent().is_empty(), "{name}");
    }
}

#[test]
fn nothing_is_lost_in_loopback_however_much_is_sent_at_once() {
    let mut rig = Rig::new();
    let _rx = rig.rx_ring(0, 256, ONE_BUFFER);
    let mut tx = rig.tx_ring(0, 256);
    rig.w(RCTL, EN | SECRC | BAM | 1 << 6);
    rig.w(TCTL, EN | PSP);
    for _ in 0..200 {
        tx.put(&frame(BROADCAST, 1024), WHOLE);
    }
    tx.ring_doorbell(&rig);
    rig.settle();
    assert_eq!((rig.r(GPTC), rig.r(GPRC)), (200, 200));
}

#[test]
fn nothing_is_sent_without_a_link() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    rig.wire.set_carrier(false);
    rig.step();
    ring.put(&frame(BROADCAST, 60), WHOLE);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert!(!ring.done(0));
    rig.wire.set_carrier(true);
    rig.step();
    rig.now_ns += 10_000_000;
    rig.settle();
    assert_eq!(rig.wire.sent().len(), 1);
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
    let mut ring = rig.transmit();
    ring.context(Context {
        l4_len: 20,
        mss: 1,
        tucmd: IPV4 | TCP,
        ..OVER_IPV4
    });
    let packet = many(count);
    ring.put_part(&packet, WHOLE | TSE | IXSM | TXSM | (count as u64) << 46);
    ring.ring_doorbell(&rig);
    (rig, ring, packet)
}

#[test]
fn many_segments_take_many_steps_and_none_is_lost_between_two() {
    let (mut rig, ring, packet) = with_many(10_000);
    let mut sent = Vec::new();
    let mut steps = 0;
    while !ring.done(1) {
        let step = rig.step();
        let segments = rig.wire.sent();
        assert!(segments.len() <= 256, "{} in one step", segments.len());
        sent.extend(segments);
        steps += 1;
        assert_eq!(step.again, rig.r(TX + HEAD) != 2);
    }
    assert!(steps > 10_000 / 256);
    assert_eq!(sent.len(), 10_000);
    assert_single_bytes(&sent, &packet);
    assert_eq!((rig.r(TSCTC), rig.r(GPTC)), (1, 10_000));
    rig.settle();
    assert!(rig.wire.sent().is_empty());
}

#[test]
fn between_two_steps_of_a_packet_the_transmitter_can_be_stopped() {
    let (mut rig, ring, packet) = with_many(600);
    rig.step();
    rig.w(TCTL, PSP);
    let mut sent = rig.wire.sent();
    rig.step();
    assert!(rig.wire.sent().is_empty());
    rig.w(TCTL, EN | PSP);
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
fn a_segment_is_no_longer_than_the_longest_packet() {
    const LONGEST: u64 = 0x2600;
    for (excess, sent) in [(0, vec![LONGEST as usize, 60]), (1, vec![])] {
        let mut rig = Rig::new();
        let mut ring = rig.transmit();
        let mss = LONGEST - 54 + excess;
        ring.context(Context {
            l4_len: 20,
            mss,
            tucmd: IPV4 | TCP,
            ..OVER_IPV4
        });
        let packet = many(mss as usize + 1);
        ring.put_part(&packet, WHOLE | TSE | IXSM | TXSM | (mss + 1) << 46);
        ring.ring_doorbell(&rig);
        rig.settle();
        let lens: Vec<usize> = rig.wire.sent().iter().map(Vec::len).collect();
        assert_eq!(lens, sent);
        assert_eq!(rig.nic.counters().tx_discarded, excess);
        assert!(ring.done(1));
    }
}

#[test]
fn only_the_first_segment_says_that_the_window_was_reduced_unless_software_wants_more() {
    const CWR: u8 = 0x80;
    for (middle, repeated) in [(None, 0), (Some(0x0ff6_0ff6), CWR)] {
        let mut rig = Rig::new();
        let mut ring = rig.transmit();
        if let Some(flags) = middle {
            rig.w(DTXTCPFLGL, flags);
        }
        ring.context(Context {
            l4_len: 20,
            mss: 1,
            tucmd: IPV4 | TCP,
            ..OVER_IPV4
        });
        let mut packet = many(3);
        packet[47] |= CWR;
        ring.put_part(&packet, WHOLE | TSE | IXSM | TXSM | 3 << 46);
        ring.ring_doorbell(&rig);
        rig.settle();
        let sent = rig.wire.sent();
        let flags: Vec<u8> = sent.iter().map(|segment| segment[47] & CWR).collect();
        assert_eq!(flags, [CWR, repeated, 0]);
    }
}
