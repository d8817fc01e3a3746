//! What the offload engines of a NIC do to a packet, whatever the layout of the
//! descriptors that ask for it: checksums inserted and verified, large packets cut
//! into segments, VLAN tags put in and taken out.
//!
//! A model translates its descriptors into these types. All fields of packets are
//! in network byte order, all offsets and lengths in bytes from the packet's first.
//! Nothing here allocates, but for [`Segmenter::new`], and nothing can panic,
//! whatever a driver or a peer sends.

mod checksum;
mod headers;
mod segment;
#[cfg(test)]
mod tests;
mod vlan;

pub use checksum::{ChecksumField, ZeroSum, ones_sum};
pub use headers::{Headers, Judged, Network, Transport};
pub use segment::{ImpossibleSegments, KeepFlags, Segmentation, Segmenter};
pub use vlan::{TAG_LEN, filter_entry, insert_tag, tag, without_tag};
