//! The EEPROM: 1024 words on a serial bus, an AT25160 (sections 6 and 8.4).

use softnet_nic_hal::MacAddress;

/// Words of the EEPROM.
const WORDS: usize = 1024;
/// Bytes of a page: a write wraps within one.
const PAGE: usize = 32;
/// The words from 0 to 3Fh add up to this (section 6.4.2).
const CHECKSUM: u16 = 0xbaba;
const CHECKED: usize = 0x40;

/// Bits of EECD (section 8.4.1).
mod eecd {
    pub(super) const SK: u32 = 1;
    pub(super) const CS: u32 = 1 << 1;
    pub(super) const DI: u32 = 1 << 2;
    pub(super) const DO: u32 = 1 << 3;
    pub(super) const FWE: u32 = 3 << 4;
    pub(super) const REQ: u32 = 1 << 6;
    pub(super) const GNT: u32 = 1 << 7;
    pub(super) const PRES: u32 = 1 << 8;
    pub(super) const AUTO_RD: u32 = 1 << 9;
    /// Addresses of 16 bits.
    pub(super) const ADDR_BITS: u32 = 1 << 10;
    /// 64 words, shifted left four times.
    pub(super) const SIZE: u32 = 4 << 11;
}

/// Bits of EERD and EEWR (sections 8.4.2 and 8.4.5).
mod access {
    pub(super) const START: u32 = 1;
    pub(super) const DONE: u32 = 1 << 1;
}

/// Commands of the serial EEPROM.
mod opcode {
    pub(super) const WRITE_STATUS: u8 = 1;
    pub(super) const WRITE: u8 = 2;
    pub(super) const READ: u8 = 3;
    pub(super) const WRITE_DISABLE: u8 = 4;
    pub(super) const READ_STATUS: u8 = 5;
    pub(super) const WRITE_ENABLE: u8 = 6;
}

/// The EEPROM's status: the write latch.
const STATUS_WEN: u8 = 1 << 1;

/// The EEPROM, and its two ways of access: the pins, and words.
#[derive(Clone, Debug)]
pub(super) struct Nvm {
    bytes: Box<[u8]>,
    /// The control bits of EECD as they were written last.
    lines: u32,
    eerd: u32,
    eewr: u32,
    serial: Serial,
    write_enabled: bool,
}

/// A command on the serial bus: bits come at rising clocks, eight to a byte, and
/// go out at the same pace.
#[derive(Clone, Copy, Debug, Default)]
struct Serial {
    /// Bits of the byte that is under way.
    bits: u8,
    incoming: u8,
    outgoing: u8,
    /// What DO shows.
    out: bool,
    /// Bytes of the command that have come; the first is the opcode.
    count: usize,
    opcode: u8,
    at: usize,
}

impl Nvm {
    pub(super) fn new(mac: MacAddress, vectors: u16) -> Self {
        let image = image(mac, vectors);
        Self {
            bytes: image.iter().flat_map(|word| word.to_le_bytes()).collect(),
            lines: 0,
            eerd: access::DONE,
            eewr: access::DONE,
            serial: Serial::default(),
            write_enabled: false,
        }
    }

    pub(super) fn mac(&self) -> MacAddress {
        let mac = self.bytes.first_chunk();
        MacAddress(mac.copied().unwrap_or_default())
    }

    fn word(&self, at: usize) -> u16 {
        let at = at % WORDS * 2;
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    pub(super) fn read_eerd(&self) -> u32 {
        self.eerd
    }

    pub(super) fn read_eewr(&self) -> u32 {
        self.eewr
    }

    /// A write of START reads the word at bits 15:2.
    pub(super) fn write_eerd(&mut self, value: u32) {
        self.eerd = value & 0xfffc;
        if value & access::START != 0 {
            let word = self.word((value >> 2 & 0x3fff) as usize);
            self.eerd |= u32::from(word) << 16 | access::DONE;
        }
    }

    /// A write of START stores bits 31:16 at the word at bits 15:2.
    pub(super) fn write_eewr(&mut self, value: u32) {
        self.eewr = value & !3;
        if value & access::START != 0 {
            let at = (value >> 2 & 0x3fff) as usize % WORDS * 2;
            self.bytes[at..at + 2].copy_from_slice(&((value >> 16) as u16).to_le_bytes());
            self.eewr |= access::DONE;
        }
    }

    /// EECD as read: access is granted as soon as it is requested.
    pub(super) fn read_eecd(&self) -> u32 {
        let granted = if self.lines & eecd::REQ == 0 {
            0
        } else {
            eecd::GNT
        };
        let out = if self.serial.out { eecd::DO } else { 0 };
        let fixed = eecd::PRES | eecd::AUTO_RD | eecd::ADDR_BITS | eecd::SIZE;
        self.lines | granted | out | fixed
    }

    /// The pins follow EECD only while access is granted. Chip select is low when
    /// it selects.
    pub(super) fn write_eecd(&mut self, value: u32) {
        let before = self.lines;
        self.lines = value & (eecd::SK | eecd::CS | eecd::DI | eecd::FWE | eecd::REQ);
        if self.lines & eecd::REQ == 0 || self.lines & eecd::CS != 0 {
            self.deselect();
        } else if !before & self.lines & eecd::SK != 0 {
            self.rise(self.lines & eecd::DI != 0);
        } else if before & !self.lines & eecd::SK != 0 {
            self.fall();
        }
    }

    /// The end of a command, which ends a write.
    fn deselect(&mut self) {
        if self.serial.opcode == opcode::WRITE && self.serial.count > 3 {
            self.write_enabled = false;
        }
        self.serial = Serial::default();
    }

    fn rise(&mut self, bit: bool) {
        let serial = &mut self.serial;
        serial.incoming = serial.incoming << 1 | u8::from(bit);
        serial.bits += 1;
        if serial.bits == 8 {
            serial.bits = 0;
            let byte = serial.incoming;
            self.take(byte);
        }
    }

    fn fall(&mut self) {
        self.serial.out = self.serial.outgoing & 0x80 != 0;
        self.serial.outgoing <<= 1;
    }

    /// A byte has come; says what goes out with the next one.
    fn take(&mut self, byte: u8) {
        let serial = &mut self.serial;
        serial.count += 1;
        if serial.count == 1 {
            serial.opcode = byte;
            return self.begin(byte);
        }
        match (serial.opcode, serial.count) {
            (opcode::READ | opcode::WRITE, 2 | 3) => {
                serial.at = serial.at << 8 | usize::from(byte);
                if serial.opcode == opcode::READ && serial.count == 3 {
                    self.give();
                }
            }
            (opcode::READ, _) => self.give(),
            (opcode::WRITE, _) => self.store(byte),
            (opcode::READ_STATUS, _) => self.give_status(),
            _ => {}
        }
    }

    fn begin(&mut self, opcode: u8) {
        match opcode {
            opcode::WRITE_ENABLE => self.write_enabled = true,
            opcode::WRITE_DISABLE | opcode::WRITE_STATUS => self.write_enabled = false,
            opcode::READ_STATUS => self.give_status(),
            _ => {}
        }
    }

    /// It is never busy: a write is done at once.
    fn give_status(&mut self) {
        self.serial.outgoing = if self.write_enabled { STATUS_WEN } else { 0 };
    }

    fn give(&mut self) {
        let at = self.serial.at % self.bytes.len();
        self.serial.outgoing = self.bytes[at];
        self.serial.at = at + 1;
    }

    fn store(&mut self, byte: u8) {
        let at = self.serial.at % self.bytes.len();
        if self.write_enabled {
            self.bytes[at] = byte;
        }
        self.serial.at = at & !(PAGE - 1) | (at + 1) & (PAGE - 1);
    }
}

/// The words as a card's maker would write them (table 6-1). Where the datasheet
/// leaves a word to the maker, it is 0xffff, as erased.
fn image(mac: MacAddress, vectors: u16) -> [u16; WORDS] {
    let [a, b, c, d, e, f] = mac.0;
    let mut words = [0xffff; WORDS];
    words[0] = u16::from_le_bytes([a, b]);
    words[1] = u16::from_le_bytes([c, d]);
    words[2] = u16::from_le_bytes([e, f]);
    for (at, value) in [
        (0x03, 0x0d34),
        // The board's number, as two words.
        (0x08, 0x1040),
        // Init control word 1, ids, and init control word 2.
        (0x0a, 0x002b),
        (0x0b, 0xa03c),
        (0x0c, 0x8086),
        (0x0d, 0x10c9),
        (0x0e, 0x0000),
        (0x0f, 0x70c3),
        (0x11, 0x10c9),
        // 16 Kbit.
        (0x12, 0x5000),
        (0x14, 0x2880),
        // The size of the table of interrupt vectors.
        (0x16, vectors.wrapping_sub(1) << 11 | 0x240),
        (0x1c, 0x0783),
        (0x1f, 0x0602),
        (0x24, 0x2080),
        (0x26, 0x10ca),
    ] {
        words[at] = value;
    }
    let sum = words[..CHECKED - 1]
        .iter()
        .fold(0, |sum: u16, &word| sum.wrapping_add(word));
    words[CHECKED - 1] = CHECKSUM.wrapping_sub(sum);
    words
}
