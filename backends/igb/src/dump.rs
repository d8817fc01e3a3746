//! The registers that can be read without a side effect.

use crate::chip::Chip;
use crate::regs::{self, QUEUE_STRIDE, queue};
use softnet_nic_hal::bus::PciDevice;

const REGISTERS: [(&str, u32); 36] = [
    ("CTRL", regs::CTRL),
    ("STATUS", regs::STATUS),
    ("EEC", regs::EEC),
    ("CTRL_EXT", regs::CTRL_EXT),
    ("MDIC", regs::MDIC),
    ("FCAL", regs::FCAL),
    ("FCAH", regs::FCAH),
    ("FCT", regs::FCT),
    ("VET", regs::VET),
    ("RCTL", regs::RCTL),
    ("FCTTV", regs::FCTTV),
    ("TCTL", regs::TCTL),
    ("IMS", regs::IMS),
    ("IAM", regs::IAM),
    ("GPIE", regs::GPIE),
    ("EIMS", regs::EIMS),
    ("EIAC", regs::EIAC),
    ("EIAM", regs::EIAM),
    ("IVAR_MISC", regs::IVAR_MISC),
    ("FCRTL", regs::FCRTL),
    ("FCRTH", regs::FCRTH),
    ("RXPBS", regs::RXPBS),
    ("TXPBS", regs::TXPBS),
    ("RXCSUM", regs::RXCSUM),
    ("RLPML", regs::RLPML),
    ("RFCTL", regs::RFCTL),
    ("RAL", regs::RAL),
    ("RAH", regs::RAH),
    ("MRQC", regs::MRQC),
    ("FWSM", regs::FWSM),
    ("SW_FW_SYNC", regs::SW_FW_SYNC),
    ("RETA", regs::RETA),
    ("TIMINCA", regs::TIMINCA),
    ("TSYNCTXCTL", regs::TSYNCTXCTL),
    ("TSYNCRXCTL", regs::TSYNCRXCTL),
    ("TSYNCRXCFG", regs::TSYNCRXCFG),
];

const RX_QUEUE: [(&str, u32); 7] = [
    ("RDBAL", queue::DBAL),
    ("RDBAH", queue::DBAH),
    ("RDLEN", queue::DLEN),
    ("SRRCTL", queue::SRRCTL),
    ("RDH", queue::DH),
    ("RDT", queue::DT),
    ("RXDCTL", queue::DCTL),
];

const TX_QUEUE: [(&str, u32); 6] = [
    ("TDBAL", queue::DBAL),
    ("TDBAH", queue::DBAH),
    ("TDLEN", queue::DLEN),
    ("TDH", queue::DH),
    ("TDT", queue::DT),
    ("TXDCTL", queue::DCTL),
];

/// Visits them with their offsets and values; those of a queue once for each.
pub(crate) fn registers<P: PciDevice>(
    chip: &Chip<P>,
    visit: &mut dyn FnMut(&'static str, u32, u32),
) {
    let mut read = |name, register| visit(name, register, chip.read(register));
    for (name, register) in REGISTERS {
        read(name, register);
    }
    for entry in 0..u32::from(chip.family.queues()) / 2 {
        read("IVAR", regs::IVAR + 4 * entry);
    }
    for vector in 0..=u32::from(chip.family.queues()) {
        read("EITR", regs::EITR + 4 * vector);
    }
    for queue in 0..u32::from(chip.family.queues()) {
        let offset = queue * QUEUE_STRIDE;
        for (name, register) in RX_QUEUE {
            read(name, regs::RX_QUEUE + offset + register);
        }
        for (name, register) in TX_QUEUE {
            read(name, regs::TX_QUEUE + offset + register);
        }
    }
}
