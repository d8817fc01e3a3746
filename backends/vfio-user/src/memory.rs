//! The client's memory, which it hands over as files: a virtual machine's RAM.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use softnet_dma_ring::{DmaAddr, DmaRegion};
use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

/// Where the device may find a part of a file, and what it may do there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first byte, as the device sees it.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// The first byte in the file.
    pub(crate) offset: u64,
    /// Whether the device may write there.
    pub(crate) writable: bool,
}

/// Maps a part of a file, so that the device reaches it at the window's address.
///
/// The device may write to all of a region. So a part that it may only read is mapped
/// as a private copy: what it writes there nobody else sees.
///
/// A client that makes the file shorter while it is mapped ends this process, by
/// SIGBUS: a client has to be trusted so far.
pub(crate) fn region(file: &File, window: &Window) -> io::Result<DmaRegion> {
    let len = usize::try_from(window.size).map_err(|_| io::ErrorKind::InvalidInput)?;
    let end = window.offset.checked_add(window.size);
    if len == 0 || end.is_none_or(|end| end > file_len(file)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = if window.writable {
        MapFlags::SHARED
    } else {
        MapFlags::PRIVATE
    };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the place, so nothing that is mapped already is
    // replaced.
    let base = unsafe { mmap(ptr::null_mut(), len, protection, flags, file, window.offset) }?;
    let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    let mapping = Box::new(Mapping { base, len });
    // SAFETY: `mapping` keeps `base..base + len` mapped for reading and writing; a
    // mapping begins at a page; and nothing but the region gets its address.
    Ok(unsafe { DmaRegion::from_foreign(base, len, DmaAddr(window.address), mapping) })
}

/// Its length in bytes; 0 if the system does not say.
fn file_len(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// Pages of a file in this process, for as long as this is there.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages belong to the process, not to a thread; this only unmaps them.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference allows nothing.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the pages were mapped with this address and length, are unmapped
        // once, and the region that had their address is gone, as it holds this.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping cannot be taken back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::unix::fs::FileExt;

    const WINDOW: Window = Window {
        address: 0x8000,
        size: 0x1000,
        offset: 0x1000,
        writable: true,
    };

    fn memory(len: u64) -> File {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len).unwrap();
        file.into()
    }

    fn byte_at(file: &File, offset: u64) -> u8 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        byte[0]
    }

    #[test]
    fn what_the_device_writes_is_in_the_file_at_the_windows_offset() {
        let file = memory(0x3000);
        let region = region(&file, &WINDOW).unwrap();
        assert_eq!(region.dma_addr(), DmaAddr(0x8000));
        region.write_bytes(5, &[0xab]).unwrap();
        assert_eq!(byte_at(&file, 0x1005), 0xab);
    }

    #[test]
    fn what_the_device_writes_where_it_may_only_read_nobody_sees() {
        let file = memory(0x3000);
        file.write_all_at(&[0x77], 0x1000).unwrap();
        let window = Window {
            writable: false,
            ..WINDOW
        };
        let region = region(&file, &window).unwrap();
        let mut byte = [0];
        region.read_bytes(0, &mut byte).unwrap();
        assert_eq!(byte, [0x77]);
        region.write_bytes(0, &[0xab]).unwrap();
        assert_eq!(byte_at(&file, 0x1000), 0x77);
    }

    #[test]
    fn a_window_that_the_file_does_not_fill_is_refused() {
        let file = memory(0x3000);
        for (offset, size) in [
            (0x1000, 0),
            (0x1000, 0x2001),
            (u64::MAX, 0x1000),
            (7, 0x1000),
        ] {
            let window = Window {
                offset,
                size,
                ..WINDOW
            };
            assert!(region(&file, &window).is_err(), "{window:?}");
        }
    }
}
