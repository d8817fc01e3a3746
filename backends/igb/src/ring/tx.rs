//! The transmit ring, with advanced descriptors (7.2.2).
//!
//! Write-back is asked for once for each group of packets: RS goes into the last
//! descriptor before a kick, and once 32 or more were posted. The device writes descriptors
//! back in order, so DD in a group's last descriptor says that the whole group
//! was sent, and the descriptors before it need not be read.
//!
//! A packet that asks for nothing takes one descriptor. One that asks for
//! something takes another for its context, unless the device has that context
//! still: that slot has no frame. A packet of several frames takes one
//! descriptor for each, and the tail never stands inside of it.

use super::offload::{Contexts, DEXT, HEADER, Need, Request, has_tag};
use super::{Slots, Tie, keep, put_back};
use crate::queue::{self, Queue, TX_DD};
use crate::regs;
use alloc::boxed::Box;
use core::fmt;
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, RingFull};
use softnet_nic_hal::bus::PciDevice;

/// An advanced data descriptor, with the FCS inserted (7.2.2.3).
const DATA: u64 = 0b0011 << 20 | 1 << 25 | DEXT;
/// Command: end of packet.
const EOP: u64 = 1 << 24;
/// Command: report status.
const RS: u64 = 1 << 27;
/// Where PAYLEN goes.
const PAYLEN_SHIFT: u32 = 46;

/// A group of so many descriptors is ended without waiting for the kick.
const GROUP: usize = 32;
/// A packet has at most so many frames.
const MAX_FRAMES: usize = 64;
/// Bytes of a packet that is cut into segments, at most: PAYLEN has 18 bits.
const MAX_LONG: usize = (1 << 18) - 1;
/// Bytes that one descriptor can hold.
const MAX_DATA: usize = 0xffff;

/// Shortest packet that is sent, without FCS. Short ones are padded here, so
/// that what they are padded with is known.
const MIN_PACKET: usize = 60;
/// One VLAN tag in the packet itself.
const TAG: usize = 4;

/// How a transmit ring is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TxShape {
    /// Descriptors.
    pub(crate) len: u16,
    /// Ethernet payload, in bytes.
    pub(crate) mtu: u16,
}

/// Packets between two reports.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    /// The slot of the last descriptor, which reports.
    end: u16,
    packets: u16,
    bytes: u32,
}

/// A packet of several frames of which the last was not posted yet.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    /// Its first slot, which may be its context's.
    start: usize,
    /// Its first data descriptor, and what that says.
    first: usize,
    word: u64,
    request: Request,
    frames: usize,
    bytes: usize,
}

/// The transmit ring.
///
/// A packet that the chip cannot send as asked (shorter than an Ethernet header,
/// longer than the MTU allows, with an offload that is switched off or does not
/// fit its headers) is counted as `tx_dropped` and goes home at once.
///
/// [`free_slots`](DmaRing::free_slots) counts packets of one frame that ask for
/// nothing; one that asks for something may find the last slot too few.
pub struct TxRing<P: PciDevice> {
    tie: Tie<P>,
    slots: Slots,
    /// Longest packet that is sent whole, without FCS and tag.
    max_packet: usize,
    /// The group that begins at this slot.
    groups: Box<[Group]>,
    /// The group that is being posted, and its first slot.
    group: Group,
    group_start: usize,
    group_len: usize,
    /// Slots before this one were sent.
    sent_until: usize,
    /// The tail that the device knows.
    kicked_at: usize,
    contexts: Contexts,
    unfinished: Option<Unfinished>,
    /// The packet of which a frame was refused goes on.
    refusing: bool,
    /// The slot whose packet is being stamped.
    stamped: Option<usize>,
    packets: u64,
    bytes: u64,
}

impl<P: PciDevice> TxRing<P> {
    pub(super) fn new(tie: Tie<P>, shape: TxShape) -> Self {
        Self {
            tie,
            slots: Slots::new(shape.len),
            max_packet: usize::from(shape.mtu) + HEADER,
            groups: (0..shape.len).map(|_| Group::default()).collect(),
            group: Group::default(),
            group_start: 0,
            group_len: 0,
            sent_until: 0,
            kicked_at: 0,
            contexts: Contexts::default(),
            unfinished: None,
            refusing: false,
            stamped: None,
            packets: 0,
            bytes: 0,
        }
    }

    /// Whether a packet of several frames is under way.
    #[inline(always)]
    fn is_inside(&self) -> bool {
        self.unfinished.is_some() || self.refusing
    }

    /// Posts frames in order as long as they are plain and there are slots.
    /// Gives the first that is not, and what is behind it stays in `frames`.
    #[inline(always)]
    fn put_run(&mut self, frames: &mut impl Iterator<Item = Frame>) -> Option<Frame> {
        if self.is_inside() {
            return frames.next();
        }
        let (tie, max_packet) = (&self.tie, self.max_packet);
        let (ring, free) = (self.slots.frames.len(), self.slots.free);
        let (mut at, mut count, mut bytes) = (self.slots.post_at, 0, 0);
        let slots = &mut *self.slots.frames;
        let rest = loop {
            let Some(frame) = frames.next() else {
                break None;
            };
            let len = frame.len();
            let plain = (MIN_PACKET..=max_packet).contains(&len) && !frame.has_requests();
            if !plain || count == free {
                break Some(frame);
            }
            let address = frame.dma_addr();
            tie.shared.chip.device.sync_for_device(address, len);
            let word = DATA | EOP | (len as u64) << PAYLEN_SHIFT | len as u64;
            tie.queue.tx.describe(at, [address.0, word]);
            keep(slots, at, frame);
            at = if at + 1 == ring { 0 } else { at + 1 };
            count += 1;
            bytes += len;
        };
        self.slots.posted(count, at);
        self.grow_group(count, count, bytes);
        rest
    }

    /// Counts packets into the group that is being posted.
    #[inline(always)]
    fn grow_group(&mut self, slots: usize, packets: usize, bytes: usize) {
        self.group_len += slots;
        self.group.packets = self.group.packets.saturating_add(packets as u16);
        self.group.bytes = self.group.bytes.saturating_add(bytes as u32);
        if self.group_len >= GROUP {
            self.report();
        }
    }

    /// Posts one frame of any kind; gives it back when there is no slot.
    #[inline(always)]
    fn put(&mut self, frame: Frame) -> Result<(), RingFull<Frame>> {
        match self.put_run(&mut core::iter::once(frame)) {
            None => Ok(()),
            Some(frame) => self.put_special(frame),
        }
    }

    /// Posts a frame that asks for something, that is a part of a packet, or
    /// that cannot be sent.
    #[inline(never)]
    fn put_special(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.refusing {
            self.refusing = frame.continues();
            return Ok(());
        }
        if self.unfinished.is_some() {
            return self.put_part(frame);
        }
        if self.slots.free == 0 {
            return Err(RingFull(frame));
        }
        let Some(request) = self.request(&mut frame) else {
            self.refuse(frame);
            return Ok(());
        };
        self.begin(frame, request)
    }

    /// What a packet's first frame asks for; nothing when it cannot be sent.
    fn request(&self, frame: &mut Frame) -> Option<Request> {
        let features = self.tie.shared.features();
        let request = Request::read(frame, features).ok()?;
        let whole = !frame.continues();
        let sendable = !whole || self.can_send(frame.len(), &request, frame.data());
        sendable.then_some(request)
    }

    /// Whether a packet of this length can be sent. One with a tag in itself may
    /// be longer by it.
    fn can_send(&self, len: usize, request: &Request, packet: &[u8]) -> bool {
        if len < HEADER.max(request.sum_end) {
            return false;
        }
        if request.segment != 0 {
            let segment = request.headers + request.segment;
            return len <= MAX_LONG && segment <= self.max_packet + TAG;
        }
        let tag = if has_tag(packet) { TAG } else { 0 };
        len <= self.max_packet + tag
    }

    /// Writes the first frame of a packet, and its context if it needs one.
    fn begin(&mut self, frame: Frame, mut request: Request) -> Result<(), RingFull<Frame>> {
        let need = self.contexts.need(&request);
        let slots = 1 + usize::from(matches!(need, Need::Sent(_)));
        if self.slots.free < slots {
            return Err(RingFull(frame));
        }
        if request.is_stamped() && !self.begin_stamp() {
            request.drop_stamp();
        }
        let start = self.slots.post_at;
        let place = match need {
            Need::Nothing => 0,
            Need::Kept(place) => place,
            Need::Sent(words) => self.put_context(words),
        };
        let first = self.slots.post_at;
        if request.is_stamped() {
            self.stamped = Some(first);
        }
        let word = DATA | request.command | Contexts::command(place);
        let unfinished = Unfinished {
            start,
            first,
            word,
            request,
            frames: 0,
            bytes: 0,
        };
        self.unfinished = Some(unfinished);
        self.put_part(frame)
    }

    fn put_context(&mut self, words: [u64; 2]) -> usize {
        let (descriptor, place) = self.contexts.keep(words);
        let at = self.slots.post_at;
        self.tie.queue.tx.describe(at, descriptor);
        self.slots.posted(1, self.slots.next(at));
        place
    }

    /// Writes one frame of the packet that is under way, and ends the packet
    /// with the last.
    fn put_part(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        let Some(mut packet) = self.unfinished else {
            return Err(RingFull(frame));
        };
        if self.slots.free == 0 && packet.start != self.slots.reap_at {
            return Err(RingFull(frame));
        }
        packet.bytes += frame.len();
        packet.frames += 1;
        let last = !frame.continues();
        if !self.can_go_on(&packet, &frame, last) {
            self.give_up(packet);
            self.refuse(frame);
            return Ok(());
        }
        if last && packet.bytes < MIN_PACKET && !packet.request.is_summed() {
            packet.bytes += pad(&mut frame, MIN_PACKET - packet.bytes);
        }
        self.put_data(frame, packet.word | if last { EOP } else { 0 });
        self.unfinished = Some(packet);
        if last {
            self.end(packet);
        }
        Ok(())
    }

    /// Whether a packet can be sent with this frame in it. One that fills the
    /// whole ring never could.
    fn can_go_on(&self, packet: &Unfinished, frame: &Frame, last: bool) -> bool {
        let fits = self.slots.free != 0 && packet.frames <= MAX_FRAMES;
        let has_data = (1..=MAX_DATA).contains(&frame.len());
        let at_end = packet.frames > 1 && last;
        fits && has_data && (!at_end || self.can_send(packet.bytes, &packet.request, &[]))
    }

    fn put_data(&mut self, frame: Frame, word: u64) {
        let (address, len) = (frame.dma_addr(), frame.len());
        let device = &self.tie.shared.chip.device;
        device.sync_for_device(address, len);
        let at = self.slots.post_at;
        let words = [address.0, word | len as u64];
        self.tie.queue.tx.describe(at, words);
        self.slots.keep(at, frame);
        self.slots.posted(1, self.slots.next(at));
    }

    /// The whole packet is there: its first descriptor says how long it is,
    /// without the headers that segments repeat (7.2.2.3.11).
    fn end(&mut self, packet: Unfinished) {
        self.unfinished = None;
        let descriptors = &self.tie.queue.tx;
        let payload = packet.bytes.saturating_sub(packet.request.headers);
        let word = descriptors.status_word(packet.first);
        descriptors.set_status_word(packet.first, word | (payload as u64) << PAYLEN_SHIFT);
        let slots = self.slots.distance(packet.start, self.slots.post_at);
        let (packets, bytes) = (
            packet.request.packets(packet.bytes),
            packet.request.bytes(packet.bytes),
        );
        self.grow_group(slots, packets, bytes);
    }

    /// Takes back what was posted of a packet that cannot be ended.
    #[cold]
    fn give_up(&mut self, packet: Unfinished) {
        self.unfinished = None;
        let mut at = packet.start;
        while at != self.slots.post_at {
            // The frame goes home.
            self.slots.frames.get_mut(at).map(Option::take);
            at = self.slots.next(at);
            self.slots.free += 1;
        }
        self.slots.post_at = packet.start;
        self.contexts.forget();
        if packet.request.is_stamped() {
            self.stamped = None;
            self.tie.shared.clock.end_tx();
        }
    }

    /// Counts a packet that cannot be sent; its frame goes home.
    #[cold]
    fn refuse(&mut self, frame: Frame) {
        queue::count(&self.tie.queue.counters.tx_dropped, 1);
        self.refusing = frame.continues();
    }

    /// Reserves the device's one stamp for a packet.
    #[cold]
    fn begin_stamp(&self) -> bool {
        let free = self.stamped.is_none() && self.tie.shared.clock.begin_tx();
        if !free {
            queue::count(&self.tie.queue.counters.tx_stamp_skipped, 1);
        }
        free
    }

    /// Where the packets end that are whole.
    #[inline(always)]
    fn boundary(&self) -> usize {
        let unfinished = self.unfinished.as_ref();
        unfinished.map_or(self.slots.post_at, |packet| packet.start)
    }

    /// Ends the group that is open, with RS in the last descriptor: the device
    /// has not seen it yet.
    fn report(&mut self) {
        let boundary = self.boundary();
        let last = self.slots.previous(boundary);
        let descriptors = &self.tie.queue.tx;
        descriptors.set_status_word(last, descriptors.status_word(last) | RS);
        if let Some(group) = self.groups.get_mut(self.group_start) {
            let end = last as u16;
            *group = Group { end, ..self.group };
        }
        self.group = Group::default();
        self.group_start = boundary;
        self.group_len = 0;
    }

    /// The oldest group that was kicked and not yet found sent.
    #[inline(always)]
    fn oldest(&self) -> Option<Group> {
        if self.sent_until == self.kicked_at {
            return None;
        }
        self.groups.get(self.sent_until).copied()
    }

    /// Whether the oldest packet was sent; looks at the next group's end when all
    /// of the last group was reaped.
    #[inline(always)]
    fn is_sent(&mut self) -> bool {
        if self.slots.reap_at != self.sent_until {
            return true;
        }
        let Some(group) = self.oldest() else {
            return false;
        };
        let end = usize::from(group.end);
        let sent = self.tie.queue.tx.status_word(end) & TX_DD != 0;
        if sent {
            self.sent_until = self.slots.next(end);
            self.packets += u64::from(group.packets);
            self.bytes += u64::from(group.bytes);
        }
        sent
    }

    /// The oldest packet's next frame, if it was sent.
    #[inline(always)]
    fn next_sent(&mut self) -> Option<Frame> {
        if !self.is_sent() {
            return None;
        }
        let mut frame = None;
        while frame.is_none() && self.slots.reap_at != self.sent_until {
            let at = self.slots.reap_at;
            frame = self.slots.frames.get_mut(at)?.take();
            self.slots.reap_at = self.slots.next(at);
            self.slots.free += 1;
            if self.stamped == Some(at) {
                self.stamp(frame.as_mut());
            }
        }
        frame
    }

    /// What was sent of the oldest group, at most `max` frames, as far as none
    /// is stamped.
    #[inline(always)]
    fn reap_run(&mut self, out: &mut FrameBatch, max: usize) {
        if self.stamped.is_some() {
            out.extend(self.next_sent());
            return;
        }
        let (ring, end) = (self.slots.frames.len(), self.sent_until);
        let (mut at, mut freed) = (self.slots.reap_at, 0);
        let frames = &mut self.slots.frames;
        let run = core::iter::from_fn(|| {
            while at != end {
                let slot = frames.get_mut(at)?;
                at = if at + 1 == ring { 0 } else { at + 1 };
                freed += 1;
                // A context has no frame.
                if let Some(frame) = slot.take() {
                    return Some(frame);
                }
            }
            None
        });
        out.extend(run.take(max));
        self.slots.reap_at = at;
        self.slots.free += freed;
    }

    /// Gives a packet that was sent its stamp.
    #[cold]
    fn stamp(&mut self, frame: Option<&mut Frame>) {
        self.stamped = None;
        let shared = &self.tie.shared;
        let stamp = shared.clock.take_tx(&shared.chip);
        if stamp.is_none() {
            queue::count(&self.tie.queue.counters.tx_stamp_timeouts, 1);
        }
        if let Some(frame) = frame {
            frame.set_timestamp_ns(stamp.unwrap_or(0));
        }
    }

    /// Publishes what an unmask looks at, and the counters.
    #[inline(always)]
    fn publish(&mut self) {
        let queue: &Queue<P> = &self.tie.queue;
        let watched = if self.slots.reap_at == self.sent_until {
            self.oldest().map(|group| usize::from(group.end))
        } else {
            // A group that was sent and is reaped in part: its end has DD, and
            // its slot is not posted again before the frame in it is reaped.
            Some(self.slots.previous(self.sent_until))
        };
        queue.tx.watch(watched);
        if self.packets != 0 {
            let (packets, bytes) = (self.packets, self.bytes);
            queue::count(&queue.counters.tx_packets, packets);
            queue::count(&queue.counters.tx_bytes, bytes);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}

/// Pads with zeros, so that nothing of an earlier packet leaves the host. A
/// frame without tail room is left to TCTL.PSP, and so is a packet whose checksum
/// the device computes: padding is no part of what is summed.
#[cold]
fn pad(frame: &mut Frame, bytes: usize) -> usize {
    frame.put(bytes).map_or(0, |padding| {
        padding.fill(0);
        padding.len()
    })
}

impl<P: PciDevice> DmaRing for TxRing<P> {
    #[inline]
    fn post(&mut self, frame: Frame) -> Result<(), RingFull<Frame>> {
        if !self.tie.holds() {
            return Err(RingFull(frame));
        }
        self.put(frame)
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
        let boundary = self.boundary();
        if !self.tie.holds() || self.kicked_at == boundary {
            return;
        }
        if self.group_len != 0 {
            self.report();
        }
        self.kicked_at = boundary;
        self.publish();
        let tail = self.tie.queue.tx.register(regs::queue::DT);
        self.tie.shared.chip.write(tail, boundary as u32);
    }

    #[inline]
    fn free_slots(&self) -> usize {
        if self.tie.holds() { self.slots.free } else { 0 }
    }

    fn post_from(&mut self, batch: &mut FrameBatch) -> usize {
        let offered = batch.len();
        let take = offered.min(self.free_slots());
        let mut frames = batch.drain(..take);
        let mut rest = FrameBatch::new();
        while let Some(frame) = self.put_run(&mut frames) {
            if let Err(RingFull(frame)) = self.put_special(frame) {
                rest.push(frame);
                rest.extend(frames.by_ref());
                break;
            }
        }
        drop(frames);
        if !rest.is_empty() {
            put_back(batch, rest);
        }
        offered - batch.len()
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        if !self.tie.holds() {
            return 0;
        }
        let before = out.len();
        let want = before + max.min(out.remaining_capacity());
        while out.len() < want && self.is_sent() {
            self.reap_run(out, want - out.len());
        }
        self.publish();
        out.len() - before
    }
}

impl<P: PciDevice> Drop for TxRing<P> {
    fn drop(&mut self) {
        self.tie
            .shared
            .disable_tx(&self.tie.queue, self.tie.session);
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
