//! A socket, as others than the owners of its rings see it.
//!
//! The owners' side of the rings is theirs alone. Whether something waits is written in
//! the two counters of a ring, which are in memory that the kernel shares: here it is
//! mapped a second time.

use crate::ring::{KernelCounters, View};
use crate::shared::Mapping;
use rustix::net::sockopt;
use rustix::net::xdp::{XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XdpRingOffset};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A view of a socket of Linux. The socket stays open while there is one.
#[derive(Clone, Debug)]
pub struct SocketView(Arc<Viewed>);

#[derive(Debug)]
struct Viewed {
    socket: OwnedFd,
    rx: Counters,
    completion: Counters,
}

impl SocketView {
    /// Maps the counters of a bound socket's RX and completion ring.
    pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let socket = socket.try_clone_to_owned()?;
        let offsets = sockopt::xdp_mmap_offsets(&socket)?;
        let fd = socket.as_fd();
        let rx = Counters::map(fd, XDP_PGOFF_RX_RING, &offsets.rx)?;
        let completion = Counters::map(fd, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr)?;
        Ok(Self(Arc::new(Viewed {
            socket,
            rx,
            completion,
        })))
    }
}

impl View for SocketView {
    #[inline]
    fn received(&self) -> bool {
        self.0.rx.differ()
    }

    #[inline]
    fn sent(&self) -> bool {
        self.0.completion.differ()
    }

    fn statistics(&self) -> KernelCounters {
        // A socket that is open answers; if it does not, there is nothing to be told.
        let Ok(stats) = sockopt::xdp_statistics(&self.0.socket) else {
            return KernelCounters::default();
        };
        KernelCounters {
            rx_dropped: stats.rx_dropped,
            rx_invalid_descs: stats.rx_invalid_descs,
            tx_invalid_descs: stats.tx_invalid_descs,
            rx_ring_full: stats.rx_ring_full.unwrap_or(0),
            rx_fill_ring_empty_descs: stats.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_ring_empty_descs: stats.tx_ring_empty_descs.unwrap_or(0),
        }
    }
}

/// The counters of a ring that the kernel fills.
#[derive(Debug)]
struct Counters {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    /// Keeps both valid.
    _mapping: Mapping,
}

// SAFETY: the pointers lead to atomics in the mapping, which is this one's own.
unsafe impl Send for Counters {}
// SAFETY: as above.
unsafe impl Sync for Counters {}

impl Counters {
    fn map(socket: BorrowedFd<'_>, at: u64, offsets: &XdpRingOffset) -> io::Result<Self> {
        let end = offsets.producer.max(offsets.consumer);
        let end = usize::try_from(end).map_err(|_| io::ErrorKind::InvalidData)?;
        let mapping = Mapping::new(socket, end + size_of::<AtomicU32>(), at)?;
        Ok(Self {
            producer: mapping.at(offsets.producer)?,
            consumer: mapping.at(offsets.consumer)?,
            _mapping: mapping,
        })
    }

    /// Whether the kernel has put something into the ring that was not taken out.
    #[inline]
    fn differ(&self) -> bool {
        // SAFETY: the place is in the mapping and aligned, and all access to it, the
        // kernel's included, is atomic.
        let consumer = unsafe { self.consumer.as_ref() };
        // SAFETY: as above.
        let producer = unsafe { self.producer.as_ref() };
        // The consumer first: what it has not reached yet is still in the ring, or taken
        // by an owner who has said so before.
        let taken = consumer.load(Ordering::Acquire);
        taken != producer.load(Ordering::Acquire)
    }
}
