//! Which NICs a machine can have.

use softnet_emulated::pci::AttachError;
use softnet_emulated::{
    DeviceModel, E1000, E1000Config, Igb, IgbConfig, Ne2000, Ne2000Config, PciBus, PciFunction,
};
use softnet_nic_hal::MacAddress;
use std::fmt;
use std::str::FromStr;

/// An emulated NIC, by its chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NicKind {
    /// The Intel 82540EM, with the e1000 driver.
    #[default]
    E1000,
    /// The Intel 82576, with the igb driver: several queues.
    Igb,
    /// The NE2000 as a PCI card (RTL8029), with the ne2k-pci driver.
    Ne2000,
}

/// There is no emulated NIC of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no emulated NIC {0:?}: e1000, igb and ne2000 are what there is")]
pub struct UnknownNic(pub String);

impl NicKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::E1000, Self::Igb, Self::Ne2000];

    /// Its name, by which it is also [parsed](str::parse).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::E1000 => "e1000",
            Self::Igb => "igb",
            Self::Ne2000 => "ne2000",
        }
    }

    /// Plugs a card into the bus.
    pub(super) fn attach(
        self,
        bus: &PciBus,
        mac: MacAddress,
    ) -> Result<(PciFunction, Box<dyn DeviceModel>), AttachError> {
        Ok(match self {
            Self::E1000 => boxed(E1000::attach(bus, &E1000Config::new(mac))?),
            Self::Igb => boxed(Igb::attach(bus, &IgbConfig::new(mac))?),
            Self::Ne2000 => boxed(Ne2000::attach(bus, &Ne2000Config::new(mac))?),
        })
    }
}

fn boxed<M: DeviceModel>(
    (function, model): (PciFunction, M),
) -> (PciFunction, Box<dyn DeviceModel>) {
    (function, Box::new(model))
}

impl fmt::Display for NicKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NicKind {
    type Err = UnknownNic;

    fn from_str(name: &str) -> Result<Self, UnknownNic> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownNic(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in NicKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let unknown = UnknownNic("rtl8139".to_owned());
        assert_eq!("rtl8139".parse::<NicKind>(), Err(unknown));
    }
}
