//! Counters, in the shape of `/proc/softirqs`.

use crate::counter::Counter;
use crate::cpu::CpuId;
use crate::vector::Vector;
use core::fmt;

/// The counters of one CPU, while it runs.
#[derive(Debug, Default)]
pub(crate) struct SoftirqCounters {
    pub(crate) vectors: [Counter; Vector::COUNT],
    pub(crate) inline_passes: Counter,
    pub(crate) ksoftirqd_passes: Counter,
    pub(crate) restarts: Counter,
    pub(crate) hand_overs: Counter,
    pub(crate) not_open: Counter,
}

impl SoftirqCounters {
    pub(crate) fn snapshot(&self, cpu: CpuId) -> SoftirqStats {
        SoftirqStats {
            cpu,
            vectors: core::array::from_fn(|index| self.vectors[index].count()),
            inline_passes: self.inline_passes.count(),
            ksoftirqd_passes: self.ksoftirqd_passes.count(),
            restarts: self.restarts.count(),
            hand_overs: self.hand_overs.count(),
            not_open: self.not_open.count(),
        }
    }
}

/// What one CPU has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftirqStats {
    /// Which CPU it is.
    pub cpu: CpuId,
    /// How often each vector ran, in the order of [`Vector::ALL`].
    pub vectors: [u64; Vector::COUNT],
    /// Passes that ran vectors on the way out of an interrupt.
    pub inline_passes: u64,
    /// Passes that ran vectors in ksoftirqd.
    pub ksoftirqd_passes: u64,
    /// Times that a pass began again, since vectors were raised meanwhile.
    pub restarts: u64,
    /// Times that a pass reached its bounds and left work to ksoftirqd.
    pub hand_overs: u64,
    /// Times that a vector was raised that nobody had opened.
    pub not_open: u64,
}

impl SoftirqStats {
    /// How often `vector` ran.
    #[must_use]
    pub const fn vector(&self, vector: Vector) -> u64 {
        self.vectors[vector.index()]
    }
}

/// Shows CPUs as `/proc/softirqs` does: a column a CPU, a row a vector.
#[derive(Clone, Copy, Debug)]
pub struct ProcSoftirqs<'a>(pub &'a [SoftirqStats]);

impl fmt::Display for ProcSoftirqs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:20}", "")?;
        for stats in self.0 {
            write!(f, "CPU{:<8}", stats.cpu.0)?;
        }
        writeln!(f)?;
        for vector in Vector::ALL {
            write!(f, "{:>12}:", vector.name())?;
            for stats in self.0 {
                write!(f, " {:10}", stats.vector(vector))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
