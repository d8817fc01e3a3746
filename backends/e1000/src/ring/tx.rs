//! The transmit ring. Simple packets have one legacy descriptor (3.3.3), others
//! what [`Plan`] says.
//!
//! Write-back is asked for once for each group of packets: RS goes into the last
//! descriptor before a kick, and once 32 or more were posted. The device writes descriptors
//! back in order, so DD in a group's last descriptor says that the whole group
//! was sent, and the descriptors before it need not be read.

use super::offload::{self, Limits, Plan};
use super::{Slots, Tie};
use crate::regs;
use crate::shared::{self, DD, Shared};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, RingFull, TxChecksum};
use softnet_nic_hal::bus::PciDevice;

/// Command: end of packet, and insert the FCS.
const EOP_IFCS: u64 = offload::EOP | offload::IFCS;
/// Command: report status.
const RS: u64 = 1 << 27;
/// Command: delay the interrupt of the report.
const IDE: u64 = 1 << 31;

/// A group of so many packets is ended without waiting for the kick.
const GROUP: usize = 32;

/// Shortest packet that is sent, without FCS. The chip's own padding is known to
/// corrupt packets on PCI, so that short ones are padded before it sees them.
const MIN_PACKET: usize = 60;
/// Ethernet header: nothing shorter is a packet.
const HEADER: usize = 14;
/// Longest frame that a single descriptor is for.
const LONGEST_PLAIN: usize = 4096;
/// Frames of one packet, at most.
const MAX_CHAIN: usize = 64;

/// The transmit ring.
///
/// A packet that the chip cannot send as asked is counted as `tx_dropped` and goes
/// home at once: shorter than an Ethernet header, longer than the MTU allows, with
/// a checksum beyond its first 256 bytes, with a tag while tags are switched off,
/// or to be segmented and not TCP or UDP over IPv4. The frames of a packet that
/// [goes on](Frame::continues) wait in the ring until its last one is posted.
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
    /// Bytes of the longest packet, and of the longest plain one.
    longest: usize,
    longest_plain: usize,
    /// The frames of a packet whose last one has not come, and the slots that are
    /// kept for them.
    chain: Vec<Frame>,
    reserved: usize,
    /// The rest of a packet that was given up.
    refusing: bool,
    /// The request that the context for checksums is for which the chip has.
    kept: Option<TxChecksum>,
    /// The last packet was segmented. What follows it must not have a single
    /// descriptor, or the chip may report that one before it was read.
    after_segments: bool,
    /// None of these three concerns the next packet.
    may_be_plain: bool,
}

impl<P: PciDevice> TxRing<P> {
    pub(crate) fn new(shared: Arc<Shared<P>>, session: u32, len: u16, longest: usize) -> Self {
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
            longest,
            longest_plain: longest.min(LONGEST_PLAIN),
            chain: Vec::with_capacity(MAX_CHAIN),
            reserved: 0,
            refusing: false,
            kept: None,
            after_segments: false,
            may_be_plain: true,
        }
    }

    /// Whether a packet takes a single descriptor: it asks for nothing, or for a
    /// checksum that the chip has the context for.
    #[inline(always)]
    fn is_plain(&self, frame: &Frame) -> bool {
        (HEADER..=self.longest_plain).contains(&frame.len())
            && frame
                .tx_checksum()
                .is_none_or(|request| self.has_context(frame, request))
            && frame.vlan_tci().is_none()
            && !frame.continues()
    }

    #[inline(always)]
    fn has_context(&self, frame: &Frame, request: TxChecksum) -> bool {
        self.kept == Some(request)
            && frame.gso_size().is_none()
            && offload::is_covered(request, frame.len())
    }

    /// Writes the descriptors of plain packets and keeps the frames. There are
    /// slots for them.
    #[inline(always)]
    fn put(&mut self, frames: impl Iterator<Item = Frame>) {
        let shared = &*self.tie.shared;
        let (mut at, mut count) = (self.slots.post_at, 0);
        for mut frame in frames {
            if frame.len() < MIN_PACKET {
                pad(&mut frame);
            }
            let (address, len) = (frame.dma_addr(), frame.len());
            shared.chip.device.sync_for_device(address, len);
            let command = match frame.tx_checksum() {
                None => EOP_IFCS,
                Some(_) => offload::CHECKSUMMED,
            };
            shared.tx.describe(at, address.0, command | len as u64);
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

    /// How many of the first frames find slots, whatever they ask for.
    fn fitting(&self, frames: &[Frame]) -> usize {
        let mut left = self.free_slots();
        let fits = |frame: &Frame| {
            let need = self.slots_for(frame);
            let fits = need <= left;
            left = left.saturating_sub(need);
            !fits
        };
        frames.iter().position(fits).unwrap_or(frames.len())
    }

    /// Slots that a frame needs; none when it will be refused, since the ring
    /// could never hold it.
    fn slots_for(&self, frame: &Frame) -> usize {
        if self.refusing {
            return 0;
        }
        let need = offload::descriptors(frame);
        if self.reserved + need > self.slots.frames.len() - 1 {
            0
        } else {
            need
        }
    }

    /// Takes a frame of any kind. There are slots for it.
    fn put_any(&mut self, frame: Frame) {
        self.put_in_chain(frame);
        self.may_be_plain = self.chain.is_empty() && !self.refusing && !self.after_segments;
    }

    fn put_in_chain(&mut self, frame: Frame) {
        let goes_on = frame.continues();
        if self.refusing {
            self.refusing = goes_on;
            return refuse(&self.tie.shared, frame);
        }
        let need = self.slots_for(&frame);
        if need == 0 || self.chain.len() == MAX_CHAIN {
            refuse(&self.tie.shared, frame);
            self.refusing = goes_on;
            return self.forget_chain();
        }
        self.chain.push(frame);
        self.reserved += need;
        if !goes_on {
            self.put_chain();
        }
    }

    /// All frames of a packet are there: writes its descriptors.
    fn put_chain(&mut self) {
        let shared = self.tie.shared.clone();
        let limits = Limits {
            longest: self.longest,
            vlan: shared.tags(),
        };
        let len = self.chain.iter().map(Frame::len).sum();
        let first = self.chain.first_mut().filter(|_| len >= HEADER);
        let Some(plan) = first.and_then(|first| Plan::of(first, len, limits)) else {
            refuse_all(&shared, &mut self.chain);
            return self.forget_chain();
        };
        if let ([only], true) = (&mut self.chain[..], len < MIN_PACKET) {
            pad(only);
        }
        self.put_context(&shared, &plan);
        self.put_data(&shared, &plan);
        self.forget_chain();
        self.after_segments = plan.segmented;
        if self.group_len >= GROUP {
            self.report();
        }
    }

    fn forget_chain(&mut self) {
        // What is still there was refused.
        refuse_all(&self.tie.shared, &mut self.chain);
        self.reserved = 0;
    }

    /// Gives the chip the context, unless it has it. One for segments is never
    /// the same again.
    fn put_context(&mut self, shared: &Shared<P>, plan: &Plan) {
        let Some(context) = plan.context else {
            return;
        };
        if !plan.segmented {
            let request = self.chain.first().and_then(Frame::tx_checksum);
            if core::mem::replace(&mut self.kept, request) == request {
                return;
            }
        }
        let [first, second] = context.0;
        shared.tx.describe(self.slots.post_at, first, second);
        self.took_slot();
    }

    /// Writes the data descriptors of the packet in the chain. A frame is kept in
    /// the slot of its last one.
    fn put_data(&mut self, shared: &Shared<P>, plan: &Plan) {
        let mut options = plan.options;
        let frames = self.chain.len();
        let sentinel = frames == 1 && (plan.segmented || self.after_segments);
        let mut chain = core::mem::take(&mut self.chain);
        for (index, frame) in chain.drain(..).enumerate() {
            let (address, len) = (frame.dma_addr(), frame.len());
            shared.chip.device.sync_for_device(address, len);
            let mut last = self.slots.post_at;
            for (from, bytes) in offload::pieces(len, plan.piece, sentinel) {
                let end = index + 1 == frames && from + bytes == len;
                let eop = if end { offload::EOP } else { 0 };
                let word = bytes as u64 | plan.command | options | eop;
                let address = address.offset(from as u64).0;
                last = self.slots.post_at;
                shared.tx.describe(last, address, word);
                self.took_slot();
                options = 0;
            }
            self.slots.keep(last, frame);
        }
        // Its memory is used again.
        self.chain = chain;
    }

    fn took_slot(&mut self) {
        self.slots.posted(1, self.slots.next(self.slots.post_at));
        self.group_len += 1;
    }

    /// Ends the group that is open, with RS in the last descriptor: the device
    /// has not seen it yet.
    fn report(&mut self) {
        let last = self.slots.previous(self.slots.post_at);
        let descriptors = &self.tie.shared.tx;
        let delay = if self.tie.shared.delays_tx() { IDE } else { 0 };
        let word = descriptors.status_word(last) | RS | delay;
        descriptors.set_status_word(last, word);
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
        if !self.is_sent() {
            return None;
        }
        self.slots.skip_empty(self.sent_until);
        let frame = self.slots.take()?;
        self.packets += 1;
        self.bytes += frame.len() as u64;
        Some(frame)
    }

    /// What was sent of the oldest group, at most `max` packets.
    #[inline(always)]
    fn reap_run(&mut self, out: &mut FrameBatch, max: usize) {
        let (before, end) = (out.len(), self.sent_until);
        self.slots.skip_empty(end);
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
    // A packet counts once, by its last frame.
    if !frame.continues() {
        shared::count(&shared.counters.tx_dropped, 1);
    }
    drop(frame);
}

#[cold]
fn refuse_all<P: PciDevice>(shared: &Shared<P>, frames: &mut Vec<Frame>) {
    frames.drain(..).for_each(|frame| refuse(shared, frame));
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
        let free = self.free_slots();
        if free > 0 && self.may_be_plain && self.is_plain(&frame) {
            self.put(core::iter::once(frame));
        } else if self.tie.holds() && self.slots_for(&frame) <= free {
            self.put_any(frame);
        } else {
            return Err(RingFull(frame));
        }
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
        if self.tie.holds() {
            self.slots.free - self.reserved
        } else {
            0
        }
    }

    fn post_from(&mut self, batch: &mut FrameBatch) -> usize {
        if !self.tie.holds() {
            return 0;
        }
        let mut plain = 0;
        if self.may_be_plain {
            let most = batch.len().min(self.free_slots());
            let other = batch[..most].iter().position(|frame| !self.is_plain(frame));
            plain = other.unwrap_or(most);
            self.put(batch.drain(..plain));
        }
        if batch.is_empty() {
            return plain;
        }
        let more = self.fitting(batch);
        batch.drain(..more).for_each(|frame| self.put_any(frame));
        plain + more
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
