//! Which frames are for this station (section 3.2.1).

use super::regs::{Rctl, Registers, offset};
use crate::filter::{Accept, BROADCAST, RAH_AV, multicast_entry};

/// The address select field of RAH: compare the source address.
const RAH_SOURCE: u32 = 1 << 16;
/// The whole address select field.
const RAH_SELECT: u32 = 3 << 16;

/// The valid entries of the receive address table, taken out of the registers.
#[derive(Clone, Debug, Default)]
pub(super) struct Exact {
    entries: [(u64, bool); 16],
    len: usize,
}

impl Exact {
    pub(super) fn load(registers: &Registers) -> Self {
        let mut exact = Self::default();
        for index in 0..16 {
            let low = registers.load(offset::RAL0 + index * 8);
            let high = registers.load(offset::RAH0 + index * 8);
            let select = high & RAH_SELECT;
            if high & RAH_AV != 0 && (select == 0 || select == RAH_SOURCE) {
                let address = u64::from(high & 0xffff) << 32 | u64::from(low);
                exact.entries[exact.len] = (address, select == RAH_SOURCE);
                exact.len += 1;
            }
        }
        exact
    }

    #[inline]
    fn matches(&self, destination: u64, source: u64) -> bool {
        let mut entries = self.entries[..self.len].iter();
        entries.any(|&(address, by_source)| address == if by_source { source } else { destination })
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
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *frame.first_chunk()?;
    let destination = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    let source = u64::from_le_bytes([g, h, i, j, k, l, 0, 0]);
    let group = destination & 1 != 0;
    let all = if destination == BROADCAST {
        // Not by MPE: 13.4.22 names the exact and the imperfect filters beside it.
        Rctl::BAM
    } else if group {
        Rctl::MPE
    } else {
        Rctl::UPE
    };
    if rctl.intersects(all) || exact.matches(destination, source) {
        return Some((destination, Accept::Exact));
    }
    let listed = group && in_table(destination, rctl, registers);
    listed.then_some((destination, Accept::Inexact))
}

fn in_table(destination: u64, rctl: Rctl, registers: &Registers) -> bool {
    let (word, bit) = multicast_entry(destination, rctl.field(Rctl::MO));
    registers.load(offset::MTA + word * 4) >> bit & 1 != 0
}
