//! The interrupt pin: level-triggered, with a line of its own or on one that is
//! shared.

use softnet_nic_hal::irq::{Delivery, Irq, IrqError, IrqTable, Signals};
use std::sync::Arc;

/// Deliveries in a row to a handler that leaves the pin asserted. After that,
/// the storm goes on when the model looks at its pin the next time.
const STORM: u32 = 16;

/// An interrupt line that pins are on. It goes back to the table with the last of
/// them.
pub(super) struct PinLine {
    irqs: Arc<IrqTable>,
    pub(super) irq: Irq,
}

impl PinLine {
    pub(super) fn allocate(irqs: &Arc<IrqTable>, source: &str) -> Result<Arc<Self>, IrqError> {
        Ok(Arc::new(Self {
            irq: irqs.allocate(source)?,
            irqs: Arc::clone(irqs),
        }))
    }
}

impl Drop for PinLine {
    fn drop(&mut self) {
        self.irqs.release(self.irq);
    }
}

/// One function's pin.
///
/// Any thread may find that the pin became asserted, also the handler itself
/// while it runs. `signals` has one of them deliver for all.
pub(super) struct Intx {
    line: Arc<PinLine>,
    signals: Signals,
}

impl Intx {
    pub(super) fn new(line: Arc<PinLine>) -> Self {
        let signals = Signals::new();
        Self { line, signals }
    }

    pub(super) fn irq(&self) -> Irq {
        self.line.irq
    }

    /// Delivers while `asserted` says that the pin is. Returns whether the
    /// handler was called by this thread.
    pub(super) fn signal(&self, asserted: &dyn Fn() -> bool) -> bool {
        let mut called = false;
        self.signals.signal(|| called |= self.deliver(asserted));
        called
    }

    fn deliver(&self, asserted: &dyn Fn() -> bool) -> bool {
        let mut called = false;
        for _ in 0..STORM {
            if !asserted() || self.line.irqs.deliver(self.irq()) == Delivery::Masked {
                break;
            }
            called = true;
        }
        called
    }
}
