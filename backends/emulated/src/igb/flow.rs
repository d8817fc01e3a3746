//! The registers of flow control (section 3.5.5.3).

use super::chip::Chip;
use super::core::Core;
use super::regs::{Ctrl, Rctl, Registers, Tctl, offset};
use super::stats::{Delta, Octets, Stat};
use crate::flow::{Control, Fill, Flow, Heard, Listener, Names};
use softnet_nic_hal::wire::Wire;

fn names(registers: &Registers) -> Names {
    let pair = |low, high| [low, high].map(|at| registers.load(at));
    Names::new(
        pair(offset::FCAL, offset::FCAH),
        pair(offset::RAL0, offset::RAH0),
        registers.load(offset::FCT),
    )
}

/// How MAC control frames are received; `None` while CTRL.RFCE is clear.
pub(super) fn listener(registers: &Registers, rctl: Rctl) -> Option<Listener> {
    let pass_if = |pass| match pass {
        true => Control::Pass,
        false => Control::Consumed,
    };
    registers.ctrl().contains(Ctrl::RFCE).then(|| Listener {
        names: names(registers),
        pauses: pass_if(!rctl.contains(Rctl::DPF)),
        others: pass_if(rctl.contains(Rctl::PMCF)),
    })
}

/// Obeys a MAC control frame, and counts it.
#[cold]
pub(super) fn obey(
    listener: &Listener,
    frame: &[u8],
    now_ns: u64,
    flow: &mut Flow,
    delta: &mut Delta,
) -> Control {
    let (heard, control) = listener.obey(frame, now_ns, flow);
    delta.count(match heard {
        Heard::Xoff => Stat::XOFFRXC,
        Heard::Xon => Stat::XONRXC,
        Heard::Unsupported => Stat::FCRUC,
    });
    control
}

/// After a burst: asks the partner for silence when the FIFO has filled up, and
/// ends it when that has drained, and sends what software asks for.
pub(super) fn look_after_fifo(chip: &Chip, core: &mut Core, now_ns: u64, wire: &mut dyn Wire) {
    let software = chip.registers.tctl().contains(Tctl::SWXOFF);
    let hardware = chip.registers.ctrl().contains(Ctrl::TFCE);
    if !software && !hardware || !chip.link_up() {
        return;
    }
    let quanta = chip.registers.load(offset::FCTTV) as u16;
    let mut sender = Sender { chip, now_ns, wire };
    if software {
        chip.registers.clear_bits(offset::TCTL, Tctl::SWXOFF.bits());
        core.flow.ask(quanta, now_ns);
        sender.pause(quanta, &mut core.delta);
    }
    if hardware {
        let load = |register| chip.registers.load(register);
        let fill = Fill::new(core.rx.used(), load(offset::FCRTH), load(offset::FCRTL));
        if let Some(quanta) = core.flow.compare(&fill, quanta, now_ns) {
            sender.pause(quanta, &mut core.delta);
        }
    }
}

struct Sender<'a> {
    chip: &'a Chip,
    now_ns: u64,
    wire: &'a mut dyn Wire,
}

impl Sender<'_> {
    fn pause(&mut self, quanta: u16, delta: &mut Delta) {
        let frame = names(&self.chip.registers).pause_frame(quanta);
        match self.wire.transmit(&frame, self.now_ns) {
            Ok(()) => self.chip.counters.wire_tx.add(1),
            Err(_) => self.chip.counters.wire_tx_lost.add(1),
        }
        self.wire.flush(self.now_ns);
        delta.count(match quanta {
            0 => Stat::XONTXC,
            _ => Stat::XOFFTXC,
        });
        delta.count(Stat::TPT);
        delta.octets(Octets::TOT, frame.len() + 4);
        self.chip.statistics.add(delta);
    }
}
