//! Received packets into buffers, and the descriptors' write-back (section 7.1.5).

use super::chip::Chip;
use super::header_split::header_len;
use super::lane::{Lane, Layout};
use super::packet::{Judge, Pieces, Verdict, status};
use super::regs::QUEUES;
use softnet_dma_ring::{DmaAddr, DmaDomain, DmaFault, DmaWindow, DmaWords};
use std::sync::atomic::Ordering;

/// SPH and HDR_LEN in a descriptor's first word.
const SPLIT: u32 = 1 << 31;
const HEADER_LEN_SHIFT: u32 = 21;

/// The way to memory.
pub(super) struct Store<'a> {
    chip: &'a Chip,
    descriptors: [DmaWindow<'a>; QUEUES],
    buffers: DmaWindow<'a>,
    headers: DmaWindow<'a>,
}

/// A packet that takes more than one buffer, while it is stored.
struct Long<'a> {
    pieces: Pieces<'a>,
    /// Bytes that are stored.
    at: usize,
    /// What each descriptor's first word says.
    first: u64,
    flags: u32,
    tag: u64,
}

impl<'a> Store<'a> {
    pub(super) fn new(chip: &'a Chip, domain: &'a DmaDomain) -> Self {
        Self {
            chip,
            descriptors: std::array::from_fn(|_| domain.window()),
            buffers: domain.window(),
            headers: domain.window(),
        }
    }

    /// Stores a frame in the queue `number`, which has room for it.
    ///
    /// # Errors
    /// A descriptor that cannot be reached. A buffer that cannot be is the
    /// driver's loss: the packet is marked as one with a receive error.
    #[inline]
    pub(super) fn store(
        &mut self,
        lane: &mut Lane,
        number: usize,
        frame: &[u8],
        verdict: &Verdict,
        judge: &Judge,
    ) -> Result<(), DmaFault> {
        let pieces = judge.pieces(frame, verdict);
        if pieces.len > lane.buffer_len || !lane.layout.is_plain() {
            return self.store_long(lane, number, frame, verdict, judge);
        }
        let words = self.descriptors[number].words(lane.ring.descriptor())?;
        let buffer = words.first(Ordering::Acquire);
        if buffer == 0 {
            return self.store_long(lane, number, frame, verdict, judge);
        }
        let mut flags = verdict.flags | status::DD | status::EOP;
        if let Err(fault) = pieces.write(&mut self.buffers, DmaAddr(buffer), 0, pieces.len) {
            self.chip.port.report(fault);
            flags |= status::RXE;
        }
        let first = verdict.first;
        write_back(
            words,
            lane.layout,
            first,
            (flags, pieces.len),
            verdict.tag_word(),
        );
        lane.next();
        Ok(())
    }

    /// Over as many descriptors, and kinds of buffers, as it takes.
    #[inline(never)]
    fn store_long(
        &mut self,
        lane: &mut Lane,
        number: usize,
        frame: &[u8],
        verdict: &Verdict,
        judge: &Judge,
    ) -> Result<(), DmaFault> {
        let mut long = Long {
            pieces: judge.pieces(frame, verdict),
            at: 0,
            first: verdict.first,
            flags: verdict.flags,
            tag: verdict.tag_word(),
        };
        if !lane.layout.is_plain() && lane.left > 0 {
            self.split(lane, number, (frame, verdict), &mut long)?;
        }
        // A null descriptor takes no data, so there may be too few after all: the
        // packet is then cut short, without EOP.
        let mut begun = false;
        while lane.left > 0 && !(begun && long.at >= long.pieces.len) {
            begun = true;
            self.fill(lane, number, &mut long)?;
        }
        Ok(())
    }

    /// The part of the packet that goes to the header buffer.
    fn split(
        &mut self,
        lane: &Lane,
        number: usize,
        (frame, verdict): (&[u8], &Verdict),
        long: &mut Long<'_>,
    ) -> Result<(), DmaFault> {
        let words = self.descriptors[number].words(lane.ring.descriptor())?;
        let header = DmaAddr(words.second(Ordering::Acquire) & !1);
        let found = header_len(&self.chip.registers, number, frame, verdict);
        let fits = found.filter(|&len| len <= lane.header_len);
        if found != fits {
            long.flags |= status::HBO;
        }
        let Some(len) = lane
            .layout
            .header_share(fits, lane.header_len, long.pieces.len)
        else {
            return Ok(());
        };
        if let Err(fault) = long.pieces.write(&mut self.headers, header, 0, len) {
            self.chip.port.report(fault);
            long.flags |= status::RXE;
        }
        let split = if fits.is_some() { SPLIT } else { 0 };
        long.first |= u64::from(split | (len as u32) << HEADER_LEN_SHIFT);
        if !lane.layout.replicates() {
            long.at = len;
        }
        Ok(())
    }

    /// Fills the descriptor at the head with what comes next of the packet.
    fn fill(
        &mut self,
        lane: &mut Lane,
        number: usize,
        long: &mut Long<'_>,
    ) -> Result<(), DmaFault> {
        let words = self.descriptors[number].words(lane.ring.descriptor())?;
        let buffer = words.first(Ordering::Acquire);
        let len = match buffer {
            0 => 0,
            _ => lane.buffer_len.min(long.pieces.len - long.at),
        };
        let written = long
            .pieces
            .write(&mut self.buffers, DmaAddr(buffer), long.at, len);
        if let Err(fault) = written {
            self.chip.port.report(fault);
            long.flags |= status::RXE;
        }
        long.at += len;
        let last = long.at == long.pieces.len;
        let (flags, tag) = if last {
            (long.flags | status::DD | status::EOP, long.tag)
        } else {
            (status::DD, 0)
        };
        write_back(words, lane.layout, long.first, (flags, len), tag);
        lane.next();
        Ok(())
    }
}

/// Writes a descriptor back; the word with DD last. A legacy one has a checksum of
/// the packet, which the model does not compute.
#[inline]
fn write_back(
    words: DmaWords<'_>,
    layout: Layout,
    first: u64,
    (flags, len): (u32, usize),
    tag: u64,
) {
    let second = if layout == Layout::Legacy {
        len as u64 | u64::from(flags & 0xff) << 32 | u64::from(flags >> 24) << 40 | tag
    } else {
        words.set_first(first, Ordering::Relaxed);
        u64::from(flags) | (len as u64) << 32 | tag
    };
    words.set_second(second, Ordering::Release);
}
