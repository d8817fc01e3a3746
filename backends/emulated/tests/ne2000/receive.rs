//! The page ring, the filters, and the overflow.

use crate::rig::*;
use softnet_emulated::Ne2000Config;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::PciDevice;

#[test]
fn a_packet_lies_behind_its_header_and_before_its_fcs() {
    let mut rig = Rig::started();
    let packet = frame(MAC, 100, 7);
    rig.receive(&packet);
    let (header, bytes) = rig.stored(FIRST + 1);
    // Status, next packet, byte count with the FCS.
    assert_eq!(header, [0x01, FIRST + 2, 104, 0]);
    assert_eq!(bytes, packet);
    // Zlib's checksum of the frame, low byte first, is the FCS.
    let fcs = rig.memory((u16::from(FIRST + 1) << 8) + 104, 4);
    assert_eq!(fcs, crc32(&packet).to_le_bytes());
    assert_eq!(
        (rig.curr(), rig.read(ISR), rig.read(RSR)),
        (FIRST + 2, PRX, 1)
    );
}

/// IEEE 802.3's CRC, lowest bit first.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn packets_wrap_at_the_rings_end() {
    let mut rig = Rig::started();
    let mut page = FIRST + 1;
    for seed in 0..40 {
        let packet = frame(MAC, 700 + usize::from(seed), seed);
        rig.receive(&packet);
        let (header, bytes) = rig.stored(page);
        assert_eq!(bytes, packet, "packet {seed}");
        page = header[1];
        assert!((FIRST..LAST).contains(&page));
        assert_eq!(rig.curr(), page);
        rig.set_boundary_before(page);
    }
    assert_eq!(rig.read(ISR), PRX);
}

#[test]
fn a_packet_fills_its_pages_to_the_last_byte() {
    for (len, pages) in [(248, 1), (249, 2), (504, 2), (505, 3)] {
        let mut rig = Rig::started();
        rig.receive(&frame(MAC, len, 1));
        assert_eq!(rig.curr(), FIRST + 1 + pages, "{len} bytes");
    }
}

#[test]
fn short_frames_are_padded_or_runts() {
    let mut rig = Rig::started();
    rig.receive(&frame(MAC, 20, 3));
    let (_, bytes) = rig.stored(FIRST + 1);
    assert_eq!((bytes.len(), &bytes[20..]), (60, &[0; 40][..]));

    let pad_short_frames = false;
    let config = Ne2000Config::new(MacAddress(MAC));
    let mut rig = Rig::with(&Ne2000Config {
        pad_short_frames,
        ..config
    });
    rig.start();
    rig.receive(&frame(MAC, 20, 3));
    assert_eq!(rig.read(ISR), 0, "a runt is rejected");
    rig.write(RCR, 0x06);
    rig.receive(&frame(MAC, 20, 3));
    assert_eq!(rig.stored(FIRST + 1).1, frame(MAC, 20, 3));
}

/// Whether the chip takes a frame to that address, and with which status.
fn accepts(rcr: u8, mar: [u8; 8], to: [u8; 6]) -> Option<u8> {
    let mut rig = Rig::started();
    rig.write(RCR, rcr);
    rig.on_page(1, || {
        for (register, byte) in (8..).zip(mar) {
            rig.write(register, byte);
        }
    });
    rig.receive(&frame(to, 60, 1));
    (rig.read(ISR) == PRX).then(|| rig.read(RSR))
}

#[test]
fn each_filter_lets_its_kind_through() {
    let (none, all) = ([0; 8], [0xff; 8]);
    let other = [2, 1, 2, 3, 4, 5];
    let group = [1, 0, 0x5e, 0, 0, 1];
    assert_eq!(accepts(0, none, MAC), Some(0x01));
    assert_eq!(accepts(0, none, other), None);
    assert_eq!(accepts(0x10, none, other), Some(0x01));
    assert_eq!(accepts(0, none, BROADCAST), None);
    assert_eq!(accepts(0x04, none, BROADCAST), Some(0x21));
    assert_eq!(accepts(0x04, all, group), None, "AM is clear");
    assert_eq!(accepts(0x08, none, group), None, "MAR is clear");
    assert_eq!(accepts(0x08, all, group), Some(0x21));
    assert_eq!(
        accepts(0x10, all, group),
        None,
        "a group is no physical address"
    );
}

#[test]
fn a_group_is_let_through_by_the_bit_of_its_crc_alone() {
    // 224.0.0.1's address: zlib's CRC, reversed and inverted, begins with 1fh.
    let (group, bit) = ([1, 0, 0x5e, 0, 0, 1], 0x1f);
    for at in 0..64 {
        let mut mar = [0; 8];
        mar[at / 8] = 1 << (at % 8);
        assert_eq!(accepts(0x08, mar, group).is_some(), at == bit, "bit {at}");
    }
}

#[test]
fn a_stopped_chip_and_one_in_loopback_hear_nothing() {
    let mut rig = Rig::started();
    rig.write(TCR, 0x02);
    rig.receive(&frame(MAC, 60, 1));
    rig.write(TCR, 0);
    rig.write(CR, STOP);
    rig.receive(&frame(MAC, 60, 1));
    assert_eq!((rig.curr(), rig.chip.counters().rx_unheard), (FIRST + 1, 2));
}

#[test]
fn monitor_mode_counts_and_stores_nothing() {
    let mut rig = Rig::started();
    rig.write(RCR, 0x24);
    rig.receive(&frame(MAC, 60, 1));
    assert_eq!((rig.curr(), rig.read(ISR)), (FIRST + 1, 0));
    assert_eq!(rig.read(RSR), 0x50, "MPA, DIS");
    assert_eq!([rig.read(CNTR2), rig.read(CNTR2)], [1, 0]);
}

#[test]
fn counters_that_are_half_full_ask_to_be_read() {
    let mut rig = Rig::started();
    rig.write(RCR, 0x24);
    for _ in 0..127 {
        rig.receive(&frame(MAC, 60, 1));
    }
    assert_eq!(rig.read(ISR), 0);
    rig.receive(&frame(MAC, 60, 1));
    assert_eq!((rig.read(ISR), rig.read(CNTR2)), (CNT, 128));
}

/// Fills the ring with packets of one page until one is missed.
fn overflow(rig: &mut Rig) -> usize {
    let stored = (0..20).take_while(|&seed| {
        rig.receive(&frame(MAC, 60, seed));
        rig.read(ISR) & OVW == 0
    });
    stored.count()
}

#[test]
fn a_ring_that_is_full_misses_and_says_so() {
    let mut rig = Rig::started();
    // Of 16 pages one is behind BNRY, and one stays free.
    assert_eq!(overflow(&mut rig), 14);
    assert_eq!(rig.read(ISR), PRX | OVW | RST);
    assert_eq!((rig.curr(), rig.read(CNTR2)), (LAST - 1, 1));
    assert_eq!(rig.read(RSR) & 0x10, 0x10, "MPA");
    // What is there stays there.
    assert_eq!(rig.stored(FIRST + 1).1, frame(MAC, 60, 0));
}

#[test]
fn after_an_overflow_only_a_stop_and_a_start_make_it_receive_again() {
    let mut rig = Rig::started();
    overflow(&mut rig);
    rig.set_boundary_before(rig.curr());
    assert_eq!(rig.read(ISR) & RST, 0, "a packet was removed");
    rig.write(ISR, 0xff);
    rig.receive(&frame(MAC, 60, 90));
    assert_eq!(rig.read(ISR) & (PRX | OVW), OVW, "it is missed again");
    // The manual's procedure.
    rig.write(CR, STOP);
    rig.nic.delay_us(1600);
    rig.write_pair(RBCR0, 0);
    rig.write(TCR, 0x02);
    rig.write(CR, START);
    rig.set_boundary_before(rig.curr());
    rig.write(ISR, OVW);
    rig.write(TCR, 0);
    let page = rig.curr();
    rig.receive(&frame(MAC, 60, 91));
    assert_eq!(rig.stored(page).1, frame(MAC, 60, 91));
}

#[test]
fn a_long_packet_overflows_where_a_short_one_would_fit() {
    let mut rig = Rig::started();
    rig.write(BNRY, FIRST + 4);
    rig.receive(&frame(MAC, 700, 1));
    assert_eq!(rig.read(ISR), OVW | RST);
    assert_eq!(rig.curr(), FIRST + 1, "nothing of it is stored");
}
