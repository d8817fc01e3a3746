//! A ring that overwrites its oldest items: taps and traces.
//!
//! The writer never waits for the reader; the reader learns exactly how many
//! items it missed.
//!
//! Items do not stand in the slots. They stand in *cells*, two more than there
//! are slots, and a slot is one word that names a cell and says which position
//! it holds and whether it is full. Writer and reader own one cell each. The
//! writer fills its cell and *swaps* it into the slot; what comes out, empty or
//! overwritten, is its cell for the next item. The reader exchanges its empty
//! cell for the full one that it expects; if the writer was there before, the
//! exchange fails, and the reader counts the item as lost. So a cell has one
//! owner at each instant, no item is read while it is written, and any type
//! can travel, not only plain bytes.
//!
//! A write is wait-free. A read tries again only when the writer has overtaken
//! it, and never waits for it.

use crate::index::{RingIndex, RingSize};
use crate::slots::{Slots, SlotsView};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Line, Ordering};
use alloc::boxed::Box;
use core::cell::Cell as NotSync;
use core::fmt;
use core::marker::PhantomData;

/// The word of a slot: 39 bits of position, a bit for full, 24 bits of cell.
///
/// A reader that stands still between two loads while exactly a multiple of
/// 2^39 items are written would take a new item for an old one, and count that
/// many too few as lost. Memory stays safe even then.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SlotWord(u64);

const CELL_BITS: u32 = 24;
const FULL: u64 = 1 << CELL_BITS;

impl SlotWord {
    fn new(index: RingIndex, full: bool, cell: usize) -> Self {
        let full = if full { FULL } else { 0 };
        Self((index.raw() as u64) << (CELL_BITS + 1) | full | cell as u64)
    }

    fn cell(self) -> RingIndex {
        RingIndex::new((self.0 & (FULL - 1)) as usize)
    }

    fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    /// Whether the slot holds the item of `index`.
    fn holds(self, index: RingIndex) -> bool {
        self == Self::new(index, true, self.cell().raw())
    }
}

struct Shared<T> {
    /// Position of the next write; the writer stores it.
    tail: Line<AtomicUsize>,
    abandoned: AtomicBool,
    size: RingSize,
    words: Box<[AtomicU64]>,
    cells: Slots<T>,
}

/// The writing half; see [`channel`].
pub struct Writer<T> {
    tail: RingIndex,
    /// The writer's own cell, which is empty.
    spare: RingIndex,
    cells: SlotsView<T>,
    shared: Arc<Shared<T>>,
    not_sync: PhantomData<NotSync<()>>,
}

/// The reading half; see [`channel`].
pub struct Reader<T> {
    head: RingIndex,
    /// The reader's own cell, which is empty.
    spare: RingIndex,
    lost: u64,
    cells: SlotsView<T>,
    shared: Arc<Shared<T>>,
    not_sync: PhantomData<NotSync<()>>,
}

// SAFETY: the halves pass items between threads, which `T: Send` allows, and
// the words say which half owns a cell.
unsafe impl<T: Send> Send for Writer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Reader<T> {}

/// Makes a ring that keeps the last `capacity` items, rounded up to a power of
/// two.
///
/// ```
/// let (mut writer, mut reader) = softnet_dma_ring::overwrite::channel(2);
/// for n in 0..5 {
///     writer.push(n);
/// }
/// assert_eq!((reader.pop(), reader.lost()), (Some(3), 3));
/// assert_eq!((reader.pop(), reader.pop()), (Some(4), None));
/// ```
///
/// # Panics
/// When `capacity` is above [`MAX_CAPACITY`].
#[must_use]
pub fn channel<T>(capacity: usize) -> (Writer<T>, Reader<T>) {
    assert!(capacity <= MAX_CAPACITY, "at most 2^23 slots");
    channel_at(RingSize::at_least(capacity), RingIndex::default())
}

/// The most items that a ring can keep.
pub const MAX_CAPACITY: usize = 1 << 23;

/// As [`channel`], with the first item at position `start`.
fn channel_at<T>(size: RingSize, start: RingIndex) -> (Writer<T>, Reader<T>) {
    let slots = size.slots();
    let empty = |cell| AtomicU64::new(SlotWord::new(start.back(1), false, cell).0);
    let shared = Arc::new(Shared {
        tail: Line(AtomicUsize::new(start.raw())),
        abandoned: AtomicBool::new(false),
        size,
        words: (0..slots).map(empty).collect(),
        cells: Slots::new(RingSize::at_least(slots + 2)),
    });
    let cells = shared.cells.view();
    let writer = Writer {
        tail: start,
        spare: RingIndex::new(slots),
        cells,
        shared: Arc::clone(&shared),
        not_sync: PhantomData,
    };
    let reader = Reader {
        head: start,
        spare: RingIndex::new(slots + 1),
        lost: 0,
        cells,
        shared,
        not_sync: PhantomData,
    };
    (writer, reader)
}

impl<T> Writer<T> {
    /// Writes one item. When it overwrites one that was not read, that one is
    /// returned, and the reader will count it as lost.
    #[inline]
    pub fn push(&mut self, item: T) -> Option<T> {
        // SAFETY: the spare cell is the writer's, and empty.
        unsafe { self.cells.write(self.spare, item) };
        let new = SlotWord::new(self.tail, true, self.spare.raw());
        // Acquire: what the reader did with the cell that comes out is done. The
        // item is published by `tail` below; nobody takes it before.
        let old = SlotWord(self.word().swap(new.0, Ordering::Acquire));
        self.spare = old.cell();
        self.tail = self.tail.advance(1);
        // Release: a reader that sees the position finds slot and item written.
        self.shared.tail.0.store(self.tail.raw(), Ordering::Release);
        // SAFETY: the cell came out of the slot full, and is the writer's now.
        old.is_full()
            .then(|| unsafe { self.cells.take(self.spare) })
    }

    /// How many items the ring keeps.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.size.slots()
    }

    /// Whether the reader is gone.
    #[must_use]
    #[inline]
    pub fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Acquire)
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        &self.shared.words[self.tail.slot(self.shared.size)]
    }
}

impl<T> Reader<T> {
    /// Takes the oldest item that was not overwritten; `None` when there is
    /// none now. What was missed before it is then in [`lost`](Self::lost).
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        // Acquire: the slots up to `tail` are filled.
        let tail = RingIndex::new(self.shared.tail.0.load(Ordering::Acquire));
        let waiting = tail.since(self.head);
        self.skip(waiting.saturating_sub(self.capacity()));
        while self.head != tail {
            let item = self.take();
            self.head = self.head.advance(1);
            if item.is_some() {
                return item;
            }
            self.lost += 1;
        }
        None
    }

    /// How many items were overwritten before they could be read, since the
    /// ring was made and up to the last [`pop`](Self::pop). Items read and
    /// items lost are together the items written.
    #[must_use]
    #[inline]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many items the ring keeps.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.size.slots()
    }

    /// Whether the writer is gone: then a `pop` that finds nothing is final.
    #[must_use]
    #[inline]
    pub fn is_abandoned(&self) -> bool {
        // Acquire: pairs with the writer's drop, so that its last `tail` is
        // seen by whoever sees this.
        self.shared.abandoned.load(Ordering::Acquire)
    }

    /// Takes the item of `head`; `None` when it was overwritten.
    #[inline]
    fn take(&mut self) -> Option<T> {
        let word = &self.shared.words[self.head.slot(self.shared.size)];
        // Relaxed: the exchange validates it.
        let full = SlotWord(word.load(Ordering::Relaxed));
        if !full.holds(self.head) {
            return None;
        }
        let empty = SlotWord::new(self.head, false, self.spare.raw());
        // Release: the reader is done with the cell that it gives. The item
        // was written before the `tail` that `pop` has seen.
        word.compare_exchange(full.0, empty.0, Ordering::Release, Ordering::Relaxed)
            .ok()?;
        self.spare = full.cell();
        // SAFETY: the cell came out of the slot full, and is the reader's now.
        Some(unsafe { self.cells.take(self.spare) })
    }

    fn skip(&mut self, count: usize) {
        self.head = self.head.advance(count);
        self.lost += count as u64;
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        // Release: the last write comes before it.
        self.shared.abandoned.store(true, Ordering::Release);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Release);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        for word in &self.words {
            // Relaxed: both halves are gone, and `Arc` has ordered it.
            let word = SlotWord(word.load(Ordering::Relaxed));
            if word.is_full() {
                // SAFETY: the cell holds an item, and there is nobody else.
                drop(unsafe { self.cells.view().take(word.cell()) });
            }
        }
    }
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer(keeps {})", self.capacity())
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader(of {}, {} lost)", self.capacity(), self.lost)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
