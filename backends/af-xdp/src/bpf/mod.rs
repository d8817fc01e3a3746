//! The XDP program that feeds the sockets: loaded, attached and told what is ours.
//!
//! [`Program::load`] assembles the program, hands it to the kernel with its maps,
//! and [`Program::attach`] hangs it on an interface by a [`Link`], which the kernel
//! takes down with the process, however that ends. [`Steering`] says which frames
//! are ours; [`Program::update`] changes it while frames flow. What is ours goes to
//! the socket that [`XskMap`] holds for the queue; everything else passes to the
//! kernel.
//!
//! ```no_run
//! use softnet_af_xdp::bpf::{AttachOptions, PortRule, Program, ProgramOptions, Steering, Transport};
//! # fn socket() -> std::os::fd::OwnedFd { unimplemented!() }
//! use std::os::fd::AsFd;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let ifindex = 2;
//! let program = Program::load(&ProgramOptions::default())?;
//! program.update(&Steering::none().ports(PortRule::new(Transport::Udp, 9000..=9099)))?;
//! program.xsk_map().insert(0, socket().as_fd())?;
//! let link = program.attach(ifindex, AttachOptions::default())?;
//! // ... frames arrive at the socket of queue 0 until the link is dropped.
//! # drop(link);
//! # Ok(())
//! # }
//! ```

mod asm;
mod attached;
mod error;
mod filter;
mod generator;
mod link;
mod maps;
mod program;
mod steering;
mod syscall;
mod tables;
mod test_run;
mod uapi;

pub use asm::AsmError;
pub use attached::{AttachedProgram, attached_programs};
pub use error::{AttachError, Capability, Denied, LoadError, MapError, RunError};
pub use generator::{Generator, GeneratorError, GeneratorOptions, SourcePorts};
pub use link::{AttachMode, AttachOptions, Existing, Link};
pub use maps::{Counters, Verdict, XskMap};
pub use program::{MultiBuffer, Program, ProgramMaps, ProgramOptions};
pub use steering::{Fragments, IpPrefix, PortRule, PrefixError, Steering, Transport, Vlans};
pub use test_run::{TestRunResult, XdpAction};
