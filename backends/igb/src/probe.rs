//! Binding the driver to a function.

use crate::chip::{Chip, REGISTER_BAR, ResetTimeout};
use crate::eeprom;
use crate::family::Family;
use crate::phy::{Phy, PhyError};
use crate::shared::Shared;
use alloc::sync::Arc;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{BarKind, BusError, PciDevice, PciIds};

/// Bytes of the register space (9.4.11).
const REGISTER_SPACE: u32 = 0x2_0000;

/// Why the driver could not be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The function is none of [`ID_TABLE`](crate::ID_TABLE).
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
    /// The EEPROM does not answer.
    #[error("the EEPROM does not answer")]
    EepromTimeout,
    /// The EEPROM's words do not sum up to BABAh.
    #[error("the EEPROM's words sum up to {sum:#06x}, not to 0xbaba")]
    EepromChecksum {
        /// Their sum.
        sum: u16,
    },
    /// The device does not have a station address.
    #[error("the device's {0} is not a station address")]
    BadAddress(MacAddress),
    /// The firmware, or the driver of another port, does not let go of the PHY.
    #[error("the firmware does not let go of the PHY")]
    PhyLocked,
    /// The PHY does not answer.
    #[error("the PHY does not answer")]
    NoPhy,
}

impl From<ResetTimeout> for ProbeError {
    fn from(_: ResetTimeout) -> Self {
        Self::ResetTimeout
    }
}

impl From<PhyError> for ProbeError {
    fn from(error: PhyError) -> Self {
        match error {
            PhyError::Locked => Self::PhyLocked,
            PhyError::Silent => Self::NoPhy,
        }
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
    let family = Family::of(&ids).ok_or(ProbeError::NotSupported(ids))?;
    let registers = device.bar(REGISTER_BAR);
    if !registers.is_some_and(|bar| bar.kind == BarKind::Memory && bar.len >= REGISTER_SPACE) {
        return Err(BusError::NoBar(REGISTER_BAR).into());
    }
    let chip = Chip { device, family };
    chip.device.set_bus_master(true);
    set_up(&chip).inspect_err(|_| chip.device.set_bus_master(false))
}

fn set_up<P: PciDevice>(chip: &Chip<P>) -> Result<Found<P>, ProbeError> {
    if chip.is_gone() {
        return Err(ProbeError::Gone);
    }
    chip.reset()?;
    let mac = eeprom::mac(chip)?;
    let phy_id = Phy::acquire(chip)?.identifier()?;
    let shared = Shared::new(chip.clone());
    Ok(Found {
        shared,
        mac,
        phy_id,
    })
}
