//! Header split (7.1.6): a packet's headers go to one frame, its payload to the
//! next ones.
//!
//! A descriptor then has two frames. Of a packet that is not split, or has no
//! payload, one of them stays empty: it is spare, and becomes the header frame of a
//! descriptor that is posted later.

use super::rx::{self, EOP, RxRing, length};
use crate::queue::RX_DD;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use softnet_dma_ring::{Frame, FrameBatch, RingFull};
use softnet_nic_hal::bus::PciDevice;

/// Bytes that the device may write to a header frame: a multiple of 64, and more
/// than the headers have that it splits off.
pub(crate) const HEADER_BUFFER: usize = 256;

/// First word: the headers were found and are in the header frame.
const SPH: u64 = 1 << 31;
/// First word: their length, of 10 bits.
const HDR_LEN_SHIFT: u32 = 21;

/// What a ring has beside its descriptors' payload frames.
#[derive(Debug)]
pub(super) struct Split {
    heads: Box<[Option<Frame>]>,
    spares: Vec<Frame>,
    /// Frames of a packet that has been taken out of its descriptors.
    ready: VecDeque<Frame>,
}

impl Split {
    pub(super) fn new(len: u16) -> Self {
        let len = usize::from(len);
        Self {
            heads: (0..len).map(|_| None).collect(),
            spares: Vec::with_capacity(len),
            ready: VecDeque::with_capacity(2 * len),
        }
    }

    /// Whether frames wait that no descriptor tells of.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many frames fit into that many free descriptors: two for each, unless
    /// the header's is there.
    pub(super) fn room(&self, free: usize) -> usize {
        2 * free - self.spares.len().min(free)
    }

    /// Keeps an empty frame for a header; it goes home when there are more than
    /// ever needed.
    fn spare(&mut self, mut frame: Frame) {
        frame.reset(frame.headroom() & !1);
        if self.spares.len() < self.heads.len() {
            self.spares.push(frame);
        }
    }
}

/// A packet that is whole: its descriptors, and what the last one says of it.
struct Whole {
    count: usize,
    words: [u64; 2],
    good: bool,
}

impl<P: PciDevice> RxRing<P> {
    /// Posts a frame for a header or for a payload, whichever is wanted.
    #[cold]
    pub(super) fn post_split(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        let fits = rx::make_room(&mut frame, self.shape.buffer);
        let Some(split) = &mut self.split else {
            return Err(RingFull(frame));
        };
        if self.slots.free == 0 || !fits {
            return Err(RingFull(frame));
        }
        let Some(head) = split.spares.pop() else {
            split.spare(frame);
            return Ok(());
        };
        let device = &self.tie.shared.chip.device;
        let addresses = [&frame, &head].map(Frame::dma_addr);
        device.sync_for_device(addresses[0], self.shape.buffer);
        device.sync_for_device(addresses[1], HEADER_BUFFER);
        let at = self.slots.post_at;
        let words = addresses.map(|address| address.0);
        self.tie.queue.rx.describe(at, words);
        if let Some(place) = split.heads.get_mut(at) {
            *place = Some(head);
        }
        self.slots.keep(at, frame);
        self.slots.posted(1, self.slots.next(at));
        Ok(())
    }

    /// Posts frames one by one; what does not fit stays.
    #[cold]
    pub(super) fn post_split_from(&mut self, batch: &mut FrameBatch) -> usize {
        let offered = batch.len();
        let mut rest = FrameBatch::new();
        for frame in batch.drain(..) {
            if !rest.is_empty() {
                rest.push(frame);
            } else if let Err(RingFull(frame)) = self.post_split(frame) {
                rest.push(frame);
            }
        }
        core::mem::swap(batch, &mut rest);
        offered - batch.len()
    }

    /// The next frame of the packet that is being handed out, or of the next good
    /// one that is whole.
    #[cold]
    pub(super) fn next_split(&mut self) -> Option<Frame> {
        for _ in 0..rx::BAD_AT_ONCE {
            if let Some(frame) = self.split.as_mut()?.ready.pop_front() {
                return Some(frame);
            }
            let whole = self.whole()?;
            if whole.good {
                self.take_whole(&whole);
            } else {
                self.throw_away(&whole);
            }
        }
        None
    }

    /// The oldest packet, if its last descriptor is done; or all that is done, if
    /// that has no end although it is longer than any packet or has all
    /// descriptors.
    fn whole(&self) -> Option<Whole> {
        let descriptors = &self.tie.queue.rx;
        let mut at = self.slots.reap_at;
        let (mut count, mut bytes, mut good) = (0, 0, true);
        while at != self.kicked_at && bytes <= rx::MAX_PACKET {
            let words = descriptors.words(at);
            if words[1] & RX_DD == 0 {
                return None;
            }
            let header = header_len(words, count);
            let len = length(words[1]);
            count += 1;
            bytes += (len + header).max(1);
            good &= len <= self.shape.buffer && header <= HEADER_BUFFER && len + header != 0;
            if words[1] & EOP != 0 {
                let good = good && words[1] & rx::BAD == 0;
                return Some(Whole { count, words, good });
            }
            at = self.slots.next(at);
        }
        let (words, good) = ([0; 2], false);
        (count != 0).then_some(Whole { count, words, good })
    }

    /// Takes a packet's frames out of its descriptors.
    fn take_whole(&mut self, whole: &Whole) {
        for part in 0..whole.count {
            let words = self.tie.queue.rx.words(self.slots.reap_at);
            let (header, len) = (header_len(words, part), length(words[1]));
            let (head, body) = self.take_pair();
            self.hand_out(head, header);
            self.hand_out(body, len);
        }
        let Some(split) = &mut self.split else {
            return;
        };
        let (mut bytes, last) = (0, split.ready.len().saturating_sub(1));
        for (at, frame) in split.ready.iter_mut().enumerate() {
            frame.set_continues(at != last);
            bytes += frame.len();
        }
        let Some(mut first) = split.ready.pop_front() else {
            // A device that writes descriptors anew has taken all bytes back.
            return self.count_bad(whole.words[1]);
        };
        self.tally.packets += 1;
        self.tally.bytes += bytes as u64;
        rx::describe(&mut first, whole.words);
        self.finish(&mut first, whole.words[1]);
        if let Some(split) = &mut self.split {
            split.ready.push_front(first);
        }
    }

    /// A frame with that many bytes from the device is handed out; one without is
    /// spare.
    fn hand_out(&mut self, frame: Option<Frame>, len: usize) {
        let (Some(mut frame), Some(split)) = (frame, &mut self.split) else {
            return;
        };
        // A device that writes descriptors anew cannot make a frame longer than it
        // is.
        if len == 0 || !frame.set_len(len) {
            split.spare(frame);
            return;
        }
        let device = &self.tie.shared.chip.device;
        device.sync_for_cpu(frame.dma_addr(), len);
        split.ready.push_back(frame);
    }

    /// Both frames of the oldest descriptor.
    fn take_pair(&mut self) -> (Option<Frame>, Option<Frame>) {
        let at = self.slots.reap_at;
        let heads = self.split.as_mut().map(|split| &mut split.heads);
        let head = heads.and_then(|heads| heads.get_mut(at)?.take());
        (head, self.slots.take())
    }

    /// Counts a bad packet, and posts its frames again.
    fn throw_away(&mut self, whole: &Whole) {
        self.count_bad(whole.words[1]);
        for _ in 0..whole.count {
            let (head, body) = self.take_pair();
            if let (Some(head), Some(split)) = (head, &mut self.split) {
                split.spare(head);
            }
            if let Some(mut body) = body {
                body.reset(body.headroom());
                // It has just left a slot, and its header's frame is spare.
                drop(self.post_split(body));
            }
        }
        self.write_tail();
    }
}

/// Bytes in the header frame of a packet's descriptor: only the first has any.
const fn header_len(words: [u64; 2], part: usize) -> usize {
    if part != 0 || words[0] & SPH == 0 {
        return 0;
    }
    (words[0] >> HDR_LEN_SHIFT) as usize & 0x3ff
}
