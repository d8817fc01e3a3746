//! The state of the DMA engines, which one burst at a time works on.

use super::IgbConfig;
use super::filter::Exact;
use super::regs::QUEUES;
use super::rss::Rss;
use super::rx::Lane;
use super::stats::Delta;
use super::tx_queue::TxQueue;
use crate::fifo::Fifo;
use crate::flow::Flow;
use crate::pci::DmaView;

/// Bytes of the longest packet.
pub(super) const MAX_PACKET: usize = 16384;

/// Everything that a burst changes. It is behind the chip's gate.
pub(super) struct Core {
    pub(super) view: DmaView,
    pub(super) tables: Tables,
    pub(super) delta: Delta,
    pub(super) pad_short: bool,
    pub(super) flow: Flow,
    pub(super) rx: Rx,
    pub(super) tx: Tx,
}

/// What was taken out of the registers, to be quick at hand, and of which of their
/// states.
pub(super) struct Tables {
    pub(super) exact: Exact,
    pub(super) exact_of: u32,
    pub(super) rss: Rss,
    pub(super) rss_of: u32,
}

/// The receiver's state.
pub(super) struct Rx {
    pub(super) fifo: Fifo,
    /// The frame at the FIFO's end, which waits for descriptors, and how long it
    /// is; 0: there is none.
    pub(super) head: Box<[u8]>,
    pub(super) head_len: usize,
    /// What the transmitter sends while it is looped back.
    pub(super) loopback: Fifo,
    /// What a burst knows of each queue.
    pub(super) lanes: Box<[Lane; QUEUES]>,
    /// Queues of which a descriptor could not be reached: nothing more until a
    /// reset, or until the queue is switched off and on.
    pub(super) halted: u16,
}

/// The transmitter's state.
pub(super) struct Tx {
    pub(super) queues: Box<[TxQueue]>,
    /// Queues that may have descriptors to process.
    pub(super) pending: u16,
    /// The queue that is first the next time.
    pub(super) turn: usize,
    /// As in [`Rx`].
    pub(super) halted: u16,
}

impl Core {
    pub(super) fn new(config: &IgbConfig) -> Self {
        Self {
            view: DmaView::default(),
            tables: Tables {
                exact: Exact::NONE,
                exact_of: 0,
                rss: Rss::new(),
                rss_of: 0,
            },
            delta: Delta::new(),
            pad_short: config.pad_short_frames,
            flow: Flow::default(),
            rx: Rx {
                fifo: Fifo::new(),
                head: vec![0; MAX_PACKET].into(),
                head_len: 0,
                loopback: Fifo::new(),
                lanes: Box::new([Lane::CLOSED; QUEUES]),
                halted: 0,
            },
            tx: Tx {
                queues: (0..QUEUES).map(|_| TxQueue::new()).collect(),
                pending: 0,
                turn: 0,
                halted: 0,
            },
        }
    }

    pub(super) fn reset(&mut self) {
        self.flow = Flow::default();
        self.rx.fifo.clear();
        self.rx.loopback.clear();
        self.rx.head_len = 0;
        self.rx.halted = 0;
        self.tx.pending = 0;
        self.tx.halted = 0;
        for queue in &mut self.tx.queues {
            queue.reset();
        }
    }
}

impl Rx {
    /// Bytes of the packet buffer in use.
    pub(super) fn used(&self) -> usize {
        let head = match self.head_len {
            0 => 0,
            len => Fifo::space(len),
        };
        self.fifo.used() + head
    }

    /// Whether frames wait for descriptors.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        self.head_len != 0 || !self.fifo.is_empty()
    }
}
