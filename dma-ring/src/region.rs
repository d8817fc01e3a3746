//! Memory that devices reach, and the set of it that each may reach.
//!
//! Bytes in a region are shared with a device, as on real hardware: the driver
//! and the device agree, by descriptor ownership, who touches what. Descriptors
//! are accessed as aligned atomic words, in little-endian order.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::ptr::NonNull;
// A region is shared with a device, not with a loom thread: these are the
// machine's own atomics in every build.
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// An address as a device sees it (a bus address, or an IOVA behind an IOMMU).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct DmaAddr(pub u64);

impl DmaAddr {
    /// The address `bytes` further on; saturates at the end of the address
    /// space, where nothing is ever mapped.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

impl fmt::Debug for DmaAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaAddr({:#x})", self.0)
    }
}

/// Why a region could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// A region of no bytes was asked for.
    #[error("a DMA region needs at least one byte")]
    Empty,
    /// The allocator refused.
    #[error("no memory for a DMA region of {len} bytes")]
    OutOfMemory {
        /// The length asked for, in bytes.
        len: usize,
    },
}

/// A block of memory that devices can be allowed to reach.
///
/// A region is page-aligned on both sides and zeroed when new. Clones share the
/// memory; it is freed with the last clone, so a device model that still holds
/// a mapping can never reach freed memory.
#[derive(Clone)]
pub struct DmaRegion {
    block: Arc<Block>,
}

struct Block {
    base: NonNull<u8>,
    len: usize,
    dma: DmaAddr,
    origin: Origin,
}

enum Origin {
    Allocated(Layout),
    Foreign(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Any + Send + Sync>),
}

// SAFETY: a block is plain memory; what is in it is reached through atomics, or
// through raw copies whose callers own the bytes by the descriptor protocol.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// Page size of regions, on both sides of the mapping, in bytes.
const PAGE: usize = 4096;

/// Where the next region lies on the bus. Regions have distinct addresses in
/// the whole process, so that one region can be mapped for several devices at
/// the same address. Below 4 GiB nothing is handed out: a driver that forgets
/// the high half of an address faults at once.
static NEXT_BUS_ADDRESS: AtomicU64 = AtomicU64::new(0x1_0000_0000);

impl DmaRegion {
    /// Allocates a region of at least `len` bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// [`RegionError`] when `len` is 0 or memory is short.
    pub fn alloc(len: usize) -> Result<Self, RegionError> {
        if len == 0 {
            return Err(RegionError::Empty);
        }
        let oom = RegionError::OutOfMemory { len };
        let rounded = len.checked_next_multiple_of(PAGE).ok_or(oom)?;
        let layout = Layout::from_size_align(rounded, PAGE).map_err(|_| oom)?;
        // SAFETY: the layout is not of size zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(oom)?;
        // An unmapped page stands between two regions, so that an overrun of
        // one is a fault and not an access to the next.
        let span = (rounded + PAGE) as u64;
        let dma = DmaAddr(NEXT_BUS_ADDRESS.fetch_add(span, Ordering::Relaxed));
        let origin = Origin::Allocated(layout);
        Ok(Self {
            block: Arc::new(Block {
                base,
                len: rounded,
                dma,
                origin,
            }),
        })
    }

    /// Wraps memory that came from elsewhere (a UMEM, guest RAM, huge pages).
    ///
    /// # Safety
    /// `base..base + len` is readable and writable memory until `keep_alive` is
    /// dropped, at least 8-byte aligned, and nobody makes Rust references to it
    /// except through the region.
    pub unsafe fn from_foreign(
        base: NonNull<u8>,
        len: usize,
        dma: DmaAddr,
        keep_alive: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let origin = Origin::Foreign(keep_alive);
        Self {
            block: Arc::new(Block {
                base,
                len,
                dma,
                origin,
            }),
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.block.len
    }

    /// Whether the region has no bytes; never true of an allocated one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.block.len == 0
    }

    /// The address of the first byte as devices see it.
    #[must_use]
    pub fn dma_addr(&self) -> DmaAddr {
        self.block.dma
    }

    /// The address of the first byte in this process.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.block.base
    }

    /// Whether this is the only handle.
    pub(crate) fn is_unshared(&mut self) -> bool {
        Arc::get_mut(&mut self.block).is_some()
    }

    /// Whether two handles are of the same memory.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.block, &other.block)
    }

    /// The aligned little-endian 32-bit word at `offset`, or `None` when it is
    /// unaligned or outside.
    #[must_use]
    pub fn read_u32(&self, offset: usize, order: Ordering) -> Option<u32> {
        Some(u32::from_le(self.word32(offset)?.load(order)))
    }

    /// Writes the aligned little-endian 32-bit word at `offset`; `None` when it
    /// is unaligned or outside, and then nothing is written.
    #[must_use]
    pub fn write_u32(&self, offset: usize, value: u32, order: Ordering) -> Option<()> {
        self.word32(offset)?.store(value.to_le(), order);
        Some(())
    }

    /// The aligned little-endian 64-bit word at `offset`, or `None` when it is
    /// unaligned or outside.
    #[must_use]
    #[inline]
    pub fn read_u64(&self, offset: usize, order: Ordering) -> Option<u64> {
        Some(u64::from_le(self.word64(offset)?.load(order)))
    }

    /// Writes the aligned little-endian 64-bit word at `offset`; `None` when it
    /// is unaligned or outside, and then nothing is written.
    #[must_use]
    #[inline]
    pub fn write_u64(&self, offset: usize, value: u64, order: Ordering) -> Option<()> {
        self.word64(offset)?.store(value.to_le(), order);
        Some(())
    }

    /// The two aligned words at `offset`, or `None` when they are unaligned or
    /// not wholly inside.
    #[must_use]
    #[inline]
    pub fn words(&self, offset: usize) -> Option<DmaWords<'_>> {
        let words = self.at(offset, 16)?.cast::<[AtomicU64; 2]>();
        if !words.is_aligned() {
            return None;
        }
        // SAFETY: inside the block (`at`), aligned (just checked), alive as
        // long as `self`, and any bit pattern is a valid word.
        Some(DmaWords(unsafe { words.as_ref() }))
    }

    /// Copies bytes out; `None` when the range is not wholly inside.
    #[must_use]
    #[inline]
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) -> Option<()> {
        let from = self.at(offset, out.len())?;
        // SAFETY: `at` has checked that the range lies inside the block, and
        // `out` is a distinct exclusive borrow.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut *out).cast(), out.len()) };
        Some(())
    }

    /// Copies bytes in; `None` when the range is not wholly inside.
    #[must_use]
    #[inline]
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        let to = self.at(offset, bytes.len())?;
        // SAFETY: `at` has checked that the range lies inside the block. Who
        // owns these bytes is agreed by the descriptor protocol.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Some(())
    }

    #[inline]
    fn at(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        if end > self.block.len {
            return None;
        }
        // SAFETY: `offset` is at most the block's length.
        Some(unsafe { self.block.base.add(offset) })
    }

    #[inline]
    fn word32(&self, offset: usize) -> Option<&AtomicU32> {
        let word = self.at(offset, 4)?.cast::<AtomicU32>();
        if !word.is_aligned() {
            return None;
        }
        // SAFETY: inside the block (`at`), aligned (just checked), alive as
        // long as `self`, and any bit pattern is a valid word.
        Some(unsafe { word.as_ref() })
    }

    #[inline]
    fn word64(&self, offset: usize) -> Option<&AtomicU64> {
        let word = self.at(offset, 8)?.cast::<AtomicU64>();
        if !word.is_aligned() {
            return None;
        }
        // SAFETY: inside the block (`at`), aligned (just checked), alive as
        // long as `self`, and any bit pattern is a valid word.
        Some(unsafe { word.as_ref() })
    }
}

/// Two neighbouring words of a region, little-endian: a descriptor. Whether they
/// lie inside was checked once.
#[derive(Clone, Copy, Debug)]
pub struct DmaWords<'a>(&'a [AtomicU64; 2]);

impl DmaWords<'_> {
    /// The word at the lower address.
    #[must_use]
    #[inline]
    pub fn first(self, order: Ordering) -> u64 {
        u64::from_le(self.0[0].load(order))
    }

    /// The word at the higher address.
    #[must_use]
    #[inline]
    pub fn second(self, order: Ordering) -> u64 {
        u64::from_le(self.0[1].load(order))
    }

    /// Writes the word at the lower address.
    #[inline]
    pub fn set_first(self, value: u64, order: Ordering) {
        self.0[0].store(value.to_le(), order);
    }

    /// Writes the word at the higher address.
    #[inline]
    pub fn set_second(self, value: u64, order: Ordering) {
        self.0[1].store(value.to_le(), order);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Origin::Allocated(layout) = self.origin {
            // SAFETY: `base` was allocated with this layout and is freed once.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        }
    }
}

impl fmt::Debug for DmaRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DmaRegion({:#x}+{:#x})",
            self.block.dma.0, self.block.len
        )
    }
}

/// A device's access to memory that is not mapped for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("DMA fault: {access:?} of {len} bytes at {addr:?} is outside of every mapping")]
pub struct DmaFault {
    /// The first address of the access.
    pub addr: DmaAddr,
    /// Its length in bytes.
    pub len: usize,
    /// Its direction.
    pub access: DmaAccess,
}

/// What a device tried to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaAccess {
    /// The device read memory.
    Read,
    /// The device wrote memory.
    Write,
}

/// Why a region could not be mapped for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Another mapping covers part of the range.
    #[error("the range of {0:?} is mapped already")]
    Overlap(DmaAddr),
    /// The region reaches beyond the last address, or to it.
    #[error("the region at {0:?} does not end within the address space")]
    OutsideAddressSpace(DmaAddr),
}

/// What one device may reach: the domain of an IOMMU.
///
/// It is a value: whoever stands for the IOMMU keeps one and changes it, and a
/// device model works on a clone (which is cheap: a few handles), so that no
/// lock is taken while it moves packets. A stale clone can reach memory that
/// was unmapped since, but never memory that was freed.
#[derive(Clone, Debug, Default)]
pub struct DmaDomain {
    /// Sorted by address, without overlaps.
    regions: Vec<DmaRegion>,
}

impl DmaDomain {
    /// A domain in which nothing is mapped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the device reach `region`, at the region's own address. Mapping the
    /// same region twice changes nothing.
    ///
    /// # Errors
    /// [`MapError`] when another region covers part of its range, or when the
    /// range does not end below the last address.
    pub fn map(&mut self, region: &DmaRegion) -> Result<(), MapError> {
        let start = region.dma_addr();
        let end = start.0.checked_add(region.len() as u64).map(DmaAddr);
        let end = end.ok_or(MapError::OutsideAddressSpace(start))?;
        let at = self.regions.partition_point(|r| r.dma_addr() < start);
        if let Some(next) = self.regions.get(at) {
            if next.same_as(region) {
                return Ok(());
            }
            if next.dma_addr() < end {
                return Err(MapError::Overlap(next.dma_addr()));
            }
        }
        if let Some(before) = at.checked_sub(1).and_then(|i| self.regions.get(i))
            && before.dma_addr().offset(before.len() as u64) > start
        {
            return Err(MapError::Overlap(before.dma_addr()));
        }
        self.regions.insert(at, region.clone());
        Ok(())
    }

    /// Takes `region` away from the device. Returns whether it was mapped.
    pub fn unmap(&mut self, region: &DmaRegion) -> bool {
        let before = self.regions.len();
        self.regions.retain(|r| !r.same_as(region));
        self.regions.len() != before
    }

    /// The device reads `out.len()` bytes at `addr`.
    ///
    /// # Errors
    /// [`DmaFault`] when the range is not wholly inside one mapping; `out` is
    /// then unchanged.
    pub fn read(&self, addr: DmaAddr, out: &mut [u8]) -> Result<(), DmaFault> {
        let len = out.len();
        self.find(addr)
            .and_then(|(region, offset)| region.read_bytes(offset, out))
            .ok_or(DmaFault {
                addr,
                len,
                access: DmaAccess::Read,
            })
    }

    /// The device writes `bytes` at `addr`.
    ///
    /// # Errors
    /// [`DmaFault`] when the range is not wholly inside one mapping; nothing is
    /// then written.
    pub fn write(&self, addr: DmaAddr, bytes: &[u8]) -> Result<(), DmaFault> {
        self.find(addr)
            .and_then(|(region, offset)| region.write_bytes(offset, bytes))
            .ok_or(DmaFault {
                addr,
                len: bytes.len(),
                access: DmaAccess::Write,
            })
    }

    /// The device reads the aligned little-endian 64-bit word at `addr`.
    ///
    /// # Errors
    /// [`DmaFault`] when it is unaligned or not mapped.
    pub fn read_u64(&self, addr: DmaAddr, order: Ordering) -> Result<u64, DmaFault> {
        self.find(addr)
            .and_then(|(region, offset)| region.read_u64(offset, order))
            .ok_or(DmaFault {
                addr,
                len: 8,
                access: DmaAccess::Read,
            })
    }

    /// The device writes the aligned little-endian 64-bit word at `addr`.
    ///
    /// # Errors
    /// [`DmaFault`] when it is unaligned or not mapped.
    pub fn write_u64(&self, addr: DmaAddr, value: u64, order: Ordering) -> Result<(), DmaFault> {
        self.find(addr)
            .and_then(|(region, offset)| region.write_u64(offset, value, order))
            .ok_or(DmaFault {
                addr,
                len: 8,
                access: DmaAccess::Write,
            })
    }

    /// A run of accesses that stay near each other.
    #[must_use]
    pub fn window(&self) -> DmaWindow<'_> {
        DmaWindow {
            domain: self,
            region: None,
            start: 0,
            len: 0,
        }
    }

    /// The region that holds `addr`, and the offset in it.
    #[inline]
    fn find(&self, addr: DmaAddr) -> Option<(&DmaRegion, usize)> {
        let at = self
            .regions
            .partition_point(|r| r.dma_addr() <= addr)
            .checked_sub(1)?;
        let region = self.regions.get(at)?;
        let offset = usize::try_from(addr.0 - region.dma_addr().0).ok()?;
        (offset < region.len()).then_some((region, offset))
    }
}

/// Accesses of a device through its domain that remember the mapping that was
/// found last, as an IOMMU's translation cache does. Use one for each place that
/// a device works at: its descriptors, its buffers.
#[derive(Clone, Debug)]
pub struct DmaWindow<'a> {
    domain: &'a DmaDomain,
    region: Option<&'a DmaRegion>,
    /// The first address of `region`, and its length in bytes.
    start: u64,
    len: u64,
}

impl<'a> DmaWindow<'a> {
    /// The device reads `out.len()` bytes at `addr`.
    ///
    /// # Errors
    /// As [`DmaDomain::read`].
    #[inline]
    pub fn read(&mut self, addr: DmaAddr, out: &mut [u8]) -> Result<(), DmaFault> {
        let len = out.len();
        self.find(addr)
            .and_then(|(region, offset)| region.read_bytes(offset, out))
            .ok_or(DmaFault {
                addr,
                len,
                access: DmaAccess::Read,
            })
    }

    /// The device writes `bytes` at `addr`.
    ///
    /// # Errors
    /// As [`DmaDomain::write`].
    #[inline]
    pub fn write(&mut self, addr: DmaAddr, bytes: &[u8]) -> Result<(), DmaFault> {
        self.find(addr)
            .and_then(|(region, offset)| region.write_bytes(offset, bytes))
            .ok_or(DmaFault {
                addr,
                len: bytes.len(),
                access: DmaAccess::Write,
            })
    }

    /// The device fetches the two aligned words at `addr`, which it may write
    /// back.
    ///
    /// # Errors
    /// [`DmaFault`] when they are unaligned or not wholly inside one mapping.
    #[inline]
    pub fn words(&mut self, addr: DmaAddr) -> Result<DmaWords<'a>, DmaFault> {
        self.find(addr)
            .and_then(|(region, offset)| region.words(offset))
            .ok_or(DmaFault {
                addr,
                len: 16,
                access: DmaAccess::Read,
            })
    }

    #[inline]
    fn find(&mut self, addr: DmaAddr) -> Option<(&'a DmaRegion, usize)> {
        let offset = addr.0.wrapping_sub(self.start);
        match self.region {
            Some(region) if offset < self.len => Some((region, offset as usize)),
            _ => self.find_anew(addr),
        }
    }

    #[cold]
    fn find_anew(&mut self, addr: DmaAddr) -> Option<(&'a DmaRegion, usize)> {
        let (region, offset) = self.domain.find(addr)?;
        self.region = Some(region);
        self.start = region.dma_addr().0;
        self.len = region.len() as u64;
        Some((region, offset))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
