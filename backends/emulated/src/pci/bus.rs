//! Slots, and the firmware's part: names, addresses, interrupt lines.

use super::capabilities::PciCapabilities;
use super::config::ConfigSpace;
use super::function::PciFunction;
use super::intx::PinLine;
use super::port::{FunctionPort, PciModel};
use softnet_nic_hal::bus::{BarInfo, ConfigAccess, PciAddress, PciDevice, PciIdMatch, PciIds};
use softnet_nic_hal::irq::{IrqError, IrqTable};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a function could not be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Every slot of the bus is taken.
    #[error("all {0} slots of the PCI bus are taken")]
    NoSlot(usize),
    /// There is no interrupt line left for the function's pin.
    #[error(transparent)]
    Irq(#[from] IrqError),
}

/// What the bus needs to know of a function before it can name it.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// What the function is.
    pub ids: PciIds,
    /// Its base address registers.
    pub bars: [Option<BarInfo>; 6],
    /// Its capability list.
    pub capabilities: PciCapabilities,
}

/// Bus 0 of PCI domain 0. Clones are of the same bus.
///
/// Each slot's pin has an interrupt line of its own, or the slots share a few, as
/// those of a PC do. What a machine's firmware does is done when a function is attached: its base
/// address registers are placed and decoding is on. Bus mastering is off, as the
/// driver has to turn it on.
#[derive(Clone)]
pub struct PciBus {
    inner: Arc<Inner>,
}

struct Inner {
    irqs: Arc<IrqTable>,
    /// The lines that the slots' pins are on in turn; empty when each has its own.
    pins: Vec<Arc<PinLine>>,
    slots: Mutex<[Option<PciFunction>; PciBus::SLOTS]>,
    changes: AtomicU64,
}

/// The slots before this one are those of a machine's chipset.
const FIRST_SLOT: usize = 3;

impl PciBus {
    /// Slots of a bus, of which the first three are never given out.
    pub const SLOTS: usize = 32;

    /// An empty bus that raises its interrupts in `irqs`, with a line for each
    /// function's pin.
    #[must_use]
    pub fn new(irqs: Arc<IrqTable>) -> Self {
        Self::with_pins(irqs, Vec::new())
    }

    /// An empty bus whose slots' pins are on `lines` interrupt lines in turn (a PC
    /// has four), so that functions share them.
    ///
    /// # Errors
    /// [`IrqError::NoFreeLine`].
    pub fn with_shared_pins(irqs: Arc<IrqTable>, lines: usize) -> Result<Self, IrqError> {
        let line = |number| PinLine::allocate(&irqs, &format!("PCI-INTx {number}"));
        let pins = (0..lines).map(line).collect::<Result<_, _>>()?;
        Ok(Self::with_pins(irqs, pins))
    }

    fn with_pins(irqs: Arc<IrqTable>, pins: Vec<Arc<PinLine>>) -> Self {
        let slots = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                irqs,
                pins,
                slots,
                changes: AtomicU64::new(0),
            }),
        }
    }

    fn pin(&self, slot: usize, name: &str) -> Result<Arc<PinLine>, IrqError> {
        let pins = &self.inner.pins;
        match slot.checked_rem(pins.len()) {
            Some(number) => Ok(Arc::clone(&pins[number])),
            None => PinLine::allocate(self.irqs(), &format!("PCI-INTx {name}")),
        }
    }

    /// The table that the bus raises its interrupts in.
    #[must_use]
    pub fn irqs(&self) -> &Arc<IrqTable> {
        &self.inner.irqs
    }

    /// Plugs a function into the first free slot. `make` makes its model, which
    /// keeps the port.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach<M: PciModel>(
        &self,
        identity: &Identity,
        make: impl FnOnce(Arc<FunctionPort>) -> Arc<M>,
    ) -> Result<(PciFunction, Arc<M>), AttachError> {
        let mut slots = self.slots();
        let mut free = slots.iter_mut().enumerate().skip(FIRST_SLOT);
        let (number, slot) = free
            .find(|(_, slot)| slot.is_none())
            .ok_or(AttachError::NoSlot(Self::SLOTS - FIRST_SLOT))?;
        let address = PciAddress {
            bus: 0,
            slot: number as u8,
            function: 0,
        };
        let name = address.to_string();
        let pin = self.pin(number, &name)?;
        let config = ConfigSpace::new(identity, number, pin.irq);
        let port = Arc::new(FunctionPort::new(config, Arc::clone(self.irqs()), pin));
        let model = make(Arc::clone(&port));
        let function = PciFunction::new(name, identity, port, Arc::clone(&model) as _);
        *slot = Some(function.clone());
        self.note_change();
        Ok((function, model))
    }

    /// How often a function was plugged in or pulled out: what a driver registry
    /// has to look at is new when this is.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.inner.changes.load(Ordering::Acquire)
    }

    /// The functions that are plugged in, by slot.
    #[must_use]
    pub fn functions(&self) -> Vec<PciFunction> {
        self.slots().iter().flatten().cloned().collect()
    }

    /// The functions that a driver's table names.
    #[must_use]
    pub fn matching(&self, table: &[PciIdMatch]) -> Vec<PciFunction> {
        let mut all = self.functions();
        all.retain(|function| table.iter().any(|entry| entry.matches(&function.ids())));
        all
    }

    /// Pulls the function of that name out of its slot; see
    /// [`PciFunction::unplug`]. Returns whether it was there.
    pub fn unplug(&self, name: &str) -> bool {
        let named = |slot: &&mut Option<PciFunction>| {
            slot.as_ref()
                .is_some_and(|function| function.name() == name)
        };
        let taken = self.slots().iter_mut().find(named).and_then(Option::take);
        let was_there = taken.inspect(PciFunction::unplug).is_some();
        if was_there {
            self.note_change();
        }
        was_there
    }

    fn note_change(&self) {
        self.inner.changes.fetch_add(1, Ordering::Release);
    }

    fn at(&self, at: PciAddress) -> Option<PciFunction> {
        if at.bus != 0 || at.function != 0 {
            return None;
        }
        self.slots().get(usize::from(at.slot))?.clone()
    }

    fn slots(&self) -> MutexGuard<'_, [Option<PciFunction>; Self::SLOTS]> {
        let slots = self.inner.slots.lock();
        slots.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigAccess for PciBus {
    fn read(&self, at: PciAddress, offset: u16) -> u32 {
        self.at(at)
            .map_or(u32::MAX, |function| function.config_read32(offset))
    }

    fn write(&self, at: PciAddress, offset: u16, value: u32) {
        if let Some(function) = self.at(at) {
            function.config_write32(offset, value);
        }
    }
}

impl std::fmt::Debug for PciBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.functions()).finish()
    }
}
