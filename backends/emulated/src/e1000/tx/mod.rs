//! Transmit: from memory to the wire, by legacy descriptors (section 3.3.3) and by
//! contexts and their data (sections 3.3.5 to 3.3.7).

mod descriptor;
mod line;

pub(super) use descriptor::Extended;

use super::chip::Chip;
use super::core::{Core, Tx};
use super::regs::{Cause, Ctrl, Tctl, offset};
use super::stats::Stat;
use crate::offload::{ChecksumField, TAG_LEN, ZeroSum};
use crate::ring::Ring;
use descriptor::{Command, Context, Control, DD, Options};
use line::Line;
use softnet_dma_ring::{DmaAddr, DmaFault, DmaWindow, DmaWords};
use softnet_nic_hal::wire::Wire;
use std::sync::atomic::Ordering;

/// Bytes of the longest packet that the chip sends (section 3.3).
pub(super) const LONGEST: usize = 16288;

struct Burst<'a> {
    chip: &'a Chip,
    tx: &'a mut Tx,
    line: Line<'a>,
    descriptors: DmaWindow<'a>,
    buffers: DmaWindow<'a>,
    /// CTRL.VME: tags are put in.
    tags: bool,
    causes: Cause,
    delayed: bool,
    /// Descriptors and segments, of which a descriptor may hold a million.
    spent: u32,
    budget: u32,
}

/// What a burst came to.
pub(super) struct Sent {
    pub(super) descriptors: u32,
    /// Something went out.
    pub(super) any: bool,
    /// There is more to do.
    pub(super) more: bool,
    pub(super) causes: Cause,
}

impl Sent {
    const NOTHING: Self = Self {
        descriptors: 0,
        any: false,
        more: false,
        causes: Cause::empty(),
    };
}

/// Processes descriptors, until they and the segments that come of them use up the
/// `budget`.
pub(super) fn transmit(
    chip: &Chip,
    core: &mut Core,
    now_ns: u64,
    budget: u32,
    wire: &mut dyn Wire,
) -> Sent {
    let tctl = chip.registers.tctl();
    let stopped = core.tx.halted || !chip.port.may_master() || !chip.link_up();
    if stopped || !tctl.contains(Tctl::EN) {
        return Sent::NOTHING;
    }
    let mut ring = chip.tx_ring();
    let pending = ring.available();
    if pending == 0 {
        return Sent::NOTHING;
    }
    if core.flow.is_paused(now_ns) {
        if core.flow.defer() {
            core.delta.count(Stat::DC);
            chip.statistics.add(&mut core.delta);
        }
        return Sent::NOTHING;
    }
    let domain = core.view.domain();
    let mut burst = Burst {
        chip,
        tx: &mut core.tx,
        line: Line::new(chip, &mut core.delta, now_ns, tctl, wire),
        descriptors: domain.window(),
        buffers: domain.window(),
        tags: chip.registers.ctrl().contains(Ctrl::VME),
        causes: Cause::empty(),
        delayed: false,
        spent: 0,
        budget,
    };
    let descriptors = burst.run(&mut ring, pending);
    let any = burst.spent > 0;
    let causes = burst.end(&ring, pending);
    Sent {
        descriptors,
        any,
        more: ring.available() > 0 && !core.tx.halted,
        causes,
    }
}

impl Burst<'_> {
    fn run(&mut self, ring: &mut Ring, count: u32) -> u32 {
        for done in 0..count {
            if self.spent >= self.budget {
                return done;
            }
            match self.descriptor(ring.descriptor()) {
                Ok(true) => ring.advance(),
                Ok(false) => return done,
                Err(fault) => {
                    self.chip.port.report(fault);
                    self.tx.halted = true;
                    return done;
                }
            }
            self.spent += 1;
        }
        count
    }

    /// Processes one descriptor. Returns whether all of it is done; an error is a
    /// descriptor that cannot be reached.
    #[inline]
    fn descriptor(&mut self, at: DmaAddr) -> Result<bool, DmaFault> {
        let words = self.descriptors.words(at)?;
        let control = Control(words.second(Ordering::Acquire));
        let command = control.command();
        let first = words.first(Ordering::Acquire);
        if command.contains(Command::DEXT) {
            if !self.extended(first, control) {
                return Ok(false);
            }
        } else {
            self.gather(DmaAddr(first), control.len());
            if command.contains(Command::EOP) {
                self.send(control);
            }
        }
        if command.contains(Command::RS) {
            self.write_back(words, control);
        }
        Ok(true)
    }

    fn write_back(&mut self, words: DmaWords<'_>, control: Control) {
        words.set_second(control.0 | DD, Ordering::Release);
        if control.command().contains(Command::IDE) {
            self.delayed = true;
        } else {
            // An immediate interrupt ends the delays, which it would only be
            // followed by (section 13.4.44).
            self.causes |= Cause::TXDW;
            self.delayed = false;
            self.tx.delay.stop();
        }
    }

    /// Adds a buffer to the packet. One at address 0 is a null descriptor, which
    /// has no data.
    #[inline]
    fn gather(&mut self, buffer: DmaAddr, len: usize) {
        if buffer.0 == 0 || len == 0 {
            return;
        }
        let tx = &mut *self.tx;
        let end = tx.len + len;
        let room = tx.packet.get_mut(TAG_LEN + tx.len..TAG_LEN + end);
        let Some(room) = room.filter(|_| end <= LONGEST) else {
            tx.discard = true;
            return;
        };
        match self.buffers.read(buffer, room) {
            Ok(()) => tx.len = end,
            Err(fault) => {
                self.chip.port.report(fault);
                tx.discard = true;
            }
        }
    }

    /// The packet is complete. `control` is that of its last descriptor, a legacy
    /// one, whose IFCS, IC and VLE count.
    #[inline]
    fn send(&mut self, control: Control) {
        let command = control.command();
        if command.contains(Command::IC) {
            let field = ChecksumField {
                start: control.css(),
                at: control.cso(),
                end: None,
                zero: ZeroSum::Zero,
            };
            self.insert(&field);
        }
        self.put_on_wire(control);
    }

    fn insert(&mut self, field: &ChecksumField) {
        let tx = &mut *self.tx;
        field.insert(&mut tx.packet[TAG_LEN..TAG_LEN + tx.len]);
    }

    /// The packet goes out as it is, but for its tag.
    #[inline]
    fn put_on_wire(&mut self, control: Control) {
        let tx = &mut *self.tx;
        let own_fcs = !control.command().contains(Command::IFCS);
        if tx.discard || tx.len == 0 || own_fcs && !tx.strip_fcs() {
            return self.give_up();
        }
        let tag = self.tag(control);
        self.line
            .send(&mut self.tx.packet[..TAG_LEN + self.tx.len], tag);
        self.tx.begin_packet();
    }

    /// The tag that a descriptor asks for.
    #[inline]
    fn tag(&self, control: Control) -> Option<u16> {
        let asked = self.tags && control.command().contains(Command::VLE);
        asked.then_some(control.special())
    }

    fn give_up(&mut self) {
        if self.tx.extended.cutting {
            self.line.delta.count(Stat::TSCTFC);
        }
        self.chip.counters.tx_discarded.add(1);
        self.tx.begin_packet();
    }

    /// A context, or data of a packet that one is for. Returns whether all of it is
    /// done.
    #[inline(never)]
    fn extended(&mut self, first: u64, control: Control) -> bool {
        match control.kind() {
            0 => self.context(Context::new(first, control), control),
            1 => return self.data(DmaAddr(first), control),
            _ => self.chip.counters.tx_unsupported.add(1),
        }
        true
    }

    /// There are two contexts, and TSE says which one this is.
    fn context(&mut self, context: Context, control: Control) {
        let extended = &mut self.tx.extended;
        if control.command().contains(Command::TSE) {
            extended.segmentation = context;
        } else {
            extended.network = context.network_checksum();
            extended.transport = context.transport_checksum();
        }
    }

    fn data(&mut self, buffer: DmaAddr, control: Control) -> bool {
        if !self.tx.extended.begun {
            self.begin_data(control);
        }
        if self.tx.extended.cutting {
            if !self.cut(buffer, control) {
                return false;
            }
        } else {
            self.gather(buffer, control.extended_len());
        }
        if control.command().contains(Command::EOP) {
            if self.tx.extended.cutting {
                self.end_cutting(control);
            } else {
                self.send_data(control);
            }
        }
        true
    }

    /// The options, and whether the packet is cut, are the first descriptor's.
    fn begin_data(&mut self, control: Control) {
        let tx = &mut *self.tx;
        let extended = &mut tx.extended;
        extended.begun = true;
        extended.options = control.options();
        extended.cutting = control.command().contains(Command::TSE);
        if extended.cutting {
            let what = extended.segmentation.segmentation(extended.options);
            tx.discard |= extended.segmenter.begin(what).is_err();
        }
    }

    fn send_data(&mut self, control: Control) {
        let options = self.tx.extended.options;
        // The inner one first: the outer one may cover it.
        if options.contains(Options::TXSM) {
            let field = self.tx.extended.transport;
            self.insert(&field);
        }
        if options.contains(Options::IXSM) {
            let field = self.tx.extended.network;
            self.insert(&field);
        }
        self.put_on_wire(control);
    }

    /// Gives a buffer to the segments, from where it was left, and sends those that
    /// are complete. Returns whether all of it was taken.
    fn cut(&mut self, buffer: DmaAddr, control: Control) -> bool {
        let tag = self.tag(control);
        let tx = &mut *self.tx;
        let (segmenter, cut_at) = (&mut tx.extended.segmenter, &mut tx.extended.cut_at);
        let mut at = std::mem::take(cut_at);
        let len = control.extended_len();
        while at < len && !tx.discard && !segmenter.is_done() {
            if self.spent >= self.budget {
                *cut_at = at;
                return false;
            }
            let room = segmenter.room();
            let part = room.len().min(len - at);
            let from = buffer.offset(at as u64);
            if let Err(fault) = self.buffers.read(from, &mut room[..part]) {
                self.chip.port.report(fault);
                tx.discard = true;
                return true;
            }
            segmenter.filled(part);
            at += part;
            if let Some(segment) = segmenter.segment() {
                self.line.send(segment, tag);
                self.spent += 1;
            }
        }
        true
    }

    /// The last buffer of a packet that was cut has been given.
    fn end_cutting(&mut self, control: Control) {
        if self.tx.discard {
            return self.give_up();
        }
        let tag = self.tag(control);
        if let Some(segment) = self.tx.extended.segmenter.cut_short() {
            self.line.send(segment, tag);
            self.spent += 1;
        }
        self.line.delta.count(Stat::TSCTC);
        self.tx.begin_packet();
    }

    /// Makes the burst visible in the registers, and says what it causes.
    fn end(mut self, ring: &Ring, pending: u32) -> Cause {
        let registers = &self.chip.registers;
        self.chip.statistics.add(self.line.delta);
        registers.set(offset::TDH, ring.head);
        let left = ring.available();
        if left == 0 {
            self.causes |= Cause::TXQE;
        }
        let low = (registers.load(offset::TXDCTL) >> 25) * 8;
        if pending > low && left <= low {
            self.causes |= Cause::TXD_LOW;
        }
        if self.delayed {
            let (packet, absolute) = (registers.load(offset::TIDV), registers.load(offset::TADV));
            self.tx.delay.start(self.line.now_ns, packet, absolute);
        }
        self.causes
    }
}
