//! What every device model can do, whatever its chip is.

use softnet_nic_hal::wire::{Wire, WireWaker};
use std::sync::Arc;

/// The moving half of a NIC's model: the one that does DMA and talks to a wire.
///
/// Its registers are a [`PciFunction`](crate::PciFunction). Somebody has to drive
/// it: either the caller, with [`step`](Self::step) and any clock, or a
/// [`DeviceThread`](crate::DeviceThread).
pub trait DeviceModel: Send + 'static {
    /// What the chip is, in one word: the name of its thread.
    fn name(&self) -> &'static str;

    /// Does what there is to do at `now_ns`: takes frames from the wire,
    /// interrupts, and sends frames to the wire. Bounded: see [`Step::again`].
    ///
    /// Interrupt handlers are called on this thread. `now_ns` must not go
    /// backwards.
    fn step(&mut self, now_ns: u64, wire: &mut dyn Wire) -> Step;

    /// Whether a register write has left the device something to do.
    fn has_work(&self) -> bool;

    /// Whether the function is still plugged in.
    fn is_present(&self) -> bool;

    /// Reads the model's counters from elsewhere, while a thread drives it.
    fn monitor(&self) -> Monitor;

    /// Tells the model what wakes the thread that drives it; `None` when no
    /// thread does, and time passes only in steps.
    fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>);

    /// Calls `wait` unless a register write has left something to do. The waker
    /// is used when one does so from now on.
    fn sleep(&self, wait: &mut dyn FnMut());
}

/// What one [`DeviceModel::step`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Step {
    /// Frames taken from the wire.
    pub received: usize,
    /// Transmit descriptors processed.
    pub sent: usize,
    /// Whether there is more to do at once.
    pub again: bool,
    /// When the device will have something to do by itself, in nanoseconds of
    /// the clock of [`DeviceModel::step`]; `None` if only after a register write
    /// or a frame.
    pub next_event_ns: Option<u64>,
}

impl Step {
    /// Whether anything was moved.
    #[must_use]
    pub fn worked(&self) -> bool {
        self.received + self.sent > 0
    }
}

/// What a model counted beside the chip's own statistics registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ModelCounters {
    /// Frames taken from the wire.
    pub wire_rx: u64,
    /// Of those, frames that came while the receiver was off or the link down.
    pub rx_unheard: u64,
    /// Of those, frames that the address filters did not let through.
    pub rx_filtered: u64,
    /// Frames given to the wire.
    pub wire_tx: u64,
    /// Frames that the wire refused.
    pub wire_tx_lost: u64,
    /// Transmit descriptors of types that the model does not have, and skips.
    pub tx_unsupported: u64,
    /// Packets to transmit that were given up: too long, with a wrong FCS of the
    /// driver's own, or with a buffer that is not mapped.
    pub tx_discarded: u64,
}

/// Reads what a model counts, from any thread.
#[derive(Clone)]
pub struct Monitor(Arc<dyn Fn() -> ModelCounters + Send + Sync>);

impl Monitor {
    /// A monitor that reads the counters by `counters`.
    pub fn new(counters: impl Fn() -> ModelCounters + Send + Sync + 'static) -> Self {
        Self(Arc::new(counters))
    }

    /// What the model counted.
    #[must_use]
    pub fn counters(&self) -> ModelCounters {
        (self.0)()
    }
}
