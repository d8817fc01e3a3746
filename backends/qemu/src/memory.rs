//! The guest's memory, as the drivers' DMA memory.
//!
//! A q35 machine has its memory in two parts: below 2 GiB, and from 4 GiB on. The lower
//! part is for descriptors. The upper part is as long as the bus addresses go that
//! [`DmaRegion`](softnet_dma_ring::DmaRegion) gives out, which begin there too: so a
//! region has its window of the guest's memory at its own bus address, and nothing has
//! to be translated. QEMU gets the memory without a reservation; what nobody touches
//! costs nothing.

use crate::machine::Shared;
use crate::qtest::Width;
use softnet_dma_ring::{DmaAddr, DmaRegion, MapError};
use softnet_nic_hal::bus::{BusError, CoherentMemory};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The guest's memory below the PCI hole, in bytes.
const LOW: u64 = 2 << 30;
/// Where the upper part begins.
const HIGH_START: u64 = 4 << 30;
/// Length of the upper part, in bytes.
const HIGH: u64 = 254 << 30;
/// All of it, in GiB.
pub(crate) const GIB: u64 = (LOW + HIGH) >> 30;

/// Where interrupt messages are written.
pub(crate) const MESSAGES: u64 = 0x10_0000;
/// Where descriptors may lie: above all that has a meaning for a PC.
const COHERENT: Range<u64> = 0x100_0000..LOW;

const PAGE: u64 = 4096;

/// Whether the region lies in the guest's memory.
pub(crate) fn check(region: &DmaRegion) -> Result<(), MapError> {
    let start = region.dma_addr();
    let end = start.0.checked_add(region.len() as u64);
    let inside = start.0 >= HIGH_START && end.is_some_and(|end| end <= HIGH_START + HIGH);
    inside
        .then_some(())
        .ok_or(MapError::OutsideAddressSpace(start))
}

/// What of the lower part is in use: length by address.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    used: Mutex<BTreeMap<u64, u64>>,
}

impl Allocator {
    /// The first free place of so many bytes, in whole pages.
    fn alloc(&self, len: usize) -> Option<u64> {
        let len = (len as u64).max(1).checked_next_multiple_of(PAGE)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = COHERENT.start;
        for (&start, &taken) in &*used {
            if start - at >= len {
                break;
            }
            at = start + taken;
        }
        if COHERENT.end - at < len {
            return None;
        }
        used.insert(at, len);
        Some(at)
    }

    fn free(&self, at: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.remove(&at);
    }
}

/// Descriptor memory in the guest. Each access is a command to QEMU.
pub struct QemuCoherent {
    shared: Arc<Shared>,
    at: u64,
    len: usize,
}

impl QemuCoherent {
    pub(crate) fn new(shared: Arc<Shared>, len: usize) -> Result<Self, BusError> {
        if shared.qtest.lock().is_gone() {
            return Err(BusError::Gone);
        }
        let at = shared.memory.alloc(len).ok_or(BusError::NoMemory(len))?;
        shared.qtest.lock().zero(at, len.max(1));
        Ok(Self { shared, at, len })
    }

    /// The address of `len` bytes at `offset`, if they are inside.
    fn place(&self, offset: usize, len: usize) -> Option<u64> {
        let inside = offset.is_multiple_of(8) && offset.checked_add(len)? <= self.len;
        debug_assert!(inside, "word outside of coherent memory: {offset}");
        inside.then_some(self.at + offset as u64)
    }
}

impl CoherentMemory for QemuCoherent {
    fn dma_addr(&self) -> DmaAddr {
        DmaAddr(self.at)
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read_u64(&self, offset: usize) -> u64 {
        let Some(at) = self.place(offset, 8) else {
            return 0;
        };
        let mut line = self.shared.qtest.lock();
        let word = line.read(Width::Quad, at);
        // Memory that is gone holds nothing that a driver may take for written.
        if line.is_gone() { 0 } else { word }
    }

    fn write_u64(&self, offset: usize, value: u64) {
        if let Some(at) = self.place(offset, 8) {
            self.shared.qtest.lock().write(Width::Quad, at, value);
        }
    }

    fn write_pair(&self, offset: usize, words: [u64; 2]) {
        if let Some(at) = self.place(offset, 16) {
            let bytes = words.map(u64::to_le_bytes).concat();
            self.shared.qtest.lock().write_bytes(at, &bytes);
        }
    }
}

impl Drop for QemuCoherent {
    fn drop(&mut self) {
        self.shared.memory.free(self.at);
    }
}

impl std::fmt::Debug for QemuCoherent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QemuCoherent({:#x}+{:#x})", self.at, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap_and_are_given_again() {
        let memory = Allocator::default();
        let places = [1, 4096, 5000].map(|len| memory.alloc(len));
        assert_eq!(
            places,
            [Some(0x100_0000), Some(0x100_1000), Some(0x100_2000)]
        );
        memory.free(0x100_1000);
        assert_eq!(memory.alloc(8192), Some(0x100_4000));
        assert_eq!(memory.alloc(4000), Some(0x100_1000));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let memory = Allocator::default();
        let all = usize::try_from(COHERENT.end - COHERENT.start).ok();
        let Some(all) = all else { return };
        assert_eq!(memory.alloc(all + 1), None);
        assert_eq!(memory.alloc(usize::MAX), None);
        assert_eq!(memory.alloc(all), Some(COHERENT.start));
        assert_eq!(memory.alloc(1), None);
    }

    #[test]
    fn regions_of_this_process_lie_in_the_guests_memory() {
        let region = DmaRegion::alloc(4096);
        assert_eq!(region.as_ref().map(check), Ok(Ok(())));
    }
}
