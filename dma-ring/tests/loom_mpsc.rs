//! The races of the MPSC ring, under loom.
//!
//! The search is exhaustive: no bound on preemptions, unless
//! `LOOM_MAX_PREEMPTIONS` sets one. Each of these changes of `mpsc` was made on
//! purpose, and made a model fail:
//!
//! - the stamp, or `head`, stored or loaded `Relaxed` (four changes);
//! - `seen_head` passed on `Relaxed` from sender to sender;
//! - the claim `Relaxed`: a push finds a ring full that is not;
//! - the claim by a load and a store, not an exchange;
//! - a full ring believed by an old `tail`;
//! - a receiver that takes a slot by any stamp but the unpublished one;
//! - items that are left behind not dropped.
#![cfg(loom)]

mod loom_support;

use arrayvec::ArrayVec;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::{model, thread};
use loom_support::DropCount;
use softnet_dma_ring::mpsc;

fn drain<T>(rx: &mut mpsc::Receiver<T>, into: &mut Vec<T>) {
    into.extend(std::iter::from_fn(|| rx.pop()));
}

/// Race: two senders claim at the same time, while the receiver pops.
#[test]
fn two_claims_never_take_one_slot_and_each_sender_stays_in_order() {
    model(|| {
        let (tx, mut rx) = mpsc::channel(4);
        let other = tx.clone();
        let first = thread::spawn(move || [10, 11].map(|n| tx.push(n).unwrap()));
        let second = thread::spawn(move || other.push(20).unwrap());
        let mut got = Vec::new();
        drain(&mut rx, &mut got);
        first.join().unwrap();
        second.join().unwrap();
        drain(&mut rx, &mut got);
        let of_first: Vec<_> = got.iter().filter(|&&n| n < 20).collect();
        assert_eq!(of_first, [&10, &11]);
        assert_eq!(got.len(), 3);
        assert!(got.contains(&20));
    });
}

/// Race: the receiver frees the only slot, and one sender claims it by what the
/// other one has seen of `head`.
#[test]
fn a_slot_is_claimed_again_only_after_its_item_was_moved_out() {
    model(|| {
        let (tx, mut rx) = mpsc::channel(1);
        tx.push(1).unwrap();
        let other = tx.clone();
        let first = thread::spawn(move || tx.push(2).is_ok());
        let second = thread::spawn(move || other.push(3).is_ok());
        let mut got: Vec<_> = rx.pop().into_iter().collect();
        let sent = 1 + usize::from(first.join().unwrap()) + usize::from(second.join().unwrap());
        drain(&mut rx, &mut got);
        assert_eq!(got[0], 1);
        assert_eq!(got.len(), sent);
        assert!(sent <= 2);
    });
}

/// Race: the other side pushes and pops between a sender's look at `tail` and
/// its look at `head`, so that the ring looks full by two values that never
/// belonged together.
#[test]
fn a_push_that_finds_the_ring_full_has_seen_it_full() {
    model(|| {
        let (tx, mut rx) = mpsc::channel(2);
        let other = tx.clone();
        let late = thread::spawn(move || other.push(9).is_ok());
        // At most one item of this side is in the ring, until the other side's
        // claim stands before it: then the late push has found its slot.
        for n in 0..3 {
            if tx.push(n).is_err() {
                break;
            }
            while rx.pop() == Some(9) {}
        }
        assert!(late.join().unwrap(), "there was always a free slot");
    });
}

/// Race: a sender stops between claim and publish, another one pushes behind it
/// and raises, and the receiver finds the gap.
#[test]
fn no_wake_up_is_lost_when_every_sender_raises_after_its_push() {
    model(|| {
        let (tx, mut rx) = mpsc::channel(2);
        let raised = Arc::new(AtomicBool::new(false));
        let senders = [1, 2].map(|n| {
            let (tx, raised) = (tx.clone(), Arc::clone(&raised));
            thread::spawn(move || {
                tx.push(n).unwrap();
                raised.fetch_or(true, Ordering::Release);
            })
        });
        let mut got = Vec::new();
        if raised.swap(false, Ordering::AcqRel) {
            drain(&mut rx, &mut got);
        }
        for sender in senders {
            sender.join().unwrap();
        }
        if raised.swap(false, Ordering::AcqRel) {
            drain(&mut rx, &mut got);
        }
        got.sort_unstable();
        assert_eq!(got, [1, 2], "nothing sleeps in the ring without a raise");
    });
}

/// Race: two batches are claimed at the same time.
#[test]
fn a_batch_stays_together_and_in_order() {
    model(|| {
        let (tx, mut rx) = mpsc::channel(4);
        let other = tx.clone();
        let batch = thread::spawn(move || {
            let mut items = ArrayVec::from([1, 2]);
            other.push_from(&mut items)
        });
        let mut items = ArrayVec::from([11, 12]);
        assert_eq!(tx.push_from(&mut items), 2);
        let mut got = ArrayVec::<u32, 4>::new();
        rx.pop_into(&mut got, 4);
        assert_eq!(batch.join().unwrap(), 2);
        rx.pop_into(&mut got, 4);
        assert!(
            got[..] == [1, 2, 11, 12] || got[..] == [11, 12, 1, 2],
            "{got:?}"
        );
    });
}

/// Race: the receiver goes while a push is between claim and publish.
#[test]
fn what_nobody_popped_is_dropped_exactly_once() {
    model(|| {
        let drops = DropCount::default();
        let (tx, mut rx) = mpsc::channel(2);
        let (other, token) = (tx.clone(), drops.token());
        let sender = thread::spawn(move || drop(other.push(token)));
        drop(tx.push(drops.token()));
        drop(rx.pop());
        drop(rx);
        drop(tx);
        sender.join().unwrap();
        assert_eq!(drops.value(), 2);
    });
}
