//! What stands around a [`LoopNic`] when it is held to the contract.

use super::conformance::Harness;
use super::{LoopConfig, LoopNic, LoopPort};
use crate::nic::QueueId;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A [`LoopNic`] whose wire takes packets as soon as the hardware is stepped.
#[derive(Debug)]
pub struct LoopHarness {
    nic: Arc<LoopNic>,
    port: LoopPort,
    sent: Vec<Vec<u8>>,
}

impl LoopHarness {
    /// A NIC of the default shape.
    #[must_use]
    pub fn new() -> Self {
        let (nic, port) = LoopNic::new(LoopConfig::default());
        let sent = Vec::new();
        Self { nic, port, sent }
    }
}

impl Default for LoopHarness {
    fn default() -> Self {
        Self::new()
    }
}

impl Harness for LoopHarness {
    type Nic = LoopNic;

    fn nic(&self) -> Arc<LoopNic> {
        self.nic.clone()
    }

    fn inject(&mut self, queue: QueueId, frame: &[u8]) {
        self.port.inject(queue, frame);
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) {
        for packet in self.sent.drain(..) {
            sink(&packet);
        }
    }

    fn step(&mut self) {
        let sent = &mut self.sent;
        self.port
            .transmitted(QueueId(0), usize::MAX, |packet| sent.push(packet.to_vec()));
    }

    fn set_link_up(&mut self, up: bool) -> bool {
        self.port.set_link_up(up);
        true
    }

    fn set_tx_stalled(&mut self, stalled: bool) -> bool {
        self.port.set_tx_stalled(stalled);
        true
    }

    fn unplug(&mut self) -> bool {
        self.port.unplug();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Verdict, assert_holds, run};
    use super::*;

    #[test]
    fn the_loop_nic_keeps_the_contract() {
        assert_holds(LoopHarness::new);
    }

    #[test]
    fn the_suite_finds_an_unmask_that_forgets_what_is_pending() {
        let outcomes = run(|| {
            let mut harness = LoopHarness::new();
            harness.port.set_unmask_forgets(true);
            harness
        });
        let broken: Vec<_> = outcomes
            .iter()
            .filter(|outcome| matches!(outcome.verdict, Verdict::Broken(_)))
            .map(|outcome| outcome.fact)
            .collect();
        let caught = [
            "an unmask fires for a frame that came while masked",
            "an unmask fires for a packet that was sent while masked",
            "an unmask fires again until received frames are reaped",
            "an unmask fires again until sent packets are reaped",
            "an unmask fires for frames that a poll left behind",
            "an unmask fires for packets that a poll left behind",
            "a mask takes an unmask back",
        ];
        assert_eq!(broken, caught);
    }
}
