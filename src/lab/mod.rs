//! Experiments with the packet path, for those who want to see why it is made as it
//! is.

pub mod irq;
mod traffic;

pub use traffic::Arrivals;
