//! The halves of a socket, whoever made it.

use crate::ring::{Descriptor, RxQueue, TxQueue, Wake};
use crate::shared::{SharedRx, SharedTx};
use crate::view::SocketView;
use crate::xsk::{XskRx, XskTx, raise_budget};
use std::io;
use std::os::fd::BorrowedFd;

/// Fill and RX ring of a socket.
#[derive(Debug)]
pub enum SocketRx {
    /// Made here, by xsk-rs.
    Own(XskRx),
    /// Made by a helper.
    Shared(SharedRx),
}

/// TX and completion ring of a socket.
#[derive(Debug)]
pub enum SocketTx {
    /// Made here, by xsk-rs.
    Own(XskTx),
    /// Made by a helper.
    Shared(SharedTx),
}

impl SocketTx {
    /// Lets one call send as many packets as the ring holds, in place of 32. Kernels
    /// before 6.18 have no such option.
    pub(crate) fn raise_budget(&self) -> io::Result<()> {
        match self {
            Self::Own(tx) => tx.raise_budget(),
            Self::Shared(tx) => raise_budget(&tx.socket(), tx.ring()),
        }
    }
}

impl RxQueue for SocketRx {
    type View = SocketView;

    #[inline]
    fn fill(&mut self, chunks: &[u32]) -> usize {
        match self {
            Self::Own(rx) => rx.fill(chunks),
            Self::Shared(rx) => rx.fill(chunks),
        }
    }

    #[inline]
    fn receive(&mut self, out: &mut [Descriptor]) -> usize {
        match self {
            Self::Own(rx) => rx.receive(out),
            Self::Shared(rx) => rx.receive(out),
        }
    }

    #[inline]
    fn pending(&mut self) -> bool {
        match self {
            Self::Own(rx) => rx.pending(),
            Self::Shared(rx) => rx.pending(),
        }
    }

    fn needs_wakeup(&self) -> bool {
        match self {
            Self::Own(rx) => rx.needs_wakeup(),
            Self::Shared(rx) => rx.needs_wakeup(),
        }
    }

    fn wake(&mut self) -> Wake {
        match self {
            Self::Own(rx) => rx.wake(),
            Self::Shared(rx) => rx.wake(),
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(rx) => rx.socket(),
            Self::Shared(rx) => rx.socket(),
        }
    }

    fn view(&self) -> io::Result<SocketView> {
        SocketView::of(self.socket())
    }
}

impl TxQueue for SocketTx {
    #[inline]
    fn send(&mut self, packets: &[Descriptor]) -> usize {
        match self {
            Self::Own(tx) => tx.send(packets),
            Self::Shared(tx) => tx.send(packets),
        }
    }

    #[inline]
    fn complete(&mut self, out: &mut [u64]) -> usize {
        match self {
            Self::Own(tx) => tx.complete(out),
            Self::Shared(tx) => tx.complete(out),
        }
    }

    #[inline]
    fn pending(&mut self) -> bool {
        match self {
            Self::Own(tx) => tx.pending(),
            Self::Shared(tx) => tx.pending(),
        }
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        match self {
            Self::Own(tx) => tx.needs_wakeup(),
            Self::Shared(tx) => tx.needs_wakeup(),
        }
    }

    fn wake(&mut self) -> Wake {
        match self {
            Self::Own(tx) => tx.wake(),
            Self::Shared(tx) => tx.wake(),
        }
    }
}
