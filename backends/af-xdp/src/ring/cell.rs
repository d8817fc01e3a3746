//! What the rings of one queue, the NIC and the CPU's event loop share.

use super::seat::Seat;
use super::table::{Layout, Table};
use super::{KernelCounters, RxQueue, TxQueue, View};
use crate::events::{Completions, Events, QueueIrq};
use crate::mode::Mode;
use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering, lock};
use core::fmt;
use softnet_dma_ring::Frame;
use softnet_nic_hal::QueueId;
use std::sync::{Arc, OnceLock};
// Counters order nothing, so loom need not see them.
use std::sync::atomic::AtomicU64;

/// The receive half of a socket, and the frames that the kernel holds for it.
#[derive(Debug)]
pub(crate) struct RxHalf<Q> {
    // The order matters: the kernel lets go before the frames go home.
    pub(crate) queue: Q,
    pub(crate) table: Table,
    /// The beginning of a packet whose end has not come yet.
    pub(crate) partial: Vec<Frame>,
}

impl<Q> RxHalf<Q> {
    pub(crate) fn new(queue: Q, layout: Layout) -> Self {
        Self {
            queue,
            table: Table::new(layout),
            partial: Vec::with_capacity(super::rx::MAX_CHUNKS),
        }
    }

    fn split(self) -> (Q, Vec<Frame>) {
        let frames = self.table.into_frames().chain(self.partial);
        (self.queue, frames.collect())
    }
}

/// The transmit half of a socket, and the frames that the kernel holds for it.
#[derive(Debug)]
pub(crate) struct TxHalf<Q> {
    // The order matters, as above.
    pub(crate) queue: Q,
    /// Frames that were posted.
    pub(crate) table: Table,
    /// Later parts of packets that were copied; nobody waits for them.
    pub(crate) copies: Table,
}

impl<Q> TxHalf<Q> {
    pub(crate) fn new(queue: Q, layout: Layout) -> Self {
        Self {
            queue,
            table: Table::new(layout),
            copies: Table::new(layout),
        }
    }

    fn split(self) -> (Q, Vec<Frame>) {
        let frames = self.table.into_frames().chain(self.copies.into_frames());
        (self.queue, frames.collect())
    }

    /// How many descriptors the kernel holds.
    pub(crate) fn held(&self) -> u32 {
        self.table.held() + self.copies.held()
    }
}

/// A counter with one writer at a time, which any thread may read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        if count > 0 {
            let sum = self.now() + count;
            self.0.store(sum, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the rings of one queue have counted.
        #[derive(Debug, Default)]
        pub(crate) struct Counts { $(pub(crate) $name: Count,)* }

        /// What the rings of a NIC have counted.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct RingCounters { $($(#[$doc])* pub $name: u64,)* }

        impl Counts {
            pub(crate) fn add_to(&self, sum: &mut RingCounters) {
                $(sum.$name += self.$name.now();)*
            }
        }

        impl RingCounters {
            /// All counters with their names.
            #[must_use]
            pub const fn named(&self) -> [(&'static str, u64); [$(stringify!($name)),*].len()] {
                [$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counters! {
    /// Packets received.
    rx_packets,
    /// Bytes of those, without FCS.
    rx_bytes,
    /// Of those, packets to groups.
    rx_multicast,
    /// Packets that were copied out of the UMEM, since the queue ran low of chunks.
    rx_copied_out,
    /// Packets of several chunks that were copied into one frame.
    rx_linearized,
    /// Packets of several chunks that found no frame that is long enough.
    rx_no_long_frame,
    /// Descriptors that made no sense: an address that was not posted, or a length
    /// that the chunk does not have.
    rx_bad_descriptors,
    /// Wake-ups of the kernel for filled chunks.
    rx_wakeups,
    /// Packets given to the kernel.
    tx_packets,
    /// Bytes of those, without FCS.
    tx_bytes,
    /// Packets that cannot be sent as they were posted.
    tx_refused,
    /// Packets that were copied into the UMEM, since their frames are not of it.
    tx_copied_in,
    /// Packets that had to be copied and found no chunk.
    tx_no_chunk,
    /// Descriptors that the kernel has finished.
    tx_completed,
    /// Transport checksums computed in software.
    tx_checksums,
    /// Transport checksums left to the kernel or the device.
    tx_checksums_left,
    /// Completions with an address that was not posted.
    tx_bad_completions,
    /// Wake-ups of the kernel for packets.
    tx_wakeups,
    /// Wake-ups after which the kernel had not taken all packets.
    tx_busy,
}

const RX_RETIRED: u32 = 1;
const TX_RETIRED: u32 = 2;

/// Where a queue's interrupt goes.
#[derive(Debug)]
pub(crate) struct Attached {
    events: Arc<Events>,
    irq: Arc<QueueIrq>,
}

/// One open queue.
///
/// Each half has a [`Seat`], from which the ring's owner takes it for a batch, and
/// [`close`](Self::close) for good. Others have a [`Look`] at the socket, which needs
/// neither half.
pub(crate) struct Cell<R: RxQueue, T> {
    pub(crate) id: QueueId,
    /// The rings reach the kernel, and the kernel the device.
    open: AtomicBool,
    retired: AtomicU32,
    /// Frames that a ring has taken from the kernel and not given to the stack yet.
    pub(crate) rx_left: AtomicU32,
    pub(crate) tx_left: AtomicU32,
    /// Descriptors that are being sent.
    pub(crate) tx_held: AtomicU32,
    /// The kernel is to be woken for packets again: it was too busy.
    pub(crate) stuck: AtomicBool,
    pub(crate) rx: Seat<RxHalf<R>>,
    pub(crate) tx: Seat<TxHalf<T>>,
    pub(crate) counts: Counts,
    mode: Mode,
    control: Mutex<Control<R::View>>,
    /// Takes the queue away from the program that feeds it.
    unfeed: Box<dyn Fn() + Send + Sync>,
    attached: OnceLock<Attached>,
}

/// What the control plane alone touches.
struct Control<V> {
    /// Until the socket is closed.
    view: Option<V>,
    /// The socket's counters when it was closed.
    last: KernelCounters,
    /// Frames that the device may still write to.
    kept: Vec<Frame>,
}

impl<R: RxQueue, T> fmt::Debug for Cell<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("id", &self.id)
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

impl<R: RxQueue, T: TxQueue> Cell<R, T> {
    pub(crate) fn new(
        id: QueueId,
        mode: Mode,
        view: R::View,
        rx: RxHalf<R>,
        tx: TxHalf<T>,
        unfeed: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            id,
            open: AtomicBool::new(true),
            retired: AtomicU32::new(0),
            rx_left: AtomicU32::new(0),
            tx_left: AtomicU32::new(0),
            tx_held: AtomicU32::new(0),
            stuck: AtomicBool::new(false),
            control: Mutex::new(Control {
                view: Some(view),
                last: KernelCounters::default(),
                kept: Vec::new(),
            }),
            rx: Seat::new(rx),
            tx: Seat::new(tx),
            counts: Counts::default(),
            mode,
            unfeed,
            attached: OnceLock::new(),
        }
    }

    /// Says where the interrupt goes; once.
    pub(crate) fn attach(&self, events: Arc<Events>, irq: Arc<QueueIrq>) {
        // A second attachment would be a second open of the same cell.
        drop(self.attached.set(Attached { events, irq }));
    }

    /// The queue's interrupt.
    #[inline]
    pub(crate) fn irq(&self) -> Option<&QueueIrq> {
        self.attached.get().map(|attached| &*attached.irq)
    }

    /// Whether the rings still reach the kernel.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// The device is gone: the rings take nothing and give nothing any more, and the
    /// queue does not interrupt.
    pub(crate) fn abandon(&self) {
        self.open.store(false, Ordering::SeqCst);
        if let Some(irq) = self.irq() {
            irq.mask();
        }
    }

    /// Lets the queue interrupt again, unless the device is gone: the socket of one
    /// that is could stay ready, and nobody would take anything out.
    #[inline]
    pub(crate) fn unmask(&self) {
        let Some(irq) = self.irq() else {
            return;
        };
        irq.unmask();
        // Sequentially consistent with the store in `abandon`, which masks after it.
        if !self.open.load(Ordering::SeqCst) {
            irq.mask();
        }
    }

    /// A look at the queue for others; `None` when it is closed. It keeps the socket
    /// open.
    pub(crate) fn watch(self: &Arc<Self>) -> Option<Look<R, T>> {
        let view = lock(&self.control).view.clone()?;
        let cell = self.clone();
        Some(Look { cell, view })
    }

    /// Interrupts if the queue is unmasked and completions are pending.
    #[inline]
    pub(crate) fn look(&self) {
        if let Some(irq) = self.irq() {
            irq.poll();
        }
    }

    /// How many descriptors the kernel has finished, and whether it has more.
    pub(crate) fn progress(&self) -> (u64, bool) {
        let has_work = self.tx_held.load(Ordering::Relaxed) != 0;
        (self.counts.tx_completed.now(), has_work)
    }

    /// Has the transmit ring's owner wake the kernel again.
    pub(crate) fn nudge(&self) {
        self.stuck.store(true, Ordering::Relaxed);
    }

    /// What the kernel has counted of the socket.
    pub(crate) fn kernel_counters(&self) -> KernelCounters {
        let control = lock(&self.control);
        match &control.view {
            Some(view) => view.statistics(),
            None => control.last,
        }
    }

    /// The receive ring is dropped.
    pub(crate) fn retire_rx(&self) {
        let control = lock(&self.control);
        if control.view.is_some() {
            // Under the lock, which a close takes too: the queue may be another
            // session's as soon as it is closed.
            (self.unfeed)();
        }
        drop(control);
        self.retire(RX_RETIRED);
    }

    /// The transmit ring is dropped.
    pub(crate) fn retire_tx(&self) {
        self.retire(TX_RETIRED);
    }

    /// Closes the socket when both rings are gone; until then the kernel may still
    /// reach the frames of either, since they have one socket.
    fn retire(&self, which: u32) {
        let before = self.retired.fetch_or(which, Ordering::AcqRel);
        if before | which == RX_RETIRED | TX_RETIRED {
            let frames = self.close();
            if self.mode == Mode::ZeroCopy {
                // The driver stops its queue some time after the socket is closed.
                lock(&self.control).kept = frames;
            }
        }
    }

    /// Takes the queue away from the kernel and from its rings: when this returns, the
    /// socket is closed and no handler runs. The frames that the kernel held are
    /// returned, once.
    pub(crate) fn close(&self) -> Vec<Frame> {
        self.open.store(false, Ordering::Relaxed);
        let mut control = lock(&self.control);
        let Some(view) = control.view.take() else {
            return std::mem::take(&mut control.kept);
        };
        (self.unfeed)();
        if let Some(Attached { events, irq }) = self.attached.get() {
            events.detach(irq);
        }
        control.last = view.statistics();
        drop(view);
        self.take_apart()
    }

    /// Closes the socket, of which nobody else has a view any more.
    fn take_apart(&self) -> Vec<Frame> {
        let (rx, rx_frames) = self.rx.remove().split();
        let (tx, tx_frames) = self.tx.remove().split();
        self.tx_held.store(0, Ordering::Relaxed);
        // Both halves of the socket go before the first frame does.
        drop((rx, tx));
        rx_frames.into_iter().chain(tx_frames).collect()
    }
}

/// A look at a queue from outside of its rings. It keeps the socket open.
pub(crate) struct Look<R: RxQueue, T> {
    cell: Arc<Cell<R, T>>,
    view: R::View,
}

impl<R: RxQueue, T: TxQueue> Completions for Look<R, T> {
    /// The kernel's rings first: a frame that is not there any more was counted as left
    /// before it was taken.
    #[inline]
    fn pending(&self) -> bool {
        let cell = &self.cell;
        cell.is_open()
            && (self.view.received()
                || self.view.sent()
                || cell.rx_left.load(Ordering::Relaxed) != 0
                || cell.tx_left.load(Ordering::Relaxed) != 0
                || cell.stuck.load(Ordering::Relaxed))
    }

    #[inline]
    fn in_flight(&self) -> bool {
        self.cell.is_open() && self.cell.tx_held.load(Ordering::Relaxed) != 0
    }
}
