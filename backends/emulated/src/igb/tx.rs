//! Transmit: from memory to the wire (section 7.2).

use super::chip::Chip;
use super::core::{Core, Tx};
use super::regs::{QUEUES, Tctl, cause, offset, queue};
use super::stats::{Delta, Octets, Stat};
use super::tx_queue::{Data, Job, LONGEST, TxQueue, keep_flags};
use crate::fifo::Fifo;
use crate::offload::{TAG_LEN, insert_tag};
use crate::ring::Ring;
use softnet_dma_ring::{DmaAddr, DmaDomain, DmaFault, DmaWindow, DmaWords};
use softnet_nic_hal::wire::Wire;
use std::sync::atomic::Ordering;

/// Bytes to which short packets are padded, without FCS.
const SHORTEST: usize = 60;

/// Bytes on their way back at which nothing more is sent: there is room for a
/// longest packet beyond them.
const LOOPBACK_HELD: usize = 48 * 1024;

/// Types of advanced descriptors.
const CONTEXT: u64 = 2;
const DATA: u64 = 3;

/// Descriptor done, in the second word of both formats.
const DD: u64 = 1 << 32;

/// The enable bit of TDWBAL.
const HEAD_WRITE_BACK: u32 = 1;

/// The enable and the valid bit of TSYNCTXCTL.
const STAMP_ENABLE: u32 = 1 << 4;
const STAMP_VALID: u32 = 1;

/// What a burst came to.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) descriptors: u32,
    /// What counts against the budget: descriptors and segments.
    pub(super) spent: u32,
    /// There are more of them.
    pub(super) more: bool,
    /// Bits of ICR and of EICR.
    pub(super) causes: u32,
    pub(super) extended: u32,
}

/// What is common to the queues for one turn of the transmitter.
struct Burst<'a> {
    chip: &'a Chip,
    domain: &'a DmaDomain,
    buffers: DmaWindow<'a>,
    out: Out<'a>,
}

/// The way out, for packets that are complete.
struct Out<'a> {
    chip: &'a Chip,
    wire: &'a mut dyn Wire,
    now_ns: u64,
    delta: &'a mut Delta,
    /// Where packets go that come back.
    loopback: Option<&'a mut Fifo>,
    /// The EtherType of tags.
    tpid: u16,
    pads: bool,
    packets: u32,
    octets: u32,
}

/// Processes descriptors of all queues in turn, until they and the segments that
/// come of them use up the `budget`.
pub(super) fn transmit(
    chip: &Chip,
    core: &mut Core,
    now_ns: u64,
    budget: u32,
    wire: &mut dyn Wire,
) -> Sent {
    core.tx.pending |= chip.tx_rung.swap(0, Ordering::SeqCst) as u16;
    if core.tx.pending == 0 || !may_send(chip, core, now_ns) {
        return Sent::default();
    }
    let domain = core.view.domain();
    let mut burst = Burst {
        chip,
        domain,
        buffers: domain.window(),
        out: Out {
            chip,
            wire,
            now_ns,
            delta: &mut core.delta,
            loopback: chip.is_looped().then_some(&mut core.rx.loopback),
            tpid: chip.registers.load(offset::VET) as u16,
            pads: chip.registers.tctl().contains(Tctl::PSP),
            packets: 0,
            octets: 0,
        },
    };
    let sent = burst.run(&mut core.tx, budget);
    chip.statistics.add(burst.out.delta);
    sent
}

/// Whether the transmitter is on, connected, and not asked for silence.
fn may_send(chip: &Chip, core: &mut Core, now_ns: u64) -> bool {
    let on = chip.registers.tctl().contains(Tctl::EN);
    if !on || !chip.is_looped() && !chip.link_up() || !chip.may_master() {
        return false;
    }
    let paused = core.flow.is_paused(now_ns);
    if paused && core.flow.defer() {
        core.delta.count(Stat::DC);
        chip.statistics.add(&mut core.delta);
    }
    !paused
}

impl Burst<'_> {
    /// One turn of each queue that has something to do.
    fn run(&mut self, tx: &mut Tx, budget: u32) -> Sent {
        let mut sent = Sent::default();
        let first = tx.turn;
        for number in (first..QUEUES).chain(0..first) {
            let left = budget.saturating_sub(sent.spent);
            if tx.pending >> number & 1 == 0 {
                continue;
            }
            if left == 0 {
                // Who came too short is first the next time.
                tx.turn = number;
                break;
            }
            let more = self.queue(tx, number, left, &mut sent);
            if !more {
                tx.pending &= !(1 << number);
            }
        }
        sent.more = tx.pending != 0;
        sent
    }

    /// Spends at most `budget` on a queue. Returns whether it has more.
    fn queue(&mut self, tx: &mut Tx, number: usize, budget: u32, sent: &mut Sent) -> bool {
        let first = offset::TX_QUEUES + number as u32 * queue::STRIDE;
        let registers = &self.chip.registers;
        let on = registers.load(first + queue::DCTL) & queue::ENABLE != 0;
        if !on || tx.halted >> number & 1 != 0 {
            return false;
        }
        let mut ring = self.chip.tx_ring(number);
        let mut turn = Turn {
            burst: self,
            queue: &mut tx.queues[number],
            write_back_head: registers.load(first + queue::TDWBAL) & HEAD_WRITE_BACK != 0,
            reports: false,
            done: 0,
            spent: 0,
            budget,
        };
        let done = turn.run(&mut ring);
        let reports = turn.reports;
        sent.descriptors += turn.done;
        sent.spent += turn.spent;
        if let Err(fault) = done {
            self.chip.port.report(fault);
            tx.halted |= 1 << number;
        }
        self.leave(number, first, &ring);
        if reports {
            self.report(first, &ring);
            sent.causes |= cause::TXDW;
            sent.extended |= self.chip.interrupts.tx_bit(number);
        }
        done.is_ok() && ring.available() > 0
    }

    /// The registers and counters of a queue.
    fn leave(&mut self, number: usize, first: u32, ring: &Ring) {
        self.chip.registers.set(first + queue::HEAD, ring.head);
        let counters = &self.chip.statistics.queues[number];
        counters
            .tx_packets
            .add(std::mem::take(&mut self.out.packets));
        counters.tx_octets.add(std::mem::take(&mut self.out.octets));
    }

    /// Writes the head to memory, if that is how completions are reported
    /// (section 7.2.3).
    fn report(&mut self, first: u32, ring: &Ring) {
        let registers = &self.chip.registers;
        let low = registers.load(first + queue::TDWBAL);
        if low & HEAD_WRITE_BACK == 0 {
            return;
        }
        let high = registers.load(first + queue::TDWBAH);
        let at = DmaAddr(u64::from(high) << 32 | u64::from(low & !3));
        if let Err(fault) = self.domain.write(at, &ring.head.to_le_bytes()) {
            self.chip.port.report(fault);
        }
    }
}

/// One queue's turn.
struct Turn<'t, 'a> {
    burst: &'t mut Burst<'a>,
    queue: &'t mut TxQueue,
    write_back_head: bool,
    /// A descriptor's completion is reported.
    reports: bool,
    /// Descriptors that were processed.
    done: u32,
    /// They and the segments, of which a descriptor may hold tens of thousands.
    spent: u32,
    budget: u32,
}

impl Turn<'_, '_> {
    fn run(&mut self, ring: &mut Ring) -> Result<(), DmaFault> {
        let mut descriptors = self.burst.domain.window();
        let count = ring.available();
        while self.done < count && self.may_go_on() {
            if !self.descriptor(descriptors.words(ring.descriptor())?) {
                break;
            }
            ring.advance();
            self.done += 1;
            self.spent += 1;
        }
        Ok(())
    }

    #[inline]
    fn may_go_on(&self) -> bool {
        self.spent < self.budget && !self.burst.out.is_full()
    }

    /// Returns whether all of the descriptor is done; else the queue knows how far
    /// it got.
    #[inline]
    fn descriptor(&mut self, words: DmaWords<'_>) -> bool {
        let data = Data(words.second(Ordering::Acquire));
        let first = words.first(Ordering::Acquire);
        let done = match data.kind() {
            _ if !data.has(Data::DEXT) => self.data(first, data),
            DATA => {
                if self.queue.job.is_none() {
                    self.begin(data);
                }
                self.data(first, data)
            }
            CONTEXT => {
                self.queue.set_context(first, data.0);
                true
            }
            _ => {
                self.burst.chip.counters.tx_unsupported.add(1);
                true
            }
        };
        if done && data.has(Data::RS) {
            self.reports = true;
            if !self.write_back_head {
                words.set_second(data.0 | DD, Ordering::Release);
            }
        }
        done
    }

    #[inline]
    fn begin(&mut self, data: Data) {
        let registers = &self.burst.chip.registers;
        let possible = self.queue.begin_job(data, || keep_flags(registers));
        self.queue.discard |= !possible;
        if possible && self.queue.job.is_some_and(|job| job.segmented) {
            self.burst.out.delta.count(Stat::TSCTC);
        }
    }

    /// Returns whether all of the buffer was taken.
    #[inline]
    fn data(&mut self, buffer: u64, data: Data) -> bool {
        // A buffer at address 0 is a null descriptor, which has no data.
        if buffer != 0 && !self.queue.discard {
            match self.queue.job {
                Some(job) if job.segmented => {
                    if !self.cut(DmaAddr(buffer), data.len(), job) {
                        return false;
                    }
                }
                _ => self.gather(DmaAddr(buffer), data.len()),
            }
        }
        if data.has(Data::EOP) {
            self.end(data);
        }
        true
    }

    /// Adds a buffer to the packet.
    #[inline]
    fn gather(&mut self, buffer: DmaAddr, len: usize) {
        let queue = &mut *self.queue;
        let end = queue.len + len;
        if end > LONGEST {
            queue.discard = true;
            return;
        }
        let room = &mut queue.packet[TAG_LEN + queue.len..TAG_LEN + end];
        match self.burst.buffers.read(buffer, room) {
            Ok(()) => queue.len = end,
            Err(fault) => self.lose(fault),
        }
    }

    #[cold]
    fn lose(&mut self, fault: DmaFault) {
        self.burst.chip.port.report(fault);
        self.queue.discard = true;
    }

    /// Cuts a buffer into segments from where it was left, and sends those that
    /// are complete. Returns whether all of it was taken.
    fn cut(&mut self, buffer: DmaAddr, len: usize, job: Job) -> bool {
        let mut at = std::mem::take(&mut self.queue.cut_at);
        while at < len {
            if !self.may_go_on() {
                self.queue.cut_at = at;
                return false;
            }
            let segmenter = &mut self.queue.segmenter;
            let room = segmenter.room();
            let part = room.len().min(len - at);
            if part == 0 {
                // Bytes beyond the length that was announced.
                return true;
            }
            let from = buffer.offset(at as u64);
            if let Err(fault) = self.burst.buffers.read(from, &mut room[..part]) {
                self.lose(fault);
                return true;
            }
            segmenter.filled(part);
            at += part;
            if let Some(segment) = segmenter.segment() {
                self.burst.out.send(segment, job);
                self.spent += 1;
            }
        }
        true
    }

    /// The packet is complete.
    #[inline]
    fn end(&mut self, last: Data) {
        let job = self.queue.job(last);
        if self.queue.discard {
            return self.give_up();
        }
        if job.segmented {
            if let Some(segment) = self.queue.segmenter.cut_short() {
                self.burst.out.send(segment, job);
                self.spent += 1;
            }
            return self.queue.begin_packet();
        }
        if !last.has(Data::IFCS) && !self.strip_fcs() || self.queue.len == 0 {
            return self.give_up();
        }
        self.queue.insert_checksums();
        let packet = &mut self.queue.packet[..TAG_LEN + self.queue.len];
        self.burst.out.send(packet, job);
        self.queue.begin_packet();
    }

    #[cold]
    fn give_up(&mut self) {
        self.burst.chip.counters.tx_discarded.add(1);
        self.queue.begin_packet();
    }

    /// The driver has put the FCS there itself: the wire's frames are without.
    /// A wrong one makes a frame that no receiver takes.
    fn strip_fcs(&mut self) -> bool {
        let queue = &mut *self.queue;
        let packet = &queue.packet[TAG_LEN..TAG_LEN + queue.len];
        let Some((frame, fcs)) = packet.split_last_chunk::<4>() else {
            return false;
        };
        let right = crc32fast::hash(frame).to_le_bytes() == *fcs;
        queue.len = frame.len();
        right
    }
}

impl Out<'_> {
    /// Whether what comes back has to be received before more is sent: the way
    /// from here to there has no end where anything could fall off.
    #[inline]
    fn is_full(&self) -> bool {
        self.loopback
            .as_ref()
            .is_some_and(|frames| frames.used() > LOOPBACK_HELD)
    }

    /// Sends a packet that begins [`TAG_LEN`] bytes into `buffer`.
    #[inline]
    fn send(&mut self, buffer: &mut [u8], job: Job) {
        if job.stamp {
            self.stamp();
        }
        let tagged = job
            .tag
            .is_some_and(|tci| insert_tag(buffer, self.tpid, tci));
        let frame = if tagged {
            &*buffer
        } else {
            buffer.get(TAG_LEN..).unwrap_or_default()
        };
        if frame.len() < SHORTEST && self.pads {
            let mut padded = [0; SHORTEST];
            padded[..frame.len()].copy_from_slice(frame);
            self.put(&padded);
        } else {
            self.put(frame);
        }
    }

    #[inline]
    fn put(&mut self, frame: &[u8]) {
        let counters = &self.chip.counters;
        if let Some(loopback) = &mut self.loopback {
            // The limit is looked at before a packet is begun.
            let _ = loopback.push(frame, usize::MAX);
        } else {
            match self.wire.transmit(frame, self.now_ns) {
                Ok(()) => counters.wire_tx.add(1),
                Err(_) => counters.wire_tx_lost.add(1),
            }
        }
        self.count(frame);
    }

    #[inline]
    fn count(&mut self, frame: &[u8]) {
        let delta = &mut *self.delta;
        let len = frame.len() + 4;
        self.packets += 1;
        self.octets = self.octets.wrapping_add(len as u32);
        delta.count(Stat::TPT);
        delta.octets(Octets::TOT, len);
        delta.count(Stat::PTC64.of_size(len));
        delta.count(Stat::HGPTC);
        delta.octets(Octets::HGOTC, len);
        if len >= 64 {
            delta.count(Stat::GPTC);
            delta.octets(Octets::GOTC, len);
        }
        if frame.starts_with(&[0xff; 6]) {
            delta.count(Stat::BPTC);
        } else if frame.first().is_some_and(|byte| byte & 1 != 0) {
            delta.count(Stat::MPTC);
        }
    }

    /// Stamps a packet that leaves now, unless the last stamp was not yet read
    /// (section 7.9.2).
    #[cold]
    fn stamp(&mut self) {
        let registers = &self.chip.registers;
        let control = registers.load(offset::TSYNCTXCTL);
        if control & (STAMP_ENABLE | STAMP_VALID) == STAMP_ENABLE {
            let systim = self.chip.slow().clock.systim(self.now_ns);
            registers.set(offset::TXSTMPL, systim as u32);
            registers.set(offset::TXSTMPH, (systim >> 32) as u32);
            registers.set_bits(offset::TSYNCTXCTL, STAMP_VALID);
        }
    }
}
