//! Descriptor rings, packet frames and DMA memory.
//!
//! This crate is the bottom of softnet: it moves buffers and knows neither
//! packets' contents nor NICs' registers.
//!
//! - [`Frame`] is one packet buffer. It is move-only: who holds it owns the
//!   bytes, and dropping it returns it to its [`FramePool`], from any thread.
//! - [`DmaRing`] is a queue shared with a device: frames are posted, the device
//!   works on them, and they are reaped.
//! - [`DmaRegion`] is memory that a device may reach, and [`DmaDomain`] is the
//!   set of regions that one device is allowed to reach. An access outside of
//!   it is a [`DmaFault`], never memory corruption.
//! - [`spsc`], [`mpsc`] and [`overwrite`] are the rings between threads, and
//!   [`RingIndex`] is where all of their index arithmetic stands.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std", loom))]
extern crate std;

mod frame;
mod index;
pub mod mpsc;
pub mod overwrite;
mod pool;
mod region;
mod ring;
mod slots;
pub mod spsc;
mod sync;

pub use frame::{ChecksumStatus, Frame, HashKind, TxChecksum};
pub use index::{RingIndex, RingSize};
pub use pool::{FrameCache, FramePool, PoolConfig, PoolError};
pub use region::{DmaAccess, DmaAddr, DmaDomain, DmaFault, DmaRegion, MapError, RegionError};
pub use ring::{BATCH, DmaRing, FrameBatch, RingFull};
