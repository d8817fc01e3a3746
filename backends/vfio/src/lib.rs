#![doc = include_str!("../README.md")]

mod bars;
mod function;
mod memory;
mod open;
mod vectors;

pub use function::VfioFunction;
pub use memory::VfioCoherent;
pub use open::OpenError;
