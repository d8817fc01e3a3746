//! Capture files: [`Replay`] reads them as a wire, [`Capture`] writes them.
//!
//! The format is `pcap-parser`'s business, which reads pcap and pcapng of
//! either byte order as a stream, in a buffer whose size we set: no length in a
//! file makes it allocate.

mod capture;
mod reader;
mod replay;

pub use capture::{Capture, CaptureConfig, Direction};
pub use replay::{Pace, Replay, ReplayConfig};

use std::io;

/// A capture file could not be read, or could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapError {
    /// The file could not be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The system could not read on.
    #[error("the capture could not be read on")]
    Read,
    /// This is neither pcap nor pcapng.
    #[error("this is neither a pcap nor a pcapng file")]
    NotACapture,
    /// The file ends within a packet or a block.
    #[error("the capture is truncated: it ends within a packet or a block")]
    Truncated,
    /// A length or a field in the file cannot be right.
    #[error("the capture is corrupted at byte {offset}")]
    Corrupted {
        /// Bytes from the start of the file to the bad packet or block.
        offset: u64,
    },
    /// A packet names an interface that the file does not describe.
    #[error("the capture is corrupted: a packet names interface {0}, which is not described")]
    UnknownInterface(u32),
    /// The packets are not Ethernet frames.
    #[error(
        "the capture's link type is {0}, but only Ethernet (1) can be replayed: capture on an Ethernet interface, not on `any` or a tunnel"
    )]
    LinkType(i32),
}

#[cfg(test)]
mod tests;
