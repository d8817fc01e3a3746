//! Rings from one thread to one.

use super::{BATCH, CAPACITY, Item};
use crate::pair::race;
use crossbeam_queue::ArrayQueue;
use ringbuf::traits::{Consumer as _, Producer as _, Split};
use std::hint::{black_box, spin_loop};
use std::sync::Arc;

/// The pushing half of a contender.
pub trait Push<T>: Send {
    /// Pushes one item; `false` when the ring is full.
    fn push(&mut self, item: T) -> bool;

    /// Pushes what fits, and returns how many. A ring without batches pushes one
    /// by one.
    #[inline]
    fn push_slice(&mut self, items: &[T]) -> usize
    where
        T: Copy,
    {
        items.iter().take_while(|&&item| self.push(item)).count()
    }
}

/// The popping half of a contender.
pub trait Pop<T>: Send {
    /// Pops one item.
    fn pop(&mut self) -> Option<T>;

    /// Pops what is there and fits, and returns how many. A ring without batches
    /// pops one by one.
    #[inline]
    fn pop_slice(&mut self, out: &mut [T]) -> usize
    where
        T: Copy,
    {
        for (n, slot) in out.iter_mut().enumerate() {
            match self.pop() {
                Some(item) => *slot = item,
                None => return n,
            }
        }
        out.len()
    }
}

/// A contender.
pub trait Ring {
    /// Its name in a row.
    const NAME: &'static str;

    /// A ring of [`CAPACITY`] slots.
    fn channel<T: Item>() -> (impl Push<T>, impl Pop<T>);
}

/// `softnet_dma_ring::spsc`.
#[derive(Debug)]
pub struct Softnet;

impl Ring for Softnet {
    const NAME: &'static str = crate::row::OURS;

    fn channel<T: Item>() -> (impl Push<T>, impl Pop<T>) {
        softnet_dma_ring::spsc::channel(CAPACITY)
    }
}

impl<T: Item> Push<T> for softnet_dma_ring::spsc::Producer<T> {
    #[inline]
    fn push(&mut self, item: T) -> bool {
        self.push(item).is_ok()
    }

    #[inline]
    fn push_slice(&mut self, items: &[T]) -> usize {
        self.push_slice(items)
    }
}

impl<T: Item> Pop<T> for softnet_dma_ring::spsc::Consumer<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    #[inline]
    fn pop_slice(&mut self, out: &mut [T]) -> usize {
        self.pop_slice(out)
    }
}

/// rtrb 0.4.
#[derive(Debug)]
pub struct Rtrb;

impl Ring for Rtrb {
    const NAME: &'static str = "rtrb";

    fn channel<T: Item>() -> (impl Push<T>, impl Pop<T>) {
        rtrb::RingBuffer::new(CAPACITY)
    }
}

impl<T: Item> Push<T> for rtrb::Producer<T> {
    #[inline]
    fn push(&mut self, item: T) -> bool {
        self.push(item).is_ok()
    }

    #[inline]
    fn push_slice(&mut self, items: &[T]) -> usize {
        self.push_partial_slice(items).0.len()
    }
}

impl<T: Item> Pop<T> for rtrb::Consumer<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.pop().ok()
    }

    #[inline]
    fn pop_slice(&mut self, out: &mut [T]) -> usize {
        self.pop_partial_slice(out).0.len()
    }
}

/// ringbuf 0.6, with its caching halves.
#[derive(Debug)]
pub struct Ringbuf;

impl Ring for Ringbuf {
    const NAME: &'static str = "ringbuf";

    fn channel<T: Item>() -> (impl Push<T>, impl Pop<T>) {
        ringbuf::HeapRb::new(CAPACITY).split()
    }
}

impl<T: Item> Push<T> for ringbuf::HeapProd<T> {
    #[inline]
    fn push(&mut self, item: T) -> bool {
        self.try_push(item).is_ok()
    }

    #[inline]
    fn push_slice(&mut self, items: &[T]) -> usize {
        ringbuf::traits::Producer::push_slice(self, items)
    }
}

impl<T: Item> Pop<T> for ringbuf::HeapCons<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.try_pop()
    }

    #[inline]
    fn pop_slice(&mut self, out: &mut [T]) -> usize {
        ringbuf::traits::Consumer::pop_slice(self, out)
    }
}

/// heapless 0.9's `spsc`, which has no batches.
#[derive(Debug)]
pub struct Heapless;

impl Ring for Heapless {
    const NAME: &'static str = "heapless";

    fn channel<T: Item>() -> (impl Push<T>, impl Pop<T>) {
        // Its halves borrow it. What a bench leaks is small.
        let queue = Box::leak(Box::new(heapless::spsc::Queue::<T, CAPACITY>::new()));
        queue.split()
    }
}

impl<T: Item> Push<T> for heapless::spsc::Producer<'_, T> {
    #[inline]
    fn push(&mut self, item: T) -> bool {
        self.enqueue(item).is_ok()
    }
}

impl<T: Item> Pop<T> for heapless::spsc::Consumer<'_, T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.dequeue()
    }
}

/// crossbeam's bounded queue of many to many, which has no batches.
#[derive(Debug)]
pub struct Crossbeam;

impl Ring for Crossbeam {
    const NAME: &'static str = "ArrayQueue";

    fn channel<T: Item>() -> (impl Push<T>, impl Pop<T>) {
        let queue = Arc::new(ArrayQueue::new(CAPACITY));
        (Arc::clone(&queue), queue)
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
    fn pop(&mut self) -> Option<T> {
        ArrayQueue::pop(self)
    }
}

/// Millions of items a second from one thread to the other, one by one.
#[must_use]
pub fn one_by_one<R: Ring, T: Item>() -> Option<f64> {
    const ITEMS: u64 = 300_000;
    let (mut tx, mut rx) = R::channel::<T>();
    let push = move || {
        for n in 0..ITEMS {
            while !tx.push(T::new(n)) {
                spin_loop();
            }
        }
    };
    let pop = move || {
        let mut sum = 0_u64;
        for _ in 0..ITEMS {
            sum = sum.wrapping_add(wait(&mut rx).number());
        }
        assert_eq!(sum, ITEMS * (ITEMS - 1) / 2, "an item was lost");
    };
    Some(ITEMS as f64 / race(push, pop)? / 1e6)
}

#[inline]
fn wait<T>(rx: &mut impl Pop<T>) -> T {
    loop {
        if let Some(item) = rx.pop() {
            return item;
        }
        spin_loop();
    }
}

/// Millions of items a second from one thread to the other, in batches.
#[must_use]
pub fn in_batches<R: Ring, T: Item>() -> Option<f64> {
    const BATCHES: usize = 20_000;
    let (mut tx, mut rx) = R::channel::<T>();
    let push = move || {
        let batch: [T; BATCH] = std::array::from_fn(|n| T::new(n as u64));
        for _ in 0..BATCHES {
            push_all(&mut tx, black_box(&batch));
        }
    };
    let pop = move || {
        let (mut out, mut left) = ([T::new(0); BATCH], BATCHES * BATCH);
        let mut sum = 0_u64;
        while left > 0 {
            let count = rx.pop_slice(&mut out);
            left -= count;
            sum = out[..count]
                .iter()
                .fold(sum, |sum, item| sum + item.number());
            if count == 0 {
                spin_loop();
            }
        }
        assert_eq!(
            sum,
            (BATCHES * BATCH * (BATCH - 1) / 2) as u64,
            "an item was lost"
        );
    };
    Some((BATCHES * BATCH) as f64 / race(push, pop)? / 1e6)
}

#[inline]
fn push_all<T: Item>(tx: &mut impl Push<T>, mut items: &[T]) {
    while !items.is_empty() {
        let count = tx.push_slice(items);
        items = &items[count..];
        if count == 0 {
            spin_loop();
        }
    }
}

/// Nanoseconds in which an item goes there by one ring and back by another.
#[must_use]
pub fn round_trip<R: Ring, T: Item>() -> Option<f64> {
    const TRIPS: u64 = 5_000;
    let (mut there, mut far_end) = R::channel::<T>();
    let (mut back, mut near_end) = R::channel::<T>();
    let ask = move || {
        for n in 0..TRIPS {
            there.push(T::new(n));
            assert_eq!(wait(&mut near_end).number(), n, "another item came back");
        }
    };
    let answer = move || {
        for _ in 0..TRIPS {
            let item = wait(&mut far_end);
            back.push(item);
        }
    };
    Some(race(ask, answer)? * 1e9 / TRIPS as f64)
}

/// Pushes and pops `count` items in turn on one thread.
pub fn push_and_pop<T: Item>(tx: &mut impl Push<T>, rx: &mut impl Pop<T>, count: u64) {
    for n in 0..count {
        black_box(tx.push(black_box(T::new(n))));
        black_box(rx.pop());
    }
}

/// Pushes and pops `count` items on one thread, in batches.
pub fn push_and_pop_batches<T: Item>(tx: &mut impl Push<T>, rx: &mut impl Pop<T>, count: u64) {
    let mut batch: [T; BATCH] = std::array::from_fn(|n| T::new(n as u64));
    for _ in 0..count / BATCH as u64 {
        black_box(tx.push_slice(black_box(&batch)));
        black_box(rx.pop_slice(black_box(&mut batch)));
    }
}
