//! Receive: from the wire through the filters to memory (section 3.2).

mod offload;
mod packet;

use super::chip::Chip;
use super::core::{Core, MAX_PACKET, Rx};
use super::filter::{Exact, accept};
use super::flow;
use super::regs::{Cause, Rctl, offset};
use super::stats::{Delta, Octets, Stat};
use crate::filter::{Accept, BROADCAST};
use crate::flow::{Control, Flow, Listener};
use crate::ring::Ring;
use offload::Offload;
use packet::Packet;
use softnet_dma_ring::{DmaAddr, DmaFault, DmaWindow};
use softnet_nic_hal::wire::Wire;
use std::sync::atomic::Ordering;

/// Bytes of the shortest frame, without FCS.
const SHORTEST: usize = 60;
/// Bytes of the longest frame without RCTL.LPE, with FCS.
const LONGEST: usize = 1522;

/// The status and error bits of a legacy descriptor (section 3.2.3), where they
/// are in its second word.
mod descriptor {
    pub(super) const DD: u64 = 1 << 32;
    pub(super) const EOP: u64 = 1 << 33;
    pub(super) const IXSM: u64 = 1 << 34;
    pub(super) const VP: u64 = 1 << 35;
    pub(super) const TCPCS: u64 = 1 << 37;
    pub(super) const IPCS: u64 = 1 << 38;
    pub(super) const PIF: u64 = 1 << 39;
    pub(super) const TCPE: u64 = 1 << 45;
    pub(super) const IPE: u64 = 1 << 46;
    pub(super) const RXE: u64 = 1 << 47;
}

/// One turn of the receiver: what it needs of the registers, read once.
struct Burst<'a> {
    chip: &'a Chip,
    exact: &'a Exact,
    delta: &'a mut Delta,
    rx: &'a mut Rx,
    flow: &'a mut Flow,
    control: Option<Listener>,
    offload: Offload,
    now_ns: u64,
    descriptors: DmaWindow<'a>,
    buffers: DmaWindow<'a>,
    pad_short: bool,
    rctl: Rctl,
    buffer_len: usize,
    /// Bytes of the FCS that go to memory.
    fcs_len: usize,
    /// A frame goes to memory as it is, unless its tag is taken out.
    simple: bool,
    /// Bytes up to which a frame is a small one (RSRPD); 0: none is.
    small: usize,
    ring: Ring,
    /// Descriptors that the device owns, and how many there were at the start.
    left: u32,
    free: u32,
    stored: u32,
    causes: Cause,
}

/// Takes at most `budget` frames from the wire. Returns how many came, and which
/// interrupt causes that is.
pub(super) fn receive(
    chip: &Chip,
    core: &mut Core,
    now_ns: u64,
    budget: usize,
    wire: &mut dyn Wire,
) -> (usize, Cause) {
    let rctl = chip.registers.rctl();
    if !rctl.contains(Rctl::EN) || !chip.link_up() {
        // What nobody listens to is lost; the chip does not count it either.
        let came = wire.receive(now_ns, budget, &mut |_| {});
        chip.counters.rx_unheard.add(came as u64);
        return (came, Cause::empty());
    }
    let mut burst = Burst::begin(chip, core, rctl, now_ns);
    burst.drain_fifo();
    let came = wire.receive(now_ns, budget, &mut |frame| burst.arrive(frame));
    let causes = burst.end();
    (came, causes)
}

impl<'a> Burst<'a> {
    fn begin(chip: &'a Chip, core: &'a mut Core, rctl: Rctl, now_ns: u64) -> Self {
        let addresses = chip.addresses.load(Ordering::Acquire);
        if core.exact_of != addresses {
            core.exact = Exact::load(&chip.registers);
            core.exact_of = addresses;
        }
        let ring = if core.rx.halted || !chip.port.may_master() {
            Ring::STOPPED
        } else {
            chip.rx_ring()
        };
        let domain = core.view.domain();
        let offload = Offload::load(&chip.registers, rctl);
        let simple = rctl.contains(Rctl::SECRC) && offload.checksum_from() == 0;
        Self {
            chip,
            exact: &core.exact,
            delta: &mut core.delta,
            rx: &mut core.rx,
            flow: &mut core.flow,
            control: flow::listener(&chip.registers, rctl),
            offload,
            now_ns,
            descriptors: domain.window(),
            buffers: domain.window(),
            pad_short: core.pad_short,
            rctl,
            buffer_len: rctl.buffer_len(),
            fcs_len: if rctl.contains(Rctl::SECRC) { 0 } else { 4 },
            simple,
            small: chip.registers.load(offset::RSRPD) as usize,
            ring,
            left: ring.available(),
            free: ring.available(),
            stored: 0,
            causes: Cause::empty(),
        }
    }

    /// One frame from the wire.
    #[inline]
    fn arrive(&mut self, frame: &[u8]) {
        if frame.len() < SHORTEST && self.pad_short {
            let mut padded = [0; SHORTEST];
            padded[..frame.len()].copy_from_slice(frame);
            self.whole(&padded);
        } else {
            self.whole(frame);
        }
    }

    fn whole(&mut self, frame: &[u8]) {
        let len = frame.len() + 4;
        self.delta.count(Stat::TPR);
        self.delta.octets(Octets::TOR, len);
        if self.is_control(frame) && self.obey(frame) == Control::Consumed {
            return;
        }
        let registers = &self.chip.registers;
        let accepted = accept(frame, self.rctl, self.exact, registers);
        let Some((destination, how)) = accepted.filter(|_| self.offload.accepts(frame, registers))
        else {
            self.chip.counters.rx_filtered.add(1);
            return;
        };
        if frame.len() < SHORTEST {
            self.bad_length(Stat::RUC);
        } else if len > self.longest() {
            self.bad_length(Stat::ROC);
        } else if self.take(frame, how) {
            self.good(destination, len);
        } else {
            self.delta.count(Stat::MPC);
            self.causes |= Cause::RXO;
        }
    }

    #[inline]
    fn is_control(&self, frame: &[u8]) -> bool {
        let control = self.control.as_ref();
        control.is_some_and(|known| known.is_control(frame))
    }

    #[cold]
    fn obey(&mut self, frame: &[u8]) -> Control {
        let Some(known) = self.control else {
            return Control::Pass;
        };
        flow::obey(&known, frame, self.now_ns, self.flow, self.delta)
    }

    /// Bytes of the longest frame, with its FCS.
    #[inline]
    fn longest(&self) -> usize {
        if self.rctl.contains(Rctl::LPE) {
            MAX_PACKET
        } else {
            LONGEST
        }
    }

    #[cold]
    fn bad_length(&mut self, stat: Stat) {
        self.delta.count(stat);
        self.delta.count(Stat::RLEC);
    }

    #[inline]
    fn good(&mut self, destination: u64, len: usize) {
        let delta = &mut *self.delta;
        delta.count(Stat::GPRC);
        delta.count(Stat::PRC64.of_size(len));
        delta.octets(Octets::GORC, len);
        if destination == BROADCAST {
            delta.count(Stat::BPRC);
        } else if destination & 1 != 0 {
            delta.count(Stat::MPRC);
        }
    }

    /// To memory, or to the FIFO; `false` when there is no room in either.
    #[inline]
    fn take(&mut self, frame: &[u8], how: Accept) -> bool {
        if self.rx.fifo.is_empty() && self.has_room(frame.len()) {
            self.store(frame, how);
            return true;
        }
        self.wait(frame)
    }

    #[cold]
    fn wait(&mut self, frame: &[u8]) -> bool {
        self.delta.count(Stat::RNBC);
        let limit = (self.chip.registers.load(offset::PBA) & 0x3f) as usize * 1024;
        self.rx.fifo.push(frame, limit)
    }

    /// What waits in the FIFO goes to memory as far as there are descriptors.
    fn drain_fifo(&mut self) {
        let mut scratch = std::mem::take(&mut self.rx.scratch);
        while let Some(len) = self.rx.fifo.front() {
            if !self.has_room(len) {
                break;
            }
            if let Some(frame) = self.rx.fifo.pop(&mut scratch) {
                let how = accept(frame, self.rctl, self.exact, &self.chip.registers);
                self.store(frame, how.map_or(Accept::Exact, |(_, how)| how));
            }
        }
        self.rx.scratch = scratch;
    }

    /// Whether there are descriptors enough for a frame of `len` bytes. Bytes
    /// that go to memory are those of the frame with its FCS, unless that is
    /// stripped.
    #[inline]
    fn has_room(&mut self, len: usize) -> bool {
        let stored = len + self.fcs_len;
        self.left != 0 && stored <= self.buffer_len || self.find_room(stored)
    }

    #[cold]
    fn find_room(&mut self, stored: usize) -> bool {
        let need = stored.div_ceil(self.buffer_len);
        if (self.left as usize) < need {
            self.look_for_more();
        }
        self.left as usize >= need
    }

    /// The driver may have moved the tail since this burst began.
    fn look_for_more(&mut self) {
        if self.ring.len != 0 {
            self.ring.tail = self.chip.registers.load(offset::RDT);
            let now = self.ring.available();
            self.free += now.saturating_sub(self.left);
            self.left = now;
        }
    }

    #[inline]
    fn store(&mut self, frame: &[u8], how: Accept) {
        let how = match how {
            Accept::Exact => descriptor::DD,
            Accept::Inexact => descriptor::DD | descriptor::PIF,
        };
        let flags = self.offload.describe(frame) | how;
        if !self.simple || flags & descriptor::VP != 0 || frame.len() > self.buffer_len {
            self.store_in_parts(frame, flags);
        } else if let Err(fault) = self.store_at_once(frame, flags) {
            self.halt(fault);
        }
        if frame.len() <= self.small {
            self.causes |= Cause::SRPD;
        }
    }

    /// The frame fits into the next buffer, if that is none of a null
    /// descriptor.
    #[inline]
    fn store_at_once(&mut self, frame: &[u8], flags: u64) -> Result<(), DmaFault> {
        let words = self.descriptors.words(self.ring.descriptor())?;
        let buffer = words.first(Ordering::Acquire);
        if buffer == 0 {
            self.store_in_parts(frame, flags);
            return Ok(());
        }
        let mut status = frame.len() as u64 | flags | descriptor::EOP;
        if let Err(fault) = self.buffers.write(DmaAddr(buffer), frame) {
            self.chip.port.report(fault);
            status |= descriptor::RXE;
        }
        words.set_second(status, Ordering::Release);
        self.next();
        self.stored += 1;
        Ok(())
    }

    #[inline]
    fn next(&mut self) {
        self.ring.advance();
        self.left -= 1;
    }

    /// The packet, over as many descriptors as it takes.
    #[inline(never)]
    fn store_in_parts(&mut self, frame: &[u8], flags: u64) {
        let checksum_from = self.offload.checksum_from();
        let mut packet = Packet::new(frame, self.fcs_len, flags, checksum_from);
        // A null descriptor takes no data, so there may be too few after all:
        // the packet is then cut short, without EOP.
        while packet.at < packet.len && self.left > 0 {
            if let Err(fault) = self.fill(&mut packet) {
                return self.halt(fault);
            }
        }
        self.stored += 1;
    }

    #[cold]
    fn halt(&mut self, fault: DmaFault) {
        self.chip.port.report(fault);
        self.rx.halted = true;
        self.ring = Ring::STOPPED;
        self.left = 0;
    }

    /// Fills the descriptor at the head with what comes next of the packet. A
    /// buffer that is not mapped marks the packet as one with a receive error; a
    /// descriptor that is not mapped is an error.
    fn fill(&mut self, packet: &mut Packet<'_>) -> Result<(), DmaFault> {
        let words = self.descriptors.words(self.ring.descriptor())?;
        let buffer = words.first(Ordering::Acquire);
        let len = match buffer {
            0 => 0,
            _ => self.buffer_len.min(packet.len - packet.at),
        };
        if let Err(fault) = packet.write(&mut self.buffers, DmaAddr(buffer), len) {
            self.chip.port.report(fault);
            packet.flags |= descriptor::RXE;
        }
        packet.at += len;
        let mut status = len as u64 | packet.flags;
        if packet.at == packet.len {
            status |= descriptor::EOP;
        }
        words.set_second(status, Ordering::Release);
        self.next();
        Ok(())
    }

    /// Makes the burst visible in the registers, and says what it causes.
    fn end(mut self) -> Cause {
        let registers = &self.chip.registers;
        self.leave_fifo();
        self.chip.statistics.add(self.delta);
        if self.ring.len != 0 && self.stored > 0 {
            registers.set(offset::RDH, self.ring.head);
            let low = self.rctl.low_water(self.ring.len);
            if self.free > low && self.left <= low {
                self.causes |= Cause::RXDMT0;
            }
        }
        if self.stored > 0 {
            match registers.load(offset::RDTR) {
                0 => self.causes |= Cause::RXT0,
                counts => {
                    let absolute = registers.load(offset::RADV);
                    self.rx.delay.start(self.now_ns, counts, absolute);
                }
            }
        }
        self.causes
    }
}

impl Burst<'_> {
    /// Says whether frames stay in the FIFO, and only then looks at the tail once
    /// more: a driver moves the tail and then asks whether frames wait, so that
    /// one of the two sees the other.
    fn leave_fifo(&mut self) {
        let front = self.rx.fifo.front();
        let waits = front.is_some();
        self.chip.starved.set(waits);
        if front.is_some_and(|len| self.has_room(len)) {
            self.chip.doorbell.ring();
        }
    }
}
