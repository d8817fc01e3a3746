//! The descriptor rings (3.2, 3.3).

mod offload;
mod rx;
mod tx;

pub use rx::RxRing;
pub use tx::TxRing;

pub(crate) use rx::{BUFFER, Buffers};

use crate::shared::Shared;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use softnet_dma_ring::{Frame, FrameBatch};
use softnet_nic_hal::bus::PciDevice;

/// The frames of one ring and the places in it.
///
/// The device owns the descriptors from its head to before its tail; an equal
/// head and tail mean that it owns none. So one descriptor always stays free.
#[derive(Debug)]
struct Slots {
    frames: Box<[Option<Frame>]>,
    post_at: usize,
    reap_at: usize,
    free: usize,
}

impl Slots {
    fn new(len: u16) -> Self {
        let frames: Box<[Option<Frame>]> = (0..len).map(|_| None).collect();
        Self {
            free: frames.len().saturating_sub(1),
            frames,
            post_at: 0,
            reap_at: 0,
        }
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        let next = at + 1;
        if next == self.frames.len() { 0 } else { next }
    }

    fn previous(&self, at: usize) -> usize {
        at.checked_sub(1).unwrap_or(self.frames.len() - 1)
    }

    /// Keeps a frame at `at`, which is free. The caller then moves
    /// [`post_at`](Self::post_at) on, once for a batch.
    #[inline(always)]
    fn keep(&mut self, at: usize, frame: Frame) {
        if let Some(slot) = self.frames.get_mut(at) {
            // There is nothing to drop; saying so spares the packet path the
            // code that would.
            core::mem::forget(slot.replace(frame));
        }
    }

    /// `count` frames were kept, and the next goes to `at`.
    #[inline]
    fn posted(&mut self, count: usize, at: usize) {
        self.post_at = at;
        self.free -= count;
    }

    /// Passes over slots that descriptors without a frame had, before `end`.
    #[inline]
    fn skip_empty(&mut self, end: usize) {
        while self.reap_at != end && self.frames.get(self.reap_at).is_some_and(Option::is_none) {
            self.reap_at = self.next(self.reap_at);
            self.free += 1;
        }
    }

    /// Takes frames in a row, as long as `take` gives one out of its slot: it is
    /// told which slot that is.
    #[inline(always)]
    fn take_run(
        &mut self,
        out: &mut FrameBatch,
        max: usize,
        mut take: impl FnMut(usize, &mut Option<Frame>) -> Option<Frame>,
    ) {
        let (ring, before) = (self.frames.len(), out.len());
        let mut at = self.reap_at;
        let frames = &mut self.frames;
        let run = core::iter::from_fn(|| {
            let frame = take(at, frames.get_mut(at)?)?;
            at = if at + 1 == ring { 0 } else { at + 1 };
            Some(frame)
        });
        out.extend(run.take(max));
        self.reap_at = at;
        self.free += out.len() - before;
    }

    /// Takes the oldest frame; `None` when nothing is posted.
    #[inline(always)]
    fn take(&mut self) -> Option<Frame> {
        let frame = self.frames.get_mut(self.reap_at)?.take()?;
        self.reap_at = self.next(self.reap_at);
        self.free += 1;
        Some(frame)
    }
}

/// A ring's tie to the NIC that handed it out.
struct Tie<P: PciDevice> {
    shared: Arc<Shared<P>>,
    session: u32,
}

impl<P: PciDevice> Tie<P> {
    /// Whether the NIC is still in the session of this ring.
    #[inline]
    fn holds(&self) -> bool {
        self.shared.session() == self.session
    }
}

impl<P: PciDevice> fmt::Debug for Tie<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "session {} of {}",
            self.session,
            self.shared.chip.device.name()
        )
    }
}
