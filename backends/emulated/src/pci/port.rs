//! What the bus is to a device model.

use super::config::{Command, ConfigSpace, Live, Status};
use super::intx::{Intx, PinLine};
use super::list::Caused;
use super::messages::Part;
use super::vector::Route;
use crate::quiesce::{Snapshot, Versioned};
use arc_swap::ArcSwap;
use softnet_dma_ring::{DmaDomain, DmaFault, DmaRegion, MapError};
use softnet_nic_hal::bus::IrqMode;
use softnet_nic_hal::irq::{Irq, IrqTable};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
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
    /// [`Live`], as the last change of the configuration left it.
    live: AtomicU32,
    /// Held while the configuration changes. No handler is called meanwhile.
    changing: Mutex<()>,
    irqs: Arc<IrqTable>,
    /// The interrupt line of each vector of messages.
    lines: ArcSwap<Vec<Irq>>,
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
    pub(super) fn new(config: ConfigSpace, irqs: Arc<IrqTable>, pin: Arc<PinLine>) -> Self {
        let live = AtomicU32::new(config.live().bits());
        Self {
            config,
            intx: Intx::new(pin),
            present: AtomicBool::new(true),
            live,
            changing: Mutex::default(),
            irqs,
            lines: ArcSwap::default(),
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
        self.live().contains(Live::MASTER)
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
        self.config.list.irq_mode()
    }

    /// Sends the message of one vector, of MSI-X or MSI; nothing while the function
    /// is to use its pin. A message that is masked, or that the function may not
    /// send as it does not master the bus, stays pending until it can be sent.
    /// Returns whether this thread sent it, and so may have called the handler.
    ///
    /// The model must hold none of its locks.
    pub fn message(&self, vector: u16) -> bool {
        let list = &self.config.list;
        let route = match self.irq_mode() {
            IrqMode::MsiX => list.msix.as_ref().and_then(|msix| msix.message(vector)),
            IrqMode::Msi => list.msi.as_ref().and_then(|msi| msi.message(vector)),
            IrqMode::Intx => None,
        };
        route.inspect(|route| self.send(*route)).is_some()
    }

    fn send(&self, route: Route) {
        let line = self.lines.load().get(usize::from(route.0)).copied();
        match line {
            Some(line) => {
                self.irqs.deliver(line);
            }
            None => self.config.raise_status(Status::RECEIVED_MASTER_ABORT),
        }
    }

    fn send_all(&self, due: Vec<Route>) {
        for route in due {
            self.send(route);
        }
    }

    pub(super) fn set_lines(&self, lines: Vec<Irq>) -> Arc<Vec<Irq>> {
        self.lines.swap(Arc::new(lines))
    }

    pub(super) fn irqs(&self) -> &IrqTable {
        &self.irqs
    }

    pub(super) fn line(&self, vector: u16) -> Option<Irq> {
        self.lines.load().get(usize::from(vector)).copied()
    }

    pub(super) fn live(&self) -> Live {
        Live::from_bits_retain(self.live.load(Ordering::Acquire))
    }

    pub(super) fn may_interrupt(&self) -> bool {
        self.live().contains(Live::INTX)
    }

    pub(super) fn remove(&self) {
        self.change(|port, _| port.present.store(false, Ordering::Release));
    }

    /// Changes the configuration, and then sends the messages that this has
    /// released, which `change` adds to.
    pub(super) fn change<R>(&self, change: impl FnOnce(&Self, &mut Vec<Route>) -> R) -> R {
        let mut due = Vec::new();
        let changing = lock(&self.changing);
        let result = change(self, &mut due);
        self.settle(&mut due);
        drop(changing);
        self.send_all(due);
        result
    }

    fn settle(&self, due: &mut Vec<Route>) {
        let mut live = Live::empty();
        if self.is_present() {
            live = self.config.live();
        }
        self.live.store(live.bits(), Ordering::Release);
        if let Some(msi) = &self.config.list.msi {
            msi.set_open(live.contains(Live::MSI), due);
        }
        if let Some(msix) = &self.config.list.msix {
            msix.set_open(live.contains(Live::MSIX), due);
        }
    }

    pub(super) fn config_write(&self, at: u16, value: u32) -> Caused {
        self.change(|port, due| port.config.write(at, value, due))
    }

    pub(super) fn set_command(&self, bits: Command, on: bool) {
        self.change(|port, _| port.config.set_command(bits, on));
    }

    /// The part of a BAR that the bus answers for.
    pub(super) fn table_part(&self, bar: u8, offset: u32) -> Option<Part> {
        self.config.list.msix.as_ref()?.part(bar, offset)
    }

    pub(super) fn table_read(&self, part: Part) -> u32 {
        let msix = self.config.list.msix.as_ref();
        msix.map_or(u32::MAX, |msix| msix.read(part))
    }

    pub(super) fn table_write(&self, part: Part, value: u32) {
        let Some(msix) = &self.config.list.msix else {
            return;
        };
        let changing = lock(&self.changing);
        let due = msix.write(part, value);
        drop(changing);
        self.send_all(due.into_iter().collect());
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
