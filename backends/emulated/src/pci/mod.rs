//! The PCI bus: what is plugged in, and what of it a driver sees.

mod bus;
mod capabilities;
mod config;
mod function;
mod intx;
mod list;
mod messages;
mod port;
mod saved;
mod vector;
mod vectors;

pub use bus::{AttachError, Identity, PciBus};
pub use capabilities::{MsiLayout, MsixLayout, PciCapabilities};
pub use function::{CoherentRegion, PciFunction};
pub use port::{DmaView, FunctionPort, PciModel, Width};
