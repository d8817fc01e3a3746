//! Loopback in the MAC and in the PHY, and what CTRL and the PHY say of the link.

use crate::rig::*;
use softnet_emulated::E1000Config;
use softnet_nic_hal::bus::PciDevice;

const COMMAND: u64 = EOP | IFCS | RS;
const PCTRL: u32 = 0;
const LOOPBACK: u32 = 1 << 14;
const GIGABIT: u32 = 1 << 6;
const FULL_DUPLEX: u32 = 1 << 8;

/// Sends a frame and receives it, and nothing from the wire.
fn goes_round(rig: &mut Rig, rctl: u32) {
    let rx = rig.rx_ring(8, SECRC | rctl);
    let mut tx = rig.tx_ring(8, PSP);
    let sent = frame(MAC, 80);
    tx.put(&sent, COMMAND);
    tx.ring_doorbell(rig);
    rig.wire.push(&frame(MAC, 90));
    assert!(rig.step().again, "it is on its way back");
    rig.settle();
    assert_eq!(rx.bytes(0), sent);
    assert!(!rx.done(1), "the wire is not heard");
    assert!(rig.wire.sent().is_empty());
    assert_eq!((rig.r(GPTC), rig.r(GPRC)), (1, 1));
}

#[test]
fn the_mac_returns_frames_without_a_link() {
    let mut rig = Rig::cold(&E1000Config::new(MAC));
    rig.dev.set_bus_master(true);
    rig.wire.set_carrier(false);
    goes_round(&mut rig, 1 << 6);
}

#[test]
fn the_phy_returns_frames_without_a_cable() {
    let mut rig = Rig::cold(&E1000Config::new(MAC));
    rig.dev.set_bus_master(true);
    rig.wire.set_carrier(false);
    rig.w(CTRL, SLU | 1);
    rig.phy_write(PCTRL, LOOPBACK | GIGABIT | FULL_DUPLEX);
    assert_ne!(rig.r(STATUS) & 2, 0);
    goes_round(&mut rig, 3 << 6);
    rig.phy_write(PCTRL, GIGABIT | FULL_DUPLEX);
    assert_eq!(rig.r(STATUS) & 2, 0);
}

/// Linux's self test sends as many before it looks at any.
#[test]
fn nothing_is_lost_on_the_way_back_however_much_is_sent_at_once() {
    let mut rig = Rig::new();
    let _rx = rig.rx_ring(128, SECRC | 1 << 6);
    let mut tx = rig.tx_ring(128, PSP);
    for _ in 0..100 {
        tx.put(&frame(MAC, 1514), COMMAND);
    }
    tx.ring_doorbell(&rig);
    rig.settle();
    assert_eq!((rig.r(GPTC), rig.r(GPRC), rig.r(MPC)), (100, 100, 0));
    assert_eq!(rig.nic.counters().wire_tx_lost, 0);
}

#[test]
fn after_loopback_the_wire_is_heard_again_and_what_was_on_its_way_is_gone() {
    let mut rig = Rig::new();
    let rx = rig.rx_ring(8, SECRC | 1 << 6);
    let mut tx = rig.tx_ring(8, PSP);
    tx.put(&frame(MAC, 80), COMMAND);
    tx.ring_doorbell(&rig);
    rig.step();
    rig.w(RCTL, SECRC | EN);
    let heard = frame(MAC, 90);
    rig.deliver(&heard);
    rig.w(RCTL, SECRC | EN | 1 << 6);
    rig.settle();
    assert_eq!(rx.bytes(0), heard);
    assert!(!rx.done(1));
}

#[test]
fn status_shows_the_speed_and_the_duplex_that_ctrl_forces() {
    let rig = Rig::new();
    assert_eq!(rig.r(STATUS) & 0xc1, 0x81);
    // Speed 100, forced; half duplex, forced.
    rig.w(CTRL, SLU | 1 << 8 | 1 << 11 | 1 << 12);
    assert_eq!(rig.r(STATUS) & 0xc1, 0x40);
    // The same, not forced: what the PHY has.
    rig.w(CTRL, SLU | 1 << 8);
    assert_eq!(rig.r(STATUS) & 0xc1, 0x81);
}

#[test]
fn the_phy_interrupts_for_what_it_was_asked_to() {
    let mut rig = Rig::new();
    rig.phy_read(19);
    // Link status.
    rig.phy_write(18, 1 << 10);
    rig.wire.set_carrier(false);
    rig.step();
    assert_ne!(rig.r(ICR) & PHYINT, 0);
    assert_eq!(rig.phy_read(19), 1 << 10 | 1 << 13 | 1 << 14);
    assert_eq!(rig.phy_read(19), 0, "reading clears");
    rig.phy_write(18, 0);
    rig.wire.set_carrier(true);
    rig.step();
    rig.now_ns += 10_000_000;
    rig.step();
    assert_eq!(rig.r(ICR) & PHYINT, 0);
    assert_eq!(
        rig.phy_read(19),
        0x1f << 10,
        "also autonegotiation, and a page"
    );
}

#[test]
fn ee_rst_reads_the_station_address_from_the_eeprom_again() {
    let rig = Rig::new();
    rig.w(RAL, 0);
    rig.w(CTRL_EXT, 1 << 13);
    assert_eq!(rig.r(CTRL_EXT), 0, "it clears itself");
    assert_eq!(rig.r(RAL), 0x1200_5452);
}
