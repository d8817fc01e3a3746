//! A device that does not keep to its manual.

use super::Whim;
use crate::bus::{
    BarInfo, BusError, CoherentMemory, IrqMode, IrqReturn, IrqVectors, PciDevice, PciIds,
    VectorHandler,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use softnet_dma_ring::{DmaAddr, DmaRegion};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Register accesses and microseconds of waiting after which a driver is said to ask
/// for ever. No call of a driver takes a thousandth of that.
const FOR_EVER: u64 = 20_000_000;

/// A device between a driver and a real device, or a model, which returns nonsense
/// as often as its mood is bad.
///
/// What it returns depends on whims alone. In the mood 0 it changes nothing.
pub struct HostileDevice<P> {
    inner: P,
    state: Arc<State>,
    handlers: Mutex<Vec<(u16, Arc<dyn VectorHandler>)>>,
}

/// What a device and its memory share.
struct State {
    whim: Arc<Whim>,
    /// Of 256 accesses, so many are nonsense.
    mood: AtomicU8,
    patience: AtomicU64,
}

impl State {
    fn is_mad(&self) -> bool {
        let mood = self.mood.load(Ordering::Relaxed);
        mood > 0 && self.whim.chance(mood)
    }

    /// A value, or what the device gives instead.
    fn twist(&self, value: u64, bits: u32) -> u64 {
        if !self.is_mad() {
            return value;
        }
        let any = || u64::from(self.whim.word()) << 32 | u64::from(self.whim.word());
        let twisted = match self.whim.below(6) {
            0 => u64::MAX,
            1 => 0,
            2 => value ^ 1 << self.whim.below(bits as usize),
            3 => any(),
            4 => value | any(),
            _ => value & any(),
        };
        twisted & (u64::MAX >> (64 - bits))
    }

    /// # Panics
    /// When the driver has asked for ever: this is for tests.
    #[expect(clippy::panic, reason = "this is how a test fails")]
    fn spend(&self, much: u64) {
        let spent = self.patience.fetch_add(much, Ordering::Relaxed);
        if spent > FOR_EVER {
            panic!("the driver asks the device for ever");
        }
    }
}

impl<P: PciDevice> HostileDevice<P> {
    /// A device in the mood 0.
    pub fn new(inner: P, whim: Arc<Whim>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            state: Arc::new(State {
                whim,
                mood: AtomicU8::new(0),
                patience: AtomicU64::new(0),
            }),
            handlers: Mutex::default(),
        })
    }

    /// Changes its mood: of 256 accesses, so many are nonsense. A driver's patience
    /// is counted anew.
    pub fn set_mood(&self, mood: u8) {
        self.state.mood.store(mood, Ordering::Relaxed);
        self.state.patience.store(0, Ordering::Relaxed);
    }

    /// Calls the driver's handlers, without a cause. Returns whether one said that
    /// there was one.
    pub fn interrupt(&self) -> bool {
        self.state.patience.store(0, Ordering::Relaxed);
        let handlers = self.handlers().clone();
        let called = handlers
            .iter()
            .map(|(vector, handler)| handler.interrupt(*vector));
        called.filter(|said| *said == IrqReturn::Handled).count() > 0
    }

    fn handlers(&self) -> MutexGuard<'_, Vec<(u16, Arc<dyn VectorHandler>)>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, bits: u32, read: impl FnOnce(&P) -> u64) -> u64 {
        self.state.spend(1);
        self.state.twist(read(&self.inner), bits)
    }

    /// Writes now and then get lost.
    fn write(&self, write: impl FnOnce(&P)) {
        self.state.spend(1);
        if !self.state.is_mad() {
            write(&self.inner);
        }
    }
}

impl<P: PciDevice> PciDevice for HostileDevice<P> {
    type Coherent = HostileMemory<P::Coherent>;

    fn ids(&self) -> PciIds {
        self.inner.ids()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn config_read32(&self, offset: u16) -> u32 {
        self.read(32, |inner| inner.config_read32(offset).into()) as u32
    }

    fn config_write32(&self, offset: u16, value: u32) {
        self.write(|inner| inner.config_write32(offset, value));
    }

    fn bar(&self, index: u8) -> Option<BarInfo> {
        self.inner.bar(index)
    }

    fn read8(&self, bar: u8, offset: u32) -> u8 {
        self.read(8, |inner| inner.read8(bar, offset).into()) as u8
    }

    fn read16(&self, bar: u8, offset: u32) -> u16 {
        self.read(16, |inner| inner.read16(bar, offset).into()) as u16
    }

    fn read32(&self, bar: u8, offset: u32) -> u32 {
        self.read(32, |inner| inner.read32(bar, offset).into()) as u32
    }

    fn write8(&self, bar: u8, offset: u32, value: u8) {
        self.write(|inner| inner.write8(bar, offset, value));
    }

    fn write16(&self, bar: u8, offset: u32, value: u16) {
        self.write(|inner| inner.write16(bar, offset, value));
    }

    fn write32(&self, bar: u8, offset: u32, value: u32) {
        self.write(|inner| inner.write32(bar, offset, value));
    }

    fn set_bus_master(&self, enable: bool) {
        self.inner.set_bus_master(enable);
    }

    fn alloc_coherent(&self, len: usize) -> Result<Self::Coherent, BusError> {
        if self.state.is_mad() {
            return Err(BusError::NoMemory(len));
        }
        Ok(HostileMemory {
            inner: self.inner.alloc_coherent(len)?,
            state: Arc::clone(&self.state),
        })
    }

    fn map(&self, region: &DmaRegion) -> Result<(), BusError> {
        if self.state.is_mad() {
            return Err(BusError::Gone);
        }
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
        if self.state.is_mad() {
            return Err(BusError::NoIrq);
        }
        self.inner.alloc_irq_vectors(max, modes)
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
        if self.state.is_mad() {
            return Err(BusError::VectorBusy(vector));
        }
        self.inner
            .request_irq(vector, name, affinity, Arc::clone(&handler))?;
        self.handlers().push((vector, handler));
        Ok(())
    }

    fn free_irq(&self, vector: u16) {
        self.handlers().retain(|(of, _)| *of != vector);
        self.inner.free_irq(vector);
    }

    fn set_irq_affinity(&self, vector: u16, cpu: usize) -> Result<(), BusError> {
        self.inner.set_irq_affinity(vector, cpu)
    }

    fn reset_function(&self) -> Result<(), BusError> {
        self.inner.reset_function()
    }

    fn delay_us(&self, us: u32) {
        self.state.spend(us.into());
        self.inner.delay_us(us);
    }

    fn is_present(&self) -> bool {
        self.inner.is_present()
    }
}

/// Descriptor memory in which the driver does not find what is there.
pub struct HostileMemory<C> {
    inner: C,
    state: Arc<State>,
}

impl<C: CoherentMemory> CoherentMemory for HostileMemory<C> {
    fn dma_addr(&self) -> DmaAddr {
        self.inner.dma_addr()
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn read_u64(&self, offset: usize) -> u64 {
        self.state.spend(1);
        self.state.twist(self.inner.read_u64(offset), 64)
    }

    fn write_u64(&self, offset: usize, value: u64) {
        self.inner.write_u64(offset, value);
    }

    fn write_pair(&self, offset: usize, words: [u64; 2]) {
        self.inner.write_pair(offset, words);
    }
}
