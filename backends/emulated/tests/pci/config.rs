//! Configuration space: the list of capabilities, power states, narrow accesses.

use crate::rig::*;
use softnet_emulated::pci::{PciCapabilities, Width};
use softnet_nic_hal::bus::{PciDevice, capability};
use std::sync::atomic::Ordering;

#[test]
fn the_capability_list_has_what_the_function_has_in_the_order_of_its_offsets() {
    let rig = Rig::new(all());
    let found: Vec<_> = capability::walk(|at| rig.dev.config_read32(at)).collect();
    let expected = [
        (PM, capability::POWER_MANAGEMENT),
        (MSI, capability::MSI),
        (MSIX, capability::MSIX),
        (EXPRESS, capability::EXPRESS),
    ];
    assert_eq!(found, expected);
    assert_eq!(rig.dev.find_capability(capability::MSIX), Some(MSIX));
}

#[test]
fn a_function_without_capabilities_says_so_in_its_status() {
    let rig = Rig::new(PciCapabilities::default());
    assert_eq!(rig.dev.config_read32(4) >> 20 & 1, 0);
    assert_eq!(rig.dev.config_read32(0x34), 0);
    assert_eq!(rig.dev.find_capability(capability::MSI), None);
}

#[test]
fn the_message_capabilities_say_how_many_vectors_there_are_and_where() {
    let rig = Rig::new(all());
    let msi = rig.dev.config_read32(MSI) >> 16;
    assert_eq!(msi >> 1 & 7, 3, "8 vectors");
    assert_eq!(msi & 0x180, 0x180, "64-bit address, mask bits");
    assert_eq!(rig.dev.config_read32(MSIX) >> 16 & 0x7ff, 39);
    assert_eq!(rig.dev.config_read32(MSIX + 4), TABLE | 3);
    assert_eq!(rig.dev.config_read32(MSIX + 8), PBA | 3);
}

#[test]
fn a_model_sees_how_wide_an_access_is_and_only_aligned_ones_inside_of_the_bar() {
    let rig = Rig::new(all());
    rig.dev.read8(0, 3);
    rig.dev.write16(2, 30, 0xffff);
    rig.dev.write32(0, 0xffc, 1);
    assert_eq!(rig.dev.read16(0, 1), u16::MAX);
    assert_eq!(rig.dev.read32(0, 0xffe), u32::MAX);
    rig.dev.write16(2, 31, 0);
    rig.dev.write8(2, 32, 0);
    let seen = rig.chip.seen.lock().unwrap();
    let expected = [
        (0, 3, Width::Byte),
        (2, 30, Width::Word),
        (0, 0xffc, Width::Long),
    ];
    assert_eq!(*seen, expected);
}

#[test]
fn a_narrow_write_leaves_the_rest_of_the_word() {
    let rig = Rig::new(all());
    rig.dev.config_write(0x3c, Width::Byte, 0x5a);
    assert_eq!(rig.dev.config_read(0x3c, Width::Byte), 0x5a);
    assert_eq!(rig.dev.config_read(0x3d, Width::Byte), 1, "INTA#");
    rig.dev.config_write(0x0d, Width::Byte, 0x40);
    rig.dev.config_write(0x0c, Width::Byte, 0x10);
    assert_eq!(rig.dev.config_read(0x0c, Width::Word), 0x4010);
    assert_eq!(rig.dev.config_read(0x0d, Width::Word), 0xffff, "unaligned");
}

#[test]
fn a_write_of_the_command_register_alone_keeps_the_error_bits_of_the_status() {
    let rig = Rig::new(all());
    let abort = 1 << 29;
    rig.dev.config_write32(MSIX, 1 << 31);
    rig.dev.set_bus_master(true);
    rig.dev.write32(TABLE_BAR, 12, 0);
    rig.chip.port.message(0);
    assert_eq!(rig.dev.config_read32(4) & abort, abort, "it led nowhere");
    rig.dev.config_write(4, Width::Word, 7);
    assert_eq!(rig.dev.config_read32(4) & abort, abort);
    rig.dev.config_write(6, Width::Word, abort >> 16);
    assert_eq!(rig.dev.config_read32(4) & abort, 0);
}

#[test]
fn in_d3hot_only_configuration_space_answers_and_the_way_back_is_a_reset() {
    let rig = Rig::new(all());
    rig.dev.set_bus_master(true);
    rig.dev.write32(0, 0, 5);
    let quiesced = rig.chip.quiesced.load(Ordering::SeqCst);
    rig.dev.config_write32(PM + 4, 3);
    assert!(rig.chip.quiesced.load(Ordering::SeqCst) > quiesced);
    assert!(!rig.chip.port.may_master());
    assert_eq!(rig.dev.read32(0, 0), u32::MAX);
    assert_eq!(rig.dev.config_read32(PM + 4) & 3, 3);
    assert_eq!(rig.dev.config_read32(0), 0x5678_1234);
    rig.chip.cause.store(true, Ordering::SeqCst);
    rig.dev.config_write32(PM + 4, 0);
    assert_eq!(rig.chip.resets.load(Ordering::SeqCst), 1);
    assert_eq!(rig.dev.config_read32(4) & 0xffff, 0, "nothing is decoded");
    assert_eq!(rig.dev.config_read32(PM + 4) & 3, 0);
}

#[test]
fn power_states_that_do_not_exist_are_not_entered() {
    let rig = Rig::new(all());
    for state in [1, 2] {
        rig.dev.config_write32(PM + 4, state);
        assert_eq!(rig.dev.config_read32(PM + 4) & 3, 0);
    }
    assert_eq!(rig.chip.resets.load(Ordering::SeqCst), 0);
}

#[test]
fn the_status_register_shows_the_pin_even_while_it_is_disabled() {
    let rig = Rig::new(all());
    let count = {
        rig.dev
            .alloc_irq_vectors(1, &[softnet_nic_hal::bus::IrqMode::Intx])
            .unwrap();
        rig.request(0)
    };
    rig.dev.config_write(4, Width::Word, 1 << 10 | 3);
    rig.chip.happen(0);
    assert_eq!(rig.dev.config_read32(4) >> 19 & 1, 1);
    assert!(count.take().is_empty());
    rig.dev.config_write(4, Width::Word, 3);
    assert_eq!(count.take(), [0], "it had stayed asserted");
    assert_eq!(rig.dev.config_read32(4) >> 19 & 1, 0);
}
