//! The igb driver on two models of the 82576 that others have written from the same
//! datasheet: this workspace's, and QEMU's.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

#[path = "../qemu/bench.rs"]
mod bench;
mod conformance;
mod control;
mod emulated;
mod flows;
mod only;
mod split;
mod stamps;
