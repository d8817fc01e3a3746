use super::*;
use crate::DmaAddr;
use proptest::prelude::*;
use std::collections::HashSet;
use std::thread;

fn config(frames: u32) -> PoolConfig {
    PoolConfig {
        frames,
        buffer_size: 64,
        headroom: 16,
    }
}

#[test]
fn shapes_that_make_no_sense_are_refused() {
    let bad = [
        PoolConfig {
            frames: 0,
            ..config(1)
        },
        PoolConfig {
            frames: NIL,
            ..config(1)
        },
        PoolConfig {
            buffer_size: 65,
            ..config(1)
        },
        PoolConfig {
            buffer_size: 0,
            headroom: 0,
            ..config(1)
        },
        PoolConfig {
            buffer_size: 1 << 30,
            ..config(1)
        },
        PoolConfig {
            headroom: 64,
            ..config(1)
        },
    ];
    for config in bad {
        assert_eq!(
            FramePool::new(config).err(),
            Some(PoolError::Config(config))
        );
    }
}

#[test]
fn a_region_that_is_too_small_or_has_another_handle_is_refused() {
    let region = DmaRegion::alloc(4096).unwrap();
    let other = region.clone();
    let shared = FramePool::in_region(config(2), region);
    assert_eq!(shared.err(), Some(PoolError::RegionShared));
    let small = FramePool::in_region(config(65), other);
    assert_eq!(
        small.err(),
        Some(PoolError::RegionTooSmall {
            needed: 65 * 64,
            have: 4096
        })
    );
}

#[test]
fn frames_are_distinct_aligned_and_fresh() {
    let pool = FramePool::new(config(40)).unwrap();
    let frames: Vec<Frame> = core::iter::from_fn(|| pool.alloc()).collect();
    let addresses: HashSet<DmaAddr> = frames.iter().map(Frame::dma_addr).collect();
    assert_eq!((frames.len(), addresses.len()), (40, 40));
    for mut frame in frames {
        assert_eq!(
            (frame.headroom(), frame.len(), frame.tailroom()),
            (16, 0, 48)
        );
        frame.reset(0);
        assert_eq!(frame.put(64).unwrap().as_ptr().addr() % 64, 0);
        frame.set_cookie(1);
    }
    assert_eq!(pool.alloc().unwrap().cookie(), 0);
}

#[test]
fn the_tag_wraps_without_closing_the_pool() {
    let tag_ends = CLOSED - TAG_STEP;
    assert_eq!(popped(pushed(tag_ends, 5), 7), 7);
    assert_eq!(pushed(tag_ends, NIL) & CLOSED, 0);
    assert_eq!(top(pushed(tag_ends, NIL)), NIL);
}

#[test]
fn a_frame_outlives_every_handle() {
    let pool = FramePool::new(config(2)).unwrap();
    let mut cache = pool.cache(2);
    let mut frame = cache.alloc().unwrap();
    drop((pool, cache));
    frame.put(4).unwrap().copy_from_slice(b"here");
    assert_eq!(frame.data(), b"here");
}

#[test]
fn a_forgotten_frame_leaks_and_the_others_come_home() {
    let pool = FramePool::new(config(3)).unwrap();
    core::mem::forget(pool.alloc());
    drop(pool.alloc());
    assert_eq!(pool.count_free(), 2);
}

#[test]
fn a_cache_takes_no_frame_of_another_pool() {
    let (mine, other) = (
        FramePool::new(config(2)).unwrap(),
        FramePool::new(config(2)).unwrap(),
    );
    let mut cache = mine.cache(2);
    cache.free(other.alloc().unwrap());
    assert_eq!((mine.count_free(), other.count_free()), (2, 2));
}

#[test]
fn a_cache_holds_no_more_than_its_size_and_brings_all_home() {
    let pool = FramePool::new(config(16)).unwrap();
    let mut cache = pool.cache(4);
    let frames: Vec<Frame> = core::iter::from_fn(|| cache.alloc()).collect();
    assert_eq!(frames.len(), 16);
    for frame in frames {
        cache.free(frame);
        assert!(cache.free.len() <= 4);
    }
    assert!(pool.count_free() >= 12);
    drop(cache);
    assert_eq!(pool.count_free(), 16);
}

#[derive(Clone, Debug)]
enum Op {
    Alloc,
    CacheAlloc(usize),
    Drop(usize),
    CacheFree(usize, usize),
    Chain(usize),
    SendHome,
    NewCache(usize),
    DropCache(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let any = any::<usize>();
    prop_oneof![
        2 => Just(Op::Alloc),
        4 => any.prop_map(Op::CacheAlloc),
        2 => any.prop_map(Op::Drop),
        4 => (any, any).prop_map(|(cache, frame)| Op::CacheFree(cache, frame)),
        3 => any.prop_map(Op::Chain),
        1 => Just(Op::SendHome),
        1 => (0_usize..9).prop_map(Op::NewCache),
        1 => any.prop_map(Op::DropCache),
    ]
}

/// A pool, its caches, a chain, and the frames that are out.
struct Model {
    pool: FramePool,
    caches: Vec<FrameCache>,
    chain: FrameChain,
    out: Vec<Frame>,
}

impl Model {
    fn took(&mut self, frame: Option<Frame>, reachable: usize) {
        assert!(
            frame.is_some() || reachable == 0,
            "a free frame was not found"
        );
        if let Some(mut frame) = frame {
            let index = frame.index();
            assert!(self.out.iter().all(|f| f.index() != index), "two owners");
            frame.put(4).unwrap().copy_from_slice(&index.to_ne_bytes());
            self.out.push(frame);
        }
    }

    fn pick(&mut self, n: usize) -> Option<Frame> {
        let frame = (!self.out.is_empty()).then(|| self.out.swap_remove(n % self.out.len()))?;
        assert_eq!(
            frame.data(),
            frame.index().to_ne_bytes(),
            "bytes of another"
        );
        Some(frame)
    }

    fn home(&self) -> usize {
        let cached: usize = self.caches.iter().map(|c| c.free.len()).sum();
        self.pool.frames() - self.out.len() - cached - self.chain.len()
    }

    fn apply(&mut self, op: &Op) {
        let caches = self.caches.len().max(1);
        match *op {
            Op::Alloc => {
                let home = self.home();
                let frame = self.pool.alloc();
                self.took(frame, home);
            }
            Op::CacheAlloc(cache) => {
                let home = self.home();
                if let Some(cache) = self.caches.get_mut(cache % caches) {
                    let reachable = home + cache.free.len();
                    let frame = cache.alloc();
                    self.took(frame, reachable);
                }
            }
            Op::Drop(frame) => drop(self.pick(frame)),
            Op::CacheFree(cache, frame) => {
                let frame = self.pick(frame);
                if let (Some(cache), Some(frame)) = (self.caches.get_mut(cache % caches), frame) {
                    cache.free(frame);
                }
            }
            Op::Chain(frame) => {
                let frame = self.pick(frame);
                self.chain.extend(frame);
            }
            Op::SendHome => self.chain.send_home(),
            Op::NewCache(size) => self.caches.push(self.pool.cache(size)),
            Op::DropCache(cache) => {
                if !self.caches.is_empty() {
                    drop(self.caches.swap_remove(cache % caches));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_frame_has_two_owners_and_all_come_home(
        ops in prop::collection::vec(op(), 0..200),
        frames in 1_u32..20,
    ) {
        let pool = FramePool::new(config(frames)).unwrap();
        let mut model = Model { pool, caches: Vec::new(), chain: FrameChain::new(), out: Vec::new() };
        for op in &ops {
            model.apply(op);
            assert_eq!(model.pool.count_free(), model.home());
        }
        let Model { pool, caches, chain, out } = model;
        drop((caches, chain, out));
        prop_assert_eq!(pool.count_free(), frames as usize);
    }
}

#[test]
fn threads_that_allocate_and_free_never_share_a_frame() {
    let pool = FramePool::new(config(32)).unwrap();
    let threads = [0_u64, 1, 2].map(|id| {
        let mut cache = pool.cache(4);
        thread::spawn(move || {
            let mut held: Vec<Frame> = Vec::new();
            for n in 0..20_000_u64 {
                let mark = (id << 32 | n).to_ne_bytes();
                if let Some(mut frame) = if n % 3 == 0 {
                    cache.pool().alloc()
                } else {
                    cache.alloc()
                } {
                    frame.put(8).unwrap().copy_from_slice(&mark);
                    held.push(frame);
                }
                if held.len() > 6 || n % 5 == 0 {
                    for frame in held.drain(..) {
                        assert_eq!(frame.data()[4..], mark[4..], "another thread wrote to it");
                        if n % 2 == 0 {
                            cache.free(frame)
                        } else {
                            drop(frame)
                        }
                    }
                }
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(pool.count_free(), 32);
}

#[test]
fn a_chain_brings_all_its_frames_home_at_once() {
    let pool = FramePool::new(config(8)).unwrap();
    let mut chain: FrameChain = (0..5).filter_map(|_| pool.alloc()).collect();
    assert_eq!((chain.len(), pool.count_free()), (5, 3));
    chain.send_home();
    assert!(chain.is_empty());
    assert_eq!(pool.count_free(), 8);
    chain.extend(pool.alloc());
    drop(chain);
    assert_eq!(pool.count_free(), 8);
}

#[test]
fn a_chain_of_frames_of_two_pools_brings_each_to_its_own() {
    let pools = [(); 2].map(|()| FramePool::new(config(6)).unwrap());
    let mut chain = FrameChain::new();
    for n in [0, 0, 1, 0, 1, 1] {
        chain.push(pools[n].alloc().unwrap());
    }
    drop(chain);
    assert_eq!(pools.map(|pool| pool.count_free()), [6, 6]);
}

#[test]
fn a_chain_outlives_every_handle() {
    let pool = FramePool::new(config(4)).unwrap();
    let mut chain: FrameChain = (0..3).filter_map(|_| pool.alloc()).collect();
    let frame = pool.alloc().unwrap();
    drop(pool);
    chain.push(frame);
    assert_eq!(chain.len(), 4);
}

#[test]
fn frames_taken_a_run_at_a_time_are_all_of_the_pools_and_come_home() {
    let pool = FramePool::new(config(64)).unwrap();
    let mut cache = pool.cache(16);
    let mut taken = Vec::new();
    assert_eq!(cache.alloc_each(40, |frame| taken.push(frame)), 40);
    assert_eq!(cache.alloc_each(40, |frame| taken.push(frame)), 24);
    assert_eq!(cache.alloc_each(1, |frame| taken.push(frame)), 0);
    let mut indices: Vec<u32> = taken.iter().map(Frame::index).collect();
    indices.sort_unstable();
    assert!(indices.iter().copied().eq(0..64));
    taken.drain(..).for_each(|frame| cache.free(frame));
    drop(cache);
    assert_eq!(pool.count_free(), 64);
}
