//! The network stack over NAPI-driven NICs: packet buffers, devices, protocol
//! handlers and sockets.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod checksum;
pub mod drop;
pub mod martian;
pub mod neigh;
pub mod ports;
pub mod rate;
pub mod route;
pub mod rss;
pub mod wire;
