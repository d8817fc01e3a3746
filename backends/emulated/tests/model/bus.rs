//! Configuration space, enumeration, mappings, and the card's removal.

use crate::rig::*;
use softnet_emulated::{E1000, E1000Config, PciBus};
use softnet_nic_hal::bus::{
    BarKind, BusError, CoherentMemory, IrqMode, PciDevice, PciIdMatch, VectorHandler,
};
use softnet_nic_hal::dma_ring::DmaRegion;
use softnet_nic_hal::irq::IrqTable;
use std::sync::Arc;

const TABLE: [PciIdMatch; 1] = [PciIdMatch {
    vendor: 0x8086,
    device: 0x100e,
}];

#[test]
fn functions_are_named_by_slot_and_found_by_id() {
    let bus = PciBus::new(Arc::new(IrqTable::new(1)));
    let config = E1000Config::new(MAC);
    let cards: Vec<_> = (0..3)
        .map(|_| E1000::attach(&bus, &config).unwrap())
        .collect();
    let names: Vec<_> = cards.iter().map(|(dev, _)| dev.name().to_owned()).collect();
    assert_eq!(names, ["0000:00:03.0", "0000:00:04.0", "0000:00:05.0"]);
    assert_eq!(bus.matching(&TABLE).len(), 3);
    assert!(bus.unplug("0000:00:04.0"));
    assert!(!bus.unplug("0000:00:04.0"));
    assert_eq!(bus.functions().len(), 2);
    let (again, _) = E1000::attach(&bus, &config).unwrap();
    assert_eq!(again.name(), "0000:00:04.0");
    assert_ne!(again.irq(), cards[0].0.irq());
}

#[test]
fn a_full_bus_says_so() {
    let bus = PciBus::new(Arc::new(IrqTable::new(1)));
    let config = E1000Config::new(MAC);
    let cards: Vec<_> = std::iter::from_fn(|| E1000::attach(&bus, &config).ok()).collect();
    assert_eq!(cards.len(), 29);
    let error = E1000::attach(&bus, &config).err().unwrap();
    assert_eq!(error.to_string(), "all 29 slots of the PCI bus are taken");
}

#[test]
fn configuration_space_has_the_header_of_the_82540em() {
    let rig = Rig::new();
    assert_eq!(rig.dev.config_read32(0x00), 0x100e_8086);
    assert_eq!(rig.dev.config_read32(0x08) >> 8, 0x02_0000);
    assert_eq!(rig.dev.config_read32(0x3c) >> 8 & 0xff, 1, "INTA#");
    assert_eq!(rig.dev.config_read32(0x18) & 1, 1, "I/O");
    assert_eq!(rig.dev.config_read32(0x34), 0xdc, "power management");
    assert_eq!(
        rig.dev.config_read32(0xdc) & 0xffff,
        1,
        "and nothing after it"
    );
    for at in (0x40..0xdc).chain(0xe4..0x100).step_by(4) {
        assert_eq!(rig.dev.config_read32(at), 0);
    }
}

#[test]
fn base_address_registers_can_be_sized_and_moved() {
    let rig = Rig::new();
    for (at, size) in [(0x10, 0xfffe_0000), (0x14, 0), (0x18, 0xffff_ffc1)] {
        let before = rig.dev.config_read32(at);
        rig.dev.config_write32(at, u32::MAX);
        assert_eq!(rig.dev.config_read32(at), size, "BAR at {at:#x}");
        rig.dev.config_write32(at, before);
        assert_eq!(rig.dev.config_read32(at), before);
    }
    let bar = rig.dev.bar(0).unwrap();
    assert_eq!((bar.kind, bar.len), (BarKind::Memory, 0x2_0000));
    assert_eq!(rig.dev.bar(1), None);
    assert_eq!(rig.dev.bar(200), None);
}

#[test]
fn without_memory_decoding_registers_float() {
    let rig = Rig::new();
    rig.dev.config_write32(4, 1 << 2);
    assert_eq!(rig.r(STATUS), u32::MAX);
    rig.w(RDBAH, 7);
    rig.dev.config_write32(4, 1 << 2 | 1 << 1);
    assert_eq!(rig.r(RDBAH), 0);
}

#[test]
fn accesses_outside_of_a_bar_float() {
    let rig = Rig::new();
    for (bar, offset) in [(0, 0x2_0000), (0, u32::MAX - 3), (1, 0), (2, 64), (7, 0)] {
        assert_eq!(rig.dev.read32(bar, offset), u32::MAX);
        rig.dev.write32(bar, offset, 1);
    }
    assert_eq!(rig.r(0x1_fffc), 0, "inside, but nothing there");
}

#[test]
fn without_bus_mastering_there_is_no_dma() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    rig.dev.set_bus_master(false);
    rig.deliver(&frame(MAC, 60));
    assert!(!ring.done(0));
    assert_eq!(rig.dev.dma_faults(), 0);
    rig.dev.set_bus_master(true);
    rig.step();
    assert!(ring.done(0), "it had waited in the FIFO");
}

#[test]
fn what_was_unmapped_is_out_of_reach() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    let region = DmaRegion::alloc(4096).unwrap();
    ring.ring.write_u64(0, region.dma_addr().0);
    ring.ring.write_u64(16, region.dma_addr().0);
    rig.dev.map(&region).unwrap();
    rig.deliver(&frame(MAC, 60));
    assert_eq!(rig.dev.dma_faults(), 0);
    rig.dev.unmap(&region);
    let before = region.read_u64(0, std::sync::atomic::Ordering::Acquire);
    rig.deliver(&frame(MAC, 61));
    assert_eq!(rig.dev.dma_faults(), 1);
    assert_eq!(ring.status(1).errors, 0x80);
    let after = region.read_u64(0, std::sync::atomic::Ordering::Acquire);
    assert_eq!(before, after);
}

#[test]
fn dropped_coherent_memory_is_out_of_reach() {
    let mut rig = Rig::new();
    drop(rig.rx_ring(8, SECRC));
    rig.deliver(&frame(MAC, 60));
    assert_eq!(rig.dev.dma_faults(), 1);
}

#[test]
fn only_the_pin_can_be_had_as_an_interrupt() {
    let rig = Rig::new();
    let handler = || Arc::new(Never) as Arc<dyn VectorHandler>;
    let modes = [IrqMode::MsiX, IrqMode::Msi];
    assert_eq!(rig.dev.alloc_irq_vectors(4, &modes), Err(BusError::NoIrq));
    let early = rig.dev.request_irq(0, "x", 0, handler());
    assert_eq!(early, Err(BusError::NoVector(0)));
    let modes = [IrqMode::MsiX, IrqMode::Msi, IrqMode::Intx];
    let vectors = rig.dev.alloc_irq_vectors(4, &modes).unwrap();
    assert_eq!((vectors.mode, vectors.count), (IrqMode::Intx, 1));
    assert_eq!(
        rig.dev.request_irq(1, "x", 0, handler()),
        Err(BusError::NoVector(1))
    );
    rig.dev.request_irq(0, "x", 0, handler()).unwrap();
    assert_eq!(
        rig.dev.request_irq(0, "y", 0, handler()),
        Err(BusError::VectorBusy(0))
    );
    rig.dev.free_irq(0);
    rig.dev.request_irq(0, "y", 0, handler()).unwrap();
}

struct Never;

impl VectorHandler for Never {
    fn interrupt(&self, _: u16) -> softnet_nic_hal::bus::IrqReturn {
        softnet_nic_hal::bus::IrqReturn::None
    }
}

#[test]
fn an_unplugged_card_reads_all_ones_and_does_nothing() {
    let mut rig = Rig::new();
    let handler = Counting::new(&rig);
    let ring = rig.rx_ring(8, SECRC);
    let region = DmaRegion::alloc(4096).unwrap();
    rig.w(IMS, RXT0);
    rig.dev.unplug();
    assert!(!rig.dev.is_present() && !rig.nic.is_present());
    assert_eq!(rig.r(STATUS), u32::MAX);
    assert_eq!(rig.dev.read8(0, STATUS), u8::MAX);
    assert_eq!(rig.dev.config_read32(0), u32::MAX);
    rig.w(ICS, RXT0);
    rig.deliver(&frame(MAC, 60));
    assert_eq!(handler.calls(), 0);
    assert!(!ring.done(0));
    assert_eq!(rig.dev.map(&region), Err(BusError::Gone));
    assert_eq!(rig.dev.alloc_coherent(64).err(), Some(BusError::Gone));
    let vectors = rig.dev.alloc_irq_vectors(1, &[IrqMode::Intx]);
    assert_eq!(vectors, Err(BusError::Gone));
    rig.dev.free_irq(0);
}

#[test]
fn the_last_handle_gives_the_interrupt_line_back() {
    let irqs = Arc::new(IrqTable::new(1));
    let bus = PciBus::new(Arc::clone(&irqs));
    let (dev, nic) = E1000::attach(&bus, &E1000Config::new(MAC)).unwrap();
    assert_eq!(irqs.snapshot().lines.len(), 1);
    let name = dev.name().to_owned();
    drop((dev, nic));
    assert_eq!(irqs.snapshot().lines.len(), 1, "the bus holds it");
    bus.unplug(&name);
    assert_eq!(irqs.snapshot().lines.len(), 0);
}
