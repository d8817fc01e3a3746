//! Which frames are for this station (section 7.1.1).

use super::regs::{Rctl, Registers, offset};
use crate::filter::{Accept, BROADCAST, RAH_AV, multicast_entry};

/// Receive address entries.
const ENTRIES: usize = 24;

/// The valid entries of the receive address table, taken out of the registers.
#[derive(Clone, Debug)]
pub(super) struct Exact {
    entries: [u64; ENTRIES],
    len: usize,
}

impl Exact {
    pub(super) const NONE: Self = Self {
        entries: [0; ENTRIES],
        len: 0,
    };

    pub(super) fn load(registers: &Registers) -> Self {
        let mut exact = Self::NONE;
        for index in 0..ENTRIES as u32 {
            let at = match index {
                0..16 => offset::RAL0 + index * 8,
                _ => offset::RAL16 + (index - 16) * 8,
            };
            let high = registers.load(at + 4);
            if high & RAH_AV != 0 {
                let low = registers.load(at);
                exact.entries[exact.len] = u64::from(high & 0xffff) << 32 | u64::from(low);
                exact.len += 1;
            }
        }
        exact
    }

    #[inline]
    fn contains(&self, destination: u64) -> bool {
        self.entries[..self.len].contains(&destination)
    }
}

/// Whether the chip takes the frame: its destination (the byte that is first on
/// the wire is the lowest), and why it is taken.
#[inline]
pub(super) fn accept(
    frame: &[u8],
    rctl: Rctl,
    exact: &Exact,
    registers: &Registers,
) -> Option<(u64, Accept)> {
    let [a, b, c, d, e, f] = *frame.first_chunk()?;
    let destination = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    let group = destination & 1 != 0;
    let all = if destination == BROADCAST {
        // Not by MPE, which is for multicast (8.10.1).
        Rctl::BAM
    } else if group {
        Rctl::MPE
    } else {
        Rctl::UPE
    };
    if rctl.intersects(all) || exact.contains(destination) {
        return Some((destination, Accept::Exact));
    }
    let listed = group && in_table(destination, rctl, registers);
    listed.then_some((destination, Accept::Inexact))
}

fn in_table(destination: u64, rctl: Rctl, registers: &Registers) -> bool {
    let (word, bit) = multicast_entry(destination, rctl.field(Rctl::MO));
    registers.load(offset::MTA + word * 4) >> bit & 1 != 0
}

/// Whether the filter table lets a tagged frame through (section 7.4.4).
#[inline]
pub(super) fn accept_vlan(tci: u16, rctl: Rctl, registers: &Registers) -> bool {
    if !rctl.contains(Rctl::VFE) {
        return true;
    }
    // The canonical form indicator, as far as it is looked at.
    let cfi = rctl.contains(Rctl::CFIEN) && (tci & 0x1000 != 0) != rctl.contains(Rctl::CFI);
    let (word, bit) = crate::offload::filter_entry(tci);
    !cfi && registers.load(offset::VFTA + word as u32 * 4) & bit != 0
}
