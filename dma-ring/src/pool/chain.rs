//! Frames that go home together.

use super::{NIL, Shared};
use crate::frame::Frame;
use crate::sync::Ordering;
use core::fmt;
use core::mem;
use core::ptr::NonNull;

/// Frames on their way home, linked to each other: they all return to their
/// pool by one exchange when the chain is dropped.
///
/// A frame that is dropped alone costs its thread an atomic exchange of a word
/// that all threads share. Who is done with several at once pushes them here
/// instead. There is room for any number, and nothing is allocated: the links
/// are the pool's own. It may be dropped on any thread, and after the last
/// handle of the pool.
///
/// Frames of different pools may follow each other; each change sends home what
/// the chain holds.
///
/// ```
/// use softnet_dma_ring::{Frame, FrameChain, FramePool, PoolConfig};
///
/// let pool = FramePool::new(PoolConfig { frames: 32, ..PoolConfig::default() })?;
/// let mut done = FrameChain::new();
/// while let Some(frame) = pool.alloc() {
///     done.push(frame);
/// }
/// assert_eq!((done.len(), pool.count_free()), (32, 0));
/// drop(done);
/// assert_eq!(pool.count_free(), 32);
/// # Ok::<(), softnet_dma_ring::PoolError>(())
/// ```
pub struct FrameChain {
    /// Whose frames these are; `None` when there are none.
    pool: Option<NonNull<Shared>>,
    /// The frame that was pushed last. It links the one before, and so on.
    first: u32,
    /// The frame that was pushed first.
    last: u32,
    len: usize,
}

// SAFETY: a chain owns its frames, which are `Send`.
unsafe impl Send for FrameChain {}
// SAFETY: a shared chain gives out its length alone.
unsafe impl Sync for FrameChain {}

impl FrameChain {
    /// A chain of no frames.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self {
            pool: None,
            first: NIL,
            last: NIL,
            len: 0,
        }
    }

    /// Takes a frame along. Its metadata and bytes stay as they are.
    #[inline]
    pub fn push(&mut self, frame: Frame) {
        let (pool, index) = (frame.meta().pool, frame.meta().index);
        if self.pool != Some(pool) {
            self.send_home();
            self.pool = Some(pool);
            self.last = index;
        }
        let _ = frame.into_meta();
        // SAFETY: the frame, which is the chain's from here on, keeps its pool
        // alive.
        let shared = unsafe { pool.as_ref() };
        shared.alive.read();
        // Relaxed: published by the exchange that brings the chain home. A pop
        // that still reads this link is going to fail.
        shared.link(index).store(self.first, Ordering::Relaxed);
        self.first = index;
        self.len += 1;
    }

    /// Returns all frames to their pool now; the chain is empty afterwards.
    #[inline]
    pub fn send_home(&mut self) {
        if let Some(pool) = self.pool.take() {
            let first = mem::replace(&mut self.first, NIL);
            let len = mem::take(&mut self.len);
            // SAFETY: the chain owned its frames, and gives them up here, once.
            unsafe { Shared::push_chain(pool, first, self.last, len) };
        }
    }

    /// How many frames there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for FrameChain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FrameChain {
    #[inline]
    fn drop(&mut self) {
        self.send_home();
    }
}

impl Extend<Frame> for FrameChain {
    #[inline]
    fn extend<I: IntoIterator<Item = Frame>>(&mut self, frames: I) {
        frames.into_iter().for_each(|frame| self.push(frame));
    }
}

impl FromIterator<Frame> for FrameChain {
    #[inline]
    fn from_iter<I: IntoIterator<Item = Frame>>(frames: I) -> Self {
        let mut chain = Self::new();
        chain.extend(frames);
        chain
    }
}

impl fmt::Debug for FrameChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameChain({} frames)", self.len)
    }
}
