//! What crosses from one CPU, or from an application's thread, to a CPU.

use crate::neigh::Evidence;
use crate::route::IfIndex;
#[cfg(feature = "std")]
use crate::shard::Shard;
use crate::udp::SocketId;
#[cfg(feature = "std")]
use alloc::boxed::Box;
use core::net::{Ipv4Addr, SocketAddrV4};
use softnet_dma_ring::Frame;
use softnet_nic_hal::MacAddress;
#[cfg(feature = "std")]
use softnet_softirq::Cpu;

/// Work for a CPU's NET_TX softirq.
#[derive(Debug)]
pub(crate) enum TxMessage {
    /// A datagram from an application: the frame's data is the payload. The peer
    /// is of one family, since an address of either would double the message.
    Udp {
        socket: SocketId,
        frame: Frame,
        to: SocketAddrV4,
    },
    /// A finished link-layer frame, for a transmit queue that this CPU owns.
    Xmit { dev: IfIndex, frame: Frame },
}

/// Work for a CPU's control plane.
pub(crate) enum Control {
    /// Another CPU has learnt a link-layer address.
    Neighbour {
        dev: IfIndex,
        ip: Ipv4Addr,
        mac: MacAddress,
        how: Evidence,
    },
    /// An application has closed a socket.
    Close(SocketId),
    /// Runs with the CPU's whole state.
    #[cfg(feature = "std")]
    Exec(Exec),
}

/// What a CPU that is a thread is asked to do between two of its softirqs.
#[cfg(feature = "std")]
pub(crate) type Exec = Box<dyn FnOnce(&mut Shard, &mut Cpu) + Send>;
