//! Which frames the chip accepts (7.1.2).

use crate::chip::Chip;
use crate::regs::{self, Rctl};
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::{MacAddress, RxMode};

/// Puts the station address into the first receive address register, and
/// clears the others.
pub(crate) fn set_addresses<P: PciDevice>(chip: &Chip<P>, mac: MacAddress) {
    set_station_address(chip, mac);
    for pair in 1..regs::RECEIVE_ADDRESSES {
        chip.write(regs::RAL + pair * 8, 0);
        chip.write(regs::RAH + pair * 8, 0);
    }
}

/// Puts the station address into the first receive address register.
pub(crate) fn set_station_address<P: PciDevice>(chip: &Chip<P>, mac: MacAddress) {
    let [a, b, c, d, e, f] = mac.0;
    chip.write(regs::RAL, u32::from_le_bytes([a, b, c, d]));
    let high = u32::from(u16::from_le_bytes([e, f]));
    chip.write(regs::RAH, high | regs::RAH_AV);
}

/// The address in the first receive address register, if one is there.
pub(crate) fn station_address<P: PciDevice>(chip: &Chip<P>) -> Option<MacAddress> {
    let low = chip.read(regs::RAL).to_le_bytes();
    let high = chip.read(regs::RAH);
    let [a, b, c, d] = low;
    let [e, f, ..] = high.to_le_bytes();
    (high & regs::RAH_AV != 0).then_some(MacAddress([a, b, c, d, e, f]))
}

/// Fills the multicast table.
pub(crate) fn set_multicast<P: PciDevice>(chip: &Chip<P>, mode: &RxMode) {
    let mut table = [0_u32; regs::MTA_WORDS as usize];
    for &group in &mode.multicast {
        let hash = multicast_hash(group);
        if let Some(word) = table.get_mut(usize::from(hash >> 5)) {
            *word |= 1 << (hash & 31);
        }
    }
    chip.write_all(regs::MTA, table);
}

/// What the mode adds to RCTL.
pub(crate) fn rctl(mode: &RxMode) -> Rctl {
    let mut bits = Rctl::BAM;
    bits.set(Rctl::UPE, mode.promiscuous);
    bits.set(Rctl::MPE, mode.promiscuous || mode.all_multicast);
    bits
}

/// The bit of the multicast table that stands for a group: with RCTL.MO = 0,
/// bits 47 to 36 of the address, whose last byte on the wire is the highest
/// (8.10.15).
fn multicast_hash(group: MacAddress) -> u16 {
    u16::from_le_bytes([group.0[4], group.0[5]]) >> 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multicast_hash_is_bits_47_to_36_of_the_address() {
        // 8.10.15's example: 12:34:56:78:9A:BC (LSB first on the wire) gives
        // 0xBC9 with the table's offset 0.
        let group = MacAddress([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc]);
        assert_eq!(multicast_hash(group), 0xbc9);
    }
}
