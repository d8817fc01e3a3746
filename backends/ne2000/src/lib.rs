#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

// Chapters and sections in the code are of National Semiconductor's *DP8390D/
// NS32490D NIC Network Interface Controller* (July 1995); what the DP8390 does
// not have is of Realtek's *RTL8029AS* (LS009.0, January 1997).

mod chip;
mod core;
mod ethtool;
mod filter;
mod irq;
mod layout;
mod nic;
mod overflow;
mod probe;
mod receive;
mod regs;
mod ring;
mod shared;
mod stats;
mod sync;
mod transmit;
mod watchdog;
mod window;

pub use nic::Ne2000;
pub use probe::{ID_TABLE, ProbeError};
pub use ring::{RxRing, TxRing};
