//! What the address filters of Intel's chips have in common.

/// The entry of the receive address table is valid.
pub(crate) const RAH_AV: u32 = 1 << 31;

/// The broadcast address, its first byte on the wire lowest.
pub(crate) const BROADCAST: u64 = 0xffff_ffff_ffff;

/// Why a frame was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// By its address, or because all of its kind are.
    Exact,
    /// Only by the multicast table, which others share: software must look.
    Inexact,
}

/// Where in the multicast table an address is: the word, and the bit in it. RCTL.MO,
/// the `offset`, chooses twelve bits of the address, of which the upper seven name
/// the word and the lower five the bit.
pub(crate) fn multicast_entry(destination: u64, offset: u32) -> (u32, u32) {
    let shift = match offset {
        0 => 36,
        1 => 35,
        2 => 34,
        _ => 32,
    };
    let bits = (destination >> shift) as u32 & 0xfff;
    (bits >> 5, bits & 31)
}
