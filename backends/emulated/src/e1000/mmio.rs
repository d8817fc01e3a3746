//! Register accesses, from any thread.

use super::chip::{Chip, Slow};
use super::phy;
use super::regs::{Cause, Ctrl, Rctl, Tctl, offset, plain_mask};
use crate::pci::{PciModel, Width};
use std::sync::atomic::Ordering;

/// Bits of MDIC (section 13.4.7).
mod mdic {
    pub(super) const R: u32 = 1 << 28;
    pub(super) const I: u32 = 1 << 29;
    pub(super) const E: u32 = 1 << 30;
    pub(super) const WRITE: u32 = 1;
    pub(super) const READ: u32 = 2;
}

/// The bit of CTRL_EXT that has the EEPROM read again; it clears itself.
const EE_RST: u32 = 1 << 13;

/// The flush bit of RDTR.
const RDTR_FPD: u32 = 1 << 31;

/// The I/O window ("I/O-Mapped Internal Register" access): an address, and what is there.
const IOADDR: u32 = 0;
const IODATA: u32 = 4;

impl PciModel for Chip {
    /// A narrow access gives a part of the whole register, with the side effects
    /// of reading it.
    fn read(&self, bar: u8, offset: u32, width: Width) -> u32 {
        let word = self.read_word(bar, offset & !3);
        word >> ((offset & 3) * 8) & width.mask()
    }

    /// The chip takes only whole words: a narrow write does nothing.
    fn write(&self, bar: u8, offset: u32, width: Width, value: u32) {
        if width == Width::Long {
            self.write_word(bar, offset, value);
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
        // The device's thread may have to notice that it was unplugged.
        self.doorbell.ring();
    }

    fn reset(&self) {
        self.reset();
        self.doorbell.ring();
    }

    fn delay_us(&self, us: u32) {
        self.delay(us);
    }
}

impl Chip {
    fn read_word(&self, bar: u8, offset: u32) -> u32 {
        match (bar, offset) {
            (0, _) => self.read_register(offset),
            (2, IOADDR) => self.io_addr.load(Ordering::Relaxed),
            (2, IODATA) => self.read_register(self.io_addr.load(Ordering::Relaxed)),
            (2, _) => 0,
            _ => u32::MAX,
        }
    }

    fn write_word(&self, bar: u8, offset: u32, value: u32) {
        match (bar, offset) {
            (0, _) => self.write_register(offset, value),
            (2, IOADDR) => self.io_addr.store(value & 0x1_fffc, Ordering::Relaxed),
            (2, IODATA) => self.write_register(self.io_addr.load(Ordering::Relaxed), value),
            _ => {}
        }
    }

    fn read_register(&self, at: u32) -> u32 {
        match at {
            offset::ICR => self.interrupts.take(),
            // The manual calls ICS write-only; the chip shows the causes there, and
            // keeps them.
            offset::ICS => self.interrupts.causes(),
            offset::IMS => self.interrupts.mask(),
            offset::CTRL | offset::CTRL_DUP => self.registers.load(offset::CTRL),
            offset::STATUS => self.read_status(),
            offset::EECD => self.slow().eeprom.read_eecd(),
            offset::EERD => self.slow().eeprom.read_eerd(),
            offset::MDIC => self.slow().mdic,
            offset::STATISTICS..=offset::STATISTICS_END => self.statistics.read(at),
            _ if plain_mask(at).is_some() => self.registers.load(at),
            _ => 0,
        }
    }

    fn write_register(&self, at: u32, value: u32) {
        match at {
            offset::TDT => {
                self.registers.set(at, value & 0xffff);
                self.doorbell.ring();
            }
            offset::RDT => self.write_rdt(value),
            offset::ICR => self.interrupts.clear(value),
            offset::ICS => {
                self.interrupts.set(Cause::from_bits_truncate(value));
                self.check_interrupt();
            }
            offset::IMS => {
                self.interrupts.unmask(Cause::from_bits_truncate(value));
                self.check_interrupt();
            }
            offset::IMC => self.interrupts.remask(value),
            offset::CTRL | offset::CTRL_DUP => self.write_ctrl(value),
            offset::EECD => self.slow().eeprom.write_eecd(value),
            offset::EERD => self.slow().eeprom.write_eerd(value),
            offset::MDIC => self.write_mdic(value),
            _ => self.write_plain(at, value),
        }
    }

    fn write_rdt(&self, value: u32) {
        let move_tail = || self.registers.set(offset::RDT, value & 0xffff);
        if self.starved.after(move_tail) {
            self.doorbell.ring();
        }
    }

    fn write_ctrl(&self, value: u32) {
        let ctrl = Ctrl::from_bits_retain(value);
        if ctrl.contains(Ctrl::RST) {
            self.reset();
        } else {
            self.registers.set(offset::CTRL, value);
            let mut slow = self.slow();
            if ctrl.contains(Ctrl::PHY_RST) {
                slow.phy.reset();
            }
            self.settle(&mut slow);
        }
        self.check_interrupt();
        self.doorbell.ring();
    }

    /// The PHY may have something to do at once.
    fn settle(&self, slow: &mut Slow) {
        slow.phy.tick(self.now_ns.load(Ordering::SeqCst));
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
            self.interrupts.set(Cause::MDAC);
        }
        self.check_interrupt();
        self.doorbell.ring();
    }

    fn write_plain(&self, at: u32, value: u32) {
        let Some(mask) = plain_mask(at) else {
            return;
        };
        match at {
            offset::RCTL | offset::TCTL => self.write_enable(at, value & mask),
            offset::RDBAL..=offset::RDH | offset::TDBAL..=offset::TDH => {
                let mut core = self.between_bursts();
                if at >= offset::TDBAL {
                    core.tx.extended.leave_descriptor();
                }
                self.registers.set(at, value & mask);
            }
            offset::CTRL_EXT => self.registers.set(at, value & !EE_RST),
            _ => self.registers.set(at, value & mask),
        }
        match at {
            offset::CTRL_EXT if value & EE_RST != 0 => self.load_eeprom(&self.slow()),
            offset::RAL0..=offset::RAH15 => {
                self.addresses.fetch_add(1, Ordering::Release);
            }
            offset::ITR => {
                self.interrupts.set_itr(value);
                self.check_interrupt();
            }
            offset::RDTR if value & RDTR_FPD != 0 => {
                self.flush_rx.store(true, Ordering::Release);
                self.doorbell.ring();
            }
            _ => {}
        }
    }

    /// When the receiver or the transmitter was switched off, its DMA has ended
    /// when this returns. Switched on again, it forgets what had stopped it.
    fn write_enable(&self, at: u32, value: u32) {
        let mut core = self.between_bursts();
        let before = self.registers.load(at);
        self.registers.set(at, value);
        let on = !before & value;
        if at == offset::RCTL && Rctl::from_bits_retain(on).contains(Rctl::EN) {
            core.rx.halted = false;
        }
        if at == offset::TCTL && Tctl::from_bits_retain(on).contains(Tctl::EN) {
            // What was gathered of a packet stays (13.4.33).
            core.tx.halted = false;
        }
        drop(core);
        self.doorbell.ring();
    }
}
