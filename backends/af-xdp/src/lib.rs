//! A network interface of the Linux kernel as a NIC: XDP sockets, their four
//! rings, and the XDP program that feeds them.
//!
//! ```no_run
//! use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem, UmemConfig, events::Events};
//! use softnet_nic_hal::irq::IrqTable;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let umem = Umem::new(UmemConfig::default())?;
//! let events = Events::new(Arc::new(IrqTable::new(1)))?;
//! let nic = AfXdpNic::new(AfXdpConfig::new("eth1"), umem.clone(), events)?;
//! // The stack gets its frames from `umem.pool()`, and opens the NIC with it.
//! # drop(nic);
//! # Ok(())
//! # }
//! ```

pub mod bare;
pub mod bpf;
pub mod doctor;
mod error;
pub mod events;
#[cfg(test)]
mod fake;
pub mod handover;
mod maker;
mod mode;
pub mod netlink;
mod nic;
pub mod ring;
pub mod settings;
mod shared;
mod socket;
mod sync;
mod umem;
mod view;
mod xsk;

pub use error::{AfXdpError, Refusal, UmemError};
pub use mode::{Mode, ModeChoice, UnknownMode};
pub use nic::{AfXdpConfig, AfXdpNic, Facts, Kernel, Linux, Memory, Nic, Opened, OpenedOf, Socket};
pub use umem::{ChunkSize, Pages, TxMetadata, Umem, UmemConfig};
