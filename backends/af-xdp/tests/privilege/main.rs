//! What a process may do with which capabilities, and with none. A thread of the test
//! becomes an unprivileged user that has just these, as a service manager would start
//! one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is how a test fails"
)]

mod capabilities;
mod handover;
mod stage;
#[path = "../support/mod.rs"]
mod support;
