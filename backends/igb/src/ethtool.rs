//! The control plane that `ethtool` reaches.

use crate::dump;
use crate::eeprom;
use crate::nic::{FEATURES, Igb};
use crate::program;
use crate::regs;
use crate::self_test;
use alloc::vec::Vec;
use softnet_nic_hal::NicError;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::ethtool::{
    Coalesce, EthtoolOps, FeatureSet, Features, Pause, RssConfig, SelfTest,
};

impl<P: PciDevice> EthtoolOps for Igb<P> {
    fn coalesce(&self) -> Result<Coalesce, NicError> {
        Ok(self.control().settings.coalesce)
    }

    /// Both directions of a queue have one interrupt, which the shorter of the
    /// two times holds back, or the only one that is not 0 (EITR; 1 to 8191 µs).
    fn set_coalesce(&self, coalesce: &Coalesce) -> Result<(), NicError> {
        if coalesce.rx_usecs.max(coalesce.tx_usecs) > regs::EITR_MAX_US {
            return Err(NicError::Unsupported("more than 8191 microseconds"));
        }
        let mut control = self.control();
        control.settings.coalesce = *coalesce;
        if let Some(open) = &control.open {
            let us = control.settings.throttle_us();
            program::set_throttle(&self.shared.chip, open.plan, us);
        }
        Ok(())
    }

    fn rss(&self) -> Result<RssConfig, NicError> {
        let control = self.control();
        let queues = control.open.as_ref().map_or(1, |open| open.queues);
        Ok(control.settings.rss.config(queues))
    }

    fn set_rss(&self, rss: &RssConfig) -> Result<(), NicError> {
        let mut control = self.control();
        let open = control.open.as_ref().map(|open| open.queues);
        let queues = open.unwrap_or_else(|| self.shared.chip.family.queues());
        control.settings.rss.set(rss, queues)?;
        if let Some(queues) = open {
            control.settings.rss.program(&self.shared.chip, queues);
        }
        Ok(())
    }

    fn pause(&self) -> Result<Pause, NicError> {
        Ok(self.control().settings.pause)
    }

    /// The link goes down and is negotiated anew.
    fn set_pause(&self, pause: Pause) -> Result<(), NicError> {
        let mut control = self.control();
        control.settings.pause = pause;
        if control.open.is_some() {
            program::set_pause(&self.shared.chip, pause).map_err(program::phy_error)?;
        }
        Ok(())
    }

    fn features(&self) -> FeatureSet {
        FeatureSet {
            available: FEATURES,
            on: self.control().settings.features,
        }
    }

    fn set_features(&self, on: Features) -> Result<(), NicError> {
        if !FEATURES.contains(on) {
            return Err(NicError::Unsupported("one of these offloads"));
        }
        let mut control = self.control();
        control.settings.features = on;
        self.shared.set_features(on);
        if control.open.is_some() {
            program::set_features(&self.shared.chip, on);
        }
        Ok(())
    }

    fn self_test(&self) -> Result<Vec<SelfTest>, NicError> {
        let control = self.control();
        self.check_present(&control)?;
        self_test::run(&self.shared, control.open.is_some())
    }

    fn registers(&self, visit: &mut dyn FnMut(&'static str, u32, u32)) {
        let _control = self.control();
        dump::registers(&self.shared.chip, visit);
    }

    /// The 64 words that the EEPROM's checksum covers.
    fn eeprom(&self) -> Result<Vec<u16>, NicError> {
        let control = self.control();
        self.check_present(&control)?;
        eeprom::words(&self.shared.chip).map_err(|_| NicError::Device("the EEPROM does not answer"))
    }
}
