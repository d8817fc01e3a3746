//! What `ethtool` shows of the card.

use crate::nic::Ne2000;
use crate::regs::{self, Cr};
use alloc::vec::Vec;
use softnet_nic_hal::NicError;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::ethtool::{EthtoolOps, FeatureSet, Features};

/// Registers that can be read without a side effect, with their pages.
const DUMPED: [(Cr, &str, u32); 15] = [
    (Cr::empty(), "CR", regs::CR),
    (Cr::empty(), "BNRY", regs::BNRY),
    (Cr::empty(), "TSR", regs::TSR),
    (Cr::empty(), "NCR", regs::NCR),
    (Cr::empty(), "ISR", regs::ISR),
    (Cr::empty(), "RSR", 0xc),
    (Cr::PAGE1, "CURR", regs::CURR),
    (Cr::PAGE2, "PSTART", regs::PSTART),
    (Cr::PAGE2, "PSTOP", regs::PSTOP),
    (Cr::PAGE2, "TPSR", regs::TPSR),
    (Cr::PAGE2, "RCR", regs::RCR),
    (Cr::PAGE2, "TCR", regs::TCR),
    (Cr::PAGE2, "DCR", regs::DCR),
    (Cr::PAGE2, "IMR", regs::IMR),
    (Cr::PAGE3, "CONFIG3", regs::CONFIG3),
];

impl<P: PciDevice> EthtoolOps for Ne2000<P> {
    fn features(&self) -> FeatureSet {
        FeatureSet {
            available: Features::empty(),
            on: Features::empty(),
        }
    }

    fn registers(&self, visit: &mut dyn FnMut(&'static str, u32, u32)) {
        let control = self.control.lock();
        let state = if control.open { Cr::RUN } else { Cr::STOP };
        let chip = &self.shared.chip;
        let values = self.shared.with(|_| {
            DUMPED.map(|(page, name, register)| {
                let value = if register == regs::CR {
                    chip.read(register)
                } else {
                    chip.on_page(state, page, || chip.read(register))
                };
                // Pages lie one behind the other.
                let at = u32::from(page.bits() >> 6) << 4 | register;
                (name, at, u32::from(value))
            })
        });
        for (name, at, value) in values {
            visit(name, at, value);
        }
    }

    /// The PROM, each of whose bytes comes twice, on both halves of a word.
    fn eeprom(&self) -> Result<Vec<u16>, NicError> {
        Ok(self.prom.to_vec())
    }
}
