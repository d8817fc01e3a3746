//! A function's interrupt vectors, set up as an operating system does.
//!
//! The machine has no processor to interrupt. A message is a write to memory, so each
//! vector's message goes to a word of the guest's memory that nobody else uses, and
//! [`deliver`](crate::delivery::deliver) looks there.

use crate::bars::Bar;
use crate::config::{self, Command, Slot};
use crate::machine::Shared;
use crate::memory::MESSAGES;
use crate::qtest::{Line, Width};
use softnet_nic_hal::bus::{BusError, IrqMode, IrqVectors};
use softnet_nic_hal::irq::Irq;

/// A function has at most so many vectors with messages here.
const PER_FUNCTION: u16 = 64;

/// What a message writes.
const MESSAGE: u32 = 1;

/// MSI's message control (PCI Local Bus Specification 3.0, 6.8.1.3), in the upper half of
/// its word: enable, and addresses of 64 bits. One message is all that is enabled.
const MSI_ENABLE: u32 = 1 << 16;
const MSI_MULTIPLE: u32 = 0b111 << 20;
const MSI_64: u32 = 1 << 23;

/// MSI-X's message control (6.8.2.3): enable, function mask, and the last vector's number.
const MSI_X_ENABLE: u32 = 1 << 31;
const MSI_X_MASK: u32 = 1 << 30;
const MSI_X_SIZE: u32 = 0x7ff;

/// Bytes of an entry of MSI-X's table (6.8.2.6), and its words.
const ENTRY: u64 = 16;
const ENTRY_DATA: u64 = 8;
const ENTRY_CONTROL: u64 = 12;

/// The vectors that a function was given.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    mode: Option<IrqMode>,
    lines: Vec<Irq>,
    /// Where the words of this function's messages begin.
    messages: u64,
    /// Where MSI-X's table is.
    table: u64,
}

impl Vectors {
    /// Vectors of the first kind that the function has.
    pub(crate) fn alloc(
        &mut self,
        shared: &Shared,
        slot: Slot,
        bars: &[Option<Bar>; 6],
        max: u16,
        modes: &[IrqMode],
    ) -> Result<IrqVectors, BusError> {
        self.free_all(shared, slot);
        self.messages = MESSAGES + u64::from(slot.0) * u64::from(PER_FUNCTION) * 4;
        let mut line = shared.qtest.lock();
        for &mode in modes.iter().filter(|_| max > 0) {
            let Some(setup) = Setup::find(&mut line, slot, bars, mode) else {
                continue;
            };
            let count = max.min(setup.vectors).min(PER_FUNCTION);
            let Ok(lines) = lines(shared, slot, mode, count) else {
                continue;
            };
            self.mode = Some(mode);
            self.table = setup.table;
            self.lines = lines;
            self.enable(&mut line, slot, setup.capability);
            return Ok(IrqVectors { mode, count });
        }
        Err(BusError::NoIrq)
    }

    pub(crate) fn free_all(&mut self, shared: &Shared, slot: Slot) {
        let Some(mode) = self.mode.take() else {
            return;
        };
        let mut line = shared.qtest.lock();
        disable(&mut line, slot, mode);
        drop(line);
        for irq in self.lines.drain(..) {
            shared.irqs.release(irq);
        }
    }

    pub(crate) fn line(&self, vector: u16) -> Option<Irq> {
        self.lines.get(usize::from(vector)).copied()
    }

    /// Masks a vector in MSI-X's table. The other kinds have no mask of their own.
    pub(crate) fn set_masked(&mut self, shared: &Shared, vector: u16, masked: bool) {
        if self.mode == Some(IrqMode::MsiX) && self.line(vector).is_some() {
            let control = self.table + u64::from(vector) * ENTRY + ENTRY_CONTROL;
            let mut line = shared.qtest.lock();
            line.write(Width::Long, control, masked.into());
        }
    }

    /// The line of a pin.
    pub(crate) fn pin(&self) -> Option<Irq> {
        let irq = self.lines.first().copied();
        irq.filter(|_| self.mode == Some(IrqMode::Intx))
    }

    /// Takes the messages that have come: the lines that they are for.
    pub(crate) fn take_messages(&self, line: &mut Line) -> Vec<Irq> {
        if matches!(self.mode, None | Some(IrqMode::Intx)) {
            return Vec::new();
        }
        let mut words = vec![0; self.lines.len() * 4];
        if line.read_bytes(self.messages, &mut words).is_none() {
            return Vec::new();
        }
        let mut came = Vec::new();
        for ((word, irq), at) in words.chunks(4).zip(&self.lines).zip(0..) {
            if word != [0; 4] {
                // Before the handler runs: what comes from now on is another message.
                line.write(Width::Long, self.messages + at * 4, 0);
                came.push(*irq);
            }
        }
        came
    }

    /// Programs the capability, all vectors masked where they have masks.
    fn enable(&self, line: &mut Line, slot: Slot, at: u16) {
        line.zero(self.messages, usize::from(PER_FUNCTION) * 4);
        match self.mode {
            Some(IrqMode::MsiX) => {
                let control = slot.read(line, at);
                slot.write(line, at, control | MSI_X_ENABLE | MSI_X_MASK);
                for vector in 0..self.lines.len() as u64 {
                    self.program(line, vector);
                }
                slot.write(line, at, control & !MSI_X_MASK | MSI_X_ENABLE);
            }
            Some(IrqMode::Msi) => self.enable_msi(line, slot, at),
            _ => return slot.command(line, Command::empty(), Command::INTX_DISABLE),
        }
        slot.command(line, Command::INTX_DISABLE, Command::empty());
    }

    fn program(&self, line: &mut Line, vector: u64) {
        let (entry, word) = (self.table + vector * ENTRY, self.messages + vector * 4);
        line.write(Width::Long, entry, word);
        line.write(Width::Long, entry + 4, 0);
        line.write(Width::Long, entry + ENTRY_DATA, MESSAGE.into());
        line.write(Width::Long, entry + ENTRY_CONTROL, 1);
    }

    fn enable_msi(&self, line: &mut Line, slot: Slot, at: u16) {
        let control = slot.read(line, at);
        slot.write(line, at + 4, self.messages as u32);
        let data = if control & MSI_64 != 0 {
            slot.write(line, at + 8, 0);
            at + 12
        } else {
            at + 8
        };
        slot.write(line, data, MESSAGE);
        slot.write(line, at, control & !MSI_MULTIPLE | MSI_ENABLE);
    }
}

/// What there is to set up.
struct Setup {
    capability: u16,
    vectors: u16,
    table: u64,
}

impl Setup {
    fn find(line: &mut Line, slot: Slot, bars: &[Option<Bar>; 6], mode: IrqMode) -> Option<Self> {
        let (capability, vectors, table) = match mode {
            IrqMode::MsiX => {
                let at = slot.capability(line, config::MSI_X)?;
                let size = (slot.read(line, at) >> 16 & MSI_X_SIZE) as u16 + 1;
                let table = slot.read(line, at + 4);
                let bar = (*bars.get((table & 7) as usize)?)?;
                (at, size, bar.base + u64::from(table & !7))
            }
            IrqMode::Msi => (slot.capability(line, config::MSI)?, 1, 0),
            IrqMode::Intx => (0, 1, 0),
        };
        Some(Self {
            capability,
            vectors,
            table,
        })
    }
}

fn disable(line: &mut Line, slot: Slot, mode: IrqMode) {
    let (id, enable) = match mode {
        IrqMode::Intx => return,
        IrqMode::Msi => (config::MSI, MSI_ENABLE),
        IrqMode::MsiX => (config::MSI_X, MSI_X_ENABLE),
    };
    if let Some(at) = slot.capability(line, id) {
        let control = slot.read(line, at);
        slot.write(line, at, control & !enable);
    }
    slot.command(line, Command::empty(), Command::INTX_DISABLE);
}

/// Lines for that many vectors; none stays taken when there are too few.
fn lines(shared: &Shared, slot: Slot, mode: IrqMode, count: u16) -> Result<Vec<Irq>, BusError> {
    let kind = match mode {
        IrqMode::Intx => "INTx",
        IrqMode::Msi => "MSI",
        IrqMode::MsiX => "MSIX",
    };
    let source = format!("PCI-{kind} 0000:00:{:02x}.0", slot.0);
    let mut lines = Vec::new();
    for _ in 0..count {
        match shared.irqs.allocate(&source) {
            Ok(irq) => lines.push(irq),
            Err(_) => {
                lines.into_iter().for_each(|irq| shared.irqs.release(irq));
                return Err(BusError::NoIrq);
            }
        }
    }
    Ok(lines)
}
