//! What the bus is to a device model.

use super::config::{Command, ConfigSpace, Status};
use super::intx::Intx;
use crate::quiesce::{Snapshot, Versioned};
use softnet_dma_ring::{DmaDomain, DmaFault, DmaRegion, MapError};
use softnet_nic_hal::bus::IrqMode;
use softnet_nic_hal::irq::{Irq, IrqTable};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How wide a register access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Long,
}

impl Width {
    /// Its bytes: 1, 2 or 4.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Long => 4,
        }
    }

    /// The bits of a value that are so wide.
    #[must_use]
    pub const fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Long => u32::MAX,
        }
    }
}

/// A function's chip, as the bus sees it.
///
/// The bus calls it only for accesses that the function decodes: inside of a BAR,
/// and at an offset that is a multiple of the width. What a narrow access does is
/// the chip's own.
pub trait PciModel: Send + Sync + 'static {
    /// Reads `width` bits at `offset` of a BAR; the bits above them are ignored.
    /// All ones where there is nothing.
    fn read(&self, bar: u8, offset: u32, width: Width) -> u32;

    /// Writes `width` bits at `offset` of a BAR; the bits above them are 0.
    fn write(&self, bar: u8, offset: u32, width: Width, value: u32);

    /// Whether the interrupt pin is asserted.
    fn pin(&self) -> bool;

    /// Looks at the pin again, since a handler was installed or unmasked.
    fn check_pin(&self);

    /// Returns when no DMA is under way that began before the call. Must not
    /// wait for an interrupt handler.
    fn quiesce(&self);

    /// A function-level reset: afterwards all registers have their initial values,
    /// no DMA is under way, and no interrupt is pending. What the function's
    /// configuration space and its messages are is the bus's own.
    fn reset(&self);

    /// Lets time pass, in microseconds.
    fn delay_us(&self, us: u32);
}

/// A model's side of its slot.
pub struct FunctionPort {
    pub(super) config: ConfigSpace,
    pub(super) intx: Intx,
    present: AtomicBool,
    domain: Versioned<DmaDomain>,
    faults: AtomicU64,
    last_fault: Mutex<Option<DmaFault>>,
}

/// A model's own copy of what it may reach, so that it takes no lock while it
/// moves packets. [`FunctionPort::refresh`] brings it up to date.
#[derive(Debug, Default)]
pub struct DmaView(Snapshot<DmaDomain>);

impl DmaView {
    /// What the function may reach.
    #[must_use]
    pub fn domain(&self) -> &DmaDomain {
        self.0.value()
    }
}

impl FunctionPort {
    pub(super) fn new(config: ConfigSpace, irqs: Arc<IrqTable>, irq: Irq) -> Self {
        Self {
            config,
            intx: Intx::new(irqs, irq),
            present: AtomicBool::new(true),
            domain: Versioned::default(),
            faults: AtomicU64::new(0),
            last_fault: Mutex::default(),
        }
    }

    /// Whether the function is plugged in.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.present.load(Ordering::Acquire)
    }

    /// Whether the function may do DMA.
    #[must_use]
    pub fn may_master(&self) -> bool {
        self.is_present() && self.config.command().contains(Command::MASTER)
    }

    /// Brings a model's copy of its mappings up to date. To be called when the
    /// model has begun what [`PciModel::quiesce`] waits for the end of.
    pub fn refresh(&self, view: &mut DmaView) {
        self.domain.refresh(&mut view.0);
    }

    /// Reports an access outside of every mapping: it is counted, and ends as a
    /// received master abort in the status register.
    pub fn report(&self, fault: DmaFault) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_fault) = Some(fault);
        self.config.raise_status(Status::RECEIVED_MASTER_ABORT);
    }

    /// The pin may have become asserted: calls the handler while `asserted`
    /// says so. Returns whether this thread called it.
    ///
    /// The model must hold none of its locks.
    pub fn raise_intx(&self, asserted: &dyn Fn() -> bool) -> bool {
        self.intx.signal(&|| self.may_interrupt() && asserted())
    }

    /// How the function has to interrupt now, as its driver or its operating
    /// system has set it up.
    #[must_use]
    pub fn irq_mode(&self) -> IrqMode {
        IrqMode::Intx
    }

    /// Sends the message of one vector, of MSI-X or MSI; nothing while the function
    /// is to use its pin. A message that is masked, or that the function may not
    /// send as it does not master the bus, stays pending until it can be sent.
    /// Returns whether this thread called the handler.
    ///
    /// The model must hold none of its locks.
    pub fn message(&self, vector: u16) -> bool {
        let _ = vector;
        false
    }

    pub(super) fn may_interrupt(&self) -> bool {
        self.is_present() && !self.config.command().contains(Command::INTX_DISABLE)
    }

    pub(super) fn remove(&self) {
        self.present.store(false, Ordering::Release);
    }

    pub(super) fn map(&self, region: &DmaRegion) -> Result<(), MapError> {
        self.domain.change(|domain| domain.map(region))
    }

    pub(super) fn unmap(&self, region: &DmaRegion) {
        self.domain.change(|domain| domain.unmap(region));
    }

    pub(super) fn dma_faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    pub(super) fn last_dma_fault(&self) -> Option<DmaFault> {
        *lock(&self.last_fault)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
