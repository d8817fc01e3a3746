//! What the loom models share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts its drops; the count is not loom's, so that it adds no states.
#[derive(Clone, Default)]
pub(crate) struct DropCount(Arc<AtomicUsize>);

impl DropCount {
    pub(crate) fn value(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn token(&self) -> Token {
        Token(self.clone())
    }
}

/// Adds one to its [`DropCount`] when dropped.
pub(crate) struct Token(DropCount);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}
