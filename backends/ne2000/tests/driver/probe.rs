//! What the driver binds to, and what it refuses.

use crate::fake::{Fake, Faults, MAC, Size, open_on};
use softnet_ne2000::{ID_TABLE, Ne2000, ProbeError};
use softnet_nic_hal::bus::{BarInfo, BarKind, BusError};
use softnet_nic_hal::{MacAddress, NicHal};
use std::sync::Arc;

fn refusal(fake: Arc<Fake>) -> ProbeError {
    Ne2000::probe(fake).unwrap_err()
}

fn refusal_with(faults: Faults) -> ProbeError {
    let fake = Fake::new();
    fake.set_faults(faults);
    refusal(fake)
}

#[test]
fn a_card_is_found_by_its_core_its_prom_and_its_memory() {
    let fake = Fake::new();
    let nic = Ne2000::probe(fake.clone()).unwrap();
    assert_eq!(nic.capabilities().mac, MacAddress(MAC));
    let link = nic.watchdog(0).link;
    assert!(
        link.up && link.full_duplex && link.speed_mbps == 10,
        "{link:?}"
    );
    assert!(!fake.bus_master(), "the card masters no bus");
    assert_eq!(fake.command_register() & 3, 1, "it is left stopped");
}

#[test]
fn a_card_with_half_the_memory_gets_a_smaller_ring() {
    let rings = [Size::Small, Size::Large].map(|size| {
        let open = open_on(Fake::with(0x10ec, 0x8029, size));
        [1, 2].map(|register| open.fake.written(0, register))
    });
    assert_eq!(rings, [[0x4c, 0x80], [0x64, 0xc0]]);
}

#[test]
fn an_address_that_is_not_doubled_is_found_too() {
    let fake = Fake::new();
    let mut prom = [0x57; 32];
    prom[..6].copy_from_slice(&MAC);
    fake.set_prom(prom);
    let nic = Ne2000::probe(fake).unwrap();
    assert_eq!(nic.capabilities().mac, MacAddress(MAC));
}

#[test]
fn a_card_of_16_bits_sees_no_wide_access() {
    let word_only = [(0x1106, 0x0926), (0x12c3, 0x0058)];
    for (vendor, device) in word_only {
        let mut open = open_on(Fake::with(vendor, device, Size::Large));
        open.send(61, 1..2);
        assert_eq!(open.fake.sending().unwrap(), [1; 61]);
        assert_eq!(open.fake.wide_accesses(), 0);
    }
}

#[test]
fn every_card_of_the_table_is_bound_and_no_other() {
    for line in ID_TABLE {
        Ne2000::probe(Fake::with(line.vendor, line.device, Size::Large)).unwrap();
    }
    let other = Fake::with(0x10ec, 0x8139, Size::Large);
    assert!(matches!(refusal(other), ProbeError::NotSupported(_)));
}

#[test]
fn ports_that_are_missing_few_or_memory_are_refused() {
    for (kind, len) in [(BarKind::Io, 16), (BarKind::Memory, 32)] {
        let fake = Fake::with_bar(0x10ec, 0x8029, Size::Large, BarInfo { kind, len });
        assert_eq!(refusal(fake), ProbeError::Bus(BusError::NoBar(0)));
    }
}

#[test]
fn a_card_that_does_not_answer_is_gone() {
    let fake = Fake::new();
    fake.unplug();
    assert_eq!(refusal(fake), ProbeError::Gone);
}

#[test]
fn what_is_no_dp8390_is_refused() {
    let faults = Faults {
        no_core: true,
        ..Faults::default()
    };
    assert_eq!(refusal_with(faults), ProbeError::NoCore);
}

#[test]
fn memory_that_forgets_is_refused() {
    let faults = Faults {
        no_memory: true,
        ..Faults::default()
    };
    assert_eq!(refusal_with(faults), ProbeError::NoMemory);
}

#[test]
fn an_address_that_is_no_stations_is_refused() {
    let fake = Fake::new();
    fake.set_prom([0xff; 32]);
    assert_eq!(refusal(fake), ProbeError::BadAddress(MacAddress([0xff; 6])));
}
