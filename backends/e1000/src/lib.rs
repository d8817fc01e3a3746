//! Driver for the Intel 8254x gigabit Ethernet controllers.
//!
//! It is written on [`PciDevice`](softnet_nic_hal::bus::PciDevice) alone, from
//! Intel's *PCI/PCI-X Family of Gigabit Ethernet Controllers Software
//! Developer's Manual*; section numbers in the code are of that manual.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod chip;
mod eeprom;
mod filter;
mod irq;
mod nic;
mod phy;
mod probe;
mod regs;
mod ring;
mod shared;
mod stats;
mod watchdog;

pub use nic::E1000;
pub use probe::{ID_TABLE, ProbeError};
pub use ring::{RxRing, TxRing};
