//! The NE2000's model against the DP8390D's manual, and Realtek's.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy knows this of unit tests only"
)]

mod nonsense;
mod receive;
mod registers;
mod remote;
mod rig;
mod threads;
mod transmit;
