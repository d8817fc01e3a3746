//! Faults between a model and its wire.
//!
//! [`Fault`] stands before another wire and treats each direction by its own
//! [`Impairment`]. Frames pass these stages in this order: loss (random, then
//! in bursts), duplication, corruption, rate, delay, reordering. The same seed,
//! frames and times give the same faults.
//!
//! ```
//! use softnet_nic_hal::wire::Wire;
//! use softnet_wire::cable::{self, CableConfig};
//! use softnet_wire::fault::{Chance, Fault, FaultConfig, Impairment};
//!
//! let (near, mut far) = cable::pair(&CableConfig::default());
//! let mut lossy = Impairment::default();
//! lossy.loss = Chance::of(0.1);
//! let mut config = FaultConfig::seeded(42);
//! config.transmit = lossy;
//! let mut wire = Fault::new(near, &config);
//! for _ in 0..100 {
//!     wire.transmit(&[0; 64], 0).unwrap();
//! }
//! wire.flush(0);
//! let arrived = far.receive(0, 1000, &mut |_| {}) as u64;
//! assert_eq!(arrived + wire.transmit_counts().lost(), 100);
//! ```

mod config;
mod lane;
mod queue;

pub use config::{BurstLoss, Chance, FaultConfig, Impairment, Rate, Reorder};
pub use lane::FaultCounts;

use lane::Lane;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::sync::Arc;

/// A wire that loses, repeats, corrupts, paces, delays and reorders the frames
/// of the wire behind it.
#[derive(Debug)]
pub struct Fault<W> {
    wire: W,
    transmit: Lane,
    receive: Lane,
}

/// The streams of the generator: one seed, two directions.
const TRANSMIT_STREAM: u64 = 1;
const RECEIVE_STREAM: u64 = 2;

impl<W: Wire> Fault<W> {
    /// Puts the injector before `wire`.
    pub fn new(wire: W, config: &FaultConfig) -> Self {
        Self {
            wire,
            transmit: Lane::new(&config.transmit, config.seed, TRANSMIT_STREAM),
            receive: Lane::new(&config.receive, config.seed, RECEIVE_STREAM),
        }
    }

    /// The wire behind.
    pub const fn wire(&self) -> &W {
        &self.wire
    }

    /// Gives the wire behind back. Frames that are still held are lost.
    pub fn into_wire(self) -> W {
        self.wire
    }

    /// What became of the frames that were transmitted.
    pub const fn transmit_counts(&self) -> FaultCounts {
        self.transmit.counts()
    }

    /// What became of the frames that were received.
    pub const fn receive_counts(&self) -> FaultCounts {
        self.receive.counts()
    }

    /// Passes on the transmitted frames whose time has come.
    fn pump(&mut self, now_ns: u64) -> usize {
        let wire = &mut self.wire;
        let mut refused = 0;
        let passed = self.transmit.release(now_ns, usize::MAX, &mut |frame| {
            refused += u64::from(wire.transmit(frame, now_ns).is_err());
        });
        self.transmit.count_refused(refused);
        passed
    }
}

impl<W: Wire> Wire for Fault<W> {
    fn transmit(&mut self, frame: &[u8], now_ns: u64) -> Result<(), WireError> {
        if self.transmit.is_transparent() {
            let result = self.wire.transmit(frame, now_ns);
            self.transmit.count_passed(result.is_ok());
            return result;
        }
        self.transmit.admit(frame, now_ns);
        self.pump(now_ns);
        Ok(())
    }

    fn flush(&mut self, now_ns: u64) {
        self.pump(now_ns);
        self.wire.flush(now_ns);
    }

    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        if self.pump(now_ns) > 0 {
            self.wire.flush(now_ns);
        }
        let lane = &mut self.receive;
        if lane.is_transparent() {
            return self.wire.receive(now_ns, budget, &mut |frame| {
                lane.count_passed(true);
                sink(frame);
            });
        }
        self.wire
            .receive(now_ns, budget, &mut |frame| lane.admit(frame, now_ns));
        lane.release(now_ns, budget, sink)
    }

    fn next_event_ns(&self) -> Option<u64> {
        let events = [
            self.wire.next_event_ns(),
            self.transmit.next_event_ns(),
            self.receive.next_event_ns(),
        ];
        events.into_iter().flatten().min()
    }

    fn carrier(&self) -> bool {
        self.wire.carrier()
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        self.wire.wait(timeout_ns);
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        self.wire.waker()
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let tx = self.transmit_counts();
        visit("fault_tx_in", tx.offered);
        visit("fault_tx_out", tx.passed);
        visit("fault_tx_lost", tx.lost());
        visit("fault_tx_duplicated", tx.duplicated);
        visit("fault_tx_corrupted", tx.corrupted);
        visit("fault_tx_reordered", tx.reordered);
        visit("fault_tx_queued", tx.queued);
        let rx = self.receive_counts();
        visit("fault_rx_in", rx.offered);
        visit("fault_rx_out", rx.passed);
        visit("fault_rx_lost", rx.lost());
        visit("fault_rx_duplicated", rx.duplicated);
        visit("fault_rx_corrupted", rx.corrupted);
        visit("fault_rx_reordered", rx.reordered);
        visit("fault_rx_queued", rx.queued);
        self.wire.counters(visit);
    }
}

#[cfg(test)]
mod tests;
