//! The rings that the stack owns: frames that wait for packets from the card, and
//! packets that wait for the card.
//!
//! The card does no DMA. A receive frame waits here until the stack reaps: then a
//! packet is read out of the card's memory into it. A packet is written into the
//! card's memory when it is kicked or, if all buffers there are taken, when
//! the packets before it are reaped.

use crate::receive::MAX_PACKET;
use crate::shared::{Shared, count};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, RingFull};
use softnet_nic_hal::bus::PciDevice;

/// Bytes that a receive frame must have room for.
pub(crate) const BUFFER: usize = MAX_PACKET;
/// Ethernet header: nothing shorter is a packet.
const HEADER: usize = 14;

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

/// Frames in the order in which they were posted.
struct Slots {
    frames: VecDeque<Frame>,
    len: usize,
}

impl Slots {
    /// Room for so many: it never allocates again.
    fn new(len: u16) -> Self {
        let len = usize::from(len);
        Self {
            frames: VecDeque::with_capacity(len),
            len,
        }
    }

    fn free(&self) -> usize {
        self.len - self.frames.len()
    }
}

/// The receive ring. Posted frames must be empty; one with less than 1518 bytes
/// of tail room gives up head room for it, and one that is too short for that
/// finds no slot.
pub struct RxRing<P: PciDevice> {
    tie: Tie<P>,
    slots: Slots,
    /// The driver knows that there are frames.
    known: bool,
}

impl<P: PciDevice> RxRing<P> {
    pub(crate) fn new(shared: Arc<Shared<P>>, session: u32, len: u16) -> Self {
        Self {
            tie: Tie { shared, session },
            slots: Slots::new(len),
            known: false,
        }
    }

    fn receive(&mut self, max: usize, take: impl FnMut(Frame)) -> usize {
        if max == 0 || !self.known || !self.tie.holds() {
            return 0;
        }
        let frames = &mut self.slots.frames;
        let shared = &self.tie.shared;
        let packets = shared.with(|core| shared.receive(core, frames, max, take));
        self.known = !frames.is_empty();
        packets
    }
}

/// Leaves room for a whole packet; false when the frame has none.
fn make_room(frame: &mut Frame) -> bool {
    if frame.set_len(0) && frame.tailroom() >= BUFFER {
        return true;
    }
    let Some(headroom) = frame.capacity().checked_sub(BUFFER) else {
        return false;
    };
    frame.reset(headroom);
    true
}

impl<P: PciDevice> DmaRing for RxRing<P> {
    fn post(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.free_slots() == 0 || !make_room(&mut frame) {
            return Err(RingFull(frame));
        }
        self.slots.frames.push_back(frame);
        Ok(())
    }

    fn reap(&mut self) -> Option<Frame> {
        let mut reaped = None;
        self.receive(1, |frame| reaped = Some(frame));
        reaped
    }

    /// Frames that are new to a ring which had none are worth an interrupt.
    fn kick(&mut self) {
        if self.known || self.slots.frames.is_empty() || !self.tie.holds() {
            return;
        }
        self.known = true;
        self.tie.shared.with(|core| core.rx.fed = true);
    }

    fn free_slots(&self) -> usize {
        if self.tie.holds() {
            self.slots.free()
        } else {
            0
        }
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        let max = max.min(out.remaining_capacity());
        self.receive(max, |frame| out.push(frame))
    }
}

impl<P: PciDevice> Drop for RxRing<P> {
    fn drop(&mut self) {
        if self.tie.holds() {
            self.tie.shared.with(|core| core.rx.fed = false);
        }
    }
}

/// The transmit ring.
///
/// A packet that the card cannot send as asked (shorter than an Ethernet header,
/// longer than 1518 bytes, in several frames, or with an offload) is counted as
/// `tx_dropped` and goes home at once.
pub struct TxRing<P: PciDevice> {
    tie: Tie<P>,
    slots: Slots,
    /// So many of the frames were kicked.
    kicked: usize,
    /// The frame that was posted last goes on in the next one: it was refused, and
    /// so is that.
    refusing: bool,
}

impl<P: PciDevice> TxRing<P> {
    pub(crate) fn new(shared: Arc<Shared<P>>, session: u32, len: u16) -> Self {
        Self {
            tie: Tie { shared, session },
            slots: Slots::new(len),
            kicked: 0,
            refusing: false,
        }
    }

    fn is_sendable(&mut self, frame: &Frame) -> bool {
        let part = core::mem::replace(&mut self.refusing, frame.continues());
        !part
            && !self.refusing
            && (HEADER..=MAX_PACKET).contains(&frame.len())
            && frame.tx_checksum().is_none()
            && frame.gso_size().is_none()
            && frame.vlan_tci().is_none()
    }

    /// Takes back what is through, at most `max` frames, and fills the card's
    /// buffers again.
    fn reclaim(&mut self, max: usize, mut take: impl FnMut(Frame)) -> usize {
        if max == 0 || self.kicked == 0 || !self.tie.holds() {
            return 0;
        }
        let (frames, kicked) = (&mut self.slots.frames, &mut self.kicked);
        let shared = &self.tie.shared;
        shared.with(|core| {
            if let Some(causes) = shared.causes() {
                shared.finish_sent(core, causes);
                shared.pump(core, frames, *kicked);
            }
            let through = core.tx.done.min(max).min(frames.len());
            frames.drain(..through).for_each(&mut take);
            core.tx.done -= through;
            *kicked -= through;
            through
        })
    }
}

impl<P: PciDevice> DmaRing for TxRing<P> {
    fn post(&mut self, frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.free_slots() == 0 {
            return Err(RingFull(frame));
        }
        if self.is_sendable(&frame) {
            self.slots.frames.push_back(frame);
        } else {
            count(&self.tie.shared.counters.tx_dropped, 1);
        }
        Ok(())
    }

    fn reap(&mut self) -> Option<Frame> {
        let mut reaped = None;
        self.reclaim(1, |frame| reaped = Some(frame));
        reaped
    }

    fn kick(&mut self) {
        if self.kicked == self.slots.frames.len() || !self.tie.holds() {
            return;
        }
        self.kicked = self.slots.frames.len();
        let (shared, frames) = (&self.tie.shared, &self.slots.frames);
        shared.with(|core| shared.pump(core, frames, frames.len()));
    }

    fn free_slots(&self) -> usize {
        if self.tie.holds() {
            self.slots.free()
        } else {
            0
        }
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        let max = max.min(out.remaining_capacity());
        self.reclaim(max, |frame| out.push(frame))
    }
}

impl<P: PciDevice> Drop for TxRing<P> {
    fn drop(&mut self) {
        if self.tie.holds() {
            self.tie.shared.with(|core| {
                core.tx.owned = false;
                core.tx.done = 0;
            });
        }
    }
}

impl<P: PciDevice> fmt::Debug for Tie<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.shared.chip.device.name();
        write!(f, "session {} of {name}", self.session)
    }
}

impl<P: PciDevice> fmt::Debug for RxRing<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxRing")
            .field("tie", &self.tie)
            .field("free", &self.slots.free())
            .finish_non_exhaustive()
    }
}

impl<P: PciDevice> fmt::Debug for TxRing<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxRing")
            .field("tie", &self.tie)
            .field("free", &self.slots.free())
            .finish_non_exhaustive()
    }
}
