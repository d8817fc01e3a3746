//! What the window guards: the driver's picture of the chip.

use crate::layout::{Layout, MAX_BUFFERS};
use crate::regs::{Isr, Rcr};
use alloc::sync::Arc;
use softnet_nic_hal::IrqHandler;

/// The state of the chip, as far as the driver has set or seen it.
pub(crate) struct Core {
    pub(crate) layout: Layout,
    /// Whom interrupts are for; nobody while the NIC is not open.
    pub(crate) stack: Option<Arc<dyn IrqHandler>>,
    /// What IMR holds.
    pub(crate) imr: Isr,
    pub(crate) rcr: Rcr,
    pub(crate) rx: Rx,
    pub(crate) tx: Tx,
    /// The tally counters' cause did not go away when they were read: it is left
    /// masked until the next watchdog.
    pub(crate) tally_sticks: bool,
}

/// The receive ring of the card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rx {
    /// The page of the packet that is read next.
    pub(crate) next: u8,
    /// The page that CURR last showed: packets lie from `next` to before it.
    pub(crate) curr: u8,
    /// There are frames that packets can be read into.
    pub(crate) fed: bool,
}

/// The transmit buffers of the card, which are filled and sent in turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tx {
    /// What is in each, in bytes.
    pub(crate) lengths: [u16; MAX_BUFFERS],
    /// The buffer that is sent, or will be next.
    pub(crate) head: u8,
    /// Buffers that are filled, the one that is sent included.
    pub(crate) filled: u8,
    /// The chip has been told to send.
    pub(crate) sending: bool,
    /// How often the packet has been sent again.
    pub(crate) retries: u8,
    /// Somebody will reap the frames of packets that are through.
    pub(crate) owned: bool,
    /// Packets that are through, and whose frames were not reaped yet.
    pub(crate) done: usize,
    /// More packets wait for a buffer.
    pub(crate) waiting: bool,
    /// The chip did not take a packet: nothing more until the NIC is opened anew.
    pub(crate) stuck: bool,
    /// Packets that are through, ever.
    pub(crate) finished: u32,
}

impl Core {
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            layout,
            stack: None,
            imr: Isr::empty(),
            rcr: Rcr::MON,
            rx: Rx::new(&layout),
            tx: Tx::default(),
            tally_sticks: false,
        }
    }

    /// A session begins, with the chip newly initialized.
    pub(crate) fn begin(&mut self, stack: Arc<dyn IrqHandler>) {
        let (layout, rcr) = (self.layout, self.rcr);
        *self = Self::new(layout);
        self.rcr = rcr;
        self.stack = Some(stack);
        self.tx.owned = true;
    }

    /// Whether there is something for the stack to reap, if these causes are set.
    pub(crate) fn is_pending(&self, causes: Isr) -> bool {
        let came = self.rx.next != self.rx.curr || causes.intersects(RECEIVE);
        self.tx.done > 0 || self.rx.fed && came
    }

    /// What IMR is to hold, while the stack wants interrupts or does not.
    ///
    /// Without the stack, too, the end of a packet is needed to send the one
    /// behind it. Received packets concern nobody while there are no frames for
    /// them.
    pub(crate) fn wanted(&self, armed: bool) -> Isr {
        let mut wanted = Isr::empty();
        if self.stack.is_some() {
            wanted.set(Isr::CNT, !self.tally_sticks);
            wanted.set(RECEIVE, armed && self.rx.fed);
            wanted.set(SENT, self.tx.sending && (armed || self.tx.filled > 1));
        }
        wanted
    }
}

/// The causes that concern received packets.
pub(crate) const RECEIVE: Isr = Isr::PRX.union(Isr::OVW);
/// The causes that end a transmission.
pub(crate) const SENT: Isr = Isr::PTX.union(Isr::TXE);

impl Rx {
    pub(crate) fn new(layout: &Layout) -> Self {
        let first = layout.behind(layout.start, 1);
        Self {
            next: first,
            curr: first,
            fed: false,
        }
    }
}

impl Tx {
    /// The packet at the head is through.
    pub(crate) fn pass(&mut self, buffers: u8) {
        self.sending = false;
        self.retries = 0;
        self.filled -= 1;
        self.head = (self.head + 1) % buffers;
        self.done += usize::from(self.owned);
        self.finished = self.finished.wrapping_add(1);
    }
}
