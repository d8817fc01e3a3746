//! Without privilege at run time: a helper makes memory, sockets and the program, and
//! hands them over.
//!
//! The helper runs with the capabilities, for one interface ([`Helper`], or `softnet
//! af-xdp-helper`). A process without any connects to its unix socket ([`Connection`])
//! and gets, as descriptors: the memory of the UMEM, the maps of the program, and, for
//! each opening of the NIC, bound sockets and the link that attaches the program. It
//! maps memory and rings, steers by the maps, and receives and sends like any other. It
//! does not get the program itself and no unbound socket, so that it reaches that
//! interface alone, and the program is attached exactly as long as the process holds the
//! link: until it closes the NIC or ends, however it ends. The helper keeps neither link
//! nor sockets. Without it, what is open goes on; it can just not be opened again.
//!
//! ```no_run
//! use softnet_af_xdp::handover::Connection;
//! use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem, UmemConfig, events::Events};
//! use softnet_nic_hal::irq::IrqTable;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let helper = Connection::open("/run/softnet/eth1".as_ref())?;
//! let umem = Umem::from_helper(UmemConfig::default(), helper)?;
//! let events = Events::new(Arc::new(IrqTable::new(1)))?;
//! let nic = AfXdpNic::new(AfXdpConfig::new("eth1"), umem, events)?;
//! # drop(nic);
//! # Ok(())
//! # }
//! ```
//!
//! # The protocol
//!
//! A connection is a unix socket of type `SOCK_SEQPACKET`. Each packet is one JSON
//! object; descriptors go with it by `SCM_RIGHTS`. The process asks, the helper answers:
//!
//! - `{"Memory": {"version": 1, "chunks", "chunk_size", "ring", "huge_pages",
//!   "multi_buffer"}}`: make the memory (sizes in bytes, `ring` in slots of each ring)
//!   and load a program. Answer: `{"Memory": {"interface"}}` with the memory file, of
//!   `chunks` times `chunk_size` bytes, and the maps in the order of
//!   [`ProgramMaps::as_fds`](crate::bpf::ProgramMaps::as_fds).
//! - `{"Open": {"queues", "mode"}}`: attach and bind; `mode` is `null` for the best, or a
//!   mode's name. Answer: `{"Open": {"mode", "refusals": [{"mode", "step", "reason"}]}}`
//!   with the link and one bound socket for each queue from queue 0 on. They share the
//!   UMEM. The process puts them into the XSKMAP itself.
//! - In place of an answer: `"Gone"` when there is no interface, `{"Refused": "why"}`.
//!
//! The helper serves one process at a time, until that one closes the connection.

mod client;
mod helper;
mod wire;

pub use client::Connection;
pub(crate) use client::Granted;
pub use helper::{Helper, HelperConfig, HelperError, uid_of};

use std::io;
use std::path::PathBuf;

/// Why a helper handed nothing over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// There is no helper, or not for this user.
    #[error("no AF_XDP helper at {}: {source}; is `softnet af-xdp-helper` running for this user?", path.display())]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Nothing could be sent or received.
    #[error("the AF_XDP helper cannot be talked to: {0}")]
    Talk(#[from] io::Error),
    /// It does not answer.
    #[error("the AF_XDP helper does not answer: it may be serving another process")]
    Silent,
    /// It has ended.
    #[error("the AF_XDP helper has hung up")]
    HungUp,
    /// It said something else than an answer.
    #[error("the AF_XDP helper's answer cannot be understood")]
    Malformed,
    /// It refused.
    #[error("the AF_XDP helper says: {0}")]
    Refused(String),
    /// There is no such interface any more.
    #[error("the AF_XDP helper's interface is gone")]
    Gone,
    /// It is for another interface.
    #[error("the AF_XDP helper is for {granted}, not for {wanted}")]
    OtherInterface {
        /// That of the helper.
        granted: String,
        /// That of this process.
        wanted: String,
    },
}
