//! Statistics registers as Intel's chips have them, whatever their addresses are:
//! they count up, stick at their maximum, and are cleared by reading.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Places for counters: as many as a word has bits.
pub(crate) const PLACES: usize = 64;

/// The registers: counters of 32 bits, and `WIDE` of 64 bits.
pub(crate) struct Bank<const WIDE: usize> {
    counts: [AtomicU32; PLACES],
    octets: [AtomicU64; WIDE],
}

/// What one burst has counted and not yet added to the registers.
pub(crate) struct Tally<const WIDE: usize> {
    counts: [u32; PLACES],
    octets: [u64; WIDE],
    /// Which of `counts` are not zero.
    touched: u64,
}

impl<const WIDE: usize> Bank<WIDE> {
    pub(crate) const fn new() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; PLACES],
            octets: [const { AtomicU64::new(0) }; WIDE],
        }
    }

    /// Reads and so clears a counter of 32 bits.
    pub(crate) fn take(&self, at: usize) -> u32 {
        self.counts[at].swap(0, Ordering::Relaxed)
    }

    /// Reads half of a counter of 64 bits. Reading the high half clears both.
    pub(crate) fn read_half(&self, at: usize, is_high: bool) -> u32 {
        match is_high {
            false => self.octets[at].load(Ordering::Relaxed) as u32,
            true => (self.octets[at].swap(0, Ordering::Relaxed) >> 32) as u32,
        }
    }

    pub(crate) fn reset(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        for octets in &self.octets {
            octets.store(0, Ordering::Relaxed);
        }
    }

    /// Adds what a burst has gathered, and empties it.
    pub(crate) fn add(&self, tally: &mut Tally<WIDE>) {
        let mut touched = std::mem::take(&mut tally.touched);
        while touched != 0 {
            let at = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let more = std::mem::take(&mut tally.counts[at]);
            let sum = |count: u32| Some(count.saturating_add(more));
            // It cannot fail, as `sum` always has an answer.
            let _ = self.counts[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        }
        for (octets, more) in self.octets.iter().zip(&mut tally.octets) {
            let more = std::mem::take(more);
            if more != 0 {
                let sum = |count: u64| Some(count.saturating_add(more));
                let _ = octets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
            }
        }
    }
}

impl<const WIDE: usize> Tally<WIDE> {
    pub(crate) const fn new() -> Self {
        Self {
            counts: [0; PLACES],
            octets: [0; WIDE],
            touched: 0,
        }
    }

    #[inline]
    pub(crate) fn count(&mut self, at: u8, more: u32) {
        let at = usize::from(at) % PLACES;
        self.counts[at] += more;
        self.touched |= 1 << at;
    }

    #[inline]
    pub(crate) fn octets(&mut self, at: u8, octets: usize) {
        self.octets[usize::from(at) % WIDE] += octets as u64;
    }
}

/// Which of the six counters of sizes a packet of `len` bytes, with its FCS, counts
/// in.
pub(crate) const fn size_class(len: usize) -> u8 {
    match len {
        0..=64 => 0,
        65..=127 => 1,
        128..=255 => 2,
        256..=511 => 3,
        512..=1023 => 4,
        _ => 5,
    }
}
