//! A machine of QEMU's with one card, and the driver on it.

use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::testing::conformance::Harness;
use softnet_nic_hal::wire::Wire;
use softnet_nic_hal::{MacAddress, NicHal, QueueId};
use softnet_qemu::{QemuConfig, QemuFunction, QemuMachine, QemuNic, QemuWire};
use std::path::Path;
use std::sync::Arc;

pub(crate) const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// More than any card waits for: QEMU's e1000 takes no frame for a second after its
/// receiver was switched on.
const SETTLE_NS: u64 = 1_100_000_000;

/// One card of a machine and its driver.
pub(crate) struct Bench<N> {
    pub(crate) nic: Arc<N>,
    pub(crate) machine: QemuMachine,
    pub(crate) wire: QemuWire,
    /// Whether the chip knows of its cable.
    pub(crate) has_link: bool,
}

/// A machine with one card.
pub(crate) fn machine(qemu: &Path, model: &str, irqs: &Arc<IrqTable>) -> QemuMachine {
    let nic = QemuNic {
        model: model.to_owned(),
        mac: MAC,
    };
    let config = QemuConfig {
        program: qemu.to_owned(),
        nics: vec![nic],
    };
    QemuMachine::start(&config, Arc::clone(irqs)).unwrap()
}

impl<N: NicHal> Bench<N> {
    pub(crate) fn new(
        qemu: &Path,
        model: &str,
        probe: impl FnOnce(Arc<QemuFunction>) -> Arc<N>,
    ) -> Self {
        let irqs = Arc::new(IrqTable::new(4));
        let machine = machine(qemu, model, &irqs);
        let nic = probe(Arc::new(machine.functions()[0].clone()));
        let wire = machine.wire(0).unwrap();
        Self {
            nic,
            machine,
            wire,
            has_link: true,
        }
    }
}

impl<N: NicHal> Harness for Bench<N> {
    type Nic = N;

    fn nic(&self) -> Arc<N> {
        Arc::clone(&self.nic)
    }

    fn inject(&mut self, _queue: QueueId, frame: &[u8]) {
        // A card that is gone takes nothing.
        let _ = self.wire.transmit(frame, 0);
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) {
        // The socket holds a few frames only; QEMU sends the rest when there is room.
        while self.wire.receive(0, usize::MAX, sink) > 0 {
            self.machine.settle();
        }
    }

    fn queues(&self) -> u16 {
        16
    }

    /// Each step is a talk with another process.
    fn seeds(&self) -> u64 {
        4
    }

    fn step(&mut self) {
        self.machine.settle();
        self.machine.advance(SETTLE_NS);
        self.machine.settle();
        self.machine.deliver_interrupts();
    }

    fn advance(&mut self, ns: u64) {
        self.machine.advance(ns);
    }

    fn set_link_up(&mut self, up: bool) -> bool {
        if self.has_link {
            self.machine.set_link(0, up).unwrap();
        }
        self.has_link
    }

    fn unplug(&mut self) -> bool {
        self.machine.kill();
        true
    }

    /// QEMU's cards pad what is shorter.
    fn min_frame(&self) -> usize {
        60
    }
}
