//! What a protocol is: a handler that takes packets.

use crate::drop::DropReason;
use crate::netcore::NetCore;
use crate::skb::SkBuff;
use crate::transport::Transports;
use core::ops::{Deref, DerefMut};

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It reached somebody: a socket, a reply, a queue.
    Delivered,
    /// It was dropped, and counted.
    Dropped(Dropped),
}

/// The proof that a drop was counted: only [`NetCore::kfree_skb`] makes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Dropped(DropReason);

impl Dropped {
    pub(crate) fn counted(reason: DropReason) -> Self {
        Self(reason)
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> DropReason {
        self.0
    }
}

/// A protocol: for an EtherType (`ptype_base`) or an IP protocol number
/// (`inet_protos`).
///
/// Each CPU has its own handlers, so that a handler needs no lock.
pub trait ProtocolHandler: Send {
    /// Takes a packet whose data starts at this protocol's header.
    ///
    /// A handler that has no use for it gives it to [`NetCore::kfree_skb`] with
    /// the reason and returns what that returns. A reply does not travel back
    /// up: it is sent through `net`.
    fn receive(&mut self, net: &mut NetContext<'_>, skb: SkBuff) -> Verdict;
}

/// What a handler reaches: its CPU's levels below it.
///
/// It dereferences to [`NetCore`].
pub struct NetContext<'a> {
    core: &'a mut NetCore,
    /// Lent to link-layer handlers, that deliver to it; a transport handler is
    /// itself a part of it, and so does not reach it.
    transports: Option<&'a mut Transports>,
}

impl<'a> NetContext<'a> {
    pub(crate) fn link(core: &'a mut NetCore, transports: &'a mut Transports) -> Self {
        Self {
            core,
            transports: Some(transports),
        }
    }

    pub(crate) fn transport(core: &'a mut NetCore) -> Self {
        Self {
            core,
            transports: None,
        }
    }

    /// Delivers a packet of this host to the transport protocol `protocol`; its
    /// data starts at that protocol's header, and its network header is marked.
    #[inline]
    pub fn deliver(&mut self, protocol: u8, skb: SkBuff) -> Verdict {
        match &mut self.transports {
            Some(transports) => transports.receive(self.core, protocol, skb),
            None => self.core.kfree_skb(skb, DropReason::UnhandledProto),
        }
    }
}

impl Deref for NetContext<'_> {
    type Target = NetCore;

    #[inline]
    fn deref(&self) -> &NetCore {
        self.core
    }
}

impl DerefMut for NetContext<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut NetCore {
        self.core
    }
}
