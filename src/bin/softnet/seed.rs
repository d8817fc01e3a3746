//! A seed that nobody can foretell.

use std::hash::{BuildHasher, RandomState};

/// Drawn from the system's randomness, which keys the standard library's maps.
pub(crate) fn draw() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
