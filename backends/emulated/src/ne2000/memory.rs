//! What the address bus of the chip reaches: the PROM, and the packet memory.

use softnet_nic_hal::MacAddress;

/// Bytes of the packet memory.
const RAM: usize = 32 * 1024;
/// Where it begins.
const RAM_START: u16 = 0x4000;

/// Bytes of the PROM. Of each word the card's 8-bit PROM answers on both halves.
const PROM: usize = 32;
/// What tells a 16-bit card, at the PROM's end.
const SIGNATURE: u8 = 0x57;

/// The card's memory. Where nothing is, the bus floats high.
pub(super) struct Memory {
    prom: [u8; PROM],
    ram: Box<[u8]>,
}

impl Memory {
    pub(super) fn new(mac: MacAddress) -> Self {
        let mut bytes = [0; PROM / 2];
        for (byte, octet) in bytes.iter_mut().zip(mac.0) {
            *byte = octet;
        }
        bytes[14..].fill(SIGNATURE);
        let mut prom = [0; PROM];
        for (pair, byte) in prom.chunks_mut(2).zip(bytes) {
            pair.fill(byte);
        }
        Self {
            prom,
            ram: vec![0; RAM].into(),
        }
    }

    pub(super) fn read(&self, address: u16) -> u8 {
        let byte = match address.checked_sub(RAM_START) {
            None => self.prom.get(usize::from(address)),
            Some(at) => self.ram.get(usize::from(at)),
        };
        byte.copied().unwrap_or(u8::MAX)
    }

    /// Nothing happens where there is no memory, or where it is read-only.
    pub(super) fn write(&mut self, address: u16, value: u8) {
        let at = address.checked_sub(RAM_START).map(usize::from);
        if let Some(byte) = at.and_then(|at| self.ram.get_mut(at)) {
            *byte = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prom_answers_on_both_halves_of_a_word_and_ends_in_its_signature() {
        let memory = Memory::new(MacAddress([1, 2, 3, 4, 5, 6]));
        let byte = |at| memory.read(at);
        assert_eq!(
            [byte(0), byte(1), byte(2), byte(10), byte(11)],
            [1, 1, 2, 6, 6]
        );
        assert_eq!([byte(28), byte(29), byte(30), byte(31)], [0x57; 4]);
        assert_eq!(byte(32), 0xff);
    }

    #[test]
    fn only_the_packet_memory_can_be_written() {
        let mut memory = Memory::new(MacAddress([1, 2, 3, 4, 5, 6]));
        for address in [0, 0x3fff, 0x4000, 0xbfff, 0xc000, 0xffff] {
            memory.write(address, 0xa5);
        }
        let seen = [0, 0x3fff, 0x4000, 0xbfff, 0xc000, 0xffff].map(|at| memory.read(at));
        assert_eq!(seen, [1, 0xff, 0xa5, 0xa5, 0xff, 0xff]);
    }
}
