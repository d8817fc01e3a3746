//! Statistics registers (section 8.19): they count up, stick at their maximum,
//! and are cleared by reading. What the chip counts of a queue by itself is in
//! [`QueueStatistics`].

use super::regs::QUEUES;
use crate::statistics::{Bank, Tally, size_class};
use std::sync::atomic::{AtomicU32, Ordering};

/// The registers of 32 bits that the model counts in. The size classes of a
/// direction are six in a row.
const REGISTERS: [u32; 35] = [
    0x4010, 0x4030, 0x4040, 0x4048, 0x404c, 0x4050, 0x4054, 0x4058, 0x405c, 0x4060, 0x4064, 0x4068,
    0x406c, 0x4070, 0x4074, 0x4078, 0x407c, 0x4080, 0x40a0, 0x40a4, 0x40ac, 0x40d0, 0x40d4, 0x40d8,
    0x40dc, 0x40e0, 0x40e4, 0x40e8, 0x40ec, 0x40f0, 0x40f4, 0x40f8, 0x4104, 0x4118, 0x4120,
];

/// A 32-bit counter, by its place among [`REGISTERS`].
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
    pub(super) const RPTHC: Self = Self::at(0x4104);
    pub(super) const HGPTC: Self = Self::at(0x4118);
    pub(super) const RXDMTC: Self = Self::at(0x4120);

    const fn at(register: u32) -> Self {
        let mut place = 0;
        while REGISTERS[place] != register {
            place += 1;
        }
        Self(place as u8)
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
    pub(super) const HGORC: Self = Self(4);
    pub(super) const HGOTC: Self = Self(5);
    const COUNT: usize = 6;

    /// The counter that a register is half of, and whether it is the high half.
    fn half(register: u32) -> Option<(usize, bool)> {
        let Self(counter) = match register & !4 {
            0x4088 => Self::GORC,
            0x4090 => Self::GOTC,
            0x40c0 => Self::TOR,
            0x40c8 => Self::TOT,
            0x4128 => Self::HGORC,
            0x4130 => Self::HGOTC,
            _ => return None,
        };
        Some((usize::from(counter), register & 4 != 0))
    }
}

/// The registers.
pub(super) struct Statistics {
    bank: Bank<{ Octets::COUNT }>,
    pub(super) queues: [QueueStatistics; QUEUES],
}

/// What is counted of one receive and one transmit queue: the registers from
/// 10010h on, which wrap, and reading leaves them; and RQDPC, which sticks.
#[derive(Default)]
pub(super) struct QueueStatistics {
    pub(super) rx_packets: Wrapping,
    pub(super) rx_octets: Wrapping,
    pub(super) rx_multicast: Wrapping,
    pub(super) tx_packets: Wrapping,
    pub(super) tx_octets: Wrapping,
    dropped: AtomicU32,
}

/// A counter that one thread at a time counts up: whoever has passed the gate.
#[derive(Default)]
pub(super) struct Wrapping(AtomicU32);

impl Wrapping {
    #[inline]
    pub(super) fn add(&self, more: u32) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    fn read(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The most that RQDPC counts.
const MOST_DROPPED: u32 = 0xfff;

impl QueueStatistics {
    /// A packet was dropped, as the queue had no descriptors.
    pub(super) fn drop_packet(&self) {
        let sum = |count: u32| Some((count + 1).min(MOST_DROPPED));
        // It cannot fail, as `sum` always has an answer.
        let _ = self
            .dropped
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
    }

    /// Reads and so clears RQDPC.
    pub(super) fn take_dropped(&self) -> u32 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// The register `at` bytes into the queue's block at 10000h.
    fn read(&self, at: u32) -> u32 {
        match at {
            0x10 => self.rx_packets.read(),
            0x14 => self.tx_packets.read(),
            0x18 => self.rx_octets.read(),
            0x34 => self.tx_octets.read(),
            0x3c => self.rx_multicast.read(),
            _ => 0,
        }
    }

    fn reset(&self) {
        for Wrapping(word) in [
            &self.rx_packets,
            &self.rx_octets,
            &self.rx_multicast,
            &self.tx_packets,
            &self.tx_octets,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        self.dropped.store(0, Ordering::Relaxed);
    }
}

/// The counters of the queues, 100h bytes each.
pub(super) const QUEUE_BLOCKS: std::ops::RangeInclusive<u32> = 0x1_0000..=0x1_0fff;

impl Statistics {
    pub(super) fn new() -> Self {
        Self {
            bank: Bank::new(),
            queues: std::array::from_fn(|_| QueueStatistics::default()),
        }
    }

    /// Reads and so clears a register. Of the 64-bit ones, reading the high half
    /// clears both.
    pub(super) fn read(&self, register: u32) -> u32 {
        match Octets::half(register) {
            Some((at, is_high)) => self.bank.read_half(at, is_high),
            None => {
                let place = REGISTERS.iter().position(|&at| at == register);
                place.map_or(0, |at| self.bank.take(at))
            }
        }
    }

    /// Reads a register of the queues' blocks.
    pub(super) fn read_queue(&self, register: u32) -> u32 {
        let queue = (register >> 8 & 0xf) as usize;
        self.queues[queue].read(register & 0xff)
    }

    pub(super) fn reset(&self) {
        self.bank.reset();
        for queue in &self.queues {
            queue.reset();
        }
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
        self.counts(stat, 1);
    }

    #[inline]
    pub(super) fn counts(&mut self, stat: Stat, more: u32) {
        self.0.count(stat.0, more);
    }

    #[inline]
    pub(super) fn octets(&mut self, which: Octets, octets: usize) {
        self.0.octets(which.0, octets);
    }
}
