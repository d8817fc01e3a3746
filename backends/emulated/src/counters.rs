//! What a model counts beside its chip's statistics.

use crate::model::ModelCounters;
use std::sync::atomic::{AtomicU64, Ordering};

/// A model's own counters.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) wire_rx: Counter,
    pub(crate) rx_unheard: Counter,
    pub(crate) rx_filtered: Counter,
    pub(crate) wire_tx: Counter,
    pub(crate) wire_tx_lost: Counter,
    pub(crate) tx_unsupported: Counter,
    pub(crate) tx_discarded: Counter,
}

/// A counter with one writer at a time: whoever has passed the gate.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn values(&self) -> ModelCounters {
        ModelCounters {
            wire_rx: self.wire_rx.value(),
            rx_unheard: self.rx_unheard.value(),
            rx_filtered: self.rx_filtered.value(),
            wire_tx: self.wire_tx.value(),
            wire_tx_lost: self.wire_tx_lost.value(),
            tx_unsupported: self.tx_unsupported.value(),
            tx_discarded: self.tx_discarded.value(),
        }
    }
}
