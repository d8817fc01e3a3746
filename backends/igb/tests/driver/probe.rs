//! Binding the driver: what it wants to see, and what it says otherwise.

use crate::fake::{Fake, Faults, MAC, SW_FW_SYNC, SWSM};
use softnet_igb::{ID_TABLE, Igb, ProbeError};
use softnet_nic_hal::bus::BusError;
use softnet_nic_hal::{MacAddress, NicError, NicHal};
use std::sync::Arc;

fn refusal(fake: &Arc<Fake>) -> ProbeError {
    let error = Igb::probe(fake.clone()).unwrap_err();
    assert!(!fake.bus_master(), "the function may still do DMA");
    error
}

fn with_faults(faults: Faults) -> Arc<Fake> {
    let fake = Fake::new();
    fake.set_faults(faults);
    fake
}

#[test]
fn the_address_is_found_and_the_phy_is_known() {
    let fake = Fake::new();
    let nic = Igb::probe(fake.clone()).unwrap();
    assert_eq!(nic.capabilities().mac, MacAddress(MAC));
    assert_eq!(nic.phy_id(), 0x02a8_0391);
    assert!(fake.bus_master());
}

#[test]
fn the_phy_is_given_back_after_it_was_read() {
    let fake = Fake::new();
    Igb::probe(fake.clone()).unwrap();
    assert_eq!(fake.value(SW_FW_SYNC), 0);
    assert_eq!(fake.value(SWSM) & 2, 0);
}

#[test]
fn a_chip_has_as_many_queues_as_its_datasheet_says() {
    let queues = |device| {
        let nic = Igb::probe(Fake::with_device(device)).unwrap();
        (nic.capabilities().max_queues, nic.capabilities().timestamps)
    };
    assert_eq!(queues(0x10c9), (16, true));
    assert_eq!(queues(0x1533), (4, false));
}

#[test]
fn an_eeprom_that_does_not_answer_is_an_error() {
    let fake = with_faults(Faults {
        eerd_never_done: true,
        ..Faults::default()
    });
    assert_eq!(refusal(&fake), ProbeError::EepromTimeout);
}

#[test]
fn a_wrong_checksum_is_an_error_that_names_the_sum() {
    let fake = Fake::new();
    fake.set_eeprom_word(10, 0x1235);
    let sum = 0xbabb;
    assert_eq!(refusal(&fake), ProbeError::EepromChecksum { sum });
}

#[test]
fn a_phy_that_is_silent_or_held_is_an_error() {
    let silent = with_faults(Faults {
        phy_silent: true,
        ..Faults::default()
    });
    assert_eq!(refusal(&silent), ProbeError::NoPhy);
    let taken = with_faults(Faults {
        phy_taken: true,
        ..Faults::default()
    });
    assert_eq!(refusal(&taken), ProbeError::PhyLocked);
    let sticks = with_faults(Faults {
        semaphore_sticks: true,
        ..Faults::default()
    });
    assert_eq!(refusal(&sticks), ProbeError::PhyLocked);
}

#[test]
fn a_reset_that_does_not_end_is_an_error() {
    let sticks = with_faults(Faults {
        reset_sticks: true,
        ..Faults::default()
    });
    assert_eq!(refusal(&sticks), ProbeError::ResetTimeout);
    // One that does not say that it has read its EEPROM is asked for the words.
    let silent = with_faults(Faults {
        eeprom_never_loaded: true,
        ..Faults::default()
    });
    assert!(Igb::probe(silent).is_ok());
}

#[test]
fn a_device_without_descriptor_memory_cannot_be_opened() {
    let fake = with_faults(Faults {
        no_memory: true,
        ..Faults::default()
    });
    let nic = Igb::probe(fake).unwrap();
    let config = crate::fake::config(&crate::fake::pool(), 1, 8);
    let error = nic.open(&config, Arc::new(crate::fake::Stack::default()));
    let expected = BusError::NoMemory(65_536);
    assert!(matches!(error, Err(NicError::Bus(error)) if error == expected));
}

#[test]
fn a_device_that_is_gone_is_an_error() {
    let fake = Fake::new();
    fake.unplug();
    assert_eq!(refusal(&fake), ProbeError::Gone);
}

#[test]
fn only_devices_of_the_table_are_taken_and_a_stranger_is_not_touched() {
    for line in ID_TABLE {
        assert!(Igb::probe(Fake::with_device(line.device)).is_ok());
    }
    let e1000 = Fake::with_device(0x100e);
    assert!(matches!(refusal(&e1000), ProbeError::NotSupported(_)));
    assert_eq!(e1000.take_log(), []);
}

#[test]
fn an_address_that_a_reset_did_not_copy_is_read_from_the_eeprom() {
    let fake = with_faults(Faults {
        station_never_loaded: true,
        ..Faults::default()
    });
    let nic = Igb::probe(fake.clone()).unwrap();
    assert_eq!(nic.capabilities().mac, MacAddress(MAC));
    // With a group's address in it, and the checksum made right again.
    let first = u16::from_le_bytes([MAC[0], MAC[1]]);
    fake.set_eeprom_word(0, first + 1);
    fake.set_eeprom_word(10, 0x1233);
    nic.remove();
    let mut mac = MAC;
    mac[0] += 1;
    assert_eq!(refusal(&fake), ProbeError::BadAddress(MacAddress(mac)));
}
