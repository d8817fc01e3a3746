//! A chip that a test commands, and handlers that count.

use softnet_emulated::pci::{
    FunctionPort, Identity, MsiLayout, MsixLayout, PciCapabilities, PciModel, Width,
};
use softnet_emulated::{PciBus, PciFunction};
use softnet_nic_hal::bus::{
    BarInfo, BarKind, IrqMode, IrqReturn, PciDevice, PciIds, VectorHandler,
};
use softnet_nic_hal::irq::IrqTable;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A chip with one register and one interrupt cause for its pin.
pub(crate) struct TestChip {
    pub(crate) port: Arc<FunctionPort>,
    pub(crate) register: AtomicU32,
    pub(crate) cause: AtomicBool,
    pub(crate) quiesced: AtomicU32,
    pub(crate) resets: AtomicU32,
    /// The accesses that the chip has seen.
    pub(crate) seen: Mutex<Vec<(u8, u32, Width)>>,
}

impl TestChip {
    fn new(port: Arc<FunctionPort>) -> Self {
        Self {
            port,
            register: AtomicU32::new(0),
            cause: AtomicBool::new(false),
            quiesced: AtomicU32::new(0),
            resets: AtomicU32::new(0),
            seen: Mutex::default(),
        }
    }

    /// Something happens: the chip interrupts as it was set up to, on `vector` if
    /// there are several.
    pub(crate) fn happen(&self, vector: u16) {
        if self.port.irq_mode() == IrqMode::Intx {
            self.cause.store(true, Ordering::SeqCst);
            self.check_pin();
        } else {
            self.port.message(vector);
        }
    }
}

impl PciModel for TestChip {
    fn read(&self, bar: u8, offset: u32, width: Width) -> u32 {
        self.seen.lock().unwrap().push((bar, offset, width));
        self.register.load(Ordering::SeqCst)
    }

    /// Any write acknowledges the cause, too.
    fn write(&self, bar: u8, offset: u32, width: Width, value: u32) {
        self.seen.lock().unwrap().push((bar, offset, width));
        self.register.store(value, Ordering::SeqCst);
        self.cause.store(false, Ordering::SeqCst);
    }

    fn pin(&self) -> bool {
        self.cause.load(Ordering::SeqCst)
    }

    fn check_pin(&self) {
        self.port.raise_intx(&|| self.pin());
    }

    fn quiesce(&self) {
        self.quiesced.fetch_add(1, Ordering::SeqCst);
    }

    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
        self.register.store(0, Ordering::SeqCst);
        self.cause.store(false, Ordering::SeqCst);
    }

    fn delay_us(&self, _: u32) {}
}

/// Where the test chip has its capabilities and its table.
pub(crate) const PM: u16 = 0x40;
pub(crate) const MSI: u16 = 0x50;
pub(crate) const MSIX: u16 = 0x70;
pub(crate) const EXPRESS: u16 = 0xa0;
pub(crate) const TABLE: u32 = 0;
pub(crate) const PBA: u32 = 0x2000;
pub(crate) const TABLE_BAR: u8 = 3;

/// Every kind of interrupt: 8 vectors of MSI, 40 of MSI-X.
pub(crate) fn all() -> PciCapabilities {
    PciCapabilities {
        power_management: Some(PM as u8),
        msi: Some(MsiLayout {
            at: MSI as u8,
            vectors: 8,
        }),
        msix: Some(MsixLayout {
            at: MSIX as u8,
            vectors: 40,
            bar: TABLE_BAR,
            table: TABLE,
            pba: PBA,
        }),
        express: Some(EXPRESS as u8),
        advanced_features: None,
    }
}

pub(crate) fn identity(capabilities: PciCapabilities) -> Identity {
    let memory = |len| {
        Some(BarInfo {
            kind: BarKind::Memory,
            len,
        })
    };
    let ports = Some(BarInfo {
        kind: BarKind::Io,
        len: 32,
    });
    Identity {
        ids: PciIds {
            vendor: 0x1234,
            device: 0x5678,
            subsystem_vendor: 0x1234,
            subsystem: 1,
            class: 0x02_0000,
            revision: 7,
        },
        bars: [memory(0x1000), None, ports, memory(0x4000), None, None],
        capabilities,
    }
}

pub(crate) struct Rig {
    pub(crate) irqs: Arc<IrqTable>,
    pub(crate) bus: PciBus,
    pub(crate) dev: PciFunction,
    pub(crate) chip: Arc<TestChip>,
}

impl Rig {
    pub(crate) fn new(capabilities: PciCapabilities) -> Self {
        Self::with_irqs(capabilities, IrqTable::new(4))
    }

    pub(crate) fn with_irqs(capabilities: PciCapabilities, irqs: IrqTable) -> Self {
        let irqs = Arc::new(irqs);
        let bus = PciBus::new(Arc::clone(&irqs));
        let (dev, chip) = plug(&bus, capabilities);
        Self {
            irqs,
            bus,
            dev,
            chip,
        }
    }

    /// A rig whose driver has so many vectors of one kind, each with a handler.
    pub(crate) fn with_vectors(mode: IrqMode, count: u16) -> (Self, Vec<Arc<Count>>) {
        let rig = Self::new(all());
        rig.dev.set_bus_master(true);
        let vectors = rig.dev.alloc_irq_vectors(count, &[mode]).unwrap();
        assert_eq!((vectors.mode, vectors.count), (mode, count));
        let handlers = (0..count).map(|vector| rig.request(vector)).collect();
        (rig, handlers)
    }

    pub(crate) fn request(&self, vector: u16) -> Arc<Count> {
        let count = Count::of(&self.chip);
        let handler = Arc::clone(&count) as Arc<dyn VectorHandler>;
        self.dev.request_irq(vector, "test", 0, handler).unwrap();
        count
    }

    /// Lines of the table that have a source.
    pub(crate) fn lines(&self) -> usize {
        self.irqs.snapshot().lines.len()
    }
}

pub(crate) fn plug(bus: &PciBus, capabilities: PciCapabilities) -> (PciFunction, Arc<TestChip>) {
    let make = |port| Arc::new(TestChip::new(port));
    bus.attach(&identity(capabilities), make).unwrap()
}

/// A handler that counts its calls, and takes the pin's cause away.
pub(crate) struct Count {
    calls: Mutex<Vec<u16>>,
    chip: Arc<TestChip>,
}

impl Count {
    pub(crate) fn of(chip: &Arc<TestChip>) -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            chip: Arc::clone(chip),
        })
    }

    /// The vectors of the calls since the last look.
    pub(crate) fn take(&self) -> Vec<u16> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl VectorHandler for Count {
    fn interrupt(&self, vector: u16) -> IrqReturn {
        let pin = self.chip.port.irq_mode() == IrqMode::Intx;
        if pin && !self.chip.cause.swap(false, Ordering::SeqCst) {
            return IrqReturn::None;
        }
        self.calls.lock().unwrap().push(vector);
        IrqReturn::Handled
    }
}
