//! The races of the SPSC ring, under loom.
//!
//! The search is exhaustive: no bound on preemptions, unless
//! `LOOM_MAX_PREEMPTIONS` sets one. Each of these changes of `spsc` was made on
//! purpose, and made a model fail:
//!
//! - `tail` or `head` stored, or loaded, `Relaxed` (four changes);
//! - the limit one slot too far, so that a full ring takes one more;
//! - a pop that frees the slot before it takes the item, and a push that publishes
//!   before it writes;
//! - the producer's drop, or the look for it, `Relaxed`;
//! - items that are left behind not dropped.
#![cfg(loom)]

mod loom_support;

use loom::{model, thread};
use loom_support::DropCount;
use softnet_dma_ring::spsc;

/// Race: the producer publishes while the consumer looks; and the consumer
/// frees the only slot while the producer looks.
#[test]
fn a_pop_sees_the_item_of_every_published_push_and_a_push_reuses_only_emptied_slots() {
    model(|| {
        let (mut tx, mut rx) = spsc::channel(1);
        let producer = thread::spawn(move || (0..3).filter(|&n| tx.push(n).is_ok()).collect());
        let mut got: Vec<u32> = (0..2).filter_map(|_| rx.pop()).collect();
        let sent: Vec<u32> = producer.join().unwrap();
        got.extend(std::iter::from_fn(|| rx.pop()));
        assert_eq!(got, sent);
    });
}

/// Race: a batch that wraps is published at once while the consumer takes part
/// of it, and the slots that it frees are filled by the next batch.
#[test]
fn batches_cross_in_order_when_they_wrap_around_each_other() {
    model(|| {
        let (mut tx, mut rx) = spsc::channel(2);
        let producer = thread::spawn(move || {
            let first = tx.push_slice(&[1, 2, 3]);
            assert_eq!(first, 2, "a fresh ring takes exactly what fits");
            first + tx.push_iter(3..=4)
        });
        let mut got = Vec::new();
        let mut out = [0; 1];
        if rx.pop_slice(&mut out) == 1 {
            got.push(out[0]);
        }
        rx.pop_each(2, |item| got.push(item));
        let sent = producer.join().unwrap();
        rx.pop_each(2, |item| got.push(item));
        assert_eq!(got, [1, 2, 3, 4][..sent]);
    });
}

/// Race: the consumer reads items in place while the producer goes on.
#[test]
fn items_that_are_looked_at_in_place_are_not_overwritten() {
    model(|| {
        let (mut tx, mut rx) = spsc::channel(2);
        tx.push(1).unwrap();
        let producer = thread::spawn(move || tx.push_slice(&[2, 3, 4]));
        assert_eq!(rx.peek(), Some(&1));
        let (front, back) = rx.as_slices();
        let seen = [front, back].concat();
        assert_eq!(seen, [1, 2][..seen.len()]);
        let seen = seen.len();
        assert_eq!(rx.discard(seen), seen);
        let pushed = producer.join().unwrap();
        assert!((1..=3).contains(&pushed));
        assert_eq!(rx.len(), 1 + pushed - seen);
    });
}

/// Race: the producer pushes and goes, between the consumer's look for items
/// and its look for the producer.
#[test]
fn who_sees_the_producer_gone_sees_its_last_push() {
    model(|| {
        let (mut tx, mut rx) = spsc::channel(2);
        let producer = thread::spawn(move || tx.push(7).unwrap());
        let first = rx.pop();
        if rx.is_abandoned() {
            assert_eq!(first.or_else(|| rx.pop()), Some(7));
        }
        producer.join().unwrap();
    });
}

/// Race: both halves go at the same time, with items left in the ring.
#[test]
fn what_nobody_popped_is_dropped_exactly_once() {
    model(|| {
        let drops = DropCount::default();
        let (mut tx, mut rx) = spsc::channel(2);
        assert!(tx.push(drops.token()).is_ok());
        let token = drops.token();
        let producer = thread::spawn(move || drop(tx.push(token)));
        drop(rx.pop());
        drop(rx);
        producer.join().unwrap();
        assert_eq!(drops.value(), 2);
    });
}
