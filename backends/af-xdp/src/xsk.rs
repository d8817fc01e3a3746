//! xsk-rs: the UMEM, the sockets on it, and their rings. All use that the NIC makes of
//! that library's unsafe calls is here.
//!
//! Three facts about libxdp shape this file:
//!
//! - It keeps the descriptor of the first socket open until the UMEM is deleted, and
//!   with it the device's queue, and every further socket is made from that
//!   descriptor. Here sockets come and go while the UMEM stays. So when the socket
//!   behind that descriptor is closed, another one is put in its place (dup3): one
//!   that shares the UMEM, or when there is none, a fresh one that has the same
//!   memory registered anew. To libxdp, the descriptor is the same.
//! - A socket is one object with four rings, and is closed when the last ring is
//!   dropped. Opening, closing and replacing are done under one lock.
//! - `FrameDesc` has no constructor from an address. See [`Aim`].

use crate::ring::{Descriptor, KernelCounters, RxQueue, TxQueue, Wake};
use crate::view::SocketView;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use softnet_dma_ring::{BATCH, DmaAddr, DmaRegion};
use std::fmt;
use std::io;
use std::mem::size_of;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xsk_rs::config::{
    BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
};
use xsk_rs::socket::Socket;
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue as XskRxQueue, TxQueue as XskTxQueue, Umem};

/// Bytes that the kernel keeps free before a received packet, for XDP programs
/// (`XDP_PACKET_HEADROOM`).
pub(crate) const XDP_HEADROOM: u32 = 256;

/// The shape of a UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryShape {
    pub(crate) chunks: u32,
    /// 2048 or 4096.
    pub(crate) chunk_size: u32,
    /// Slots of each ring of each socket; a power of two.
    pub(crate) ring: u32,
    pub(crate) huge_pages: bool,
}

impl MemoryShape {
    pub(crate) const fn bytes(&self) -> usize {
        self.chunks as usize * self.chunk_size as usize
    }
}

/// The UMEM: memory that the kernel knows, and the sockets on it.
pub(crate) struct XskMemory {
    umem: Umem,
    /// What `Umem::new` returned, by chunk.
    descs: Box<[FrameDesc]>,
    shape: MemoryShape,
    aim: Aim,
    sockets: Mutex<Sockets>,
}

/// The sockets that are open.
#[derive(Debug, Default)]
struct Sockets {
    /// libxdp's own descriptor of the UMEM, once it is known.
    anchor: Option<RawFd>,
    /// The socket that stands behind the anchor.
    behind: Option<RawFd>,
    /// Each open socket, and how many of its halves live.
    open: Vec<(RawFd, u8)>,
    zero_copy: bool,
}

impl fmt::Debug for XskMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XskMemory")
            .field("shape", &self.shape)
            .field("sockets", &self.sockets())
            .finish_non_exhaustive()
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// The kernel's own answer in an error of xsk-rs, or the error itself.
fn kernel_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let answer = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    answer.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}

impl XskMemory {
    /// Maps memory and registers it with the kernel.
    pub(crate) fn new(shape: MemoryShape) -> io::Result<Arc<Self>> {
        let ring = QueueSize::new(shape.ring).map_err(invalid)?;
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(shape.chunk_size).map_err(invalid)?)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .map_err(invalid)?;
        let chunks = NonZeroU32::new(shape.chunks).ok_or(io::ErrorKind::InvalidInput)?;
        let (umem, descs) = Umem::new(config, chunks, shape.huge_pages).map_err(kernel_error)?;
        let aim = Aim::probe().ok_or_else(|| io::Error::other("xsk-rs changed its FrameDesc"))?;
        Ok(Arc::new(Self {
            umem,
            descs: descs.into_boxed_slice(),
            shape,
            aim,
            sockets: Mutex::default(),
        }))
    }

    /// The memory as a region, whose first handle is this one. It may be taken once.
    pub(crate) fn region(self: &Arc<Self>) -> io::Result<DmaRegion> {
        let first = self.descs.first().ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the chunk is of this UMEM, nobody has written to it, and the slice is
        // of no bytes: only its address is of interest.
        let data = unsafe { self.umem.data(first) };
        let start = data.contents().as_ptr().addr() - first.addr();
        // The mapping was made by mmap(2) and its address was given to the kernel, so
        // its provenance is exposed.
        let base = std::ptr::with_exposed_provenance_mut(start);
        let base = NonNull::new(base).ok_or(io::ErrorKind::InvalidInput)?;
        let dma = DmaAddr(start as u64);
        // SAFETY: xsk-rs has mapped that many bytes, page-aligned, and keeps them mapped
        // while a `Umem` lives: the region's owner has one. xsk-rs makes references to
        // them only when it is asked to, which is above and without a byte.
        Ok(unsafe {
            DmaRegion::from_foreign(base, self.shape.bytes(), dma, Box::new(self.clone()))
        })
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the sockets that are open are zero-copy ones; `None` when there are none.
    /// The first decides for all: to the kernel it is a property of the UMEM.
    pub(crate) fn zero_copy(&self) -> Option<bool> {
        let sockets = self.sockets();
        (!sockets.open.is_empty()).then_some(sockets.zero_copy)
    }

    /// Makes a socket and binds it to a queue of an interface of the calling thread's
    /// network namespace.
    pub(crate) fn bind(
        self: &Arc<Self>,
        interface: &str,
        queue: u32,
        flags: BindFlags,
    ) -> io::Result<(XskRx, XskTx)> {
        let mut sockets = self.sockets();
        if let (Some(anchor), true) = (sockets.anchor, sockets.open.is_empty()) {
            replace(anchor, self.register_again()?.as_raw_fd())?;
            sockets.behind = None;
        }
        let size = QueueSize::new(self.shape.ring).map_err(invalid)?;
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(flags)
            .build();
        let name: Interface = interface.parse().map_err(invalid)?;
        // SAFETY: xsk-rs asks that no other socket of this UMEM is on the same queue,
        // since the two would share one fill and one completion ring without knowing.
        // Such a socket has no rings of its own, and is refused below.
        let made = unsafe { Socket::new(config, &self.umem, &name, queue) };
        let (tx, rx, rings) = made.map_err(kernel_error)?;
        let Some((fill, completion)) = rings else {
            return Err(Errno::BUSY.into());
        };
        let fd = rx.fd().as_raw_fd();
        sockets.anchor.get_or_insert(fd);
        if sockets.open.is_empty() {
            sockets.behind = Some(fd);
            sockets.zero_copy = flags.contains(BindFlags::XDP_ZEROCOPY);
        }
        sockets.open.push((fd, 2));
        drop(sockets);
        Ok((
            XskRx::new(self.clone(), fd, fill, rx),
            XskTx::new(self.clone(), fd, tx, completion),
        ))
    }

    /// A socket with the memory and the rings that libxdp believes its first one has,
    /// not bound yet.
    fn register_again(&self) -> io::Result<OwnedFd> {
        let socket = xdp_socket()?;
        let memory = libc::xdp_umem_reg {
            addr: self.region_start() as u64,
            len: self.shape.bytes() as u64,
            chunk_size: self.shape.chunk_size,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set_option(&socket, libc::XDP_UMEM_REG, &memory)?;
        set_option(&socket, libc::XDP_RX_RING, &self.shape.ring)?;
        set_option(&socket, libc::XDP_TX_RING, &self.shape.ring)?;
        Ok(socket)
    }

    fn region_start(&self) -> usize {
        let Some(first) = self.descs.first() else {
            return 0;
        };
        // SAFETY: as in `region`.
        let data = unsafe { self.umem.data(first) };
        data.contents().as_ptr().addr() - first.addr()
    }

    /// Drops the rings of one half of a socket. With the second half the socket is
    /// closed, and the anchor let go of it.
    fn release<H>(&self, fd: RawFd, half: H) {
        let mut sockets = self.sockets();
        drop(half);
        let Some(at) = sockets.open.iter().position(|&(open, _)| open == fd) else {
            return;
        };
        let entry = &mut sockets.open[at];
        entry.1 -= 1;
        if entry.1 > 0 {
            return;
        }
        sockets.open.swap_remove(at);
        if sockets.behind == Some(fd) {
            sockets.behind = sockets.open.first().map(|&(other, _)| other);
            let replaced = sockets.replace_anchor();
            // Without a descriptor the old socket stays where it is, and its queue
            // busy; the next bind says so.
            debug_assert!(replaced.is_ok(), "{replaced:?}");
        }
    }
}

impl Sockets {
    fn replace_anchor(&self) -> io::Result<()> {
        let Some(anchor) = self.anchor else {
            return Ok(());
        };
        match self.behind {
            Some(other) => replace(anchor, other),
            // libxdp asks this descriptor for the shape of rings, so it stays a socket.
            None => replace(anchor, xdp_socket()?.as_raw_fd()),
        }
    }
}

fn xdp_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_XDP, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `anchor`, which libxdp owns, a descriptor of what `other` describes.
fn replace(anchor: RawFd, other: RawFd) -> io::Result<()> {
    // SAFETY: `anchor` stays open, and stays a descriptor of an XDP socket, which is all
    // that its owner relies on; the call takes no pointer.
    let outcome = unsafe { libc::dup3(other, anchor, libc::O_CLOEXEC) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn set_option<T>(socket: &impl AsRawFd, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as `value` has.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if outcome == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// `XDP_MAX_TX_SKB_BUDGET` (if_xdp.h, Linux 6.18).
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// Lets one call on a socket send so many packets, in place of 32.
pub(crate) fn raise_budget(socket: &impl AsRawFd, packets: u16) -> io::Result<()> {
    set_option(socket, XDP_MAX_TX_SKB_BUDGET, &u32::from(packets))
}

/// What the kernel has counted of a socket.
pub(crate) fn kernel_counters(socket: &xsk_rs::socket::Fd) -> KernelCounters {
    // A socket that is open answers; if it does not, there is nothing to be told.
    let stats = socket.xdp_statistics().unwrap_or_default();
    KernelCounters {
        rx_dropped: stats.rx_dropped(),
        rx_invalid_descs: stats.rx_invalid_descs(),
        tx_invalid_descs: stats.tx_invalid_descs(),
        rx_ring_full: stats.rx_ring_full(),
        rx_fill_ring_empty_descs: stats.rx_fill_ring_empty_descs(),
        tx_ring_empty_descs: stats.tx_ring_empty_descs(),
    }
}

/// Points a `FrameDesc` at any place of the UMEM.
///
/// xsk-rs makes descriptors that point at the start of a chunk's data, and moves them
/// only itself. A packet to be sent starts wherever its headers end up. A `FrameDesc` is
/// nothing but four integers, of which this finds the two that matter, by trying. The
/// version of xsk-rs is pinned in the workspace for this.
#[derive(Clone, Copy, Debug)]
struct Aim {
    /// Which 64-bit word of a `FrameDesc` holds the address, and which the length.
    addr: usize,
    len: usize,
}

const DESC_WORDS: usize = size_of::<FrameDesc>() / size_of::<usize>();
const _: () = assert!(size_of::<FrameDesc>() == 4 * size_of::<usize>());
const _: () = assert!(align_of::<FrameDesc>() == align_of::<usize>());

impl Aim {
    fn probe() -> Option<Self> {
        const MARK: usize = 0x5eed_0bad;
        let with_mark = |word| {
            let mut desc = FrameDesc::default();
            set_word(&mut desc, word, MARK);
            desc
        };
        let addr = (0..DESC_WORDS).find(|&word| with_mark(word).addr() == MARK)?;
        let len = (0..DESC_WORDS).find(|&word| with_mark(word).lengths().data() == MARK)?;
        Some(Self { addr, len })
    }

    #[inline]
    fn at(self, descriptor: Descriptor) -> FrameDesc {
        let mut desc = FrameDesc::default();
        set_word(&mut desc, self.addr, descriptor.addr as usize);
        set_word(&mut desc, self.len, descriptor.len as usize);
        desc.set_options(descriptor.options);
        desc
    }
}

#[inline]
fn set_word(desc: &mut FrameDesc, word: usize, value: usize) {
    debug_assert!(word < DESC_WORDS);
    let words = std::ptr::from_mut(desc).cast::<usize>();
    // SAFETY: `word` is below the number of words of a `FrameDesc`: it comes from `probe`.
    let place = unsafe { words.add(word) };
    // SAFETY: the place is inside of `desc`, which is borrowed exclusively, and aligned.
    // All fields of xsk-rs 0.11.0's `FrameDesc` are integers, so that no value of a word
    // is an invalid one.
    unsafe { place.write(value) };
}

/// Fill and RX ring of one socket.
#[derive(Debug)]
pub struct XskRx {
    memory: Arc<XskMemory>,
    fd: RawFd,
    /// Taken by the drop alone.
    rings: Option<(FillQueue, XskRxQueue)>,
    descs: Box<[FrameDesc; BATCH]>,
}

/// TX and completion ring of one socket.
#[derive(Debug)]
pub struct XskTx {
    memory: Arc<XskMemory>,
    fd: RawFd,
    /// Taken by the drop alone.
    rings: Option<(XskTxQueue, CompQueue)>,
    descs: Box<[FrameDesc; BATCH]>,
}

impl XskRx {
    fn new(memory: Arc<XskMemory>, fd: RawFd, fill: FillQueue, rx: XskRxQueue) -> Self {
        Self {
            memory,
            fd,
            rings: Some((fill, rx)),
            descs: Box::new([FrameDesc::default(); BATCH]),
        }
    }
}

impl XskTx {
    fn new(memory: Arc<XskMemory>, fd: RawFd, tx: XskTxQueue, completion: CompQueue) -> Self {
        Self {
            memory,
            fd,
            rings: Some((tx, completion)),
            descs: Box::new([FrameDesc::default(); BATCH]),
        }
    }

    /// Lets one call send as many packets as the ring holds, in place of 32. Kernels
    /// before 6.18 have no such option.
    pub(crate) fn raise_budget(&self) -> io::Result<()> {
        // A ring has at most as many slots as a `u16` can tell.
        let ring = u16::try_from(self.memory.shape.ring).unwrap_or(u16::MAX);
        raise_budget(&self.fd, ring)
    }
}

impl Drop for XskRx {
    fn drop(&mut self) {
        self.memory.release(self.fd, self.rings.take());
    }
}

impl Drop for XskTx {
    fn drop(&mut self) {
        self.memory.release(self.fd, self.rings.take());
    }
}

impl RxQueue for XskRx {
    type View = SocketView;

    #[inline]
    fn fill(&mut self, chunks: &[u32]) -> usize {
        let Some((fill, _)) = &mut self.rings else {
            return 0;
        };
        let known = &self.memory.descs;
        let mut count = 0;
        for (desc, chunk) in self.descs.iter_mut().zip(chunks) {
            let Some(&of_chunk) = known.get(*chunk as usize) else {
                break;
            };
            *desc = of_chunk;
            count += 1;
        }
        // SAFETY: the descriptors are of chunks of this UMEM, and the caller has given
        // these up: their frames are in the ring's table until the kernel returns them.
        unsafe { fill.produce(&self.descs[..count]) }
    }

    #[inline]
    fn receive(&mut self, out: &mut [Descriptor]) -> usize {
        let Some((_, rx)) = &mut self.rings else {
            return 0;
        };
        let want = out.len().min(BATCH);
        // SAFETY: the ring is of this UMEM. The old content of the descriptors means
        // nothing; they are overwritten.
        let count = unsafe { rx.consume(&mut self.descs[..want]) };
        for (out, desc) in out.iter_mut().zip(&self.descs[..count]) {
            *out = Descriptor {
                addr: desc.addr() as u64,
                len: desc.lengths().data() as u32,
                options: desc.options(),
            };
        }
        count
    }

    #[inline]
    fn pending(&mut self) -> bool {
        let rings = self.rings.as_mut();
        rings.is_some_and(|(_, rx)| rx.nb_avail(1) > 0)
    }

    fn needs_wakeup(&self) -> bool {
        let rings = self.rings.as_ref();
        rings.is_some_and(|(fill, _)| fill.needs_wakeup())
    }

    fn wake(&mut self) -> Wake {
        wake_rx(self.socket())
    }

    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open while this half is.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    fn view(&self) -> io::Result<SocketView> {
        SocketView::of(self.socket())
    }
}

fn wake_of(error: Errno) -> Wake {
    match error {
        Errno::NETDOWN | Errno::NXIO | Errno::NODEV => Wake::Down,
        _ => Wake::Again,
    }
}

/// Tells the kernel of filled chunks.
pub(crate) fn wake_rx(socket: BorrowedFd<'_>) -> Wake {
    match rustix::net::recv(socket, &mut [0_u8; 0], RecvFlags::DONTWAIT) {
        Ok(_) => Wake::Done,
        Err(error) => wake_of(error),
    }
}

/// Tells the kernel of packets, for as long as that frees slots of the TX ring.
pub(crate) fn wake_tx(socket: BorrowedFd<'_>, mut free_slots: impl FnMut() -> u32) -> Wake {
    let mut free = free_slots();
    for _ in 0..MAX_SENDS {
        match rustix::net::send(socket, &[], SendFlags::DONTWAIT) {
            Ok(_) => return Wake::Done,
            Err(Errno::AGAIN) => {
                let now = free_slots();
                if now == free {
                    return Wake::Again;
                }
                free = now;
            }
            Err(error) => return wake_of(error),
        }
    }
    Wake::Again
}

/// Calls that one wake-up makes at the most: a kernel without a budget of ours sends 32
/// packets in each.
const MAX_SENDS: usize = 256;

impl TxQueue for XskTx {
    #[inline]
    fn send(&mut self, packets: &[Descriptor]) -> usize {
        let Some((tx, _)) = &mut self.rings else {
            return 0;
        };
        let aim = self.memory.aim;
        let count = packets.len().min(BATCH);
        for (desc, packet) in self.descs.iter_mut().zip(packets) {
            *desc = aim.at(*packet);
        }
        // SAFETY: the descriptors are of frames of this UMEM, which the caller has given
        // up: they are in the ring's table until the kernel returns them.
        unsafe { tx.produce(&self.descs[..count]) }
    }

    #[inline]
    fn complete(&mut self, out: &mut [u64]) -> usize {
        let Some((_, completion)) = &mut self.rings else {
            return 0;
        };
        let want = out.len().min(BATCH);
        // SAFETY: as in `receive`.
        let count = unsafe { completion.consume(&mut self.descs[..want]) };
        for (out, desc) in out.iter_mut().zip(&self.descs[..count]) {
            *out = desc.addr() as u64;
        }
        count
    }

    #[inline]
    fn pending(&mut self) -> bool {
        let rings = self.rings.as_mut();
        rings.is_some_and(|(_, completion)| completion.nb_avail(1) > 0)
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        let rings = self.rings.as_ref();
        rings.is_some_and(|(tx, _)| tx.needs_wakeup())
    }

    fn wake(&mut self) -> Wake {
        let Some((tx, _)) = &mut self.rings else {
            return Wake::Down;
        };
        // SAFETY: the socket is open while this half is.
        let socket = unsafe { BorrowedFd::borrow_raw(self.fd) };
        wake_tx(socket, || tx.nb_free_exact())
    }
}
