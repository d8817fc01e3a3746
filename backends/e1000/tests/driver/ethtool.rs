//! What `ethtool` reaches.

use crate::fake::{Fake, Open, TDBAL, open, pool};
use softnet_dma_ring::DmaRing;
use softnet_e1000::E1000;
use softnet_nic_hal::ethtool::{Coalesce, EthtoolOps, Features, Pause};
use softnet_nic_hal::{NicError, NicHal};

const CTRL: u32 = 0x0000;
const STATUS: u32 = 0x0008;
const ITR: u32 = 0x00c4;
const TIDV: u32 = 0x3820;
const TADV: u32 = 0x382c;
const RXCSUM: u32 = 0x5000;
const IDE: u64 = 1 << 31;
const RFCE: u32 = 1 << 27;
const TFCE: u32 = 1 << 28;

fn ethtool(open: &Open) -> &dyn EthtoolOps {
    open.nic.ethtool().unwrap()
}

fn send(open: &mut Open) {
    let mut frame = open.pool.alloc().unwrap();
    frame.put(60).unwrap().fill(1);
    open.pair.tx.post(frame).unwrap();
    open.pair.tx.kick();
}

#[test]
fn intervals_go_to_itr_and_to_the_transmit_timers() {
    let mut open = open();
    send(&mut open);
    assert_eq!(open.fake.descriptor(TDBAL, 0).1 & IDE, 0);
    let asked = Coalesce {
        rx_usecs: 64,
        tx_usecs: 1024,
    };
    ethtool(&open).set_coalesce(&asked).unwrap();
    assert_eq!(ethtool(&open).coalesce().unwrap(), asked);
    let value = |register| open.fake.value(register);
    assert_eq!((value(ITR), value(TIDV), value(TADV)), (250, 1000, 1000));
    send(&mut open);
    assert_ne!(open.fake.descriptor(TDBAL, 1).1 & IDE, 0);
}

#[test]
fn an_interval_that_the_registers_cannot_hold_is_refused() {
    let open = open();
    for (rx_usecs, tx_usecs) in [(17_000, 0), (0, 70_000)] {
        let asked = Coalesce { rx_usecs, tx_usecs };
        let refused = ethtool(&open).set_coalesce(&asked);
        assert!(matches!(refused, Err(NicError::Unsupported(_))));
    }
    assert_eq!(ethtool(&open).coalesce().unwrap(), Coalesce::default());
}

#[test]
fn settings_last_over_a_stop() {
    let Open {
        fake,
        nic,
        stack,
        pair,
        ..
    } = open();
    let asked = Coalesce {
        rx_usecs: 128,
        tx_usecs: 0,
    };
    let control = nic.ethtool().unwrap();
    control.set_coalesce(&asked).unwrap();
    control.set_features(Features::TX_CHECKSUM).unwrap();
    nic.stop().unwrap();
    drop(pair);
    fake.set(ITR, 0);
    let pool = pool();
    let _pairs = nic.open(&crate::fake::config(&pool, 8), stack).unwrap();
    assert_eq!((fake.value(ITR), fake.value(RXCSUM)), (500, 0));
    let capabilities = nic.capabilities();
    assert!(capabilities.tx_checksum && !capabilities.rx_checksum);
    assert!(!capabilities.tx_segmentation && !capabilities.vlan);
}

#[test]
fn offloads_that_the_chip_has_not_are_refused() {
    let open = open();
    let before = ethtool(&open).features();
    for asked in [Features::RX_HASH, Features::RX_ALL | Features::RX_CHECKSUM] {
        assert!(ethtool(&open).set_features(asked).is_err());
    }
    assert_eq!(ethtool(&open).features(), before);
}

#[test]
fn tags_are_switched_in_both_directions_at_once() {
    let open = open();
    ethtool(&open).set_features(Features::RX_VLAN).unwrap();
    let both = Features::RX_VLAN | Features::TX_VLAN;
    assert_eq!(ethtool(&open).features().on, both);
    ethtool(&open).set_features(Features::TX_VLAN).unwrap();
    assert_eq!(ethtool(&open).features().on, Features::empty());
    assert_eq!(open.fake.value(CTRL) & 1 << 30, 0);
}

#[test]
fn forced_pause_is_in_ctrl_at_once() {
    let open = open();
    for (rx, tx) in [(true, true), (true, false), (false, true), (false, false)] {
        let pause = Pause {
            autonegotiate: false,
            rx,
            tx,
        };
        ethtool(&open).set_pause(pause).unwrap();
        assert_eq!(ethtool(&open).pause().unwrap(), pause);
        let ctrl = open.fake.value(CTRL);
        assert_eq!((ctrl & RFCE != 0, ctrl & TFCE != 0), (rx, tx));
    }
}

/// IEEE 802.3, table 28B-3.
#[test]
fn negotiated_pause_is_what_both_partners_agree_on() {
    const PAUSE: u16 = 1 << 10;
    const ASYMMETRIC: u16 = 1 << 11;
    for (rx, tx, advertised, partner, agreed) in [
        (true, true, PAUSE | ASYMMETRIC, PAUSE, (true, true)),
        (true, true, PAUSE | ASYMMETRIC, ASYMMETRIC, (true, false)),
        (true, false, PAUSE | ASYMMETRIC, PAUSE, (true, false)),
        (false, true, ASYMMETRIC, PAUSE | ASYMMETRIC, (false, true)),
        (false, true, ASYMMETRIC, PAUSE, (false, false)),
        (true, true, PAUSE | ASYMMETRIC, 0, (false, false)),
        (false, false, 0, PAUSE | ASYMMETRIC, (false, false)),
    ] {
        let open = open();
        open.fake.set_phy(0, 0x1140);
        open.fake.set_phy(4, 0x01e1);
        open.fake.set_phy(5, 0x41e1 | partner);
        let pause = Pause {
            autonegotiate: true,
            rx,
            tx,
        };
        ethtool(&open).set_pause(pause).unwrap();
        assert_eq!(open.fake.phy(4), 0x01e1 | advertised);
        let restarted = open.fake.phy(0) & 1 << 9 != 0;
        assert_eq!(restarted, advertised != 0, "something changed");
        assert_eq!(open.fake.value(CTRL) & (RFCE | TFCE), 0, "not yet");
        assert!(open.nic.watchdog(0).link.up);
        let ctrl = open.fake.value(CTRL);
        let have = (ctrl & RFCE != 0, ctrl & TFCE != 0);
        assert_eq!(have, agreed, "{rx} {tx} with {partner:#x}");
    }
}

#[test]
fn a_paused_transmitter_does_not_hang() {
    let mut open = open();
    send(&mut open);
    open.fake.set(STATUS, 0x83 | 1 << 4);
    for second in 0..10 {
        let report = open.nic.watchdog(second * 1_000_000_000);
        assert_eq!(report.tx_hang, None);
    }
    open.fake.set(STATUS, 0x83);
    let hangs = (10..20).any(|s| open.nic.watchdog(s * 1_000_000_000).tx_hang.is_some());
    assert!(hangs);
}

#[test]
fn the_dump_names_registers_and_has_no_side_effect() {
    let open = open();
    open.fake.raise(1 << 7);
    let mut seen = Vec::new();
    ethtool(&open).registers(&mut |name, offset, value| seen.push((name, offset, value)));
    assert!(seen.contains(&("STATUS", 8, 0x83)));
    assert!(seen.contains(&("RDLEN", 0x2808, 128)));
    assert!(seen.iter().all(|&(_, offset, _)| offset != 0xc0), "not ICR");
    assert!(
        seen.iter()
            .all(|&(_, at, _)| !(0x4000..0x4100).contains(&at))
    );
}

#[test]
fn the_eeprom_is_read_word_by_word() {
    let fake = Fake::new();
    let nic = E1000::probe(fake).unwrap();
    let words = nic.ethtool().unwrap().eeprom().unwrap();
    assert_eq!(words.len(), 64);
    assert_eq!(words[..3], [0x5452, 0x1200, 0x5634]);
}

#[test]
fn an_open_nic_is_tested_as_far_as_that_disturbs_nobody() {
    let open = open();
    open.fake.take_log();
    let tests = ethtool(&open).self_test().unwrap();
    let names: Vec<_> = tests.iter().map(|test| test.name).collect();
    assert_eq!(names, ["eeprom", "link"]);
    assert!(tests.iter().all(|test| test.result.is_ok()));
    const EERD: u32 = 0x14;
    assert!(
        open.fake
            .take_log()
            .iter()
            .all(|&(register, _)| register == EERD)
    );
}

#[test]
fn a_self_test_finds_a_wrong_eeprom_and_a_missing_link() {
    let open = open();
    open.fake.set_eeprom_word(20, 0x1111);
    open.fake.set(STATUS, 0);
    let tests = ethtool(&open).self_test().unwrap();
    assert!(tests.iter().all(|test| test.result.is_err()));
}

#[test]
fn the_second_function_has_the_next_address() {
    let fake = Fake::with_device(0x1010);
    fake.set(STATUS, 0x83 | 1 << 2);
    let nic = E1000::probe(fake).unwrap();
    assert_eq!(nic.capabilities().mac.0, [0x52, 0x54, 0, 0x12, 0x34, 0x57]);
}
