//! The 82540EM's model against the manual.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy knows this of unit tests only"
)]

mod bus;
mod flow_control;
mod frames;
mod interrupts;
mod loopback;
mod nonsense;
mod receive;
mod receive_offload;
mod registers;
mod rig;
mod threads;
mod transmit;
mod transmit_offload;
