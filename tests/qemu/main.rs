//! The drivers, unchanged, on QEMU's models of their chips.
//!
//! QEMU's models were written by others, from the same manuals: what driver and model of
//! this workspace misunderstand alike comes out here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

mod bench;
mod conformance;
mod differential;
mod e1000;
