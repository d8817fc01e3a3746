//! The state of the chip, and its life: reset, start, stop.

use super::Ne2000Config;
use super::config::ConfigPage;
use super::memory::Memory;
use super::regs::{Cr, Dcr, Isr, Rcr, Rsr, Tcr, Tsr};
use super::tally::Tally;
use super::tx::Transmitter;

/// Everything that a register access or a frame changes.
pub(super) struct Core {
    pub(super) memory: Memory,
    pub(super) cr: Cr,
    /// Started, and not stopped since. What CR shows is only what was written.
    pub(super) running: bool,
    pub(super) isr: Isr,
    pub(super) imr: Isr,
    pub(super) dcr: Dcr,
    pub(super) tcr: Tcr,
    pub(super) tsr: Tsr,
    pub(super) rcr: Rcr,
    pub(super) rsr: Rsr,
    pub(super) ring: PageRing,
    pub(super) remote: Remote,
    pub(super) tx: Transmitter,
    pub(super) par: [u8; 6],
    pub(super) mar: [u8; 8],
    pub(super) fifo: LoopbackFifo,
    pub(super) tally: Tally,
    pub(super) page3: ConfigPage,
    pub(super) pad_short: bool,
}

/// The receive buffer ring: pages of 256 bytes from PSTART to before PSTOP.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PageRing {
    pub(super) pstart: u8,
    pub(super) pstop: u8,
    pub(super) bnry: u8,
    pub(super) curr: u8,
    /// Where the local DMA stands.
    pub(super) clda: u16,
    /// It met the boundary: nothing more is received until the chip was stopped
    /// and started ("Buffer Ring Overflow", chapter 7).
    pub(super) overflowed: bool,
}

/// The remote DMA channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remote {
    pub(super) kind: Transfer,
    pub(super) address: u16,
    pub(super) count: u16,
    /// The transfer was started by a send packet command.
    pub(super) of_packet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transfer {
    #[default]
    None,
    Read,
    Write,
}

/// The last eight bytes that went through the FIFO in loopback, which are read
/// round and round ("Loopback", chapter 12).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LoopbackFifo {
    bytes: [u8; 8],
    at: usize,
}

impl LoopbackFifo {
    pub(super) fn fill(&mut self, bytes: [u8; 8]) {
        *self = Self { bytes, at: 0 };
    }

    pub(super) fn read(&mut self) -> u8 {
        let byte = self.bytes[self.at];
        self.at = (self.at + 1) % self.bytes.len();
        byte
    }
}

impl Core {
    pub(super) fn new(config: &Ne2000Config) -> Self {
        Self {
            memory: Memory::new(config.mac),
            cr: Cr::RESET,
            running: false,
            isr: Isr::RST,
            imr: Isr::empty(),
            dcr: Dcr::LAS,
            tcr: Tcr::empty(),
            tsr: Tsr::empty(),
            rcr: Rcr::empty(),
            rsr: Rsr::empty(),
            ring: PageRing::default(),
            remote: Remote::default(),
            tx: Transmitter::new(config.transmit_ns_per_byte),
            par: [0; 6],
            mar: [0; 8],
            fifo: LoopbackFifo::default(),
            tally: Tally::default(),
            page3: ConfigPage::default(),
            pad_short: config.pad_short_frames,
        }
    }

    /// What the reset port and a function-level reset do ("Hardware Reset",
    /// chapter 11): the registers that are not named there keep their values.
    pub(super) fn reset(&mut self) {
        self.cr = Cr::RESET;
        self.running = false;
        self.isr = Isr::RST;
        self.imr = Isr::empty();
        self.dcr = Dcr::LAS;
        self.tcr.remove(Tcr::LB);
        self.remote.kind = Transfer::None;
        self.ring.overflowed = false;
        self.tx.forget();
        self.tally.clear();
    }

    pub(super) fn is_pin_asserted(&self) -> bool {
        self.isr.intersects(self.imr.difference(Isr::RST))
    }

    /// A write of the command register (10.3).
    pub(super) fn command(&mut self, value: u8) {
        let command = Cr::from_bits_retain(value);
        // The bit goes out only with the end of the transmission.
        self.cr = command.difference(Cr::TXP) | self.cr & Cr::TXP;
        if command.contains(Cr::STP) {
            self.stop();
        } else if command.contains(Cr::STA) && !self.running {
            self.start();
        }
        self.remote_command(command & Cr::RD);
        if command.contains(Cr::TXP) && self.running {
            self.ask_transmit();
        }
    }

    fn start(&mut self) {
        self.running = true;
        self.isr.remove(Isr::RST);
        self.ring.overflowed = false;
    }

    /// A transmission that is under way goes to its end first. One that has not
    /// begun never does.
    fn stop(&mut self) {
        self.running = false;
        if self.tx.withdraw() {
            self.cr.remove(Cr::TXP);
        }
        if !self.tx.is_under_way() {
            self.isr.insert(Isr::RST);
        }
    }
}
