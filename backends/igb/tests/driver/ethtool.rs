//! What `ethtool` reaches.

use crate::fake::{CTRL, EERD, Fake, Faults, Open, STATUS, open, open_on, rx};
use softnet_igb::Igb;
use softnet_nic_hal::ethtool::{Coalesce, EthtoolOps, Features, Pause, SelfTest};
use softnet_nic_hal::{NicError, NicHal, QueueId};
use std::sync::Arc;

/// Stops the NIC, and opens it again.
fn reopen(open: &mut Open) {
    open.nic.stop().unwrap();
    let config = crate::fake::config(&open.pool, open.pairs.len() as u16, 8);
    open.pairs = open.nic.open(&config, open.stack.clone()).unwrap();
}

fn usecs(rx_usecs: u32, tx_usecs: u32) -> Coalesce {
    Coalesce { rx_usecs, tx_usecs }
}

#[test]
fn coalescing_holds_back_every_queue_and_not_the_link() {
    let mut open = open_on(Fake::new(), |config| config.queues = 2);
    open.nic.set_coalesce(&usecs(50, 0)).unwrap();
    for reopened in [false, true] {
        let intervals = [0, 1, 2].map(|vector| open.fake.value(0x1680 + 4 * vector));
        assert_eq!(intervals, [0, 50 << 2, 50 << 2], "reopened: {reopened}");
        reopen(&mut open);
    }
    open.nic.set_coalesce(&usecs(50, 20)).unwrap();
    assert_eq!(open.fake.value(0x1684), 20 << 2);
    assert_eq!(open.nic.coalesce().unwrap(), usecs(50, 20));
}

#[test]
fn each_queue_is_moderated_by_its_own_vector_within_what_the_chip_has() {
    let open = open_on(Fake::new(), |config| config.queues = 2);
    open.nic.moderate(QueueId(1), 20);
    open.nic.moderate(QueueId(7), 99);
    let intervals = || [0, 1, 2].map(|vector| open.fake.value(0x1680 + 4 * vector));
    assert_eq!(intervals(), [0, 0, 20 << 2]);
    open.nic.moderate(QueueId(0), u32::MAX);
    assert_eq!(intervals(), [0, 0x1fff << 2, 20 << 2]);
}

#[test]
fn coalescing_that_the_chip_cannot_do_is_refused_and_changes_nothing() {
    let open = open();
    for wrong in [usecs(8192, 0), usecs(0, 8192)] {
        let result = open.nic.set_coalesce(&wrong);
        assert!(matches!(result, Err(NicError::Unsupported(_))));
    }
    assert_eq!(open.nic.coalesce().unwrap(), usecs(0, 0));
    assert_eq!(open.fake.value(0x1684), 0);
}

#[test]
fn features_switch_the_receiver_and_outlast_a_stop() {
    let mut open = open();
    let FeatureStates { available, .. } = features(&open);
    open.nic
        .set_features(available - Features::RX_VLAN - Features::RX_CHECKSUM)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(open.fake.value(CTRL) & 1 << 30, 0);
        assert_eq!(open.fake.value(0x5000), 1 << 13);
        assert!(!open.nic.capabilities().rx_checksum);
        reopen(&mut open);
    }
    open.nic.set_features(available).unwrap();
    assert_ne!(open.fake.value(CTRL) & 1 << 30, 0);
    assert_eq!(open.fake.value(0x5000), 1 << 13 | 0b11 << 8);
    let result = open.nic.set_features(Features::RX_ALL);
    assert!(matches!(result, Err(NicError::Unsupported(_))));
    assert_eq!(features(&open).on, available);
}

struct FeatureStates {
    available: Features,
    on: Features,
}

fn features(open: &Open) -> FeatureStates {
    let set = open.nic.features();
    FeatureStates {
        available: set.available,
        on: set.on,
    }
}

#[test]
fn pause_frames_are_negotiated_and_obeyed_once_the_link_is_up() {
    let open = open();
    let (fake, both) = (&open.fake, 1 << 27 | 1 << 28);
    fake.set(STATUS, 0);
    let pause = Pause {
        autonegotiate: true,
        rx: true,
        tx: true,
    };
    open.nic.set_pause(pause).unwrap();
    assert_eq!(fake.phy(4) & 0b11 << 10, 0b01 << 10);
    // 64 KB of packet buffer, 16 of them for a pause to take effect.
    assert_eq!((fake.value(0x2168), fake.value(0x2160)), (49_152, 49_136));
    open.nic.watchdog(0);
    assert_eq!(fake.value(CTRL) & both, 0);
    // The partner takes part, or sends only, or does not.
    for (partner, expected) in [(1 << 10, both), (1 << 11, 0), (0, 0)] {
        fake.set_phy(5, partner);
        fake.set(STATUS, 0);
        open.nic.watchdog(0);
        fake.set(STATUS, 0x83);
        open.nic.watchdog(0);
        assert_eq!(fake.value(CTRL) & both, expected, "{partner:#x}");
    }
    assert_eq!(open.nic.pause().unwrap(), pause);
}

#[test]
fn pause_frames_that_are_not_negotiated_are_obeyed_at_once() {
    let open = open();
    let pause = Pause {
        autonegotiate: false,
        rx: true,
        tx: false,
    };
    open.nic.set_pause(pause).unwrap();
    assert_eq!(open.fake.value(CTRL) & (1 << 27 | 1 << 28), 1 << 27);
    assert_eq!(open.fake.value(0x2168), 0);
}

fn failed(tests: &[SelfTest]) -> Vec<&'static str> {
    let failed = tests.iter().filter(|test| test.result.is_err());
    failed.map(|test| test.name).collect()
}

#[test]
fn a_good_device_passes_the_self_test() {
    let fake = Fake::new();
    let nic = Igb::probe(fake.clone()).unwrap();
    fake.loop_packets();
    let tests = nic.self_test().unwrap();
    assert_eq!(tests.len(), 5);
    assert_eq!(failed(&tests), Vec::<&str>::new(), "{tests:?}");
    // Nothing of it is left.
    assert_eq!((fake.vectors(), fake.affinities().len()), (0, 0));
    assert_eq!(fake.value(0x100), 0);
}

#[test]
fn a_device_that_loops_nothing_or_loses_its_checksum_fails_the_self_test() {
    let fake = Fake::new();
    let nic = Igb::probe(fake.clone()).unwrap();
    fake.set_eeprom_word(7, 1);
    let failed = failed(&nic.self_test().unwrap());
    let expected = ["EEPROM test (offline)", "Loopback test (offline)"];
    assert_eq!(failed, expected);
}

#[test]
fn a_register_or_an_interrupt_that_does_not_work_fails_the_self_test() {
    let fake = Fake::new();
    let nic = Igb::probe(fake.clone()).unwrap();
    fake.loop_packets();
    fake.set_faults(Faults {
        no_irq: true,
        register_sticks: Some(0x2c),
        ..Faults::default()
    });
    let failed = failed(&nic.self_test().unwrap());
    let expected = ["Register test (offline)", "Interrupt test (offline)"];
    assert_eq!(failed, expected);
}

#[test]
fn an_open_device_is_tested_without_disturbing_it() {
    let open = open();
    open.fake.take_log();
    let tests = open.nic.self_test().unwrap();
    assert_eq!((tests.len(), failed(&tests).len()), (2, 0));
    assert!(open.fake.take_log().iter().all(|write| write.0 == EERD));
}

#[test]
fn a_device_that_is_gone_is_not_tested() {
    let open = open();
    open.fake.unplug();
    assert!(matches!(open.nic.self_test(), Err(NicError::Gone)));
    assert!(matches!(open.nic.eeprom(), Err(NicError::Gone)));
}

#[test]
fn dumps_have_registers_and_eeprom() {
    let fake = Fake::new();
    let open = open_on(fake, |config| config.queues = 2);
    let mut tails = Vec::new();
    open.fake.set(rx(1) + 0x18, 5);
    open.nic.registers(&mut |name, offset, value| {
        if name == "RDT" {
            tails.push((offset, value));
        }
    });
    assert_eq!(tails.len(), 16);
    assert_eq!(tails[1], (0xc058, 5));
    let words = open.nic.eeprom().unwrap();
    assert_eq!(words.len(), 64);
    let sum = words
        .iter()
        .fold(0_u16, |sum, word| sum.wrapping_add(*word));
    assert_eq!(sum, 0xbaba);
}

#[test]
fn the_control_plane_is_found_through_the_nic() {
    let nic: Arc<Igb<Fake>> = Igb::probe(Fake::new()).unwrap();
    assert!(nic.ethtool().is_some());
}
