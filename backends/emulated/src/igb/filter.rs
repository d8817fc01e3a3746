//! Which frames are for this station (section 7.1.1).

use super::regs::{Rctl, Registers, offset};

/// The entry is valid.
pub(super) const RAH_AV: u32 = 1 << 31;
/// Receive address entries.
const ENTRIES: usize = 24;

/// The broadcast address, as [`accept`] gives it.
pub(super) const BROADCAST: u64 = 0xffff_ffff_ffff;

/// Why a frame was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    /// By its address, or because all of its kind are.
    Exact,
    /// Only by the multicast table, which others share: software must look.
    Inexact,
}

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

/// The multicast table: RCTL.MO chooses twelve bits of the address, of which the
/// upper seven name the word and the lower five the bit.
fn in_table(destination: u64, rctl: Rctl, registers: &Registers) -> bool {
    let shift = match rctl.field(Rctl::MO) {
        0 => 36,
        1 => 35,
        2 => 34,
        _ => 32,
    };
    let bits = (destination >> shift) as u32 & 0xfff;
    registers.load(offset::MTA + (bits >> 5) * 4) >> (bits & 31) & 1 != 0
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
