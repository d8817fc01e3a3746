//! Placeholder page, replaced with the crate.
