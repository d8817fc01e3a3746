//! Finding functions by configuration space alone, as the kernel of an operating
//! system does (*PCI Local Bus Specification* 3.0, 6.1 and 6.2.5.1).

use super::{BarInfo, BarKind, PciIds, capability};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// Where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// The bus.
    pub bus: u8,
    /// The slot on the bus, 0 to 31.
    pub slot: u8,
    /// The function in the slot, 0 to 7.
    pub function: u8,
}

/// In PCI domain 0, like `0000:00:03.0`.
impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bus,
            slot,
            function,
        } = self;
        write!(f, "0000:{bus:02x}:{slot:02x}.{function}")
    }
}

/// A way to the configuration space of whatever is at an address.
pub trait ConfigAccess {
    /// The aligned 32-bit word at `offset`; all ones where there is no function.
    fn read(&self, at: PciAddress, offset: u16) -> u32;

    /// Writes the aligned 32-bit word at `offset`.
    fn write(&self, at: PciAddress, offset: u16, value: u32);
}

/// What configuration space says of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFunction {
    /// Where it is.
    pub address: PciAddress,
    /// What it is.
    pub ids: PciIds,
    /// Its base address registers. One of 64 bits is at the lower of its two
    /// indices; one of 4 GiB or more is left out.
    pub bars: [Option<BarInfo>; 6],
    /// Its capabilities: offset and [identifier](capability), in the order of
    /// their list.
    pub capabilities: Vec<(u16, u8)>,
    /// Its interrupt pin: 1 is INTA#, 0 that it has none.
    pub pin: u8,
}

const ID: u16 = 0x00;
const COMMAND: u16 = 0x04;
const CLASS: u16 = 0x08;
const HEADER_TYPE: u16 = 0x0c;
const BAR0: u16 = 0x10;
const SUBSYSTEM: u16 = 0x2c;
const INTERRUPT: u16 = 0x3c;

/// Bits of the command register that have a function answer to its BARs.
const DECODE: u32 = 3;

/// Walks over all slots of the buses, and over all functions of those slots that say
/// that they have several. While a function's base address registers are sized, it
/// answers to none of them.
pub fn enumerate(access: &impl ConfigAccess, buses: RangeInclusive<u8>) -> Vec<FoundFunction> {
    let slots = buses.flat_map(|bus| (0..32).map(move |slot| (bus, slot)));
    slots
        .flat_map(|(bus, slot)| functions(access, bus, slot))
        .collect()
}

fn functions(access: &impl ConfigAccess, bus: u8, slot: u8) -> Vec<FoundFunction> {
    let at = |function| PciAddress {
        bus,
        slot,
        function,
    };
    let several = access.read(at(0), HEADER_TYPE) >> 23 & 1 != 0;
    let there = access.read(at(0), ID) != u32::MAX;
    let count = if there && several { 8 } else { 1 };
    (0..count)
        .filter_map(|function| look(access, at(function)))
        .collect()
}

fn look(access: &impl ConfigAccess, address: PciAddress) -> Option<FoundFunction> {
    let read = |offset| access.read(address, offset);
    let id = read(ID);
    if matches!(id & 0xffff, 0 | 0xffff) {
        return None;
    }
    // Other headers, those of bridges, have two registers and no subsystem there.
    let plain = read(HEADER_TYPE) >> 16 & 0x7f == 0;
    let subsystem = if plain { read(SUBSYSTEM) } else { 0 };
    let class = read(CLASS);
    Some(FoundFunction {
        address,
        ids: PciIds {
            vendor: id as u16,
            device: (id >> 16) as u16,
            subsystem_vendor: subsystem as u16,
            subsystem: (subsystem >> 16) as u16,
            class: class >> 8,
            revision: class as u8,
        },
        bars: size_all(access, address, if plain { 6 } else { 2 }),
        capabilities: capability::walk(read).collect(),
        pin: (read(INTERRUPT) >> 8) as u8,
    })
}

fn size_all(access: &impl ConfigAccess, at: PciAddress, count: usize) -> [Option<BarInfo>; 6] {
    let mut bars = [None; 6];
    let command = access.read(at, COMMAND) & 0xffff;
    access.write(at, COMMAND, command & !DECODE);
    let mut index = 0;
    while index < count {
        let (bar, registers) = size(access, at, index);
        bars[index] = bar;
        index += registers;
    }
    access.write(at, COMMAND, command);
    bars
}

/// Sizes the register `index`. Returns also how many registers it takes.
fn size(access: &impl ConfigAccess, at: PciAddress, index: usize) -> (Option<BarInfo>, usize) {
    let offset = BAR0 + 4 * index as u16;
    let value = access.read(at, offset);
    if value & 1 != 0 {
        let len = len_of(ones(access, at, offset) | 0xffff_0000, 3);
        return (info(BarKind::Io, len), 1);
    }
    let len = len_of(ones(access, at, offset), 0xf);
    if value >> 1 & 3 != 2 || index == 5 {
        return (info(BarKind::Memory, len), 1);
    }
    let below_4_gib = ones(access, at, offset + 4) == u32::MAX;
    (info(BarKind::Memory, len).filter(|_| below_4_gib), 2)
}

/// What a register reads as after all ones were written. It has its value again
/// then.
fn ones(access: &impl ConfigAccess, at: PciAddress, offset: u16) -> u32 {
    let value = access.read(at, offset);
    access.write(at, offset, u32::MAX);
    let ones = access.read(at, offset);
    access.write(at, offset, value);
    ones
}

/// The lowest address bit that can be set is the length.
fn len_of(ones: u32, flags: u32) -> u32 {
    let address = ones & !flags;
    address & address.wrapping_neg()
}

fn info(kind: BarKind, len: u32) -> Option<BarInfo> {
    (len != 0).then_some(BarInfo { kind, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use core::cell::RefCell;
    use std::string::ToString;

    /// Words of configuration space, and which of their bits can be written.
    #[derive(Default)]
    struct Fake(RefCell<BTreeMap<(PciAddress, u16), (u32, u32)>>);

    impl Fake {
        fn put(&self, at: PciAddress, words: &[(u16, u32, u32)]) {
            for (offset, value, mask) in words {
                self.0.borrow_mut().insert((at, *offset), (*value, *mask));
            }
        }
    }

    impl ConfigAccess for Fake {
        fn read(&self, at: PciAddress, offset: u16) -> u32 {
            let words = self.0.borrow();
            if !words.contains_key(&(at, 0)) {
                return u32::MAX;
            }
            words.get(&(at, offset)).map_or(0, |word| word.0)
        }

        fn write(&self, at: PciAddress, offset: u16, value: u32) {
            if let Some((word, mask)) = self.0.borrow_mut().get_mut(&(at, offset)) {
                *word = *word & !*mask | value & *mask;
            }
        }
    }

    fn at(slot: u8, function: u8) -> PciAddress {
        PciAddress {
            bus: 0,
            slot,
            function,
        }
    }

    #[test]
    fn an_empty_bus_has_no_functions() {
        assert_eq!(enumerate(&Fake::default(), 0..=255), []);
    }

    #[test]
    fn registers_of_each_kind_are_sized_and_keep_their_values() {
        let fake = Fake::default();
        let words = [
            (0x00, 0x10c9_8086, 0),
            (0x04, 0x0010_0007, 0xffff),
            (0x08, 0x0200_0001, 0),
            (0x10, 0xfebc_0000, 0xfffe_0000),
            (0x14, 0x8000_000c, 0xffff_c000),
            (0x18, 0x0000_0001, 0xffff_ffff),
            (0x1c, 0x0000_c001, 0x0000_ffe0),
            (0x20, 0x0000_0004, 0),
            (0x24, 0x0000_0001, 0xffff_ffff),
            (0x2c, 0xa03c_8086, 0),
            (0x34, 0x40, 0),
            (0x3c, 0x0000_010b, 0xff),
            (0x40, 0x0000_0011, 0),
        ];
        fake.put(at(3, 0), &words);
        let before = fake.0.borrow().clone();
        let found = enumerate(&fake, 0..=0);
        assert_eq!(*fake.0.borrow(), before);
        let [card] = &found[..] else {
            panic!("one function: {found:?}");
        };
        let bar = |kind, len| Some(BarInfo { kind, len });
        let expected = [
            bar(BarKind::Memory, 0x2_0000),
            bar(BarKind::Memory, 0x4000),
            None,
            bar(BarKind::Io, 32),
            None,
            None,
        ];
        assert_eq!(card.bars, expected, "of the fifth, 4 GiB or more, none");
        assert_eq!((card.ids.vendor, card.ids.device), (0x8086, 0x10c9));
        assert_eq!((card.ids.class, card.ids.subsystem), (0x02_0000, 0xa03c));
        assert_eq!(card.capabilities, [(0x40, capability::MSIX)]);
        assert_eq!(card.pin, 1);
        assert_eq!(card.address.to_string(), "0000:00:03.0");
    }

    #[test]
    fn further_functions_are_looked_for_where_the_first_says_that_there_are_some() {
        let fake = Fake::default();
        for (slot, header) in [(1, 0x80_0000), (2, 0)] {
            for function in [0, 5] {
                let words = [(0, 0x0001_1234, 0), (0x0c, header, 0)];
                fake.put(at(slot, function), &words);
            }
        }
        let found: Vec<_> = enumerate(&fake, 0..=0)
            .iter()
            .map(|found| found.address)
            .collect();
        assert_eq!(found, [at(1, 0), at(1, 5), at(2, 0)]);
    }
}
