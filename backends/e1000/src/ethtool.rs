//! The control plane that `ethtool` reaches.

use crate::eeprom::Eeprom;
use crate::nic::E1000;
use crate::phy;
use crate::regs::{self, Ctrl};
use crate::{selftest, settings};
use alloc::vec::Vec;
use softnet_nic_hal::NicError;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::ethtool::{Coalesce, EthtoolOps, FeatureSet, Features, Pause, SelfTest};

impl<P: PciDevice> EthtoolOps for E1000<P> {
    fn coalesce(&self) -> Result<Coalesce, NicError> {
        Ok(self.control().settings.coalesce)
    }

    /// `rx_usecs` is the interval of ITR, which holds back all causes.
    fn set_coalesce(&self, coalesce: &Coalesce) -> Result<(), NicError> {
        let mut control = self.control();
        control.settings.set_coalesce(coalesce)?;
        if control.is_open() {
            control.settings.program_coalesce(self.shared());
        }
        Ok(())
    }

    fn pause(&self) -> Result<Pause, NicError> {
        Ok(self.control().settings.pause)
    }

    /// With `autonegotiate`, the link goes down and up again, and what comes of it
    /// is looked at by the watchdog.
    fn set_pause(&self, pause: Pause) -> Result<(), NicError> {
        let mut control = self.control();
        let chip = &self.shared().chip;
        if !settings::advertise(chip, pause) {
            return Err(NicError::Device("the PHY does not answer"));
        }
        control.settings.pause = pause;
        if control.is_open() {
            self.set_ctrl(Ctrl::RFCE | Ctrl::TFCE, control.settings.forced_flow());
        }
        Ok(())
    }

    fn features(&self) -> FeatureSet {
        FeatureSet {
            available: settings::AVAILABLE,
            on: self.control().settings.features,
        }
    }

    /// `TX_VLAN` follows `RX_VLAN`: the chip has one switch for both.
    fn set_features(&self, on: Features) -> Result<(), NicError> {
        let mut control = self.control();
        let mut settings = control.settings;
        settings.set_features(on)?;
        if (control.settings.features ^ settings.features).contains(Features::LOOPBACK) {
            selftest::set_loopback(
                &self.shared().chip,
                settings.features.contains(Features::LOOPBACK),
            )?;
        }
        // What the device has refused is not remembered.
        control.settings = settings;
        if control.is_open() {
            settings.program_features(self.shared());
            self.set_ctrl(Ctrl::VME, settings.ctrl() & Ctrl::VME);
        }
        Ok(())
    }

    /// While the NIC is open, only what disturbs nobody is tested: the EEPROM and
    /// the link.
    fn self_test(&self) -> Result<Vec<SelfTest>, NicError> {
        let control = self.control();
        if control.is_removed() || self.shared().chip.is_gone() {
            return Err(NicError::Gone);
        }
        selftest::run(self.shared(), control.is_open())
    }

    fn registers(&self, visit: &mut dyn FnMut(&'static str, u32, u32)) {
        let _control = self.control();
        let chip = &self.shared().chip;
        for (name, register) in DUMP {
            visit(name, register, chip.read(register));
        }
        for (name, register) in PHY_DUMP {
            if let Some(value) = phy::read(chip, register) {
                visit(name, register, value.into());
            }
        }
    }

    /// The 64 words that the checksum covers.
    fn eeprom(&self) -> Result<Vec<u16>, NicError> {
        let _control = self.control();
        let words = Eeprom::new(&self.shared().chip).words();
        words.map_err(|_| NicError::Device("the EEPROM does not answer"))
    }
}

/// Registers that reading does not change.
const DUMP: [(&str, u32); 35] = [
    ("CTRL", regs::CTRL),
    ("STATUS", regs::STATUS),
    ("EECD", regs::EECD),
    ("FCAL", regs::FCAL),
    ("FCAH", regs::FCAH),
    ("FCT", regs::FCT),
    ("VET", regs::VET),
    ("ITR", regs::ITR),
    ("IMS", regs::IMS),
    ("RCTL", regs::RCTL),
    ("FCTTV", regs::FCTTV),
    ("TCTL", regs::TCTL),
    ("TIPG", regs::TIPG),
    ("LEDCTL", regs::LEDCTL),
    ("PBA", regs::PBA),
    ("FCRTL", regs::FCRTL),
    ("FCRTH", regs::FCRTH),
    ("RDBAL", regs::RDBAL),
    ("RDBAH", regs::RDBAH),
    ("RDLEN", regs::RDLEN),
    ("RDH", regs::RDH),
    ("RDT", regs::RDT),
    ("RDTR", regs::RDTR),
    ("RXDCTL", regs::RXDCTL),
    ("RADV", regs::RADV),
    ("TDBAL", regs::TDBAL),
    ("TDBAH", regs::TDBAH),
    ("TDLEN", regs::TDLEN),
    ("TDH", regs::TDH),
    ("TDT", regs::TDT),
    ("TIDV", regs::TIDV),
    ("TXDCTL", regs::TXDCTL),
    ("TADV", regs::TADV),
    ("RXCSUM", regs::RXCSUM),
    ("RAL0", regs::RAL),
];

/// Registers of the PHY that reading does not change.
const PHY_DUMP: [(&str, u32); 4] = [
    ("PHY CONTROL", phy::CONTROL),
    ("PHY ADVERTISEMENT", phy::ADVERTISEMENT),
    ("PHY PARTNER", phy::PARTNER),
    ("PHY SPECIFIC CONTROL", 16),
];
