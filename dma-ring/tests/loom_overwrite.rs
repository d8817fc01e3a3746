//! The races of the overwriting ring, under loom.
//!
//! The search is exhaustive: no bound on preemptions, unless
//! `LOOM_MAX_PREEMPTIONS` sets one. Each of these changes of `overwrite` was made on
//! purpose, and made a model fail:
//!
//! - the swap, the exchange, the store of `tail` or its load `Relaxed`;
//! - `tail` stored before the swap;
//! - the position in the slot's word not compared;
//! - the slot read and stored, not exchanged (two drops of one item: an abort);
//! - the look for the writer `Relaxed`;
//! - items that are left behind not dropped.
#![cfg(loom)]

mod loom_support;

use loom::{model, thread};
use loom_support::DropCount;
use softnet_dma_ring::overwrite;

/// Writes `items` items beside a reader that pops `pops` times, and checks that
/// each item was either read, in order, or counted as lost.
fn write_beside_a_reader(capacity: usize, items: u32, pops: usize) {
    let (mut writer, mut reader) = overwrite::channel(capacity);
    let thread = thread::spawn(move || {
        let overwritten: Vec<u32> = (0..items).filter_map(|n| writer.push(n)).collect();
        overwritten
    });
    let mut read: Vec<u32> = (0..pops).filter_map(|_| reader.pop()).collect();
    let overwritten = thread.join().unwrap();
    read.extend(std::iter::from_fn(|| reader.pop()));
    assert_eq!(reader.lost(), overwritten.len() as u64);
    let mut all = read.clone();
    all.extend(&overwritten);
    all.sort_unstable();
    assert_eq!(all, (0..items).collect::<Vec<_>>());
    assert!(read.is_sorted() && overwritten.is_sorted());
}

/// Race: the writer overwrites the slot that the reader is about to take.
#[test]
fn an_item_is_read_or_lost_and_never_both() {
    model(|| write_beside_a_reader(1, 3, 2));
}

/// Race: the writer goes around the ring between the reader's looks at the
/// position and at the slot.
#[test]
fn a_reader_that_is_overtaken_takes_no_newer_item_for_an_older_one() {
    model(|| write_beside_a_reader(2, 5, 2));
}

/// Race: the writer writes and goes, between the reader's look for items and
/// its look for the writer.
#[test]
fn who_sees_the_writer_gone_sees_its_last_item() {
    model(|| {
        let (mut writer, mut reader) = overwrite::channel(2);
        let thread = thread::spawn(move || assert!(writer.push(7).is_none()));
        let first = reader.pop();
        if reader.is_abandoned() {
            assert_eq!(first.or_else(|| reader.pop()), Some(7));
        }
        thread.join().unwrap();
    });
}

/// Race: reader and writer exchange cells while items are dropped.
#[test]
fn every_item_is_dropped_exactly_once() {
    model(|| {
        let drops = DropCount::default();
        let (mut writer, mut reader) = overwrite::channel(1);
        let tokens = [(); 3].map(|()| drops.token());
        let thread = thread::spawn(move || {
            for token in tokens {
                drop(writer.push(token));
            }
        });
        drop(reader.pop());
        drop(reader);
        thread.join().unwrap();
        assert_eq!(drops.value(), 3);
    });
}
