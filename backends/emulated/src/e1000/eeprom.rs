//! The EEPROM: 64 words behind a Microwire interface (a 93C46), and the two ways
//! to it: EECD bit by bit, EERD by word (chapter 5).

use softnet_nic_hal::MacAddress;

/// Words of the EEPROM.
pub(super) const WORDS: usize = 64;

/// What all words add up to (section 5.6.35).
const CHECKSUM: u16 = 0xbaba;

/// Bits of EECD (section 13.4.3).
pub(super) mod eecd {
    pub(in crate::e1000) const SK: u32 = 1;
    pub(in crate::e1000) const CS: u32 = 1 << 1;
    pub(in crate::e1000) const DI: u32 = 1 << 2;
    pub(in crate::e1000) const DO: u32 = 1 << 3;
    pub(in crate::e1000) const FWE: u32 = 3 << 4;
    pub(in crate::e1000) const REQ: u32 = 1 << 6;
    pub(in crate::e1000) const GNT: u32 = 1 << 7;
    pub(in crate::e1000) const PRES: u32 = 1 << 8;
}

/// Bits of EERD (section 13.4.4).
pub(super) mod eerd {
    pub(in crate::e1000) const START: u32 = 1;
    pub(in crate::e1000) const DONE: u32 = 1 << 4;
}

/// The EEPROM and the state of its serial interface.
#[derive(Clone, Debug)]
pub(super) struct Eeprom {
    words: [u16; WORDS],
    /// The control bits of EECD as they were written last.
    lines: u32,
    eerd: u32,
    state: Serial,
    write_enabled: bool,
}

/// Where the serial interface is in a command. A command is a start bit of 1,
/// two bits of opcode and six of address, each taken at a rising clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serial {
    /// Waiting for the start bit.
    Idle,
    /// `bits` of the eight after it have come.
    Command { bits: u8, value: u8 },
    /// Giving out bits, the highest first, from word to word; `bit` 16 is the
    /// zero that comes before the first word.
    Reading { word: u8, bit: u8 },
    /// Taking a word to write; `None`: into all words.
    Writing {
        word: Option<u8>,
        bits: u8,
        value: u16,
    },
    /// Done, until chip select falls. DO says ready.
    Ready,
}

impl Eeprom {
    pub(super) fn new(mac: MacAddress) -> Self {
        Self {
            words: image(mac),
            lines: 0,
            eerd: 0,
            state: Serial::Idle,
            write_enabled: false,
        }
    }

    /// The station address, if the EEPROM has its signature: 01b in the highest
    /// bits of word 0x0a.
    pub(super) fn mac(&self) -> Option<MacAddress> {
        let [a, b, c, ..] = self.words.map(u16::to_le_bytes);
        let signed = self.words[0x0a] >> 14 == 1;
        signed.then_some(MacAddress([a[0], a[1], b[0], b[1], c[0], c[1]]))
    }

    /// EECD as read: access is granted as soon as it is requested.
    pub(super) fn read_eecd(&self) -> u32 {
        let granted = if self.lines & eecd::REQ != 0 {
            eecd::GNT
        } else {
            0
        };
        let out = if self.data_out() { eecd::DO } else { 0 };
        self.lines | granted | out | eecd::PRES
    }

    /// The pins follow EECD only while access is granted.
    pub(super) fn write_eecd(&mut self, value: u32) {
        let before = self.lines;
        self.lines = value & (eecd::SK | eecd::CS | eecd::DI | eecd::FWE | eecd::REQ);
        if self.lines & eecd::REQ == 0 || self.lines & eecd::CS == 0 {
            self.state = Serial::Idle;
        } else if before & eecd::SK == 0 && self.lines & eecd::SK != 0 {
            self.clock(self.lines & eecd::DI != 0);
        }
    }

    pub(super) fn read_eerd(&self) -> u32 {
        self.eerd
    }

    /// A write of START reads the word at bits 15:8; the address wraps, as the
    /// device takes only six bits of it.
    pub(super) fn write_eerd(&mut self, value: u32) {
        self.eerd = value & 0xff00;
        if value & eerd::START != 0 {
            let word = self.word((value >> 8) as u8);
            self.eerd |= u32::from(word) << 16 | eerd::DONE;
        }
    }

    pub(super) fn word(&self, at: u8) -> u16 {
        self.words[usize::from(at) % WORDS]
    }

    fn data_out(&self) -> bool {
        match self.state {
            Serial::Reading { bit: 16, .. } => false,
            Serial::Reading { word, bit } => self.word(word) >> bit & 1 != 0,
            _ => true,
        }
    }

    fn clock(&mut self, bit: bool) {
        self.state = match self.state {
            Serial::Idle if bit => Serial::Command { bits: 0, value: 0 },
            Serial::Idle => Serial::Idle,
            Serial::Command { bits, value } => self.command(bits + 1, value << 1 | u8::from(bit)),
            Serial::Reading { word, bit: 0 } => Serial::Reading {
                word: word.wrapping_add(1),
                bit: 15,
            },
            Serial::Reading { word, bit } => Serial::Reading { word, bit: bit - 1 },
            Serial::Writing { word, bits, value } => {
                self.write(word, bits + 1, value << 1 | u16::from(bit))
            }
            Serial::Ready => Serial::Ready,
        };
    }

    /// The opcode is in the upper two bits; where it is 00, the upper bits of the
    /// address say which command it is.
    fn command(&mut self, bits: u8, value: u8) -> Serial {
        if bits < 8 {
            return Serial::Command { bits, value };
        }
        let word = value & 0x3f;
        let writing = |word| Serial::Writing {
            word,
            bits: 0,
            value: 0,
        };
        match (value >> 6, word >> 4) {
            (2, _) => return Serial::Reading { word, bit: 16 },
            (1, _) => return writing(Some(word)),
            (0, 1) => return writing(None),
            (3, _) => self.store(Some(word), 0xffff),
            (_, 2) => self.store(None, 0xffff),
            (_, enable) => self.write_enabled = enable == 3,
        }
        Serial::Ready
    }

    fn write(&mut self, word: Option<u8>, bits: u8, value: u16) -> Serial {
        if bits < 16 {
            return Serial::Writing { word, bits, value };
        }
        self.store(word, value);
        Serial::Ready
    }

    fn store(&mut self, word: Option<u8>, value: u16) {
        match word {
            _ if !self.write_enabled => {}
            Some(word) => self.words[usize::from(word) % WORDS] = value,
            None => self.words = [value; WORDS],
        }
    }
}

/// The words as a card's maker would write them (table 5-2). Where the manual
/// leaves a word to the maker, it is 0xffff, as erased.
fn image(mac: MacAddress) -> [u16; WORDS] {
    let [a, b, c, d, e, f] = mac.0;
    let mut words = [0xffff; WORDS];
    words[0] = u16::from_le_bytes([a, b]);
    words[1] = u16::from_le_bytes([c, d]);
    words[2] = u16::from_le_bytes([e, f]);
    words[3] = 0;
    // Init control word 1: the signature 01b in the highest bits, a memory BAR of
    // 32 bits, full duplex (which CTRL begins with), and "load" for the vendor,
    // device and subsystem ids.
    words[0x0a] = 0x6403;
    words[0x0b] = 0x001e;
    words[0x0c] = 0x8086;
    words[0x0d] = 0x100e;
    words[0x0e] = 0x8086;
    // Init control word 2: full duplex, autonegotiation.
    words[0x0f] = 0x3040;
    // What LED 2 and LED 0 show: a link of 100 Mbit/s, and any link.
    words[0x2f] = 0x0602;
    let sum = words[..WORDS - 1]
        .iter()
        .fold(0, |sum: u16, &w| sum.wrapping_add(w));
    words[WORDS - 1] = CHECKSUM.wrapping_sub(sum);
    words
}
