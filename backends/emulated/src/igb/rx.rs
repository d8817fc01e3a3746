//! Receive: from the wire through the filters to the queues (section 7.1).

use super::chip::Chip;
use super::core::{Core, MAX_PACKET, Rx};
use super::filter::{accept, accept_vlan};
use super::flow;
pub(super) use super::lane::Lane;
use super::lane::registers_of;
use super::packet::{Judge, Verdict, status};
use super::regs::{Ctrl, QUEUES, Rctl, cause, offset, queue};
use super::stamp;
use super::stats::{Delta, Octets, Stat};
use super::store::Store;
use crate::filter::{Accept, BROADCAST};
use crate::flow::{Control, Flow, Listener};
use crate::offload::tag;
use softnet_nic_hal::wire::Wire;

/// Bytes of the shortest frame, without FCS.
const SHORTEST: usize = 60;
/// Bytes of the longest frame without RCTL.LPE, with FCS.
const LONGEST: usize = 1518;

/// What a burst came to.
#[derive(Default)]
pub(super) struct Received {
    /// Frames that were taken from the wire.
    pub(super) frames: usize,
    /// Bits of ICR and of EICR.
    pub(super) causes: u32,
    pub(super) extended: u32,
}

/// One turn of the receiver: what it needs of the registers, read once.
struct Burst<'a> {
    chip: &'a Chip,
    tables: &'a super::core::Tables,
    delta: &'a mut Delta,
    rx: &'a mut Rx,
    store: Store<'a>,
    judge: Judge,
    pad_short: bool,
    rctl: Rctl,
    longest: usize,
    /// No DMA at all.
    stopped: bool,
    flow: &'a mut Flow,
    /// How MAC control frames are received, if they are listened to.
    control: Option<Listener>,
    /// Packets may have to be stamped.
    stamps: bool,
    now_ns: u64,
    /// Which of the lanes have been read from the registers.
    ready: u16,
    causes: u32,
}

/// What became of a frame at its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stored,
    Dropped,
    /// There are too few descriptors.
    Waits,
}

/// Takes at most `budget` frames from the wire.
pub(super) fn receive(
    chip: &Chip,
    core: &mut Core,
    now_ns: u64,
    budget: usize,
    wire: &mut dyn Wire,
) -> Received {
    let rctl = chip.registers.rctl();
    let looped = chip.is_looped();
    if !rctl.contains(Rctl::EN) || !looped && !chip.link_up() {
        return ignore(chip, now_ns, budget, wire);
    }
    let mut burst = Burst::begin(chip, core, rctl, now_ns);
    burst.drain();
    if looped {
        burst.take_loopback();
        let mut received = ignore(chip, now_ns, budget, wire);
        burst.end(&mut received);
        return received;
    }
    let mut received = Received {
        frames: wire.receive(now_ns, budget, &mut |frame| burst.arrive(frame)),
        ..Received::default()
    };
    burst.end(&mut received);
    received
}

/// What nobody listens to is lost; the chip does not count it either.
fn ignore(chip: &Chip, now_ns: u64, budget: usize, wire: &mut dyn Wire) -> Received {
    let frames = wire.receive(now_ns, budget, &mut |_| {});
    chip.counters.rx_unheard.add(frames as u64);
    Received {
        frames,
        ..Received::default()
    }
}

impl<'a> Burst<'a> {
    fn begin(chip: &'a Chip, core: &'a mut Core, rctl: Rctl, now_ns: u64) -> Self {
        let domain = core.view.domain();
        let strip_tags = chip.registers.ctrl().contains(Ctrl::VME);
        let fcs_len = if rctl.contains(Rctl::SECRC) { 0 } else { 4 };
        let longest = if rctl.contains(Rctl::LPE) {
            chip.registers.load(offset::RLPML) as usize
        } else {
            LONGEST
        };
        Self {
            chip,
            tables: &core.tables,
            delta: &mut core.delta,
            rx: &mut core.rx,
            store: Store::new(chip, domain),
            judge: Judge::load(&chip.registers, strip_tags, fcs_len),
            pad_short: core.pad_short,
            rctl,
            longest,
            stopped: !chip.may_master(),
            flow: &mut core.flow,
            control: flow::listener(&chip.registers, rctl),
            stamps: stamp::wanted(chip),
            now_ns,
            ready: 0,
            causes: 0,
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

    /// What the transmitter has sent to itself.
    fn take_loopback(&mut self) {
        let mut scratch = [0; MAX_PACKET];
        while let Some(frame) = self.rx.loopback.pop(&mut scratch) {
            self.arrive(frame);
        }
    }

    fn whole(&mut self, frame: &[u8]) {
        let len = frame.len() + 4;
        self.delta.count(Stat::TPR);
        self.delta.octets(Octets::TOR, len);
        if self.control.is_some_and(|known| known.is_control(frame))
            && self.obey(frame) == Control::Consumed
        {
            return;
        }
        let Some((destination, accepted)) = self.accept(frame) else {
            self.chip.counters.rx_filtered.add(1);
            return;
        };
        if frame.len() < SHORTEST {
            return self.bad_length(Stat::RUC);
        }
        if len > self.longest_of(accepted.1) {
            return self.bad_length(Stat::ROC);
        }
        if self.take(frame, accepted) {
            self.good(destination, len);
        } else {
            self.delta.count(Stat::MPC);
            self.causes |= cause::RXO;
        }
    }

    #[cold]
    fn obey(&mut self, frame: &[u8]) -> Control {
        let Some(known) = &self.control else {
            return Control::Pass;
        };
        flow::obey(known, frame, self.now_ns, self.flow, self.delta)
    }

    /// By the address, and by the tag.
    #[inline]
    fn accept(&self, frame: &[u8]) -> Option<(u64, (Accept, Option<u16>))> {
        let registers = &self.chip.registers;
        let (destination, how) = accept(frame, self.rctl, &self.tables.exact, registers)?;
        let tci = tag(frame, self.judge.tpid);
        let heard = tci.is_none_or(|tci| accept_vlan(tci, self.rctl, registers));
        heard.then_some((destination, (how, tci)))
    }

    /// Bytes of the longest frame, with its FCS; a tag is beyond the limit that
    /// is there without long packets.
    #[inline]
    fn longest_of(&self, tci: Option<u16>) -> usize {
        let long = self.rctl.contains(Rctl::LPE);
        let tag = if tci.is_some() && !long { 4 } else { 0 };
        (self.longest + tag).min(MAX_PACKET)
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
    fn take(&mut self, frame: &[u8], accepted: (Accept, Option<u16>)) -> bool {
        if !self.rx.waits() && self.dispatch(frame, accepted) != Fate::Waits {
            return true;
        }
        self.wait(frame)
    }

    #[cold]
    fn wait(&mut self, frame: &[u8]) -> bool {
        self.delta.count(Stat::RNBC);
        let limit = (self.chip.registers.load(offset::RXPBS) & 0x7f) as usize * 1024;
        let head = self.rx.used() - self.rx.fifo.used();
        self.rx.fifo.push(frame, limit.saturating_sub(head))
    }

    /// What waits in the FIFO goes to memory in order, as far as there are
    /// descriptors: a frame whose queue has none keeps those behind it waiting.
    fn drain(&mut self) {
        if !self.rx.waits() {
            return;
        }
        let mut head = std::mem::take(&mut self.rx.head);
        loop {
            if self.rx.head_len == 0 {
                self.rx.head_len = self.rx.fifo.pop(&mut head).map_or(0, <[u8]>::len);
            }
            let Some(frame) = head.get(..self.rx.head_len).filter(|f| !f.is_empty()) else {
                break;
            };
            // The filters may have changed; it has passed them.
            let accepted = self.accept(frame).map(|(_, accepted)| accepted);
            let accepted = accepted.unwrap_or((Accept::Exact, tag(frame, self.judge.tpid)));
            if self.dispatch(frame, accepted) == Fate::Waits {
                break;
            }
            self.rx.head_len = 0;
        }
        self.rx.head = head;
    }

    /// Finds the frame's queue and stores it there.
    #[inline]
    fn dispatch(&mut self, frame: &[u8], accepted: (Accept, Option<u16>)) -> Fate {
        let registers = &self.chip.registers;
        let mut verdict = self
            .judge
            .judge(frame, accepted, &self.tables.rss, registers);
        let number = usize::from(verdict.queue) % QUEUES;
        self.open(number);
        let lane = &mut self.rx.lanes[number];
        if !lane.open {
            self.chip.counters.rx_unheard.add(1);
            return Fate::Dropped;
        }
        let stored = self.judge.stored_len(frame, &verdict);
        if !has_room(lane, self.chip, number, stored) {
            return self.refuse(number);
        }
        if self.stamps && stamp::stamp(self.chip, frame, &verdict, self.now_ns) {
            verdict.flags |= status::TS;
        }
        self.keep(frame, &verdict, number)
    }

    #[inline]
    fn keep(&mut self, frame: &[u8], verdict: &Verdict, number: usize) -> Fate {
        let lane = &mut self.rx.lanes[number];
        let stored = self.store.store(lane, number, frame, verdict, &self.judge);
        match stored {
            Ok(()) => {
                lane.packets += 1;
                lane.octets += frame.len() as u32 + 4;
                let group = frame.first().is_some_and(|byte| byte & 1 != 0);
                lane.multicast += u32::from(group && !frame.starts_with(&[0xff; 6]));
            }
            Err(fault) => {
                self.chip.port.report(fault);
                lane.halt();
                self.rx.halted |= 1 << number;
            }
        }
        Fate::Stored
    }

    #[cold]
    fn refuse(&mut self, number: usize) -> Fate {
        if self.rx.lanes[number].drops {
            self.chip.statistics.queues[number].drop_packet();
            Fate::Dropped
        } else {
            Fate::Waits
        }
    }

    /// Reads a queue's registers when the burst meets it first.
    #[inline]
    fn open(&mut self, number: usize) {
        if self.ready >> number & 1 == 0 {
            self.ready |= 1 << number;
            let stopped = self.stopped || self.rx.halted >> number & 1 != 0;
            self.rx.lanes[number] = Lane::load(self.chip, number, stopped, self.rctl);
        }
    }

    /// Makes the burst visible in the registers, and says what it causes.
    fn end(mut self, received: &mut Received) {
        self.leave_fifo();
        let mut ready = self.ready;
        while ready != 0 {
            let number = ready.trailing_zeros() as usize;
            ready &= ready - 1;
            received.extended |= self.leave_lane(number);
        }
        self.chip.statistics.add(self.delta);
        received.causes = self.causes;
    }

    /// The registers and counters of a queue. Returns the bit of EICR that it has
    /// become a reason for.
    fn leave_lane(&mut self, number: usize) -> u32 {
        let lane = self.rx.lanes[number];
        let registers = &self.chip.registers;
        if lane.packets == 0 {
            return 0;
        }
        if lane.ring.len != 0 {
            registers.set(registers_of(number) + queue::HEAD, lane.ring.head);
        }
        if lane.ran_low() {
            self.causes |= cause::RXDMT0;
            self.delta.count(Stat::RXDMTC);
        }
        self.causes |= cause::RXDW;
        self.delta.counts(Stat::RPTHC, lane.packets);
        self.delta.octets(Octets::HGORC, lane.octets as usize);
        let counters = &self.chip.statistics.queues[number];
        counters.rx_packets.add(lane.packets);
        counters.rx_octets.add(lane.octets);
        counters.rx_multicast.add(lane.multicast);
        self.chip.interrupts.rx_bit(number)
    }

    /// Says whether frames stay in the FIFO, and only then looks at the tail once
    /// more: a driver moves the tail and then asks whether frames wait, so that
    /// one of the two sees the other.
    fn leave_fifo(&mut self) {
        let waits = self.rx.waits();
        self.chip.starved.set(waits);
        if waits {
            self.drain();
            self.chip.starved.set(self.rx.waits());
        }
    }
}

/// Whether there are descriptors enough for `stored` bytes.
#[inline]
fn has_room(lane: &mut Lane, chip: &Chip, number: usize, stored: usize) -> bool {
    let enough = lane.left != 0 && stored <= lane.buffer_len;
    enough || {
        let need = stored.div_ceil(lane.buffer_len) as u32;
        if lane.left < need {
            lane.look_for_more(chip, number);
        }
        lane.left >= need
    }
}
