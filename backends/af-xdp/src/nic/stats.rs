//! Counters of a NIC, over all its sockets.

use super::{Kernel, Nic};
use crate::ring::cell::Counts;
use crate::ring::{KernelCounters, RingCounters};
use softnet_nic_hal::NicStats;

/// What was counted since the NIC was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) rings: RingCounters,
    kernel: KernelCounters,
    /// Times the transmitter hung.
    pub(super) timeouts: u64,
}

impl Totals {
    pub(super) fn add(&mut self, rings: &Counts, kernel: KernelCounters) {
        rings.add_to(&mut self.rings);
        self.kernel.add(kernel);
    }

    pub(super) fn fill(&self, out: &mut NicStats) {
        let (rings, kernel) = (&self.rings, &self.kernel);
        out.rx_packets = rings.rx_packets;
        out.rx_bytes = rings.rx_bytes;
        out.multicast = rings.rx_multicast;
        out.tx_packets = rings.tx_packets;
        out.tx_bytes = rings.tx_bytes;
        out.tx_dropped = rings.tx_refused + rings.tx_no_chunk;
        out.tx_errors = kernel.tx_invalid_descs;
        out.tx_timeouts = self.timeouts;
        out.rx_missed_errors = kernel.rx_fill_ring_empty_descs;
        out.rx_fifo_errors = kernel.rx_ring_full;
        // The kernel counts a packet without a chunk as dropped too.
        out.rx_length_errors = kernel
            .rx_dropped
            .saturating_sub(kernel.rx_fill_ring_empty_descs);
        out.rx_errors = out.rx_length_errors + rings.rx_bad_descriptors;
        out.rx_dropped = rings.rx_no_long_frame;
    }

    pub(super) fn visit(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        for (name, value) in self.rings.named() {
            visit(name, value);
        }
        for (name, value) in self.kernel.named() {
            visit(name, value);
        }
    }
}

impl<K: Kernel> Nic<K> {
    /// The totals, with those of the sockets that are open.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.state().totals;
        let queues = self.queues.load();
        for cell in queues.iter().flat_map(|queues| queues.iter()) {
            totals.add(&cell.counts, cell.kernel_counters());
        }
        totals
    }
}
