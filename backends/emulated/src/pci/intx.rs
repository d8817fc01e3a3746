//! The interrupt pin: level-triggered, one line of its own.

use softnet_nic_hal::irq::{Delivery, Irq, IrqTable};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Deliveries in a row to a handler that leaves the pin asserted. After that,
/// the storm goes on when the model looks at its pin the next time.
const STORM: u32 = 16;

/// One function's pin.
///
/// Any thread may find that the pin became asserted, also the handler itself
/// while it runs. `signals` counts who did: the one that brings it from zero
/// delivers, on behalf of the others too, until nothing is left. So a handler
/// never runs twice at once, nobody waits, and no signal is lost.
pub(super) struct Intx {
    irqs: Arc<IrqTable>,
    irq: Irq,
    signals: AtomicU32,
}

impl Intx {
    pub(super) fn new(irqs: Arc<IrqTable>, irq: Irq) -> Self {
        let signals = AtomicU32::new(0);
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
        if self.signals.fetch_add(1, Ordering::AcqRel) != 0 {
            return false;
        }
        let mut called = false;
        let mut seen = 1;
        loop {
            called |= self.deliver(asserted);
            match self
                .signals
                .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return called,
                Err(now) => seen = now,
            }
        }
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
