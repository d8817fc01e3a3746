//! Statistics registers (section 13.7): they count up, stick at their maximum,
//! and are cleared by reading.

use super::regs::offset;
use crate::statistics::{Bank, PLACES, Tally, size_class};

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
        Self(self.0 + size_class(len))
    }
}

impl Octets {
    pub(super) const GORC: Self = Self(0);
    pub(super) const GOTC: Self = Self(1);
    pub(super) const TOR: Self = Self(2);
    pub(super) const TOT: Self = Self(3);
    const COUNT: usize = 4;

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
    bank: Bank<{ Octets::COUNT }>,
}

impl Statistics {
    pub(super) const fn new() -> Self {
        Self { bank: Bank::new() }
    }

    /// Reads and so clears a register. Of the 64-bit ones, reading the high half
    /// clears both.
    pub(super) fn read(&self, register: u32) -> u32 {
        let index = (register.saturating_sub(offset::STATISTICS) / 4) as usize % PLACES;
        match Octets::half(index) {
            Some((Octets(at), is_high)) => self.bank.read_half(at.into(), is_high),
            None => self.bank.take(index),
        }
    }

    pub(super) fn reset(&self) {
        self.bank.reset();
    }

    /// Adds what a burst has gathered, and empties it.
    pub(super) fn add(&self, delta: &mut Delta) {
        self.bank.add(&mut delta.0);
    }
}

/// What one burst has counted and not yet added to the registers.
pub(super) struct Delta(Tally<{ Octets::COUNT }>);

impl Delta {
    pub(super) const fn new() -> Self {
        Self(Tally::new())
    }

    #[inline]
    pub(super) fn count(&mut self, stat: Stat) {
        self.0.count(stat.0, 1);
    }

    #[inline]
    pub(super) fn octets(&mut self, which: Octets, octets: usize) {
        self.0.octets(which.0, octets);
    }
}
