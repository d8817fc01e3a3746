//! Interfaces of the kernel as NICs: one end of a veth pair is the stack's, by
//! AF_XDP, and the other one the kernel's, in a network namespace of its own. Its
//! offloads are as the kernel sets them.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as a test does"
)]

mod command;
mod exchange;
mod helper;
mod life;
#[path = "../support/mod.rs"]
mod support;
mod veth;
