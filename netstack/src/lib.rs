#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod address;
mod arp;
pub mod checksum;
mod device;
pub mod drop;
mod early;
mod icmp;
mod interface;
mod ip;
mod link;
#[cfg(all(test, loom))]
mod loom_models;
pub mod martian;
mod message;
mod mib;
pub mod neigh;
mod netcore;
mod notify;
mod peer;
pub mod ports;
mod protocol;
pub mod rate;
mod registry;
pub mod route;
pub mod rss;
mod shard;
mod skb;
mod stack;
mod steering;
mod sync;
mod transport;
mod udp;
mod watchdog;
pub mod wire;
mod work;

pub use device::{HardIrq, NetDevice, RxStats, TxStats};
pub use drop::{DropCounters, DropReason};
pub use interface::{Interface, Interrupts, Moderation, Rings};
pub use ip::DEFAULT_TTL;
pub use link::{Direction, HandlerTaken, PacketTap, Tapped};
pub use mib::{Mib, Snmp};
pub use netcore::{CpuCounters, NetCore};
pub use notify::Notify;
pub use protocol::{Dropped, NetContext, ProtocolHandler, Verdict};
pub use registry::BindError;
pub use route::IfIndex;
pub use shard::Shard;
pub use skb::{PacketType, SkBuff};
pub use softnet_napi::Deferral;
#[cfg(feature = "std")]
pub use stack::ThreadOptions;
pub use stack::{
    MakeIdle, NicOptions, Progress, Stack, StackConfig, StackError, StackParts, UdpOptions,
};
pub use udp::{Datagram, RMEM_DEFAULT, RMEM_MAX, RecvError, SendError, SocketId, UdpSocket};
