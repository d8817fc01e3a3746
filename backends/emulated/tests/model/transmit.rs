//! Transmit: legacy descriptors to frames.

use crate::rig::*;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::CoherentMemory;

const CMD: u64 = EOP | IFCS | RS;

#[test]
fn a_descriptor_of_the_manual_becomes_a_frame() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    let sent = frame(MacAddress::BROADCAST, 100);
    ring.put(&sent, CMD);
    // Length 100, CSO 0, command EOP, IFCS and RS, status 0, CSS 0.
    assert_eq!(ring.ring.read_u64(8), 0x0000_0000_0b00_0064);
    ring.ring_doorbell(&rig);
    assert!(rig.nic.has_work());
    rig.step();
    assert_eq!(ring.ring.read_u64(8), 0x0000_0001_0b00_0064, "DD");
    assert_eq!(rig.wire.sent(), [sent]);
    assert_eq!(rig.r(TDH), 1);
    assert_eq!(rig.r(ICR) & (TXDW | TXQE), TXDW | TXQE);
}

#[test]
fn several_descriptors_make_one_packet() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    let sent = frame(MAC, 300);
    ring.put(&sent[..14], RS);
    ring.raw(0, 100 | RS << 24);
    ring.put(&sent[14..200], 0);
    ring.ring_doorbell(&rig);
    rig.step();
    assert!(rig.wire.sent().is_empty(), "no end of packet yet");
    ring.put(&sent[200..], CMD);
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.wire.sent(), [sent]);
    assert_eq!(
        [0, 1, 2, 3].map(|at| ring.done(at)),
        [true, true, false, true]
    );
}

#[test]
fn short_packets_are_padded_only_with_psp() {
    for (tctl, len) in [(PSP, 60), (0, 42)] {
        let mut rig = Rig::new();
        let mut ring = rig.tx_ring(8, tctl);
        ring.put(&frame(MAC, 42), CMD);
        ring.ring_doorbell(&rig);
        rig.step();
        let sent = rig.wire.sent();
        assert_eq!(sent[0].len(), len);
        assert_eq!(sent[0][..42], frame(MAC, 42));
        assert!(sent[0][42..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn without_ifcs_the_drivers_own_fcs_has_to_be_right() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    let plain = frame(MAC, 100);
    let mut with_fcs = plain.clone();
    with_fcs.extend(crc32fast::hash(&plain).to_le_bytes());
    ring.put(&with_fcs, EOP | RS);
    with_fcs[50] ^= 1;
    ring.put(&with_fcs, EOP | RS);
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.wire.sent(), [plain]);
    assert!(ring.done(1));
    assert_eq!(rig.nic.counters().tx_discarded, 1);
}

/// RFC 1071's sum over bytes 14 to the end, with the field itself zero.
#[test]
fn ic_inserts_the_checksum_from_css_to_the_end_at_cso() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    let mut data = frame(MAC, 61);
    data[40..42].fill(0);
    fill(&ring.buffers, 0, &data);
    let control = 61 | 40 << 16 | (CMD | IC) << 24 | 14 << 40;
    ring.raw(ring.buffers.dma_addr().0, control);
    ring.ring_doorbell(&rig);
    rig.step();
    let sent = &rig.wire.sent()[0];
    let sum = sent[14..].chunks(2).fold(0u32, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        let sum = sum + (u32::from(pair[0]) << 8 | u32::from(low));
        (sum & 0xffff) + (sum >> 16)
    });
    assert_eq!(sum, 0xffff, "with its checksum the sum is all ones");
    assert_ne!(sent[40..42], [0, 0]);
}

#[test]
fn a_checksum_outside_of_the_packet_is_not_inserted() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    let data = frame(MAC, 61);
    for (cso, css) in [(60, 14), (200, 14), (40, 61)] {
        fill(&ring.buffers, 0, &data);
        let control = 61 | cso << 16 | (CMD | IC) << 24 | css << 40;
        ring.raw(ring.buffers.dma_addr().0, control);
    }
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.wire.sent(), [data.clone(), data.clone(), data]);
}

#[test]
fn descriptors_without_end_are_bounded() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(64, PSP);
    for _ in 0..10 {
        for _ in 0..60 {
            ring.put(&[0; 2000], RS);
        }
        ring.ring_doorbell(&rig);
        rig.settle();
    }
    ring.put(&[0; 2000], CMD);
    let sent = frame(MAC, 60);
    ring.put(&sent, CMD);
    ring.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.wire.sent(), [sent], "the endless packet was given up");
    assert_eq!(rig.nic.counters().tx_discarded, 1);
}

#[test]
fn statistics_count_by_size_and_kind() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(16, PSP);
    let group = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
    for (to, len) in [
        (MAC, 42),
        (MAC, 61),
        (group, 200),
        (MacAddress::BROADCAST, 1514),
    ] {
        ring.put(&frame(to, len), CMD);
    }
    ring.ring_doorbell(&rig);
    rig.step();
    for (register, value) in [
        (TPT, 4),
        (GPTC, 4),
        (PTC64, 1),
        (PTC64 + 4, 1),
        (PTC64 + 8, 1),
        (PTC64 + 20, 1),
        (MPTC, 1),
        (BPTC, 1),
        (GOTCL, 64 + 65 + 204 + 1518),
    ] {
        assert_eq!(rig.r(register), value, "register {register:#x}");
    }
    assert_eq!(rig.r(GOTCH), 0);
}

#[test]
fn nothing_is_sent_while_the_link_is_down_or_the_transmitter_off() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    rig.w(TCTL, PSP);
    let sent = frame(MAC, 60);
    ring.put(&sent, CMD);
    ring.ring_doorbell(&rig);
    rig.step();
    rig.wire.set_carrier(false);
    rig.w(TCTL, PSP | EN);
    rig.step();
    assert!(rig.wire.sent().is_empty());
    assert_eq!(rig.r(TDH), 0);
    rig.wire.set_carrier(true);
    rig.step();
    rig.now_ns += 1_000_000;
    rig.step();
    assert_eq!(rig.wire.sent(), [sent]);
}

#[test]
fn ide_delays_the_cause_until_the_timer_ends() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    rig.w(TIDV, 4);
    ring.put(&frame(MAC, 60), CMD | IDE);
    ring.ring_doorbell(&rig);
    let start = rig.now_ns + 1;
    let due = rig.step().next_event_ns;
    assert_eq!(due, Some(start + 4096));
    assert!(ring.done(0), "written back at once");
    assert_eq!(rig.r(ICR) & TXDW, 0);
    rig.now_ns = start + 4095;
    rig.step();
    assert_eq!(rig.r(ICR) & TXDW, TXDW);
}

/// Section 13.4.44: whichever interrupt comes first ends the other timers.
#[test]
fn an_immediate_cause_ends_the_delay_of_those_before_it() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    rig.w(TIDV, 4);
    rig.w(TADV, 8);
    ring.put(&frame(MAC, 60), CMD | IDE);
    ring.ring_doorbell(&rig);
    rig.step();
    ring.put(&frame(MAC, 60), CMD | IDE);
    ring.put(&frame(MAC, 60), CMD);
    ring.ring_doorbell(&rig);
    assert_eq!(rig.step().next_event_ns, None);
    assert_eq!(rig.r(ICR) & TXDW, TXDW);
    rig.now_ns += 20_000;
    rig.step();
    assert_eq!(rig.r(ICR) & TXDW, 0, "not a second time");
}

#[test]
fn a_buffer_that_is_not_mapped_costs_its_packet_only() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    ring.raw(0x6666_0000, 100 | CMD << 24);
    let sent = frame(MAC, 60);
    ring.put(&sent, CMD);
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.dev.dma_faults(), 1);
    assert_eq!(rig.wire.sent(), [sent]);
    assert!(ring.done(0) && ring.done(1));
}

#[test]
fn a_ring_across_the_end_of_its_mapping_stops_there() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(256, PSP);
    // The ring's memory is one page of 256 descriptors; the registers say 512.
    rig.w(TDLEN, 512 * 16);
    for _ in 0..256 {
        ring.put(&frame(MAC, 60), CMD);
    }
    rig.w(TDT, 257);
    rig.settle();
    assert_eq!(rig.wire.sent().len(), 256);
    assert_eq!(rig.r(TDH), 256);
    assert_eq!(rig.dev.dma_faults(), 1);
    rig.w(TDT, 300);
    rig.settle();
    assert_eq!(rig.dev.dma_faults(), 1, "stopped");
}

#[test]
fn a_tail_beyond_the_ring_moves_nothing() {
    let mut rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    ring.put(&frame(MAC, 60), CMD);
    rig.w(TDT, 8);
    rig.settle();
    assert_eq!(rig.r(TDH), 0);
    rig.w(TDT, 1);
    rig.settle();
    assert_eq!(rig.wire.sent().len(), 1);
}
