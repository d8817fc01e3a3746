//! Receive: from the wire through the filters to memory (section 3.2).

use super::chip::Chip;
use super::core::{Core, MAX_PACKET, Ring};
use super::filter::{Accept, accept};
use super::regs::{Cause, Rctl, offset};
use super::stats::{Octets, Stat};
use softnet_dma_ring::{DmaAddr, DmaDomain, DmaFault};
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
    pub(super) const PIF: u64 = 1 << 39;
    pub(super) const RXE: u64 = 1 << 47;
}

/// One turn of the receiver: what it needs of the registers, read once.
struct Burst<'a> {
    chip: &'a Chip,
    core: &'a mut Core,
    rctl: Rctl,
    buffer_len: usize,
    ring: Ring,
    /// Free descriptors at the start.
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
    let mut burst = Burst::begin(chip, core, rctl);
    burst.drain_fifo();
    let came = wire.receive(now_ns, budget, &mut |frame| burst.arrive(frame));
    let causes = burst.end(now_ns);
    (came, causes)
}

impl<'a> Burst<'a> {
    fn begin(chip: &'a Chip, core: &'a mut Core, rctl: Rctl) -> Self {
        let addresses = chip.addresses.load(Ordering::Acquire);
        if core.exact_of != addresses {
            core.exact = super::filter::Exact::load(&chip.registers);
            core.exact_of = addresses;
        }
        let ring = if core.rx.halted || !chip.port.may_master() {
            Ring::STOPPED
        } else {
            chip.rx_ring()
        };
        Self {
            chip,
            core,
            rctl,
            buffer_len: rctl.buffer_len(),
            ring,
            free: ring.available(),
            stored: 0,
            causes: Cause::empty(),
        }
    }

    /// One frame from the wire.
    fn arrive(&mut self, frame: &[u8]) {
        if frame.len() < SHORTEST && self.core.pad_short {
            let mut padded = [0; SHORTEST];
            padded[..frame.len()].copy_from_slice(frame);
            self.whole(&padded);
        } else {
            self.whole(frame);
        }
    }

    fn whole(&mut self, frame: &[u8]) {
        let len = frame.len() + 4;
        self.core.delta.count(Stat::TPR);
        self.core.delta.octets(Octets::TOR, len);
        let registers = &self.chip.registers;
        let Some(how) = accept(frame, self.rctl, &self.core.exact, registers) else {
            self.chip.counters.rx_filtered.add(1);
            return;
        };
        let longest = if self.rctl.contains(Rctl::LPE) {
            MAX_PACKET
        } else {
            LONGEST
        };
        if frame.len() < SHORTEST {
            self.bad_length(Stat::RUC);
        } else if len > longest {
            self.bad_length(Stat::ROC);
        } else if self.take(frame, how) {
            self.good(frame, len);
        } else {
            self.core.delta.count(Stat::MPC);
            self.causes |= Cause::RXO;
        }
    }

    fn bad_length(&mut self, stat: Stat) {
        self.core.delta.count(stat);
        self.core.delta.count(Stat::RLEC);
    }

    fn good(&mut self, frame: &[u8], len: usize) {
        let delta = &mut self.core.delta;
        delta.count(Stat::GPRC);
        delta.count(Stat::PRC64.of_size(len));
        delta.octets(Octets::GORC, len);
        if frame.starts_with(&[0xff; 6]) {
            delta.count(Stat::BPRC);
        } else if frame[0] & 1 != 0 {
            delta.count(Stat::MPRC);
        }
    }

    /// To memory, or to the FIFO; `false` when there is no room in either.
    fn take(&mut self, frame: &[u8], how: Accept) -> bool {
        let fifo = &self.core.rx.fifo;
        if fifo.is_empty() && self.has_room(frame.len()) {
            self.store(frame, how);
            return true;
        }
        self.core.delta.count(Stat::RNBC);
        let limit = (self.chip.registers.load(offset::PBA) & 0x3f) as usize * 1024;
        self.core.rx.fifo.push(frame, limit)
    }

    /// What waits in the FIFO goes to memory as far as there are descriptors.
    fn drain_fifo(&mut self) {
        let mut scratch = std::mem::take(&mut self.core.rx.scratch);
        while let Some(len) = self.core.rx.fifo.front() {
            if !self.has_room(len) {
                break;
            }
            if let Some(frame) = self.core.rx.fifo.pop(&mut scratch) {
                let (exact, registers) = (&self.core.exact, &self.chip.registers);
                let how = accept(frame, self.rctl, exact, registers);
                self.store(frame, how.unwrap_or(Accept::Exact));
            }
        }
        self.core.rx.scratch = scratch;
    }

    /// Bytes that go to memory of a frame of `len` bytes: with its FCS, unless
    /// that is stripped.
    fn stored_len(&self, len: usize) -> usize {
        len + if self.rctl.contains(Rctl::SECRC) {
            0
        } else {
            4
        }
    }

    /// Whether there are descriptors enough for a frame of `len` bytes.
    fn has_room(&mut self, len: usize) -> bool {
        let need = self.stored_len(len).div_ceil(self.buffer_len);
        if self.ring.available() as usize >= need {
            return true;
        }
        self.look_for_more();
        self.ring.available() as usize >= need
    }

    /// The driver may have moved the tail since this burst began.
    fn look_for_more(&mut self) {
        if self.ring.len != 0 {
            let before = self.ring.available();
            self.ring.tail = self.chip.registers.word(offset::RDT).load(Ordering::SeqCst);
            self.free += self.ring.available().saturating_sub(before);
        }
    }

    fn store(&mut self, frame: &[u8], how: Accept) {
        let fcs = if self.rctl.contains(Rctl::SECRC) {
            [0; 4]
        } else {
            crc32fast::hash(frame).to_le_bytes()
        };
        let mut packet = Packet {
            frame,
            fcs,
            len: self.stored_len(frame.len()),
            at: 0,
            flags: descriptor::DD | descriptor::IXSM,
        };
        if how == Accept::Inexact {
            packet.flags |= descriptor::PIF;
        }
        // A null descriptor takes no data, so there may be too few after all:
        // the packet is then cut short, without EOP.
        while packet.at < packet.len && self.ring.available() > 0 {
            if let Err(fault) = self.fill(&mut packet) {
                self.chip.port.report(fault);
                self.core.rx.halted = true;
                self.ring = Ring::STOPPED;
                return;
            }
        }
        self.stored += 1;
    }

    /// Fills the descriptor at the head with what comes next of the packet. A
    /// buffer that is not mapped marks the packet as one with a receive error; a
    /// descriptor that is not mapped is an error.
    fn fill(&mut self, packet: &mut Packet<'_>) -> Result<(), DmaFault> {
        let domain = self.core.view.domain();
        let descriptor = self.ring.descriptor();
        let buffer = domain.read_u64(descriptor, Ordering::Acquire)?;
        let len = match buffer {
            0 => 0,
            _ => self.buffer_len.min(packet.len - packet.at),
        };
        if let Err(fault) = packet.write(domain, DmaAddr(buffer), len) {
            self.chip.port.report(fault);
            packet.flags |= descriptor::RXE;
        }
        packet.at += len;
        let mut status = len as u64 | packet.flags;
        if packet.at == packet.len {
            status |= descriptor::EOP;
        }
        domain.write_u64(descriptor.offset(8), status, Ordering::Release)?;
        self.ring.advance();
        Ok(())
    }

    /// Makes the burst visible in the registers, and says what it causes.
    fn end(mut self, now_ns: u64) -> Cause {
        let registers = &self.chip.registers;
        self.leave_fifo();
        self.chip.statistics.add(&mut self.core.delta);
        if self.ring.len != 0 && self.stored > 0 {
            registers.set(offset::RDH, self.ring.head);
            let low = self.rctl.low_water(self.ring.len);
            if self.free > low && self.ring.available() <= low {
                self.causes |= Cause::RXDMT0;
            }
        }
        if self.stored > 0 {
            match registers.load(offset::RDTR) {
                0 => self.causes |= Cause::RXT0,
                counts => {
                    let absolute = registers.load(offset::RADV);
                    self.core.rx.delay.start(now_ns, counts, absolute);
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
        let front = self.core.rx.fifo.front();
        let waits = front.is_some();
        self.chip.fifo_waits.store(waits, Ordering::SeqCst);
        if front.is_some_and(|len| self.has_room(len)) {
            self.chip.doorbell.ring();
        }
    }
}

/// A packet on its way to memory: the frame and its FCS, one after the other.
struct Packet<'a> {
    frame: &'a [u8],
    fcs: [u8; 4],
    len: usize,
    at: usize,
    flags: u64,
}

impl Packet<'_> {
    /// Writes the next `len` bytes to `to`.
    fn write(&self, domain: &DmaDomain, to: DmaAddr, len: usize) -> Result<(), DmaFault> {
        let end = self.at + len;
        let split = self.frame.len();
        let data = &self.frame[self.at.min(split)..end.min(split)];
        if !data.is_empty() {
            domain.write(to, data)?;
        }
        let fcs = &self.fcs[self.at.max(split) - split..end.max(split) - split];
        if !fcs.is_empty() {
            domain.write(to.offset(data.len() as u64), fcs)?;
        }
        Ok(())
    }
}
