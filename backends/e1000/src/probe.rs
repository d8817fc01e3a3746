//! Binding the driver to a function.

use crate::chip::{Chip, REGISTER_BAR, ResetTimeout};
use crate::eeprom::Eeprom;
use crate::phy;
use crate::shared::Shared;
use alloc::sync::Arc;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{BarKind, BusError, PciDevice, PciIdMatch, PciIds};

/// Bytes of the register space (4.1).
const REGISTER_SPACE: u32 = 0x2_0000;

const INTEL: u16 = 0x8086;

/// The 82574L, the first of the PCI Express chips that Linux has another driver for. What
/// this driver uses of its registers is as in the 8254x, but for EERD: one queue, and the
/// pin. It is tried on QEMU's model, `e1000e`, alone.
pub(crate) const I82574L: u16 = 0x10d3;

const fn intel(device: u16) -> PciIdMatch {
    PciIdMatch {
        vendor: INTEL,
        device,
    }
}

/// The controllers of the 8254x family with a copper PHY whose registers agree
/// in everything that this driver uses: the 82540EM and EP, the 82545 and the 82546; and
/// the 82574L.
/// (The 82541 and the 82547 have another PHY, another EEPROM and another EERD.)
pub static ID_TABLE: &[PciIdMatch] = &[
    intel(0x100e), // 82540EM
    intel(0x1015), // 82540EM, on a mainboard
    intel(0x1016), // 82540EP, on a mainboard
    intel(0x1017), // 82540EP
    intel(0x101e), // 82540EP, low power
    intel(0x100f), // 82545EM, copper
    intel(0x1026), // 82545GM, copper
    intel(0x1010), // 82546EB, copper
    intel(0x101d), // 82546EB, copper, four ports
    intel(0x1079), // 82546GB, copper
    intel(0x1099), // 82546GB, copper, four ports
    intel(I82574L),
];

/// Why the driver could not be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The function is none of [`ID_TABLE`].
    #[error("{vendor:04x}:{device:04x} is not a device of this driver", vendor = .0.vendor, device = .0.device)]
    NotSupported(PciIds),
    /// The device does not answer.
    #[error("the device does not answer")]
    Gone,
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The device did not come out of its reset.
    #[error("the device did not come out of its reset")]
    ResetTimeout,
    /// The EEPROM does not answer, neither through EERD nor bit by bit.
    #[error("the EEPROM does not answer")]
    EepromTimeout,
    /// The EEPROM's words do not sum up to BABAh.
    #[error("the EEPROM's words sum up to {sum:#06x}, not to 0xbaba")]
    EepromChecksum {
        /// Their sum.
        sum: u16,
    },
    /// The EEPROM does not hold a station address.
    #[error("the EEPROM's {0} is not a station address")]
    BadAddress(MacAddress),
    /// The PHY does not answer.
    #[error("the PHY does not answer")]
    NoPhy,
}

impl From<ResetTimeout> for ProbeError {
    fn from(_: ResetTimeout) -> Self {
        Self::ResetTimeout
    }
}

/// What a probe has found.
pub(crate) struct Found<P: PciDevice> {
    pub(crate) shared: Shared<P>,
    pub(crate) mac: MacAddress,
    pub(crate) phy_id: u32,
}

pub(crate) fn probe<P: PciDevice>(device: Arc<P>) -> Result<Found<P>, ProbeError> {
    let ids = device.ids();
    if !ID_TABLE.iter().any(|line| line.matches(&ids)) {
        return Err(ProbeError::NotSupported(ids));
    }
    let registers = device.bar(REGISTER_BAR);
    if !registers.is_some_and(|bar| bar.kind == BarKind::Memory && bar.len >= REGISTER_SPACE) {
        return Err(BusError::NoBar(REGISTER_BAR).into());
    }
    let chip = Chip { device };
    chip.device.set_bus_master(true);
    set_up(&chip).inspect_err(|_| chip.device.set_bus_master(false))
}

fn set_up<P: PciDevice>(chip: &Chip<P>) -> Result<Found<P>, ProbeError> {
    if chip.is_gone() {
        return Err(ProbeError::Gone);
    }
    chip.reset()?;
    let mac = Eeprom::new(chip).mac()?;
    let phy_id = phy::identifier(chip).ok_or(ProbeError::NoPhy)?;
    let shared = Shared::new(chip.clone())?;
    Ok(Found {
        shared,
        mac,
        phy_id,
    })
}
