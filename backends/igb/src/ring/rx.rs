//! The receive ring, with advanced descriptors of one buffer (7.1.5).

use super::split::Split;
use super::{Slots, Tie, keep, put_back};
use crate::chip::Chip;
use crate::queue::{self, Descriptors, RX_DD, SoftCounters};
use crate::regs;
use alloc::boxed::Box;
use core::fmt;
use softnet_dma_ring::{ChecksumStatus, DmaRing, Frame, FrameBatch, HashKind, RingFull};
use softnet_nic_hal::bus::PciDevice;

/// Bad descriptors that one reap passes over at most.
pub(super) const BAD_AT_ONCE: usize = 64;

/// Bytes that no packet has (RLPML).
pub(super) const MAX_PACKET: usize = 0x3fff;

/// Status: the last descriptor of the packet.
pub(super) const EOP: u64 = 1 << 1;
/// Status: a VLAN tag was stripped.
const VP: u64 = 1 << 3;
/// Status: the transport checksum was calculated.
const L4I: u64 = 1 << 5;
/// Status: the packet was stamped.
const TS: u64 = 1 << 16;
/// Errors: the transport checksum is wrong, or the IP checksum is.
const L4E_IPE: u64 = 0b11 << 29;
/// Errors: the packet is bad in itself (CRC, symbol, length), or its security
/// association refuses it.
pub(super) const BAD: u64 = 1 << 31 | 0b11 << 25;

/// By these a good packet of one frame, with nothing unusual about it, is told: the
/// first two are set, and the others are not.
const TELLING: u64 = RX_DD | EOP | BAD | L4E_IPE | TS;

/// The types of hash that cover ports, one bit each (table 7-13): TCP over IPv4
/// and IPv6, with extension headers too, and UDP.
const L4_HASHES: u32 = 1 << 1 | 1 << 3 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9;

/// How a receive ring is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RxShape {
    /// Descriptors.
    pub(crate) len: u16,
    /// Bytes that the device may write to one frame.
    pub(crate) buffer: usize,
    /// Whether a packet may lie in several frames.
    pub(crate) scatter: bool,
    /// Whether headers go to frames of their own.
    pub(crate) split: bool,
}

/// The receive ring. Posted frames must be empty; one with less tail room than
/// the device may write gives up head room for it, and one that is too short for
/// that finds no slot.
pub struct RxRing<P: PciDevice> {
    pub(super) tie: Tie<P>,
    pub(super) slots: Slots,
    pub(super) shape: RxShape,
    /// The frames for headers, where they are split off.
    pub(super) split: Option<Box<Split>>,
    /// The tail that the device knows.
    pub(super) kicked_at: usize,
    /// A packet of several descriptors is being thrown away.
    discarding: bool,
    /// Frames of a packet of several that are still to be handed out.
    rest: usize,
    pub(super) tally: Tally,
}

/// What a batch of reaping adds to the counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    csum_good: u64,
    csum_bad: u64,
}

impl<P: PciDevice> RxRing<P> {
    pub(super) fn new(tie: Tie<P>, shape: RxShape) -> Self {
        Self {
            tie,
            slots: Slots::new(shape.len),
            shape,
            split: shape.split.then(|| Box::new(Split::new(shape.len))),
            kicked_at: 0,
            discarding: false,
            rest: 0,
            tally: Tally::default(),
        }
    }

    #[inline(always)]
    fn descriptors(&self) -> &Descriptors<P::Coherent> {
        &self.tie.queue.rx
    }

    /// Posts frames in order as long as each has room and there are slots. Gives
    /// the first that does not go in, and what is behind it stays in `frames`.
    #[inline(always)]
    fn put_run(&mut self, frames: &mut impl Iterator<Item = Frame>) -> Option<Frame> {
        let (tie, buffer) = (&self.tie, self.shape.buffer);
        let (ring, free) = (self.slots.frames.len(), self.slots.free);
        let (mut at, mut count) = (self.slots.post_at, 0);
        let slots = &mut *self.slots.frames;
        let rest = loop {
            let Some(mut frame) = frames.next() else {
                break None;
            };
            if count == free || !make_room(&mut frame, buffer) {
                break Some(frame);
            }
            let address = frame.dma_addr();
            tie.shared.chip.device.sync_for_device(address, buffer);
            // No header buffer: the word holds the cleared status, too.
            tie.queue.rx.describe(at, [address.0, 0]);
            keep(slots, at, frame);
            at = if at + 1 == ring { 0 } else { at + 1 };
            count += 1;
        };
        self.slots.posted(count, at);
        rest
    }

    /// The oldest good frame, if one is there; bad ones go round again. After
    /// many bad ones it gives up for this time, so that a device that completes
    /// garbage without end cannot hold the stack here.
    #[inline(never)]
    fn next_frame(&mut self) -> Option<Frame> {
        if self.split.is_some() {
            return self.next_split();
        }
        for _ in 0..BAD_AT_ONCE {
            if self.rest != 0 {
                return self.next_part();
            }
            let at = self.slots.reap_at;
            let word = self.descriptors().status_word(at);
            if word & RX_DD == 0 || at == self.kicked_at {
                return None;
            }
            if word & EOP == 0 && self.shape.scatter && !self.discarding {
                self.gather()?;
                continue;
            }
            if word & (EOP | BAD) == EOP && !self.discarding {
                let words = self.descriptors().words(at);
                let mut frame = self.slots.take()?;
                let chip = &self.tie.shared.chip;
                if let Some(len) = fill(chip, &mut frame, words, self.shape.buffer) {
                    self.finish(&mut frame, word);
                    self.tally.packets += 1;
                    self.tally.bytes += len as u64;
                    return Some(frame);
                }
                self.reuse(frame, word);
            } else {
                let frame = self.slots.take()?;
                self.reuse(frame, word);
            }
        }
        None
    }

    /// Reaps good packets of one frame in a row. Stops at everything else: no
    /// packet, a bad one, one with a wrong checksum or a stamp, several frames, and
    /// what cannot be true.
    #[inline(always)]
    fn reap_run(&mut self, out: &mut FrameBatch, max: usize) {
        if self.discarding || self.rest != 0 || self.split.is_some() {
            return;
        }
        let (ring, before, buffer) = (self.slots.frames.len(), out.len(), self.shape.buffer);
        let (mut at, kicked_at) = (self.slots.reap_at, self.kicked_at);
        let (mut bytes, mut csum_good) = (0, 0);
        let tie = &self.tie;
        let slots = &mut *self.slots.frames;
        let run = core::iter::from_fn(|| {
            let words = tie.queue.rx.words(at);
            if words[1] & TELLING != RX_DD | EOP || at == kicked_at {
                return None;
            }
            let slot = slots.get_mut(at)?;
            let mut frame = slot.take()?;
            let Some(len) = fill(&tie.shared.chip, &mut frame, words, buffer) else {
                core::mem::forget(slot.replace(frame));
                return None;
            };
            bytes += len as u64;
            csum_good += u64::from(words[1] & L4I != 0);
            at = if at + 1 == ring { 0 } else { at + 1 };
            Some(frame)
        });
        out.extend(run.take(max));
        let packets = out.len() - before;
        self.slots.reap_at = at;
        self.slots.free += packets;
        self.tally.packets += packets as u64;
        self.tally.bytes += bytes;
        self.tally.csum_good += csum_good;
    }

    /// Looks whether the packet that begins in the oldest descriptor is whole,
    /// and then lets it be handed out; `None` when the rest has not come. A bad
    /// one is thrown away, and so is one that has no end although it is longer
    /// than any packet or has all descriptors.
    #[cold]
    fn gather(&mut self) -> Option<()> {
        let mut at = self.slots.reap_at;
        let (mut count, mut bytes, mut good) = (0, 0, true);
        while at != self.kicked_at && bytes <= MAX_PACKET {
            let word = self.descriptors().status_word(at);
            if word & RX_DD == 0 {
                return None;
            }
            count += 1;
            bytes += length(word).max(1);
            good &= (1..=self.shape.buffer).contains(&length(word));
            if word & EOP != 0 {
                let good = good && word & BAD == 0;
                self.rest = if good { count } else { 0 };
                self.discarding = !good;
                return self.describe_first(at, word);
            }
            at = self.slots.next(at);
        }
        self.discarding = true;
        Some(())
    }

    /// What the last descriptor of a packet of several says of it goes into the
    /// first frame.
    fn describe_first(&mut self, last: usize, word: u64) -> Option<()> {
        if self.rest == 0 {
            return Some(());
        }
        let words = [self.descriptors().words(last)[0], word];
        let at = self.slots.reap_at;
        let mut frame = self.slots.frames.get_mut(at)?.take()?;
        describe(&mut frame, words);
        self.finish(&mut frame, word);
        self.slots.keep(at, frame);
        Some(())
    }

    /// What is seldom said of a packet: that its checksum is wrong, and that it
    /// was stamped. Counts checksums.
    pub(super) fn finish(&mut self, frame: &mut Frame, word: u64) {
        if word & L4E_IPE != 0 {
            frame.set_checksum(ChecksumStatus::None);
            self.tally.csum_bad += 1;
        } else if word & L4I != 0 {
            self.tally.csum_good += 1;
        }
        if word & TS != 0 {
            let shared = &self.tie.shared;
            if let Some(ns) = shared.clock.take_rx(&shared.chip) {
                frame.set_timestamp_ns(ns);
            }
        }
    }

    /// The next frame of a packet of several, which has been looked at.
    #[cold]
    fn next_part(&mut self) -> Option<Frame> {
        let len = length(self.descriptors().status_word(self.slots.reap_at));
        let mut frame = self.slots.take()?;
        self.rest -= 1;
        frame.set_continues(self.rest != 0);
        // A device that writes descriptors anew cannot make a frame longer than
        // it is.
        let _ = frame.set_len(len);
        let device = &self.tie.shared.chip.device;
        device.sync_for_cpu(frame.dma_addr(), frame.len());
        self.tally.bytes += frame.len() as u64;
        self.tally.packets += u64::from(self.rest == 0);
        Some(frame)
    }

    /// Counts a bad descriptor and posts its frame again.
    #[cold]
    fn reuse(&mut self, mut frame: Frame, word: u64) {
        if word & EOP != 0 {
            self.count_bad(word);
        }
        self.discarding = word & EOP == 0;
        frame.reset(frame.headroom());
        // It has just left a slot, and it had room.
        drop(self.put_run(&mut core::iter::once(frame)));
        // The stack may have nothing to post, and then would not kick.
        self.write_tail();
    }

    /// Counts a bad packet, by what its last descriptor says.
    pub(super) fn count_bad(&self, word: u64) {
        let counters = &self.tie.queue.counters;
        let counter = if word & BAD != 0 {
            &counters.rx_errors
        } else {
            &counters.rx_length_errors
        };
        queue::count(counter, 1);
    }

    pub(super) fn write_tail(&mut self) {
        self.kicked_at = self.slots.post_at;
        let tail = self.descriptors().register(regs::queue::DT);
        self.tie.shared.chip.write(tail, self.kicked_at as u32);
    }

    /// Publishes what an unmask looks at, and the counters.
    #[inline(always)]
    fn publish(&mut self, frames: usize) {
        let queue = &*self.tie.queue;
        let waiting = self.slots.reap_at != self.kicked_at;
        queue.rx.watch(waiting.then_some(self.slots.reap_at));
        if self.split.as_ref().is_some_and(|split| split.has_ready()) {
            queue.rx.watch_nothing_more();
        }
        if frames != 0 {
            core::mem::take(&mut self.tally).publish(&queue.counters);
        }
    }
}

impl Tally {
    #[inline(always)]
    fn publish(self, counters: &SoftCounters) {
        queue::count(&counters.rx_packets, self.packets);
        queue::count(&counters.rx_bytes, self.bytes);
        queue::count(&counters.rx_csum_good, self.csum_good);
        if self.csum_bad != 0 {
            queue::count(&counters.rx_csum_bad, self.csum_bad);
        }
    }
}

/// Bytes in the descriptor's buffer (PKT_LEN).
#[inline(always)]
pub(super) const fn length(word: u64) -> usize {
    (word >> 32) as usize & 0xffff
}

/// Gives a frame what its descriptor says about it. Its length; `None` when that
/// cannot be true.
#[inline(always)]
fn fill<P: PciDevice>(
    chip: &Chip<P>,
    frame: &mut Frame,
    words: [u64; 2],
    buffer: usize,
) -> Option<usize> {
    let len = length(words[1]);
    if len == 0 || len > buffer || !frame.set_len(len) {
        return None;
    }
    chip.device.sync_for_cpu(frame.dma_addr(), len);
    describe(frame, words);
    Some(len)
}

/// What is said about a packet beside its length, unless it is unusual.
#[inline(always)]
pub(super) fn describe(frame: &mut Frame, [first, word]: [u64; 2]) {
    frame.set_checksum(if word & L4I != 0 {
        ChecksumStatus::Unnecessary
    } else {
        ChecksumStatus::None
    });
    if word & VP != 0 {
        frame.set_vlan_tci(Some((word >> 48) as u16));
    }
    let kind = first as u32 & 0xf;
    if kind != 0 {
        let ports = 1 << kind & L4_HASHES != 0;
        let kind = if ports { HashKind::L4 } else { HashKind::L3 };
        frame.set_hash((first >> 32) as u32, kind);
    }
}

/// Leaves the device a whole buffer; false when the frame has none.
#[inline(always)]
pub(super) fn make_room(frame: &mut Frame, buffer: usize) -> bool {
    if frame.is_empty() && frame.tailroom() >= buffer {
        return true;
    }
    empty(frame, buffer)
}

/// The frame holds a packet still, or leaves too much before it.
#[cold]
fn empty(frame: &mut Frame, buffer: usize) -> bool {
    let Some(headroom) = frame.capacity().checked_sub(buffer) else {
        return false;
    };
    frame.reset(headroom.min(frame.headroom()));
    true
}

impl<P: PciDevice> DmaRing for RxRing<P> {
    #[inline]
    fn post(&mut self, frame: Frame) -> Result<(), RingFull<Frame>> {
        if !self.tie.holds() {
            return Err(RingFull(frame));
        }
        if self.split.is_some() {
            return self.post_split(frame);
        }
        match self.put_run(&mut core::iter::once(frame)) {
            None => Ok(()),
            Some(frame) => Err(RingFull(frame)),
        }
    }

    #[inline]
    fn reap(&mut self) -> Option<Frame> {
        if !self.tie.holds() {
            return None;
        }
        let frame = self.next_frame();
        self.publish(usize::from(frame.is_some()));
        frame
    }

    fn kick(&mut self) {
        if self.tie.holds() && self.kicked_at != self.slots.post_at {
            self.write_tail();
            self.publish(0);
        }
    }

    #[inline]
    fn free_slots(&self) -> usize {
        if !self.tie.holds() {
            return 0;
        }
        let split = self.split.as_ref();
        split.map_or(self.slots.free, |split| split.room(self.slots.free))
    }

    fn post_from(&mut self, batch: &mut FrameBatch) -> usize {
        if self.split.is_some() && self.tie.holds() {
            return self.post_split_from(batch);
        }
        let offered = batch.len();
        let take = offered.min(self.free_slots());
        let mut frames = batch.drain(..take);
        if let Some(frame) = self.put_run(&mut frames) {
            let rest = core::iter::once(frame).chain(frames.by_ref()).collect();
            drop(frames);
            put_back(batch, rest);
        } else {
            drop(frames);
        }
        offered - batch.len()
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        if !self.tie.holds() {
            return 0;
        }
        let before = out.len();
        let want = before + max.min(out.remaining_capacity());
        loop {
            self.reap_run(out, want - out.len());
            if out.len() >= want {
                break;
            }
            let Some(frame) = self.next_frame() else {
                break;
            };
            out.push(frame);
        }
        let frames = out.len() - before;
        self.publish(frames);
        frames
    }
}

impl<P: PciDevice> Drop for RxRing<P> {
    fn drop(&mut self) {
        self.tie
            .shared
            .disable_rx(&self.tie.queue, self.tie.session);
    }
}

impl<P: PciDevice> fmt::Debug for RxRing<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxRing")
            .field("tie", &self.tie)
            .field("shape", &self.shape)
            .field("free", &self.slots.free)
            .finish_non_exhaustive()
    }
}
