//! The PHY behind the chip's management interface (13.4.7).

use crate::chip::Chip;
use crate::regs;
use softnet_nic_hal::bus::PciDevice;

/// PHY Identifier 1 and 2 (IEEE 802.3, 22.2.4.3.1).
const PHY_ID1: u32 = 2;
const PHY_ID2: u32 = 3;

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

fn read<P: PciDevice>(chip: &Chip<P>, register: u32) -> Option<u16> {
    let command = register << regs::MDIC_REG_SHIFT | regs::MDIC_PHY | regs::MDIC_OP_READ;
    chip.write(regs::MDIC, command);
    let ready = chip.poll(MDIC_POLLS, MDIC_POLL_US, || {
        chip.read(regs::MDIC) & regs::MDIC_R != 0
    });
    let value = chip.read(regs::MDIC);
    (ready && value & regs::MDIC_E == 0).then_some(value as u16)
}
