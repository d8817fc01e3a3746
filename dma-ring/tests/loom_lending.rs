//! The races of the lending ring, under loom.
//!
//! Each of these changes of `lending` was made on purpose, and made a model
//! fail:
//!
//! - `tail` or `head` stored, or loaded, `Relaxed` (four changes);
//! - the limit one slot too far;
//! - `settle` before the item was read or taken.
#![cfg(loom)]

mod loom_support;

use loom::{model, thread};
use loom_support::DropCount;
use softnet_dma_ring::lending;

/// Race: the borrower leaves the only slot while the lender collects it and lends
/// it again, and looks while the lender writes.
#[test]
fn a_slot_is_lent_again_only_when_the_borrower_is_done_with_it() {
    model(|| {
        let (mut lender, mut borrower) = lending::channel(1);
        let reader = thread::spawn(move || {
            let got: Vec<u32> = (0..2).filter_map(|_| borrower.read(|item| *item)).collect();
            (got, borrower)
        });
        let (mut sent, mut home) = (Vec::new(), Vec::new());
        for item in 0..3 {
            if lender.lend(item).is_ok() {
                sent.push(item);
            }
            lender.collect(|item| home.push(item));
        }
        let (mut got, mut borrower) = reader.join().unwrap();
        got.extend(std::iter::from_fn(|| borrower.read(|item| *item)));
        lender.collect(|item| home.push(item));
        assert_eq!(got, sent);
        assert_eq!(home, sent);
    });
}

/// Race: the borrower takes one item for good and leaves another, while the lender
/// collects and then goes.
#[test]
fn every_item_ends_in_one_place() {
    model(|| {
        let drops = DropCount::default();
        let (mut lender, mut borrower) = lending::channel(2);
        assert!(lender.lend(drops.token()).is_ok());
        assert!(lender.lend(drops.token()).is_ok());
        let reader = thread::spawn(move || {
            let taken = borrower.take();
            assert!(borrower.read(|_| ()).is_some());
            taken
        });
        let mut home = 0;
        lender.collect(|_| home += 1);
        drop(lender);
        drop(reader.join().unwrap());
        assert!(home <= 1);
        assert_eq!(drops.value(), 2);
    });
}
