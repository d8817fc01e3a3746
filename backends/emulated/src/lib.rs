#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod e1000;
pub mod pci;
mod quiesce;
mod sync;
mod thread;

pub use e1000::{E1000, E1000Config, ModelCounters, Monitor, Step};
pub use pci::{PciBus, PciFunction};
pub use thread::{DeviceThread, NowNs};
