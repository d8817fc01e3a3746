//! Sockets that this crate makes by system calls of its own: for another process, and on
//! memory with room for metadata before each packet, which libxdp has no way to register.

use crate::mode::Mode;
use crate::nic::{Binder, Halves};
use crate::shared::{SharedMemory, map_rings};
use crate::socket::{SocketRx, SocketTx};
use crate::umem::TxMetadata;
use crate::xsk::MemoryShape;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use softnet_dma_ring::DmaRegion;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

pub(crate) fn xdp_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)
}

/// What sockets are made like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketShape {
    /// Bytes of a chunk.
    pub(crate) chunk_size: u32,
    /// Slots of each ring.
    pub(crate) ring: u32,
    /// Whether a packet may lie in several chunks (`XDP_USE_SG`).
    pub(crate) multi_buffer: bool,
    pub(crate) metadata: TxMetadata,
}

/// Makes the sockets of one opening: the first has the memory registered, the others
/// share it.
pub(crate) struct Maker<'a> {
    memory: &'a SharedMemory,
    shape: SocketShape,
    index: u32,
    first: RefCell<Option<OwnedFd>>,
}

impl<'a> Maker<'a> {
    /// For the queues of the interface with this number.
    pub(crate) fn new(memory: &'a SharedMemory, shape: SocketShape, index: u32) -> Self {
        Self {
            memory,
            shape,
            index,
            first: RefCell::default(),
        }
    }

    fn flags(&self, mode: Mode) -> SocketAddrXdpFlags {
        let mut flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
        flags |= match mode {
            Mode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
            Mode::Copy | Mode::Skb => SocketAddrXdpFlags::XDP_COPY,
        };
        flags.set(SocketAddrXdpFlags::XDP_USE_SG, self.shape.multi_buffer);
        flags
    }

    fn make_rings(&self, socket: &OwnedFd) -> io::Result<()> {
        let slots = self.shape.ring;
        sockopt::set_xdp_umem_fill_ring_size(socket, slots)?;
        sockopt::set_xdp_umem_completion_ring_size(socket, slots)?;
        sockopt::set_xdp_rx_ring_size(socket, slots)?;
        sockopt::set_xdp_tx_ring_size(socket, slots)?;
        Ok(())
    }

    /// A socket that shares the memory of the first.
    fn bind_another(&self, socket: OwnedFd, first: &OwnedFd, queue: u32) -> io::Result<OwnedFd> {
        self.make_rings(&socket)?;
        let flags = SocketAddrXdpFlags::XDP_SHARED_UMEM;
        let address = SocketAddrXdpWithSharedUmem {
            addr: SocketAddrXdp::new(flags, self.index, queue),
            shared_umem_fd: first.as_fd(),
        };
        rustix::net::bind(&socket, &address)?;
        Ok(socket)
    }

    fn bind_first(&self, socket: OwnedFd, mode: Mode, queue: u32) -> io::Result<OwnedFd> {
        let SocketShape {
            chunk_size,
            metadata,
            ..
        } = self.shape;
        self.memory.register(socket.as_fd(), chunk_size, metadata)?;
        self.make_rings(&socket)?;
        let address = SocketAddrXdp::new(self.flags(mode), self.index, queue);
        rustix::net::bind(&socket, &address)?;
        Ok(socket)
    }
}

impl Binder for Maker<'_> {
    type Socket = OwnedFd;

    fn bind(&self, queue: u16, mode: Mode) -> io::Result<OwnedFd> {
        let (queue, socket) = (u32::from(queue), xdp_socket()?);
        let mut first = self.first.borrow_mut();
        if let Some(first) = &*first {
            return self.bind_another(socket, first, queue);
        }
        let socket = self.bind_first(socket, mode, queue)?;
        *first = Some(socket.try_clone()?);
        Ok(socket)
    }

    fn zero_copy(&self) -> Option<bool> {
        None
    }
}

/// Memory of this process, which each opening of a NIC registers for itself.
#[derive(Debug)]
pub(crate) struct OwnMemory {
    memory: Arc<SharedMemory>,
    shape: MemoryShape,
    metadata: TxMetadata,
}

impl OwnMemory {
    /// Maps memory, and tries whether the kernel registers it with that room.
    pub(crate) fn new(shape: MemoryShape, metadata: TxMetadata) -> io::Result<Arc<Self>> {
        let memory = SharedMemory::of_process(shape.bytes(), shape.huge_pages)?;
        memory.register(xdp_socket()?.as_fd(), shape.chunk_size, metadata)?;
        Ok(Arc::new(Self {
            memory: Arc::new(memory),
            shape,
            metadata,
        }))
    }

    /// The memory as a region. It may be taken once.
    pub(crate) fn region(&self) -> DmaRegion {
        self.memory.clone().into_region()
    }

    /// What makes sockets on an interface.
    pub(crate) fn binder(&self, index: u32, multi_buffer: bool) -> OwnBinder<'_> {
        let shape = SocketShape {
            chunk_size: self.shape.chunk_size,
            ring: self.shape.ring,
            multi_buffer,
            metadata: self.metadata,
        };
        OwnBinder {
            maker: Maker::new(&self.memory, shape, index),
            shape,
        }
    }
}

/// Makes sockets, and maps their rings.
pub(crate) struct OwnBinder<'a> {
    maker: Maker<'a>,
    shape: SocketShape,
}

impl Binder for OwnBinder<'_> {
    type Socket = Halves;

    fn bind(&self, queue: u16, mode: Mode) -> io::Result<Halves> {
        let socket = self.maker.bind(queue, mode)?;
        let SocketShape {
            ring, chunk_size, ..
        } = self.shape;
        let (rx, tx) = map_rings(socket, ring, chunk_size)?;
        Ok((SocketRx::Shared(rx), SocketTx::Shared(tx)))
    }

    fn zero_copy(&self) -> Option<bool> {
        None
    }
}
