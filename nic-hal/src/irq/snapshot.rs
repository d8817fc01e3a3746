//! What a table counted, and how that prints.

use super::Irq;
use super::line::Line;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

/// The counters of a table at one moment. It prints in the shape of
/// `/proc/interrupts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrqSnapshot {
    /// CPUs of the machine.
    pub cpus: usize,
    /// The lines that exist, by number.
    pub lines: Vec<IrqLine>,
}

/// One line's part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrqLine {
    /// Its number.
    pub irq: Irq,
    /// What raises it.
    pub source: String,
    /// The names of its handlers, if there are any.
    pub action: Option<String>,
    /// The CPU that it interrupts.
    pub affinity: usize,
    /// Whether it was switched off, since it screamed and nobody cared: of
    /// 100,000 deliveries more than 99,900 were spurious. It is switched on again
    /// with its next handler.
    pub disabled: bool,
    /// Deliveries on each CPU.
    pub delivered: Vec<u64>,
    /// Of those, the spurious ones, in which the handler had nothing to do.
    pub unhandled: Vec<u64>,
}

impl IrqSnapshot {
    /// Deliveries of all lines on all CPUs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lines.iter().flat_map(|line| &line.delivered).sum()
    }

    /// Spurious interrupts of all lines on one CPU.
    fn unhandled_on(&self, cpu: usize) -> u64 {
        let counts = self.lines.iter().filter_map(|l| l.unhandled.get(cpu));
        counts.sum()
    }
}

impl fmt::Display for IrqSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "     ")?;
        for cpu in 0..self.cpus {
            let title = alloc::format!("CPU{cpu}");
            write!(f, "{title:>10} ")?;
        }
        writeln!(f)?;
        for line in &self.lines {
            write!(f, "{:>3}: ", line.irq.0)?;
            for count in &line.delivered {
                write!(f, "{count:>10} ")?;
            }
            let action = line.action.as_deref().unwrap_or("");
            let disabled = if line.disabled { "   disabled" } else { "" };
            writeln!(
                f,
                "{}{disabled}",
                alloc::format!("  {}   {action}", line.source).trim_end()
            )?;
        }
        write!(f, "SPU: ")?;
        for cpu in 0..self.cpus {
            write!(f, "{:>10} ", self.unhandled_on(cpu))?;
        }
        writeln!(f, "  Spurious interrupts")
    }
}

pub(super) fn row(number: usize, line: &Line) -> Option<IrqLine> {
    let source = line.label().source.clone()?;
    let actions = line.actions();
    let names: Vec<&str> = actions.iter().map(|action| action.name.as_str()).collect();
    let counts = line.counts.iter();
    Some(IrqLine {
        irq: Irq(number as u32),
        source,
        action: (!names.is_empty()).then(|| names.join(", ")),
        affinity: line.cpu.load(Ordering::Relaxed),
        disabled: line.screams.is_off(),
        delivered: counts
            .clone()
            .map(|c| c.delivered.load(Ordering::Relaxed))
            .collect(),
        unhandled: counts
            .map(|c| c.unhandled.load(Ordering::Relaxed))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{IrqReturn, VectorHandler};
    use crate::irq::{Delivery, IrqTable};
    use alloc::sync::Arc;

    struct Deaf;

    impl VectorHandler for Deaf {
        fn interrupt(&self, _: u16) -> IrqReturn {
            IrqReturn::None
        }
    }

    #[test]
    fn the_snapshot_prints_like_proc_interrupts() {
        let table = IrqTable::new(2);
        let first = table.allocate("PCI-INTx 0000:00:03.0").unwrap();
        table.allocate("PCI-INTx 0000:00:04.0").unwrap();
        let deaf = Arc::new(Deaf);
        table.request(first, 0, "eth0", 1, deaf).unwrap();
        assert_eq!(table.deliver(first), Delivery::Unhandled);
        let lines: Vec<String> = alloc::format!("{}", table.snapshot())
            .lines()
            .map(String::from)
            .collect();
        assert_eq!(
            lines,
            [
                "           CPU0       CPU1 ",
                "  0:          0          1   PCI-INTx 0000:00:03.0   eth0",
                "  1:          0          0   PCI-INTx 0000:00:04.0",
                "SPU:          0          1   Spurious interrupts",
            ]
        );
    }
}
