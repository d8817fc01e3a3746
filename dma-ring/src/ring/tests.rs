use super::*;
use crate::{FramePool, PoolConfig};
use std::collections::VecDeque;
use std::vec::Vec;

/// A ring that finishes each frame at once, and may promise more slots than it
/// has.
struct Instant {
    frames: VecDeque<Frame>,
    slots: usize,
    promised: usize,
}

impl Instant {
    fn new(slots: usize, promised: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            slots,
            promised,
        }
    }
}

impl DmaRing for Instant {
    fn post(&mut self, frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.frames.len() == self.slots {
            return Err(RingFull(frame));
        }
        self.frames.push_back(frame);
        Ok(())
    }

    fn reap(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    fn kick(&mut self) {}

    fn free_slots(&self) -> usize {
        self.promised - self.frames.len()
    }
}

fn batch(pool: &FramePool, count: usize) -> FrameBatch {
    core::iter::from_fn(|| pool.alloc()).take(count).collect()
}

fn indices(batch: &FrameBatch) -> Vec<u32> {
    batch.iter().map(Frame::index).collect()
}

fn pool() -> FramePool {
    let config = PoolConfig {
        frames: 2 * BATCH as u32,
        buffer_size: 64,
        headroom: 0,
    };
    FramePool::new(config).unwrap()
}

#[test]
fn what_finds_no_slot_stays_in_the_batch_in_order() {
    let pool = pool();
    for promised in [3, 5, BATCH] {
        let mut ring = Instant::new(3, promised);
        let mut offered = batch(&pool, 6);
        let order = indices(&offered);
        assert_eq!(ring.post_from(&mut offered), 3);
        assert_eq!(indices(&offered), order[3..], "{promised} slots promised");
        let mut reaped = FrameBatch::new();
        assert_eq!(ring.reap_into(&mut reaped, BATCH), 3);
        assert_eq!(indices(&reaped), order[..3]);
    }
    assert_eq!(pool.count_free(), pool.frames());
}

#[test]
fn a_full_batch_is_posted_and_reaped() {
    let pool = pool();
    let mut ring = Instant::new(BATCH, BATCH);
    let mut offered = batch(&pool, BATCH);
    assert_eq!(ring.post_from(&mut offered), BATCH);
    assert!(offered.is_empty());
    assert_eq!(ring.reap_into(&mut offered, usize::MAX), BATCH);
}

#[test]
fn reaping_stops_at_the_limit_and_at_the_end_of_the_batch() {
    let pool = pool();
    let mut ring = Instant::new(8, 8);
    assert_eq!(ring.post_from(&mut batch(&pool, 8)), 8);
    let mut out = batch(&pool, BATCH - 1);
    assert_eq!(ring.reap_into(&mut out, 5), 1);
    assert_eq!(ring.reap_into(&mut out, 5), 0);
    let mut out = FrameBatch::new();
    assert_eq!(ring.reap_into(&mut out, 2), 2);
    assert_eq!(ring.reap_into(&mut out, 9), 5);
}

#[test]
fn a_full_ring_gives_the_frame_back() {
    let pool = pool();
    let mut ring = Instant::new(0, 0);
    let frame = pool.alloc().unwrap();
    let index = frame.index();
    let RingFull(back) = ring.post(frame).unwrap_err();
    assert_eq!(back.index(), index);
}
