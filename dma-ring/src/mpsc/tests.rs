use super::*;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

#[derive(Clone, Debug)]
enum Op {
    Push,
    PushFrom(usize),
    Pop,
    Peek,
    PopEach(usize),
    PopInto(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let count = 0_usize..12;
    prop_oneof![
        Just(Op::Push),
        count.clone().prop_map(Op::PushFrom),
        Just(Op::Pop),
        Just(Op::Peek),
        count.clone().prop_map(Op::PopEach),
        count.prop_map(Op::PopInto),
    ]
}

/// A ring and the queue that it must behave as. Items are successive numbers.
struct Model {
    tx: Sender<u32>,
    rx: Receiver<u32>,
    queue: VecDeque<u32>,
    next: u32,
}

impl Model {
    fn pushed(&mut self, offered: usize, taken: usize) {
        assert_eq!(taken, offered.min(self.tx.capacity() - self.queue.len()));
        self.queue.extend((self.next..).take(taken));
        self.next += taken as u32;
    }

    fn popped(&mut self, asked: usize, got: &[u32]) {
        let count = asked.min(self.queue.len());
        let expected: Vec<u32> = self.queue.drain(..count).collect();
        assert_eq!(got, expected);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Push => {
                let result = self.tx.clone().push(self.next);
                if let Err(RingFull(item)) = result {
                    assert_eq!(item, self.next, "the item comes back");
                }
                self.pushed(1, usize::from(result.is_ok()));
            }
            Op::PushFrom(count) => {
                let mut items: ArrayVec<u32, 12> = (self.next..).take(count).collect();
                let taken = self.tx.push_from(&mut items);
                assert!(
                    items
                        .iter()
                        .copied()
                        .eq((self.next..).take(count).skip(taken))
                );
                self.pushed(count, taken);
            }
            Op::Pop => {
                let got: Vec<u32> = self.rx.pop().into_iter().collect();
                self.popped(1, &got);
            }
            Op::Peek => assert_eq!(self.rx.peek(), self.queue.front()),
            Op::PopEach(count) => {
                let mut got = Vec::new();
                assert_eq!(self.rx.pop_each(count, |n| got.push(n)), got.len());
                self.popped(count, &got);
            }
            Op::PopInto(count) => {
                let mut out = ArrayVec::<u32, 4>::new();
                assert_eq!(self.rx.pop_into(&mut out, count), out.len());
                self.popped(count.min(4), &out);
            }
        }
    }

    fn check(&self) {
        let len = self.queue.len();
        assert_eq!((self.tx.len(), self.rx.len()), (len, len));
        assert_eq!(
            (self.tx.is_empty(), self.rx.is_empty()),
            (len == 0, len == 0)
        );
    }
}

proptest! {
    #[test]
    fn a_ring_with_one_sender_is_a_bounded_queue(
        ops in prop::collection::vec(op(), 0..200),
        order in 0_u32..4,
        start in prop_oneof![
            Just(0),
            usize::MAX - 60..=usize::MAX,
            u32::MAX as usize - 60..=u32::MAX as usize,
        ],
    ) {
        let size = RingSize::new(1 << order).unwrap();
        let (tx, rx) = channel_at(size, RingIndex::new(start));
        let mut model = Model { tx, rx, queue: VecDeque::new(), next: 0 };
        for op in &ops {
            model.apply(op);
            model.check();
        }
    }
}

#[test]
fn pop_into_frees_the_slots_before_the_items_are_handled() {
    let (tx, mut rx) = channel(2);
    assert_eq!(tx.push_from(&mut ArrayVec::from([1, 2])), 2);
    let mut list = ArrayVec::<u32, 2>::new();
    assert_eq!(rx.pop_into(&mut list, 2), 2);
    for item in list {
        assert!(
            tx.push(item).is_ok(),
            "each instance can be scheduled again"
        );
    }
}

#[test]
fn senders_learn_that_the_receiver_is_gone() {
    let (tx, rx) = channel::<u8>(1);
    assert!(!tx.is_abandoned());
    drop(rx);
    assert!(tx.clone().is_abandoned());
}

#[test]
fn what_is_left_is_dropped_with_the_last_handle() {
    let token = alloc::sync::Arc::new(());
    let (tx, mut rx) = channel(4);
    for _ in 0..5 {
        drop(tx.push(token.clone()));
    }
    drop(rx.pop());
    drop(rx);
    assert_eq!(alloc::sync::Arc::strong_count(&token), 1 + 3);
    drop(tx);
    assert_eq!(alloc::sync::Arc::strong_count(&token), 1);
}

#[test]
fn a_panic_half_way_through_a_batch_neither_loses_nor_repeats_an_item() {
    let (tx, mut rx) = channel(4);
    tx.push_from(&mut ArrayVec::from([1, 2, 3]));
    let stop = |n: i32| assert_ne!(n, 2, "on purpose");
    assert!(catch_unwind(AssertUnwindSafe(|| rx.pop_each(8, stop))).is_err());
    assert_eq!((rx.pop(), rx.pop()), (Some(3), None));
}

#[test]
fn three_threads_lose_and_repeat_nothing_and_each_stays_in_order() {
    const ITEMS: u64 = 50_000;
    let (tx, mut rx) = channel(64);
    let senders = [0, 1, 2].map(|id: u64| {
        let tx = tx.clone();
        thread::spawn(move || {
            for n in 0..ITEMS {
                let mut item = id << 32 | n;
                while let Err(RingFull(back)) = tx.push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        })
    });
    let mut next = [0; 3];
    while next != [ITEMS; 3] {
        let taken = rx.pop_each(32, |item| {
            let expected = &mut next[(item >> 32) as usize];
            assert_eq!(item as u32 as u64, *expected);
            *expected += 1;
        });
        if taken == 0 {
            thread::yield_now();
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
    assert!(rx.is_empty());
}
