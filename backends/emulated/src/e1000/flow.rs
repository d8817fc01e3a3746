//! Flow control by pause frames (IEEE 802.3, annex 31B; section 8.7).

use super::chip::Chip;
use super::core::Core;
use super::regs::{Ctrl, Rctl, Registers, Tctl, offset};
use super::stats::{Delta, Octets, Stat};
use softnet_nic_hal::wire::Wire;
use std::sync::atomic::Ordering;

/// The opcode of a pause frame.
const PAUSE: u16 = 1;
/// FCRTL.XONE: below the low threshold, an XON is sent.
const XONE: u32 = 1 << 31;

/// Nanoseconds of one pause quantum: 512 bit times, here of 1000 Mbit/s.
const QUANTUM_NS: u64 = 512;

/// What is under way.
#[derive(Default)]
pub(super) struct Flow {
    /// The partner has asked for silence until then.
    pub(super) paused_until: Option<u64>,
    /// The partner was asked for silence, which it keeps until then.
    asked_until: Option<u64>,
    /// Something was to be sent in the silence that is kept now.
    deferred: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// It is to be received as any other.
    Pass,
    /// It was for the MAC alone.
    Consumed,
}

/// What a received MAC control frame is known by; read once a burst, when
/// CTRL.RFCE is set.
#[derive(Clone, Copy)]
pub(super) struct Known {
    group: [u8; 6],
    station: [u8; 6],
    ethertype: [u8; 2],
    rctl: Rctl,
}

impl Known {
    pub(super) fn load(registers: &Registers, rctl: Rctl) -> Option<Self> {
        registers.ctrl().contains(Ctrl::RFCE).then(|| Self {
            group: address(registers, offset::FCAL, offset::FCAH),
            station: address(registers, offset::RAL0, offset::RAH0),
            ethertype: (registers.load(offset::FCT) as u16).to_be_bytes(),
            rctl,
        })
    }

    /// Whether a frame is MAC control, and for this station.
    #[inline]
    pub(super) fn is_control(&self, frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&self.ethertype)
            && (frame.starts_with(&self.group) || frame.starts_with(&self.station))
    }

    /// Obeys a MAC control frame.
    #[cold]
    pub(super) fn obey(
        &self,
        frame: &[u8],
        now_ns: u64,
        flow: &mut Flow,
        delta: &mut Delta,
    ) -> Control {
        let word = |at| frame.get(at..).and_then(<[u8]>::first_chunk).copied();
        let opcode = word(14).map(u16::from_be_bytes);
        let quanta = word(16).map(u16::from_be_bytes);
        let (Some(PAUSE), Some(quanta)) = (opcode, quanta) else {
            delta.count(Stat::FCRUC);
            return pass_if(self.rctl.contains(Rctl::PMCF));
        };
        delta.count(if quanta == 0 {
            Stat::XONRXC
        } else {
            Stat::XOFFRXC
        });
        let pause_ns = u64::from(quanta) * QUANTUM_NS;
        flow.paused_until = (quanta != 0).then(|| now_ns.saturating_add(pause_ns));
        pass_if(!self.rctl.contains(Rctl::DPF))
    }
}

fn pass_if(pass: bool) -> Control {
    if pass {
        Control::Pass
    } else {
        Control::Consumed
    }
}

fn address(registers: &Registers, low: u32, high: u32) -> [u8; 6] {
    let [a, b, c, d] = registers.load(low).to_le_bytes();
    let [e, f, ..] = registers.load(high).to_le_bytes();
    [a, b, c, d, e, f]
}

impl Flow {
    /// Whether the transmitter has to be silent at `now_ns`.
    #[inline]
    pub(super) fn is_paused(&mut self, now_ns: u64) -> bool {
        if self.paused_until.is_some_and(|until| until > now_ns) {
            return true;
        }
        self.paused_until = None;
        self.deferred = false;
        false
    }

    /// The transmitter has something to send, and is silent. Returns whether that
    /// is new.
    pub(super) fn defer(&mut self) -> bool {
        !std::mem::replace(&mut self.deferred, true)
    }

    /// When the first of the two silences ends that last beyond `now_ns`.
    pub(super) fn due(&self, now_ns: u64) -> Option<u64> {
        let ends = self.paused_until.into_iter().chain(self.asked_until);
        ends.filter(|&end| end > now_ns).min()
    }
}

/// After a burst: asks the partner for silence when the FIFO has filled up, and
/// ends it when that has drained, and sends what software asks for.
pub(super) fn look_after_fifo(chip: &Chip, core: &mut Core, now_ns: u64, wire: &mut dyn Wire) {
    let software = chip.registers.tctl().contains(Tctl::SWXOFF);
    let hardware = chip.registers.ctrl().contains(Ctrl::TFCE);
    if !software && !hardware || !chip.link_up() {
        return;
    }
    let mut sender = Sender { chip, now_ns, wire };
    if software {
        chip.registers
            .word(offset::TCTL)
            .fetch_and(!Tctl::SWXOFF.bits(), Ordering::AcqRel);
        sender.xoff(core);
    }
    if hardware {
        sender.compare(core);
    }
}

struct Sender<'a> {
    chip: &'a Chip,
    now_ns: u64,
    wire: &'a mut dyn Wire,
}

impl Sender<'_> {
    fn compare(&mut self, core: &mut Core) {
        let threshold = |register| self.chip.registers.load(register) & 0xfff8;
        let (high, low) = (threshold(offset::FCRTH), threshold(offset::FCRTL));
        let used = core.rx.fifo.used();
        let again = core.flow.asked_until.is_none_or(|end| end <= self.now_ns);
        if high != 0 && used >= high as usize && again {
            self.xoff(core);
        } else if core.flow.asked_until.is_some() && used <= low as usize {
            core.flow.asked_until = None;
            if self.chip.registers.load(offset::FCRTL) & XONE != 0 {
                self.pause(0, Stat::XONTXC, &mut core.delta);
            }
        }
    }

    fn xoff(&mut self, core: &mut Core) {
        let quanta = self.chip.registers.load(offset::FCTTV) as u16;
        let pause_ns = u64::from(quanta) * QUANTUM_NS;
        core.flow.asked_until = Some(self.now_ns.saturating_add(pause_ns));
        self.pause(quanta, Stat::XOFFTXC, &mut core.delta);
    }

    fn pause(&mut self, quanta: u16, stat: Stat, delta: &mut Delta) {
        let registers = &self.chip.registers;
        let mut frame = [0; 60];
        frame[..6].copy_from_slice(&address(registers, offset::FCAL, offset::FCAH));
        frame[6..12].copy_from_slice(&address(registers, offset::RAL0, offset::RAH0));
        let ethertype = registers.load(offset::FCT) as u16;
        for (at, word) in [(12, ethertype), (14, PAUSE), (16, quanta)] {
            frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
        }
        match self.wire.transmit(&frame, self.now_ns) {
            Ok(()) => self.chip.counters.wire_tx.add(1),
            Err(_) => self.chip.counters.wire_tx_lost.add(1),
        }
        self.wire.flush(self.now_ns);
        delta.count(stat);
        delta.count(Stat::TPT);
        delta.octets(Octets::TOT, frame.len() + 4);
        self.chip.statistics.add(delta);
    }
}
