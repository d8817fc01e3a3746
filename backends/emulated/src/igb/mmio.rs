//! Register accesses, from any thread.

use super::chip::{ALL_QUEUES, Chip, Slow};
use super::core::Core;
use super::interrupt::Plain;
use super::phy;
use super::regs::{Ctrl, Rctl, Status, Tctl, canonical, cause, offset, plain_mask, queue};
use super::stats::QUEUE_BLOCKS;
use crate::pci::{PciModel, Width};
use std::sync::atomic::Ordering;

/// Bits of MDIC (section 8.2.4).
mod mdic {
    pub(super) const R: u32 = 1 << 28;
    pub(super) const I: u32 = 1 << 29;
    pub(super) const E: u32 = 1 << 30;
    pub(super) const WRITE: u32 = 1;
    pub(super) const READ: u32 = 2;
}

/// Bits of I2CCMD (section 8.17.8): ready, and error, as there is no module.
const I2C_READY: u32 = 1 << 29;
const I2C_ERROR: u32 = 1 << 31;

/// SWSM.SMBI, which reading sets (section 8.6.1).
const SMBI: u32 = 1;

/// The valid and the enable bit of TSYNCRXCTL and TSYNCTXCTL (section 8.16).
const STAMP_VALID: u32 = 1;

/// The I/O window: an address, and what is there (section 8.1.1.3).
const IOADDR: u32 = 0;
const IODATA: u32 = 4;

/// BARs.
mod bar {
    pub(super) const MEMORY: u8 = 0;
    pub(super) const IO: u8 = 2;
    pub(super) const MSIX: u8 = 3;
}

impl PciModel for Chip {
    /// Registers are 32 bits wide: a narrower read gives a part of the whole one,
    /// with the side effects of reading it.
    fn read(&self, bar: u8, offset: u32, width: Width) -> u32 {
        let whole = match (bar, offset & !3) {
            (bar::MEMORY, at) => self.read_register(at),
            (bar::IO, IOADDR) => self.io_addr.load(Ordering::Relaxed),
            (bar::IO, IODATA) => self.read_register(self.io_addr.load(Ordering::Relaxed)),
            (bar::IO | bar::MSIX, _) => 0,
            // The flash is not there.
            _ => u32::MAX,
        };
        whole >> (offset % 4 * 8) & width.mask()
    }

    /// Narrow writes do nothing: the chip takes whole registers only.
    fn write(&self, bar: u8, offset: u32, width: Width, value: u32) {
        if width != Width::Long {
            return;
        }
        match (bar, offset) {
            (bar::MEMORY, _) => self.write_register(offset, value),
            (bar::IO, IOADDR) => self.io_addr.store(value & 0x1_fffc, Ordering::Relaxed),
            (bar::IO, IODATA) => self.write_register(self.io_addr.load(Ordering::Relaxed), value),
            _ => {}
        }
    }

    fn pin(&self) -> bool {
        self.interrupts.pending()
    }

    fn check_pin(&self) {
        self.check_interrupt();
    }

    fn quiesce(&self) {
        drop(self.between_bursts());
        self.tx_rung.fetch_or(ALL_QUEUES, Ordering::SeqCst);
        // The device's thread may have to notice that it was unplugged, or that it
        // may do DMA.
        self.doorbell.ring();
    }

    fn reset(&self) {
        self.reset_all();
    }

    fn delay_us(&self, us: u32) {
        self.delay(us);
    }
}

impl Chip {
    fn read_register(&self, at: u32) -> u32 {
        let at = canonical(at);
        match at {
            offset::ICR => self.interrupts.take(),
            offset::IMS | offset::IMC => self.interrupts.mask(),
            offset::EICR => self.interrupts.take_extended(),
            offset::EIMS => self.interrupts.extended_mask(),
            offset::EITR..=offset::EITR_END => self.interrupts.eitr(index(at, offset::EITR)),
            offset::EECD => self.slow().nvm.read_eecd(),
            offset::EERD => self.slow().nvm.read_eerd(),
            offset::EEWR => self.slow().nvm.read_eewr(),
            offset::MDIC => self.slow().mdic,
            offset::STATUS => self.status(),
            offset::CTRL | offset::EEMNGCTL | offset::I2CCMD => self.registers.load(at),
            offset::SWSM => self.registers.set_bits(at, SMBI),
            offset::FWSM | offset::SW_FW_SYNC => self.registers.load(at),
            offset::SYSTIML..=offset::RXSATRH => self.read_time(at),
            offset::STATISTICS..=offset::STATISTICS_END => self.statistics.read(at),
            _ if QUEUE_BLOCKS.contains(&at) => self.statistics.read_queue(at),
            _ => self.read_plain(at),
        }
    }

    fn read_plain(&self, at: u32) -> u32 {
        if let Some(which) = plain_interrupt(at) {
            self.interrupts.plain(which)
        } else if plain_mask(at).is_some() {
            self.registers.load(at)
        } else if let Some(at) = rx_queue(at)
            && at.1 == queue::RQDPC
        {
            self.statistics.queues[at.0].take_dropped()
        } else {
            0
        }
    }

    fn read_time(&self, at: u32) -> u32 {
        let now_ns = self.now_ns.load(Ordering::SeqCst);
        let mut slow = self.slow();
        match at {
            offset::SYSTIML => slow.clock.read_low(now_ns),
            offset::SYSTIMH => slow.clock.read_high(),
            offset::TIMINCA => slow.clock.timinca(),
            offset::TXSTMPH => self.end_stamp(offset::TSYNCTXCTL, at),
            offset::RXSTMPH => self.end_stamp(offset::TSYNCRXCTL, at),
            _ => self.registers.load(at),
        }
    }

    /// The read of a stamp's upper half makes room for the next one.
    fn end_stamp(&self, control: u32, at: u32) -> u32 {
        let stamp = self.registers.load(at);
        self.registers.clear_bits(control, STAMP_VALID);
        stamp
    }

    fn write_register(&self, at: u32, value: u32) {
        let at = canonical(at);
        match at {
            offset::RX_QUEUES..=offset::TX_QUEUES_END => self.write_queue(at, value),
            offset::ICR..=offset::IAM | offset::GPIE..=offset::IVAR_MISC => {
                self.write_interrupt(at, value);
                self.check_interrupt();
            }
            offset::CTRL => self.write_ctrl(value),
            offset::STATUS => {
                let _slow = self.slow();
                let cleared = !value & Status::PHYRA.bits();
                self.registers.clear_bits(at, cleared);
            }
            offset::EECD => self.slow().nvm.write_eecd(value),
            offset::EERD => self.slow().nvm.write_eerd(value),
            offset::EEWR => self.slow().nvm.write_eewr(value),
            offset::MDIC => self.write_mdic(value),
            offset::I2CCMD => self.registers.set(at, value | I2C_READY | I2C_ERROR),
            offset::SWSM => self.registers.set(at, value & 3),
            offset::SW_FW_SYNC => self.registers.set(at, value),
            offset::SYSTIML..=offset::RXSATRH => self.write_time(at, value),
            _ => self.write_plain(at, value),
        }
    }

    fn write_interrupt(&self, at: u32, value: u32) {
        let interrupts = &self.interrupts;
        match at {
            offset::ICR => interrupts.clear(value),
            offset::ICS => interrupts.set(value & cause::ALL),
            offset::IMS => interrupts.unmask(value),
            offset::IMC => interrupts.remask(value),
            offset::EICR => interrupts.clear_extended(value),
            offset::EICS => interrupts.set_by_software(value),
            offset::EIMS => interrupts.unmask_extended(value),
            offset::EIMC => interrupts.remask_extended(value),
            offset::EITR..=offset::EITR_END => {
                interrupts.set_eitr(index(at, offset::EITR), value);
            }
            _ => {
                if let Some(which) = plain_interrupt(at) {
                    interrupts.set_plain(which, value);
                }
            }
        }
    }

    fn write_ctrl(&self, value: u32) {
        let ctrl = Ctrl::from_bits_retain(value);
        if ctrl.contains(Ctrl::RST) {
            self.reset_registers();
        } else {
            let before = self.registers.ctrl();
            self.registers
                .set(offset::CTRL, (ctrl - Ctrl::PHY_RST).bits());
            if (ctrl - before).contains(Ctrl::GIO_MASTER_DISABLE) {
                drop(self.between_bursts());
            }
            let mut slow = self.slow();
            if ctrl.contains(Ctrl::PHY_RST) {
                slow.phy.reset();
                self.registers
                    .set_bits(offset::STATUS, Status::PHYRA.bits());
            }
            self.settle(&mut slow);
        }
        self.check_interrupt();
        self.doorbell.ring();
    }

    /// The PHY may have something to do at once.
    fn settle(&self, slow: &mut Slow) {
        let now_ns = self.now_ns.load(Ordering::SeqCst);
        slow.phy.mii_mut().tick(now_ns);
        self.update_link(slow);
    }

    /// A management access is complete at once. Where no PHY answers, the bus
    /// floats high, and the error bit says so.
    fn write_mdic(&self, value: u32) {
        let number = (value >> 16 & 0x1f) as u8;
        let there = value >> 21 & 0x1f == phy::ADDRESS;
        let mut slow = self.slow();
        let mut result = value & !(mdic::R | mdic::E) | mdic::R;
        match value >> 26 & 3 {
            mdic::READ if there => {
                self.settle(&mut slow);
                result = result & !0xffff | u32::from(slow.phy.read(number));
            }
            mdic::WRITE if there => {
                slow.phy.write(number, value as u16);
                self.settle(&mut slow);
            }
            mdic::READ => result |= 0xffff | mdic::E,
            mdic::WRITE => {}
            _ => result |= mdic::E,
        }
        slow.mdic = result;
        drop(slow);
        if value & mdic::I != 0 {
            self.interrupts.set(cause::MDAC);
        }
        self.check_interrupt();
        self.doorbell.ring();
    }

    fn write_time(&self, at: u32, value: u32) {
        let now_ns = self.now_ns.load(Ordering::SeqCst);
        let mut slow = self.slow();
        let clock = &mut slow.clock;
        match at {
            offset::SYSTIML => clock.write_low(value, now_ns),
            offset::SYSTIMH => clock.write_high(value, now_ns),
            offset::TIMINCA => {
                clock.write_timinca(value, now_ns);
                drop(slow);
                // The device's thread keeps the time from now on.
                self.doorbell.ring();
            }
            offset::TIMADJL => {
                clock.write_adjust_low(value);
                self.registers.set(at, value);
            }
            offset::TIMADJH => {
                clock.adjust(value, now_ns);
                self.registers.set(at, value);
            }
            // Whether a stamp is there is the chip's to say.
            offset::TSYNCRXCTL => self.registers.set(at, value & 0x1e),
            offset::TSYNCTXCTL => self.registers.set(at, value & 0x10),
            _ => {}
        }
    }

    fn write_plain(&self, at: u32, value: u32) {
        let Some(mask) = plain_mask(at) else {
            return;
        };
        let value = value & mask;
        match at {
            offset::RCTL | offset::TCTL => self.write_enable(at, value),
            _ => self.registers.set(at, value),
        }
        match at {
            offset::RAL0..=offset::RAH15 | offset::RAL16..=offset::RAH23 => {
                self.addresses.fetch_add(1, Ordering::Release);
            }
            offset::MRQC | offset::RETA..=offset::RSSRK_END => {
                self.spreads.fetch_add(1, Ordering::Release);
            }
            _ => {}
        }
    }

    /// When the receiver or the transmitter was switched off, its DMA has ended
    /// when this returns.
    fn write_enable(&self, at: u32, value: u32) {
        let core = self.between_bursts();
        let before = self.registers.swap(at, value);
        drop(core);
        let on = !before & value;
        if at == offset::TCTL && Tctl::from_bits_retain(on).contains(Tctl::EN) {
            self.tx_rung.fetch_or(ALL_QUEUES, Ordering::SeqCst);
        }
        if at == offset::RCTL && (before ^ value) & Rctl::LBM.bits() != 0 {
            self.update_link(&mut self.slow());
        }
        self.doorbell.ring();
    }

    fn write_queue(&self, at: u32, value: u32) {
        let Some(mask) = plain_mask(at) else {
            return;
        };
        let value = value & mask;
        let Some((number, register)) = rx_queue(at) else {
            return self.write_tx_queue(at, value);
        };
        match register {
            queue::TAIL => {
                let move_tail = || self.registers.set(at, value);
                if self.starved.after(move_tail) {
                    self.doorbell.ring();
                }
            }
            queue::DCTL => {
                let switch_on = |core: &mut Core| core.rx.halted &= !(1 << number);
                self.write_queue_enable((at, number), value, switch_on);
            }
            _ => self.write_ring(at, value),
        }
    }

    fn write_tx_queue(&self, at: u32, value: u32) {
        let number = index(at % 0x400, 0) / 16;
        match at % queue::STRIDE {
            queue::TAIL => {
                self.registers.set(at, value);
                self.ring_tx(number);
            }
            queue::DCTL => {
                let switch_on = |core: &mut Core| {
                    core.tx.halted &= !(1 << number);
                    core.tx.queues[number].begin_packet();
                };
                self.write_queue_enable((at, number), value, switch_on);
                self.ring_tx(number);
            }
            _ => self.write_ring(at, value),
        }
    }

    fn ring_tx(&self, number: usize) {
        self.tx_rung.fetch_or(1 << number, Ordering::SeqCst);
        self.doorbell.ring();
    }

    /// Where a ring is does not change in the middle of a burst.
    fn write_ring(&self, at: u32, value: u32) {
        let _core = self.between_bursts();
        self.registers.set(at, value);
    }

    /// When the queue was switched off, its DMA has ended when this returns.
    /// Switched on again, it forgets what had stopped it.
    fn write_queue_enable(
        &self,
        (at, number): (u32, usize),
        value: u32,
        switch_on: impl FnOnce(&mut Core),
    ) {
        let there = number < self.queues;
        let value = if there { value } else { value & !queue::ENABLE };
        let mut core = self.between_bursts();
        let before = self.registers.swap(at, value);
        if !before & value & queue::ENABLE != 0 {
            switch_on(&mut core);
        }
        drop(core);
        self.doorbell.ring();
    }
}

/// Which of an array of registers it is.
fn index(at: u32, first: u32) -> usize {
    ((at - first) / 4) as usize
}

/// The number of a receive queue, and its register, at an offset.
fn rx_queue(at: u32) -> Option<(usize, u32)> {
    let there = (offset::RX_QUEUES..=offset::RX_QUEUES_END).contains(&at);
    there.then(|| {
        let from_first = at - offset::RX_QUEUES;
        let number = from_first / queue::STRIDE;
        (number as usize, from_first % queue::STRIDE)
    })
}

/// The interrupt registers that only hold what is written.
fn plain_interrupt(at: u32) -> Option<Plain> {
    Some(match at {
        offset::IAM => Plain::Iam,
        offset::EIAC => Plain::Eiac,
        offset::EIAM => Plain::Eiam,
        offset::GPIE => Plain::Gpie,
        offset::IVAR..=offset::IVAR_END => Plain::Ivar(index(at, offset::IVAR)),
        offset::IVAR_MISC => Plain::IvarMisc,
        _ => return None,
    })
}
