//! Binding the driver: what it wants to see, and what it says otherwise.

use crate::fake::{Fake, Faults, MAC};
use softnet_e1000::{E1000, ID_TABLE, ProbeError};
use softnet_nic_hal::bus::BusError;
use softnet_nic_hal::{MacAddress, NicHal};

fn refusal(fake: &std::sync::Arc<Fake>) -> ProbeError {
    let error = E1000::probe(fake.clone()).unwrap_err();
    assert!(!fake.bus_master(), "the function may still do DMA");
    error
}

fn with_faults(faults: Faults) -> std::sync::Arc<Fake> {
    let fake = Fake::new();
    fake.set_faults(faults);
    fake
}

#[test]
fn the_address_comes_from_the_eeprom_and_the_phy_is_known() {
    let fake = Fake::new();
    let nic = E1000::probe(fake.clone()).unwrap();
    assert_eq!(nic.capabilities().mac, MacAddress(MAC));
    assert_eq!(nic.phy_id(), 0x0141_0c20);
    assert!(fake.bus_master());
}

#[test]
fn an_eeprom_without_eerd_is_read_bit_by_bit() {
    let fake = with_faults(Faults {
        eerd_never_done: true,
        ..Faults::default()
    });
    let nic = E1000::probe(fake).unwrap();
    assert_eq!(nic.capabilities().mac, MacAddress(MAC));
}

#[test]
fn an_eeprom_that_does_not_answer_is_an_error() {
    let fake = with_faults(Faults {
        eerd_never_done: true,
        eecd_never_granted: true,
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
fn a_group_address_in_the_eeprom_is_an_error() {
    let fake = Fake::new();
    let first = u16::from_le_bytes([MAC[0], MAC[1]]);
    fake.set_eeprom_word(0, first + 1);
    fake.set_eeprom_word(10, 0x1233);
    let mut mac = MAC;
    mac[0] += 1;
    assert_eq!(refusal(&fake), ProbeError::BadAddress(MacAddress(mac)));
}

#[test]
fn a_silent_phy_is_an_error() {
    let fake = with_faults(Faults {
        phy_silent: true,
        ..Faults::default()
    });
    assert_eq!(refusal(&fake), ProbeError::NoPhy);
}

#[test]
fn a_reset_that_does_not_end_is_an_error() {
    let fake = with_faults(Faults {
        reset_sticks: true,
        ..Faults::default()
    });
    assert_eq!(refusal(&fake), ProbeError::ResetTimeout);
}

#[test]
fn a_device_without_descriptor_memory_is_an_error() {
    let fake = with_faults(Faults {
        no_memory: true,
        ..Faults::default()
    });
    let expected = ProbeError::Bus(BusError::NoMemory(65_536));
    assert_eq!(refusal(&fake), expected);
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
        assert!(E1000::probe(Fake::with_device(line.device)).is_ok());
    }
    let igb = Fake::with_device(0x10c9);
    assert!(matches!(refusal(&igb), ProbeError::NotSupported(_)));
    assert_eq!(igb.take_log(), []);
}
