//! A real PCI function, as its driver sees it.

use crate::bars::{Bar, Word};
use crate::memory::{Domain, VfioCoherent};
use crate::open::{OpenError, Opened};
use crate::vectors::Vectors;
use softnet_dma_ring::DmaRegion;
use softnet_nic_hal::bus::{
    BarInfo, BusError, IrqMode, IrqVectors, PciDevice, PciIds, VectorHandler,
};
use softnet_nic_hal::irq::IrqTable;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;
use vfio_ioctls::VfioDevice;

/// A function that is bound to `vfio-pci`. Clones are of the same function.
///
/// Its registers are reached without the kernel, its DMA goes through an IOMMU domain
/// of its own, and its interrupts come on a thread of this process, where they are
/// counted in an [`IrqTable`].
#[derive(Clone)]
pub struct VfioFunction {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    ids: PciIds,
    resettable: bool,
    irqs: Arc<IrqTable>,
    /// Before the device, which they are of, is closed.
    vectors: Mutex<Option<Vectors>>,
    bars: [Option<Bar>; 6],
    device: Arc<VfioDevice>,
    /// After it: as long as the device is open it may reach memory.
    domain: Domain,
}

/// The command register's bit that lets the function master the bus.
const MASTER: u16 = 1 << 2;

impl VfioFunction {
    /// Opens the function of that name, as `0000:01:00.0`, which has to be bound to
    /// `vfio-pci`. Its interrupts take lines of `irqs`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(name: &str, irqs: Arc<IrqTable>) -> Result<Self, OpenError> {
        let Opened {
            name,
            device,
            container,
            resettable,
        } = Opened::by_name(name)?;
        let mut bars = [const { None }; 6];
        for (bar, index) in bars.iter_mut().zip(0..) {
            *bar = Bar::of(&device, &name, index)?;
        }
        let device = Arc::new(device);
        let inner = Inner {
            ids: ids(&device),
            name,
            resettable,
            irqs,
            vectors: Mutex::new(None),
            bars,
            device,
            domain: Domain::new(container),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(crate) fn domain(&self) -> &Domain {
        &self.inner.domain
    }

    fn vectors(&self) -> MutexGuard<'_, Option<Vectors>> {
        let vectors = self.inner.vectors.lock();
        vectors.unwrap_or_else(PoisonError::into_inner)
    }

    fn bar_at(&self, bar: u8) -> Option<&Bar> {
        self.inner.bars.get(usize::from(bar))?.as_ref()
    }

    /// Reads a register; `None` where there is none that is mapped.
    fn mapped<T: Word>(&self, bar: u8, offset: u32) -> Option<T> {
        Some(self.bar_at(bar)?.register::<T>(offset)?.read())
    }

    /// Reads a register through the device's file; all ones where there is none.
    fn through_file<const N: usize>(&self, bar: u8, offset: u32) -> [u8; N] {
        let mut bytes = [0xff; N];
        if self
            .bar_at(bar)
            .is_some_and(|bar| bar.takes(offset, N as u32))
        {
            self.inner
                .device
                .region_read(bar.into(), &mut bytes, offset.into());
        }
        bytes
    }

    /// Writes a register, by whichever way there is.
    fn write<T: Word>(&self, bar: u8, offset: u32, value: T, bytes: &[u8]) {
        let Some(place) = self.bar_at(bar) else {
            return;
        };
        if let Some(register) = place.register(offset) {
            register.write(value);
        } else if place.takes(offset, bytes.len() as u32) {
            self.inner
                .device
                .region_write(bar.into(), bytes, offset.into());
        }
    }
}

impl std::fmt::Debug for VfioFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = &self.inner.ids;
        let name = &self.inner.name;
        write!(f, "{name} {:04x}:{:04x}", ids.vendor, ids.device)
    }
}

fn config32(device: &VfioDevice, offset: u16) -> u32 {
    let mut bytes = [0xff; 4];
    let at = u64::from(offset & !3);
    device.region_read(VFIO_PCI_CONFIG_REGION_INDEX, &mut bytes, at);
    u32::from_le_bytes(bytes)
}

fn ids(device: &VfioDevice) -> PciIds {
    let (id, class, subsystem) = (
        config32(device, 0),
        config32(device, 8),
        config32(device, 0x2c),
    );
    PciIds {
        vendor: id as u16,
        device: (id >> 16) as u16,
        subsystem_vendor: subsystem as u16,
        subsystem: (subsystem >> 16) as u16,
        class: class >> 8,
        revision: class as u8,
    }
}

impl PciDevice for VfioFunction {
    type Coherent = VfioCoherent;

    fn ids(&self) -> PciIds {
        self.inner.ids
    }

    fn name(&self) -> &str {
        &self.inner.name
    }

    fn config_read32(&self, offset: u16) -> u32 {
        config32(&self.inner.device, offset)
    }

    fn config_write32(&self, offset: u16, value: u32) {
        let at = u64::from(offset & !3);
        self.inner
            .device
            .region_write(VFIO_PCI_CONFIG_REGION_INDEX, &value.to_le_bytes(), at);
    }

    fn bar(&self, index: u8) -> Option<BarInfo> {
        Some(self.bar_at(index)?.info)
    }

    fn read8(&self, bar: u8, offset: u32) -> u8 {
        let [byte] = self
            .mapped::<u8>(bar, offset)
            .map_or_else(|| self.through_file(bar, offset), |register| [register]);
        byte
    }

    fn read16(&self, bar: u8, offset: u32) -> u16 {
        self.mapped(bar, offset)
            .unwrap_or_else(|| u16::from_le_bytes(self.through_file(bar, offset)))
    }

    fn read32(&self, bar: u8, offset: u32) -> u32 {
        self.mapped(bar, offset)
            .unwrap_or_else(|| u32::from_le_bytes(self.through_file(bar, offset)))
    }

    fn write8(&self, bar: u8, offset: u32, value: u8) {
        self.write(bar, offset, value, &[value]);
    }

    fn write16(&self, bar: u8, offset: u32, value: u16) {
        self.write(bar, offset, value, &value.to_le_bytes());
    }

    fn write32(&self, bar: u8, offset: u32, value: u32) {
        self.write(bar, offset, value, &value.to_le_bytes());
    }

    fn set_bus_master(&self, enable: bool) {
        let command = self.config_read32(4) as u16;
        let command = if enable {
            command | MASTER
        } else {
            command & !MASTER
        };
        let device = &self.inner.device;
        device.region_write(VFIO_PCI_CONFIG_REGION_INDEX, &command.to_le_bytes(), 4);
    }

    fn alloc_coherent(&self, len: usize) -> Result<VfioCoherent, BusError> {
        VfioCoherent::new(self, len)
    }

    fn map(&self, region: &DmaRegion) -> Result<(), BusError> {
        self.domain().map(region)
    }

    fn unmap(&self, region: &DmaRegion) {
        self.domain().unmap(region);
    }

    fn alloc_irq_vectors(&self, max: u16, modes: &[IrqMode]) -> Result<IrqVectors, BusError> {
        let inner = &self.inner;
        let mut taken = self.vectors();
        // The old ones first: a device has one kind at a time.
        *taken = None;
        let mut had = modes
            .iter()
            .filter_map(|mode| Vectors::new(&inner.device, &inner.irqs, &inner.name, max, *mode));
        let vectors = had.next().ok_or(BusError::NoIrq)?;
        let given = vectors.given;
        *taken = Some(vectors);
        Ok(given)
    }

    fn free_irq_vectors(&self) {
        *self.vectors() = None;
    }

    fn request_irq(
        &self,
        vector: u16,
        name: &str,
        affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        let vectors = self.vectors();
        let vectors = vectors.as_ref().ok_or(BusError::NoVector(vector))?;
        vectors.request(vector, name, affinity, handler)
    }

    fn free_irq(&self, vector: u16) {
        let line = self.vectors().as_ref().map(|vectors| vectors.line(vector));
        if let Some(Ok(line)) = line {
            self.inner.irqs.free(line);
        }
    }

    fn set_irq_affinity(&self, vector: u16, cpu: usize) -> Result<(), BusError> {
        let vectors = self.vectors();
        let line = vectors.as_ref().ok_or(BusError::NoVector(vector))?;
        let set = self.inner.irqs.set_affinity(line.line(vector)?, cpu);
        set.map_err(|_| BusError::NoVector(vector))
    }

    fn reset_function(&self) -> Result<(), BusError> {
        if !self.inner.resettable {
            return Err(BusError::Unsupported);
        }
        self.inner.device.reset();
        Ok(())
    }

    fn delay_us(&self, us: u32) {
        thread::sleep(Duration::from_micros(us.into()));
    }
}
