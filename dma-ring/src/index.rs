//! Ring positions: the only place where indices wrap.

/// How many slots a ring has: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    mask: usize,
}

impl RingSize {
    /// The most slots that a ring can have.
    pub const MAX: usize = 1 << 30;

    /// A ring of exactly `slots` slots; `None` when that is no power of two
    /// from 1 to [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(slots: usize) -> Option<Self> {
        if slots.is_power_of_two() && slots <= Self::MAX {
            Some(Self { mask: slots - 1 })
        } else {
            None
        }
    }

    /// The smallest ring with at least `slots` slots.
    ///
    /// # Panics
    /// When that is above [`MAX`](Self::MAX).
    #[must_use]
    pub const fn at_least(slots: usize) -> Self {
        assert!(slots <= Self::MAX, "a ring has at most 2^30 slots");
        Self {
            mask: slots.next_power_of_two() - 1,
        }
    }

    /// Number of slots.
    #[must_use]
    #[inline]
    pub const fn slots(self) -> usize {
        self.mask + 1
    }

    /// How many slots lie from `index` to the end of the memory, where a run
    /// of slots is cut in two.
    #[must_use]
    #[inline]
    pub const fn until_end(self, index: RingIndex) -> usize {
        self.slots() - index.slot(self)
    }
}

/// A position in the stream of all items that ever go through a ring.
///
/// Positions run freely and wrap at the end of `usize`; a mask finds the slot.
/// So an empty ring (equal positions) and a full one (positions one ring apart)
/// differ, and no slot is wasted.
///
/// ```
/// # use softnet_dma_ring::{RingIndex, RingSize};
/// let size = RingSize::at_least(8);
/// let head = RingIndex::new(usize::MAX);
/// let tail = head.advance(3);
/// assert_eq!(tail.since(head), 3);
/// assert_eq!((head.slot(size), tail.slot(size)), (7, 2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct RingIndex(usize);

impl RingIndex {
    /// The position whose number is `raw`, modulo the wrap of `usize`.
    #[must_use]
    #[inline]
    pub const fn new(raw: usize) -> Self {
        Self(raw)
    }

    /// The number of the position, as it is stored in an atomic.
    #[must_use]
    #[inline]
    pub const fn raw(self) -> usize {
        self.0
    }

    /// The position `count` further on.
    #[must_use]
    #[inline]
    pub const fn advance(self, count: usize) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The position `count` before.
    #[must_use]
    #[inline]
    pub const fn back(self, count: usize) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// How many positions lie from `earlier` up to this one. It is huge when
    /// `earlier` is in truth the later one.
    #[must_use]
    #[inline]
    pub const fn since(self, earlier: Self) -> usize {
        self.0.wrapping_sub(earlier.0)
    }

    /// The slot of this position, below the number of slots.
    #[must_use]
    #[inline]
    pub const fn slot(self, size: RingSize) -> usize {
        self.0 & size.mask
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
