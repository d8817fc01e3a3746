//! Softirq vectors, the pending word and the per-CPU softirq threads.
//!
//! A *CPU* here is one logical core of the stack: one pending word, one set of
//! handlers, one thread. Anybody may raise a vector of a CPU through its
//! [`CpuHandle`], hard-interrupt handlers included; the CPU's own thread runs
//! the vectors through [`Softirqs`], soon after the interrupt and within bounds,
//! and hands what is left to [`Ksoftirqd`].
//!
//! This crate knows no packet.
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std", loom))]
extern crate std;

#[cfg(feature = "std")]
mod affinity;
mod clock;
mod counter;
mod cpu;
mod idle;
#[cfg(feature = "std")]
mod ksoftirqd;
mod pending;
mod processor;
mod softirqs;
mod stats;
mod sync;
mod vector;

#[cfg(feature = "std")]
pub use affinity::PinError;
#[cfg(feature = "std")]
pub use clock::MonotonicClock;
pub use clock::{Clock, VirtualClock};
pub use counter::Counter;
pub use cpu::{Cpu, CpuHandle, CpuId};
#[cfg(feature = "std")]
pub use idle::ParkIdle;
pub use idle::{Idle, NoWake, Wake};
#[cfg(feature = "std")]
pub use ksoftirqd::{Ksoftirqd, KsoftirqdConfig, Panicked, SpawnError};
pub use processor::Processor;
pub use softirqs::{
    MAX_SOFTIRQ_RESTART, MAX_SOFTIRQ_TIME_NS, Pass, Progress, SoftIrq, Softirqs, VectorTaken,
};
pub use stats::{ProcSoftirqs, SoftirqStats};
pub use vector::{Vector, VectorSet};
