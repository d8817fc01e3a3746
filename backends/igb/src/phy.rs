//! The PHY behind the chip's management interface (8.2.4), which the driver
//! shares with the firmware and with the driver of the other port.

use crate::chip::Chip;
use crate::regs::{self, Status};
use softnet_nic_hal::bus::PciDevice;

/// Control (IEEE 802.3, 22.2.4.1).
const CONTROL: u32 = 0;
/// PHY Identifier 1 and 2 (22.2.4.3.1).
const PHY_ID1: u32 = 2;
const PHY_ID2: u32 = 3;
/// Auto-negotiation advertisement (28.2.4.1.3).
const ADVERTISEMENT: u32 = 4;
/// Auto-negotiation link partner ability.
const PARTNER_ABILITY: u32 = 5;

/// CONTROL: returns what is sent.
pub(crate) const LOOPBACK: u16 = 1 << 14;
/// CONTROL: auto-negotiate.
pub(crate) const AUTONEG: u16 = 1 << 12;
/// CONTROL: auto-negotiate anew.
const RESTART: u16 = 1 << 9;
/// CONTROL: full duplex.
pub(crate) const FULL_DUPLEX: u16 = 1 << 8;
/// CONTROL: 1000 Mbit/s.
pub(crate) const SPEED_1000: u16 = 1 << 6;

/// ADVERTISEMENT: pause frames both ways (table 28B-2).
const PAUSE: u16 = 1 << 10;
/// ADVERTISEMENT: pause frames one way.
const ASM_DIR: u16 = 1 << 11;

const MDIC_POLLS: u32 = 64;
const MDIC_POLL_US: u32 = 50;
const LOCK_POLLS: u32 = 2000;
const LOCK_POLL_US: u32 = 50;

/// Why the PHY could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PhyError {
    /// The firmware or another driver does not let go of it.
    Locked,
    /// It does not answer.
    Silent,
}

/// What both ends say about pause frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PauseAbility {
    pub(crate) symmetric: bool,
    pub(crate) asymmetric: bool,
}

impl PauseAbility {
    const fn of(word: u16) -> Self {
        Self {
            symmetric: word & PAUSE != 0,
            asymmetric: word & ASM_DIR != 0,
        }
    }

    /// What says that pause frames are obeyed, or sent (table 28B-2).
    pub(crate) const fn advertised(rx: bool, tx: bool) -> Self {
        Self {
            symmetric: rx,
            asymmetric: rx != tx,
        }
    }
}

/// The PHY, while it is held.
pub(crate) struct Phy<'a, P: PciDevice> {
    chip: &'a Chip<P>,
}

impl<'a, P: PciDevice> Phy<'a, P> {
    /// Takes the PHY from firmware and other drivers (4.6: "Semaphore
    /// operation").
    pub(crate) fn acquire(chip: &'a Chip<P>) -> Result<Self, PhyError> {
        let bit = phy_bit(chip);
        let taken = chip.device.poll(LOCK_POLLS, LOCK_POLL_US, || {
            let take = |sync| (sync & (bit | bit << regs::FW_SHIFT) == 0).then_some(sync | bit);
            change_sync(chip, take).unwrap_or(false)
        });
        taken.then_some(Self { chip }).ok_or(PhyError::Locked)
    }

    /// The PHY's identifier.
    pub(crate) fn identifier(&self) -> Result<u32, PhyError> {
        let high = self.read(PHY_ID1)?;
        let low = self.read(PHY_ID2)?;
        let id = u32::from(high) << 16 | u32::from(low);
        // An empty bus reads as all ones, or as zeros.
        if id == 0 || id == u32::MAX {
            return Err(PhyError::Silent);
        }
        Ok(id)
    }

    /// Advertises what is done with pause frames, and negotiates anew.
    pub(crate) fn negotiate(&self, pause: PauseAbility) -> Result<(), PhyError> {
        let mut word = self.read(ADVERTISEMENT)? & !(PAUSE | ASM_DIR);
        word |= if pause.symmetric { PAUSE } else { 0 };
        word |= if pause.asymmetric { ASM_DIR } else { 0 };
        self.write(ADVERTISEMENT, word)?;
        self.write(CONTROL, AUTONEG | RESTART | FULL_DUPLEX | SPEED_1000)
    }

    /// What this end and the other say about pause frames.
    pub(crate) fn pause(&self) -> Result<[PauseAbility; 2], PhyError> {
        let ours = PauseAbility::of(self.read(ADVERTISEMENT)?);
        let theirs = PauseAbility::of(self.read(PARTNER_ABILITY)?);
        Ok([ours, theirs])
    }

    /// Writes the control register.
    pub(crate) fn set_control(&self, value: u16) -> Result<(), PhyError> {
        self.write(CONTROL, value)
    }

    fn read(&self, register: u32) -> Result<u16, PhyError> {
        let command = register << regs::MDIC_REG_SHIFT | regs::MDIC_PHY | regs::MDIC_OP_READ;
        Ok(self.access(command)? as u16)
    }

    fn write(&self, register: u32, value: u16) -> Result<(), PhyError> {
        let command = register << regs::MDIC_REG_SHIFT | regs::MDIC_PHY | regs::MDIC_OP_WRITE;
        self.access(command | u32::from(value))?;
        Ok(())
    }

    fn access(&self, command: u32) -> Result<u32, PhyError> {
        let chip = self.chip;
        chip.write(regs::MDIC, command);
        let ready = chip.device.poll(MDIC_POLLS, MDIC_POLL_US, || {
            chip.read(regs::MDIC) & regs::MDIC_R != 0
        });
        let value = chip.read(regs::MDIC);
        let good = ready && value & regs::MDIC_E == 0;
        good.then_some(value).ok_or(PhyError::Silent)
    }
}

impl<P: PciDevice> Drop for Phy<'_, P> {
    fn drop(&mut self) {
        let bit = phy_bit(self.chip);
        // The register's own lock is held for microseconds only; a device that
        // keeps it is beyond help.
        self.chip.device.poll(LOCK_POLLS, LOCK_POLL_US, || {
            change_sync(self.chip, |sync| Some(sync & !bit)).is_some()
        });
    }
}

/// The bit of SW_FW_SYNC that stands for the PHY of this port.
fn phy_bit<P: PciDevice>(chip: &Chip<P>) -> u32 {
    let second = chip.status().contains(Status::LAN_ID_0);
    regs::SW_PHY_SM0 << u32::from(second)
}

/// Changes SW_FW_SYNC under its lock, unless `change` gives nothing. `None` when
/// the lock could not be had; otherwise whether something was changed.
fn change_sync<P: PciDevice>(chip: &Chip<P>, change: impl Fn(u32) -> Option<u32>) -> Option<bool> {
    // Reading it takes SMBI: the one who reads 0 has it.
    if chip.read(regs::SWSM) & regs::SWSM_SMBI != 0 {
        return None;
    }
    let swsm = chip.read(regs::SWSM);
    chip.write(regs::SWSM, swsm | regs::SWSM_SWESMBI);
    let held = chip.read(regs::SWSM) & regs::SWSM_SWESMBI != 0;
    let changed = if held {
        change(chip.read(regs::SW_FW_SYNC))
    } else {
        None
    };
    if let Some(sync) = changed {
        chip.write(regs::SW_FW_SYNC, sync);
    }
    let swsm = chip.read(regs::SWSM);
    chip.write(regs::SWSM, swsm & !(regs::SWSM_SMBI | regs::SWSM_SWESMBI));
    held.then_some(changed.is_some())
}
