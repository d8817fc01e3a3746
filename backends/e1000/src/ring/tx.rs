//! The transmit ring, with legacy descriptors (3.3.3).
//!
//! Write-back is asked for once for each group of packets: RS goes into the last
//! descriptor before a kick, and once 32 or more were posted. The device writes descriptors
//! back in order, so DD in a group's last descriptor says that the whole group
//! was sent, and the descriptors before it need not be read.

use super::{Slots, Tie};
use crate::regs;
use crate::shared::{self, DD, Shared};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, RingFull};
use softnet_nic_hal::bus::PciDevice;

/// Command: end of packet, and insert the FCS.
const EOP_IFCS: u64 = 0b11 << 24;
/// Command: report status.
const RS: u64 = 1 << 27;

/// A group of so many packets is ended without waiting for the kick.
const GROUP: usize = 32;

/// Shortest packet that is sent, without FCS. The chip's own padding is known to
/// corrupt packets on PCI, so that short ones are padded before it sees them.
const MIN_PACKET: usize = 60;
/// Ethernet header: nothing shorter is a packet.
const HEADER: usize = 14;
/// Longest packet, without FCS: an MTU of 1500, the header and a VLAN tag.
const MAX_PACKET: usize = 1518;

/// The transmit ring.
///
/// A packet that the chip cannot send as asked (shorter than an Ethernet header,
/// longer than 1518 bytes, or with a checksum or VLAN tag left to the device) is
/// counted as `tx_dropped` and goes home at once.
pub struct TxRing<P: PciDevice> {
    tie: Tie<P>,
    slots: Slots,
    /// Where the group that begins at this slot ends.
    group_end: Box<[u16]>,
    group_start: usize,
    group_len: usize,
    /// Slots before this one were sent.
    sent_until: usize,
    /// The tail that the device knows.
    kicked_at: usize,
    packets: u64,
    bytes: u64,
}

impl<P: PciDevice> TxRing<P> {
    pub(crate) fn new(shared: Arc<Shared<P>>, session: u32, len: u16) -> Self {
        Self {
            tie: Tie { shared, session },
            slots: Slots::new(len),
            group_end: (0..len).map(|_| 0).collect(),
            group_start: 0,
            group_len: 0,
            sent_until: 0,
            kicked_at: 0,
            packets: 0,
            bytes: 0,
        }
    }

    /// Writes the descriptors of packets and keeps the frames. There are slots
    /// for them.
    #[inline(always)]
    fn put(&mut self, frames: impl Iterator<Item = Frame>) {
        let shared = &*self.tie.shared;
        let (mut at, mut count) = (self.slots.post_at, 0);
        for mut frame in frames {
            if !is_sendable(&frame) {
                refuse(shared, frame);
                continue;
            }
            if frame.len() < MIN_PACKET {
                pad(&mut frame);
            }
            let (address, len) = (frame.dma_addr(), frame.len());
            shared.chip.device.sync_for_device(address, len);
            shared.tx.describe(at, address.0, EOP_IFCS | len as u64);
            self.slots.keep(at, frame);
            at = self.slots.next(at);
            count += 1;
        }
        self.slots.posted(count, at);
        self.group_len += count;
        if self.group_len >= GROUP {
            self.report();
        }
    }

    /// Ends the group that is open, with RS in the last descriptor: the device
    /// has not seen it yet.
    fn report(&mut self) {
        let last = self.slots.previous(self.slots.post_at);
        let descriptors = &self.tie.shared.tx;
        descriptors.set_status_word(last, descriptors.status_word(last) | RS);
        if let Some(end) = self.group_end.get_mut(self.group_start) {
            *end = last as u16;
        }
        self.group_start = self.slots.post_at;
        self.group_len = 0;
    }

    /// The oldest group's last descriptor, if a group was kicked.
    #[inline]
    fn watched(&self) -> Option<usize> {
        if self.sent_until == self.kicked_at {
            return None;
        }
        self.group_end
            .get(self.sent_until)
            .map(|&end| usize::from(end))
    }

    /// Whether the oldest packet was sent; looks at the next group's end when all
    /// of the last group was reaped.
    #[inline(always)]
    fn is_sent(&mut self) -> bool {
        if self.slots.reap_at != self.sent_until {
            return true;
        }
        let Some(end) = self.watched() else {
            return false;
        };
        let sent = self.tie.shared.tx.status_word(end) & DD != 0;
        if sent {
            self.sent_until = self.slots.next(end);
        }
        sent
    }

    /// The oldest packet, if it was sent.
    #[inline(always)]
    fn next_sent(&mut self) -> Option<Frame> {
        let frame = self.is_sent().then(|| self.slots.take())??;
        self.packets += 1;
        self.bytes += frame.len() as u64;
        Some(frame)
    }

    /// What was sent of the oldest group, at most `max` packets.
    #[inline(always)]
    fn reap_run(&mut self, out: &mut FrameBatch, max: usize) {
        let (before, end) = (out.len(), self.sent_until);
        let bytes = &mut self.bytes;
        self.slots.take_run(out, max, |at, slot| {
            let frame = if at == end { None } else { slot.take() };
            frame.inspect(|frame| *bytes += frame.len() as u64)
        });
        self.packets += (out.len() - before) as u64;
    }

    /// Publishes what an unmask looks at, and the counters.
    fn publish(&mut self) {
        let shared = &*self.tie.shared;
        let watched = if self.slots.reap_at == self.sent_until {
            self.watched()
        } else {
            // A group that was sent and is reaped in part: its end has DD, and
            // its slot is not posted again before the frame in it is reaped.
            Some(self.slots.previous(self.sent_until))
        };
        shared.tx.watch(watched);
        if self.packets != 0 {
            shared::count(
                &shared.counters.tx_packets,
                core::mem::take(&mut self.packets),
            );
            shared::count(&shared.counters.tx_bytes, core::mem::take(&mut self.bytes));
        }
    }
}

#[cold]
fn refuse<P: PciDevice>(shared: &Shared<P>, frame: Frame) {
    shared::count(&shared.counters.tx_dropped, 1);
    drop(frame);
}

#[inline]
fn is_sendable(frame: &Frame) -> bool {
    (HEADER..=MAX_PACKET).contains(&frame.len())
        && frame.tx_checksum().is_none()
        && frame.vlan_tci().is_none()
}

/// Pads with zeros, so that nothing of an earlier packet leaves the host. A
/// frame without tail room is left to TCTL.PSP.
#[cold]
fn pad(frame: &mut Frame) {
    if let Some(padding) = frame.put(MIN_PACKET - frame.len()) {
        padding.fill(0);
    }
}

impl<P: PciDevice> DmaRing for TxRing<P> {
    #[inline]
    fn post(&mut self, frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.free_slots() == 0 {
            return Err(RingFull(frame));
        }
        self.put(core::iter::once(frame));
        Ok(())
    }

    #[inline]
    fn reap(&mut self) -> Option<Frame> {
        if !self.tie.holds() {
            return None;
        }
        let frame = self.next_sent();
        self.publish();
        frame
    }

    fn kick(&mut self) {
        if !self.tie.holds() || self.kicked_at == self.slots.post_at {
            return;
        }
        if self.group_len != 0 {
            self.report();
        }
        self.kicked_at = self.slots.post_at;
        self.publish();
        self.tie.shared.chip.write(regs::TDT, self.kicked_at as u32);
    }

    #[inline]
    fn free_slots(&self) -> usize {
        if self.tie.holds() { self.slots.free } else { 0 }
    }

    fn post_from(&mut self, batch: &mut FrameBatch) -> usize {
        let take = batch.len().min(self.free_slots());
        self.put(batch.drain(..take));
        take
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        if !self.tie.holds() {
            return 0;
        }
        let before = out.len();
        let want = max.min(out.remaining_capacity());
        let want = before + want;
        while out.len() < want && self.is_sent() {
            self.reap_run(out, want - out.len());
        }
        self.publish();
        out.len() - before
    }
}

impl<P: PciDevice> Drop for TxRing<P> {
    fn drop(&mut self) {
        self.tie.shared.disable_tx(self.tie.session);
    }
}

impl<P: PciDevice> fmt::Debug for TxRing<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxRing")
            .field("tie", &self.tie)
            .field("free", &self.slots.free)
            .finish_non_exhaustive()
    }
}
