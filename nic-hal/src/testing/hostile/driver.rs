//! A driver that programs nonsense.

use super::Whim;
use crate::bus::{BarKind, IrqMode, IrqReturn, PciDevice, VectorHandler};
use crate::wire::{Wire, WireError};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use softnet_dma_ring::DmaRegion;

/// A register that answers: its BAR and its offset.
pub type Register = (u8, u32);

/// The registers of a device that read other than 0 after all ones were written to
/// them, by trying. (What that has done to the device, a reset undoes.)
pub fn discover<P: PciDevice>(device: &P) -> Vec<Register> {
    let bars = (0..6).filter_map(|bar| Some((bar, device.bar(bar)?)));
    let all = bars.flat_map(|(bar, info)| {
        let step = if info.kind == BarKind::Io { 1 } else { 4 };
        (0..info.len).step_by(step).map(move |at| (bar, at))
    });
    let mut found = Vec::new();
    for (bar, at) in all {
        device.write32(bar, at & !3, u32::MAX);
        if device.read32(bar, at & !3) != 0 {
            found.push((bar, at));
        }
    }
    found
}

/// What a driver would write to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The lower half of an address that the device may reach.
    AddressLow,
    /// The upper half of it.
    AddressHigh,
    /// This value.
    Exactly(u32),
    /// A multiple of this, up to 64 times.
    Times(u32),
}

/// What is known of a device: where it has registers, and how a driver sets it up,
/// so that nonsense reaches further than to a device that is off.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Registers that answer.
    pub registers: Vec<Register>,
    /// What a driver writes, in order.
    pub plan: Vec<(Register, Plan)>,
}

/// Bytes that the device may reach, and as many beside them that it may not.
const MEMORY: usize = 1 << 16;
const CANARY: u64 = 0x5ca1_ab1e_0ddb_a115;

/// Programs the device at a whim, for so many operations, and has `step` run it
/// in between, at a time that goes on, with a wire of whims.
///
/// # Panics
/// When there is no memory, the device does not take it, or memory was changed that is
/// not mapped: this is for tests.
pub fn torment_model<P: PciDevice>(
    device: &P,
    knowledge: &Knowledge,
    whim: &Arc<Whim>,
    operations: usize,
    mut step: impl FnMut(u64, &mut dyn Wire),
) {
    let (mapped, guard) = (memory(), memory());
    let taken = device.map(&mapped);
    assert!(taken.is_ok(), "the device does not take memory: {taken:?}");
    fill(&guard, CANARY);
    device.set_bus_master(true);
    let mut wire = WhimWire::new(Arc::clone(whim));
    let driver = Nonsense {
        device,
        knowledge,
        whim,
        mapped,
        guard,
    };
    driver.set_up();
    let mut now_ns = 0;
    for _ in 0..operations {
        if whim.is_spent() {
            break;
        }
        driver.operate();
        if whim.chance(96) {
            now_ns += u64::from(whim.word()) >> whim.below(32);
            step(now_ns, &mut wire);
        }
    }
    step(now_ns + 1, &mut wire);
    driver.finish();
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn memory() -> DmaRegion {
    DmaRegion::alloc(MEMORY).unwrap_or_else(|why| panic!("no memory: {why}"))
}

struct Nonsense<'a, P> {
    device: &'a P,
    knowledge: &'a Knowledge,
    whim: &'a Whim,
    mapped: DmaRegion,
    guard: DmaRegion,
}

impl<P: PciDevice> Nonsense<'_, P> {
    fn operate(&self) {
        match self.whim.below(16) {
            0..5 => self.write(),
            5..7 => self.read(),
            7..12 => self.describe(),
            12 => self.set_up(),
            13 => self.configure(),
            14 => self.interrupts(),
            _ => self.restore(),
        }
    }

    fn write(&self) {
        let (bar, at) = self.register();
        let value = self.value();
        match self.whim.below(8) {
            0 => self.device.write8(bar, at, value as u8),
            1 => self.device.write16(bar, at, value as u16),
            _ => self.device.write32(bar, at, value),
        }
    }

    /// As a driver would, but for a step that is left out, or done otherwise.
    fn set_up(&self) {
        for ((bar, at), plan) in &self.knowledge.plan {
            let value = match plan {
                _ if self.whim.chance(8) => self.value(),
                Plan::AddressLow => self.address() as u32,
                Plan::AddressHigh => (self.address() >> 32) as u32,
                Plan::Exactly(value) => *value,
                Plan::Times(unit) => unit.wrapping_mul(self.whim.below(65) as u32),
            };
            match self.device.bar(*bar).map(|bar| bar.kind) {
                Some(BarKind::Io) => self.device.write8(*bar, *at, value as u8),
                _ => self.device.write32(*bar, *at, value),
            }
        }
    }

    fn read(&self) {
        let (bar, at) = self.register();
        match self.whim.below(4) {
            0 => core::hint::black_box(u32::from(self.device.read8(bar, at))),
            1 => core::hint::black_box(u32::from(self.device.read16(bar, at))),
            _ => core::hint::black_box(self.device.read32(bar, at)),
        };
    }

    /// One that answers, mostly.
    fn register(&self) -> Register {
        if self.whim.chance(16) {
            return (
                self.whim.below(6) as u8,
                self.whim.word() >> self.whim.below(32),
            );
        }
        let plan = &self.knowledge.plan;
        if self.whim.chance(160)
            && let Some((register, _)) = plan.get(self.whim.below(plan.len()))
        {
            return *register;
        }
        let registers = &self.knowledge.registers;
        let which = self.whim.below(registers.len());
        registers.get(which).copied().unwrap_or((0, 0))
    }

    /// Any value, with a liking for those that mean something.
    fn value(&self) -> u32 {
        let any = self.whim.word();
        match self.whim.below(8) {
            0 => u32::MAX,
            1 => 1 << (any % 32),
            2 => any % 64,
            3 => (any % 64) * 128,
            4 => self.address() as u32,
            5 => (self.address() >> 32) as u32,
            _ => any,
        }
    }

    /// In memory that is mapped, or near it, or in memory that is not.
    fn address(&self) -> u64 {
        let at = self.whim.below(MEMORY + 64) as u64;
        let region = if self.whim.chance(24) {
            &self.guard
        } else {
            &self.mapped
        };
        region.dma_addr().0.wrapping_add(at & !15)
    }

    /// Writes a word to the memory that the device may reach.
    fn describe(&self) {
        let at = self.whim.below(MEMORY / 8) * 8;
        let word = if self.whim.chance(128) {
            self.address()
        } else {
            u64::from(self.value()) << 32 | u64::from(self.value())
        };
        let _ = self.mapped.write_u64(at, word, Ordering::Release);
    }

    fn configure(&self) {
        let at = (self.whim.below(64) * 4) as u16;
        self.device.config_read32(at);
        self.device.config_write32(at, self.value());
    }

    fn interrupts(&self) {
        let modes = [IrqMode::MsiX, IrqMode::Msi, IrqMode::Intx];
        let from = self.whim.below(modes.len());
        let max = self.whim.below(40) as u16;
        if self.whim.chance(128) {
            self.device.free_irq_vectors();
        } else if let Ok(vectors) = self.device.alloc_irq_vectors(max, &modes[from..]) {
            for vector in 0..vectors.count {
                let _ = self.device.request_irq(vector, "x", 0, Arc::new(Deaf));
            }
        }
    }

    /// Puts what has to be on on again.
    fn restore(&self) {
        if self.whim.chance(32) {
            let _ = self.device.reset_function();
        }
        self.device.config_write32(4, 7);
        self.device.set_bus_master(true);
    }

    fn finish(self) {
        self.device.free_irq_vectors();
        self.device.unmap(&self.mapped);
        let words = (0..MEMORY / 8).map(|word| self.guard.read_u64(word * 8, Ordering::Acquire));
        let changed = words.filter(|word| *word != Some(CANARY)).count();
        assert_eq!(changed, 0, "memory was changed that is not mapped");
    }
}

fn fill(region: &DmaRegion, word: u64) {
    for at in (0..MEMORY).step_by(8) {
        let _ = region.write_u64(at, word, Ordering::Release);
    }
}

/// It does nothing, whatever the cause.
struct Deaf;

impl VectorHandler for Deaf {
    fn interrupt(&self, _: u16) -> IrqReturn {
        IrqReturn::Handled
    }
}

/// A wire that carries anything.
#[derive(Debug)]
pub struct WhimWire(Arc<Whim>);

impl WhimWire {
    /// A wire of these whims.
    #[must_use]
    pub fn new(whim: Arc<Whim>) -> Self {
        Self(whim)
    }
}

impl Wire for WhimWire {
    fn transmit(&mut self, frame: &[u8], _: u64) -> Result<(), WireError> {
        core::hint::black_box(frame.iter().fold(0, |sum, byte| sum ^ byte));
        if self.0.chance(16) {
            return Err(WireError::Congested);
        }
        Ok(())
    }

    fn receive(&mut self, _: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let count = self.0.below(4).min(budget);
        for _ in 0..count {
            let len = self.0.below(20_000) >> self.0.below(12);
            let mut frame = alloc::vec![self.0.byte(); len];
            frame
                .iter_mut()
                .take(60)
                .for_each(|byte| *byte = self.0.byte());
            if self.0.chance(128)
                && let Some(to) = frame.get_mut(..6)
            {
                to.fill(0xff);
            }
            sink(&frame);
        }
        count
    }

    fn carrier(&self) -> bool {
        !self.0.chance(8)
    }
}
