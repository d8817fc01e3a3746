#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

// Section numbers in the code are of Intel's *PCI/PCI-X Family of Gigabit
// Ethernet Controllers Software Developer's Manual* (8254x).

mod chip;
mod eeprom;
mod ethtool;
mod filter;
mod irq;
mod nic;
mod phy;
mod probe;
mod regs;
mod ring;
mod selftest;
mod settings;
mod shared;
mod stats;
mod watchdog;

pub use nic::E1000;
pub use probe::{ID_TABLE, ProbeError};
pub use ring::{RxRing, TxRing};
