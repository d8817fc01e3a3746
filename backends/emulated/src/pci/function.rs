//! One PCI function, as its driver and its owner see it.

use super::bus::Identity;
use super::config::Command;
use super::port::{FunctionPort, PciModel, Width};
use softnet_dma_ring::{DmaAddr, DmaFault, DmaRegion};
use softnet_nic_hal::bus::{
    BarInfo, BarKind, BusError, CoherentMemory, IrqMode, IrqVectors, PciDevice, PciIds,
    VectorHandler,
};
use softnet_nic_hal::irq::IrqError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A function of a [`PciBus`](super::PciBus). Clones are of the same function.
#[derive(Clone)]
pub struct PciFunction {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    ids: PciIds,
    bars: [Option<BarInfo>; 6],
    port: Arc<FunctionPort>,
    model: Arc<dyn PciModel>,
    vectors_taken: AtomicBool,
}

impl PciFunction {
    pub(super) fn new(
        name: String,
        identity: &Identity,
        port: Arc<FunctionPort>,
        model: Arc<dyn PciModel>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                ids: identity.ids,
                bars: identity.bars,
                port,
                model,
                vectors_taken: AtomicBool::new(false),
            }),
        }
    }

    /// Pulls the function out, whatever its driver is doing.
    ///
    /// From now on its registers read as all ones, writes do nothing, and it
    /// does not interrupt. When this returns, it does no DMA either. The handler
    /// stays installed until the driver frees it. Must not be called from an
    /// interrupt handler of the function.
    pub fn unplug(&self) {
        self.inner.port.remove();
        self.inner.model.quiesce();
    }

    /// How often the function tried to reach memory that is not mapped for it.
    #[must_use]
    pub fn dma_faults(&self) -> u64 {
        self.inner.port.dma_faults()
    }

    /// The last of these accesses.
    #[must_use]
    pub fn last_dma_fault(&self) -> Option<DmaFault> {
        self.inner.port.last_dma_fault()
    }

    /// The interrupt line of the function's pin.
    #[must_use]
    pub fn irq(&self) -> softnet_nic_hal::irq::Irq {
        self.inner.port.intx.irq()
    }

    fn port(&self) -> &FunctionPort {
        &self.inner.port
    }

    fn unmap_region(&self, region: &DmaRegion) {
        self.port().unmap(region);
        self.inner.model.quiesce();
    }

    /// Whether the function answers such an access there.
    fn decodes(&self, bar: u8, offset: u32, width: Width) -> bool {
        let Some(info) = self.bar(bar) else {
            return false;
        };
        let enable = match info.kind {
            BarKind::Memory => Command::MEMORY,
            BarKind::Io => Command::IO,
        };
        let len = width.bytes();
        let inside = offset.checked_add(len).is_some_and(|end| end <= info.len);
        inside
            && offset.is_multiple_of(len)
            && self.port().is_present()
            && self.port().config.command().contains(enable)
    }

    #[inline]
    fn read(&self, bar: u8, offset: u32, width: Width) -> u32 {
        if !self.decodes(bar, offset, width) {
            return u32::MAX;
        }
        self.inner.model.read(bar, offset, width)
    }

    #[inline]
    fn write(&self, bar: u8, offset: u32, width: Width, value: u32) {
        if self.decodes(bar, offset, width) {
            self.inner.model.write(bar, offset, width, value);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let intx = &self.port.intx;
        intx.table().release(intx.irq());
    }
}

impl std::fmt::Debug for PciFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = &self.inner.ids;
        write!(
            f,
            "{} {:04x}:{:04x}",
            self.inner.name, ids.vendor, ids.device
        )
    }
}

impl PciDevice for PciFunction {
    type Coherent = CoherentRegion;

    fn ids(&self) -> PciIds {
        self.inner.ids
    }

    fn name(&self) -> &str {
        &self.inner.name
    }

    fn config_read32(&self, offset: u16) -> u32 {
        let port = self.port();
        if !port.is_present() {
            return u32::MAX;
        }
        port.config.read(offset, self.inner.model.pin())
    }

    fn config_write32(&self, offset: u16, value: u32) {
        let port = self.port();
        if !port.is_present() {
            return;
        }
        let before = port.config.command();
        port.config.write(offset, value);
        let now = port.config.command();
        if before.contains(Command::MASTER) != now.contains(Command::MASTER) {
            self.inner.model.quiesce();
        }
        if before.contains(Command::INTX_DISABLE) && !now.contains(Command::INTX_DISABLE) {
            self.inner.model.check_pin();
        }
    }

    fn bar(&self, index: u8) -> Option<BarInfo> {
        *self.inner.bars.get(usize::from(index))?
    }

    fn read8(&self, bar: u8, offset: u32) -> u8 {
        self.read(bar, offset, Width::Byte) as u8
    }

    fn read16(&self, bar: u8, offset: u32) -> u16 {
        self.read(bar, offset, Width::Word) as u16
    }

    fn read32(&self, bar: u8, offset: u32) -> u32 {
        self.read(bar, offset, Width::Long)
    }

    fn write8(&self, bar: u8, offset: u32, value: u8) {
        self.write(bar, offset, Width::Byte, value.into());
    }

    fn write16(&self, bar: u8, offset: u32, value: u16) {
        self.write(bar, offset, Width::Word, value.into());
    }

    fn write32(&self, bar: u8, offset: u32, value: u32) {
        self.write(bar, offset, Width::Long, value);
    }

    fn set_bus_master(&self, enable: bool) {
        self.port().config.set_command(Command::MASTER, enable);
        self.inner.model.quiesce();
    }

    fn alloc_coherent(&self, len: usize) -> Result<CoherentRegion, BusError> {
        let region = DmaRegion::alloc(len).map_err(|_| BusError::NoMemory(len))?;
        self.map(&region)?;
        Ok(CoherentRegion {
            region,
            function: self.clone(),
        })
    }

    fn map(&self, region: &DmaRegion) -> Result<(), BusError> {
        if !self.port().is_present() {
            return Err(BusError::Gone);
        }
        Ok(self.port().map(region)?)
    }

    fn unmap(&self, region: &DmaRegion) {
        self.unmap_region(region);
    }

    fn alloc_irq_vectors(&self, max: u16, modes: &[IrqMode]) -> Result<IrqVectors, BusError> {
        if !self.port().is_present() {
            return Err(BusError::Gone);
        }
        if max == 0 || !modes.contains(&IrqMode::Intx) {
            return Err(BusError::NoIrq);
        }
        self.inner.vectors_taken.store(true, Ordering::Release);
        Ok(IrqVectors {
            mode: IrqMode::Intx,
            count: 1,
        })
    }

    fn free_irq_vectors(&self) {
        self.inner.vectors_taken.store(false, Ordering::Release);
    }

    fn request_irq(
        &self,
        vector: u16,
        name: &str,
        affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        if vector != 0 || !self.inner.vectors_taken.load(Ordering::Acquire) {
            return Err(BusError::NoVector(vector));
        }
        let intx = &self.port().intx;
        let requested = intx
            .table()
            .request(intx.irq(), vector, name, affinity, handler);
        requested.map_err(|error| match error {
            IrqError::Busy(_) => BusError::VectorBusy(vector),
            _ => BusError::NoVector(vector),
        })?;
        self.inner.model.check_pin();
        Ok(())
    }

    fn free_irq(&self, vector: u16) {
        if vector == 0 {
            let intx = &self.port().intx;
            intx.table().free(intx.irq());
        }
    }

    fn delay_us(&self, us: u32) {
        self.inner.model.delay_us(us);
    }

    fn is_present(&self) -> bool {
        self.port().is_present()
    }
}

/// Descriptor memory of one function: plain memory of this process, which is
/// taken away from the device when it is dropped.
#[derive(Debug)]
pub struct CoherentRegion {
    region: DmaRegion,
    function: PciFunction,
}

impl CoherentMemory for CoherentRegion {
    fn dma_addr(&self) -> DmaAddr {
        CoherentMemory::dma_addr(&self.region)
    }

    fn len(&self) -> usize {
        CoherentMemory::len(&self.region)
    }

    #[inline]
    fn read_u64(&self, offset: usize) -> u64 {
        CoherentMemory::read_u64(&self.region, offset)
    }

    #[inline]
    fn write_u64(&self, offset: usize, value: u64) {
        CoherentMemory::write_u64(&self.region, offset, value);
    }

    #[inline]
    fn write_pair(&self, offset: usize, words: [u64; 2]) {
        CoherentMemory::write_pair(&self.region, offset, words);
    }
}

impl Drop for CoherentRegion {
    fn drop(&mut self) {
        self.function.unmap_region(&self.region);
    }
}
