//! Function-level reset, by each of the means that a function can have.

use crate::rig::*;
use softnet_emulated::pci::PciCapabilities;
use softnet_nic_hal::bus::{BusError, IrqMode, PciDevice};
use std::sync::atomic::Ordering;

/// Device control of PCI Express, and its bit that initiates a reset.
const DEVICE_CONTROL: u16 = EXPRESS + 8;
const FLR: u32 = 1 << 15;

fn by_advanced_features() -> PciCapabilities {
    PciCapabilities {
        express: None,
        advanced_features: Some(0xe0),
        ..all()
    }
}

fn by_power_management() -> PciCapabilities {
    PciCapabilities {
        express: None,
        ..all()
    }
}

#[test]
fn a_reset_leaves_nothing_decoded_nothing_enabled_and_no_address() {
    let (rig, _handlers) = Rig::with_vectors(IrqMode::MsiX, 2);
    rig.dev.write32(0, 0, 77);
    assert_ne!(rig.dev.config_read32(DEVICE_CONTROL), 0);
    rig.dev.config_write32(DEVICE_CONTROL, FLR);
    assert_eq!(rig.chip.resets.load(Ordering::SeqCst), 1);
    assert_eq!(rig.dev.config_read32(4) & 0xffff, 0);
    assert_eq!(rig.dev.config_read32(0x10), 0);
    assert_eq!(rig.dev.config_read32(0x18), 1, "I/O, at no address");
    assert_eq!(rig.chip.port.irq_mode(), IrqMode::Intx);
    assert!(!rig.chip.port.may_master());
    assert_eq!(rig.dev.config_read32(DEVICE_CONTROL) & FLR, 0);
    assert_eq!(rig.dev.config_read32(0), 0x5678_1234);
    rig.dev.config_write32(4, 2);
    assert_eq!(rig.dev.read32(TABLE_BAR, 12), 1, "masked");
    assert_eq!(rig.dev.read32(TABLE_BAR, 0), 0);
}

#[test]
fn a_function_that_was_reset_goes_on_with_the_configuration_that_it_had() {
    for capabilities in [all(), by_advanced_features(), by_power_management()] {
        for mode in [IrqMode::MsiX, IrqMode::Msi, IrqMode::Intx] {
            let rig = Rig::new(capabilities);
            rig.dev.set_bus_master(true);
            rig.dev.alloc_irq_vectors(2, &[mode]).unwrap();
            let handler = rig.request(0);
            let before: Vec<_> = (0..64).map(|at| rig.dev.config_read32(at * 4)).collect();
            rig.dev.write32(0, 0, 77);
            rig.dev.reset_function().unwrap();
            assert_eq!(rig.chip.resets.load(Ordering::SeqCst), 1);
            assert_eq!(rig.dev.read32(0, 0), 0);
            let after: Vec<_> = (0..64).map(|at| rig.dev.config_read32(at * 4)).collect();
            assert_eq!(before, after);
            rig.chip.happen(0);
            assert_eq!(handler.take(), [0], "{mode:?}");
        }
    }
}

#[test]
fn a_message_that_was_pending_is_forgotten() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::MsiX, 1);
    rig.dev.write32(TABLE_BAR, 12, 1);
    rig.chip.port.message(0);
    rig.dev.reset_function().unwrap();
    rig.dev.write32(TABLE_BAR, 12, 0);
    assert!(handlers[0].take().is_empty());
}

#[test]
fn without_any_means_there_is_no_reset() {
    let rig = Rig::new(PciCapabilities::default());
    assert_eq!(rig.dev.reset_function(), Err(BusError::Unsupported));
    assert_eq!(rig.chip.resets.load(Ordering::SeqCst), 0);
    let rig = Rig::new(all());
    rig.dev.unplug();
    assert_eq!(rig.dev.reset_function(), Err(BusError::Gone));
}
