//! The whole stack through its public API: bytes into a NIC's ring, datagrams
//! out of a socket, and back; inline on the virtual clock, and on threads.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as a test does"
)]

mod accounting;
mod arp;
mod busy;
mod cpus;
mod devices;
mod equivalence;
mod handlers;
mod host;
mod idle;
mod path;
mod rfc1122;
mod sockets;
mod threads;
