//! The 82576's model against the datasheet.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy knows this of unit tests only"
)]

mod flow_control;
#[path = "../model/frames.rs"]
mod frames;
mod interrupts;
mod nonsense;
mod queues;
mod receive;
mod registers;
mod rig;
mod rss;
mod split;
mod threads;
mod time;
mod transmit;
