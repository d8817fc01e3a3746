//! The NIC on a veth pair, in a namespace that each test makes for itself, with a packet
//! socket on the other end.
#![expect(clippy::unwrap_used, reason = "this is how a test fails")]

mod conformance;
mod life;
mod metadata;
mod support;
mod traffic;
