//! A PCI function of the machine, as its driver sees it.

use crate::bars::Bar;
use crate::config::{Command, Slot};
use crate::machine::Shared;
use crate::memory::{self, QemuCoherent};
use crate::qtest::Width;
use crate::vectors::Vectors;
use softnet_dma_ring::{DmaAddr, DmaDomain, DmaRegion};
use softnet_nic_hal::bus::{
    BarInfo, BarKind, BusError, IrqMode, IrqVectors, PciDevice, PciIds, VectorHandler,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network card of a [`QemuMachine`](crate::QemuMachine). Clones are of the same card.
#[derive(Clone)]
pub struct QemuFunction {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    slot: Slot,
    name: String,
    ids: PciIds,
    bars: [Option<Bar>; 6],
    /// What was mapped: where the copies of `sync` go from and to.
    domain: Mutex<DmaDomain>,
    vectors: Mutex<Vectors>,
}

impl QemuFunction {
    pub(crate) fn new(
        shared: Arc<Shared>,
        slot: Slot,
        name: String,
        ids: PciIds,
        bars: [Option<Bar>; 6],
    ) -> Self {
        let inner = Inner {
            shared,
            slot,
            name,
            ids,
            bars,
            domain: Mutex::default(),
            vectors: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn vectors(&self) -> MutexGuard<'_, Vectors> {
        lock(&self.inner.vectors)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    fn command(&self, set: Command, clear: Command) {
        let mut line = self.shared().qtest.lock();
        self.inner.slot.command(&mut line, set, clear);
    }

    /// Where a register is: its space, and its address there.
    fn place(&self, bar: u8, offset: u32, len: u32) -> Option<(BarKind, u64)> {
        let bar = (*self.inner.bars.get(usize::from(bar))?)?;
        let inside = offset.checked_add(len)? <= bar.info.len;
        let aligned = offset.is_multiple_of(len);
        (inside && aligned).then_some((bar.info.kind, bar.base + u64::from(offset)))
    }

    fn read(&self, bar: u8, offset: u32, width: Width) -> u64 {
        let mut line = self.shared().qtest.lock();
        match self.place(bar, offset, width.bytes()) {
            Some((BarKind::Memory, at)) => line.read(width, at),
            Some((BarKind::Io, port)) => line.port_in(width, port),
            None => width.ones(),
        }
    }

    fn write(&self, bar: u8, offset: u32, width: Width, value: u64) {
        let mut line = self.shared().qtest.lock();
        match self.place(bar, offset, width.bytes()) {
            Some((BarKind::Memory, at)) => line.write(width, at, value),
            Some((BarKind::Io, port)) => line.port_out(width, port, value),
            None => {}
        }
        // The device is to act on it now, and whoever wrote need not wait for that.
        line.send();
    }

    fn is_gone(&self) -> bool {
        self.shared().qtest.lock().is_gone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for QemuFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { name, ids, .. } = &*self.inner;
        write!(f, "{name} {:04x}:{:04x}", ids.vendor, ids.device)
    }
}

impl PciDevice for QemuFunction {
    type Coherent = QemuCoherent;

    fn ids(&self) -> PciIds {
        self.inner.ids
    }

    fn name(&self) -> &str {
        &self.inner.name
    }

    fn config_read32(&self, offset: u16) -> u32 {
        let mut line = self.shared().qtest.lock();
        self.inner.slot.read(&mut line, offset)
    }

    fn config_write32(&self, offset: u16, value: u32) {
        let mut line = self.shared().qtest.lock();
        self.inner.slot.write(&mut line, offset, value);
        line.send();
    }

    fn bar(&self, index: u8) -> Option<BarInfo> {
        let bar = self.inner.bars.get(usize::from(index))?;
        bar.map(|bar| bar.info)
    }

    fn read8(&self, bar: u8, offset: u32) -> u8 {
        self.read(bar, offset, Width::Byte) as u8
    }

    fn read16(&self, bar: u8, offset: u32) -> u16 {
        self.read(bar, offset, Width::Word) as u16
    }

    fn read32(&self, bar: u8, offset: u32) -> u32 {
        self.read(bar, offset, Width::Long) as u32
    }

    fn write8(&self, bar: u8, offset: u32, value: u8) {
        self.write(bar, offset, Width::Byte, value.into());
    }

    fn write16(&self, bar: u8, offset: u32, value: u16) {
        self.write(bar, offset, Width::Word, value.into());
    }

    fn write32(&self, bar: u8, offset: u32, value: u32) {
        self.write(bar, offset, Width::Long, value.into());
    }

    fn set_bus_master(&self, enable: bool) {
        if enable {
            self.command(Command::MASTER, Command::empty());
        } else {
            self.command(Command::empty(), Command::MASTER);
        }
    }

    fn alloc_coherent(&self, len: usize) -> Result<QemuCoherent, BusError> {
        QemuCoherent::new(Arc::clone(self.shared()), len)
    }

    fn map(&self, region: &DmaRegion) -> Result<(), BusError> {
        if self.is_gone() {
            return Err(BusError::Gone);
        }
        memory::check(region)?;
        Ok(lock(&self.inner.domain).map(region)?)
    }

    fn unmap(&self, region: &DmaRegion) {
        lock(&self.inner.domain).unmap(region);
    }

    fn sync_for_device(&self, addr: DmaAddr, len: usize) {
        let mut bytes = vec![0; len];
        let read = lock(&self.inner.domain).read(addr, &mut bytes);
        debug_assert!(read.is_ok(), "a buffer that was not mapped: {read:?}");
        if read.is_ok() {
            self.shared().qtest.lock().write_bytes(addr.0, &bytes);
        }
    }

    fn sync_for_cpu(&self, addr: DmaAddr, len: usize) {
        let mut bytes = vec![0; len];
        let read = self.shared().qtest.lock().read_bytes(addr.0, &mut bytes);
        if read.is_some() {
            let written = lock(&self.inner.domain).write(addr, &bytes);
            debug_assert!(written.is_ok(), "a buffer that was not mapped: {written:?}");
        }
    }

    fn alloc_irq_vectors(&self, max: u16, modes: &[IrqMode]) -> Result<IrqVectors, BusError> {
        if self.is_gone() {
            return Err(BusError::Gone);
        }
        let bars = &self.inner.bars;
        self.vectors()
            .alloc(self.shared(), self.inner.slot, bars, max, modes)
    }

    fn free_irq_vectors(&self) {
        self.vectors().free_all(self.shared(), self.inner.slot);
    }

    fn request_irq(
        &self,
        vector: u16,
        name: &str,
        affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        let mut vectors = self.vectors();
        let irq = vectors.line(vector).ok_or(BusError::NoVector(vector))?;
        let irqs = &self.shared().irqs;
        irqs.request(irq, vector, name, affinity, handler)
            .map_err(|_| BusError::VectorBusy(vector))?;
        vectors.set_masked(self.shared(), vector, false);
        Ok(())
    }

    fn free_irq(&self, vector: u16) {
        let line = {
            let mut vectors = self.vectors();
            vectors.set_masked(self.shared(), vector, true);
            vectors.line(vector)
        };
        if let Some(irq) = line {
            self.shared().irqs.free(irq);
        }
    }

    fn delay_us(&self, us: u32) {
        let mut line = self.shared().qtest.lock();
        line.clock_step(u64::from(us) * 1000);
    }

    fn is_present(&self) -> bool {
        self.config_read32(0) != u32::MAX
    }
}
