//! The seam between a driver and its chip.
//!
//! A driver is written on [`PciDevice`] alone, and so runs unchanged on every
//! implementation of it: device models in this process, another program's
//! device models behind a socket, or the real chip through VFIO. Hence what the
//! trait does *not* promise: DMA memory need not be directly addressable
//! (descriptors go through [`CoherentMemory`], buffers through the `dma_sync`
//! calls), and time passes only as the device sees it ([`PciDevice::delay_us`]).

pub mod capability;
mod enumerate;
mod registry;

use alloc::sync::Arc;
pub use enumerate::{ConfigAccess, FoundFunction, PciAddress, enumerate};
pub use registry::{BindError, Change, Host, PciDriver, PciDrivers, RegisterError};
use softnet_dma_ring::{DmaAddr, DmaRegion, MapError};

/// What identifies a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PciIds {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Subsystem vendor.
    pub subsystem_vendor: u16,
    /// Subsystem.
    pub subsystem: u16,
    /// Class, subclass and programming interface, as 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

/// One line of a driver's table of the devices it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciIdMatch {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
}

impl PciIdMatch {
    /// Whether the function is one of these.
    #[must_use]
    pub const fn matches(&self, ids: &PciIds) -> bool {
        self.vendor == ids.vendor && self.device == ids.device
    }
}

/// What kind of space a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory.
    Memory,
    /// I/O ports.
    Io,
}

/// One base address register, as sized by the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarInfo {
    /// Its kind.
    pub kind: BarKind,
    /// Its length in bytes.
    pub len: u32,
}

/// How a function signals interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqMode {
    /// One shared, level-triggered pin.
    Intx,
    /// Up to 32 messages from one capability.
    Msi,
    /// Messages from a table, each with its own mask.
    MsiX,
}

/// The vectors that a function was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqVectors {
    /// Their kind.
    pub mode: IrqMode,
    /// Their number.
    pub count: u16,
}

/// A driver's handler of one interrupt vector.
///
/// It is called in hard-interrupt context, on whatever thread delivers the
/// interrupt: no lock, no allocation, bounded work. It may use the device's
/// registers.
pub trait VectorHandler: Send + Sync {
    /// Returns [`IrqReturn::None`] when the device had raised nothing (a shared
    /// pin, or a spurious interrupt).
    fn interrupt(&self, vector: u16) -> IrqReturn;
}

/// Whether an interrupt was the handler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqReturn {
    /// It was not.
    None,
    /// It was, and was handled.
    Handled,
    /// It is not the time: who takes the function's pin for somebody else has masked
    /// it, or another thread works on the device. He looks at it by himself when that
    /// is over: there is no sense in calling him again.
    Masked,
}

/// Memory that a driver and its device share for descriptors.
///
/// It is zeroed when new. Words are aligned and little-endian. A write becomes
/// visible to the device not later than the register write that follows it
/// (the tail); what the device wrote before a word is visible once that word
/// was read.
pub trait CoherentMemory: Send + Sync {
    /// The first byte, as the device sees it.
    fn dma_addr(&self) -> DmaAddr;
    /// Length in bytes.
    fn len(&self) -> usize;
    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The word at `offset`; 0 when it is unaligned or outside, which is a
    /// mistake of the driver.
    fn read_u64(&self, offset: usize) -> u64;
    /// Writes the word at `offset`; nothing when it is unaligned or outside,
    /// which is a mistake of the driver.
    fn write_u64(&self, offset: usize, value: u64);
    /// Reads a descriptor of two words at `offset`, the one at the higher address
    /// first: where it says that the device is done, the other is what the device
    /// wrote. Otherwise as [`read_u64`](Self::read_u64).
    #[inline]
    fn read_pair(&self, offset: usize) -> [u64; 2] {
        let second = self.read_u64(offset + 8);
        [self.read_u64(offset), second]
    }
    /// Writes a descriptor of two words at `offset`, the one at the lower address
    /// first; otherwise as [`write_u64`](Self::write_u64).
    #[inline]
    fn write_pair(&self, offset: usize, words: [u64; 2]) {
        let [first, second] = words;
        self.write_u64(offset, first);
        self.write_u64(offset + 8, second);
    }
}

/// Plain memory of this process: x86's and Arm's acquire and release are what
/// the device's side pairs with.
impl CoherentMemory for DmaRegion {
    fn dma_addr(&self) -> DmaAddr {
        DmaRegion::dma_addr(self)
    }

    fn len(&self) -> usize {
        DmaRegion::len(self)
    }

    #[inline]
    fn read_u64(&self, offset: usize) -> u64 {
        let word = DmaRegion::read_u64(self, offset, core::sync::atomic::Ordering::Acquire);
        debug_assert!(
            word.is_some(),
            "descriptor word outside of its ring: {offset}"
        );
        word.unwrap_or(0)
    }

    #[inline]
    fn write_u64(&self, offset: usize, value: u64) {
        let done = DmaRegion::write_u64(self, offset, value, core::sync::atomic::Ordering::Release);
        debug_assert!(
            done.is_some(),
            "descriptor word outside of its ring: {offset}"
        );
    }

    #[inline]
    fn read_pair(&self, offset: usize) -> [u64; 2] {
        let descriptor = self.words(offset);
        debug_assert!(
            descriptor.is_some(),
            "descriptor outside of its ring: {offset}"
        );
        descriptor.map_or([0; 2], |descriptor| {
            let second = descriptor.second(core::sync::atomic::Ordering::Acquire);
            let first = descriptor.first(core::sync::atomic::Ordering::Relaxed);
            [first, second]
        })
    }

    #[inline]
    fn write_pair(&self, offset: usize, words: [u64; 2]) {
        let descriptor = self.words(offset);
        debug_assert!(
            descriptor.is_some(),
            "descriptor outside of its ring: {offset}"
        );
        if let Some(descriptor) = descriptor {
            let [first, second] = words;
            descriptor.set_first(first, core::sync::atomic::Ordering::Release);
            descriptor.set_second(second, core::sync::atomic::Ordering::Release);
        }
    }
}

/// Why the bus refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The device does not answer any more.
    #[error("the device is gone")]
    Gone,
    /// The function has no such base address register, or one of another kind.
    #[error("the function has no usable BAR {0}")]
    NoBar(u8),
    /// The function has no interrupt of the kinds that were asked for.
    #[error("the function has no interrupt of the kinds asked for")]
    NoIrq,
    /// The vector is not one that was allocated.
    #[error("interrupt vector {0} was not allocated")]
    NoVector(u16),
    /// The vector has a handler already.
    #[error("interrupt vector {0} has a handler already")]
    VectorBusy(u16),
    /// The bus, or the function, cannot do that.
    #[error("the bus or the function cannot do that")]
    Unsupported,
    /// No memory for a device.
    #[error("no DMA memory of {0} bytes")]
    NoMemory(usize),
    /// The region could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// One PCI function, as its driver sees it.
///
/// Registers of a device that is gone read as all ones, and writes to it do
/// nothing, as on the real bus. Offsets outside of a BAR do the same.
pub trait PciDevice: Send + Sync + 'static {
    /// Descriptor memory.
    type Coherent: CoherentMemory + 'static;

    /// What the function is.
    fn ids(&self) -> PciIds;

    /// A short name for reports, like `0000:00:03.0`.
    fn name(&self) -> &str;

    /// The aligned 32-bit word of configuration space at `offset`.
    fn config_read32(&self, offset: u16) -> u32;
    /// Writes the aligned 32-bit word of configuration space at `offset`.
    fn config_write32(&self, offset: u16, value: u32);

    /// The base address register `index` (0 to 5), if the function has it.
    fn bar(&self, index: u8) -> Option<BarInfo>;

    /// Reads a byte of a BAR.
    fn read8(&self, bar: u8, offset: u32) -> u8;
    /// Reads a 16-bit register.
    fn read16(&self, bar: u8, offset: u32) -> u16;
    /// Reads a 32-bit register.
    fn read32(&self, bar: u8, offset: u32) -> u32;
    /// Writes a byte of a BAR.
    fn write8(&self, bar: u8, offset: u32, value: u8);
    /// Writes a 16-bit register.
    fn write16(&self, bar: u8, offset: u32, value: u16);
    /// Writes a 32-bit register. All earlier writes to coherent memory are
    /// visible to the device first.
    fn write32(&self, bar: u8, offset: u32, value: u32);

    /// Lets the function master the bus (and so do DMA and send messages), or
    /// keeps it from doing so.
    fn set_bus_master(&self, enable: bool);

    /// Memory for descriptors, of at least `len` bytes, page-aligned, mapped
    /// for the device until it is dropped.
    ///
    /// # Errors
    /// [`BusError::NoMemory`] or [`BusError::Gone`].
    fn alloc_coherent(&self, len: usize) -> Result<Self::Coherent, BusError>;

    /// Lets the device reach a pool's region.
    ///
    /// # Errors
    /// [`BusError::Map`] or [`BusError::Gone`].
    fn map(&self, region: &DmaRegion) -> Result<(), BusError>;

    /// Takes the region away from the device again.
    fn unmap(&self, region: &DmaRegion);

    /// The device is about to read a buffer: what the CPU wrote to it is made
    /// visible. Nothing to do where the device reaches memory itself.
    fn sync_for_device(&self, addr: DmaAddr, len: usize) {
        let _ = (addr, len);
    }

    /// The CPU is about to read a buffer that the device has written.
    fn sync_for_cpu(&self, addr: DmaAddr, len: usize) {
        let _ = (addr, len);
    }

    /// Sets up interrupts: as many vectors as can be had, at most `max`, of the
    /// first kind in `modes` that the function has.
    ///
    /// # Errors
    /// [`BusError::NoIrq`] or [`BusError::Gone`].
    fn alloc_irq_vectors(&self, max: u16, modes: &[IrqMode]) -> Result<IrqVectors, BusError>;

    /// Gives the vectors back; their handlers must have been freed.
    fn free_irq_vectors(&self);

    /// Installs the handler of a vector, under a name for reports. It can be
    /// called from then on. `affinity` is the CPU whose interrupt it counts as.
    ///
    /// # Errors
    /// [`BusError::NoVector`] or [`BusError::VectorBusy`].
    fn request_irq(
        &self,
        vector: u16,
        name: &str,
        affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError>;

    /// Removes the handler of a vector. When it returns, the handler is not
    /// running and will not be called again. Must not be called from a handler.
    fn free_irq(&self, vector: u16);

    /// Makes a vector interrupt another CPU.
    ///
    /// # Errors
    /// [`BusError::NoVector`], or [`BusError::Unsupported`].
    fn set_irq_affinity(&self, vector: u16, cpu: usize) -> Result<(), BusError> {
        let _ = (vector, cpu);
        Err(BusError::Unsupported)
    }

    /// Resets the function alone, by the means that it has: all its registers have
    /// their initial values then. Configuration space, mappings and vectors are
    /// afterwards as they were before.
    ///
    /// # Errors
    /// [`BusError::Unsupported`] when there is no such means, or
    /// [`BusError::Gone`].
    fn reset_function(&self) -> Result<(), BusError> {
        Err(BusError::Unsupported)
    }

    /// The offset of a capability in configuration space, by its
    /// [identifier](capability).
    fn find_capability(&self, id: u8) -> Option<u16> {
        capability::find(|offset| self.config_read32(offset), id)
    }

    /// Lets that much time pass for the device, in microseconds.
    fn delay_us(&self, us: u32);

    /// Polls until `ready`, at most `polls` times, and lets `us` microseconds pass
    /// for the device after each that was not. Returns whether it was ready.
    fn poll(&self, polls: u32, us: u32, ready: impl Fn() -> bool) -> bool
    where
        Self: Sized,
    {
        (0..polls).any(|_| {
            let now = ready();
            if !now {
                self.delay_us(us);
            }
            now
        })
    }

    /// Whether the device still answers.
    fn is_present(&self) -> bool {
        self.config_read32(0) != u32::MAX
    }
}
