//! The four rings of an XDP socket, as two [`DmaRing`](softnet_dma_ring::DmaRing)s.
//!
//! Fill and RX ring are the receive ring: posting fills, reaping receives. TX and
//! completion ring are the transmit ring. What the rings do is written over the
//! traits of this file, so that it is the same with the kernel's rings
//! and with a kernel that is made of memory, in tests.
//!
//! Frames do not leave this process: a ring keeps each posted [`Frame`] in a table by
//! its number, gives the kernel the address alone, and takes the frame out of the
//! table when the address comes back. An address that was never posted finds nothing
//! there, and is counted.
//!
//! [`Frame`]: softnet_dma_ring::Frame

pub(crate) mod cell;
mod checksum;
#[cfg(all(test, loom))]
mod loom_models;
mod metadata;
mod rx;
mod seat;
mod table;
mod tx;

pub use cell::RingCounters;
pub use checksum::RxChecksum;
pub(crate) use metadata::METADATA_LEN;
pub use metadata::TxOffload;
pub use rx::{RxPolicy, RxRing};
pub use table::Layout;
pub use tx::{TxPolicy, TxRing};

use std::io;
use std::os::fd::BorrowedFd;

/// One descriptor of the RX or TX ring (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Where the data starts, in bytes from the start of the UMEM.
    pub addr: u64,
    /// Bytes of data.
    pub len: u32,
    /// Flags: [`CONTINUED`](Self::CONTINUED), [`METADATA`](Self::METADATA).
    pub options: u32,
}

impl Descriptor {
    /// The packet goes on in the next descriptor (`XDP_PKT_CONTD`).
    pub const CONTINUED: u32 = 1;
    /// Before the packet stands what its sender asks for (`XDP_TX_METADATA`).
    pub const METADATA: u32 = 1 << 1;

    /// Whether the packet goes on in the next descriptor.
    #[must_use]
    #[inline]
    pub const fn is_continued(self) -> bool {
        self.options & Self::CONTINUED != 0
    }
}

/// How a wake-up of the kernel went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The kernel has seen everything.
    Done,
    /// The kernel was busy and has left something; it is to be woken again.
    Again,
    /// The interface is down or gone.
    Down,
}

/// The fill and the RX ring of one socket. One owner calls, from one thread at a
/// time.
pub trait RxQueue: Send {
    /// What others see of the socket.
    type View: View;

    /// Gives the chunks with these numbers to the kernel, and returns how many found
    /// a slot: the first ones.
    fn fill(&mut self, chunks: &[u32]) -> usize;

    /// Takes received descriptors, and returns how many there were.
    fn receive(&mut self, out: &mut [Descriptor]) -> usize;

    /// Whether a received descriptor waits.
    fn pending(&mut self) -> bool;

    /// Whether the kernel wants to be told of filled chunks. Ordered after the fill.
    fn needs_wakeup(&self) -> bool;

    /// Tells the kernel of filled chunks.
    fn wake(&mut self) -> Wake;

    /// The socket, which is readable while a received descriptor waits.
    fn socket(&self) -> BorrowedFd<'_>;

    /// A view of the socket for others.
    ///
    /// # Errors
    /// The kernel's reason not to give one.
    fn view(&self) -> io::Result<Self::View>;
}

/// What others than the rings' owners see of a socket, from any thread and without
/// keeping the owners from anything. The socket stays open for as long as there is a
/// view, or a ring.
pub trait View: Clone + Send + Sync + 'static {
    /// Whether a received descriptor waits. It follows the consumer's counter: what the
    /// owner wrote before he took a descriptor is seen when the descriptor is not.
    fn received(&self) -> bool;

    /// Whether a sent descriptor waits; as above.
    fn sent(&self) -> bool;

    /// What the kernel has counted.
    fn statistics(&self) -> KernelCounters;
}

/// The TX and the completion ring of one socket. One owner calls, from one thread at
/// a time.
pub trait TxQueue: Send {
    /// Gives packets to the kernel, and returns how many descriptors found a slot:
    /// the first ones.
    fn send(&mut self, packets: &[Descriptor]) -> usize;

    /// Takes the addresses of descriptors that were sent, and returns how many there
    /// were.
    fn complete(&mut self, out: &mut [u64]) -> usize;

    /// Whether a sent descriptor waits.
    fn pending(&mut self) -> bool;

    /// Whether the kernel wants to be told of packets. Ordered after the send.
    fn needs_wakeup(&self) -> bool;

    /// Tells the kernel of packets.
    fn wake(&mut self) -> Wake;
}

/// What the kernel counts of one socket (`struct xdp_statistics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the kernel's struct, which grows by options of its own"
)]
pub struct KernelCounters {
    /// Packets that found no filled chunk, were too long, or met a full RX ring.
    pub rx_dropped: u64,
    /// Fill descriptors that named no chunk.
    pub rx_invalid_descs: u64,
    /// TX descriptors that the kernel refused.
    pub tx_invalid_descs: u64,
    /// Packets that met a full RX ring.
    pub rx_ring_full: u64,
    /// Packets that found no filled chunk.
    pub rx_fill_ring_empty_descs: u64,
    /// Times the kernel looked for a packet to send, and found none.
    pub tx_ring_empty_descs: u64,
}

impl KernelCounters {
    /// All counters with their names, as `struct xdp_statistics` has them.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("xdp_rx_dropped", self.rx_dropped),
            ("xdp_rx_invalid_descs", self.rx_invalid_descs),
            ("xdp_tx_invalid_descs", self.tx_invalid_descs),
            ("xdp_rx_ring_full", self.rx_ring_full),
            (
                "xdp_rx_fill_ring_empty_descs",
                self.rx_fill_ring_empty_descs,
            ),
            ("xdp_tx_ring_empty_descs", self.tx_ring_empty_descs),
        ]
    }

    /// Adds another socket's counters.
    pub const fn add(&mut self, other: Self) {
        self.rx_dropped += other.rx_dropped;
        self.rx_invalid_descs += other.rx_invalid_descs;
        self.tx_invalid_descs += other.tx_invalid_descs;
        self.rx_ring_full += other.rx_ring_full;
        self.rx_fill_ring_empty_descs += other.rx_fill_ring_empty_descs;
        self.tx_ring_empty_descs += other.tx_ring_empty_descs;
    }
}
