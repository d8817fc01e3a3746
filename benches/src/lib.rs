//! Benchmarks of softnet against named peers.
//!
//! - [`row`] is what every bench prints.
//! - [`pair`] runs two pinned threads and says how near the two CPUs were.
//! - [`callgrind`] counts instructions.
//! - [`rings`] holds the rings of `dma-ring` and their peers behind one trait,
//!   and what is done with them.
//! - [`netpath`] holds the packet path and its peer behind one trait.
//! - [`nics`] holds the emulated NICs with their drivers, with and without the stack.
//! - `afxdp` holds a veth pair and what is measured on it; it is there with the feature
//!   `af-xdp`.
//!
//! Each program in `src/bin` prints a table, or rows as JSON with `--json`.

#[cfg(feature = "af-xdp")]
pub mod afxdp;
pub mod callgrind;
pub mod netpath;
pub mod nics;
pub mod options;
pub mod pair;
pub mod rings;
pub mod row;
