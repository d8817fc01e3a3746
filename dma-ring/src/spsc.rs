//! A bounded ring from one thread to another.
//!
//! Both sides are wait-free: no operation loops, blocks or allocates.
//!
//! Each half owns its position and keeps the last value that it has seen of
//! the other's, so that the line of the other half is read only when the ring
//! looks full (or empty). A push writes the slot and then stores `tail` with
//! Release; a pop that loads `tail` with Acquire therefore sees the item. A pop
//! moves the item out and then stores `head` with Release; a push that loads
//! `head` with Acquire therefore overwrites nothing that is still being read.
//! A batch does either once.
//!
//! # Keeping apart
//!
//! Halves that work on the same lines slow each other down by a factor of two
//! to eight: each line that both touch goes to and fro, and the farther the CPUs
//! are apart, the longer it takes. A consumer that is faster than its producer
//! runs into it, and stays there. Two things keep them apart:
//!
//! - A consumer that finds a few items at one look after another is on the heels
//!   of a stream. It takes them some pauses later (a fraction of a microsecond);
//!   by then the producer is further ahead. Who finds items where there were
//!   none takes them at once, so that a burst that is over, or somebody who
//!   waits for an answer, is not held up; nor does a consumer pause that finds
//!   fewer than eight items, or a quarter of the ring.
//! - A producer that pushes one by one asks for the line that it is going to
//!   write some lines later, as long as it knows that the consumer has left it.
//!   So the lines come while it pushes, several at a time.
//!
//! Neither waits for the other half: both are a fixed number of steps.

use crate::RingFull;
use crate::index::{RingIndex, RingSize};
use crate::slots::{Slots, SlotsView};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Line, Ordering, spin_loop};
use arrayvec::ArrayVec;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{self, MaybeUninit};
use core::ptr::NonNull;

struct Shared<T> {
    head: Line<Head>,
    /// Position of the next push; the producer stores it.
    tail: Line<AtomicUsize>,
    /// Whether one half is gone. Each half stores it once, when dropped.
    abandoned: Line<AtomicBool>,
    slots: Slots<T>,
}

/// What the consumer stores, on one line.
struct Head {
    /// Position of the next pop.
    position: AtomicUsize,
    /// Whether the consumer's last look found items: nobody else reads it. It
    /// stands here, since a half is fastest when it fits into registers.
    is_streaming: AtomicBool,
}

/// Fewer items than this are taken at once: somebody may wait for an answer.
const CLOSE: usize = 8;
/// How long a consumer lets a streaming producer get ahead: some two hundred
/// nanoseconds, about what a line takes from one CPU to another.
const PAUSES: usize = 8;
/// How many bytes ahead a producer asks for a line to write: as many lines as a
/// CPU has on their way at once.
const AHEAD: usize = 512;

/// The pushing half; see [`channel`].
pub struct Producer<T> {
    slots: SlotsView<T>,
    tail: RingIndex,
    /// Where the ring is full: one ring after the last seen `head`.
    limit: RingIndex,
    shared: Arc<Shared<T>>,
    not_sync: PhantomData<Cell<()>>,
}

/// The popping half; see [`channel`].
pub struct Consumer<T> {
    slots: SlotsView<T>,
    head: RingIndex,
    /// The last seen `tail`.
    seen: RingIndex,
    shared: Arc<Shared<T>>,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY: the halves pass items between threads, which `T: Send` allows, and
// the positions say which half owns a slot.
unsafe impl<T: Send> Send for Producer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Consumer<T> {}

/// Makes a ring for at least `capacity` items, rounded up to a power of two.
///
/// ```
/// let (mut tx, mut rx) = softnet_dma_ring::spsc::channel(4);
/// tx.push(1).unwrap();
/// assert_eq!(tx.push_slice(&[2, 3, 4, 5]), 3);
/// assert_eq!(tx.push(6).unwrap_err().0, 6);
/// assert_eq!(rx.pop(), Some(1));
/// let mut out = [0; 8];
/// assert_eq!(rx.pop_slice(&mut out), 3);
/// assert_eq!(out[..3], [2, 3, 4]);
/// ```
///
/// # Panics
/// When `capacity` is above [`RingSize::MAX`].
#[must_use]
pub fn channel<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    channel_at(RingSize::at_least(capacity), RingIndex::default())
}

/// As [`channel`], with the first item at position `start`.
fn channel_at<T>(size: RingSize, start: RingIndex) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared {
        head: Line(Head {
            position: AtomicUsize::new(start.raw()),
            is_streaming: AtomicBool::new(false),
        }),
        tail: Line(AtomicUsize::new(start.raw())),
        abandoned: Line(AtomicBool::new(false)),
        slots: Slots::new(size),
    });
    let slots = shared.slots.view();
    let producer = Producer {
        slots,
        tail: start,
        limit: start.advance(size.slots()),
        shared: Arc::clone(&shared),
        not_sync: PhantomData,
    };
    let consumer = Consumer {
        slots,
        head: start,
        seen: start,
        shared,
        not_sync: PhantomData,
    };
    (producer, consumer)
}

impl<T> Producer<T> {
    /// Pushes one item.
    ///
    /// # Errors
    /// [`RingFull`] gives the item back when there is no free slot.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), RingFull<T>> {
        if self.tail == self.limit && self.refresh() == 0 {
            return Err(RingFull(item));
        }
        // SAFETY: the slot at `tail` lies before `limit`, so it is free, and
        // the consumer does not touch it before `publish`.
        unsafe { self.slots.write(self.tail, item) };
        self.fetch_ahead();
        self.publish(1);
        Ok(())
    }

    /// Pushes the items of an iterator until it ends or the ring is full, and
    /// publishes them together. Returns how many were pushed; the iterator
    /// keeps the others.
    #[inline]
    pub fn push_iter(&mut self, items: impl IntoIterator<Item = T>) -> usize {
        let items = items.into_iter();
        let room = self.room(items.size_hint().1.unwrap_or(usize::MAX));
        let mut batch = PushBatch {
            producer: self,
            written: 0,
        };
        for item in items.take(room) {
            batch.write(item);
        }
        batch.written
    }

    /// Copies items in, as many as fit, and publishes them together. Returns
    /// how many were pushed.
    #[inline]
    pub fn push_slice(&mut self, items: &[T]) -> usize
    where
        T: Copy,
    {
        let count = items.len().min(self.room(items.len()));
        // SAFETY: `room` has found `count` free slots from `tail`; `Copy`.
        unsafe { self.slots.copy_in(self.tail, &items[..count]) };
        self.publish(count);
        count
    }

    /// Moves items in from the front of `items`, as many as fit, and publishes
    /// them together. Returns how many were pushed; the others stay, in order.
    #[inline]
    pub fn push_from<const N: usize>(&mut self, items: &mut ArrayVec<T, N>) -> usize {
        let count = items.len().min(self.room(items.len()));
        self.push_iter(items.drain(..count))
    }

    /// How many items [`push`](Self::push) would accept now, at least.
    #[must_use]
    #[inline]
    pub fn free_slots(&self) -> usize {
        self.capacity() - self.len()
    }

    /// How many items wait to be popped, at most.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        // Relaxed: only the number is used; a push looks again with Acquire.
        let head = RingIndex::new(self.shared.head.0.position.load(Ordering::Relaxed));
        self.tail.since(head)
    }

    /// Whether no item waits to be popped.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of slots.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slots.size().slots()
    }

    /// Whether the consumer is gone, so that nobody will pop what is pushed.
    #[must_use]
    #[inline]
    pub fn is_abandoned(&self) -> bool {
        self.shared.abandoned.0.load(Ordering::Acquire)
    }

    /// How many slots are known to be free; looks again when there are fewer
    /// than `want`.
    #[inline]
    fn room(&mut self, want: usize) -> usize {
        let room = self.limit.since(self.tail);
        if room >= want { room } else { self.refresh() }
    }

    /// Looks where the consumer is, and returns the number of free slots.
    #[inline]
    fn refresh(&mut self) -> usize {
        // Acquire: pairs with `release`, so that the items that were in these
        // slots have been moved out.
        let head = RingIndex::new(self.shared.head.0.position.load(Ordering::Acquire));
        self.limit = head.advance(self.capacity());
        self.limit.since(self.tail)
    }

    /// Asks for the line of a slot that is going to be written soon, unless the
    /// consumer may still be about to read there.
    #[inline]
    fn fetch_ahead(&self) {
        let ahead = AHEAD / size_of::<T>().max(1);
        if self.limit.since(self.tail) > ahead {
            self.slots.prefetch_write(self.tail.advance(ahead));
        }
    }

    /// Hands the next `count` slots, which hold items, to the consumer.
    #[inline]
    fn publish(&mut self, count: usize) {
        self.tail = self.tail.advance(count);
        // Release: the items are written before the consumer sees them.
        self.shared.tail.0.store(self.tail.raw(), Ordering::Release);
    }
}

/// Items that are written and not yet published; published when dropped, also
/// when the iterator that makes them panics.
struct PushBatch<'a, T> {
    producer: &'a mut Producer<T>,
    written: usize,
}

impl<T> PushBatch<'_, T> {
    #[inline]
    fn write(&mut self, item: T) {
        let index = self.producer.tail.advance(self.written);
        // SAFETY: the caller writes no more than `room` items from `tail`.
        unsafe { self.producer.slots.write(index, item) };
        self.written += 1;
    }
}

impl<T> Drop for PushBatch<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.producer.publish(self.written);
    }
}

impl<T> Consumer<T> {
    /// Pops the oldest item; `None` when there is none.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.seen && self.look() == 0 {
            return None;
        }
        // SAFETY: the slot at `head` lies before the seen `tail`: it holds an
        // item, and the producer does not touch it before `release`.
        let item = unsafe { self.slots.take(self.head) };
        self.release(1);
        Some(item)
    }

    /// The oldest item, which stays in the ring.
    #[must_use]
    #[inline]
    pub fn peek(&mut self) -> Option<&T> {
        if self.head == self.seen && self.refresh() == 0 {
            return None;
        }
        // SAFETY: as in `pop`; the borrow of `self` lasts as long as the item's.
        Some(unsafe { self.slots.peek(self.head) })
    }

    /// All items that wait, in order and in place, in two parts. They stay in
    /// the ring: [`discard`](Self::discard) removes them.
    #[must_use]
    #[inline]
    pub fn as_slices(&mut self) -> (&[T], &[T]) {
        let count = self.refresh();
        // SAFETY: as in `pop`, for `count` slots; the borrow of `self` lasts as
        // long as the items'.
        unsafe { self.slots.slices(self.head, count) }
    }

    /// Drops the `count` oldest items, or all when there are fewer. Returns
    /// how many were dropped.
    #[inline]
    pub fn discard(&mut self, count: usize) -> usize {
        if mem::needs_drop::<T>() {
            return self.pop_each(count, drop);
        }
        let count = count.min(self.ready(count));
        self.release(count);
        count
    }

    /// Pops at most `max` items, passes each to `take` in order, and then frees
    /// their slots together. Returns how many.
    #[inline]
    pub fn pop_each(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        let count = max.min(self.ready(max));
        let mut batch = PopBatch {
            consumer: self,
            taken: 0,
        };
        for _ in 0..count {
            take(batch.take());
        }
        count
    }

    /// Copies out as many items as there are and fit, and frees their slots
    /// together. Returns how many.
    #[inline]
    pub fn pop_slice(&mut self, out: &mut [T]) -> usize
    where
        T: Copy,
    {
        let count = out.len().min(self.ready(out.len()));
        let out = NonNull::from(&mut out[..count]);
        let out = NonNull::slice_from_raw_parts(out.cast::<MaybeUninit<T>>(), count);
        // SAFETY: the same memory; only items are written to it.
        let out = unsafe { &mut *out.as_ptr() };
        // SAFETY: as in `pop`, for `count` slots; the items are `Copy`.
        unsafe { self.slots.copy_out(self.head, out) };
        self.release(count);
        count
    }

    /// Moves out as many items as there are and fit, and frees their slots
    /// together. Returns how many elements of `out`, from its start, are
    /// initialised.
    #[inline]
    pub fn pop_uninit(&mut self, out: &mut [MaybeUninit<T>]) -> usize {
        let count = out.len().min(self.ready(out.len()));
        // SAFETY: as in `pop`, for `count` slots.
        unsafe { self.slots.copy_out(self.head, &mut out[..count]) };
        self.release(count);
        count
    }

    /// Appends at most `max` items to `out`, and at most as many as fit.
    /// Returns how many.
    #[inline]
    pub fn pop_into<const N: usize>(&mut self, out: &mut ArrayVec<T, N>, max: usize) -> usize {
        let max = max.min(out.remaining_capacity());
        self.pop_each(max, |item| out.push(item))
    }

    /// How many items wait, at least.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        // Relaxed: only the number is used; a pop looks again with Acquire.
        let tail = RingIndex::new(self.shared.tail.0.load(Ordering::Relaxed));
        tail.since(self.head)
    }

    /// Whether no item waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots are free, at most.
    #[must_use]
    #[inline]
    pub fn free_slots(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Number of slots.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slots.size().slots()
    }

    /// Whether the producer is gone. What it pushed before it went is there to
    /// be popped: once this is true, a `pop` that finds nothing is final.
    #[must_use]
    #[inline]
    pub fn is_abandoned(&self) -> bool {
        // Acquire: pairs with the producer's drop, so that its last `tail` is
        // seen by whoever sees this.
        self.shared.abandoned.0.load(Ordering::Acquire)
    }

    /// How many items are known to wait; looks again when there are fewer than
    /// `want`.
    #[inline]
    fn ready(&mut self, want: usize) -> usize {
        let ready = self.seen.since(self.head);
        if ready >= want { ready } else { self.look() }
    }

    /// Looks for items to pop, and keeps the halves apart. Returns the number of
    /// items.
    #[inline]
    fn look(&mut self) -> usize {
        let found = self.refresh();
        // Relaxed: the consumer's alone.
        let streaming = &self.shared.head.0.is_streaming;
        let was_streaming = streaming.load(Ordering::Relaxed);
        streaming.store(found > 0, Ordering::Relaxed);
        if was_streaming && (CLOSE..self.capacity() / 4).contains(&found) {
            for _ in 0..PAUSES {
                spin_loop();
            }
        }
        found
    }

    /// Looks where the producer is, and returns the number of items.
    #[inline]
    fn refresh(&mut self) -> usize {
        // Acquire: pairs with `publish`, so that the items have been written.
        self.seen = RingIndex::new(self.shared.tail.0.load(Ordering::Acquire));
        self.seen.since(self.head)
    }

    /// Hands the next `count` slots, which are empty, back to the producer.
    #[inline]
    fn release(&mut self, count: usize) {
        self.head = self.head.advance(count);
        // Release: the items are moved out before the slots are used again.
        self.shared
            .head
            .0
            .position
            .store(self.head.raw(), Ordering::Release);
    }
}

/// Items that are moved out, whose slots are not yet free; freed when dropped,
/// also when the closure that takes them panics.
struct PopBatch<'a, T> {
    consumer: &'a mut Consumer<T>,
    taken: usize,
}

impl<T> PopBatch<'_, T> {
    #[inline]
    fn take(&mut self) -> T {
        let index = self.consumer.head.advance(self.taken);
        self.taken += 1;
        // SAFETY: the caller takes no more than `ready` items from `head`.
        unsafe { self.consumer.slots.take(index) }
    }
}

impl<T> Drop for PopBatch<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.consumer.release(self.taken);
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // Release: the last push comes before it.
        self.shared.abandoned.0.store(true, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.abandoned.0.store(true, Ordering::Release);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: both halves are gone, and the count of `Arc` has ordered it.
        let head = RingIndex::new(self.head.0.position.load(Ordering::Relaxed));
        let tail = RingIndex::new(self.tail.0.load(Ordering::Relaxed));
        // SAFETY: the slots from `head` to `tail` hold the items that nobody
        // popped, and there is nobody else.
        unsafe { self.slots.view().drop_items(head, tail.since(head)) };
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({} of {})", self.len(), self.capacity())
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({} of {})", self.len(), self.capacity())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
