//! From a pin or a message to the handler.

use crate::function::QemuFunction;
use crate::machine::Shared;
use softnet_nic_hal::irq::{Delivery, Irq};

/// A pin that is still asserted after so many calls of its handlers screams; the rest
/// waits for the next time.
const ROUNDS: usize = 64;

/// Calls handlers until nothing is asserted, or none has anything to do. The pin is
/// shared by all functions, as on a real bus.
pub(crate) fn deliver(shared: &Shared, functions: &[QemuFunction]) -> usize {
    let mut calls = 0;
    for _ in 0..ROUNDS {
        let lines = asserted(shared, functions);
        let mut handled = false;
        for irq in lines {
            let outcome = shared.irqs.deliver(irq);
            handled |= outcome == Delivery::Handled;
            calls += usize::from(outcome != Delivery::Masked);
        }
        if !handled {
            break;
        }
    }
    calls
}

/// The lines that are to be delivered now. No lock is held when this returns.
fn asserted(shared: &Shared, functions: &[QemuFunction]) -> Vec<Irq> {
    let mut lines = Vec::new();
    for function in functions {
        let vectors = function.vectors();
        let mut line = shared.qtest.lock();
        lines.extend(vectors.take_messages(&mut line));
        line.round_trip();
        if line.pins() != 0 {
            lines.extend(vectors.pin());
        }
    }
    lines
}
