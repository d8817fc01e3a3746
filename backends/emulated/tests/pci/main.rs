//! The bus, with functions whose chips do nothing but what a test tells them to.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy knows this of unit tests only"
)]

mod config;
mod drivers;
mod fallback;
mod messages;
mod reset;
mod rig;
mod shared;
