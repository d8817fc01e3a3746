//! The receive ring (3.2).

use super::{Slots, Tie};
use crate::chip::Chip;
use crate::regs;
use crate::shared::{self, DD, Shared};
use alloc::sync::Arc;
use core::fmt;
use softnet_dma_ring::{ChecksumStatus, DmaRing, Frame, FrameBatch, RingFull};
use softnet_nic_hal::bus::PciDevice;

/// Bytes that the device may write to the smallest buffer that is used.
pub(crate) const BUFFER: usize = 2048;

/// How received packets lie in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffers {
    /// Bytes that the device may write to one: 2048, 4096, 8192 or 16384.
    pub(crate) bytes: usize,
    /// A packet may lie in several.
    pub(crate) scatter: bool,
}

/// Bytes of the longest packet that the chip receives, without FCS.
const LONGEST: usize = 16384;

/// Bad descriptors that one reap passes over at most.
const BAD_AT_ONCE: usize = 64;

/// Status: the last descriptor of the packet.
const EOP: u64 = 1 << 33;
/// Status: what is said about checksums is to be ignored.
const IXSM: u64 = 1 << 34;
/// Status: a tag was taken out, and is in the upper sixteen bits.
const VP: u64 = 1 << 35;
/// Status: the TCP or UDP checksum was calculated.
const TCPCS: u64 = 1 << 37;
/// Errors: CE, SE, SEQ, CXE and RXE.
const BAD: u64 = 0b1001_0111 << 40;
/// Errors: the TCP or UDP checksum is wrong, or the IP checksum is.
const TCPE_IPE: u64 = 0b0110_0000 << 40;

/// The receive ring. Posted frames must be empty; one with less tail room than a
/// buffer (2048 bytes, or more for a larger MTU) gives up head room for it, and one
/// that is too short for that finds no slot.
pub struct RxRing<P: PciDevice> {
    tie: Tie<P>,
    slots: Slots,
    /// The tail that the device knows.
    kicked_at: usize,
    buffers: Buffers,
    /// Frames that are left of a packet that was found to be whole.
    whole: usize,
    /// A packet of several descriptors is being thrown away.
    discarding: bool,
    tally: Tally,
}

/// What a batch of reaping adds to the counters.
#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    /// Frames that are not the last of their packets.
    continued: u64,
    csum_good: u64,
}

impl<P: PciDevice> RxRing<P> {
    pub(crate) fn new(shared: Arc<Shared<P>>, session: u32, len: u16, buffers: Buffers) -> Self {
        Self {
            tie: Tie { shared, session },
            slots: Slots::new(len),
            kicked_at: 0,
            buffers,
            whole: 0,
            discarding: false,
            tally: Tally::default(),
        }
    }

    /// Writes the descriptors of frames that each have room, and keeps the
    /// frames. There are slots for them.
    #[inline(always)]
    fn put(&mut self, frames: impl Iterator<Item = Frame>) {
        let shared = &*self.tie.shared;
        let (mut at, mut count) = (self.slots.post_at, 0);
        for frame in frames {
            let address = frame.dma_addr();
            shared
                .chip
                .device
                .sync_for_device(address, self.buffers.bytes);
            shared.rx.describe(at, address.0, 0);
            self.slots.keep(at, frame);
            at = self.slots.next(at);
            count += 1;
        }
        self.slots.posted(count, at);
    }

    /// The oldest good packet, if one is there; bad ones go round again. After
    /// many bad ones it gives up for this time, so that a device that completes
    /// garbage without end cannot hold the stack here.
    #[inline(always)]
    fn next_packet(&mut self) -> Option<Frame> {
        for _ in 0..BAD_AT_ONCE {
            let word = self.tie.shared.rx.status_word(self.slots.reap_at);
            if word & DD == 0 || self.slots.reap_at == self.kicked_at {
                return None;
            }
            if self.buffers.scatter && self.whole == 0 && !self.discarding {
                match self.look_ahead(word) {
                    Found::Whole(frames) => self.whole = frames,
                    Found::Part => return None,
                    Found::Bad => {}
                }
            }
            let mut frame = self.slots.take()?;
            let good = self.whole > 0 || word & (EOP | BAD) == EOP && !self.discarding;
            let chip = &self.tie.shared.chip;
            if good && fill(chip, &mut frame, word, self.buffers.bytes, &mut self.tally) {
                self.whole = self.whole.saturating_sub(1);
                let goes_on = self.whole > 0;
                frame.set_continues(goes_on);
                self.tally.continued += u64::from(goes_on);
                return Some(frame);
            }
            self.whole = 0;
            self.reuse(frame, word);
        }
        None
    }

    /// Looks for the end of the packet whose first descriptor has `word`.
    fn look_ahead(&self, mut word: u64) -> Found {
        let (mut at, mut frames, mut bytes) = (self.slots.reap_at, 1, 0);
        loop {
            let len = (word & 0xffff) as usize;
            bytes += len;
            if word & BAD != 0 || len == 0 || len > self.buffers.bytes || bytes > LONGEST {
                return Found::Bad;
            }
            if word & EOP != 0 {
                return Found::Whole(frames);
            }
            at = self.slots.next(at);
            word = self.tie.shared.rx.status_word(at);
            if at == self.kicked_at {
                // The device has no more, and will not end it.
                return Found::Bad;
            }
            if word & DD == 0 {
                return Found::Part;
            }
            frames += 1;
        }
    }

    /// Reaps good packets in a row. Stops at everything else: no packet, a bad
    /// one, and what cannot be true.
    #[inline(always)]
    fn reap_run(&mut self, out: &mut FrameBatch, max: usize) {
        if self.discarding || self.whole > 0 {
            return;
        }
        let (shared, kicked_at) = (&*self.tie.shared, self.kicked_at);
        let buffer = self.buffers.bytes;
        let tally = &mut self.tally;
        self.slots.take_run(out, max, |at, slot| {
            let word = shared.rx.status_word(at);
            if word & (DD | EOP | BAD) != DD | EOP || at == kicked_at {
                return None;
            }
            let frame = slot.as_mut()?;
            fill(&shared.chip, frame, word, buffer, tally).then(|| slot.take())?
        });
    }

    /// Counts a bad descriptor and posts its frame again.
    #[cold]
    fn reuse(&mut self, frame: Frame, word: u64) {
        let counters = &self.tie.shared.counters;
        if word & BAD != 0 {
            shared::count(&counters.rx_errors, 1);
        } else if word & EOP != 0 {
            shared::count(&counters.rx_length_errors, 1);
        }
        self.discarding = word & EOP == 0;
        self.put(core::iter::once(frame));
        // The stack may have nothing to post, and then would not kick.
        self.write_tail();
    }

    fn write_tail(&mut self) {
        self.kicked_at = self.slots.post_at;
        let chip = &self.tie.shared.chip;
        chip.write(regs::RDT, self.kicked_at as u32);
    }

    /// Publishes what an unmask looks at, and the counters.
    #[inline]
    fn publish(&mut self, packets: usize) {
        let shared = &*self.tie.shared;
        let waiting = self.slots.reap_at != self.kicked_at;
        shared.rx.watch(waiting.then_some(self.slots.reap_at));
        if packets != 0 {
            let tally = core::mem::take(&mut self.tally);
            let packets = (packets as u64).wrapping_sub(tally.continued);
            shared::count(&shared.counters.rx_packets, packets);
            shared::count(&shared.counters.rx_bytes, tally.bytes);
            shared::count(&shared.counters.rx_csum_good, tally.csum_good);
        }
    }
}

/// What the descriptors say of the packet that comes next.
enum Found {
    /// It is there, in so many frames.
    Whole(usize),
    /// Its end has not come yet.
    Part,
    /// It cannot be used.
    Bad,
}

/// Gives the frame what the descriptor says about it; false when that cannot be
/// true.
#[inline(always)]
fn fill<P: PciDevice>(
    chip: &Chip<P>,
    frame: &mut Frame,
    word: u64,
    buffer: usize,
    tally: &mut Tally,
) -> bool {
    let len = (word & 0xffff) as usize;
    if len == 0 || len > buffer || !frame.set_len(len) {
        return false;
    }
    chip.device.sync_for_cpu(frame.dma_addr(), len);
    if word & (IXSM | TCPCS | TCPE_IPE) == TCPCS {
        frame.set_checksum(ChecksumStatus::Unnecessary);
        tally.csum_good += 1;
    }
    if word & VP != 0 {
        frame.set_vlan_tci(Some((word >> 48) as u16));
    }
    tally.bytes += len as u64;
    true
}

/// Leaves the device a whole buffer; false when the frame has none.
#[inline]
fn make_room(frame: &mut Frame, buffer: usize) -> bool {
    if frame.is_empty() && frame.tailroom() >= buffer {
        return true;
    }
    empty(frame, buffer)
}

/// The frame holds a packet still, or leaves too much before it. What it says of
/// that packet is forgotten.
fn empty(frame: &mut Frame, buffer: usize) -> bool {
    let Some(most) = frame.capacity().checked_sub(buffer) else {
        return false;
    };
    frame.reset(frame.headroom().min(most));
    true
}

impl<P: PciDevice> DmaRing for RxRing<P> {
    #[inline]
    fn post(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.free_slots() == 0 || !make_room(&mut frame, self.buffers.bytes) {
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
        let frame = self.next_packet();
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
        if self.tie.holds() { self.slots.free } else { 0 }
    }

    fn post_from(&mut self, batch: &mut FrameBatch) -> usize {
        let take = batch.len().min(self.free_slots());
        let buffer = self.buffers.bytes;
        let mut frames = batch[..take].iter_mut();
        let fit = frames.position(|frame| !make_room(frame, buffer));
        let take = fit.unwrap_or(take);
        self.put(batch.drain(..take));
        take
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        if !self.tie.holds() {
            return 0;
        }
        let before = out.len();
        let want = before + max.min(out.remaining_capacity());
        self.reap_run(out, want - before);
        while out.len() < want {
            let Some(frame) = self.next_packet() else {
                break;
            };
            out.push(frame);
            self.reap_run(out, want - out.len());
        }
        let packets = out.len() - before;
        self.publish(packets);
        packets
    }
}

impl<P: PciDevice> Drop for RxRing<P> {
    fn drop(&mut self) {
        self.tie.shared.disable_rx(self.tie.session);
    }
}

impl<P: PciDevice> fmt::Debug for RxRing<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxRing")
            .field("tie", &self.tie)
            .field("free", &self.slots.free)
            .finish_non_exhaustive()
    }
}
