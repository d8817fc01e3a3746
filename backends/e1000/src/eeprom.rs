//! The EEPROM behind the chip (chapter 5, 13.4.3 and 13.4.4).

use crate::chip::Chip;
use crate::probe::{I82574L, ProbeError};
use crate::regs::{self, Eecd, Status};
use alloc::vec::Vec;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::PciDevice;

/// Words that the checksum covers, its own included (5.6.35).
const CHECKSUMMED_WORDS: u8 = 0x40;
/// What they sum up to.
const CHECKSUM: u16 = 0xbaba;

const EERD_POLLS: u32 = 200;
const EERD_POLL_US: u32 = 50;
const GRANT_POLLS: u32 = 1000;
const GRANT_POLL_US: u32 = 5;
/// Half a period of the serial clock, in microseconds.
const HALF_CLOCK_US: u32 = 50;
/// Microwire: start bit and the code of a read.
const OPCODE_READ: u32 = 0b110;

/// Reads the EEPROM, by the chip's own engine or, where that does not answer,
/// bit by bit.
pub(crate) struct Eeprom<'a, P> {
    chip: &'a Chip<P>,
    bit_bang: bool,
}

impl<'a, P: PciDevice> Eeprom<'a, P> {
    pub(crate) fn new(chip: &'a Chip<P>) -> Self {
        Self {
            chip,
            bit_bang: false,
        }
    }

    /// The station address, after a look at the checksum.
    pub(crate) fn mac(&mut self) -> Result<MacAddress, ProbeError> {
        let words = self.words()?;
        let sum = sum(&words);
        if sum != CHECKSUM {
            return Err(ProbeError::EepromChecksum { sum });
        }
        // 5.6.1: the address is in the first three words, low byte first.
        let mut mac = [0; 6];
        for (bytes, word) in mac.chunks_exact_mut(2).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        if self.is_second_function() {
            mac[5] ^= 1;
        }
        let mac = MacAddress(mac);
        mac.is_unicast()
            .then_some(mac)
            .ok_or(ProbeError::BadAddress(mac))
    }

    /// Whether the words sum up as they should.
    pub(crate) fn is_sound(words: &[u16]) -> bool {
        sum(words) == CHECKSUM
    }

    /// A chip with two functions has one EEPROM for them: the second one's
    /// address differs in the last bit.
    fn is_second_function(&self) -> bool {
        let status = Status::from_bits_retain(self.chip.read(regs::STATUS));
        status.contains(Status::FUNCTION_1)
    }

    /// The words that the checksum covers.
    pub(crate) fn words(&mut self) -> Result<Vec<u16>, ProbeError> {
        (0..CHECKSUMMED_WORDS).map(|at| self.word(at)).collect()
    }

    fn word(&mut self, address: u8) -> Result<u16, ProbeError> {
        if !self.bit_bang {
            if let Some(word) = self.read_eerd(address) {
                return Ok(word);
            }
            self.bit_bang = true;
        }
        self.read_bits(address).ok_or(ProbeError::EepromTimeout)
    }

    fn read_eerd(&self, address: u8) -> Option<u16> {
        let (shift, done) = self.eerd_layout();
        let start = u32::from(address) << shift | regs::EERD_START;
        self.chip.write(regs::EERD, start);
        let done = |value: u32| value & done != 0;
        self.chip
            .device
            .poll(EERD_POLLS, EERD_POLL_US, || {
                done(self.chip.read(regs::EERD))
            })
            .then(|| (self.chip.read(regs::EERD) >> regs::EERD_DATA_SHIFT) as u16)
    }

    /// Where EERD has the address, and the bit that says that the word is there.
    fn eerd_layout(&self) -> (u32, u32) {
        if self.chip.device.ids().device == I82574L {
            (regs::EERD_ADDR_SHIFT_82574, regs::EERD_DONE_82574)
        } else {
            (regs::EERD_ADDR_SHIFT, regs::EERD_DONE)
        }
    }

    /// One Microwire read. `None` when the chip does not grant access.
    fn read_bits(&self, address: u8) -> Option<u16> {
        let idle = self.eecd().difference(Eecd::SK | Eecd::CS | Eecd::DI);
        self.chip.write(regs::EECD, (idle | Eecd::REQ).bits());
        let granted = self.chip.device.poll(GRANT_POLLS, GRANT_POLL_US, || {
            self.eecd().contains(Eecd::GNT)
        });
        let word = granted.then(|| self.read_selected(idle | Eecd::REQ | Eecd::CS, address));
        self.drive(idle | Eecd::REQ);
        self.drive(idle.difference(Eecd::REQ));
        word
    }

    fn read_selected(&self, selected: Eecd, address: u8) -> u16 {
        let address_bits = if selected.contains(Eecd::SIZE) { 8 } else { 6 };
        self.drive(selected);
        self.send(selected, OPCODE_READ, 3);
        self.send(selected, u32::from(address), address_bits);
        (0..16).fold(0, |word, _| {
            self.drive(selected | Eecd::SK);
            let bit = self.eecd().contains(Eecd::DO);
            self.drive(selected);
            word << 1 | u16::from(bit)
        })
    }

    /// Clocks out the low `count` bits of `bits`, the highest first.
    fn send(&self, selected: Eecd, bits: u32, count: u32) {
        for at in (0..count).rev() {
            let mut level = selected;
            level.set(Eecd::DI, bits >> at & 1 != 0);
            self.drive(level);
            self.drive(level | Eecd::SK);
            self.drive(level);
        }
    }

    fn drive(&self, level: Eecd) {
        self.chip.write(regs::EECD, level.bits());
        self.chip.flush();
        self.chip.device.delay_us(HALF_CLOCK_US);
    }

    fn eecd(&self) -> Eecd {
        Eecd::from_bits_retain(self.chip.read(regs::EECD))
    }
}

fn sum(words: &[u16]) -> u16 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}
