//! The 82540EM's model against the manual.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy knows this of unit tests only"
)]

mod bus;
mod interrupts;
mod nonsense;
mod receive;
mod registers;
mod rig;
mod threads;
mod transmit;
