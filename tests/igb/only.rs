//! A function that has one kind of interrupt only, and whose waiting is somebody
//! else's turn.

use softnet_dma_ring::{DmaAddr, DmaRegion};
use softnet_nic_hal::bus::{
    BarInfo, BusError, IrqMode, IrqVectors, PciDevice, PciIds, VectorHandler,
};
use std::sync::{Arc, OnceLock};

/// What is done while the driver waits, for so many microseconds.
type Meanwhile = Box<dyn Fn(u32) + Send + Sync>;

/// Passes everything on, and allocates interrupts of one kind and number.
pub(crate) struct Only<P> {
    inner: P,
    mode: IrqMode,
    vectors: u16,
    /// Where nobody drives the device while the driver waits, this does.
    pub(crate) meanwhile: OnceLock<Meanwhile>,
}

impl<P> Only<P> {
    pub(crate) fn new(inner: P, mode: IrqMode, vectors: u16) -> Arc<Self> {
        Arc::new(Self {
            inner,
            mode,
            vectors,
            meanwhile: OnceLock::new(),
        })
    }
}

impl<P: PciDevice> PciDevice for Only<P> {
    type Coherent = P::Coherent;

    fn ids(&self) -> PciIds {
        self.inner.ids()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn config_read32(&self, offset: u16) -> u32 {
        self.inner.config_read32(offset)
    }

    fn config_write32(&self, offset: u16, value: u32) {
        self.inner.config_write32(offset, value);
    }

    fn bar(&self, index: u8) -> Option<BarInfo> {
        self.inner.bar(index)
    }

    fn read8(&self, bar: u8, offset: u32) -> u8 {
        self.inner.read8(bar, offset)
    }

    fn read16(&self, bar: u8, offset: u32) -> u16 {
        self.inner.read16(bar, offset)
    }

    fn read32(&self, bar: u8, offset: u32) -> u32 {
        self.inner.read32(bar, offset)
    }

    fn write8(&self, bar: u8, offset: u32, value: u8) {
        self.inner.write8(bar, offset, value);
    }

    fn write16(&self, bar: u8, offset: u32, value: u16) {
        self.inner.write16(bar, offset, value);
    }

    fn write32(&self, bar: u8, offset: u32, value: u32) {
        self.inner.write32(bar, offset, value);
    }

    fn set_bus_master(&self, enable: bool) {
        self.inner.set_bus_master(enable);
    }

    fn alloc_coherent(&self, len: usize) -> Result<P::Coherent, BusError> {
        self.inner.alloc_coherent(len)
    }

    fn map(&self, region: &DmaRegion) -> Result<(), BusError> {
        self.inner.map(region)
    }

    fn unmap(&self, region: &DmaRegion) {
        self.inner.unmap(region);
    }

    fn sync_for_device(&self, addr: DmaAddr, len: usize) {
        self.inner.sync_for_device(addr, len);
    }

    fn sync_for_cpu(&self, addr: DmaAddr, len: usize) {
        self.inner.sync_for_cpu(addr, len);
    }

    fn alloc_irq_vectors(&self, max: u16, modes: &[IrqMode]) -> Result<IrqVectors, BusError> {
        if !modes.contains(&self.mode) {
            return Err(BusError::NoIrq);
        }
        let max = max.min(self.vectors);
        self.inner.alloc_irq_vectors(max, &[self.mode])
    }

    fn free_irq_vectors(&self) {
        self.inner.free_irq_vectors();
    }

    fn request_irq(
        &self,
        vector: u16,
        name: &str,
        affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        self.inner.request_irq(vector, name, affinity, handler)
    }

    fn free_irq(&self, vector: u16) {
        self.inner.free_irq(vector);
    }

    fn delay_us(&self, us: u32) {
        self.inner.delay_us(us);
        if let Some(meanwhile) = self.meanwhile.get() {
            meanwhile(us);
        }
    }

    fn is_present(&self) -> bool {
        self.inner.is_present()
    }
}
