//! MSI-X and MSI: masks, pending bits, who may send, and where to.

use crate::rig::*;
use softnet_emulated::pci::Width;
use softnet_nic_hal::bus::{BusError, IrqMode, PciDevice};

/// A vector's control word in the table.
fn control(vector: u32) -> u32 {
    TABLE + vector * 16 + 12
}

fn pending(rig: &Rig, vector: u32) -> bool {
    let word = rig.dev.read32(TABLE_BAR, PBA + vector / 32 * 4);
    word >> (vector % 32) & 1 != 0
}

#[test]
fn each_vector_has_its_own_handler() {
    for mode in [IrqMode::MsiX, IrqMode::Msi] {
        let (rig, handlers) = Rig::with_vectors(mode, 8);
        for vector in [3, 0, 7] {
            assert!(rig.chip.port.message(vector));
            for (number, handler) in (0..).zip(&handlers) {
                let expected = if number == vector {
                    vec![vector]
                } else {
                    vec![]
                };
                assert_eq!(handler.take(), expected, "{mode:?}");
            }
        }
    }
}

#[test]
fn vectors_interrupt_the_cpus_of_their_affinity() {
    let (rig, _handlers) = Rig::with_vectors(IrqMode::MsiX, 4);
    for vector in 0..4 {
        rig.dev.set_irq_affinity(vector, vector.into()).unwrap();
        rig.chip.port.message(vector);
    }
    let lines = rig.irqs.snapshot().lines;
    let of = |vector: usize| {
        lines
            .iter()
            .find(|line| line.source == format!("PCI-MSIX 0000:00:03.0 {vector}"))
    };
    for vector in 0..4 {
        let mut expected = [0; 4];
        expected[vector] = 1;
        assert_eq!(of(vector).unwrap().delivered, expected);
    }
    assert_eq!(rig.dev.set_irq_affinity(4, 0), Err(BusError::NoVector(4)));
}

#[test]
fn a_masked_vector_keeps_its_message_pending_until_it_is_unmasked() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::MsiX, 40);
    for vector in [0u16, 33] {
        let handler = &handlers[usize::from(vector)];
        rig.dev.write32(TABLE_BAR, control(vector.into()), 1);
        assert!(!rig.chip.port.message(vector));
        assert!(!rig.chip.port.message(vector));
        assert!(pending(&rig, vector.into()));
        assert!(handler.take().is_empty());
        rig.dev.write32(TABLE_BAR, control(vector.into()), 0);
        assert_eq!(handler.take(), [vector], "two have become one");
        assert!(!pending(&rig, vector.into()));
    }
}

#[test]
fn the_function_mask_holds_all_vectors_and_leaves_their_own_masks() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::MsiX, 3);
    rig.dev.write32(TABLE_BAR, control(2), 1);
    rig.dev.config_write(MSIX + 2, Width::Word, 3 << 14);
    for vector in 0..3 {
        rig.chip.port.message(vector);
        assert!(pending(&rig, vector.into()));
    }
    rig.dev.config_write(MSIX + 2, Width::Word, 1 << 15);
    assert_eq!(handlers[0].take(), [0]);
    assert_eq!(handlers[1].take(), [1]);
    assert!(handlers[2].take().is_empty());
    assert!(pending(&rig, 2));
}

#[test]
fn a_message_is_a_write_and_waits_for_bus_mastering() {
    for mode in [IrqMode::MsiX, IrqMode::Msi] {
        let (rig, handlers) = Rig::with_vectors(mode, 2);
        rig.dev.set_bus_master(false);
        rig.chip.port.message(1);
        assert!(handlers[1].take().is_empty());
        rig.dev.set_bus_master(true);
        assert_eq!(handlers[1].take(), [1], "{mode:?}");
    }
}

#[test]
fn the_mask_and_pending_bits_of_msi_are_in_its_capability() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::Msi, 4);
    assert_eq!(
        rig.dev.config_read32(MSI + 16),
        0xf0,
        "these have no handler"
    );
    rig.dev.config_write32(MSI + 16, 1 << 2);
    rig.chip.port.message(2);
    rig.chip.port.message(3);
    assert_eq!(rig.dev.config_read32(MSI + 20), 1 << 2);
    assert!(handlers[2].take().is_empty());
    assert_eq!(handlers[3].take(), [3]);
    rig.dev.config_write32(MSI + 16, 0);
    assert_eq!(handlers[2].take(), [2]);
    assert_eq!(rig.dev.config_read32(MSI + 20), 0);
}

#[test]
fn with_fewer_vectors_of_msi_than_the_function_has_they_are_shared() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::Msi, 2);
    for vector in 0..8 {
        rig.chip.port.message(vector);
    }
    assert_eq!(handlers[0].take(), [0; 4]);
    assert_eq!(handlers[1].take(), [1; 4]);
}

#[test]
fn a_vector_without_a_handler_is_masked_and_its_message_waits_for_one() {
    for mode in [IrqMode::MsiX, IrqMode::Msi] {
        let (rig, _handlers) = Rig::with_vectors(mode, 2);
        rig.dev.free_irq(1);
        rig.chip.port.message(1);
        assert_eq!(rig.request(1).take(), [1], "{mode:?}");
    }
}

#[test]
fn no_message_is_sent_in_place_of_the_pin_nor_the_pin_in_place_of_a_message() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::Intx, 1);
    assert!(!rig.chip.port.message(0));
    assert!(handlers[0].take().is_empty());
    let (rig, handlers) = Rig::with_vectors(IrqMode::MsiX, 1);
    rig.chip
        .cause
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(!rig.chip.port.raise_intx(&|| true));
    assert!(handlers[0].take().is_empty());
}

#[test]
fn the_table_reads_as_it_was_written_and_takes_only_whole_words() {
    let rig = Rig::new(all());
    let entry = TABLE + 39 * 16;
    for (at, value) in [(0, 0xfee0_1000), (4, 9), (8, 0x4041), (12, 0)] {
        assert_eq!(rig.dev.read32(TABLE_BAR, entry + at), u32::from(at == 12));
        rig.dev.write32(TABLE_BAR, entry + at, value);
        rig.dev.write16(TABLE_BAR, entry + at, 0xdead);
        rig.dev.write8(TABLE_BAR, entry + at + 3, 0xde);
        assert_eq!(rig.dev.read32(TABLE_BAR, entry + at), value);
    }
    assert_eq!(rig.dev.read16(TABLE_BAR, entry + 2), 0xfee0);
    rig.dev.write32(TABLE_BAR, PBA, u32::MAX);
    assert_eq!(rig.dev.read32(TABLE_BAR, PBA), 0, "the chip's alone");
    assert!(rig.chip.seen.lock().unwrap().is_empty());
    rig.dev.read32(TABLE_BAR, entry + 16);
    rig.dev.read32(TABLE_BAR, PBA + 8);
    let seen = rig.chip.seen.lock().unwrap().len();
    assert_eq!(seen, 2, "the rest of the BAR is the chip's");
}

#[test]
fn a_message_reaches_no_line_but_the_functions_own() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::MsiX, 2);
    let (other, other_chip) = plug(&rig.bus, all());
    other.set_bus_master(true);
    other.alloc_irq_vectors(1, &[IrqMode::MsiX]).unwrap();
    for (address, data) in [(0xfee0_0000, 1), (0xfee0_0000, u32::MAX), (0x1000, 0)] {
        for (at, value) in [(0, address), (8, data), (12, 0)] {
            other.write32(TABLE_BAR, TABLE + at, value);
        }
        other_chip.port.message(0);
        assert_ne!(other.config_read32(4) & 1 << 29, 0, "a master abort");
        other.config_write(6, Width::Word, 1 << 13);
    }
    for handler in handlers {
        assert!(handler.take().is_empty());
    }
}

#[test]
fn a_vector_that_the_chip_does_not_have_is_no_message() {
    let (rig, _handlers) = Rig::with_vectors(IrqMode::MsiX, 2);
    assert!(!rig.chip.port.message(40));
    assert!(!rig.chip.port.message(u16::MAX));
}

#[test]
fn an_unplugged_function_sends_nothing() {
    let (rig, handlers) = Rig::with_vectors(IrqMode::MsiX, 1);
    rig.dev.unplug();
    assert!(!rig.chip.port.message(0));
    assert!(handlers[0].take().is_empty());
    rig.dev.free_irq(0);
    rig.dev.free_irq_vectors();
    assert_eq!(rig.lines(), 1, "the pin's");
}
