//! Registers, EEPROM, PHY, link.

use crate::rig::*;
use softnet_emulated::IgbConfig;
use softnet_nic_hal::bus::{BarInfo, BarKind, PciDevice};

#[test]
fn the_function_is_the_one_of_the_datasheet() {
    let rig = Rig::cold(&IgbConfig::new(MAC));
    let ids = rig.dev.ids();
    assert_eq!((ids.vendor, ids.device), (0x8086, 0x10c9));
    let bar = |kind, len| Some(BarInfo { kind, len });
    assert_eq!(rig.dev.bar(0), bar(BarKind::Memory, 0x2_0000));
    assert_eq!(rig.dev.bar(2), bar(BarKind::Io, 32));
    assert_eq!(rig.dev.bar(3), bar(BarKind::Memory, 0x4000));
}

#[test]
fn the_capabilities_are_power_msi_msix_and_express() {
    let rig = Rig::cold(&IgbConfig::new(MAC));
    let mut at = rig.dev.config_read32(0x34) as u16 & 0xff;
    let mut found = Vec::new();
    while at != 0 {
        let word = rig.dev.config_read32(at);
        found.push((at, word & 0xff));
        at = (word >> 8) as u16 & 0xff;
    }
    found.sort_unstable();
    assert_eq!(found, [(0x40, 1), (0x50, 5), (0x70, 0x11), (0xa0, 0x10)]);
    // Ten vectors: the table's size less one.
    assert_eq!(rig.dev.config_read32(0x70) >> 16 & 0x7ff, 9);
}

#[test]
fn the_registers_begin_as_the_datasheet_says() {
    let rig = Rig::cold(&IgbConfig::new(MAC));
    for (register, value) in [
        (VET, 0x8100_8100),
        (RXCSUM, 0x300),
        (RLPML, 0x2600),
        (0x2404, 0x40),
        (0x3404, 0x28),
        (DTXTCPFLGL, 0x0f76_0ff6),
        (DTXTCPFLGL + 4, 0x0f7f),
        (RX + DCTL, ENABLE | 1 << 16),
        (RX + 0x40 + DCTL, 1 << 16),
        (TX + DCTL, ENABLE),
        (TX + 0x40 + DCTL, 0),
        (RAL, 0x1200_5452),
        (RAL + 4, 0x8000_5634),
    ] {
        assert_eq!(rig.r(register), value, "{register:#x}");
    }
}

#[test]
fn the_first_four_queues_have_a_second_address() {
    let rig = Rig::new();
    for queue in 0..4 {
        for (alias, register) in [(0x2800, RX), (0x3800, TX)] {
            let (alias, register) = (alias + queue * 0x100, register + queue * 0x40);
            rig.w(alias + BAL, 0x1000 * (queue + 1));
            assert_eq!(rig.r(register + BAL), 0x1000 * (queue + 1));
            rig.w(register + LEN, 256);
            assert_eq!(rig.r(alias + LEN), 256);
            rig.w(alias + DCTL, ENABLE);
            assert_ne!(rig.r(register + DCTL) & ENABLE, 0);
        }
    }
    rig.w(0x2c00 + BAL, 0xffff_ffff);
    assert_eq!(rig.r(RX + 4 * 0x40), 0, "the fifth has none");
}

#[test]
fn registers_hold_what_they_have_bits_for() {
    let rig = Rig::new();
    for (register, mask) in [
        (0x28, u32::MAX),
        (0x2c, 0xffff),
        (0x30, 0xffff),
        (VET, u32::MAX),
        (RX + 5 * 0x40 + BAL, 0xffff_ff80),
        (RX + 5 * 0x40 + BAH, u32::MAX),
        (RX + 5 * 0x40 + LEN, 0x000f_fff0),
        (RX + 5 * 0x40 + TAIL, 0xffff),
        (TX + 5 * 0x40 + BAL, 0xffff_ff80),
        (TX + 5 * 0x40 + LEN, 0x000f_fff0),
        (0x170, 0xffff),
        (0x410, 0x3fff_ffff),
        (RAL + 8, u32::MAX),
        (RAL + 12, 0x83ff_ffff),
        (RAL16 + 4, 0x83ff_ffff),
        (MTA, u32::MAX),
        (RETA, u32::MAX),
        (RSSRK, u32::MAX),
        (EITR + 4, 0x001f_fffc),
        (IVAR, 0x9f9f_9f9f),
        (0x1f000, 0),
    ] {
        rig.w(register, u32::MAX);
        assert_eq!(rig.r(register), mask, "{register:#x}");
        rig.w(register, 0);
        assert_eq!(rig.r(register), 0, "{register:#x}");
    }
}

#[test]
fn ctrl_holds_what_is_written_but_for_the_resets() {
    let rig = Rig::new();
    rig.w(CTRL, SLU | VME | 1 << 31);
    assert_eq!(rig.r(CTRL), SLU | VME);
    assert_eq!(rig.r(4), SLU | VME, "the duplicate");
}

#[test]
fn a_software_reset_leaves_the_phy_and_the_packet_buffers() {
    let mut rig = Rig::new();
    rig.w(0x2404, 0x20);
    rig.w(MRQC, 2);
    rig.w(IMS, LSC);
    rig.phy_write(4, 0x01e1);
    rig.w(CTRL, RST);
    assert_eq!(rig.r(0x2404), 0x20);
    assert_eq!(rig.phy_read(4), 0x01e1);
    assert_eq!((rig.r(MRQC), rig.r(IMS), rig.r(ICR)), (0, 0, 0));
    assert_eq!(rig.r(CTRL) & RST, 0, "it clears itself");
    assert_eq!(rig.r(STATUS) & 2, 0, "the link is down");
    rig.w(CTRL, SLU);
    rig.step();
    assert_ne!(rig.r(STATUS) & 2, 0, "the PHY has gone on");
}

#[test]
fn a_function_level_reset_resets_the_phy_too() {
    let mut rig = Rig::new();
    rig.phy_write(4, 0x01e1);
    rig.w(RETA, 0x0102_0304);
    // Initiate Function Level Reset, in the device control register.
    rig.dev.config_write32(0xa8, 1 << 15);
    assert_eq!(rig.r(RETA), u32::MAX, "it decodes no memory");
    rig.dev.config_write32(4, 7);
    assert_eq!(rig.r(RETA), 0);
    assert_eq!(rig.phy_read(4), 0x0de1);
    rig.step();
    assert_eq!(rig.r(STATUS) & 2, 0);
}

#[test]
fn io_ports_reach_the_registers() {
    let rig = Rig::new();
    rig.dev.write32(2, 0, MTA);
    rig.dev.write32(2, 4, 0x1234_5678);
    assert_eq!(rig.r(MTA), 0x1234_5678);
    assert_eq!(rig.dev.read32(2, 0), MTA);
    assert_eq!(rig.dev.read32(2, 4), 0x1234_5678);
}

#[test]
fn reading_the_semaphore_takes_it() {
    let rig = Rig::new();
    assert_eq!(rig.r(SWSM) & 1, 0);
    assert_eq!(rig.r(SWSM) & 1, 1, "somebody has it now");
    rig.w(SWSM, 2);
    assert_eq!(rig.r(SWSM), 2, "the other bit is software's alone");
}

fn eeprom_word(rig: &Rig, at: u32) -> u16 {
    rig.w(EERD, at << 2 | 1);
    let value = rig.r(EERD);
    assert_ne!(value & 2, 0, "done");
    (value >> 16) as u16
}

#[test]
fn the_eeprom_holds_the_address_and_adds_up() {
    let rig = Rig::cold(&IgbConfig::new(MAC));
    let words = [0, 1, 2].map(|at| eeprom_word(&rig, at).to_le_bytes());
    assert_eq!(words.concat(), MAC.0);
    let sum = (0..0x40).fold(0u16, |sum, at| sum.wrapping_add(eeprom_word(&rig, at)));
    assert_eq!(sum, 0xbaba);
    assert_eq!(rig.r(EECD) & 0x300, 0x300, "present, and loaded");
}

#[test]
fn a_word_can_be_written_by_its_address() {
    let rig = Rig::new();
    rig.w(EEWR, 0xbeef << 16 | 0x50 << 2 | 1);
    assert_ne!(rig.r(EEWR) & 2, 0, "done");
    assert_eq!(eeprom_word(&rig, 0x50), 0xbeef);
}

/// The pins of the EEPROM: clock, select (low), data in and out, request.
struct Pins<'a>(&'a Rig);

impl Pins<'_> {
    const REQ: u32 = 1 << 6;
    const CS: u32 = 1 << 1;

    fn set(&self, bits: u32) {
        self.0.w(EECD, Self::REQ | bits);
    }

    fn byte(&self, out: u8) -> u8 {
        (0..8).rev().fold(0, |sum, bit| {
            let data = u32::from(out >> bit & 1) << 2;
            self.set(data);
            let came = self.0.r(EECD) >> 3 & 1;
            self.set(data | 1);
            sum << 1 | came as u8
        })
    }

    /// A command, and `answer` bytes after it.
    fn command(&self, bytes: &[u8], answer: usize) -> Vec<u8> {
        self.set(0);
        bytes.iter().for_each(|&byte| {
            self.byte(byte);
        });
        let answer = (0..answer).map(|_| self.byte(0)).collect();
        self.set(Self::CS);
        answer
    }
}

#[test]
fn the_eeprom_is_written_and_read_by_its_pins() {
    let rig = Rig::new();
    let pins = Pins(&rig);
    pins.command(&[2, 0, 0xa0, 1, 2], 0);
    assert_eq!(eeprom_word(&rig, 0x50), 0xffff, "writing is not enabled");
    pins.command(&[6], 0);
    assert_eq!(pins.command(&[5], 1), [2], "enabled, and not busy");
    pins.command(&[2, 0, 0xbf, 1, 2], 0);
    assert_eq!(pins.command(&[5], 1), [0], "a write ends it");
    assert_eq!(pins.command(&[3, 0, 0xbe], 3), [0xff, 1, 0xff]);
    // The second byte wrapped within the page of 32.
    assert_eq!(pins.command(&[3, 0, 0xa0], 1), [2]);
}

#[test]
fn the_phy_is_the_internal_one() {
    let rig = Rig::new();
    assert_eq!((rig.phy_read(2), rig.phy_read(3)), (0x02a8, 0x0391));
    rig.w(MDIC, 2 << 26 | 2 << 21 | 2 << 16);
    assert_ne!(rig.r(MDIC) & 1 << 30, 0, "nobody at another address");
}

#[test]
fn the_link_comes_with_autonegotiation_and_says_so() {
    let mut rig = Rig::cold(&IgbConfig::new(MAC));
    rig.w(CTRL, SLU | 1);
    rig.step();
    assert_eq!(rig.r(STATUS) & 2, 0);
    assert_eq!(rig.phy_read(1) & 0x24, 0);
    rig.now_ns += 1_000_000;
    rig.step();
    // Full duplex, link, 1000 Mbit/s.
    assert_eq!(rig.r(STATUS) & 0xc3, 0x83);
    assert_eq!(rig.phy_read(1) & 0x24, 0x24);
    // Both receivers are fine.
    assert_eq!(rig.phy_read(10) & 0x3000, 0x3000);
    assert_eq!(rig.r(ICR) & LSC, LSC);
    rig.wire.set_carrier(false);
    rig.step();
    assert_eq!(rig.r(STATUS) & 2, 0);
    assert_eq!(rig.r(ICR) & LSC, LSC);
}

#[test]
fn a_page_of_the_phy_hides_its_own_registers() {
    let rig = Rig::new();
    assert_eq!(rig.phy_read(17) >> 14, 3, "1000 Mbit/s");
    rig.phy_write(31, 0x11b1);
    assert_ne!(rig.phy_read(17) >> 9 & 0x7f, 0, "a cable's length");
    assert_eq!(rig.phy_read(2), 0x02a8, "the standard's are in all pages");
    rig.phy_write(31, 0);
    assert_eq!(rig.phy_read(17) >> 14, 3);
}

#[test]
fn without_bus_mastering_status_says_so() {
    let rig = Rig::new();
    assert_ne!(rig.r(STATUS) & 1 << 19, 0);
    rig.w(CTRL, SLU | 1 | 1 << 2);
    assert_eq!(rig.r(STATUS) & 1 << 19, 0);
}

#[test]
fn queues_beyond_those_of_the_card_stay_off() {
    let config = IgbConfig {
        queues: 2,
        ..IgbConfig::new(MAC)
    };
    let rig = Rig::with(&config);
    for (queue, on) in [(1, ENABLE), (2, 0)] {
        for at in [RX, TX].map(|first| first + queue * 0x40 + DCTL) {
            rig.w(at, ENABLE);
            assert_eq!(rig.r(at) & ENABLE, on);
        }
    }
}
