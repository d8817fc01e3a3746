//! The device's interrupts, delivered as writes to eventfds that the client gave.

use crate::config;
use arc_swap::ArcSwapOption;
use rustix::io::write;
use softnet_nic_hal::bus::{BusError, IrqMode, IrqReturn, PciDevice, VectorHandler};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the vectors of one kind are delivered.
///
/// A message is an edge, and is passed on whenever it comes. The pin is a level: it
/// is passed on once, and is masked until the client unmasks it, as the client is
/// told by `VFIO_IRQ_INFO_AUTOMASKED`.
struct Delivery {
    mode: IrqMode,
    masked: AtomicBool,
    eventfds: Box<[ArcSwapOption<File>]>,
}

impl Delivery {
    fn new(mode: IrqMode, vectors: u16) -> Self {
        Self {
            mode,
            masked: AtomicBool::new(false),
            eventfds: (0..vectors).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// Adds one to the eventfd of a vector, if it has one. Where that would block,
    /// the client has not looked for a very long time, and will find it.
    fn signal(&self, vector: u16) {
        if let Some(slot) = self.eventfds.get(usize::from(vector))
            && let Some(eventfd) = slot.load().as_ref()
        {
            let _ = write(&**eventfd, &1u64.to_ne_bytes());
        }
    }
}

impl VectorHandler for Delivery {
    fn interrupt(&self, vector: u16) -> IrqReturn {
        // Acquire and Release, with `unmask`: who finds the pin unmasked masks it. The
        // client may leave it asserted for as long as it likes.
        if self.mode == IrqMode::Intx && self.masked.swap(true, Ordering::AcqRel) {
            return IrqReturn::Masked;
        }
        self.signal(vector);
        // Whether somebody cares the client's own kernel will know.
        IrqReturn::Handled
    }
}

/// The device's vectors, as far as the client has asked for them.
pub(crate) struct Interrupts<D: PciDevice> {
    device: Arc<D>,
    active: Option<Arc<Delivery>>,
}

impl<D: PciDevice> Interrupts<D> {
    pub(crate) fn new(device: Arc<D>) -> Self {
        Self {
            device,
            active: None,
        }
    }

    /// Gives `count` vectors from `start` on the eventfds, or takes theirs away if there are none.
    /// The device gets all vectors of that kind as soon as one is wanted, so
    /// that later ones need no interruption.
    pub(crate) fn assign(
        &mut self,
        mode: IrqMode,
        vectors: u16,
        wanted: Wanted,
    ) -> Result<(), BusError> {
        let active = self.active_as(mode, vectors)?;
        let mut eventfds = wanted.eventfds.into_iter();
        for vector in wanted.start..wanted.start.saturating_add(wanted.count) {
            let slot = active.eventfds.get(usize::from(vector));
            let slot = slot.ok_or(BusError::NoVector(vector))?;
            slot.store(eventfds.next().map(Arc::new));
        }
        if mode == IrqMode::Intx {
            self.unmask();
        }
        Ok(())
    }

    /// Frees all vectors.
    pub(crate) fn release(&mut self) {
        if let Some(active) = self.active.take() {
            self.free(active.eventfds.len() as u16);
        }
    }

    /// Frees the vectors if they are of that kind.
    pub(crate) fn release_mode(&mut self, mode: IrqMode) {
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.mode == mode)
        {
            self.release();
        }
    }

    /// Keeps the pin to itself.
    pub(crate) fn mask(&self) {
        if let Some(active) = &self.active {
            active.masked.store(true, Ordering::Release);
        }
    }

    /// Passes the pin on again, and at once if it is asserted. It is looked at after the mask is
    /// gone, so that an assertion in between is seen here or by the handler.
    pub(crate) fn unmask(&self) {
        let Some(active) = &self.active else { return };
        active.masked.store(false, Ordering::SeqCst);
        if active.mode == IrqMode::Intx && config::pin_is_asserted(&*self.device) {
            active.interrupt(0);
        }
    }

    /// Delivers vectors without the device, as a client may ask for a test.
    pub(crate) fn trigger(&self, start: u16, count: u16) {
        if let Some(active) = &self.active {
            (start..start.saturating_add(count)).for_each(|vector| active.signal(vector));
        }
    }

    fn active_as(&mut self, mode: IrqMode, vectors: u16) -> Result<Arc<Delivery>, BusError> {
        match &self.active {
            Some(active) if active.mode == mode => Ok(Arc::clone(active)),
            _ => {
                self.release();
                let delivery = Arc::new(Delivery::new(mode, vectors));
                self.allocate(&delivery)?;
                self.active = Some(Arc::clone(&delivery));
                Ok(delivery)
            }
        }
    }

    fn allocate(&self, delivery: &Arc<Delivery>) -> Result<(), BusError> {
        let wanted = delivery.eventfds.len() as u16;
        let granted = self.device.alloc_irq_vectors(wanted, &[delivery.mode])?;
        if granted.count < wanted {
            // The client would wait for the others in vain.
            self.device.free_irq_vectors();
            return Err(BusError::NoVector(granted.count));
        }
        for vector in 0..granted.count {
            let handler = Arc::clone(delivery) as Arc<dyn VectorHandler>;
            let requested = self.device.request_irq(vector, "vfio-user", 0, handler);
            requested.inspect_err(|_| self.free(vector))?;
        }
        Ok(())
    }

    fn free(&self, vectors: u16) {
        (0..vectors).for_each(|vector| self.device.free_irq(vector));
        self.device.free_irq_vectors();
    }
}

impl<D: PciDevice> Drop for Interrupts<D> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Some of the client's eventfds, and the vectors that they are for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) start: u16,
    pub(crate) count: u16,
    pub(crate) eventfds: Vec<File>,
}
