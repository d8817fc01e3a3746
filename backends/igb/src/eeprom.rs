//! The EEPROM behind the chip (chapter 6, 8.4.2).

use crate::chip::Chip;
use crate::filter;
use crate::probe::ProbeError;
use crate::regs;
use alloc::vec::Vec;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::PciDevice;

/// Words that the checksum covers, its own included (6.2.35).
const CHECKSUMMED_WORDS: u16 = 0x40;
/// What they sum up to.
const CHECKSUM: u16 = 0xbaba;

const EERD_POLLS: u32 = 2000;
const EERD_POLL_US: u32 = 5;

/// The EEPROM does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EepromTimeout;

/// The words that the checksum covers.
pub(crate) fn words<P: PciDevice>(chip: &Chip<P>) -> Result<Vec<u16>, EepromTimeout> {
    (0..CHECKSUMMED_WORDS).map(|at| word(chip, at)).collect()
}

/// Whether the words sum up rightly; their sum if not.
pub(crate) fn verify(words: &[u16]) -> Result<(), u16> {
    let sum = words
        .iter()
        .fold(0_u16, |sum, word| sum.wrapping_add(*word));
    if sum == CHECKSUM { Ok(()) } else { Err(sum) }
}

/// The station address, after a look at the checksum. A reset has copied it from
/// the EEPROM into the first receive address register, on each port its own
/// (6.2.1, 8.10.16); a device that has not is asked itself.
pub(crate) fn mac<P: PciDevice>(chip: &Chip<P>) -> Result<MacAddress, ProbeError> {
    let words = words(chip).map_err(|_| ProbeError::EepromTimeout)?;
    verify(&words).map_err(|sum| ProbeError::EepromChecksum { sum })?;
    let mut mac = [0; 6];
    for (bytes, word) in mac.chunks_exact_mut(2).zip(&words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let mac = filter::station_address(chip).unwrap_or(MacAddress(mac));
    mac.is_unicast()
        .then_some(mac)
        .ok_or(ProbeError::BadAddress(mac))
}

fn word<P: PciDevice>(chip: &Chip<P>, address: u16) -> Result<u16, EepromTimeout> {
    let start = u32::from(address) << regs::EERD_ADDR_SHIFT | regs::EERD_START;
    chip.write(regs::EERD, start);
    let done = chip.device.poll(EERD_POLLS, EERD_POLL_US, || {
        chip.read(regs::EERD) & regs::EERD_DONE != 0
    });
    done.then(|| (chip.read(regs::EERD) >> regs::EERD_DATA_SHIFT) as u16)
        .ok_or(EepromTimeout)
}
