#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bell;
mod counters;
mod doorbell;
pub mod e1000;
mod fifo;
mod filter;
mod flow;
pub mod igb;
mod mii;
mod model;
pub mod ne2000;
pub mod offload;
pub mod pci;
mod quiesce;
mod ring;
mod starved;
mod statistics;
mod sync;
mod thread;

pub use e1000::{E1000, E1000Config};
pub use igb::{Igb, IgbConfig};
pub use model::{DeviceModel, ModelCounters, Monitor, Step};
pub use ne2000::{Ne2000, Ne2000Config};
pub use pci::{PciBus, PciFunction};
pub use thread::{DeviceThread, NowNs};
