//! The interrupt pin: level-triggered, one line of its own.

use super::signals::Signals;
use softnet_nic_hal::irq::{Delivery, Irq, IrqTable};
use std::sync::Arc;

/// Deliveries in a row to a handler that leaves the pin asserted. After that,
/// the storm goes on when the model looks at its pin the next time.
const STORM: u32 = 16;

/// One function's pin.
///
/// Any thread may find that the pin became asserted, also the handler itself
/// while it runs. `signals` has one of them deliver for all.
pub(super) struct Intx {
    irqs: Arc<IrqTable>,
    irq: Irq,
    signals: Signals,
}

impl Intx {
    pub(super) fn new(irqs: Arc<IrqTable>, irq: Irq) -> Self {
        let signals = Signals::new();
        Self { irqs, irq, signals }
    }

    pub(super) fn table(&self) -> &IrqTable {
        &self.irqs
    }

    pub(super) fn irq(&self) -> Irq {
        self.irq
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
            if !asserted() || self.irqs.deliver(self.irq) == Delivery::Masked {
                break;
            }
            called = true;
        }
        called
    }
}
