//! Registers, EEPROM, PHY and statistics, against the manual.

use crate::rig::*;
use softnet_emulated::E1000Config;
use softnet_nic_hal::bus::PciDevice;

fn cold() -> Rig {
    Rig::cold(&E1000Config::new(MAC))
}

#[test]
fn registers_start_at_their_initial_values() {
    let rig = cold();
    for (register, value) in [
        (CTRL, 0x201),
        (STATUS, 1 << 11),
        (PBA, 0x0010_0030),
        (RCTL, 0),
        (TCTL, 0),
        (ICR, 0),
        (IMS, 0),
        (ITR, 0),
        (RDLEN, 0),
        (TDT, 0),
        (0x0038, 0x8100),
        (RAL, 0x1200_5452),
        (RAH, 0x8000_5634),
        (RAL + 8, 0),
        (MTA, 0),
    ] {
        assert_eq!(rig.r(register), value, "register {register:#x}");
    }
}

#[test]
fn reserved_bits_do_not_stick() {
    let rig = cold();
    for (register, kept) in [
        (RDBAL, 0xffff_fff0),
        (TDBAL, 0xffff_fff0),
        (RDLEN, 0x000f_ff80),
        (TDLEN, 0x000f_ff80),
        (RDH, 0xffff),
        (TDT, 0xffff),
        (RCTL, 0x06df_b3fe),
        (TCTL, 0x017f_fffa),
        (RDTR, 0xffff),
        (MTA + 0x1fc, 0xffff_ffff),
        (RAH + 15 * 8, 0x8003_ffff),
    ] {
        rig.w(register, u32::MAX);
        assert_eq!(rig.r(register), kept, "register {register:#x}");
    }
}

#[test]
fn a_software_reset_restores_all_but_the_packet_buffer_and_the_address() {
    let rig = Rig::new();
    let _ring = rig.rx_ring(8, SECRC);
    rig.w(PBA, 0x20);
    rig.w(RAL, 0xdead_beef);
    rig.w(IMS, LSC);
    rig.w(CTRL, RST | SLU);
    assert_eq!(rig.r(CTRL), 0x201, "RST clears itself");
    assert_eq!(rig.r(RCTL), 0);
    assert_eq!(rig.r(RDBAL), 0);
    assert_eq!(rig.r(IMS), 0);
    assert_eq!(rig.r(PBA), 0x20);
    assert_eq!(rig.r(RAL), 0x1200_5452, "from the EEPROM");
    assert_eq!(rig.r(STATUS) & 2, 0, "no link without SLU");
}

#[test]
fn the_io_window_reaches_the_same_registers() {
    let rig = cold();
    rig.dev.write32(2, 0, RDBAL);
    rig.dev.write32(2, 4, 0x1234_5670);
    assert_eq!(rig.r(RDBAL), 0x1234_5670);
    assert_eq!(rig.dev.read32(2, 4), 0x1234_5670);
    assert_eq!(rig.dev.read32(2, 0), RDBAL);
}

#[test]
fn narrow_reads_give_a_part_of_the_register() {
    let rig = cold();
    rig.w(RDBAH, 0x1234_5678);
    assert_eq!(rig.dev.read16(0, RDBAH + 2), 0x1234);
    assert_eq!(rig.dev.read8(0, RDBAH + 1), 0x56);
    assert_eq!(rig.dev.read16(0, RDBAH + 1), 0xffff, "unaligned");
}

#[test]
fn initial_values_agree_with_the_manual_and_two_other_models() {
    let rig = cold();
    for (register, value) in [
        // QEMU's list has discussed LEDCTL after the manual's table 13-60.
        (0x0e00, 0x0706_8302),
        // VirtualBox has TSPMT from revision 3.5 of the manual.
        (0x3830, 0x0100_0400),
        // Table 13-86: all thresholds are 0.
        (TXDCTL, 0),
    ] {
        assert_eq!(rig.r(register), value, "register {register:#x}");
    }
    for (number, value) in [
        (0, 0x1140),
        (1, 0x7949),
        (4, 0x0de1),
        (7, 0x2001),
        // QEMU and VirtualBox agree: no half duplex at 1000 Mbit/s.
        (9, 0x0e00),
        (15, 0x3000),
        // VirtualBox.
        (16, 0x0068),
        // QEMU and VirtualBox.
        (20, 0x0d60),
        // VirtualBox.
        (26, 0x000c),
    ] {
        assert_eq!(rig.phy_read(number), value, "PHY register {number}");
    }
}

#[test]
fn what_only_other_members_of_the_family_have_does_not_stick() {
    let rig = cold();
    for (register, kept) in [
        // Sections 13.4.23 and 13.4.24: XFCE is the 82544's and the 82541's. So
        // is XONE by its footnote; but then no XON could be sent, and drivers set
        // it on each member of the family.
        (0x2160, 0x8000_fff8),
        (0x2168, 0xfff8),
        // Table 13-87: bits 31 to 25 are reserved in RXDCTL; table 13-86 has a
        // threshold there.
        (0x2828, 0x013f_3f3f),
        (TXDCTL, 0xff3f_3f3f),
    ] {
        rig.w(register, u32::MAX);
        assert_eq!(rig.r(register), kept, "register {register:#x}");
    }
}

/// The manual calls ICS write-only; QEMU's model notes what the chip does.
#[test]
fn reading_ics_shows_the_causes_and_keeps_them() {
    let rig = cold();
    rig.w(ICS, LSC);
    assert_eq!(rig.r(ICS), LSC);
    assert_eq!(rig.r(ICR), LSC);
    assert_eq!(rig.r(ICS), 0);
}

/// Init control word 1 is loaded into CTRL, and the LED word into LEDCTL: the
/// registers must not begin with other values than the EEPROM has.
#[test]
fn the_eeprom_agrees_with_the_registers_that_are_loaded_from_it() {
    let rig = cold();
    let control = u32::from(eerd(&rig, 0x0a));
    assert_eq!(control >> 10 & 1, rig.r(CTRL) & 1, "full duplex");
    assert_eq!(control >> 9 & 1, rig.r(CTRL) >> 3 & 1, "link reset");
    assert_eq!(control >> 11 & 1, rig.r(CTRL) >> 11 & 1, "forced speed");
    assert_eq!(control >> 13 & 1, 1, "32-bit BARs");
    assert_eq!(rig.dev.config_read32(0x10) & 6, 0, "32-bit BARs");
    let leds = u32::from(eerd(&rig, 0x2f));
    assert_eq!(leds & 0xff, rig.r(0x0e00) & 0xff, "LED 0");
    assert_eq!(leds >> 8, rig.r(0x0e00) >> 16 & 0xff, "LED 2");
}

fn eerd(rig: &Rig, word: u32) -> u16 {
    rig.w(EERD, word << 8 | 1);
    let value = rig.r(EERD);
    assert_ne!(value & 1 << 4, 0, "done");
    (value >> 16) as u16
}

const SK: u32 = 1;
const CS: u32 = 1 << 1;
const DI: u32 = 1 << 2;
const DO: u32 = 1 << 3;
const REQ: u32 = 1 << 6;
const GNT: u32 = 1 << 7;

fn clock(rig: &Rig, bit: bool) -> bool {
    let lines = REQ | CS | if bit { DI } else { 0 };
    rig.w(EECD, lines);
    rig.w(EECD, lines | SK);
    let out = rig.r(EECD) & DO != 0;
    rig.w(EECD, lines);
    out
}

fn shift_out(rig: &Rig, value: u32, bits: u32) {
    for bit in (0..bits).rev() {
        clock(rig, value >> bit & 1 != 0);
    }
}

/// The Microwire command of `opcode` (with its start bit) and six address bits.
fn command(rig: &Rig, opcode: u32, address: u32) {
    rig.w(EECD, REQ);
    rig.w(EECD, REQ | CS);
    shift_out(rig, opcode << 6 | address, 9);
}

fn bit_bang_read(rig: &Rig, word: u32) -> u16 {
    command(rig, 0b110, word);
    assert_eq!(rig.r(EECD) & DO, 0, "a zero comes before the data");
    let value = (0..16).fold(0, |value, _| value << 1 | u16::from(clock(rig, false)));
    rig.w(EECD, 0);
    value
}

#[test]
fn the_eeprom_holds_the_address_and_adds_up_to_baba() {
    let rig = cold();
    let words: Vec<u16> = (0..64).map(|word| eerd(&rig, word)).collect();
    assert_eq!(words[..3], [0x5452, 0x1200, 0x5634]);
    assert_eq!(words[0x0a] >> 14, 1, "the signature");
    assert_eq!((words[0x0d], words[0x0e]), (0x100e, 0x8086));
    let sum = words
        .iter()
        .fold(0, |sum: u16, &word| sum.wrapping_add(word));
    assert_eq!(sum, 0xbaba);
}

#[test]
fn both_ways_to_the_eeprom_agree() {
    let rig = cold();
    rig.w(EECD, REQ);
    assert_ne!(rig.r(EECD) & GNT, 0);
    for word in 0..64 {
        assert_eq!(
            bit_bang_read(&rig, word),
            eerd(&rig, word),
            "word {word:#x}"
        );
    }
}

#[test]
fn the_eeprom_is_written_only_when_writing_was_enabled() {
    let rig = cold();
    let write = |value| {
        command(&rig, 0b101, 0x20);
        shift_out(&rig, value, 16);
        rig.w(EECD, 0);
    };
    write(0x1234);
    assert_eq!(eerd(&rig, 0x20), 0xffff);
    command(&rig, 0b100, 0b11_0000);
    write(0x1234);
    assert_eq!(eerd(&rig, 0x20), 0x1234);
    command(&rig, 0b100, 0b00_0000);
    write(0x5678);
    assert_eq!(eerd(&rig, 0x20), 0x1234);
}

#[test]
fn without_a_grant_the_eeprom_does_not_listen() {
    let rig = cold();
    command(&rig, 0b110, 0);
    rig.w(EECD, CS);
    assert_eq!(rig.r(EECD) & GNT, 0);
    assert_ne!(rig.r(EECD) & DO, 0, "idle");
}

#[test]
fn the_phy_is_an_m88e1011_at_address_1() {
    let rig = cold();
    assert_eq!(rig.phy_read(2), 0x0141);
    assert_eq!(rig.phy_read(3) & 0xfff0, 0x0c20);
    rig.w(MDIC, 2 << 26 | 2 << 21 | 2 << 16);
    assert_eq!(rig.r(MDIC) & 0xffff, 0xffff, "nobody at address 2");
    assert_ne!(rig.r(MDIC) & 1 << 30, 0);
}

#[test]
fn autonegotiation_ends_with_the_link_up_and_an_interrupt_cause() {
    let mut rig = cold();
    rig.w(CTRL, SLU);
    rig.step();
    assert_eq!(rig.phy_read(1) & 0x24, 0, "neither complete nor a link");
    assert_eq!(rig.r(STATUS) & 2, 0);
    let due = rig.step().next_event_ns.unwrap();
    rig.now_ns = due - 2;
    rig.step();
    assert_eq!(rig.r(STATUS) & 2, 0, "not before its time");
    rig.step();
    assert_eq!(rig.r(ICR), LSC);
    assert_eq!(rig.r(STATUS) & 0x2c3, 0x283, "up, full duplex, 1000 Mbit/s");
    assert_eq!(rig.phy_read(1) & 0x24, 0x24);
    assert_eq!(rig.phy_read(5), 0x4de1);
    assert_eq!(rig.phy_read(10), 0x3c00);
    assert_eq!(
        rig.phy_read(17) & 0xec00,
        0xac00,
        "1000, full, resolved, link"
    );
}

#[test]
fn time_given_by_delays_counts_for_autonegotiation() {
    let mut rig = cold();
    rig.w(CTRL, SLU);
    rig.step();
    rig.dev.delay_us(999);
    assert_eq!(rig.r(STATUS) & 2, 0);
    rig.dev.delay_us(1);
    assert_eq!(rig.r(STATUS) & 2, 2);
    assert_eq!(rig.r(ICR), LSC);
}

#[test]
fn a_restart_takes_the_link_down_and_brings_it_up_again() {
    let mut rig = Rig::new();
    rig.phy_write(0, 0x1340);
    assert_eq!(rig.r(ICR), LSC);
    assert_eq!(rig.r(STATUS) & 2, 0);
    rig.now_ns += 1_000_000;
    rig.step();
    assert_eq!(rig.r(STATUS) & 2, 2);
    assert_eq!(
        rig.phy_read(1) & 4,
        0,
        "the drop is latched until it is read"
    );
    assert_eq!(rig.phy_read(1) & 4, 4);
}

#[test]
fn what_is_advertised_decides_speed_and_duplex() {
    let speed_and_duplex = |advertise: u32, gigabit: u32| {
        let mut rig = Rig::new();
        rig.phy_write(4, advertise | 1);
        rig.phy_write(9, gigabit);
        rig.phy_write(0, 0x1340);
        rig.now_ns += 1_000_000;
        rig.step();
        (rig.r(STATUS) >> 6 & 3, rig.r(STATUS) & 3)
    };
    assert_eq!(speed_and_duplex(0x1e0, 0x300), (2, 3));
    assert_eq!(speed_and_duplex(0x1e0, 0x100), (2, 2), "half duplex");
    assert_eq!(speed_and_duplex(0x1e0, 0), (1, 3));
    assert_eq!(speed_and_duplex(0x060, 0), (0, 3));
    assert_eq!(speed_and_duplex(0x020, 0), (0, 2));
    assert_eq!(speed_and_duplex(0, 0), (0, 0), "nothing in common: no link");
}

#[test]
fn the_link_follows_the_cable() {
    let mut rig = Rig::new();
    rig.wire.set_carrier(false);
    rig.step();
    assert_eq!(rig.r(STATUS) & 2, 0);
    assert_eq!(rig.r(ICR), LSC);
    rig.wire.set_carrier(true);
    rig.step();
    rig.now_ns += 1_000_000;
    rig.step();
    assert_eq!(rig.r(STATUS) & 2, 2);
    assert_eq!(rig.r(ICR), LSC);
}

#[test]
fn statistics_clear_when_they_are_read() {
    let mut rig = Rig::new();
    let _ring = rig.rx_ring(16, SECRC | BAM);
    rig.deliver(&frame(MAC, 60));
    rig.deliver(&frame(MAC, 61));
    rig.deliver(&[0xff; 1000]);
    rig.deliver(&frame(softnet_nic_hal::MacAddress([2, 9, 9, 9, 9, 9]), 60));
    for (register, value) in [
        (GPRC, 3),
        (PRC64, 1),
        (PRC64 + 4, 1),
        (PRC64 + 16, 1),
        (BPRC, 1),
        (MPRC, 0),
        (TPR, 4),
        (GORCL, 64 + 65 + 1004),
        (TORL, 64 + 65 + 1004 + 64),
    ] {
        assert_eq!(rig.r(register), value, "register {register:#x}");
    }
    assert_eq!(rig.r(GPRC), 0);
    assert_eq!(rig.r(GORCL), 64 + 65 + 1004, "the low half does not clear");
    assert_eq!(rig.r(GORCH), 0);
    assert_eq!(rig.r(GORCL), 0, "the high half clears both");
}
