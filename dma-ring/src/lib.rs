#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std", loom))]
extern crate std;

mod frame;
mod index;
pub mod lending;
pub mod mpsc;
pub mod overwrite;
mod pool;
mod region;
mod ring;
mod slots;
pub mod spsc;
mod stamped;
mod sync;

pub use frame::{ChecksumStatus, Frame, HashKind, TxChecksum};
pub use index::{RingIndex, RingSize};
pub use pool::{FrameCache, FrameChain, FramePool, PoolConfig, PoolError};
pub use region::{
    DmaAccess, DmaAddr, DmaDomain, DmaFault, DmaRegion, DmaWindow, DmaWords, MapError, RegionError,
};
pub use ring::{BATCH, DmaRing, FrameBatch, RingFull};
