//! Statistics registers (section 13.7): they count up, stick at their maximum,
//! and are cleared by reading.

use super::regs::offset;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A 32-bit counter, by its place in the block of statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat(u8);

/// A 64-bit counter of octets, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Octets(u8);

impl Stat {
    pub(super) const MPC: Self = Self::at(0x4010);
    pub(super) const DC: Self = Self::at(0x4030);
    pub(super) const RLEC: Self = Self::at(0x4040);
    pub(super) const XONRXC: Self = Self::at(0x4048);
    pub(super) const XONTXC: Self = Self::at(0x404c);
    pub(super) const XOFFRXC: Self = Self::at(0x4050);
    pub(super) const XOFFTXC: Self = Self::at(0x4054);
    pub(super) const FCRUC: Self = Self::at(0x4058);
    pub(super) const PRC64: Self = Self::at(0x405c);
    pub(super) const GPRC: Self = Self::at(0x4074);
    pub(super) const BPRC: Self = Self::at(0x4078);
    pub(super) const MPRC: Self = Self::at(0x407c);
    pub(super) const GPTC: Self = Self::at(0x4080);
    pub(super) const RNBC: Self = Self::at(0x40a0);
    pub(super) const RUC: Self = Self::at(0x40a4);
    pub(super) const ROC: Self = Self::at(0x40ac);
    pub(super) const TPR: Self = Self::at(0x40d0);
    pub(super) const TPT: Self = Self::at(0x40d4);
    pub(super) const PTC64: Self = Self::at(0x40d8);
    pub(super) const MPTC: Self = Self::at(0x40f0);
    pub(super) const BPTC: Self = Self::at(0x40f4);
    pub(super) const TSCTC: Self = Self::at(0x40f8);
    pub(super) const TSCTFC: Self = Self::at(0x40fc);

    const fn at(register: u32) -> Self {
        Self(((register - offset::STATISTICS) / 4) as u8)
    }

    /// The counter of a packet's size class, of which `self` is the first: 64,
    /// 65-127, 128-255, 256-511, 512-1023, and 1024 to the largest.
    pub(super) const fn of_size(self, len: usize) -> Self {
        let class = match len {
            0..=64 => 0,
            65..=127 => 1,
            128..=255 => 2,
            256..=511 => 3,
            512..=1023 => 4,
            _ => 5,
        };
        Self(self.0 + class)
    }
}

impl Octets {
    pub(super) const GORC: Self = Self(0);
    pub(super) const GOTC: Self = Self(1);
    pub(super) const TOR: Self = Self(2);
    pub(super) const TOT: Self = Self(3);

    /// The counter that a register is half of, and whether it is the high half.
    fn half(index: usize) -> Option<(Self, bool)> {
        Some(match index {
            34 | 35 => (Self::GORC, index == 35),
            36 | 37 => (Self::GOTC, index == 37),
            48 | 49 => (Self::TOR, index == 49),
            50 | 51 => (Self::TOT, index == 51),
            _ => return None,
        })
    }
}

/// The registers.
pub(super) struct Statistics {
    counts: [AtomicU32; 64],
    octets: [AtomicU64; 4],
}

impl Statistics {
    pub(super) const fn new() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; 64],
            octets: [const { AtomicU64::new(0) }; 4],
        }
    }

    /// Reads and so clears a register. Of the 64-bit ones, reading the high half
    /// clears both.
    pub(super) fn read(&self, register: u32) -> u32 {
        let index = (register.saturating_sub(offset::STATISTICS) / 4) as usize % 64;
        match Octets::half(index) {
            Some((Octets(at), false)) => {
                self.octets[usize::from(at)].load(Ordering::Relaxed) as u32
            }
            Some((Octets(at), true)) => {
                (self.octets[usize::from(at)].swap(0, Ordering::Relaxed) >> 32) as u32
            }
            None => self.counts[index].swap(0, Ordering::Relaxed),
        }
    }

    pub(super) fn reset(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        for octets in &self.octets {
            octets.store(0, Ordering::Relaxed);
        }
    }

    /// Adds what a burst has gathered, and empties it.
    pub(super) fn add(&self, delta: &mut Delta) {
        let mut touched = std::mem::take(&mut delta.touched);
        while touched != 0 {
            let at = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let more = std::mem::take(&mut delta.counts[at]);
            let sum = |count: u32| Some(count.saturating_add(more));
            // It cannot fail, as `sum` always has an answer.
            let _ = self.counts[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        }
        for (octets, more) in self.octets.iter().zip(&mut delta.octets) {
            let more = std::mem::take(more);
            if more != 0 {
                let sum = |count: u64| Some(count.saturating_add(more));
                let _ = octets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
            }
        }
    }
}

/// What one burst has counted and not yet added to the registers.
pub(super) struct Delta {
    counts: [u32; 64],
    octets: [u64; 4],
    /// Which of `counts` are not zero.
    touched: u64,
}

impl Delta {
    pub(super) const fn new() -> Self {
        Self {
            counts: [0; 64],
            octets: [0; 4],
            touched: 0,
        }
    }

    #[inline]
    pub(super) fn count(&mut self, stat: Stat) {
        let at = usize::from(stat.0) % 64;
        self.counts[at] += 1;
        self.touched |= 1 << at;
    }

    #[inline]
    pub(super) fn octets(&mut self, which: Octets, octets: usize) {
        self.octets[usize::from(which.0) % 4] += octets as u64;
    }
}
