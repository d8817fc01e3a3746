//! The contract of a queue that is shared with a device.

use crate::{Frame, FrameCache};
use arrayvec::ArrayVec;

/// How many frames one batch holds at most: NAPI's weight.
pub const BATCH: usize = 64;

/// Frames on their way between a ring and the stack, in order.
pub type FrameBatch = ArrayVec<Frame, BATCH>;

/// The ring had no free slot. What was offered comes back to the caller.
#[derive(Debug, thiserror::Error)]
#[error("the ring is full")]
pub struct RingFull<T>(pub T);

/// One queue shared with a device, seen from the driver's side.
///
/// The trait is the same in both directions. On receive, empty frames are
/// posted and filled ones are reaped; on transmit, filled frames are posted and
/// sent ones are reaped. Frames are reaped in the order in which they were
/// posted.
///
/// A posted frame belongs to the device. Since [`Frame`] is move-only, a use
/// after [`post`](DmaRing::post) does not compile.
///
/// Dropping a ring first makes the device let go of it, and then returns every
/// frame that is still posted to its pool.
pub trait DmaRing: Send {
    /// Hands a frame to the device.
    ///
    /// The device need not see it before the next [`kick`](DmaRing::kick).
    ///
    /// On transmit the frame's bytes are one packet without its FCS; on receive
    /// the device may write to the frame's tail room.
    ///
    /// # Errors
    /// [`RingFull`] gives the frame back when there is no free slot.
    fn post(&mut self, frame: Frame) -> Result<(), RingFull<Frame>>;

    /// Takes back the oldest frame that the device has finished with.
    ///
    /// On receive the frame's data is exactly one good packet without its FCS,
    /// and its metadata holds what the device reported of it. Packets that the
    /// device marked bad never appear: the ring counts and reuses them. `None`
    /// means that nothing is finished now, and says nothing about later.
    fn reap(&mut self) -> Option<Frame>;

    /// Makes all posted frames visible to the device (the tail register, or a
    /// wake-up of the kernel). Does nothing when nothing new was posted.
    fn kick(&mut self);

    /// How many frames [`post`](DmaRing::post) would accept now.
    fn free_slots(&self) -> usize;

    /// Posts fresh frames of `cache` until no slot is free, and kicks. Returns
    /// whether that came about: not when the pool is exhausted.
    fn refill(&mut self, cache: &mut FrameCache) -> bool {
        let mut missing = self.free_slots();
        while missing > 0 {
            let Some(frame) = cache.alloc() else {
                break;
            };
            if let Err(RingFull(frame)) = self.post(frame) {
                // A ring that was stopped has room and takes nothing.
                cache.free(frame);
                missing = 0;
                break;
            }
            missing -= 1;
        }
        self.kick();
        missing == 0
    }

    /// Takes back at most `max` finished frames and passes each to `take`, in
    /// order. Returns how many.
    #[inline]
    fn reap_each(&mut self, max: usize, mut take: impl FnMut(Frame)) -> usize
    where
        Self: Sized,
    {
        for taken in 0..max {
            match self.reap() {
                Some(frame) => take(frame),
                None => return taken,
            }
        }
        max
    }

    /// Takes back all finished frames, into `cache`. Returns how many.
    fn reap_home(&mut self, cache: &mut FrameCache) -> usize {
        let mut frames = FrameBatch::new();
        let mut count = 0;
        loop {
            let reaped = self.reap_into(&mut frames, BATCH);
            count += reaped;
            frames.drain(..).for_each(|frame| cache.free(frame));
            if reaped < BATCH {
                return count;
            }
        }
    }

    /// Posts frames from the front of `batch`, in order, and removes them from
    /// it. Returns how many were posted; those that found no slot stay.
    fn post_from(&mut self, batch: &mut FrameBatch) -> usize {
        let take = batch.len().min(self.free_slots());
        let mut posted = 0;
        let mut waiting = FrameBatch::new();
        for frame in batch.drain(..take) {
            if waiting.is_empty() {
                match self.post(frame) {
                    Ok(()) => posted += 1,
                    Err(RingFull(frame)) => waiting.push(frame),
                }
            } else {
                waiting.push(frame);
            }
        }
        if !waiting.is_empty() {
            waiting.extend(batch.drain(..));
            core::mem::swap(batch, &mut waiting);
        }
        posted
    }

    /// Appends at most `max` finished frames to `out`, and at most as many as
    /// fit. Returns how many were appended.
    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        let want = max.min(out.remaining_capacity());
        for taken in 0..want {
            match self.reap() {
                Some(frame) => out.push(frame),
                None => return taken,
            }
        }
        want
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
