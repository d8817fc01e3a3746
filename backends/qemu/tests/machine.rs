//! The machine, by what its cards' registers and memory show.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use softnet_dma_ring::{DmaAddr, DmaRegion};
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{
    BarInfo, BarKind, BusError, CoherentMemory, IrqMode, IrqReturn, PciDevice, VectorHandler,
};
use softnet_nic_hal::irq::IrqTable;
use softnet_qemu::{QemuConfig, QemuError, QemuMachine, QemuNic};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 1, 2, 3]);

fn start(program: PathBuf, models: &[&str]) -> Result<QemuMachine, QemuError> {
    let nic = |model: &&str| QemuNic {
        model: (*model).to_owned(),
        mac: MAC,
    };
    let config = QemuConfig {
        program,
        nics: models.iter().map(nic).collect(),
    };
    QemuMachine::start(&config, Arc::new(IrqTable::new(2)))
}

fn memory(len: u32) -> Option<BarInfo> {
    let kind = BarKind::Memory;
    Some(BarInfo { kind, len })
}

#[test]
fn the_cards_are_those_that_were_asked_for() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let machine = start(qemu, &["e1000", "igb", "ne2k_pci"]).unwrap();
    let ids = |at: usize| {
        let ids = machine.functions()[at].ids();
        (ids.vendor, ids.device, ids.class)
    };
    assert_eq!(ids(0), (0x8086, 0x100e, 0x02_0000));
    assert_eq!(ids(1), (0x8086, 0x10c9, 0x02_0000));
    assert_eq!(ids(2), (0x10ec, 0x8029, 0x02_0000));
    assert_eq!(machine.functions()[2].name(), "0000:00:06.0");
    assert_eq!(machine.functions()[0].bar(0), memory(0x2_0000));
    let ports = BarInfo {
        kind: BarKind::Io,
        len: 256,
    };
    assert_eq!(machine.functions()[2].bar(0), Some(ports));
    assert_eq!(machine.functions()[2].bar(1), None);
}

#[test]
fn registers_answer_in_all_widths() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let machine = start(qemu, &["e1000", "ne2k_pci"]).unwrap();
    let (e1000, ne2000) = (&machine.functions()[0], &machine.functions()[1]);
    // RAL0 and RAH0 hold the station address.
    assert_eq!(e1000.read32(0, 0x5400), 0x0100_5452);
    assert_eq!(e1000.read32(0, 0x5404), 0x8000_0302);
    e1000.write32(0, 0x38, 0x88a8);
    assert_eq!(e1000.read32(0, 0x38), 0x88a8);
    // Outside, and unaligned.
    assert_eq!(e1000.read32(0, 0x2_0000), u32::MAX);
    assert_eq!(e1000.read32(0, 2), u32::MAX);
    // BNRY through an I/O port; then the PROM's first bytes, as a word and as four.
    ne2000.write8(0, 3, 0x46);
    assert_eq!(ne2000.read8(0, 3), 0x46);
    let data = |count: u8| {
        for (port, value) in [
            (0xe, 0x49),
            (0x8, 0),
            (0x9, 0),
            (0xa, count),
            (0xb, 0),
            (0, 0xa),
        ] {
            ne2000.write8(0, port, value);
        }
    };
    data(2);
    assert_eq!(ne2000.read16(0, 0x10), 0x5252);
    data(4);
    assert_eq!(ne2000.read32(0, 0x10), 0x5454_5252);
}

#[test]
fn memory_is_the_guests() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let machine = start(qemu, &["e1000"]).unwrap();
    let card = &machine.functions()[0];
    let words = card.alloc_coherent(5000).unwrap();
    assert_eq!(words.read_u64(4992), 0);
    words.write_pair(16, [1, 2]);
    assert_eq!((words.read_u64(16), words.read_u64(24)), (1, 2));
    let mut bytes = [0; 8];
    assert!(machine.read_memory(words.dma_addr().offset(24), &mut bytes));
    assert_eq!(bytes, 2_u64.to_le_bytes());

    let region = DmaRegion::alloc(4096).unwrap();
    card.map(&region).unwrap();
    let at = region.dma_addr().offset(100);
    region.write_bytes(100, b"to the card").unwrap();
    card.sync_for_device(at, 11);
    let mut bytes = [0; 11];
    assert!(machine.read_memory(at, &mut bytes));
    assert_eq!(&bytes, b"to the card");
    machine.write_memory(at, b"to the host");
    card.sync_for_cpu(at, 11);
    region.read_bytes(100, &mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
}

#[test]
fn a_region_outside_of_the_guests_memory_is_refused() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let machine = start(qemu, &["e1000"]).unwrap();
    let memory = Box::new([0_u64; 512]);
    let base = std::ptr::NonNull::from(&*memory).cast();
    // SAFETY: the box keeps the memory for as long as the region lives, and nobody else
    // has it.
    let low = unsafe { DmaRegion::from_foreign(base, 4096, DmaAddr(0x1000), memory) };
    let refused = machine.functions()[0].map(&low);
    assert!(matches!(refused, Err(BusError::Map(_))), "{refused:?}");
}

/// Counts the vectors that were called.
#[derive(Default)]
struct Seen {
    vectors: Mutex<Vec<u16>>,
}

impl VectorHandler for Seen {
    fn interrupt(&self, vector: u16) -> IrqReturn {
        self.vectors.lock().unwrap().push(vector);
        IrqReturn::Handled
    }
}

/// The 82576 raises what is written to EICS (8.8.2).
#[test]
fn each_vector_of_msi_x_has_its_own_message() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let machine = start(qemu, &["igb"]).unwrap();
    let card = &machine.functions()[0];
    card.set_bus_master(true);
    let vectors = card
        .alloc_irq_vectors(3, &[IrqMode::MsiX, IrqMode::Intx])
        .unwrap();
    assert_eq!((vectors.mode, vectors.count), (IrqMode::MsiX, 3));
    let seen = Arc::new(Seen::default());
    for vector in [0, 2] {
        card.request_irq(vector, "test", 1, seen.clone()).unwrap();
    }
    let twice = card.request_irq(2, "test", 0, seen.clone());
    assert_eq!(twice, Err(BusError::VectorBusy(2)));
    let beyond = card.request_irq(3, "test", 0, seen.clone());
    assert_eq!(beyond, Err(BusError::NoVector(3)));
    // GPIE: several vectors, and EICR cleared by itself; EIMS; EICS.
    card.write32(0, 0x1514, 0x8000_0010);
    card.write32(0, 0x152c, 0x7);
    card.write32(0, 0x1524, 0x7);
    card.write32(0, 0x1520, 0x5);
    machine.deliver_interrupts();
    assert_eq!(*seen.vectors.lock().unwrap(), [0, 2]);
    // Vector 1 has no handler, and is masked in the table.
    card.write32(0, 0x1520, 0x2);
    machine.deliver_interrupts();
    assert_eq!(seen.vectors.lock().unwrap().len(), 2);
    card.free_irq(2);
    card.write32(0, 0x1520, 0x4);
    machine.deliver_interrupts();
    assert_eq!(seen.vectors.lock().unwrap().len(), 2);
    card.free_irq(0);
    card.free_irq_vectors();
}

#[test]
fn a_machine_that_has_ended_is_gone() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let machine = start(qemu, &["e1000"]).unwrap();
    let card = machine.functions()[0].clone();
    let words = card.alloc_coherent(64).unwrap();
    assert!(card.is_present());
    machine.kill();
    assert!(!card.is_present());
    assert_eq!(card.read32(0, 8), u32::MAX);
    assert_eq!(card.read8(0, 8), u8::MAX);
    card.write32(0, 0, 1);
    card.delay_us(1_000_000);
    assert_eq!(words.read_u64(0), 0);
    assert_eq!(card.alloc_coherent(64).err(), Some(BusError::Gone));
    let vectors = card.alloc_irq_vectors(1, &[IrqMode::Intx]);
    assert_eq!(vectors, Err(BusError::Gone));
    assert_eq!(machine.deliver_interrupts(), 0);
}

#[test]
fn what_qemu_refuses_is_said_in_its_own_words() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    match start(qemu, &["no-such-card"]) {
        Err(QemuError::Ended(words)) => assert!(words.contains("no-such-card"), "{words}"),
        other => panic!("{other:?}"),
    }
}
