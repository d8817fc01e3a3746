//! Budgeted polling in the manner of Linux's NAPI.
//!
//! An interrupt does not bring a packet: it schedules a [`NapiPoll`] instance on
//! its CPU and stays masked. The CPU's NET_RX softirq, [`NetRxAction`], polls the
//! scheduled instances, each for at most its weight, all of them within a budget
//! and a time limit, and lets an instance's interrupt in again when the instance
//! has found nothing more to do.
//!
//! This crate knows no NIC and no packet: it counts what pollers say they took.
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std", loom))]
extern crate std;

mod busy;
mod defer;
mod handle;
mod list;
#[cfg(all(test, loom))]
mod loom_models;
mod net_rx;
mod poll;
mod softnet;
mod state;
mod stats;
mod sync;

pub use busy::busy_poll;
pub use defer::Deferral;
pub use handle::{NapiHandle, NapiId};
pub use net_rx::NetRxAction;
pub use poll::{Budget, NapiPoll, PollOutcome};
pub use softnet::{HasSoftnet, NetRxConfig, RemoveError, SoftnetData, SoftnetFull};
pub use state::{Completion, NapiFlags, NapiState, Schedule};
pub use stats::{SoftnetCounters, SoftnetStat};
