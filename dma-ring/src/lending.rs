//! A bounded ring whose items come back: one thread lends them, another reads
//! them and leaves them where they are, and the first collects them.
//!
//! It is how frames reach an application that copies out of them. The application
//! never touches the pool, which many threads share; a frame that was read goes
//! back into the stock of the CPU that lent it, while it is still in its cache.
//! An item that the borrower wants for itself it [takes](Borrower::take).
//!
//! Each slot holds an item or nothing, and three positions say whose it is:
//!
//! ```text
//!   settled ......... head ......... tail ......... settled + slots
//!     left or taken,    to be read     free
//!     the lender's      the borrower's  the lender's
//! ```
//!
//! The lender writes a slot and stores `tail` with Release; the borrower, who loads
//! it with Acquire, reads the slot, empties it or leaves it, and stores `head` with
//! Release; the lender, who loads that with Acquire, empties the slot and may write
//! it again. Both sides are wait-free.

use crate::RingFull;
use crate::index::{RingIndex, RingSize};
use crate::sync::{Arc, AtomicUsize, Line, Ordering, Track};
use alloc::boxed::Box;
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

struct Slot<T> {
    item: UnsafeCell<Option<T>>,
    track: Track,
}

struct Shared<T> {
    /// Position of the next read; the borrower stores it.
    head: Line<AtomicUsize>,
    /// Position of the next loan; the lender stores it.
    tail: Line<AtomicUsize>,
    /// What is still in them when both sides are gone is dropped with them.
    slots: Box<[Slot<T>]>,
}

// SAFETY: items go from thread to thread, which `T: Send` allows; the positions
// say which side a slot belongs to, and no two sides touch one at a time.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

/// The way to the slots while `Shared` lives.
struct View<T> {
    base: NonNull<Slot<T>>,
    size: RingSize,
}

impl<T> View<T> {
    fn of(shared: &Shared<T>, size: RingSize) -> Self {
        let base = NonNull::from(&*shared.slots).cast();
        Self { base, size }
    }

    /// The slot of a position.
    ///
    /// # Safety
    /// The slots are alive, and the slot is the caller's side's, for as long as
    /// the reference lives.
    #[inline]
    unsafe fn slot<'a>(&self, index: RingIndex) -> &'a mut Option<T> {
        // SAFETY: the mask keeps the offset below the number of slots.
        let slot = unsafe { self.base.add(index.slot(self.size)) };
        // SAFETY: the caller says that the slots are alive.
        let slot = unsafe { slot.as_ref() };
        slot.track.write();
        // SAFETY: the caller says that nobody else has the slot.
        unsafe { &mut *slot.item.get() }
    }
}

/// The lending half; see [`channel`].
pub struct Lender<T> {
    view: View<T>,
    tail: RingIndex,
    /// Where no more can be lent, as of the last look at what was read.
    limit: RingIndex,
    settled: RingIndex,
    /// How many items may wait to be read.
    most: usize,
    shared: Arc<Shared<T>>,
    not_sync: PhantomData<Cell<()>>,
}

/// The reading half; see [`channel`].
pub struct Borrower<T> {
    view: View<T>,
    head: RingIndex,
    /// The last seen `tail`.
    seen: RingIndex,
    shared: Arc<Shared<T>>,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY: each half has its part of the slots, whose items are `Send`.
unsafe impl<T: Send> Send for Lender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Borrower<T> {}

/// Makes a ring in which `most` items (at least one) may wait to be read.
///
/// ```
/// let (mut lender, mut borrower) = softnet_dma_ring::lending::channel(2);
/// lender.lend("a").unwrap();
/// lender.lend("b").unwrap();
/// assert_eq!(lender.lend("c").unwrap_err().0, "c");
/// assert_eq!(borrower.read(|item| item.len()), Some(1));
/// assert_eq!(borrower.take(), Some("b"));
/// let mut home = Vec::new();
/// assert_eq!(lender.collect(|item| home.push(item)), 2);
/// assert_eq!(home, ["a"]);
/// ```
///
/// # Panics
/// When `most` is above [`RingSize::MAX`].
#[must_use]
pub fn channel<T>(most: usize) -> (Lender<T>, Borrower<T>) {
    channel_at(most, RingIndex::default())
}

/// As [`channel`], with the first item at position `start`.
fn channel_at<T>(most: usize, start: RingIndex) -> (Lender<T>, Borrower<T>) {
    let most = most.max(1);
    let size = RingSize::at_least(most);
    let slot = |_| Slot {
        item: UnsafeCell::new(None),
        track: Track::new(),
    };
    let shared = Arc::new(Shared {
        head: Line(AtomicUsize::new(start.raw())),
        tail: Line(AtomicUsize::new(start.raw())),
        slots: (0..size.slots()).map(slot).collect(),
    });
    let lender = Lender {
        view: View::of(&shared, size),
        tail: start,
        limit: start.advance(most),
        settled: start,
        most,
        shared: Arc::clone(&shared),
        not_sync: PhantomData,
    };
    let borrower = Borrower {
        view: View::of(&shared, size),
        head: start,
        seen: start,
        shared,
        not_sync: PhantomData,
    };
    (lender, borrower)
}

impl<T> Lender<T> {
    /// Lends an item.
    ///
    /// # Errors
    /// [`RingFull`] gives it back when as many wait to be read as may, as far as
    /// the last [`collect`](Self::collect) saw.
    #[inline]
    pub fn lend(&mut self, item: T) -> Result<(), RingFull<T>> {
        match self.room() {
            Some(room) => room.lend(item),
            None => return Err(RingFull(item)),
        }
        Ok(())
    }

    /// Room for one item; `None` when [`lend`](Self::lend) would refuse it.
    #[inline]
    pub fn room(&mut self) -> Option<Room<'_, T>> {
        (!self.is_full()).then_some(Room { lender: self })
    }

    /// Takes back what was read and left, and passes it to `home`. Returns how
    /// many loans were settled, those included whose item was taken.
    #[inline]
    pub fn collect(&mut self, mut home: impl FnMut(T)) -> usize {
        // Acquire: pairs with `settle`, so that the borrower is done with them.
        let head = RingIndex::new(self.shared.head.0.load(Ordering::Acquire));
        let count = head.since(self.settled);
        for step in 0..count {
            // SAFETY: the position lies before `head` and was not settled yet. (If
            // `home` panics, it is not settled now either, and empty.)
            let slot = unsafe { self.view.slot(self.settled.advance(step)) };
            if let Some(item) = slot.take() {
                home(item);
            }
        }
        self.settled = head;
        self.limit = head.advance(self.most);
        count
    }

    /// Whether as many items wait to be read as may, as far as the last
    /// [`collect`](Self::collect) saw.
    #[must_use]
    #[inline]
    pub fn is_full(&self) -> bool {
        self.tail == self.limit
    }

    /// How many loans are not settled: to be read, or read and not collected.
    #[must_use]
    #[inline]
    pub fn lent(&self) -> usize {
        self.tail.since(self.settled)
    }
}

/// Room for one item, which is there until it is used.
pub struct Room<'a, T> {
    lender: &'a mut Lender<T>,
}

impl<T> Room<'_, T> {
    /// Lends an item.
    #[inline]
    pub fn lend(self, item: T) {
        let Lender { view, tail, .. } = self.lender;
        let next = tail.advance(1);
        // SAFETY: the position lies before the limit, so the slot is settled and
        // not yet lent.
        let slot = unsafe { view.slot(*tail) };
        *tail = next;
        // A settled slot is empty; saying so saves the look whether to drop.
        core::mem::forget(slot.replace(item));
        // Release: the item is written before the borrower sees it.
        let published = &self.lender.shared.tail.0;
        published.store(next.raw(), Ordering::Release);
    }
}

impl<T> fmt::Debug for Room<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl<T> Borrower<T> {
    /// Reads the oldest item and leaves it to be collected; `None` when there is
    /// none.
    #[inline]
    pub fn read<R>(&mut self, read: impl FnOnce(&mut T) -> R) -> Option<R> {
        let result = read(self.oldest()?.as_mut()?);
        self.settle();
        Some(result)
    }

    /// Takes the oldest item for good; `None` when there is none.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        let item = self.oldest()?.take();
        self.settle();
        item
    }

    /// How many items wait to be read, at least.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        // Relaxed: only the number is used; a read looks again with Acquire.
        let tail = RingIndex::new(self.shared.tail.0.load(Ordering::Relaxed));
        tail.since(self.head)
    }

    /// Whether nothing waits to be read.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot of the oldest item.
    #[inline]
    fn oldest(&mut self) -> Option<&mut Option<T>> {
        if self.head == self.seen {
            // Acquire: pairs with `lend`, so that the items have been written.
            self.seen = RingIndex::new(self.shared.tail.0.load(Ordering::Acquire));
            if self.head == self.seen {
                return None;
            }
        }
        // SAFETY: the position lies before the seen `tail` and was not settled
        // yet; the borrow of `self` lasts as long as the slot's.
        Some(unsafe { self.view.slot(self.head) })
    }

    /// Gives the slot of the oldest item back to the lender.
    #[inline]
    fn settle(&mut self) {
        self.head = self.head.advance(1);
        // Release: the borrower is done with the item before the lender has it.
        self.shared.head.0.store(self.head.raw(), Ordering::Release);
    }
}

impl<T> fmt::Debug for Lender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender")
            .field("most", &self.most)
            .field("lent", &self.lent())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Borrower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrower")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
