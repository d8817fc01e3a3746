//! The firmware's part: sizes the base address registers, and places them (PCI Local Bus
//! Specification 3.0, 6.2.5).

use crate::QemuError;
use crate::config::{Slot, offset};
use crate::qtest::Line;
use softnet_nic_hal::bus::{BarInfo, BarKind};

/// One that was placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) info: BarInfo,
    pub(crate) base: u64,
}

/// Free address space of the machine, from here on.
#[derive(Debug)]
pub(crate) struct Space {
    memory: u32,
    ports: u32,
}

impl Default for Space {
    /// The hole below 4 GiB, above where the extended configuration space would be and
    /// below the interrupt controllers; and the ports that no chip of a PC has.
    fn default() -> Self {
        Self {
            memory: 0xc000_0000,
            ports: 0xc000,
        }
    }
}

const MEMORY_END: u32 = 0xfe00_0000;
const PORTS_END: u32 = 0x1_0000;

impl Space {
    /// Places all registers of a function.
    pub(crate) fn place(
        &mut self,
        line: &mut Line,
        slot: Slot,
    ) -> Result<[Option<Bar>; 6], QemuError> {
        let mut bars = [None; 6];
        let mut index = 0;
        while let Some(place) = bars.get_mut(index) {
            let at = offset::BAR0 + index as u16 * 4;
            let before = slot.read(line, at);
            slot.write(line, at, u32::MAX);
            let mask = slot.read(line, at);
            let found = describe(mask);
            // The second half of a 64-bit register: all is placed below 4 GiB.
            index += if is_wide(before) { 2 } else { 1 };
            if let Some(info) = found {
                let base = self.take(info)?;
                slot.write(line, at, base);
                if is_wide(before) {
                    slot.write(line, at + 4, 0);
                }
                *place = Some(Bar {
                    info,
                    base: base.into(),
                });
            }
        }
        Ok(bars)
    }

    /// The next place that is aligned to the register's length.
    fn take(&mut self, info: BarInfo) -> Result<u32, QemuError> {
        let (next, end) = match info.kind {
            BarKind::Memory => (&mut self.memory, MEMORY_END),
            BarKind::Io => (&mut self.ports, PORTS_END),
        };
        let base = next.checked_next_multiple_of(info.len);
        let base = base.ok_or(QemuError::NoRoom(info.len))?;
        *next = base
            .checked_add(info.len)
            .filter(|&after| after <= end)
            .ok_or(QemuError::NoRoom(info.len))?;
        Ok(base)
    }
}

/// What a register is, by what it reads as after all ones were written to it.
fn describe(mask: u32) -> Option<BarInfo> {
    let (kind, bits) = if mask & 1 == 1 {
        // The upper half may not be there.
        (BarKind::Io, mask & !3 | 0xffff_0000)
    } else {
        (BarKind::Memory, mask & !15)
    };
    let len = (!bits).wrapping_add(1);
    (mask != 0 && mask != u32::MAX && len != 0).then_some(BarInfo { kind, len })
}

/// Whether the register takes two words.
const fn is_wide(value: u32) -> bool {
    value & 0b111 == 0b100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_sized_by_their_mask() {
        let bar = |kind, len| Some(BarInfo { kind, len });
        assert_eq!(describe(0xfffe_0000), bar(BarKind::Memory, 0x2_0000));
        assert_eq!(describe(0xffff_c004), bar(BarKind::Memory, 0x4000));
        assert_eq!(describe(0xffff_ffc1), bar(BarKind::Io, 64));
        assert_eq!(describe(0xffff_ff01), bar(BarKind::Io, 256));
        assert_eq!(describe(0x0000_ffe1), bar(BarKind::Io, 32));
        assert_eq!(describe(0), None);
        assert_eq!(describe(u32::MAX), None);
    }

    #[test]
    fn places_are_aligned_and_end() {
        let mut space = Space::default();
        let mut take = |kind, len| space.take(BarInfo { kind, len }).ok();
        assert_eq!(take(BarKind::Memory, 0x1000), Some(0xc000_0000));
        assert_eq!(take(BarKind::Memory, 0x2_0000), Some(0xc002_0000));
        assert_eq!(take(BarKind::Io, 32), Some(0xc000));
        assert_eq!(take(BarKind::Io, 256), Some(0xc100));
        assert_eq!(take(BarKind::Io, 0x4000), None);
        assert_eq!(take(BarKind::Memory, 0x8000_0000), None);
    }
}
