//! The rings of XDP sockets that libxdp did not make: those that one process makes and
//! another one uses, and those on memory that libxdp cannot register. All unsafe
//! operations on them are here.
//!
//! Making and using a socket are apart: [`SharedMemory`] is what the maker registers as
//! UMEM, and what the user has its frames in; [`SharedRx`] and [`SharedTx`] are a
//! socket's rings, mapped by the user. libxdp has no way to map the rings of a socket
//! that it did not make, so this is done here, after the kernel's
//! `Documentation/networking/af_xdp.rst`.
//!
//! A ring is an array of a power of two of slots and two free-running 32-bit indices,
//! one written by each side. Who writes an index stores it with release ordering after
//! having written or read the slots, and the other loads it with acquire ordering before
//! touching them. A slot's number is an index modulo the ring's length, so that no value
//! of the other side's index leads out of the array. The indices lie in the kernel's
//! memory, which loom does not model: they are `core`'s atomics.

use crate::ring::{Descriptor, METADATA_LEN, RxQueue, TxQueue, Wake};
use crate::umem::TxMetadata;
use crate::view::SocketView;
use crate::xsk::{wake_rx, wake_tx};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::net::sockopt::{self, set_xdp_umem_reg};
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING,
    XdpDesc, XdpDescOptions, XdpRingOffset, XdpUmemReg, XdpUmemRegFlags,
};
use softnet_dma_ring::{DmaAddr, DmaRegion};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file mapped into this process.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process and not to a thread; what is read and written
// in it is said where that is done.
unsafe impl Send for Mapping {}
// SAFETY: a shared mapping gives its address and length alone.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(file: BorrowedFd<'_>, len: usize, offset: u64) -> io::Result<Self> {
        let (protection, flags) = (
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::POPULATE,
        );
        // SAFETY: the kernel chooses the place, so nothing of this process is replaced.
        let base = unsafe { mmap(std::ptr::null_mut(), len, protection, flags, file, offset) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, len })
    }

    /// Maps memory of this process alone.
    fn anonymous(len: usize, huge_pages: bool) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let mut flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        flags.set(MapFlags::HUGETLB, huge_pages);
        // SAFETY: as in `new`.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, flags) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, len })
    }

    /// The place of a `T` at `offset` bytes.
    pub(crate) fn at<T>(&self, offset: u64) -> io::Result<NonNull<T>> {
        self.array(offset, 1)
    }

    /// The place of so many `T` from `offset` bytes on.
    fn array<T>(&self, offset: u64, count: usize) -> io::Result<NonNull<T>> {
        let outside = io::ErrorKind::InvalidData;
        let offset = usize::try_from(offset).map_err(|_| outside)?;
        let bytes = size_of::<T>().checked_mul(count).ok_or(outside)?;
        let end = offset.checked_add(bytes).ok_or(outside)?;
        // A mapping starts at a page.
        if end > self.len || offset % align_of::<T>() != 0 {
            return Err(outside.into());
        }
        // SAFETY: the offset is within the mapping, as was just seen.
        Ok(unsafe { self.base.add(offset) }.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and who has pointers into it owns it.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// `XDP_UMEM_TX_SW_CSUM` and `XDP_UMEM_TX_METADATA_LEN` (if_xdp.h, Linux 6.8 and 6.11).
const UMEM_TX_SW_CSUM: u32 = 1 << 1;
const UMEM_TX_METADATA_LEN: u32 = 1 << 2;

/// The flags of a registration, and the bytes before each packet.
const fn registration(metadata: TxMetadata) -> (u32, usize) {
    match metadata {
        TxMetadata::Off => (0, 0),
        TxMetadata::Room => (UMEM_TX_METADATA_LEN, METADATA_LEN),
        TxMetadata::SoftwareChecksum => (UMEM_TX_METADATA_LEN | UMEM_TX_SW_CSUM, METADATA_LEN),
    }
}

/// Memory for a UMEM, which two processes may have mapped.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    mapping: Mapping,
}

impl SharedMemory {
    /// Maps `len` bytes of a memory file.
    pub(crate) fn map(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let mapping = Mapping::new(file, len, 0)?;
        Ok(Self { mapping })
    }

    /// Maps `len` bytes that no other process has.
    pub(crate) fn of_process(len: usize, huge_pages: bool) -> io::Result<Self> {
        let mapping = Mapping::anonymous(len, huge_pages)?;
        Ok(Self { mapping })
    }

    /// Makes it the UMEM of a new socket.
    pub(crate) fn register(
        &self,
        socket: BorrowedFd<'_>,
        chunk_size: u32,
        metadata: TxMetadata,
    ) -> io::Result<()> {
        let (flags, metadata_len) = registration(metadata);
        let memory = XdpUmemReg {
            addr: self.mapping.base.addr().get() as u64,
            len: self.mapping.len as u64,
            chunk_size,
            headroom: 0,
            flags: XdpUmemRegFlags::from_bits_retain(flags),
            tx_metadata_len: metadata_len as u32,
        };
        Ok(set_xdp_umem_reg(socket, memory)?)
    }

    /// The memory as a region for frames. It may be taken once.
    pub(crate) fn into_region(self: Arc<Self>) -> DmaRegion {
        let (base, len) = (self.mapping.base, self.mapping.len);
        let dma = DmaAddr(base.addr().get() as u64);
        // SAFETY: the mapping lives as long as the region, has that length, starts at a
        // page, and nobody else in this process makes references to it: who has the
        // memory too registers it, and does not touch it. That also goes for the other
        // process, which is the privileged one.
        unsafe { DmaRegion::from_foreign(base, len, dma, Box::new(self)) }
    }
}

/// One ring, as this process sees it.
#[derive(Debug)]
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: Option<NonNull<AtomicU32>>,
    slots: NonNull<T>,
    len: u32,
    /// The index that this side writes.
    mine: u32,
    /// The other's, as it was last seen.
    theirs: u32,
    /// Keeps all of the above valid.
    _mapping: Mapping,
    _slots: PhantomData<T>,
}

// SAFETY: the pointers lead into the mapping, which is the ring's own and may be used
// from any thread; the slots are integers.
unsafe impl<T: Send> Send for Ring<T> {}

/// `XDP_RING_NEED_WAKEUP` (if_xdp.h).
const NEED_WAKEUP: u32 = 1;

impl<T: Copy> Ring<T> {
    fn map(socket: BorrowedFd<'_>, at: u64, offsets: XdpRingOffset, len: u32) -> io::Result<Self> {
        if !len.is_power_of_two() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = usize::try_from(offsets.desc).map_err(|_| io::ErrorKind::InvalidData)?;
        let bytes = bytes + len as usize * size_of::<T>();
        // The kernel refuses to map more than the ring has.
        let mapping = Mapping::new(socket, bytes, at)?;
        Ok(Self {
            producer: mapping.at(offsets.producer)?,
            consumer: mapping.at(offsets.consumer)?,
            flags: offsets.flags.map(|flags| mapping.at(flags)).transpose()?,
            slots: mapping.array(offsets.desc, len as usize)?,
            len,
            mine: 0,
            theirs: 0,
            _mapping: mapping,
            _slots: PhantomData,
        })
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: the place is in the mapping and aligned, and all access to it, the
        // kernel's included, is atomic.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        let Some(flags) = self.flags else {
            return false;
        };
        // SAFETY: as in `producer`.
        let flags = unsafe { flags.as_ref() };
        flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    /// The slot of an index.
    #[inline]
    fn slot(&self, index: u32) -> NonNull<T> {
        let number = index & (self.len - 1);
        // SAFETY: the number is below the ring's length, of which `map` has seen that so
        // many slots are in the mapping.
        unsafe { self.slots.add(number as usize) }
    }

    /// Slots that this side, which produces, may write.
    #[inline]
    fn free(&mut self) -> u32 {
        // Acquire: the kernel has read the slots before it gave them back.
        self.theirs = self.consumer().load(Ordering::Acquire);
        self.len.saturating_sub(self.mine.wrapping_sub(self.theirs))
    }

    /// Gives items to the kernel; returns how many found a slot.
    #[inline]
    fn produce(&mut self, items: impl ExactSizeIterator<Item = T>) -> usize {
        let want = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut free = self.len.saturating_sub(self.mine.wrapping_sub(self.theirs));
        if free < want {
            free = self.free();
        }
        let count = want.min(free);
        for (index, item) in (0..count).zip(items) {
            let slot = self.slot(self.mine.wrapping_add(index));
            // SAFETY: the slot is in the mapping, and the kernel does not touch it before
            // the producer's index passes it, below.
            unsafe { slot.write(item) };
        }
        self.mine = self.mine.wrapping_add(count);
        // Release: the items are written before the kernel sees the index.
        self.producer().store(self.mine, Ordering::Release);
        count as usize
    }

    /// Items of the kernel's that this side may read.
    #[inline]
    fn available(&mut self) -> u32 {
        let ready = self.theirs.wrapping_sub(self.mine);
        if ready != 0 {
            return ready.min(self.len);
        }
        // Acquire: the kernel has written the items before the index.
        self.theirs = self.producer().load(Ordering::Acquire);
        self.theirs.wrapping_sub(self.mine).min(self.len)
    }

    /// Takes items from the kernel; returns how many there were.
    #[inline]
    fn consume<O>(&mut self, out: &mut [O], convert: impl Fn(T) -> O) -> usize {
        let room = u32::try_from(out.len()).unwrap_or(u32::MAX);
        let count = self.available().min(room);
        for (index, out) in (0..count).zip(out) {
            let slot = self.slot(self.mine.wrapping_add(index));
            // SAFETY: the slot is in the mapping, and the kernel does not touch it before
            // the consumer's index passes it, below. Any bytes are a valid item.
            *out = convert(unsafe { slot.read() });
        }
        self.mine = self.mine.wrapping_add(count);
        // Release: the items are read before the kernel sees the index.
        self.consumer().store(self.mine, Ordering::Release);
        count as usize
    }
}

/// Fill and RX ring of a socket that another process made.
#[derive(Debug)]
pub struct SharedRx {
    socket: Arc<OwnedFd>,
    chunk_size: u32,
    fill: Ring<u64>,
    rx: Ring<XdpDesc>,
}

/// TX and completion ring of a socket that another process made.
#[derive(Debug)]
pub struct SharedTx {
    socket: Arc<OwnedFd>,
    tx: Ring<XdpDesc>,
    completion: Ring<u64>,
}

/// Maps the four rings, of `len` slots each, of a bound socket.
pub(crate) fn map_rings(
    socket: OwnedFd,
    len: u32,
    chunk_size: u32,
) -> io::Result<(SharedRx, SharedTx)> {
    let offsets = sockopt::xdp_mmap_offsets(&socket)?;
    let fd = socket.as_fd();
    let fill = Ring::map(fd, XDP_UMEM_PGOFF_FILL_RING, offsets.fr, len)?;
    let rx = Ring::map(fd, XDP_PGOFF_RX_RING, offsets.rx, len)?;
    let tx = Ring::map(fd, XDP_PGOFF_TX_RING, offsets.tx, len)?;
    let completion = Ring::map(fd, XDP_UMEM_PGOFF_COMPLETION_RING, offsets.cr, len)?;
    let socket = Arc::new(socket);
    let shared_rx = SharedRx {
        socket: socket.clone(),
        chunk_size,
        fill,
        rx,
    };
    let shared_tx = SharedTx {
        socket,
        tx,
        completion,
    };
    Ok((shared_rx, shared_tx))
}

impl RxQueue for SharedRx {
    type View = SocketView;

    #[inline]
    fn fill(&mut self, chunks: &[u32]) -> usize {
        let size = u64::from(self.chunk_size);
        let addresses = chunks.iter().map(|&chunk| u64::from(chunk) * size);
        self.fill.produce(addresses)
    }

    #[inline]
    fn receive(&mut self, out: &mut [Descriptor]) -> usize {
        self.rx.consume(out, |desc| Descriptor {
            addr: desc.addr,
            len: desc.len,
            options: desc.options.bits(),
        })
    }

    #[inline]
    fn pending(&mut self) -> bool {
        self.rx.available() > 0
    }

    fn needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    fn wake(&mut self) -> Wake {
        wake_rx(self.socket())
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn view(&self) -> io::Result<SocketView> {
        SocketView::of(self.socket())
    }
}

impl SharedTx {
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Slots of its ring.
    pub(crate) fn ring(&self) -> u16 {
        u16::try_from(self.tx.len).unwrap_or(u16::MAX)
    }
}

impl TxQueue for SharedTx {
    #[inline]
    fn send(&mut self, packets: &[Descriptor]) -> usize {
        self.tx.produce(packets.iter().map(|packet| XdpDesc {
            addr: packet.addr,
            len: packet.len,
            options: XdpDescOptions::from_bits_retain(packet.options),
        }))
    }

    #[inline]
    fn complete(&mut self, out: &mut [u64]) -> usize {
        self.completion.consume(out, |addr| addr)
    }

    #[inline]
    fn pending(&mut self) -> bool {
        self.completion.available() > 0
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    fn wake(&mut self) -> Wake {
        let tx = &mut self.tx;
        wake_tx(self.socket.as_fd(), || tx.free())
    }
}
