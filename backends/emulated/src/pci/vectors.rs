//! What an operating system does for a driver that asks for interrupts: it finds
//! lines for the vectors, programs the function's capability, and masks a vector
//! while it has no handler.

use super::config::Command;
use super::messages::{MsixControl, Part, WINDOW};
use super::port::FunctionPort;
use softnet_nic_hal::bus::{BusError, IrqMode, IrqVectors, VectorHandler};
use softnet_nic_hal::irq::{ActionId, Irq, IrqError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The vectors that a function's driver has.
#[derive(Default)]
pub(super) struct Vectors {
    taken: Mutex<Option<Taken>>,
}

#[derive(Clone, Copy)]
struct Taken {
    vectors: IrqVectors,
    /// The handler on the pin's line, which others may share.
    pin: Option<ActionId>,
}

impl Vectors {
    pub(super) fn alloc(
        &self,
        port: &FunctionPort,
        name: &str,
        max: u16,
        modes: &[IrqMode],
    ) -> Result<IrqVectors, BusError> {
        if max == 0 {
            return Err(BusError::NoIrq);
        }
        let mut taken = self.taken();
        if let Some(before) = taken.take() {
            give_back(port, before);
        }
        let mut had = modes
            .iter()
            .filter_map(|mode| set_up(port, name, max, *mode));
        let vectors = had.next().ok_or(BusError::NoIrq)?;
        *taken = Some(Taken { vectors, pin: None });
        Ok(vectors)
    }

    pub(super) fn free(&self, port: &FunctionPort) {
        if let Some(taken) = self.taken().take() {
            give_back(port, taken);
        }
    }

    pub(super) fn request(
        &self,
        port: &FunctionPort,
        vector: u16,
        name: &str,
        cpu: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        let mut guard = self.taken();
        let taken = guard.as_mut().ok_or(BusError::NoVector(vector))?;
        let (mode, irq) = line(port, taken, vector)?;
        if mode == IrqMode::Intx {
            return share_pin(port, taken, name, cpu, handler);
        }
        let requested = port.irqs().request(irq, vector, name, cpu, handler);
        requested.map_err(|error| refused(error, vector))?;
        drop(guard);
        set_mask(port, mode, vector, false);
        Ok(())
    }

    pub(super) fn free_irq(&self, port: &FunctionPort, vector: u16) {
        let mut guard = self.taken();
        let Some(taken) = guard.as_mut() else {
            return;
        };
        let Ok((mode, irq)) = line(port, taken, vector) else {
            return;
        };
        if mode == IrqMode::Intx {
            free_pin(port, taken);
        } else {
            set_mask(port, mode, vector, true);
            port.irqs().free(irq);
        }
    }

    pub(super) fn set_affinity(
        &self,
        port: &FunctionPort,
        vector: u16,
        cpu: usize,
    ) -> Result<(), BusError> {
        let taken = self.taken();
        let taken = taken.as_ref().ok_or(BusError::NoVector(vector))?;
        let (_, irq) = line(port, taken, vector)?;
        let set = port.irqs().set_affinity(irq, cpu);
        set.map_err(|error| refused(error, vector))
    }

    fn taken(&self) -> MutexGuard<'_, Option<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(error: IrqError, vector: u16) -> BusError {
    match error {
        IrqError::Busy(_) => BusError::VectorBusy(vector),
        _ => BusError::NoVector(vector),
    }
}

/// The line of a vector that was allocated.
fn line(port: &FunctionPort, taken: &Taken, vector: u16) -> Result<(IrqMode, Irq), BusError> {
    let vectors = taken.vectors;
    let irq = match vectors.mode {
        _ if vector >= vectors.count => None,
        IrqMode::Intx => Some(port.intx.irq()),
        IrqMode::Msi | IrqMode::MsiX => port.line(vector),
    };
    Ok((vectors.mode, irq.ok_or(BusError::NoVector(vector))?))
}

/// Other functions' pins may be on the same line.
fn share_pin(
    port: &FunctionPort,
    taken: &mut Taken,
    name: &str,
    cpu: usize,
    handler: Arc<dyn VectorHandler>,
) -> Result<(), BusError> {
    if taken.pin.is_some() {
        return Err(BusError::VectorBusy(0));
    }
    let irq = port.intx.irq();
    let shared = port.irqs().request_shared(irq, 0, name, cpu, handler);
    taken.pin = Some(shared.map_err(|error| refused(error, 0))?);
    Ok(())
}

fn free_pin(port: &FunctionPort, taken: &mut Taken) {
    if let Some(pin) = taken.pin.take() {
        port.irqs().free_shared(port.intx.irq(), pin);
    }
}

/// Sets up interrupts of one kind, if the function has it and lines are left.
fn set_up(port: &FunctionPort, name: &str, max: u16, mode: IrqMode) -> Option<IrqVectors> {
    let list = &port.config.list;
    let count = match mode {
        IrqMode::Intx => {
            port.set_command(Command::INTX_DISABLE, false);
            1
        }
        IrqMode::Msi => {
            let lines = lines(
                port,
                "PCI-MSI",
                name,
                max.min(list.msi.as_ref()?.layout.vectors.into()),
            );
            enable_msi(port, lines)?
        }
        IrqMode::MsiX => {
            let lines = lines(
                port,
                "PCI-MSIX",
                name,
                max.min(list.msix.as_ref()?.layout.vectors),
            );
            enable_msix(port, lines)?
        }
    };
    Some(IrqVectors { mode, count })
}

/// As many lines as there are, at most `max`.
fn lines(port: &FunctionPort, kind: &str, name: &str, max: u16) -> Vec<Irq> {
    let line = |vector| port.irqs().allocate(&format!("{kind} {name} {vector}"));
    (0..max).map_while(|vector| line(vector).ok()).collect()
}

/// MSI gives a power of two of vectors; the lines of the others go back.
fn enable_msi(port: &FunctionPort, mut lines: Vec<Irq>) -> Option<u16> {
    let count = 1 << lines.len().checked_ilog2()?;
    for spare in lines.split_off(count) {
        port.irqs().release(spare);
    }
    port.set_lines(lines);
    port.change(|port, due| {
        let msi = port.config.list.msi.as_ref();
        if let Some(msi) = msi {
            msi.config_write(4, WINDOW, due);
            msi.config_write(8, 0, due);
            msi.config_write(12, 0, due);
            msi.config_write(16, u32::MAX, due);
            msi.enable(count as u16);
            msi.lead();
        }
        port.config.set_command(Command::INTX_DISABLE, true);
    });
    Some(count as u16)
}

fn enable_msix(port: &FunctionPort, lines: Vec<Irq>) -> Option<u16> {
    let count = u16::try_from(lines.len()).ok().filter(|count| *count > 0)?;
    port.set_lines(lines);
    for vector in 0..count {
        let entry = Part::entry(vector);
        let words = [(0, WINDOW), (4, 0), (8, vector.into())];
        for (at, value) in [(12, 1)].into_iter().chain(words) {
            port.table_write(Part::Table(entry + at), value);
        }
    }
    port.change(|port, _| {
        if let Some(msix) = &port.config.list.msix {
            msix.set_control(MsixControl::ENABLE);
        }
        port.config.set_command(Command::INTX_DISABLE, true);
    });
    Some(count)
}

/// Turns messages off again, and gives their lines back with what handlers they
/// have left.
fn give_back(port: &FunctionPort, mut taken: Taken) {
    free_pin(port, &mut taken);
    port.change(|port, _| {
        if let Some(msi) = &port.config.list.msi {
            msi.reset();
        }
        if let Some(msix) = &port.config.list.msix {
            msix.reset();
        }
        port.config.set_command(Command::INTX_DISABLE, false);
    });
    for line in port.set_lines(Vec::new()).iter() {
        port.irqs().release(*line);
    }
}

fn set_mask(port: &FunctionPort, mode: IrqMode, vector: u16, masked: bool) {
    match mode {
        IrqMode::Intx => {}
        IrqMode::Msi => port.change(|port, due| {
            if let Some(msi) = &port.config.list.msi {
                let bit = 1u32 << vector;
                let mask = msi.config_read(16);
                let mask = if masked { mask | bit } else { mask & !bit };
                msi.config_write(16, mask, due);
            }
        }),
        IrqMode::MsiX => {
            let control = Part::Table(Part::entry(vector) + 12);
            port.table_write(control, masked.into());
        }
    }
}
