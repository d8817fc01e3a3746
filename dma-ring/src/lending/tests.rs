use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

#[derive(Clone, Copy, Debug)]
enum Op {
    Lend,
    Read,
    Take,
    Collect,
}

/// What the ring is to do, with queues that grow.
#[derive(Default)]
struct Model {
    waiting: VecDeque<u32>,
    /// What was read, and whether it was left.
    read: VecDeque<(u32, bool)>,
    /// Items read and uncollected count as waiting for the limit.
    lent: usize,
    known_read: usize,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Lend),
        Just(Op::Lend),
        Just(Op::Read),
        Just(Op::Take),
        Just(Op::Collect)
    ]
}

proptest! {
    /// Positions start just before they wrap.
    #[test]
    fn it_does_what_two_queues_do(most in 1usize..6, ops in prop::collection::vec(op(), 1..200)) {
        let start = RingIndex::new(0usize.wrapping_sub(3));
        let (mut lender, mut borrower) = channel_at::<u32>(most, start);
        let mut model = Model::default();
        let mut next = 0;
        for op in ops {
            match op {
                Op::Lend => {
                    next += 1;
                    let fits = model.lent - model.known_read < most;
                    prop_assert_eq!(lender.lend(next).is_ok(), fits);
                    if fits {
                        model.lent += 1;
                        model.waiting.push_back(next);
                    }
                }
                Op::Read => {
                    let expected = model.waiting.pop_front();
                    prop_assert_eq!(borrower.read(|item| *item), expected);
                    model.read.extend(expected.map(|item| (item, true)));
                }
                Op::Take => {
                    let expected = model.waiting.pop_front();
                    prop_assert_eq!(borrower.take(), expected);
                    model.read.extend(expected.map(|item| (item, false)));
                }
                Op::Collect => {
                    let mut home = Vec::new();
                    prop_assert_eq!(lender.collect(|item| home.push(item)), model.read.len());
                    model.known_read += model.read.len();
                    let left = model.read.drain(..).filter(|(_, left)| *left);
                    prop_assert_eq!(home, left.map(|(item, _)| item).collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(borrower.len(), model.waiting.len());
            prop_assert_eq!(lender.lent(), model.waiting.len() + model.read.len());
        }
    }
}

#[test]
fn what_nobody_took_is_dropped_once_with_the_ring() {
    let item = Rc::new(());
    let (mut lender, mut borrower) = channel(4);
    for _ in 0..4 {
        lender.lend(item.clone()).unwrap();
    }
    assert!(borrower.read(|_| ()).is_some());
    drop(borrower.take());
    drop(lender);
    assert_eq!(Rc::strong_count(&item), 4);
    assert!(borrower.read(|_| ()).is_some());
    drop(borrower);
    assert_eq!(Rc::strong_count(&item), 1);
}

#[test]
fn items_cross_threads_and_come_home_in_order() {
    const ITEMS: u32 = 100_000;
    let (mut lender, mut borrower) = channel(64);
    let reader = std::thread::spawn(move || {
        let mut expected = 0;
        while expected < ITEMS {
            match borrower.read(|item| *item) {
                Some(item) => {
                    assert_eq!(item, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
    });
    let (mut next, mut home) = (0, 0);
    while home < ITEMS {
        while next < ITEMS && lender.lend(next).is_ok() {
            next += 1;
        }
        lender.collect(|item| {
            assert_eq!(item, home);
            home += 1;
        });
        std::thread::yield_now();
    }
    reader.join().unwrap();
}
