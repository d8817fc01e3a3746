//! The races of the frame pool, under loom.
//!
//! The search is exhaustive: no bound on preemptions, unless
//! `LOOM_MAX_PREEMPTIONS` sets one. Each of these changes of `pool` was made on
//! purpose, and made a model fail:
//!
//! - no tag, so that a pop takes a buffer that went and came back for the same;
//! - the push, the pop, or the pop's first look at `head`, `Relaxed`;
//! - the close `Relaxed`, or by a load and a store, not a swap;
//! - the close not counted itself, so that a late frame frees under it;
//! - every handle closing, not the last (an abort);
//! - the count of handles `Relaxed`;
//! - the count of frames at home `Relaxed`, or without Acquire;
//! - a push that does not look for the close, and a late frame not counted;
//! - a chain that is counted as one frame, or linked from its wrong end.
#![cfg(loom)]

mod loom_support;

use loom::{model, thread};
use loom_support::DropCount;
use softnet_dma_ring::{DmaAddr, DmaRegion, Frame, FrameChain, FramePool, PoolConfig};
use std::ptr::NonNull;

/// A pool whose memory adds one to the count when it is freed.
fn counted_pool(frames: u32) -> (FramePool, DropCount) {
    let config = PoolConfig {
        frames,
        buffer_size: 64,
        headroom: 0,
    };
    let freed = DropCount::default();
    let len = frames as usize * 64;
    let mut memory = vec![0_u64; len / 8];
    let base = NonNull::from(&mut memory[..]).cast();
    let keep_alive = Box::new((memory, freed.token()));
    // SAFETY: the vector's memory lives as long as `keep_alive`, which nobody
    // else reaches.
    let region = unsafe { DmaRegion::from_foreign(base, len, DmaAddr(0x1000), keep_alive) };
    let pool = FramePool::in_region(config, region).unwrap();
    (pool, freed)
}

/// Takes a frame and proves that nobody else has it: loom sees the write to its
/// metadata race with any other owner's.
fn owned(pool: &FramePool) -> Option<Frame> {
    let mut frame = pool.alloc()?;
    let mark = frame.index() + 1;
    frame.set_cookie(mark);
    Some(frame)
}

/// Race (ABA): a pop has read the link of the top buffer; others take that
/// buffer and the next, and bring the first one back.
#[test]
fn a_frame_that_came_back_meanwhile_does_not_deceive_a_pop() {
    model(|| {
        let (pool, freed) = counted_pool(3);
        let other = pool.clone();
        let thread = thread::spawn(move || owned(&other));
        let first = owned(&pool);
        let second = owned(&pool);
        drop(first);
        let third = thread.join().unwrap();
        let fourth = owned(&pool);
        let live = [&second, &third, &fourth].map(|f| f.as_ref().map(Frame::index));
        for (n, index) in live.iter().enumerate() {
            assert!(index.is_some(), "three frames, three owners");
            assert!(!live[..n].contains(index), "one frame, two owners");
        }
        drop((second, third, fourth));
        assert_eq!(pool.count_free(), 3);
        drop(pool);
        assert_eq!(freed.value(), 1);
    });
}

/// Race: one thread drops a frame while another takes it.
#[test]
fn the_next_owner_sees_all_that_the_last_one_did() {
    model(|| {
        let (pool, _) = counted_pool(1);
        let other = pool.clone();
        let thread = thread::spawn(move || owned(&other).map(drop));
        let here = owned(&pool).map(drop);
        let there = thread.join().unwrap();
        assert!(here.is_some() || there.is_some());
        assert_eq!(pool.count_free(), 1);
    });
}

/// Race: frames come home on two threads while the last handle closes the pool.
#[test]
fn the_memory_is_freed_once_when_the_last_frame_comes_home_after_the_last_handle() {
    model(|| {
        let (pool, freed) = counted_pool(3);
        let frames = [(); 2].map(|()| owned(&pool).unwrap());
        let threads = frames.map(|frame| thread::spawn(move || drop(frame)));
        drop(pool);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(freed.value(), 1);
    });
}

/// Race: two handles go at the same time, while a frame is out.
#[test]
fn only_the_last_handle_closes_the_pool() {
    model(|| {
        let (pool, freed) = counted_pool(2);
        let frame = owned(&pool).unwrap();
        let other = pool.clone();
        let thread = thread::spawn(move || {
            let frame = owned(&other);
            drop(other);
            drop(frame);
        });
        drop(pool);
        thread.join().unwrap();
        assert_eq!(freed.value(), 0, "a frame is still out");
        assert_eq!(frame.cookie(), frame.index() + 1);
        drop(frame);
        assert_eq!(freed.value(), 1);
    });
}

/// Race: two handles go at the same time, when every frame is home, so that
/// nothing but the count of handles orders the last use of the one before the
/// free by the other.
#[test]
fn a_handle_that_goes_first_is_done_with_the_pool_before_it_is_freed() {
    model(|| {
        let (pool, freed) = counted_pool(1);
        let other = pool.clone();
        let thread = thread::spawn(move || assert_eq!(other.frames(), 1));
        drop(pool);
        thread.join().unwrap();
        assert_eq!(freed.value(), 1);
    });
}

/// Race: a cache brings a chain of frames home while another thread takes and
/// returns some, and both go.
#[test]
fn a_cache_exchanges_chains_with_the_pool_without_losing_a_frame() {
    model(|| {
        let (pool, freed) = counted_pool(3);
        let mut cache = pool.cache(2);
        let thread = thread::spawn(move || {
            let frames = [cache.alloc(), cache.alloc()];
            for frame in frames.into_iter().flatten() {
                cache.free(frame);
            }
        });
        drop(owned(&pool));
        thread.join().unwrap();
        assert_eq!(pool.count_free(), 3);
        drop(pool);
        assert_eq!(freed.value(), 1);
    });
}

/// Race: two frames come home as a chain while another thread takes two.
#[test]
fn frames_of_a_chain_come_home_together_and_each_has_one_next_owner() {
    model(|| {
        let (pool, freed) = counted_pool(3);
        let chain: FrameChain = [owned(&pool), owned(&pool)].into_iter().flatten().collect();
        let other = pool.clone();
        let thread = thread::spawn(move || [owned(&other), owned(&other)]);
        drop(chain);
        let [first, second] = thread.join().unwrap();
        assert!(first.is_some(), "one was home all the time");
        let third = owned(&pool);
        assert!(third.is_some(), "all are home, and two are taken");
        drop((first, second, third));
        assert_eq!(pool.count_free(), 3);
        drop(pool);
        assert_eq!(freed.value(), 1);
    });
}

/// Race: a chain and a frame come home on two threads while the last handle
/// closes the pool.
#[test]
fn the_memory_is_freed_once_when_a_chain_comes_home_after_the_last_handle() {
    model(|| {
        let (pool, freed) = counted_pool(3);
        let chain: FrameChain = [owned(&pool), owned(&pool)].into_iter().flatten().collect();
        let frame = owned(&pool);
        let threads = [
            thread::spawn(move || drop(chain)),
            thread::spawn(move || drop(frame)),
        ];
        drop(pool);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(freed.value(), 1);
    });
}

/// Race: a forgotten frame, and the last handle goes on another thread.
#[test]
fn a_forgotten_frame_keeps_the_memory() {
    model(|| {
        let (pool, freed) = counted_pool(2);
        let mut lost = std::mem::ManuallyDrop::new(owned(&pool).unwrap());
        let thread = thread::spawn(move || drop(pool));
        lost.set_cookie(5);
        thread.join().unwrap();
        assert_eq!((freed.value(), lost.cookie()), (0, 5));
    });
}
