//! One PCI function, as its driver and its owner see it.

use super::bus::Identity;
use super::config::{Command, Live, offset};
use super::list::{Caused, ResetBy};
use super::messages::Part;
use super::port::{FunctionPort, PciModel, Width};
use super::saved::Saved;
use super::vectors::Vectors;
use softnet_dma_ring::{DmaAddr, DmaFault, DmaRegion};
use softnet_nic_hal::bus::{
    BarInfo, BarKind, BusError, CoherentMemory, IrqMode, IrqVectors, PciDevice, PciIds,
    VectorHandler,
};
use std::sync::Arc;

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
    vectors: Vectors,
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
                vectors: Vectors::default(),
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

    pub(super) fn port(&self) -> &FunctionPort {
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
            BarKind::Memory => Live::MEMORY,
            BarKind::Io => Live::IO,
        };
        let len = width.bytes();
        let inside = offset.checked_add(len).is_some_and(|end| end <= info.len);
        inside && offset.is_multiple_of(len) && self.port().live().contains(enable)
    }

    #[inline]
    fn read(&self, bar: u8, offset: u32, width: Width) -> u32 {
        if !self.decodes(bar, offset, width) {
            return u32::MAX;
        }
        match self.port().table_part(bar, offset) {
            Some(part) => part_of(self.port().table_read(part), offset, width),
            None => self.inner.model.read(bar, offset, width),
        }
    }

    #[inline]
    fn write(&self, bar: u8, offset: u32, width: Width, value: u32) {
        if !self.decodes(bar, offset, width) {
            return;
        }
        match self.port().table_part(bar, offset) {
            Some(part) => self.write_table(part, width, value),
            None => self.inner.model.write(bar, offset, width, value),
        }
    }

    /// The table takes only whole words (*PCI Local Bus Specification* 3.0,
    /// 6.8.2).
    fn write_table(&self, part: Part, width: Width, value: u32) {
        if width == Width::Long {
            self.port().table_write(part, value);
        }
    }

    /// Reads `width` bits of configuration space at `offset`, a multiple of the
    /// width; all ones elsewhere.
    #[must_use]
    pub fn config_read(&self, offset: u16, width: Width) -> u32 {
        if !u32::from(offset).is_multiple_of(width.bytes()) {
            return width.mask();
        }
        part_of(self.config_read32(offset & !3), offset.into(), width)
    }

    /// Writes `width` bits of configuration space at `offset`, a multiple of the
    /// width; nothing elsewhere.
    pub fn config_write(&self, offset: u16, width: Width, value: u32) {
        if !u32::from(offset).is_multiple_of(width.bytes()) {
            return;
        }
        let at = offset & !3;
        let shift = u32::from(offset & 3) * 8;
        let mut rest = self.config_read32(at);
        if at == offset::COMMAND {
            // What is not written of the status register must not be cleared.
            rest &= 0xffff;
        }
        let mask = width.mask() << shift;
        self.config_write32(at, rest & !mask | value << shift & mask);
    }

    /// Looks at the interrupt pin again, since whoever takes its interrupts lets
    /// them through again.
    pub fn check_interrupt(&self) {
        self.inner.model.check_pin();
    }

    /// Resets the function alone, without the care for its configuration space
    /// that [`PciDevice::reset_function`] takes.
    fn reset(&self) {
        self.port().change(|port, _| port.config.reset());
        self.inner.model.quiesce();
        self.inner.model.reset();
    }
}

/// The part of a word that such an access is of.
fn part_of(word: u32, offset: u32, width: Width) -> u32 {
    word >> ((offset & 3) * 8) & width.mask()
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.vectors.free(&self.port);
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
        let before = port.live();
        if port.config_write(offset, value) == Caused::Reset {
            self.reset();
            return;
        }
        let now = port.live();
        if (before ^ now).contains(Live::MASTER) {
            self.inner.model.quiesce();
        }
        if (now - before).contains(Live::INTX) {
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
        self.port().set_command(Command::MASTER, enable);
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
        let inner = &self.inner;
        inner.vectors.alloc(&inner.port, &inner.name, max, modes)
    }

    fn free_irq_vectors(&self) {
        self.inner.vectors.free(self.port());
    }

    fn request_irq(
        &self,
        vector: u16,
        name: &str,
        affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        let vectors = &self.inner.vectors;
        vectors.request(self.port(), vector, name, affinity, handler)?;
        self.inner.model.check_pin();
        Ok(())
    }

    fn free_irq(&self, vector: u16) {
        self.inner.vectors.free_irq(self.port(), vector);
    }

    fn set_irq_affinity(&self, vector: u16, cpu: usize) -> Result<(), BusError> {
        let vectors = &self.inner.vectors;
        vectors.set_affinity(self.port(), vector, cpu)
    }

    fn reset_function(&self) -> Result<(), BusError> {
        if !self.port().is_present() {
            return Err(BusError::Gone);
        }
        let by = self.port().config.list.reset_by();
        let by = by.ok_or(BusError::Unsupported)?;
        let saved = Saved::of(self);
        match by {
            ResetBy::Flr(at, bits) => {
                self.config_write32(at, self.config_read32(at) | bits);
            }
            ResetBy::Power(at) => {
                self.config_write32(at + 4, 3);
                self.config_write32(at + 4, 0);
            }
        }
        saved.restore(self);
        Ok(())
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
    fn read_pair(&self, offset: usize) -> [u64; 2] {
        CoherentMemory::read_pair(&self.region, offset)
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
