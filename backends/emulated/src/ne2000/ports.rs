//! The sixteen registers in their four pages (10.2).

use super::core::Core;
use super::regs::{Dcr, Isr, Rcr, Tcr, port};
use super::tally::Tallied;

fn low(word: u16) -> u8 {
    word.to_le_bytes()[0]
}

fn high(word: u16) -> u8 {
    word.to_le_bytes()[1]
}

fn set_low(word: &mut u16, value: u8) {
    *word = u16::from_le_bytes([value, high(*word)]);
}

fn set_high(word: &mut u16, value: u8) {
    *word = u16::from_le_bytes([low(*word), value]);
}

/// The array's byte for register `at`, whose first register is `first`.
fn byte<const N: usize>(bytes: &[u8; N], first: u8, at: u8) -> u8 {
    bytes.get(usize::from(at - first)).copied().unwrap_or(0)
}

impl Core {
    /// Reads register `at`, 0 to 15, of the selected page.
    pub(super) fn read_register(&mut self, at: u8) -> u8 {
        match (self.cr.page(), at) {
            (_, port::CR) => self.cr.bits(),
            (0, _) => self.read_page0(at),
            (1, _) => self.read_page1(at),
            (2, _) => self.read_page2(at),
            _ => self.page3.read(at),
        }
    }

    fn read_page0(&mut self, at: u8) -> u8 {
        match at {
            0x1 => low(self.ring.clda),
            0x2 => high(self.ring.clda),
            0x3 => self.ring.bnry,
            0x4 => self.tsr.bits(),
            0x5 => self.tx.ncr,
            0x6 => self.fifo.read(),
            0x7 => self.isr.bits(),
            0x8 => low(self.remote.address),
            0x9 => high(self.remote.address),
            // 8029ID0 and 8029ID1, which the DP8390 does not have.
            0xa => b'P',
            0xb => b'C',
            0xc => self.rsr.bits(),
            0xd => self.tally.take(Tallied::FrameAlignment),
            0xe => self.tally.take(Tallied::Crc),
            _ => self.tally.take(Tallied::Missed),
        }
    }

    fn read_page1(&self, at: u8) -> u8 {
        match at {
            0x1..=0x6 => byte(&self.par, 1, at),
            0x7 => self.ring.curr,
            _ => byte(&self.mar, 8, at),
        }
    }

    /// Page 2 shows what page 0 writes. The pointers of the local DMA that it has
    /// beside that have no life of their own here.
    fn read_page2(&self, at: u8) -> u8 {
        match at {
            0x1 => self.ring.pstart,
            0x2 => self.ring.pstop,
            0x3 => high(self.remote.address),
            0x4 => self.tx.tpsr,
            0x5 => self.ring.curr,
            0x6 => high(self.ring.clda),
            0x7 => low(self.ring.clda),
            0xc => self.rcr.bits() | Rcr::ABOVE,
            0xd => self.tcr.bits() | !Tcr::MASK,
            0xe => self.dcr.bits() | 0x80,
            0xf => self.imr.bits() | Isr::RST.bits(),
            _ => u8::MAX,
        }
    }

    /// Writes register `at`, 0 to 15, of the selected page.
    pub(super) fn write_register(&mut self, at: u8, value: u8) {
        match (self.cr.page(), at) {
            (_, port::CR) => self.command(value),
            (0, _) => self.write_page0(at, value),
            (1, _) => self.write_page1(at, value),
            (2, 0x1) => set_low(&mut self.ring.clda, value),
            (2, 0x2) => set_high(&mut self.ring.clda, value),
            (3, _) => self.page3.write(at, value),
            // The rest of page 2 is for the factory's tests.
            _ => {}
        }
    }

    fn write_page0(&mut self, at: u8, value: u8) {
        match at {
            0x1 => self.ring.pstart = value,
            0x2 => self.ring.pstop = value,
            0x3 => self.set_boundary(value),
            0x4 => self.tx.tpsr = value,
            0x5 => set_low(&mut self.tx.tbcr, value),
            0x6 => set_high(&mut self.tx.tbcr, value),
            0x7 => self.clear_causes(value),
            0x8 => set_low(&mut self.remote.address, value),
            0x9 => set_high(&mut self.remote.address, value),
            0xa => set_low(&mut self.remote.count, value),
            0xb => set_high(&mut self.remote.count, value),
            0xc => self.rcr = Rcr::from_bits_truncate(value),
            0xd => self.tcr = Tcr::from_bits_truncate(value),
            0xe => self.dcr = Dcr::from_bits_truncate(value),
            _ => self.imr = Isr::from_bits_truncate(value).difference(Isr::RST),
        }
    }

    /// Ones clear, but RST, which shows a state.
    fn clear_causes(&mut self, value: u8) {
        let causes = Isr::from_bits_truncate(value).difference(Isr::RST);
        self.isr.remove(causes);
    }

    fn write_page1(&mut self, at: u8, value: u8) {
        let byte = match at {
            0x1..=0x6 => self.par.get_mut(usize::from(at - 1)),
            0x7 => Some(&mut self.ring.curr),
            _ => self.mar.get_mut(usize::from(at - 8)),
        };
        if let Some(byte) = byte {
            *byte = value;
        }
    }
}
