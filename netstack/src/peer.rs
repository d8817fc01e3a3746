//! How a CPU is reached from elsewhere: from another CPU, or from an
//! application's thread.

use crate::message::{Control, TxMessage};
use crate::notify::Notify;
use crate::skb::SkBuff;
use softnet_dma_ring::mpsc;
use softnet_napi::NapiHandle;
use softnet_softirq::{CpuHandle, Vector};

/// The doors of one CPU. Each is a bounded lock-free ring; a push is followed
/// by a raise, so that the CPU cannot sleep over it.
pub(crate) struct Peer {
    pub(crate) cpu: CpuHandle,
    tx: mpsc::Sender<TxMessage>,
    control: mpsc::Sender<Control>,
    backlog: mpsc::Sender<SkBuff>,
    backlog_napi: NapiHandle,
    /// Where senders wait for room in `tx`.
    pub(crate) tx_space: Notify,
}

/// The receiving ends of a [`Peer`].
pub(crate) struct Doors {
    pub(crate) tx: mpsc::Receiver<TxMessage>,
    pub(crate) control: mpsc::Receiver<Control>,
}

/// Packets that may wait to be sent by a CPU.
pub(crate) const TX_MESSAGES: usize = 1024;
/// Packets that may wait for a CPU that they were steered to
/// (`net.core.netdev_max_backlog`, which is 1000 in Linux).
pub(crate) const MAX_BACKLOG: usize = 1024;
/// Control messages that may wait.
const CONTROL_MESSAGES: usize = 256;

impl Peer {
    /// Makes a CPU's doors; `napi` polls the receiver of `backlog`.
    pub(crate) fn new(
        cpu: CpuHandle,
        backlog: mpsc::Sender<SkBuff>,
        backlog_napi: NapiHandle,
    ) -> (Self, Doors) {
        let (tx, tx_door) = mpsc::channel(TX_MESSAGES);
        let (control, control_door) = mpsc::channel(CONTROL_MESSAGES);
        let tx_space = Notify::new();
        let peer = Self {
            cpu,
            tx,
            control,
            backlog,
            backlog_napi,
            tx_space,
        };
        (
            peer,
            Doors {
                tx: tx_door,
                control: control_door,
            },
        )
    }

    /// Gives the CPU something to send.
    ///
    /// # Errors
    /// Gives it back when too much waits already.
    #[inline]
    pub(crate) fn transmit(&self, message: TxMessage) -> Result<(), TxMessage> {
        self.tx.push(message).map_err(|full| full.0)?;
        self.cpu.raise(Vector::NetTx);
        Ok(())
    }

    /// Gives the CPU's control plane something to do.
    ///
    /// # Errors
    /// Gives it back when too much waits already.
    pub(crate) fn control(&self, message: Control) -> Result<(), Control> {
        self.control.push(message).map_err(|full| full.0)?;
        self.cpu.raise(Vector::Tasklet);
        Ok(())
    }

    /// Whether the CPU is gone: its thread has ended for good.
    #[cfg(feature = "std")]
    pub(crate) fn is_stopped(&self) -> bool {
        self.control.is_abandoned()
    }

    /// Steers a packet to the CPU. It learns of it by [`Peer::kick_backlog`].
    ///
    /// # Errors
    /// Gives the packet back when too many wait already.
    #[inline]
    pub(crate) fn steer(&self, skb: SkBuff) -> Result<(), SkBuff> {
        self.backlog.push(skb).map_err(|full| full.0)
    }

    /// Schedules the CPU's backlog, after a batch was steered to it.
    pub(crate) fn kick_backlog(&self) {
        self.backlog_napi.schedule();
    }
}
