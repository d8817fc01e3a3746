//! Which kind of interrupt a driver gets.

use crate::rig::*;
use softnet_emulated::pci::{MsiLayout, PciCapabilities};
use softnet_nic_hal::bus::{BusError, IrqMode, IrqVectors, PciDevice};
use softnet_nic_hal::irq::IrqTable;

/// As drivers ask: the best first.
const MODES: [IrqMode; 3] = [IrqMode::MsiX, IrqMode::Msi, IrqMode::Intx];

fn without_msix() -> PciCapabilities {
    PciCapabilities {
        msix: None,
        ..all()
    }
}

fn without_messages() -> PciCapabilities {
    PciCapabilities {
        msi: None,
        ..without_msix()
    }
}

#[test]
fn the_first_kind_that_the_function_has_is_used_and_interrupts() {
    let cases = [
        (all(), IrqMode::MsiX, 5),
        (without_msix(), IrqMode::Msi, 4),
        (without_messages(), IrqMode::Intx, 1),
    ];
    for (capabilities, mode, count) in cases {
        let rig = Rig::new(capabilities);
        rig.dev.set_bus_master(true);
        let vectors = rig.dev.alloc_irq_vectors(5, &MODES).unwrap();
        assert_eq!(vectors, IrqVectors { mode, count });
        assert_eq!(rig.chip.port.irq_mode(), mode);
        let handlers: Vec<_> = (0..count).map(|vector| rig.request(vector)).collect();
        rig.chip.happen(count - 1);
        assert_eq!(handlers[usize::from(count - 1)].take(), [count - 1]);
        assert_eq!(
            rig.dev.config_read32(4) >> 10 & 1,
            u32::from(mode != IrqMode::Intx)
        );
    }
}

#[test]
fn a_kind_that_is_not_asked_for_is_not_used() {
    let rig = Rig::new(all());
    let vectors = rig.dev.alloc_irq_vectors(64, &[IrqMode::Msi]).unwrap();
    assert_eq!((vectors.mode, vectors.count), (IrqMode::Msi, 8));
    let rig = Rig::new(without_messages());
    let modes = [IrqMode::MsiX, IrqMode::Msi];
    assert_eq!(rig.dev.alloc_irq_vectors(1, &modes), Err(BusError::NoIrq));
    assert_eq!(rig.dev.alloc_irq_vectors(0, &MODES), Err(BusError::NoIrq));
}

#[test]
fn fewer_vectors_are_had_when_lines_are_few_and_the_pin_when_there_are_none() {
    for (lines, mode, count) in [(4, IrqMode::MsiX, 3), (1, IrqMode::Intx, 1)] {
        let rig = Rig::with_irqs(all(), IrqTable::with_lines(1, lines));
        let vectors = rig.dev.alloc_irq_vectors(40, &MODES).unwrap();
        assert_eq!(vectors, IrqVectors { mode, count });
    }
}

#[test]
fn msi_gives_back_the_lines_beyond_a_power_of_two() {
    let rig = Rig::with_irqs(all(), IrqTable::with_lines(1, 8));
    let vectors = rig.dev.alloc_irq_vectors(8, &[IrqMode::Msi]).unwrap();
    assert_eq!(vectors.count, 4, "seven were left");
    assert_eq!(rig.lines(), 1 + 4);
}

#[test]
fn freed_vectors_give_their_lines_back_and_the_next_kind_can_be_had() {
    let rig = Rig::new(all());
    for mode in MODES {
        rig.dev.alloc_irq_vectors(2, &[mode]).unwrap();
        rig.dev.free_irq_vectors();
        assert_eq!(rig.lines(), 1, "the pin's");
        assert_eq!(rig.chip.port.irq_mode(), IrqMode::Intx);
        let handler = Count::of(&rig.chip);
        let late = rig.dev.request_irq(0, "late", 0, handler);
        assert_eq!(late, Err(BusError::NoVector(0)));
    }
}

#[test]
fn the_last_handle_gives_the_lines_of_all_vectors_back() {
    let rig = Rig::new(all());
    rig.dev.alloc_irq_vectors(9, &MODES).unwrap();
    assert_eq!(rig.lines(), 10);
    rig.bus.unplug(rig.dev.name());
    drop((rig.dev, rig.chip));
    assert_eq!(rig.irqs.snapshot().lines.len(), 0);
}

#[test]
fn a_number_of_vectors_that_msi_cannot_have_is_rounded_down() {
    let rig = Rig::new(PciCapabilities {
        msi: Some(MsiLayout {
            at: 0x50,
            vectors: 7,
        }),
        ..PciCapabilities::default()
    });
    let vectors = rig.dev.alloc_irq_vectors(7, &MODES).unwrap();
    assert_eq!((vectors.mode, vectors.count), (IrqMode::Msi, 4));
}
