//! The descriptor rings (7.1.5, 7.2.2).

mod offload;
mod rx;
mod split;
mod tx;

pub use rx::RxRing;
pub use tx::TxRing;

pub(crate) use rx::RxShape;
pub(crate) use split::HEADER_BUFFER;
pub(crate) use tx::TxShape;

use crate::queue::Queue;
use crate::shared::Shared;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use softnet_dma_ring::{Frame, FrameBatch};
use softnet_nic_hal::QueueId;
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

    /// Slots from `from` on to before `to`.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from {
            to - from
        } else {
            to + self.frames.len() - from
        }
    }

    /// Keeps a frame at `at`, which is free. The caller then moves
    /// [`post_at`](Self::post_at) on, once for a batch.
    #[inline(always)]
    fn keep(&mut self, at: usize, frame: Frame) {
        keep(&mut self.frames, at, frame);
    }

    /// `count` slots were taken, and the next is `at`.
    #[inline(always)]
    fn posted(&mut self, count: usize, at: usize) {
        self.post_at = at;
        self.free -= count;
    }

    /// Takes the frame of the oldest slot that is posted, which must have one.
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
    queue: Arc<Queue<P>>,
    id: QueueId,
    session: u32,
}

impl<P: PciDevice> Clone for Tie<P> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            queue: self.queue.clone(),
            ..*self
        }
    }
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
        let (queue, session) = (self.id.0, self.session);
        let name = self.shared.chip.device.name();
        write!(f, "queue {queue} in session {session} of {name}")
    }
}

/// Puts a frame into a slot that is free.
#[inline(always)]
fn keep(slots: &mut [Option<Frame>], at: usize, frame: Frame) {
    if let Some(slot) = slots.get_mut(at) {
        // There is nothing to drop; saying so spares the packet path the code that
        // would.
        core::mem::forget(slot.replace(frame));
    }
}

/// Puts what found no slot back to the front of a batch.
#[cold]
fn put_back(batch: &mut FrameBatch, mut rest: FrameBatch) {
    rest.extend(batch.drain(..));
    core::mem::swap(batch, &mut rest);
}

/// Both rings of a queue.
pub(crate) fn pair<P: PciDevice>(
    shared: &Arc<Shared<P>>,
    queue: Arc<Queue<P>>,
    id: QueueId,
    session: u32,
    shapes: (RxShape, TxShape),
) -> (RxRing<P>, TxRing<P>) {
    let tie = Tie {
        shared: shared.clone(),
        queue,
        id,
        session,
    };
    (
        RxRing::new(tie.clone(), shapes.0),
        TxRing::new(tie, shapes.1),
    )
}
