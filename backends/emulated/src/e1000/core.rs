//! The state of the DMA engine, which one burst at a time works on.

use super::E1000Config;
use super::delay::Delay;
use super::filter::Exact;
use super::stats::Delta;
use super::tx::{Extended, LONGEST};
use crate::fifo::Fifo;
use crate::flow::Flow;
use crate::offload::TAG_LEN;
use crate::pci::DmaView;

/// Bytes of the longest packet.
pub(super) const MAX_PACKET: usize = 16384;

/// Everything that a burst changes. It is behind the chip's gate.
pub(super) struct Core {
    pub(super) view: DmaView,
    pub(super) exact: Exact,
    /// The state of the address table that `exact` was taken from.
    pub(super) exact_of: u32,
    pub(super) delta: Delta,
    pub(super) pad_short: bool,
    pub(super) flow: Flow,
    pub(super) rx: Rx,
    pub(super) tx: Tx,
}

/// The receiver's state.
pub(super) struct Rx {
    pub(super) fifo: Fifo,
    /// Where a frame from the FIFO is laid out.
    pub(super) scratch: Box<[u8]>,
    pub(super) delay: Delay,
    /// A descriptor could not be reached: nothing more until a reset, or until
    /// the receiver is switched off and on.
    pub(super) halted: bool,
}

/// The transmitter's state.
pub(super) struct Tx {
    /// Room for a tag, the packet that is being gathered after it, and what of
    /// it there is.
    pub(super) packet: Box<[u8]>,
    pub(super) len: usize,
    pub(super) extended: Extended,
    /// The packet will not be sent, for what one of its descriptors was.
    pub(super) discard: bool,
    pub(super) delay: Delay,
    /// As in [`Rx`].
    pub(super) halted: bool,
}

impl Core {
    pub(super) fn new(config: &E1000Config) -> Self {
        Self {
            view: DmaView::default(),
            exact: Exact::default(),
            exact_of: 0,
            delta: Delta::new(),
            pad_short: config.pad_short_frames,
            flow: Flow::default(),
            rx: Rx {
                fifo: Fifo::new(),
                scratch: vec![0; MAX_PACKET].into(),
                delay: Delay::default(),
                halted: false,
            },
            tx: Tx {
                packet: vec![0; TAG_LEN + MAX_PACKET].into(),
                len: 0,
                extended: Extended::new(LONGEST),
                discard: false,
                delay: Delay::default(),
                halted: false,
            },
        }
    }

    pub(super) fn reset(&mut self) {
        self.flow = Flow::default();
        self.rx.fifo.clear();
        self.rx.delay.stop();
        self.rx.halted = false;
        self.tx.delay.stop();
        self.tx.halted = false;
        self.tx.begin_packet();
        self.tx.extended.reset();
    }
}

impl Tx {
    /// Forgets the packet that was being gathered.
    pub(super) fn begin_packet(&mut self) {
        self.len = 0;
        self.discard = false;
        self.extended.begin_packet();
    }

    /// The driver has put the FCS there itself: the wire's frames are without.
    /// Returns whether it was right; a wrong one makes a frame that no receiver
    /// takes.
    pub(super) fn strip_fcs(&mut self) -> bool {
        let packet = &self.packet[TAG_LEN..TAG_LEN + self.len];
        let Some((frame, fcs)) = packet.split_last_chunk::<4>() else {
            return false;
        };
        self.len = frame.len();
        !frame.is_empty() && crc32fast::hash(frame).to_le_bytes() == *fcs
    }
}
