//! The PHY behind the chip's management interface (13.4.7).

use crate::chip::Chip;
use crate::regs;
use softnet_nic_hal::bus::PciDevice;

/// PHY Identifier 1 and 2 (IEEE 802.3, 22.2.4.3.1).
const PHY_ID1: u32 = 2;
const PHY_ID2: u32 = 3;

/// PHY Control (22.2.4.1), and what of it is used.
pub(crate) const CONTROL: u32 = 0;
pub(crate) const CONTROL_RESTART: u16 = 1 << 9;
pub(crate) const CONTROL_AUTONEGOTIATE: u16 = 1 << 12;
/// 1000 Mbit/s in full duplex.
pub(crate) const CONTROL_GIGABIT: u16 = 1 << 8 | 1 << 6;
/// The PHY returns what is sent.
pub(crate) const CONTROL_LOOPBACK: u16 = 1 << 14;
/// Autonegotiation Advertisement, and the Link Partner's Ability (28.2.4.1).
pub(crate) const ADVERTISEMENT: u32 = 4;
pub(crate) const PARTNER: u32 = 5;
/// In both: symmetric pause, and asymmetric pause (annex 28B.2).
pub(crate) const PAUSE: u16 = 1 << 10;
pub(crate) const ASYMMETRIC: u16 = 1 << 11;

const MDIC_POLLS: u32 = 64;
const MDIC_POLL_US: u32 = 50;

/// The PHY's identifier, or `None` when no PHY answers.
pub(crate) fn identifier<P: PciDevice>(chip: &Chip<P>) -> Option<u32> {
    let high = read(chip, PHY_ID1)?;
    let low = read(chip, PHY_ID2)?;
    let id = u32::from(high) << 16 | u32::from(low);
    // An empty bus reads as all ones, or as zeros.
    (id != 0 && id != u32::MAX).then_some(id)
}

/// A register of the PHY; `None` when it does not answer.
pub(crate) fn read<P: PciDevice>(chip: &Chip<P>, register: u32) -> Option<u16> {
    transact(chip, register << regs::MDIC_REG_SHIFT | regs::MDIC_OP_READ)
}

/// Writes a register of the PHY. Returns whether it answered.
pub(crate) fn write<P: PciDevice>(chip: &Chip<P>, register: u32, value: u16) -> bool {
    let command = register << regs::MDIC_REG_SHIFT | regs::MDIC_OP_WRITE;
    transact(chip, command | u32::from(value)).is_some()
}

fn transact<P: PciDevice>(chip: &Chip<P>, command: u32) -> Option<u16> {
    chip.write(regs::MDIC, command | regs::MDIC_PHY);
    let ready = chip.device.poll(MDIC_POLLS, MDIC_POLL_US, || {
        chip.read(regs::MDIC) & regs::MDIC_R != 0
    });
    let value = chip.read(regs::MDIC);
    (ready && value & regs::MDIC_E == 0).then_some(value as u16)
}
