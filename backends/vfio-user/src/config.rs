//! Configuration space, as a client reads and writes it: any bytes of it. What is
//! behind it takes aligned words of 32 bits.

use softnet_nic_hal::bus::PciDevice;

/// Capability numbers (*PCI Code and ID Assignment*, section 2).
mod capability {
    pub(super) const POWER_MANAGEMENT: u8 = 0x01;
    pub(super) const MSI: u8 = 0x05;
    pub(super) const EXPRESS: u8 = 0x10;
    pub(super) const MSIX: u8 = 0x11;
    pub(super) const ADVANCED_FEATURES: u8 = 0x13;
}

const COMMAND: u16 = 0x04;
const CAPABILITIES: u16 = 0x34;
const INTERRUPT: u16 = 0x3c;
const INTX_DISABLE: u32 = 1 << 10;
const INTERRUPT_STATUS: u32 = 1 << 19;
const CAPABILITY_LIST: u32 = 1 << 20;

/// The part of a BAR that MSI-X takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MsixArea {
    pub(crate) bar: u8,
    /// Offsets in the BAR.
    pub(crate) bytes: std::ops::Range<u64>,
}

/// What a function's configuration space says of it, and how its words are written.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Vectors of each kind that the function has; 0 if it has none.
    pub(crate) intx: u16,
    pub(crate) msi: u16,
    pub(crate) msix: u16,
    /// Where the table and the pending bits are.
    pub(crate) msix_areas: Vec<MsixArea>,
    /// Bytes of configuration space.
    pub(crate) len: u64,
    /// Bits, by word, that writing a 1 clears.
    write_one_clears: Vec<(u16, u32)>,
    /// Bits, by word, that are not the client's to write: it has vectors switched on
    /// and off by requests, and this side has the function's messages in hand.
    kept: Vec<(u16, u32)>,
    /// The bit that resets the function, by word.
    reset: Option<(u16, u32)>,
}

impl Layout {
    /// Reads the header and the capability list.
    pub(crate) fn of<D: PciDevice>(device: &D) -> Self {
        let pin = device.config_read32(INTERRUPT) >> 8 & 0xff;
        let mut layout = Self {
            intx: u16::from(pin != 0),
            len: 256,
            // The status register's error bits.
            write_one_clears: vec![(COMMAND, 0xf900_0000)],
            ..Self::default()
        };
        for (at, id) in capabilities(device) {
            layout.note(device, at, id);
        }
        layout
    }

    fn note<D: PciDevice>(&mut self, device: &D, at: u16, id: u8) {
        let first = device.config_read32(at);
        match id {
            capability::POWER_MANAGEMENT => self.write_one_clears.push((at + 4, 1 << 15)),
            capability::MSI => {
                self.msi = 1 << (first >> 17 & 7);
                self.kept.push((at, u32::MAX));
            }
            capability::MSIX => self.note_msix(device, at, first),
            capability::EXPRESS => {
                self.len = 4096;
                // Error bits of the device and link status registers.
                self.write_one_clears.push((at + 0x08, 0x000f_0000));
                self.write_one_clears.push((at + 0x10, 0xc000_0000));
                self.reset = Some((at + 0x08, 1 << 15));
            }
            capability::ADVANCED_FEATURES => self.reset = Some((at + 4, 1)),
            _ => {}
        }
    }

    fn note_msix<D: PciDevice>(&mut self, device: &D, at: u16, first: u32) {
        self.msix = (first >> 16 & 0x7ff) as u16 + 1;
        self.kept.push((at, u32::MAX));
        let vectors = u64::from(self.msix);
        let lengths = [(at + 4, vectors * 16), (at + 8, vectors.div_ceil(64) * 8)];
        for (word, len) in lengths {
            let place = device.config_read32(word);
            let start = u64::from(place & !7);
            self.msix_areas.push(MsixArea {
                bar: (place & 7) as u8,
                bytes: start..start + len,
            });
        }
    }

    /// The bits of the word that writing a 1 clears, of those that a client's write to
    /// other bytes of the word must not touch.
    fn write_one_clears(&self, word: u16) -> u32 {
        bits(&self.write_one_clears, word)
    }

    /// Reads bytes; `None` where they are not all in configuration space.
    pub(crate) fn read<D: PciDevice>(
        &self,
        device: &D,
        offset: u64,
        data: &mut [u8],
    ) -> Option<()> {
        let offset = self.inside(offset, data.len())?;
        for (byte, at) in data.iter_mut().zip(offset..) {
            // A client reads all of it once, and single registers afterwards, so a
            // word that is read four times costs nothing that counts.
            let word = device.config_read32(at & !3);
            *byte = word.to_le_bytes()[usize::from(at & 3)];
        }
        Some(())
    }

    /// Writes bytes, as words; returns what became of it. `None` where they are not all
    /// in configuration space.
    pub(crate) fn write<D: PciDevice>(
        &self,
        device: &D,
        offset: u64,
        data: &[u8],
    ) -> Option<Written> {
        let first = self.inside(offset, data.len())?;
        let mut written = Written::Done;
        let mut at = first;
        let mut left = data;
        while !left.is_empty() {
            let in_word = usize::from(4 - (at & 3)).min(left.len());
            let (part, rest) = left.split_at(in_word);
            if self.write_word(device, at, part) == Written::Reset {
                written = Written::Reset;
            }
            at = at.wrapping_add(in_word as u16);
            left = rest;
        }
        Some(written)
    }

    /// Writes bytes that lie in one word.
    fn write_word<D: PciDevice>(&self, device: &D, at: u16, part: &[u8]) -> Written {
        let word = at & !3;
        let old = device.config_read32(word);
        // Bits that the client does not write stay as they are, and a 1 would clear
        // some of those.
        let mut bytes = (old & !self.write_one_clears(word)).to_le_bytes();
        let from = usize::from(at & 3);
        bytes[from..from + part.len()].copy_from_slice(part);
        let kept = bits(&self.kept, word);
        let mut value = u32::from_le_bytes(bytes) & !kept | old & kept;
        let reset = bits(self.reset.as_slice(), word) & value;
        value &= !reset;
        if kept != u32::MAX {
            device.config_write32(word, value);
        }
        if reset == 0 {
            Written::Done
        } else {
            Written::Reset
        }
    }

    fn inside(&self, offset: u64, len: usize) -> Option<u16> {
        let end = offset.checked_add(len as u64)?;
        (end <= self.len).then(|| u16::try_from(offset).ok())?
    }
}

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing more.
    Done,
    /// It asks for a function-level reset, which is left to the caller.
    Reset,
}

/// Whether the pin is asserted, and not switched off.
pub(crate) fn pin_is_asserted<D: PciDevice>(device: &D) -> bool {
    let command = device.config_read32(COMMAND);
    command & INTERRUPT_STATUS != 0 && command & INTX_DISABLE == 0
}

/// Places and numbers of the capabilities. A list that runs in a circle ends.
fn capabilities<D: PciDevice>(device: &D) -> Vec<(u16, u8)> {
    let mut found = Vec::new();
    if device.config_read32(COMMAND) & CAPABILITY_LIST == 0 {
        return found;
    }
    let mut next = device.config_read32(CAPABILITIES) as u8 & !3;
    while next >= 0x40 && found.len() < 48 {
        let at = u16::from(next);
        let [id, after, ..] = device.config_read32(at).to_le_bytes();
        found.push((at, id));
        next = after & !3;
    }
    found
}

fn bits(table: &[(u16, u32)], word: u16) -> u32 {
    let of_word = table.iter().filter(|(at, _)| *at == word);
    of_word.fold(0, |all, (_, bits)| all | bits)
}
