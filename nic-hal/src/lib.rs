//! Two seams.
//!
//! [`NicHal`] stands between a NIC driver and the network stack: queues as
//! [`DmaRing`](dma_ring::DmaRing)s, an interrupt per queue, and a control plane. [`bus::PciDevice`]
//! stands between a driver and its chip: registers, configuration space, DMA
//! memory and interrupt vectors. A driver is written once on `PciDevice` and
//! runs on every implementation of it; a stack is written once on `NicHal`.
//! [`wire::Wire`] is what the PHY of a device model is plugged into.
//!
//! This crate knows neither sockets nor scheduling: what an interrupt leads to
//! is the business of whoever implements [`IrqHandler`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod bus;
pub mod dim;
pub mod ethtool;
mod hang;
pub mod irq;
mod nic;
mod stats;
#[cfg(feature = "std")]
mod sync;
#[cfg(feature = "std")]
pub mod testing;
pub mod wire;

pub use hang::HangWatch;
pub use nic::{
    IrqHandler, LinkState, MacAddress, NicCapabilities, NicError, NicHal, OpenConfig, QueueId,
    QueuePair, Queues, RingLimits, RxMode, WatchdogReport,
};
pub use softnet_dma_ring as dma_ring;
pub use stats::NicStats;

/// The crate's page, whose program is compiled and run with the tests.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct ReadmePage;
