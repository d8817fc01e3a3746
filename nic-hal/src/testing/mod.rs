//! NICs without hardware, and the suite that every NIC is held to.

pub mod conformance;
pub mod hostile;
mod loop_harness;
mod loop_nic;
mod loop_ring;

pub use loop_harness::LoopHarness;
pub use loop_nic::{Injection, LoopConfig, LoopNic, LoopPort};
pub use loop_ring::{LoopRx, LoopTx};
