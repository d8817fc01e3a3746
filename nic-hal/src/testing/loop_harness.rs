//! What stands around a [`LoopNic`] when it is held to the contract.

use super::conformance::Harness;
use super::{LoopConfig, LoopNic, LoopPort};
use crate::nic::{NicHal, QueueId};
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
        Self::with(LoopConfig::default())
    }

    /// A NIC of that shape.
    #[must_use]
    pub fn with(config: LoopConfig) -> Self {
        let (nic, port) = LoopNic::new(config);
        let sent = Vec::new();
        Self { nic, port, sent }
    }

    /// The other end of the wire, to make the NIC misbehave.
    pub fn port(&mut self) -> &mut LoopPort {
        &mut self.port
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

    fn inject_bad_length(&mut self, queue: QueueId, frame: &[u8]) -> bool {
        self.port.inject(queue, frame);
        true
    }

    fn queues(&self) -> u16 {
        self.nic.capabilities().max_queues
    }

    fn steers(&self) -> bool {
        true
    }

    fn step(&mut self) {
        let sent = &mut self.sent;
        for queue in 0..self.nic.capabilities().max_queues {
            let keep = |packet: &[u8]| sent.push(packet.to_vec());
            self.port.transmitted(QueueId(queue), usize::MAX, keep);
        }
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

    /// What it lacks, with whatever queues.
    const LACKS: [&str; 10] = [
        "a change of the station address",
        "receive filters",
        "the NIC cuts no segments",
        "the NIC handles no VLAN tags",
        "the NIC verifies no checksums",
        "a packet is one frame",
        "the NIC does not tell",
        "the NIC does not spread flows",
        "the NIC has no such control plane",
        "the NIC does not keep interrupts apart",
    ];

    #[test]
    fn the_loop_nic_keeps_the_contract() {
        let small = ["the NIC fills in no checksums", "there is one queue"];
        assert_holds(&[&LACKS[..], &small].concat(), LoopHarness::new);
    }

    #[test]
    fn the_loop_nic_with_several_queues_and_an_offload_keeps_the_contract() {
        let config = LoopConfig {
            queues: 4,
            tx_checksum: true,
            ..LoopConfig::default()
        };
        assert_holds(&LACKS, || LoopHarness::with(config));
    }

    #[test]
    #[should_panic(expected = "the NIC fills in no checksums")]
    fn a_nic_that_has_lost_an_offload_does_not_pass() {
        let small = [&LACKS[..], &["there is one queue"]].concat();
        assert_holds(&small, LoopHarness::new);
    }

    #[test]
    #[should_panic(expected = "in spite of: the moon is full")]
    fn a_nic_that_lacks_something_no_more_does_not_pass() {
        let config = LoopConfig {
            queues: 4,
            tx_checksum: true,
            ..LoopConfig::default()
        };
        let more = [&LACKS[..], &["the moon is full"]].concat();
        assert_holds(&more, || LoopHarness::with(config));
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
            "who reaps none gets none and loses none",
            "an unmask fires for a frame that came while masked",
            "an unmask fires for a packet that was sent while masked",
            "an unmask fires again until received frames are reaped",
            "an unmask fires again until sent packets are reaped",
            "an unmask fires for frames that a poll left behind",
            "an unmask fires for packets that a poll left behind",
            "a mask takes an unmask back",
            "in a random sequence no interrupt is lost",
        ];
        assert_eq!(broken, caught);
    }
}
