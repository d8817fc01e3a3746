//! Rings from two threads to one.

use super::{BATCH, Item};
use crate::pair::race;
use crossbeam_queue::{ArrayQueue, SegQueue};
use softnet_dma_ring::mpsc;
use std::hint::spin_loop;
use std::sync::Arc;

/// A handle that pushes.
pub trait Push<T>: Send {
    /// Pushes one item; `false` when the ring is full.
    fn push(&mut self, item: T) -> bool;
}

/// The one that pops.
pub trait Pop<T>: Send {
    /// Pops at most `max` items into `take`, and returns how many.
    fn pop_each(&mut self, max: usize, take: impl FnMut(T)) -> usize;
}

/// A contender.
pub trait Ring {
    /// Its name in a row.
    const NAME: &'static str;

    /// Two pushing handles and a popping one.
    fn channel<T: Item>(capacity: usize) -> ([impl Push<T>; 2], impl Pop<T>);
}

/// `softnet_dma_ring::mpsc`.
#[derive(Debug)]
pub struct Softnet;

impl Ring for Softnet {
    const NAME: &'static str = crate::row::OURS;

    fn channel<T: Item>(capacity: usize) -> ([impl Push<T>; 2], impl Pop<T>) {
        let (tx, rx) = mpsc::channel(capacity);
        ([tx.clone(), tx], rx)
    }
}

impl<T: Item> Push<T> for mpsc::Sender<T> {
    #[inline]
    fn push(&mut self, item: T) -> bool {
        mpsc::Sender::push(self, item).is_ok()
    }
}

impl<T: Item> Pop<T> for mpsc::Receiver<T> {
    #[inline]
    fn pop_each(&mut self, max: usize, take: impl FnMut(T)) -> usize {
        self.pop_each(max, take)
    }
}

/// crossbeam's bounded queue of many to many.
#[derive(Debug)]
pub struct Bounded;

impl Ring for Bounded {
    const NAME: &'static str = "ArrayQueue";

    fn channel<T: Item>(capacity: usize) -> ([impl Push<T>; 2], impl Pop<T>) {
        let queue = Arc::new(ArrayQueue::new(capacity));
        ([Arc::clone(&queue), Arc::clone(&queue)], queue)
    }
}

impl<T: Item> Push<T> for Arc<ArrayQueue<T>> {
    #[inline]
    fn push(&mut self, item: T) -> bool {
        ArrayQueue::push(self, item).is_ok()
    }
}

impl<T: Item> Pop<T> for Arc<ArrayQueue<T>> {
    #[inline]
    fn pop_each(&mut self, max: usize, take: impl FnMut(T)) -> usize {
        let items = std::iter::from_fn(|| self.pop()).take(max);
        items.map(take).count()
    }
}

/// crossbeam's unbounded queue of many to many.
#[derive(Debug)]
pub struct Unbounded;

impl Ring for Unbounded {
    const NAME: &'static str = "SegQueue";

    fn channel<T: Item>(_: usize) -> ([impl Push<T>; 2], impl Pop<T>) {
        let queue = Arc::new(SegQueue::new());
        ([Arc::clone(&queue), Arc::clone(&queue)], queue)
    }
}

impl<T: Item> Push<T> for Arc<SegQueue<T>> {
    #[inline]
    fn push(&mut self, item: T) -> bool {
        SegQueue::push(self, item);
        true
    }
}

impl<T: Item> Pop<T> for Arc<SegQueue<T>> {
    #[inline]
    fn pop_each(&mut self, max: usize, take: impl FnMut(T)) -> usize {
        let items = std::iter::from_fn(|| self.pop()).take(max);
        items.map(take).count()
    }
}

/// Millions of items a second that two threads push at the same time into a
/// ring that holds them all.
#[must_use]
pub fn pushes<R: Ring, T: Item>() -> Option<f64> {
    const ITEMS: u64 = 100_000;
    let ([mut first, mut second], mut rx) = R::channel::<T>(2 * ITEMS as usize);
    // Twice: the first time the memory is touched, the second time measured.
    push_both(ITEMS, &mut first, &mut second);
    assert_eq!(rx.pop_each(usize::MAX, |_| ()), 2 * ITEMS as usize);
    let seconds = push_both(ITEMS, &mut first, &mut second)?;
    Some(2.0 * ITEMS as f64 / seconds / 1e6)
}

fn push_both<T: Item>(
    items: u64,
    first: &mut impl Push<T>,
    second: &mut impl Push<T>,
) -> Option<f64> {
    race(
        || (0..items).for_each(|n| assert!(first.push(T::new(n)))),
        || (0..items).for_each(|n| assert!(second.push(T::new(n)))),
    )
}

/// Millions of items a second through a ring of [`super::CAPACITY`] slots, where
/// one thread pushes and the other pushes as much and pops all, in batches: what
/// a CPU does that is handed work by another one.
#[must_use]
pub fn pushes_and_pops<R: Ring, T: Item>() -> Option<f64> {
    const ITEMS: u64 = 100_000;
    let ([mut remote, mut local], mut rx) = R::channel::<T>(super::CAPACITY);
    let push = move || {
        for n in 0..ITEMS {
            while !remote.push(T::new(n)) {
                spin_loop();
            }
        }
    };
    let push_and_pop = move || {
        let (mut sum, mut left, mut own) = (0_u64, 2 * ITEMS, 0..ITEMS);
        while left > 0 {
            for n in own.by_ref().take(BATCH) {
                while !local.push(T::new(n)) {
                    left -= rx.pop_each(BATCH, |item| sum += item.number()) as u64;
                }
            }
            left -= rx.pop_each(2 * BATCH, |item| sum += item.number()) as u64;
        }
        assert_eq!(sum, ITEMS * (ITEMS - 1), "an item was lost");
    };
    Some(2.0 * ITEMS as f64 / race(push, push_and_pop)? / 1e6)
}
