//! What a NIC needs of a kernel. Linux is one, memory another.

use crate::mode::Mode;
use crate::ring::{Layout, RxChecksum, RxQueue, TxOffload, TxQueue};
use softnet_dma_ring::FramePool;
use softnet_nic_hal::{LinkState, MacAddress, NicError};
use std::fmt::Debug;

/// What is known of the interface now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its address.
    pub mac: MacAddress,
    /// The longest payload of a frame, in bytes.
    pub mtu: u16,
    /// Its queue pairs.
    pub queues: u16,
    /// Its link.
    pub link: LinkState,
}

/// The memory that a NIC works on.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The pool of the chunks.
    pub pool: FramePool,
    /// Frames outside.
    pub side: Option<FramePool>,
    /// Where the chunks lie.
    pub layout: Layout,
    /// Slots of each ring.
    pub ring: u16,
    /// The longest packet in one chunk, in bytes.
    pub chunk_room: usize,
    /// The longest packet in several chunks, in bytes; `None` where packets have to fit
    /// one.
    pub long_packet: Option<usize>,
}

/// The socket of one queue.
pub struct Socket<R, T> {
    /// Fill and RX ring.
    pub rx: R,
    /// TX and completion ring.
    pub tx: T,
    /// Takes the queue away from the program that feeds it. May be called again.
    pub unfeed: Box<dyn Fn() + Send + Sync>,
}

/// The interface, opened: sockets that the program feeds.
pub struct Opened<R, T> {
    /// One socket for each queue, from queue 0 on.
    pub sockets: Vec<Socket<R, T>>,
    /// How packets get to them.
    pub mode: Mode,
    /// Whether half-made checksums are accepted.
    pub rx_checksum: RxChecksum,
}

/// The sockets of a kernel.
pub type OpenedOf<K> = Opened<<K as Kernel>::Rx, <K as Kernel>::Tx>;

/// One interface of a kernel.
pub trait Kernel: Send + Sync + Debug + 'static {
    /// The receive half of its sockets.
    type Rx: RxQueue + Debug + 'static;
    /// The transmit half.
    type Tx: TxQueue + Debug + 'static;

    /// The interface's name.
    fn name(&self) -> &str;

    /// The memory that its sockets work on.
    fn memory(&self) -> Memory;

    /// What is known of the interface; `None` when it is gone.
    fn facts(&self) -> Option<Facts>;

    /// What a packet's metadata can ask for in a mode, or in the one that an opening is
    /// likely to find.
    fn tx_offload(&self, mode: Option<Mode>) -> TxOffload;

    /// Opens sockets on that many queues and has them fed.
    ///
    /// # Errors
    /// [`NicError`]; nothing is open or attached then.
    fn open(&self, queues: u16) -> Result<OpenedOf<Self>, NicError>;

    /// Takes away what feeds the sockets, after they are closed.
    fn close(&self);

    /// Begins to call `changed` whenever the link may have changed, until the result is
    /// dropped.
    fn watch_link(&self, changed: Box<dyn Fn() + Send + Sync>) -> Box<dyn Send + Sync>;
}
