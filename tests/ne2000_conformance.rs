//! The NE2000 driver on the emulated chip keeps the contract of every NIC.
//!
//! Driver and model were written apart, each from National's manual; here they
//! meet.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

use softnet_emulated::{DeviceModel, Ne2000 as Chip, Ne2000Config, PciBus, PciFunction};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::testing::conformance::{self, Harness};
use softnet_nic_hal::wire::{Wire, WireError};
use softnet_nic_hal::{MacAddress, QueueId};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Default)]
struct Ends {
    to_nic: VecDeque<Vec<u8>>,
    from_nic: Vec<Vec<u8>>,
}

impl Wire for Ends {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        self.from_nic.push(frame.to_vec());
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let take = budget.min(self.to_nic.len());
        for frame in self.to_nic.drain(..take) {
            sink(&frame);
        }
        take
    }
}

struct Emulated {
    nic: Arc<softnet_ne2000::Ne2000<PciFunction>>,
    function: PciFunction,
    chip: Chip,
    wire: Ends,
    now_ns: u64,
    stalled: bool,
}

impl Emulated {
    fn new() -> Self {
        let bus = PciBus::new(Arc::new(IrqTable::new(1)));
        let mac = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let (function, chip) = Chip::attach(&bus, &Ne2000Config::new(mac)).unwrap();
        let nic = softnet_ne2000::Ne2000::probe(Arc::new(function.clone())).unwrap();
        Self {
            nic,
            function,
            chip,
            wire: Ends::default(),
            now_ns: 0,
            stalled: false,
        }
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.chip.step(self.now_ns, &mut self.wire).worked() {
                return;
            }
        }
        panic!("the hardware never rests");
    }
}

impl Harness for Emulated {
    type Nic = softnet_ne2000::Ne2000<PciFunction>;

    fn nic(&self) -> Arc<Self::Nic> {
        self.nic.clone()
    }

    fn inject(&mut self, _queue: QueueId, frame: &[u8]) {
        self.wire.to_nic.push_back(frame.to_vec());
    }

    /// Short ones are padded by their sender.
    fn inject_bad_length(&mut self, queue: QueueId, frame: &[u8]) -> bool {
        let long = frame.len() > 60;
        if long {
            self.inject(queue, frame);
        }
        long
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) {
        for packet in self.wire.from_nic.drain(..) {
            sink(&packet);
        }
    }

    fn step(&mut self) {
        if self.stalled {
            return;
        }
        self.settle();
    }

    fn advance(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    /// A chip that nobody steps stands still.
    fn set_tx_stalled(&mut self, stalled: bool) -> bool {
        self.stalled = stalled;
        true
    }

    fn unplug(&mut self) -> bool {
        self.function.unplug();
        true
    }

    /// Shorter ones are padded by their sender.
    fn min_frame(&self) -> usize {
        60
    }
}

#[test]
fn the_driver_on_the_emulated_chip_keeps_the_contract() {
    let lacks = [
        "the NIC fills in no checksums",
        "the NIC cuts no segments",
        "the NIC handles no VLAN tags",
        "the NIC verifies no checksums",
        "a packet is one frame",
        "the NIC does not tell",
        "there is one queue",
        "the NIC chooses queues itself",
        "the NIC does not spread flows",
        "the NIC does not keep interrupts apart",
        "the cable cannot be pulled",
    ];
    conformance::assert_holds(&lacks, Emulated::new);
}
