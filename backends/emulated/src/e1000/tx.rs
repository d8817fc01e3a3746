//! Transmit: from memory to the wire, by legacy descriptors (section 3.3.3).

use super::chip::Chip;
use super::core::{Core, MAX_PACKET, Ring, Tx};
use super::regs::{Cause, Tctl, offset};
use super::stats::{Delta, Octets, Stat};
use bitflags::bitflags;
use softnet_dma_ring::{DmaAddr, DmaFault, DmaWindow, DmaWords};
use softnet_nic_hal::wire::Wire;
use std::sync::atomic::Ordering;

/// Bytes of the longest packet that the chip sends (section 3.3).
const LONGEST: usize = 16288;
/// Bytes to which short packets are padded, without FCS.
const SHORTEST: usize = 60;

bitflags! {
    /// The command byte of a descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Command: u8 {
        const EOP = 1;
        const IFCS = 1 << 1;
        const IC = 1 << 2;
        const RS = 1 << 3;
        const RPS = 1 << 4;
        const DEXT = 1 << 5;
        const VLE = 1 << 6;
        const IDE = 1 << 7;
    }
}

/// Descriptor done, in the second word.
const DD: u64 = 1 << 32;

/// The second word of a descriptor.
#[derive(Clone, Copy)]
struct Control(u64);

impl Control {
    fn command(self) -> Command {
        Command::from_bits_retain((self.0 >> 24) as u8)
    }

    fn len(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// Where the checksum is stored.
    fn cso(self) -> usize {
        (self.0 >> 16 & 0xff) as usize
    }

    /// Where the checksum starts.
    fn css(self) -> usize {
        (self.0 >> 40 & 0xff) as usize
    }

    /// Of an extended descriptor: whether it carries data (DTYP 1), and not a
    /// context.
    fn is_extended_data(self) -> bool {
        self.0 >> 20 & 0xf == 1
    }
}

struct Burst<'a> {
    chip: &'a Chip,
    tx: &'a mut Tx,
    delta: &'a mut Delta,
    descriptors: DmaWindow<'a>,
    buffers: DmaWindow<'a>,
    tctl: Tctl,
    wire: &'a mut dyn Wire,
    now_ns: u64,
    causes: Cause,
    delayed: bool,
}

/// Processes at most `budget` descriptors. Returns how many there were, whether
/// there are more, and which interrupt causes that is.
pub(super) fn transmit(
    chip: &Chip,
    core: &mut Core,
    now_ns: u64,
    budget: u32,
    wire: &mut dyn Wire,
) -> (u32, bool, Cause) {
    let tctl = chip.registers.tctl();
    let stopped = core.tx.halted || !chip.port.may_master() || !chip.link_up();
    if stopped || !tctl.contains(Tctl::EN) {
        return (0, false, Cause::empty());
    }
    let mut ring = chip.tx_ring();
    let pending = ring.available();
    if pending == 0 {
        return (0, false, Cause::empty());
    }
    let domain = core.view.domain();
    let mut burst = Burst {
        chip,
        tx: &mut core.tx,
        delta: &mut core.delta,
        descriptors: domain.window(),
        buffers: domain.window(),
        tctl,
        wire,
        now_ns,
        causes: Cause::empty(),
        delayed: false,
    };
    let done = burst.run(&mut ring, pending.min(budget));
    let causes = burst.end(&ring, pending);
    (done, ring.available() > 0 && done == budget, causes)
}

impl Burst<'_> {
    fn run(&mut self, ring: &mut Ring, count: u32) -> u32 {
        for done in 0..count {
            if let Err(fault) = self.descriptor(ring.descriptor()) {
                self.chip.port.report(fault);
                self.tx.halted = true;
                return done;
            }
            ring.advance();
        }
        count
    }

    /// Processes one descriptor; an error is a descriptor that cannot be reached.
    #[inline]
    fn descriptor(&mut self, at: DmaAddr) -> Result<(), DmaFault> {
        let words = self.descriptors.words(at)?;
        let control = Control(words.second(Ordering::Acquire));
        let command = control.command();
        if command.contains(Command::DEXT) {
            self.extended(control);
        } else {
            self.gather(DmaAddr(words.first(Ordering::Acquire)), control.len());
            if command.contains(Command::EOP) {
                self.send(control);
            }
        }
        if command.contains(Command::RS) {
            self.write_back(words, control);
        }
        Ok(())
    }

    /// Contexts and their data are not modelled: a context does nothing, and a
    /// packet with such data is not sent.
    #[cold]
    fn extended(&mut self, control: Control) {
        self.chip.counters.tx_unsupported.add(1);
        if control.is_extended_data() {
            self.tx.discard = true;
            if control.command().contains(Command::EOP) {
                self.give_up();
            }
        }
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
        let room = tx.packet.get_mut(tx.len..end).filter(|_| end <= LONGEST);
        let Some(room) = room else {
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

    /// The packet is complete. `control` is that of its last descriptor, the one
    /// whose IFCS and IC count.
    #[inline]
    fn send(&mut self, control: Control) {
        let command = control.command();
        if self.tx.discard || self.tx.len == 0 {
            return self.give_up();
        }
        if command.contains(Command::IC) {
            self.insert_checksum(control.css(), control.cso());
        }
        if !command.contains(Command::IFCS) && !self.strip_fcs() {
            return self.give_up();
        }
        self.pad();
        let tx = &mut *self.tx;
        let frame = &tx.packet[..tx.len.min(MAX_PACKET)];
        match self.wire.transmit(frame, self.now_ns) {
            Ok(()) => self.chip.counters.wire_tx.add(1),
            Err(_) => self.chip.counters.wire_tx_lost.add(1),
        }
        self.count();
        self.tx.begin_packet();
    }

    fn give_up(&mut self) {
        self.chip.counters.tx_discarded.add(1);
        self.tx.begin_packet();
    }

    /// The ones' complement sum from `start` to the end of the packet, stored at
    /// `at`, both within it.
    fn insert_checksum(&mut self, start: usize, at: usize) {
        let tx = &mut *self.tx;
        let packet = &mut tx.packet[..tx.len];
        if start >= packet.len() || at + 2 > packet.len() {
            return;
        }
        let sum = !ones_sum(&packet[start..]);
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// The driver has put the FCS there itself: the wire's frames are without.
    /// A wrong one makes a frame that no receiver takes.
    fn strip_fcs(&mut self) -> bool {
        let tx = &mut *self.tx;
        let Some((frame, fcs)) = tx.packet[..tx.len].split_last_chunk::<4>() else {
            return false;
        };
        let right = crc32fast::hash(frame).to_le_bytes() == *fcs;
        tx.len = frame.len();
        right
    }

    #[inline]
    fn pad(&mut self) {
        let tx = &mut *self.tx;
        if self.tctl.contains(Tctl::PSP) && tx.len < SHORTEST {
            tx.packet[tx.len..SHORTEST].fill(0);
            tx.len = SHORTEST;
        }
    }

    #[inline]
    fn count(&mut self) {
        let (tx, delta) = (&*self.tx, &mut *self.delta);
        let len = tx.len + 4;
        delta.count(Stat::TPT);
        delta.octets(Octets::TOT, len);
        delta.count(Stat::PTC64.of_size(len));
        if len >= 64 {
            delta.count(Stat::GPTC);
            delta.octets(Octets::GOTC, len);
        }
        if tx.packet[..tx.len].starts_with(&[0xff; 6]) {
            delta.count(Stat::BPTC);
        } else if tx.packet[0] & 1 != 0 {
            delta.count(Stat::MPTC);
        }
    }

    /// Makes the burst visible in the registers, and says what it causes.
    fn end(mut self, ring: &Ring, pending: u32) -> Cause {
        let registers = &self.chip.registers;
        self.chip.statistics.add(self.delta);
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
            self.tx.delay.start(self.now_ns, packet, absolute);
        }
        self.causes
    }
}

/// The ones' complement sum of 16-bit words, high byte first (RFC 1071).
fn ones_sum(bytes: &[u8]) -> u16 {
    let mut words = bytes.chunks_exact(2);
    let mut sum: u64 = words
        .by_ref()
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
