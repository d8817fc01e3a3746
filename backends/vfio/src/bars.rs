//! Base address registers: memory is mapped into this process, ports are reached
//! through the device's file.

use crate::open::OpenError;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use softnet_nic_hal::bus::{BarInfo, BarKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, compiler_fence, fence};
use vfio_bindings::bindings::vfio::VFIO_REGION_INFO_FLAG_MMAP;
use vfio_ioctls::VfioDevice;

/// One BAR.
pub(crate) struct Bar {
    pub(crate) info: BarInfo,
    mapping: Option<Mapping>,
}

impl Bar {
    /// The BAR of that index, if the function has it.
    pub(crate) fn of(
        device: &VfioDevice,
        name: &str,
        index: u8,
    ) -> Result<Option<Self>, OpenError> {
        let region = u32::from(index);
        let Ok(len @ 1..) = u32::try_from(device.get_region_size(region)) else {
            return Ok(None);
        };
        let kind = kind(device, index);
        let mappable = device.get_region_flags(region) & VFIO_REGION_INFO_FLAG_MMAP != 0;
        let mapping = (kind == BarKind::Memory && mappable)
            .then(|| Mapping::new(device, region, len))
            .transpose()
            .map_err(|source| OpenError::Map {
                name: name.to_owned(),
                bar: index,
                source,
            })?;
        let info = BarInfo { kind, len };
        Ok(Some(Self { info, mapping }))
    }

    /// Whether an access of `len` bytes is inside, and aligned.
    pub(crate) fn takes(&self, offset: u32, len: u32) -> bool {
        let inside = offset
            .checked_add(len)
            .is_some_and(|end| end <= self.info.len);
        inside && offset.is_multiple_of(len)
    }

    /// The register of type `T` at `offset`, if the BAR is mapped and has one there.
    pub(crate) fn register<T: Word>(&self, offset: u32) -> Option<Register<'_, T>> {
        let mapping = self.mapping.as_ref()?;
        if !self.takes(offset, size_of::<T>() as u32) {
            return None;
        }
        // SAFETY: `takes` has checked that the register lies inside of the BAR, all of
        // which is mapped.
        let at = unsafe { mapping.base.add(offset as usize) };
        Some(Register {
            at: at.cast(),
            mapping: std::marker::PhantomData,
        })
    }
}

/// What the low bits of the register in configuration space say.
fn kind(device: &VfioDevice, index: u8) -> BarKind {
    let mut low = [0];
    let region = vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;
    device.region_read(region, &mut low, 0x10 + u64::from(index) * 4);
    if low[0] & 1 == 0 {
        BarKind::Memory
    } else {
        BarKind::Io
    }
}

/// The unsigned integers that a register can be.
pub(crate) trait Word: Copy {
    /// From the device's order of bytes, which is little-endian, and to it.
    fn swap(self) -> Self;
}

impl Word for u8 {
    fn swap(self) -> Self {
        self
    }
}

impl Word for u16 {
    fn swap(self) -> Self {
        Self::from_le(self)
    }
}

impl Word for u32 {
    fn swap(self) -> Self {
        Self::from_le(self)
    }
}

/// One register in mapped memory.
pub(crate) struct Register<'a, T> {
    /// Aligned, and inside of a mapping that lives as long as `'a`.
    at: NonNull<T>,
    mapping: std::marker::PhantomData<&'a Mapping>,
}

impl<T: Word> Register<'_, T> {
    pub(crate) fn read(&self) -> T {
        // SAFETY: `at` is aligned and mapped (see the field), and every pattern of bits
        // is a word.
        let word = unsafe { self.at.read_volatile() };
        // What the device has written to memory before is read after this.
        fence(Ordering::Acquire);
        word.swap()
    }

    pub(crate) fn write(&self, word: T) {
        // What was written to memory before, the device finds there.
        fence(Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        // SAFETY: `at` is aligned and mapped (see the field). What the write does is the
        // device's: it reaches memory only through the IOMMU.
        unsafe { self.at.write_volatile(word.swap()) };
    }
}

/// A BAR's memory in this process.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the process, not to a thread; registers may be accessed
// from any thread, and a driver orders its accesses itself.
unsafe impl Send for Mapping {}
// SAFETY: as above; there are no references into the mapping, only volatile accesses.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(device: &VfioDevice, region: u32, len: u32) -> std::io::Result<Self> {
        let len = len as usize;
        // SAFETY: the device's file is open for as long as the borrow of it, which
        // outlives this call.
        let file = unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) };
        let both = ProtFlags::READ | ProtFlags::WRITE;
        let offset = device.get_region_offset(region);
        // SAFETY: the kernel chooses the place, so nothing that is mapped already is
        // replaced.
        let base = unsafe { mmap(ptr::null_mut(), len, both, MapFlags::SHARED, file, offset) }?;
        let base = NonNull::new(base.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this address and length, and is unmapped once;
        // registers borrow it, so there is none left.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping cannot be taken back");
    }
}
