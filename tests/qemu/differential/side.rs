//! The two models, each with its memory, its clock and the other end of its cable.

use crate::bench;
use softnet_dma_ring::{DmaAddr, DmaRegion};
use softnet_emulated::{DeviceModel, PciFunction};
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::{Wire, WireError};
use softnet_qemu::{QemuMachine, QemuWire};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// Bytes of memory that a chip works on.
pub(crate) const ARENA: usize = 0x2_0000;

/// Width of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Byte,
    Word,
    Long,
}

/// Where a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bar: u8,
    pub(crate) offset: u32,
    pub(crate) width: Width,
}

/// A chip as a script sees it. After each call it is at rest.
pub(crate) trait Side {
    fn read(&mut self, at: Place) -> u32;
    fn write(&mut self, at: Place, value: u32);
    /// Copies bytes into the arena.
    fn store(&mut self, offset: usize, bytes: &[u8]);
    /// Copies bytes out of the arena.
    fn load(&mut self, offset: usize, out: &mut [u8]);
    /// A frame arrives.
    fn frame(&mut self, frame: &[u8]);
    /// What was sent since the last call.
    fn sent(&mut self) -> Vec<Vec<u8>>;
    fn advance(&mut self, ns: u64);
    /// Whether the interrupt pin is asserted.
    fn pin(&mut self) -> bool;
}

fn read<P: PciDevice>(device: &P, at: Place) -> u32 {
    match at.width {
        Width::Byte => device.read8(at.bar, at.offset).into(),
        Width::Word => device.read16(at.bar, at.offset).into(),
        Width::Long => device.read32(at.bar, at.offset),
    }
}

fn write<P: PciDevice>(device: &P, at: Place, value: u32) {
    match at.width {
        Width::Byte => device.write8(at.bar, at.offset, value as u8),
        Width::Word => device.write16(at.bar, at.offset, value as u16),
        Width::Long => device.write32(at.bar, at.offset, value),
    }
}

/// PCI's status register: the interrupt pin is asserted.
fn pin<P: PciDevice>(device: &P) -> bool {
    device.config_read32(4) >> 19 & 1 != 0
}

/// The model of this workspace.
pub(crate) struct Ours {
    function: PciFunction,
    model: Box<dyn DeviceModel>,
    memory: DmaRegion,
    wire: Ends,
    now_ns: u64,
}

#[derive(Default)]
struct Ends {
    to_chip: VecDeque<Vec<u8>>,
    from_chip: Vec<Vec<u8>>,
}

impl Wire for Ends {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        self.from_chip.push(frame.to_vec());
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let take = budget.min(self.to_chip.len());
        self.to_chip.drain(..take).for_each(|frame| sink(&frame));
        take
    }
}

impl Ours {
    pub(crate) fn new(
        function: PciFunction,
        model: impl DeviceModel + 'static,
        memory: &DmaRegion,
    ) -> Self {
        function.map(memory).unwrap();
        function.set_bus_master(true);
        let mut side = Self {
            function,
            model: Box::new(model),
            memory: memory.clone(),
            wire: Ends::default(),
            now_ns: 0,
        };
        side.settle();
        side
    }

    /// Steps the model until it has nothing to do; when it next will have.
    fn settle(&mut self) -> Option<u64> {
        for _ in 0..10_000 {
            let step = self.model.step(self.now_ns, &mut self.wire);
            if !step.worked() && !step.again {
                return step.next_event_ns;
            }
        }
        panic!("the model never rests");
    }
}

impl Side for Ours {
    fn read(&mut self, at: Place) -> u32 {
        let value = read(&self.function, at);
        self.settle();
        value
    }

    fn write(&mut self, at: Place, value: u32) {
        write(&self.function, at, value);
        self.settle();
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        self.memory.write_bytes(offset, bytes).unwrap();
    }

    fn load(&mut self, offset: usize, out: &mut [u8]) {
        self.memory.read_bytes(offset, out).unwrap();
    }

    fn frame(&mut self, frame: &[u8]) {
        self.wire.to_chip.push_back(frame.to_vec());
        self.settle();
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.wire.from_chip)
    }

    fn advance(&mut self, ns: u64) {
        let end = self.now_ns + ns;
        let mut next = self.settle();
        while let Some(at) = next.filter(|&at| at <= end) {
            // What is due already but does not happen would hold time up.
            self.now_ns = at.max(self.now_ns + 1).min(end);
            next = self.settle().filter(|_| self.now_ns < end);
        }
        self.now_ns = end;
        self.settle();
    }

    fn pin(&mut self) -> bool {
        pin(&self.function)
    }
}

/// QEMU's.
pub(crate) struct Theirs {
    machine: QemuMachine,
    wire: QemuWire,
    base: DmaAddr,
}

impl Theirs {
    /// QEMU's card of that name, with memory at the same addresses as `memory`.
    pub(crate) fn new(qemu: &Path, model: &str, memory: &DmaRegion) -> Self {
        let machine = bench::machine(qemu, model, &Arc::new(IrqTable::new(1)));
        machine.functions()[0].set_bus_master(true);
        let wire = machine.wire(0).unwrap();
        Self {
            machine,
            wire,
            base: memory.dma_addr(),
        }
    }
}

impl Side for Theirs {
    fn read(&mut self, at: Place) -> u32 {
        read(&self.machine.functions()[0], at)
    }

    fn write(&mut self, at: Place, value: u32) {
        write(&self.machine.functions()[0], at, value);
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        let at = self.base.offset(offset as u64);
        self.machine.write_memory(at, bytes);
    }

    fn load(&mut self, offset: usize, out: &mut [u8]) {
        let at = self.base.offset(offset as u64);
        assert!(self.machine.read_memory(at, out), "QEMU is gone");
    }

    fn frame(&mut self, frame: &[u8]) {
        self.wire.transmit(frame, 0).unwrap();
        self.machine.settle();
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        self.machine.settle();
        while self
            .wire
            .receive(0, usize::MAX, &mut |frame| sent.push(frame.to_vec()))
            > 0
        {
            self.machine.settle();
        }
        sent
    }

    fn advance(&mut self, ns: u64) {
        self.machine.advance(ns);
        self.machine.settle();
    }

    fn pin(&mut self) -> bool {
        pin(&self.machine.functions()[0])
    }
}
