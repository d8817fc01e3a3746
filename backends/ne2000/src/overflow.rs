//! The ring's overflow, and how it is overcome ("Buffer Ring Overflow",
//! chapter 7): the steps, their order and the waiting time are the manual's. What
//! it calls the removal of one or more packets lies between the two halves.

use crate::chip::STOP_US;
use crate::core::{Core, SENT};
use crate::regs::{self, Cr, Isr, Tcr};
use crate::shared::{Shared, count};
use softnet_nic_hal::bus::PciDevice;

/// A recovery that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    /// The stop has cut off a transmission.
    resend: bool,
}

impl<P: PciDevice> Shared<P> {
    /// Stops the chip and starts it again, off the network, if its ring has
    /// overflowed. Takes 1.6 ms then.
    pub(crate) fn begin_recovery(&self, core: &mut Core) -> Option<Recovery> {
        if !self.causes()?.contains(Isr::OVW) {
            return None;
        }
        count(&self.counters.rx_over_errors, 1);
        let chip = &self.chip;
        let command = Cr::from_bits_retain(chip.read(regs::CR));
        chip.command(Cr::STOP);
        chip.device.delay_us(STOP_US);
        chip.write_pair(regs::RBCR0, 0);
        let sent = chip.causes().intersects(SENT);
        chip.write(regs::TCR, Tcr::LB_INTERNAL.bits());
        chip.command(Cr::RUN);
        // What CURR showed before is old.
        core.rx.curr = core.rx.next;
        let resend = command.contains(Cr::TXP) && !sent && core.tx.sending;
        Some(Recovery { resend })
    }

    /// Puts the chip back on the network.
    pub(crate) fn end_recovery(&self, recovery: Option<Recovery>) {
        let Some(Recovery { resend }) = recovery else {
            return;
        };
        self.chip.acknowledge(Isr::OVW);
        self.chip.write(regs::TCR, 0);
        if resend {
            self.chip.command(Cr::RUN | Cr::TXP);
        }
    }
}
