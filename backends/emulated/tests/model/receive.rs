//! Receive: descriptors, filters, what finds no room.

use crate::rig::*;
use softnet_emulated::E1000Config;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{CoherentMemory, PciDevice};

const OTHER: MacAddress = MacAddress([2, 9, 9, 9, 9, 9]);
const DD_EOP_IXSM: u8 = 0b111;

#[test]
fn a_frame_fills_the_descriptor_of_the_manual() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    let sent = frame(MAC, 100);
    rig.deliver(&sent);
    // Length 100, no packet checksum; status DD, EOP, IXSM; no errors; no VLAN.
    assert_eq!(ring.ring.read_u64(8), 0x0000_0007_0000_0064);
    assert_eq!(
        ring.ring.read_u64(0),
        ring.buffer_addr(0).0,
        "left as it was"
    );
    assert_eq!(ring.bytes(0), sent);
    assert_eq!(rig.r(RDH), 1);
    assert!(!ring.done(1));
}

#[test]
fn without_secrc_the_fcs_comes_along() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, 0);
    let sent = frame(MAC, 60);
    rig.deliver(&sent);
    assert_eq!(ring.status(0).len, 64);
    let stored = ring.bytes(0);
    assert_eq!(stored[..60], sent);
    // The CRC over a frame with its FCS has a constant remainder.
    assert_eq!(crc32fast::hash(&stored), 0x2144_df1c);
}

#[test]
fn a_long_frame_takes_several_descriptors() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC | BSIZE_256);
    let sent = frame(MAC, 600);
    rig.deliver(&sent);
    let lengths = [0, 1, 2].map(|at| ring.status(at).len);
    assert_eq!(lengths, [256, 256, 88]);
    let end_of_packet = [0, 1, 2].map(|at| ring.status(at).status & 2 != 0);
    assert_eq!(end_of_packet, [false, false, true]);
    let whole: Vec<u8> = (0..3).flat_map(|at| ring.bytes(at)).collect();
    assert_eq!(whole, sent);
}

#[test]
fn the_fcs_may_fall_into_the_next_descriptor() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, BSIZE_256);
    let sent = frame(MAC, 254);
    rig.deliver(&sent);
    assert_eq!([0, 1].map(|at| ring.status(at).len), [256, 2]);
    let whole = [ring.bytes(0), ring.bytes(1)].concat();
    assert_eq!(crc32fast::hash(&whole), 0x2144_df1c);
}

#[test]
fn buffer_sizes_are_those_of_bsize_and_bsex() {
    for (rctl, size) in [
        (0, 2048),
        (1 << 16, 1024),
        (2 << 16, 512),
        (3 << 16, 256),
        (1 << 25 | 2 << 16, 8192),
        (1 << 25 | 3 << 16, 4096),
    ] {
        let mut rig = Rig::new();
        let ring = rig.rx_ring(64, SECRC | LPE | rctl);
        rig.deliver(&frame(MAC, 9000));
        assert_eq!(ring.status(0).len, size, "RCTL {rctl:#x}");
    }
}

#[test]
fn a_null_descriptor_takes_no_data() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    ring.ring.write_u64(0, 0);
    let sent = frame(MAC, 100);
    rig.deliver(&sent);
    assert_eq!((ring.status(0).len, ring.status(0).status & 3), (0, 1));
    assert_eq!(ring.bytes(1), sent);
    assert_eq!(rig.dev.dma_faults(), 0);
}

#[test]
fn the_ring_wraps() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    for turn in 0..20u32 {
        let at = turn as usize % 8;
        rig.deliver(&frame(MAC, 60 + turn as usize));
        assert_eq!(ring.bytes(at).len(), 60 + turn as usize);
        ring.rearm(at);
        rig.w(RDT, at as u32);
    }
    assert_eq!(rig.r(GPRC), 20);
}

/// The receive address register pair of index 1.
fn set_second_address(rig: &Rig, mac: MacAddress, flags: u32) {
    let [a, b, c, d, e, f] = mac.0;
    rig.w(RAL + 8, u32::from_le_bytes([a, b, c, d]));
    rig.w(RAH + 8, u32::from_le_bytes([e, f, 0, 0]) | flags);
}

/// A name, RCTL, what else is set up, where the frame goes to, and the PIF bit it
/// is received with, if it is.
type Case = (&'static str, u32, fn(&Rig), MacAddress, Option<u8>);

#[test]
fn filters_take_what_they_are_set_to() {
    const AV: u32 = 1 << 31;
    const BY_SOURCE: u32 = 1 << 16;
    let group = MacAddress([0x01, 0, 0x5e, 0, 0, 0xfb]);
    let nothing: fn(&Rig) = |_| {};
    let table: [Case; 16] = [
        ("own", 0, nothing, MAC, Some(0)),
        ("other", 0, nothing, OTHER, None),
        ("other, UPE", UPE, nothing, OTHER, Some(0)),
        ("other, MPE", MPE, nothing, OTHER, None),
        ("group", 0, nothing, group, None),
        ("group, UPE", UPE, nothing, group, None),
        ("group, MPE", MPE, nothing, group, Some(0)),
        ("group, BAM", BAM, nothing, group, None),
        ("broadcast", 0, nothing, MacAddress::BROADCAST, None),
        (
            "broadcast, BAM",
            BAM,
            nothing,
            MacAddress::BROADCAST,
            Some(0),
        ),
        (
            "broadcast by the table",
            0,
            |rig| rig.w(MTA + 0x1fc, 1 << 31),
            MacAddress::BROADCAST,
            Some(0x80),
        ),
        (
            "second address",
            0,
            |rig| set_second_address(rig, OTHER, AV),
            OTHER,
            Some(0),
        ),
        (
            "second address, not valid",
            0,
            |rig| set_second_address(rig, OTHER, 0),
            OTHER,
            None,
        ),
        (
            "group as an exact address",
            0,
            |rig| set_second_address(rig, MacAddress([0x01, 0, 0x5e, 0, 0, 0xfb]), AV),
            group,
            Some(0),
        ),
        (
            "by the source address",
            0,
            |rig| set_second_address(rig, MacAddress([2, 0, 0, 0, 0, 1]), AV | BY_SOURCE),
            OTHER,
            Some(0),
        ),
        (
            "own address no longer valid",
            0,
            |rig| rig.w(RAH, 0),
            MAC,
            None,
        ),
    ];
    for (name, rctl, prepare, to, expected) in table {
        let mut rig = Rig::new();
        let ring = rig.rx_ring(8, SECRC | rctl);
        prepare(&rig);
        rig.deliver(&frame(to, 60));
        let got = ring.done(0).then(|| ring.status(0).status & 0x80);
        assert_eq!(got, expected, "{name}");
    }
}

/// The example of the manual's multicast table array: 12:34:56:78:9a:bc, first
/// byte first, and its vector positions. (The first byte is odd here, as that of
/// a group is; it is not among the selected bits.)
#[test]
fn the_multicast_offset_selects_the_bits_of_the_manuals_example() {
    let group = MacAddress([0x13, 0x34, 0x56, 0x78, 0x9a, 0xbc]);
    for (offset, bit) in [(0, 0xbc9), (1, 0x793), (2, 0xf26), (3, 0xc9a)] {
        let mut rig = Rig::new();
        let ring = rig.rx_ring(8, SECRC | offset << 12);
        rig.w(MTA + (bit >> 5) * 4, 1 << (bit & 31));
        rig.deliver(&frame(group, 60));
        assert_eq!(ring.status(0).status, DD_EOP_IXSM | 0x80, "MO {offset}");
        let mut others = Rig::new();
        let ring = others.rx_ring(8, SECRC | offset << 12);
        for word in 0..128 {
            others.w(MTA + word * 4, u32::MAX);
        }
        others.w(MTA + (bit >> 5) * 4, !(1 << (bit & 31)));
        others.deliver(&frame(group, 60));
        assert!(!ring.done(0), "MO {offset}: only that bit");
    }
}

#[test]
fn lengths_are_limited_by_lpe() {
    for (rctl, len, taken) in [
        (0, 1518, true),
        (0, 1519, false),
        (LPE, 1519, true),
        (LPE, 16380, true),
        (LPE, 16381, false),
    ] {
        let mut rig = Rig::new();
        let ring = rig.rx_ring(16, SECRC | rctl);
        rig.deliver(&frame(MAC, len));
        assert_eq!(ring.done(0), taken, "{len} bytes, RCTL {rctl:#x}");
        assert_eq!(rig.r(ROC), u32::from(!taken));
        assert_eq!(rig.r(RLEC), u32::from(!taken));
        assert_eq!(rig.r(GPRC), u32::from(taken));
    }
}

#[test]
fn short_frames_are_padded_or_are_runts() {
    let mut config = E1000Config::new(MAC);
    for pad in [true, false] {
        config.pad_short_frames = pad;
        let mut rig = Rig::with(&config);
        let ring = rig.rx_ring(8, SECRC);
        for len in [0, 5, 13, 42, 59] {
            rig.deliver(&frame(MAC, 60)[..len]);
        }
        assert_eq!(ring.done(0), pad);
        if pad {
            // Those of 0 and 5 bytes have not even an address of ours.
            assert_eq!(ring.status(0).len, 60);
            assert_eq!(ring.bytes(1)[..42], frame(MAC, 60)[..42]);
            assert_eq!(ring.bytes(1)[42..], [0; 18]);
        } else {
            assert_eq!((rig.r(RUC), rig.r(RLEC)), (3, 3));
        }
        assert_eq!(rig.r(TPR), 5);
    }
}

#[test]
fn frames_wait_in_the_fifo_until_there_are_descriptors() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    for len in 60..70 {
        rig.deliver(&frame(MAC, len));
    }
    assert_eq!(rig.r(RNBC), 3, "seven descriptors for ten frames");
    assert_eq!(rig.r(MPC), 0);
    ring.rearm(0);
    ring.rearm(1);
    rig.w(RDT, 1);
    rig.step();
    assert_eq!(ring.bytes(7), frame(MAC, 67));
    assert_eq!(ring.bytes(0), frame(MAC, 68), "in order");
    assert_eq!(rig.r(GPRC), 10);
}

#[test]
fn what_finds_no_room_in_the_fifo_is_missed_and_counted() {
    let mut rig = Rig::new();
    rig.w(PBA, 8);
    let ring = rig.rx_ring(8, SECRC);
    for _ in 0..200 {
        rig.deliver(&frame(MAC, 60));
    }
    let (missed, good) = (rig.r(MPC), rig.r(GPRC));
    assert_eq!(missed + good, 200);
    // Eight KiB, in units of 16: 64 bytes and one unit of status each.
    assert_eq!(good, 7 + 8192 / 80);
    assert_eq!(rig.r(TPR), 200);
    assert_ne!(rig.r(ICR) & RXO, 0);
    assert!((0..7).all(|at| ring.done(at)));
}

#[test]
fn a_receiver_that_is_off_hears_nothing() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    rig.w(RCTL, SECRC);
    rig.deliver(&frame(MAC, 60));
    rig.w(RCTL, SECRC | EN);
    rig.step();
    assert!(!ring.done(0));
    assert_eq!((rig.r(TPR), rig.r(MPC)), (0, 0));
}

#[test]
fn the_minimum_threshold_is_crossed_once() {
    for (rdmts, low) in [(0, 8), (1, 4), (2, 2)] {
        let mut rig = Rig::new();
        let _ring = rig.rx_ring(16, SECRC | rdmts << 8);
        let crossed: Vec<u32> = (0..15)
            .filter(|_| {
                rig.deliver(&frame(MAC, 60));
                rig.r(ICR) & RXDMT0 != 0
            })
            .collect();
        assert_eq!(crossed, [14 - low], "RDMTS {rdmts}");
    }
}

#[test]
fn the_receive_timers_gather_and_the_absolute_one_bounds() {
    let mut rig = Rig::new();
    let _ring = rig.rx_ring(64, SECRC);
    rig.w(RDTR, 10);
    rig.w(RADV, 15);
    let start = rig.now_ns + 1;
    rig.deliver(&frame(MAC, 60));
    assert_eq!(rig.r(ICR) & RXT0, 0);
    rig.now_ns = start + 9 * 1024;
    let wire = rig.wire.clone();
    wire.push(&frame(MAC, 60));
    let due = rig.step().next_event_ns;
    assert_eq!(due, Some(start + 15 * 1024), "the absolute timer is first");
    rig.now_ns = start + 15 * 1024 - 1;
    rig.step();
    assert_eq!(rig.r(ICR) & RXT0, RXT0);
}

#[test]
fn the_flush_bit_of_rdtr_ends_the_wait() {
    let mut rig = Rig::new();
    let _ring = rig.rx_ring(8, SECRC);
    rig.w(RDTR, 1000);
    rig.deliver(&frame(MAC, 60));
    rig.w(RDTR, 1 << 31 | 1000);
    assert_eq!(rig.r(RDTR), 1000, "the bit clears itself");
    rig.step();
    assert_eq!(rig.r(ICR) & RXT0, RXT0);
}

#[test]
fn a_descriptor_that_is_not_mapped_stops_the_queue_until_it_is_enabled_again() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    rig.w(RDBAH, 0x7777);
    rig.deliver(&frame(MAC, 60));
    assert_eq!(rig.dev.dma_faults(), 1);
    let fault = rig.dev.last_dma_fault().unwrap();
    assert_eq!(fault.addr.0 >> 32, 0x7777);
    assert_ne!(
        rig.dev.config_read32(4) & 1 << 29,
        0,
        "received master abort"
    );
    rig.dev.config_write32(4, 1 << 29 | 7);
    assert_eq!(
        rig.dev.config_read32(4) & 1 << 29,
        0,
        "written 1, it clears"
    );
    rig.w(RDBAH, (ring.ring.dma_addr().0 >> 32) as u32);
    rig.deliver(&frame(MAC, 60));
    assert!(!ring.done(0), "stopped");
    rig.w(RCTL, SECRC);
    rig.w(RCTL, SECRC | EN);
    rig.deliver(&frame(MAC, 60));
    assert!(ring.done(0));
}

#[test]
fn a_buffer_across_the_end_of_its_mapping_is_an_error_and_writes_nothing() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    let guarded = rig.dev.alloc_coherent(4096).unwrap();
    let edge = guarded.dma_addr().offset(4096 - 99);
    ring.ring.write_u64(0, edge.0);
    rig.deliver(&frame(MAC, 100));
    assert_eq!(rig.dev.dma_faults(), 1);
    let status = ring.status(0);
    assert_eq!((status.status & 3, status.errors), (3, 0x80), "RXE");
    assert!((0..512).all(|word| guarded.read_u64(word * 8) == 0));
    ring.ring.write_u64(16, edge.0);
    rig.deliver(&frame(MAC, 99));
    assert_eq!(rig.dev.dma_faults(), 1, "up to the last byte is fine");
    assert_eq!(ring.status(1).errors, 0);
}
