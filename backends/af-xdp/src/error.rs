//! Why an interface could not be used as a NIC.

use crate::bpf::{Capability, Denied};
use crate::handover::HandoverError;
use crate::mode::Mode;
use softnet_dma_ring::PoolError;
use softnet_nic_hal::NicError;
use std::fmt;
use std::io;

/// Why a UMEM could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UmemError {
    /// The shape makes no sense.
    #[error("{0}")]
    Shape(&'static str),
    /// The process may not make XDP sockets.
    #[error("making an XDP socket is not allowed: {0}")]
    NotPermitted(Denied),
    /// The kernel refused.
    #[error(
        "the kernel takes no UMEM of {bytes} bytes ({source}): {}",
        hint(source)
    )]
    Refused {
        /// Bytes of the UMEM.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A helper handed none over.
    #[error(transparent)]
    Helper(#[from] HandoverError),
    /// No pool could be made of it.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl UmemError {
    /// What the kernel's answer to a UMEM of that many bytes means.
    pub(crate) fn refused(bytes: usize, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM) => Self::NotPermitted(Denied::of(&[Capability::NetRaw])),
            _ => Self::Refused { bytes, source },
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => {
            "the memory that this user may lock is limited: raise `ulimit -l`, give the program CAP_IPC_LOCK, or use fewer chunks"
        }
        _ => "it may be without CONFIG_XDP_SOCKETS",
    }
}

/// A mode that was tried, and the kernel's reason against it.
#[derive(Debug)]
pub struct Refusal {
    /// The mode.
    pub mode: Mode,
    /// What was refused.
    pub step: &'static str,
    /// The reason.
    pub reason: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.mode, self.step, self.reason)
    }
}

/// Why a NIC could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AfXdpError {
    /// No mode works.
    #[error("{interface} cannot be opened:{}", list(refusals))]
    NoMode {
        /// The interface.
        interface: String,
        /// What was tried, in order.
        refusals: Vec<Refusal>,
    },
    /// A queue that is another socket's.
    #[error(
        "queue {queue} of {interface} is in use by another XDP socket: `ss --xdp -p` names the process that has it, which is to be stopped, or to use other queues"
    )]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u16,
    },
    /// The kernel refused a socket on a queue although it gave one on another.
    #[error("no XDP socket on queue {queue} of {interface}: {source}")]
    Queue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u16,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Anything else.
    #[error("{step}: {source}")]
    Other {
        /// What was refused.
        step: &'static str,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn list(refusals: &[Refusal]) -> String {
    let lines = refusals.iter().map(|refusal| format!("\n  {refusal}"));
    lines.collect()
}

impl AfXdpError {
    pub(crate) fn other(
        step: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::Other { step, source }
    }
}

impl From<AfXdpError> for NicError {
    fn from(error: AfXdpError) -> Self {
        Self::Backend(Box::new(error))
    }
}
