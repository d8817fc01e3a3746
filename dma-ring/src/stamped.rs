//! The memory of a ring that many threads write: slots that say whose turn it is.

use crate::index::{RingIndex, RingSize};
use crate::sync::{AtomicU32, Ordering, Track};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

/// The slots of one ring, owned. Dropping it frees the memory and no items.
///
/// A stamp stands beside its item: who pushes touches one line, and the
/// neighbour that another sender fills at the same time is as far away as it
/// can be.
pub(crate) struct StampedSlots<T> {
    slots: Box<[Slot<T>]>,
    size: RingSize,
}

struct Slot<T> {
    /// Which position's item the slot holds; see [`stamp`].
    stamp: AtomicU32,
    item: UnsafeCell<MaybeUninit<T>>,
    track: Track,
}

/// The stamp by which a slot says that it holds the item of `index`. The
/// stamps of one slot in successive rounds differ by the size of the ring,
/// which is less than the 2^32 that it is cut to.
#[inline(always)]
fn stamp(index: RingIndex) -> u32 {
    index.raw() as u32
}

impl<T> StampedSlots<T> {
    /// Slots that hold nothing, for a ring whose first position is `start`.
    pub(crate) fn new(size: RingSize, start: RingIndex) -> Self {
        // No slot is published: each has the complement of the stamp it waits for.
        let first = start.slot(size);
        let position = |slot: usize| start.advance(slot.wrapping_sub(first) & (size.slots() - 1));
        let slots = (0..size.slots()).map(|slot| Slot {
            stamp: AtomicU32::new(!stamp(position(slot))),
            item: UnsafeCell::new(MaybeUninit::uninit()),
            track: Track::new(),
        });
        Self {
            slots: slots.collect(),
            size,
        }
    }

    #[inline(always)]
    pub(crate) fn size(&self) -> RingSize {
        self.size
    }

    #[inline(always)]
    fn at(&self, index: RingIndex) -> &Slot<T> {
        // SAFETY: the mask keeps the offset below the number of slots.
        unsafe { self.slots.get_unchecked(index.slot(self.size)) }
    }

    /// Whether the item of `index` is there to be taken.
    #[inline(always)]
    pub(crate) fn is_published(&self, index: RingIndex) -> bool {
        // Acquire: pairs with `put`, so that the item has been written.
        self.at(index).stamp.load(Ordering::Acquire) == stamp(index)
    }

    /// Writes an item and publishes it.
    ///
    /// # Safety
    /// The slot is empty, and until this returns it is the caller's alone.
    #[inline(always)]
    pub(crate) unsafe fn put(&self, index: RingIndex, item: T) {
        let slot = self.at(index);
        slot.track.write();
        // SAFETY: the slot is the caller's alone.
        unsafe { slot.item.get().write(MaybeUninit::new(item)) };
        // Release: the item is written before the receiver sees the stamp.
        slot.stamp.store(stamp(index), Ordering::Release);
    }

    /// Moves the item out of a slot.
    ///
    /// # Safety
    /// The slot holds an item and is the caller's alone. It is empty afterwards.
    #[inline(always)]
    pub(crate) unsafe fn take(&self, index: RingIndex) -> T {
        let slot = self.at(index);
        slot.track.write();
        // SAFETY: exclusive and initialised (the caller).
        unsafe { slot.item.get().cast::<T>().read() }
    }

    /// The item of one slot, in place.
    ///
    /// # Safety
    /// For all of `'a` the slots are alive, the slot holds an item, and nobody
    /// writes it.
    #[inline(always)]
    pub(crate) unsafe fn peek<'a>(&self, index: RingIndex) -> &'a T {
        let slot = self.at(index);
        slot.track.read();
        // SAFETY: alive, initialised and shared (the caller).
        unsafe { &*slot.item.get().cast::<T>() }
    }

    /// Drops the items of `count` slots.
    ///
    /// # Safety
    /// As [`take`](Self::take), for each of `count` slots from `index`.
    pub(crate) unsafe fn drop_items(&self, index: RingIndex, count: usize) {
        if core::mem::needs_drop::<T>() {
            for n in 0..count {
                // SAFETY: the caller's word for each slot.
                drop(unsafe { self.take(index.advance(n)) });
            }
        }
    }
}
