#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

// Section numbers in the code are of Intel's *82576 Gigabit Ethernet Controller
// Datasheet*.

mod chip;
mod clock;
mod dump;
mod eeprom;
mod ethtool;
mod family;
mod filter;
mod irq;
mod nic;
mod phy;
mod probe;
mod program;
mod queue;
mod regs;
mod ring;
mod rss;
mod self_test;
mod shared;
mod stats;
mod watchdog;

pub use clock::RxStamps;
pub use family::ID_TABLE;
pub use nic::Igb;
pub use probe::ProbeError;
pub use ring::{RxRing, TxRing};
