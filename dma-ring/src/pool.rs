//! Where frames come from and return to.
//!
//! All buffers of a pool lie in one [`DmaRegion`], so that one mapping serves a
//! device. Free buffers form a stack that any thread may push to and pop from:
//!
//! - `head` holds the index of the top buffer and a tag that every pop
//!   increments, in one word. A pop reads the link of the top buffer and then
//!   swings `head`; if the buffer was popped and pushed again in between (ABA),
//!   the tag differs and the pop starts over.
//! - The links stand in an array of their own, since a popping thread may read
//!   the link of a buffer that another thread has just come to own. It never
//!   reads anything else of it.
//!
//! The memory outlives the last handle until the last frame is home. When the
//! last handle ([`FramePool`] or [`FrameCache`]) goes, it closes the stack: it
//! swaps `head` for `CLOSED`, and takes as many from `remaining` as frames are
//! home (and one for itself). A frame that returns later finds `CLOSED` and
//! takes one. Whoever brings `remaining` to zero frees the memory. A push that
//! succeeded before the close is counted by the closer, and one that fails sees
//! `CLOSED`: so each frame is counted once, and no thread touches the pool after
//! it has been counted.
//!
//! A frame that is forgotten never comes home, and then the memory stays for
//! ever: forgetting leaks, and never dangles.

mod chain;

pub use chain::FrameChain;

use crate::frame::{ChecksumStatus, Frame, HashKind, Meta};
use crate::region::{DmaAddr, DmaRegion, RegionError};
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Line, Ordering, Track};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

/// The shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// How many frames.
    pub frames: u32,
    /// Bytes of one buffer, headroom included; a multiple of 64.
    pub buffer_size: u32,
    /// Bytes that stay free before the data of a fresh frame, for headers.
    pub headroom: u32,
}

impl Default for PoolConfig {
    /// 4096 frames with room for a packet of 2048 bytes after 128 of headroom.
    fn default() -> Self {
        Self {
            frames: 4096,
            buffer_size: 2048 + 128,
            headroom: 128,
        }
    }
}

/// Why a pool could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The shape makes no sense.
    #[error(
        "a pool needs 1 to 2^24-2 frames, buffers of a multiple of 64 bytes below 2^30, \
         and less headroom than buffer: {0:?}"
    )]
    Config(PoolConfig),
    /// The region that was offered is too small.
    #[error("the pool needs {needed} bytes and its region has {have}")]
    RegionTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes of the region.
        have: usize,
    },
    /// Somebody else holds the region too. Its bytes would have two owners.
    #[error("the region that is given to a pool must have no other handle")]
    RegionShared,
    /// No memory for the buffers.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// How many bits of `head` are the index of the top buffer. A tag follows, and
/// the highest bit says closed.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// No buffer: the end of a chain.
const NIL: u32 = INDEX_MASK as u32;
/// The value of `head` when all handles are gone. A tag has 39 bits, so no open
/// head has this bit.
const CLOSED: u64 = 1 << 63;
/// A thread that stands still inside of a pop is deceived when the others pop
/// exactly a multiple of 2^39 times meanwhile: hours, at the full speed of one
/// contended word.
const TAG_STEP: u64 = 1 << INDEX_BITS;

fn top(head: u64) -> u32 {
    (head & INDEX_MASK) as u32
}

/// `head` after a push of `index`: the tag stays.
fn pushed(head: u64, index: u32) -> u64 {
    (head & !INDEX_MASK) | u64::from(index)
}

/// `head` after a pop that leaves `index` on top: the tag moves on.
fn popped(head: u64, index: u32) -> u64 {
    (pushed(head, index).wrapping_add(TAG_STEP)) & !CLOSED
}

/// What a pool's handles and frames share.
pub(crate) struct Shared {
    region: DmaRegion,
    /// What has to be added to an address in this process for the address as
    /// devices see it, modulo 2^64.
    dma_delta: u64,
    metas: NonNull<[Meta]>,
    links: Box<[AtomicU32]>,
    headroom: u32,
    head: Line<AtomicU64>,
    /// 64 bits, so that even forgotten clones cannot make it wrap.
    handles: AtomicU64,
    /// Frames that must still come home, and the close itself, before the
    /// memory can go.
    remaining: AtomicUsize,
    /// Read by every use and written by the free, so that loom sees a use that
    /// the free does not wait for.
    alive: Track,
}

// SAFETY: the raw pointers are to memory that `Shared` owns; a buffer and its
// metadata are reached only through the `Frame` that owns them.
unsafe impl Send for Shared {}
// SAFETY: as above; everything else is atomic or constant.
unsafe impl Sync for Shared {}

impl Shared {
    /// The address, as devices see it, of the byte `offset` behind the start of
    /// a buffer of this pool.
    #[inline]
    pub(crate) fn dma_addr_of(&self, buffer: NonNull<u8>, offset: u32) -> DmaAddr {
        let buffer = buffer.as_ptr().addr() as u64;
        // Inside of the region, whose addresses do not wrap.
        let buffer = buffer.wrapping_add(self.dma_delta);
        DmaAddr(buffer.wrapping_add(u64::from(offset)))
    }

    #[inline]
    pub(crate) fn region(&self) -> &DmaRegion {
        &self.region
    }

    fn meta(&self, index: u32) -> NonNull<Meta> {
        debug_assert!((index as usize) < self.links.len());
        // SAFETY: every index on the free list is below the number of metas.
        unsafe { self.metas.cast::<Meta>().add(index as usize) }
    }

    #[inline]
    fn link(&self, index: u32) -> &AtomicU32 {
        debug_assert!((index as usize) < self.links.len());
        // SAFETY: an index comes from a buffer's metadata, or from `head` or a
        // link and is not `NIL`: there are as many links as buffers.
        unsafe { self.links.get_unchecked(index as usize) }
    }

    /// Pushes one buffer, or counts it if the pool is closed.
    ///
    /// # Safety
    /// The caller owns the buffer of `meta`, and gives it up.
    #[inline]
    pub(crate) unsafe fn give_back(meta: NonNull<Meta>) {
        // SAFETY: the caller owns the buffer, so its metadata is alive.
        let index = unsafe { (*meta.as_ptr()).index };
        // SAFETY: as above.
        let pool = unsafe { (*meta.as_ptr()).pool };
        // SAFETY: the chain is the one buffer that the caller gives up.
        unsafe { Self::push_chain(pool, index, index, 1) };
    }

    /// Pushes the chain of buffers that `first` to `last` link, `count` long.
    ///
    /// # Safety
    /// The caller owns all buffers of the chain, and gives them up. `pool` is
    /// theirs.
    unsafe fn push_chain(pool: NonNull<Self>, first: u32, last: u32, count: usize) {
        // SAFETY: buffers that the caller still owns keep the pool alive; after
        // the exchange below succeeds, it is not touched any more.
        let shared = unsafe { pool.as_ref() };
        shared.alive.read();
        // Relaxed: the value is validated by the exchange.
        let mut head = shared.head.0.load(Ordering::Relaxed);
        while head != CLOSED {
            shared.link(last).store(top(head), Ordering::Relaxed);
            // Release: the next owner sees the last owner's writes to the link,
            // the metadata and the bytes.
            match shared.head.0.compare_exchange_weak(
                head,
                pushed(head, first),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
        // SAFETY: the stack is closed, and these `count` frames are home.
        unsafe { Self::count_home(pool, count) };
    }

    /// Pops at most `want` buffers and appends them to `out`, as far as it has
    /// room.
    ///
    /// They are written down while the chain is followed, and count for nothing
    /// when the exchange fails. When it succeeds, nobody has popped meanwhile (the
    /// tag), so nobody has come to own one of them and changed its link: what was
    /// written down is the chain.
    fn pop_into(&self, want: usize, out: &mut Vec<NonNull<Meta>>) {
        // Acquire: pairs with the Release of the pushes that made the chain.
        // (All later pushes and pops are read-modify-writes of the same word,
        // and so continue the release sequence.)
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            let (mut rest, mut taken) = (top(head), 0);
            for slot in out.spare_capacity_mut().iter_mut().take(want) {
                if rest == NIL {
                    break;
                }
                slot.write(self.meta(rest));
                taken += 1;
                // Relaxed: garbled by a concurrent owner only if the exchange
                // is going to fail; always a valid index or NIL.
                rest = self.link(rest).load(Ordering::Relaxed);
            }
            if taken == 0 {
                return;
            }
            match self.head.0.compare_exchange_weak(
                head,
                popped(head, rest),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    // SAFETY: so many were written behind the end, within the
                    // capacity.
                    unsafe { out.set_len(out.len() + taken) };
                    return;
                }
                Err(now) => head = now,
            }
        }
    }

    /// Pops one buffer; see [`pop_into`](Self::pop_into).
    fn pop(&self) -> Option<NonNull<Meta>> {
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            let first = top(head);
            if first == NIL {
                return None;
            }
            let rest = self.link(first).load(Ordering::Relaxed);
            match self.head.0.compare_exchange_weak(
                head,
                popped(head, rest),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(self.meta(first)),
                Err(now) => head = now,
            }
        }
    }

    /// One handle is gone; the last one closes the pool.
    ///
    /// # Safety
    /// The caller gives up one handle, and does not touch the pool afterwards.
    unsafe fn release_handle(pool: NonNull<Self>) {
        // SAFETY: the handle that the caller holds keeps the pool alive.
        let shared = unsafe { pool.as_ref() };
        shared.alive.read();
        // AcqRel, as in `Arc`: what other handles did comes before the close.
        if shared.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Acquire: pairs with the pushes, so that freeing comes after them.
        let head = shared.head.0.swap(CLOSED, Ordering::AcqRel);
        let mut home = 0;
        let mut index = top(head);
        while index != NIL {
            home += 1;
            index = shared.link(index).load(Ordering::Relaxed);
        }
        // The close counts as one more, so that the frames that come home
        // meanwhile cannot free the pool under this walk.
        // SAFETY: the stack is closed, and the frames on it are counted once.
        unsafe { Self::count_home(pool, home + 1) };
    }

    /// Counts frames that came home after the close, or with it.
    ///
    /// # Safety
    /// The pool is closed, these frames were not counted before, and the caller
    /// does not touch the pool afterwards.
    unsafe fn count_home(pool: NonNull<Self>, count: usize) {
        // SAFETY: what is being counted here has kept the pool alive.
        let shared = unsafe { pool.as_ref() };
        // AcqRel: everything that was done with the memory, on any thread,
        // comes before it is freed.
        if shared.remaining.fetch_sub(count, Ordering::AcqRel) == count {
            // SAFETY: nobody holds a handle or a frame any more.
            drop(unsafe { Box::from_raw(pool.as_ptr()) });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.alive.write();
        // SAFETY: the metadata was leaked from a box when the pool was made.
        drop(unsafe { Box::from_raw(self.metas.as_ptr()) });
    }
}

/// A pool of frames, and a handle to it: clones share the pool.
///
/// Its memory is one [`DmaRegion`]. Allocating and freeing are lock-free, from
/// any thread. A thread that handles many frames takes a [`FrameCache`].
pub struct FramePool {
    shared: NonNull<Shared>,
}

// SAFETY: a handle is like an `Arc<Shared>`, and `Shared` is `Send` and `Sync`.
unsafe impl Send for FramePool {}
// SAFETY: as above.
unsafe impl Sync for FramePool {}

impl FramePool {
    /// Makes a pool in memory of its own.
    ///
    /// # Errors
    /// [`PoolError`] when the shape makes no sense or memory is short.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let needed = bytes_needed(config)?;
        Self::in_region(config, DmaRegion::alloc(needed)?)
    }

    /// Makes a pool in `region`, with the buffers one after another from its
    /// start. The region is given to the pool: nobody else has a handle to it
    /// before, and who takes one [from the pool](Self::region) afterwards is a
    /// device.
    ///
    /// # Errors
    /// [`PoolError`] when the shape makes no sense or does not fit, or when the
    /// region has another handle.
    pub fn in_region(config: PoolConfig, mut region: DmaRegion) -> Result<Self, PoolError> {
        let needed = bytes_needed(config)?;
        if !region.is_unshared() {
            return Err(PoolError::RegionShared);
        }
        if region.len() < needed {
            return Err(PoolError::RegionTooSmall {
                needed,
                have: region.len(),
            });
        }
        let frames = config.frames as usize;
        let links = (1..=config.frames)
            .map(|next| AtomicU32::new(if next == config.frames { NIL } else { next }))
            .collect();
        let base = region.base();
        let shared = NonNull::from(Box::leak(Box::new(Shared {
            dma_delta: region
                .dma_addr()
                .0
                .wrapping_sub(base.as_ptr().addr() as u64),
            region,
            metas: NonNull::from(&mut [] as &mut [Meta]),
            links,
            headroom: config.headroom,
            head: Line(AtomicU64::new(0)),
            handles: AtomicU64::new(1),
            remaining: AtomicUsize::new(frames + 1),
            alive: Track::new(),
        })));
        let metas: Box<[Meta]> = (0..config.frames)
            .map(|index| {
                // SAFETY: all buffers fit in the region: checked above.
                let buffer = unsafe { base.add(index as usize * config.buffer_size as usize) };
                Meta::new(shared, buffer, index, config.buffer_size)
            })
            .collect::<Vec<_>>()
            .into_boxed_slice();
        // SAFETY: nobody else has the pointer yet.
        unsafe { (*shared.as_ptr()).metas = NonNull::from(Box::leak(metas)) };
        Ok(Self { shared })
    }

    /// Takes one frame: no data, the pool's headroom before it, no metadata.
    /// `None` when all frames are out.
    #[must_use]
    pub fn alloc(&self) -> Option<Frame> {
        let shared = self.shared();
        let meta = shared.pop()?;
        // SAFETY: the buffer was popped from the free list: it is ours.
        let mut frame = unsafe { Frame::from_meta(meta) };
        frame.reset(shared.headroom as usize);
        Some(frame)
    }

    /// A cache for one thread that keeps up to `size` frames at hand.
    #[must_use]
    pub fn cache(&self, size: usize) -> FrameCache {
        let size = size.max(2);
        FrameCache {
            free: Vec::with_capacity(size),
            headroom: self.headroom(),
            pool: self.clone(),
        }
    }

    /// The memory of all buffers, to be mapped for devices.
    ///
    /// Whoever reads or writes it is a device, and keeps to the descriptors as
    /// one: the bytes of a frame that is not posted belong to the frame.
    #[must_use]
    pub fn region(&self) -> &DmaRegion {
        self.shared().region()
    }

    /// How many frames the pool has.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.shared().links.len()
    }

    /// Bytes that stay free before the data of a fresh frame.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.shared().headroom as usize
    }

    /// Counts the frames that are home, by taking them all and giving them
    /// back: for tests and for reports at rest, not for the packet path. Frames
    /// in caches are not home.
    #[must_use]
    pub fn count_free(&self) -> usize {
        let frames: Vec<Frame> = core::iter::from_fn(|| self.alloc()).collect();
        frames.len()
    }

    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: the handle keeps the pool alive.
        let shared = unsafe { self.shared.as_ref() };
        shared.alive.read();
        shared
    }
}

fn bytes_needed(config: PoolConfig) -> Result<usize, PoolError> {
    let PoolConfig {
        frames,
        buffer_size,
        headroom,
    } = config;
    let sound = (1..NIL).contains(&frames)
        && (64..1 << 30).contains(&buffer_size)
        && buffer_size % 64 == 0
        && headroom < buffer_size;
    let bytes = (frames as usize).checked_mul(buffer_size as usize);
    bytes.filter(|_| sound).ok_or(PoolError::Config(config))
}

impl Clone for FramePool {
    fn clone(&self) -> Self {
        // Relaxed, as in `Arc`: a new handle comes from an old one.
        self.shared().handles.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared,
        }
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        // SAFETY: this is the handle that is given up.
        unsafe { Shared::release_handle(self.shared) };
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool")
            .field("frames", &self.frames())
            .field("headroom", &self.headroom())
            .field("region", self.region())
            .finish()
    }
}

/// One thread's stock of a pool's frames.
///
/// Allocating and freeing touch no shared memory until the stock runs out or
/// overflows; then half of it is exchanged with the pool at once.
#[derive(Debug)]
pub struct FrameCache {
    /// The stock. It never grows: its capacity is the cache's size.
    free: Vec<NonNull<Meta>>,
    /// The pool's, at hand.
    headroom: usize,
    pool: FramePool,
}

// SAFETY: the stock is of buffers that the cache owns, as frames are `Send`.
unsafe impl Send for FrameCache {}

impl FrameCache {
    /// Takes one frame: no data, the pool's headroom before it, no metadata.
    /// `None` when the pool is exhausted.
    #[must_use]
    #[inline]
    pub fn alloc(&mut self) -> Option<Frame> {
        let meta = match self.free.pop() {
            Some(meta) => meta,
            None => self.refill()?,
        };
        // SAFETY: the cache owned the buffer, and hands it over.
        let mut frame = unsafe { Frame::from_meta(meta) };
        frame.reset(self.headroom);
        Some(frame)
    }

    /// Takes at most `count` frames, as [`alloc`](Self::alloc) does, and passes each
    /// to `give`. Returns how many.
    #[inline]
    pub fn alloc_each(&mut self, count: usize, mut give: impl FnMut(Frame)) -> usize {
        let headroom = self.headroom;
        let mut left = count;
        while left > 0 {
            if self.free.is_empty() {
                let Some(frame) = self.alloc() else {
                    break;
                };
                give(frame);
                left -= 1;
            }
            let run = left.min(self.free.len());
            let from = self.free.len() - run;
            for meta in self.free.drain(from..) {
                // SAFETY: the cache owned the buffer, and hands it over.
                let mut frame = unsafe { Frame::from_meta(meta) };
                frame.reset(headroom);
                give(frame);
            }
            left -= run;
        }
        count - left
    }

    /// Takes a frame back, into the stock if it is of this cache's pool.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        if frame.meta().pool != self.pool.shared {
            return;
        }
        if self.free.len() == self.free.capacity() {
            self.flush(self.free.len() / 2);
        }
        self.free.push(frame.into_meta());
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// Takes half a stock from the pool, and one buffer of it.
    #[cold]
    #[must_use]
    fn refill(&mut self) -> Option<NonNull<Meta>> {
        let half = self.free.capacity().div_ceil(2);
        self.pool.shared().pop_into(half, &mut self.free);
        self.free.pop()
    }

    /// Returns the `count` frames at the bottom of the stock, which are the
    /// coldest, to the pool.
    #[cold]
    fn flush(&mut self, count: usize) {
        let coldest = self.free.drain(..count);
        // SAFETY: the cache owned the buffer, and gives it up.
        let frames = coldest.map(|meta| unsafe { Frame::from_meta(meta) });
        drop(frames.collect::<FrameChain>());
    }
}

impl Drop for FrameCache {
    fn drop(&mut self) {
        self.flush(self.free.len());
    }
}

impl Meta {
    fn new(pool: NonNull<Shared>, buffer: NonNull<u8>, index: u32, capacity: u32) -> Self {
        Self {
            pool,
            buffer,
            index,
            offset: 0,
            len: 0,
            capacity,
            hash: 0,
            cookie: 0,
            timestamp_ns: 0,
            vlan_tci: 0,
            checksum_start: 0,
            checksum_offset: 0,
            gso_size: 0,
            flags: 0,
            hash_kind: HashKind::None,
            checksum: ChecksumStatus::None,
            track: Track::new(),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
