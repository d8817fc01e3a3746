//! IPv4 (RFC 791, RFC 1122 section 3).

mod input;
mod output;

pub(crate) use input::receive;
pub(crate) use output::{Outgoing, Path, SendFailure};

/// Time to live of packets whose sender does not say otherwise (RFC 1700).
pub const DEFAULT_TTL: u8 = 64;
