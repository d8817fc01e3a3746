use super::*;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

#[derive(Clone, Debug)]
enum Op {
    Push,
    PushIter(usize),
    PushSlice(usize),
    PushFrom(usize),
    Pop,
    Peek,
    AsSlices,
    Discard(usize),
    PopEach(usize),
    PopSlice(usize),
    PopUninit(usize),
    PopInto(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let count = 0_usize..12;
    prop_oneof![
        Just(Op::Push),
        count.clone().prop_map(Op::PushIter),
        count.clone().prop_map(Op::PushSlice),
        count.clone().prop_map(Op::PushFrom),
        Just(Op::Pop),
        Just(Op::Peek),
        Just(Op::AsSlices),
        count.clone().prop_map(Op::Discard),
        count.clone().prop_map(Op::PopEach),
        count.clone().prop_map(Op::PopSlice),
        count.clone().prop_map(Op::PopUninit),
        count.prop_map(Op::PopInto),
    ]
}

/// A ring and the queue that it must behave as. Items are successive numbers.
struct Model {
    tx: Producer<u32>,
    rx: Consumer<u32>,
    queue: VecDeque<u32>,
    next: u32,
}

impl Model {
    fn new(order: u32, start: usize) -> Self {
        let size = RingSize::new(1 << order).unwrap();
        let (tx, rx) = channel_at(size, RingIndex::new(start));
        Self {
            tx,
            rx,
            queue: VecDeque::new(),
            next: 0,
        }
    }

    fn fresh(&self, count: usize) -> Vec<u32> {
        (self.next..).take(count).collect()
    }

    fn room(&self) -> usize {
        self.tx.capacity() - self.queue.len()
    }

    /// The oracle takes what fits, and the ring must have taken as many.
    fn pushed(&mut self, offered: usize, taken: usize) {
        assert_eq!(taken, offered.min(self.room()));
        let items = self.fresh(taken);
        self.queue.extend(items);
        self.next += taken as u32;
    }

    fn popped(&mut self, asked: usize, got: &[u32]) {
        let count = asked.min(self.queue.len());
        let expected: Vec<u32> = self.queue.drain(..count).collect();
        assert_eq!(got, expected);
    }

    fn push(&mut self, op: &Op) {
        match *op {
            Op::PushIter(count) => {
                let items = self.fresh(count);
                let mut items = items.into_iter();
                let taken = self.tx.push_iter(items.by_ref());
                assert_eq!(items.len(), count - taken, "the iterator keeps the rest");
                self.pushed(count, taken);
            }
            Op::PushSlice(count) => {
                let taken = self.tx.push_slice(&self.fresh(count));
                self.pushed(count, taken);
            }
            Op::PushFrom(count) => {
                let mut items: ArrayVec<u32, 12> = self.fresh(count).into_iter().collect();
                let taken = self.tx.push_from(&mut items);
                assert_eq!(items[..], self.fresh(count)[taken..]);
                self.pushed(count, taken);
            }
            _ => {
                let result = self.tx.push(self.next);
                if let Err(RingFull(item)) = result {
                    assert_eq!(item, self.next, "the item comes back");
                }
                self.pushed(1, usize::from(result.is_ok()));
            }
        }
    }

    fn pop(&mut self, op: &Op) {
        match *op {
            Op::Pop => {
                let got: Vec<u32> = self.rx.pop().into_iter().collect();
                self.popped(1, &got);
            }
            Op::Peek => assert_eq!(self.rx.peek(), self.queue.front()),
            Op::AsSlices => {
                let (front, back) = self.rx.as_slices();
                assert_eq!([front, back].concat(), Vec::from(self.queue.clone()));
            }
            Op::Discard(count) => {
                let dropped = self.rx.discard(count);
                let got: Vec<u32> = self.queue.iter().copied().take(dropped).collect();
                self.popped(count, &got);
            }
            Op::PopEach(count) => {
                let mut got = Vec::new();
                assert_eq!(self.rx.pop_each(count, |n| got.push(n)), got.len());
                self.popped(count, &got);
            }
            Op::PopSlice(count) => {
                let mut out = [u32::MAX; 12];
                let taken = self.rx.pop_slice(&mut out[..count]);
                assert!(out[taken..].iter().all(|&n| n == u32::MAX));
                self.popped(count, &out[..taken]);
            }
            Op::PopUninit(count) => {
                let mut out = [MaybeUninit::uninit(); 12];
                let taken = self.rx.pop_uninit(&mut out[..count]);
                let got: Vec<u32> = out[..taken]
                    .iter()
                    // SAFETY: `pop_uninit` has initialised that many.
                    .map(|n| unsafe { n.assume_init() })
                    .collect();
                self.popped(count, &got);
            }
            Op::PopInto(count) => {
                let mut out = ArrayVec::<u32, 4>::new();
                let taken = self.rx.pop_into(&mut out, count);
                assert_eq!(taken, out.len());
                self.popped(count.min(4), &out);
            }
            _ => self.push(op),
        }
    }

    fn check(&self) {
        let len = self.queue.len();
        assert_eq!((self.tx.len(), self.rx.len()), (len, len));
        assert_eq!(
            (self.tx.is_empty(), self.rx.is_empty()),
            (len == 0, len == 0)
        );
        let room = self.room();
        assert_eq!((self.tx.free_slots(), self.rx.free_slots()), (room, room));
    }
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(
        ops in prop::collection::vec(op(), 0..200),
        order in 0_u32..4,
        start in prop_oneof![Just(0), usize::MAX - 60..=usize::MAX],
    ) {
        let mut model = Model::new(order, start);
        for op in &ops {
            model.pop(op);
            model.check();
        }
    }
}

#[test]
fn each_half_learns_that_the_other_is_gone() {
    let (tx, rx) = channel::<u8>(1);
    assert!(!tx.is_abandoned() && !rx.is_abandoned());
    drop(rx);
    assert!(tx.is_abandoned());
    let (tx, rx) = channel::<u8>(1);
    drop(tx);
    assert!(rx.is_abandoned());
}

#[test]
fn items_without_size_are_counted() {
    let (mut tx, mut rx) = channel::<()>(2);
    assert_eq!(tx.push_slice(&[(); 3]), 2);
    assert_eq!(rx.pop_slice(&mut [(); 3]), 2);
    assert_eq!(rx.pop(), None);
}

#[test]
fn slots_of_over_aligned_items_are_aligned() {
    #[repr(align(512))]
    struct Wide(u8);
    let (mut tx, mut rx) = channel(2);
    assert!(tx.push(Wide(7)).is_ok());
    let item = rx.peek().unwrap();
    assert_eq!(item.0, 7);
    assert_eq!(core::ptr::from_ref(item).addr() % 512, 0);
}

/// `Arc` counts who is alive.
fn token() -> (alloc::sync::Arc<()>, impl Fn() -> alloc::sync::Arc<()>) {
    let token = alloc::sync::Arc::new(());
    let source = token.clone();
    (token, move || source.clone())
}

#[test]
fn what_is_left_is_dropped_with_the_ring() {
    let (token, make) = token();
    let (mut tx, mut rx) = channel(4);
    assert_eq!(tx.push_iter((0..6).map(|_| make())), 4);
    drop(rx.pop());
    assert_eq!(rx.discard(1), 1);
    drop(tx);
    assert_eq!(alloc::sync::Arc::strong_count(&token), 2 + 2);
    drop(rx);
    assert_eq!(alloc::sync::Arc::strong_count(&token), 2);
}

#[test]
fn a_panic_half_way_through_a_batch_neither_loses_nor_repeats_an_item() {
    let (mut tx, mut rx) = channel(8);
    let items = (0..8).map(|n| {
        if n == 3 {
            panic!("on purpose")
        } else {
            Box::new(n)
        }
    });
    assert!(catch_unwind(AssertUnwindSafe(|| tx.push_iter(items))).is_err());
    assert_eq!(rx.len(), 3);
    let stop = |n: Box<i32>| assert_ne!(*n, 1, "on purpose");
    assert!(catch_unwind(AssertUnwindSafe(|| rx.pop_each(8, stop))).is_err());
    assert_eq!(rx.pop(), Some(Box::new(2)));
    assert_eq!(rx.pop(), None);
}

#[test]
fn two_threads_pass_every_item_in_order() {
    const ITEMS: u64 = 200_000;
    let (mut tx, mut rx) = channel(64);
    let producer = thread::spawn(move || {
        let mut items = 0..ITEMS;
        while !items.is_empty() {
            let batch = items.start % 40 + 1;
            if tx.push_iter(items.by_ref().take(tx.free_slots().min(batch as usize))) == 0 {
                thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < ITEMS {
        let taken = rx.pop_each(1 + expected as usize % 50, |n| {
            assert_eq!(n, expected);
            expected += 1;
        });
        if taken == 0 {
            thread::yield_now();
        }
    }
    producer.join().unwrap();
    assert!(rx.is_abandoned() && rx.is_empty());
}
