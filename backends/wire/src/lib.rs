//! What the PHY of a device model is plugged into.
//!
//! Each wire here implements [`Wire`](softnet_nic_hal::wire::Wire):
//!
//! - [`cable`] joins two models in one process;
//! - [`tap`] joins a model to the Linux kernel through a TAP interface, and
//!   [`netns`] makes a network namespace for it, also without root;
//! - [`pcap`] replays a capture file, and records what passes any wire;
//! - [`fault`] stands before another wire and loses, delays, repeats, reorders,
//!   corrupts and paces its frames.
//!
//! A wire carries bytes of Ethernet frames and knows neither NICs nor stacks.

pub mod cable;
pub mod fault;
pub mod interface;
pub mod netns;
pub mod pcap;
mod recorder;
pub mod tap;
mod wake;

pub use recorder::Recorder;

/// The page of the crate; its examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
