//! Remote DMA: PROM, packet memory, and the send packet command.

use crate::rig::*;
use softnet_nic_hal::bus::PciDevice;

#[test]
fn the_prom_gives_the_address_byte_by_byte_in_word_mode() {
    let rig = Rig::started();
    rig.begin(0, 32, RREAD);
    // A narrow access moves a word, of which it sees the first half.
    let bytes: Vec<u8> = (0..16).map(|_| rig.read(DATA)).collect();
    assert_eq!((&bytes[..6], &bytes[14..]), (&MAC[..], &[0x57; 2][..]));
    assert_eq!(rig.read(ISR), RDC);
}

#[test]
fn in_byte_mode_each_byte_of_the_prom_comes_twice() {
    let rig = Rig::started();
    rig.write(DCR, 0x48);
    rig.begin(0, 12, RREAD);
    let bytes: Vec<u8> = (0..12).map(|_| rig.read(DATA)).collect();
    assert!(
        bytes
            .chunks(2)
            .zip(MAC)
            .all(|(pair, byte)| pair == [byte; 2])
    );
}

#[test]
fn the_prom_cannot_be_written() {
    let rig = Rig::started();
    rig.set_memory(0, &[0xee; 12]);
    assert_eq!(rig.memory(0, 2), [MAC[0]; 2]);
}

#[test]
fn what_is_written_is_read_at_every_width() {
    let rig = Rig::started();
    let bytes: Vec<u8> = (1..=16).collect();
    rig.begin(0x4000, 16, RWRITE);
    rig.nic.write32(0, DATA, u32::from_le_bytes([1, 2, 3, 4]));
    rig.nic.write16(0, DATA, u16::from_le_bytes([5, 6]));
    rig.nic.write32(0, DATA, u32::from_le_bytes([7, 8, 9, 10]));
    for pair in bytes[10..].chunks(2) {
        rig.nic
            .write16(0, DATA, u16::from_le_bytes([pair[0], pair[1]]));
    }
    assert_eq!(rig.memory(0x4000, 16), bytes);
    rig.begin(0x4000, 8, RREAD);
    let wide = [rig.nic.read32(0, DATA), rig.nic.read32(0, DATA)];
    assert_eq!(wide, [0x0403_0201, 0x0807_0605]);
}

#[test]
fn both_ends_of_the_packet_memory_are_there_and_nothing_beyond() {
    let rig = Rig::started();
    rig.set_memory(0x4000, &[1, 2]);
    rig.set_memory(0xbffe, &[3, 4]);
    rig.set_memory(0xc000, &[5, 6]);
    let seen = [0x3ffe, 0x4000, 0xbffe, 0xc000].map(|at| rig.memory(at, 2));
    assert_eq!(seen, [[0xff; 2], [1, 2], [3, 4], [0xff; 2]]);
}

#[test]
fn a_transfer_ends_with_its_count_and_then_the_port_floats() {
    let rig = Rig::started();
    rig.set_memory(0x4000, &[1, 2, 3, 4]);
    rig.begin(0x4000, 2, RREAD);
    assert_eq!(rig.read(ISR) & RDC, 0);
    assert_eq!(rig.nic.read16(0, DATA), 0x0201);
    assert_eq!(rig.read(ISR) & RDC, RDC);
    assert_eq!(rig.nic.read16(0, DATA), 0xffff);
    rig.nic.write16(0, DATA, 0xeeee);
    assert_eq!(rig.memory(0x4000, 4), [1, 2, 3, 4]);
}

#[test]
fn a_transfer_of_nothing_is_complete_at_once() {
    let rig = Rig::started();
    rig.begin(0x4000, 0, RWRITE);
    assert_eq!(rig.read(ISR), RDC);
}

#[test]
fn the_current_address_can_be_read_and_an_abort_ends_the_transfer() {
    let rig = Rig::started();
    rig.begin(0x4010, 100, RREAD);
    rig.nic.read32(0, DATA);
    assert_eq!([RSAR0, RSAR0 + 1].map(|at| rig.read(at)), [0x14, 0x40]);
    rig.write(CR, START);
    assert_eq!(rig.nic.read16(0, DATA), 0xffff);
    assert_eq!(rig.read(ISR) & RDC, 0);
}

#[test]
fn behind_the_rings_last_page_comes_its_first() {
    let rig = Rig::started();
    rig.set_memory(0x5f00, &[0xaa; 256]);
    rig.set_memory(0x5000, &[0xbb; 256]);
    rig.set_memory(0x6000, &[0xcc; 2]);
    let bytes = rig.memory(0x5ffc, 8);
    assert_eq!(bytes, [0xaa, 0xaa, 0xaa, 0xaa, 0xbb, 0xbb, 0xbb, 0xbb]);
}

#[test]
fn send_packet_reads_the_oldest_packet_and_removes_it() {
    let mut rig = Rig::started();
    // The command begins where BNRY is.
    rig.on_page(1, || rig.write(CURR, FIRST));
    for seed in 1..3 {
        rig.receive(&frame(MAC, 100, seed));
    }
    for seed in 1..3 {
        rig.write(CR, 2 | SEND_PACKET);
        let words = (0..52).flat_map(|_| rig.nic.read16(0, DATA).to_le_bytes());
        let bytes: Vec<u8> = words.collect();
        assert_eq!(bytes[4..], frame(MAC, 100, seed));
        assert_eq!(rig.read(BNRY), FIRST + seed);
    }
}
