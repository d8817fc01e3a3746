//! Where the atomics of the pending word come from, so that loom sees them.
//!
//! Counters and clocks stay on `core`: nothing is ordered by them, and modelling
//! them would only multiply the states that loom walks.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
