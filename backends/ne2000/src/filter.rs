//! Which frames the chip accepts (10.3: RCR, PAR, MAR).

use crate::chip::Chip;
use crate::regs::{self, Cr, MAR_BYTES, Rcr};
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::{MacAddress, RxMode};

/// Ethernet's polynomial, highest bit first (IEEE 802.3, 3.2.9).
const POLYNOMIAL: u32 = 0x04c1_1db7;

/// What the mode asks of RCR. All physical addresses are not all addresses: for
/// those, multicast is accepted too, whatever it hashes to.
pub(crate) fn rcr(mode: &RxMode) -> Rcr {
    let all_groups = mode.promiscuous || mode.all_multicast;
    let mut rcr = Rcr::AB;
    rcr.set(Rcr::PRO, mode.promiscuous);
    rcr.set(Rcr::AM, all_groups || !mode.multicast.is_empty());
    rcr
}

/// The multicast table.
pub(crate) fn mar(mode: &RxMode) -> [u8; MAR_BYTES] {
    let mut table = [0; MAR_BYTES];
    if mode.promiscuous || mode.all_multicast {
        table = [u8::MAX; MAR_BYTES];
    }
    for &group in &mode.multicast {
        let bit = hash(group);
        if let Some(byte) = table.get_mut(usize::from(bit >> 3)) {
            *byte |= 1 << (bit & 7);
        }
    }
    table
}

/// The bit of the table that stands for a group: the upper six bits of its CRC.
fn hash(group: MacAddress) -> u8 {
    let crc = group.0.iter().fold(u32::MAX, |crc, &byte| {
        // A byte's lowest bit is first on the wire.
        (0..8).fold(crc, |crc, bit| {
            let carry = crc >> 31 ^ u32::from(byte >> bit & 1);
            crc << 1 ^ if carry == 1 { POLYNOMIAL } else { 0 }
        })
    });
    (crc >> 26) as u8
}

/// Puts the station address into PAR. `state` is what CR is to hold meanwhile.
pub(crate) fn set_station_address<P: PciDevice>(chip: &Chip<P>, state: Cr, mac: MacAddress) {
    chip.on_page(state, Cr::PAGE1, || {
        for (register, byte) in (regs::PAR0..).zip(mac.0) {
            chip.write(register, byte);
        }
    });
}

/// Fills MAR.
pub(crate) fn set_multicast<P: PciDevice>(chip: &Chip<P>, state: Cr, table: [u8; MAR_BYTES]) {
    chip.on_page(state, Cr::PAGE1, || {
        for (register, byte) in (regs::MAR0..).zip(table) {
            chip.write(register, byte);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_groups_bit_is_the_upper_six_bits_of_its_crc() {
        // Taken from zlib's crc32, whose register is reflected and inverted.
        assert_eq!(hash(MacAddress([0xff; 6])), 0x3f);
        assert_eq!(hash(MacAddress([0x01, 0x00, 0x5e, 0x00, 0x00, 0x01])), 0x1f);
    }

    #[test]
    fn promiscuous_mode_takes_every_group_too() {
        let mode = RxMode {
            promiscuous: true,
            ..RxMode::default()
        };
        assert_eq!(rcr(&mode), Rcr::AB | Rcr::AM | Rcr::PRO);
        assert_eq!(mar(&mode), [0xff; 8]);
        let none = RxMode::default();
        assert_eq!((rcr(&none), mar(&none)), (Rcr::AB, [0; 8]));
    }

    #[test]
    fn each_group_sets_its_bit() {
        let mode = RxMode {
            multicast: vec![MacAddress([0x01, 0x00, 0x5e, 0x00, 0x00, 0x01])],
            ..RxMode::default()
        };
        assert_eq!(rcr(&mode), Rcr::AB | Rcr::AM);
        assert_eq!(
            mar(&mode).iter().map(|byte| byte.count_ones()).sum::<u32>(),
            1
        );
    }
}
