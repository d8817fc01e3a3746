//! The Linux packet path in user space.
//!
//! This is the one crate that knows all the others: here a backend meets the
//! stack. A [`Machine`] is a stack with emulated NICs, each plugged into a
//! wire; a [`Report`](report::Report) is what all of its layers have counted.
//! The crates themselves are here by their names.
//!
//! A machine without a thread, on a virtual clock:
//!
//! ```
//! use softnet::netstack::{StackConfig, UdpOptions};
//! use softnet::softirq::VirtualClock;
//! use softnet::wire::cable::{self, CableConfig};
//! use softnet::{Machine, NicConfig, Time};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Time::Virtual(Arc::new(VirtualClock::new(0)));
//! let mut machine = Machine::new(&StackConfig::default(), clock)?;
//! let (near, _far) = cable::pair(&CableConfig::default());
//! let eth0 = machine.add_e1000(Box::new(near), &NicConfig::default())?;
//! machine.stack_mut().add_address(eth0, [10, 0, 0, 2].into(), 24)?;
//!
//! let mut socket = machine.stack_mut().udp_bind("10.0.0.2:7".parse()?, &UdpOptions::default())?;
//! socket.try_send_to(b"to myself", "10.0.0.2:7".parse()?)?;
//! machine.run_for(1_000_000)?;
//! assert_eq!(&socket.try_recv()?[..], b"to myself");
//! println!("{}", machine.report());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "lab")]
pub mod lab;
mod machine;
#[cfg(feature = "af-xdp")]
pub mod measure;
pub mod report;

pub use machine::{
    Machine, MachineError, NicConfig, NicKind, Progress, Time, UnknownNic, run_together,
};

#[cfg(feature = "af-xdp")]
pub use machine::rss_of;
#[cfg(feature = "af-xdp")]
pub use softnet_af_xdp as af_xdp;
pub use softnet_dma_ring as dma_ring;
pub use softnet_e1000 as e1000;
pub use softnet_emulated as emulated;
pub use softnet_igb as igb;
pub use softnet_napi as napi;
pub use softnet_ne2000 as ne2000;
pub use softnet_netstack as netstack;
pub use softnet_nic_hal as nic_hal;
pub use softnet_softirq as softirq;
#[cfg(feature = "cli")]
pub use softnet_vfio as vfio;
#[cfg(feature = "cli")]
pub use softnet_vfio_user as vfio_user;
pub use softnet_wire as wire;

/// The project's page, whose program is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmePage;
