//! A bounded ring from many threads to one: poll lists and hand-over between
//! CPUs.
//!
//! A push *claims* a position by moving `tail` on, writes the item there, and
//! *publishes* it by storing the position's stamp in the slot. The receiver
//! takes published items in the order of their positions.
//!
//! # Progress
//!
//! Nothing allocates after the ring is made, and no operation waits for
//! another thread. Claiming is lock-free: a claim is tried again only because
//! another one succeeded, after a bounded pause. A pop is wait-free.
//!
//! A sender that is stopped between claim and publish leaves a gap. The other
//! senders go on until the ring is full, but the receiver finds nothing from
//! the gap on until it is filled. So [`Receiver::pop`] may return `None` while
//! a push that came later has returned already. No wake-up is lost by this as
//! long as *every* sender raises the receiver's signal after its push: the one
//! that filled the gap raises after it, and the receiver that it wakes finds
//! the gap filled, and all that stands behind it. For this the raise is a
//! read-modify-write with Release (`fetch_or`), and the receiver's look at it
//! one with Acquire (`swap`): then the receiver has seen the pushes of all
//! raises that it takes, where of plain stores it would see the last one's only.

use crate::RingFull;
use crate::index::{RingIndex, RingSize};
use crate::stamped::StampedSlots;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Line, Ordering, spin_loop};
use arrayvec::ArrayVec;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;

struct Shared<T> {
    claim: Line<Claim>,
    /// Position of the next pop; the receiver stores it.
    head: Line<AtomicUsize>,
    abandoned: AtomicBool,
    slots: StampedSlots<T>,
}

/// How many pauses a sender makes after it has lost a race: about as long as a
/// line takes to come back.
const PAUSES: usize = if cfg!(loom) { 1 } else { 8 };
/// How many claims meanwhile say that the winner is streaming, and how many
/// pauses it is then given: so many pushes that moving the line costs little
/// beside them, and still only microseconds.
const STREAM: usize = if cfg!(loom) { 1 } else { 16 };
const STREAM_PAUSES: usize = if cfg!(loom) { 1 } else { 128 };

/// What senders contend for, on one line.
struct Claim {
    /// Position of the next claim.
    tail: AtomicUsize,
    /// Some value that `head` had: a ring that has room by it has room.
    seen_head: AtomicUsize,
}

/// A pushing handle; clones push to the same ring. See [`channel`].
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The popping half; see [`channel`].
pub struct Receiver<T> {
    head: RingIndex,
    shared: Arc<Shared<T>>,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY: handles pass items between threads, which `T: Send` allows; they
// never give out a reference to an item, and the claims and stamps say who
// owns a slot.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as above; pushing through a shared handle is what claims are for.
unsafe impl<T: Send> Sync for Sender<T> {}
// SAFETY: as above; there is one receiver.
unsafe impl<T: Send> Send for Receiver<T> {}

/// Makes a ring for at least `capacity` items, rounded up to a power of two.
///
/// ```
/// let (tx, mut rx) = softnet_dma_ring::mpsc::channel(2);
/// let other = tx.clone();
/// tx.push("a").unwrap();
/// other.push("b").unwrap();
/// assert_eq!(tx.push("c").unwrap_err().0, "c");
/// assert_eq!((rx.pop(), rx.pop(), rx.pop()), (Some("a"), Some("b"), None));
/// ```
///
/// # Panics
/// When `capacity` is above [`RingSize::MAX`].
#[must_use]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    channel_at(RingSize::at_least(capacity), RingIndex::default())
}

/// As [`channel`], with the first item at position `start`.
fn channel_at<T>(size: RingSize, start: RingIndex) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        claim: Line(Claim {
            tail: AtomicUsize::new(start.raw()),
            seen_head: AtomicUsize::new(start.raw()),
        }),
        head: Line(AtomicUsize::new(start.raw())),
        abandoned: AtomicBool::new(false),
        slots: StampedSlots::new(size, start),
    });
    let receiver = Receiver {
        head: start,
        shared: Arc::clone(&shared),
        not_sync: PhantomData,
    };
    (Sender { shared }, receiver)
}

fn pause(count: usize) {
    for _ in 0..count {
        spin_loop();
    }
}

impl<T> Shared<T> {
    /// Claims at most `want` positions; returns the first and how many.
    #[inline]
    fn claim(&self, want: usize) -> (RingIndex, usize) {
        // Acquire here, and Release at the claim: who sees a claim sees also
        // the pops that its claimer had seen, so that `head` is never so old
        // that a ring with room looks full.
        let mut tail = self.claim.0.tail.load(Ordering::Acquire);
        loop {
            let index = RingIndex::new(tail);
            let count = want.min(self.room(index, want));
            let now = if count == 0 {
                // Full by a `tail` that is old says nothing.
                self.claim.0.tail.load(Ordering::Acquire)
            } else {
                match self.claim.0.tail.compare_exchange_weak(
                    tail,
                    index.advance(count).raw(),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    Ok(_) => return (index, count),
                    Err(now) => self.stand_back(RingIndex::new(now)),
                }
            };
            if count == 0 && now == tail {
                return (index, 0);
            }
            tail = now;
        }
    }

    /// After a lost race, when `tail` was `then`: lets the winner have the line
    /// for a while, and for longer if it uses it well, and looks again.
    #[cold]
    fn stand_back(&self, then: RingIndex) -> usize {
        pause(PAUSES);
        let now = self.claim.0.tail.load(Ordering::Acquire);
        if RingIndex::new(now).since(then) < STREAM {
            return now;
        }
        pause(STREAM_PAUSES);
        self.claim.0.tail.load(Ordering::Acquire)
    }

    /// How many positions from `tail` are free; looks at `head` only when they
    /// seem to be fewer than `want`.
    #[inline]
    fn room(&self, tail: RingIndex, want: usize) -> usize {
        // Acquire: a sender that relies on what another one saw comes after it.
        let seen = RingIndex::new(self.claim.0.seen_head.load(Ordering::Acquire));
        let room = self.room_after(tail, seen);
        if room >= want {
            return room;
        }
        // Acquire: pairs with `release`, so that the items that were in these
        // slots have been moved out.
        let head = RingIndex::new(self.head.0.load(Ordering::Acquire));
        self.claim.0.seen_head.store(head.raw(), Ordering::Release);
        self.room_after(tail, head)
    }

    /// A `tail` that is older than `head` seems huge, and has no room.
    #[inline]
    fn room_after(&self, tail: RingIndex, head: RingIndex) -> usize {
        self.slots.size().slots().saturating_sub(tail.since(head))
    }
}

impl<T> Sender<T> {
    /// Pushes one item. It does not wait, lock or allocate, and may be called
    /// in hard-interrupt context.
    ///
    /// # Errors
    /// [`RingFull`] gives the item back when there is no free slot.
    #[inline]
    pub fn push(&self, item: T) -> Result<(), RingFull<T>> {
        let (index, claimed) = self.shared.claim(1);
        if claimed == 0 {
            return Err(RingFull(item));
        }
        // SAFETY: `index` was claimed just now.
        unsafe { self.shared.slots.put(index, item) };
        Ok(())
    }

    /// Moves items in from the front of `items`, as many as fit, next to each
    /// other and for one claim. Returns how many were pushed; the others stay,
    /// in order.
    #[inline]
    pub fn push_from<const N: usize>(&self, items: &mut ArrayVec<T, N>) -> usize {
        let (index, claimed) = self.shared.claim(items.len());
        for (n, item) in items.drain(..claimed).enumerate() {
            // SAFETY: `claimed` positions from `index` were claimed just now,
            // and moving items out of an array cannot panic half way.
            unsafe { self.shared.slots.put(index.advance(n), item) };
        }
        claimed
    }

    /// How many items were pushed, or are being pushed, and not yet popped:
    /// true at some time not long ago.
    #[must_use]
    pub fn len(&self) -> usize {
        // The head first: it never passes a tail that is read later.
        let head = RingIndex::new(self.shared.head.0.load(Ordering::Acquire));
        let tail = RingIndex::new(self.shared.claim.0.tail.load(Ordering::Relaxed));
        tail.since(head).min(self.capacity())
    }

    /// Whether [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of slots.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.size().slots()
    }

    /// Whether the receiver is gone, so that nobody will pop what is pushed.
    #[must_use]
    #[inline]
    pub fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Acquire)
    }
}

impl<T> Receiver<T> {
    /// Pops the oldest item; `None` when it is not there, or not yet published.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if !self.shared.slots.is_published(self.head) {
            return None;
        }
        // SAFETY: the slot holds the item of `head`, and nobody claims it again
        // before `release`.
        let item = unsafe { self.shared.slots.take(self.head) };
        self.release(1);
        Some(item)
    }

    /// The oldest item, which stays in the ring.
    #[must_use]
    #[inline]
    pub fn peek(&mut self) -> Option<&T> {
        if !self.shared.slots.is_published(self.head) {
            return None;
        }
        // SAFETY: as in `pop`; the borrow of `self` lasts as long as the item's.
        Some(unsafe { self.shared.slots.peek(self.head) })
    }

    /// Pops at most `max` items, passes each to `take` in order, and *then*
    /// frees their slots together. Returns how many. Where `take` may cause
    /// pushes to this ring, [`pop_into`](Self::pop_into) is the one to use.
    #[inline]
    pub fn pop_each(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        let mut batch = PopBatch {
            receiver: self,
            taken: 0,
        };
        while batch.taken < max {
            match batch.take() {
                Some(item) => take(item),
                None => break,
            }
        }
        batch.taken
    }

    /// Appends at most `max` items to `out`, and at most as many as fit.
    /// Returns how many. Their slots are free when this returns.
    #[inline]
    pub fn pop_into<const N: usize>(&mut self, out: &mut ArrayVec<T, N>, max: usize) -> usize {
        let max = max.min(out.remaining_capacity());
        self.pop_each(max, |item| out.push(item))
    }

    /// Whether a [`pop`](Self::pop) would find nothing now.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.shared.slots.is_published(self.head)
    }

    /// How many items were pushed, or are being pushed, and not yet popped.
    #[must_use]
    pub fn len(&self) -> usize {
        let tail = RingIndex::new(self.shared.claim.0.tail.load(Ordering::Relaxed));
        tail.since(self.head)
    }

    /// Number of slots.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.size().slots()
    }

    /// Hands the next `count` slots, which are empty, back to the senders.
    #[inline]
    fn release(&mut self, count: usize) {
        self.head = self.head.advance(count);
        // Release: the items are moved out before the slots are claimed again.
        self.shared.head.0.store(self.head.raw(), Ordering::Release);
    }
}

/// Items that are moved out, whose slots are not yet free; freed when dropped,
/// also when the closure that takes them panics.
struct PopBatch<'a, T> {
    receiver: &'a mut Receiver<T>,
    taken: usize,
}

impl<T> PopBatch<'_, T> {
    #[inline]
    fn take(&mut self) -> Option<T> {
        let index = self.receiver.head.advance(self.taken);
        if !self.receiver.shared.slots.is_published(index) {
            return None;
        }
        self.taken += 1;
        // SAFETY: as in `Receiver::pop`.
        Some(unsafe { self.receiver.shared.slots.take(index) })
    }
}

impl<T> Drop for PopBatch<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.receiver.release(self.taken);
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Release);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: all handles are gone, and the count of `Arc` has ordered
        // it. So no push is half done: all that is claimed is published.
        let head = RingIndex::new(self.head.0.load(Ordering::Relaxed));
        let tail = RingIndex::new(self.claim.0.tail.load(Ordering::Relaxed));
        // SAFETY: the slots from `head` to `tail` hold the items that nobody
        // popped, and there is nobody else.
        unsafe { self.slots.drop_items(head, tail.since(head)) };
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} of {})", self.len(), self.capacity())
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({} of {})", self.len(), self.capacity())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
