//! Accesses to BARs, of any length, as the aligned accesses that a device takes.

use softnet_nic_hal::bus::PciDevice;

/// Reads bytes of a BAR.
pub(crate) fn read<D: PciDevice>(device: &D, bar: u8, offset: u32, data: &mut [u8]) {
    let mut at = offset;
    let mut left = data;
    while !left.is_empty() {
        let (part, rest) = left.split_at_mut(width(at, left.len()));
        match part.len() {
            4 => part.copy_from_slice(&device.read32(bar, at).to_le_bytes()),
            2 => part.copy_from_slice(&device.read16(bar, at).to_le_bytes()),
            _ => part.fill(device.read8(bar, at)),
        }
        at = at.wrapping_add(part.len() as u32);
        left = rest;
    }
}

/// Writes bytes of a BAR.
pub(crate) fn write<D: PciDevice>(device: &D, bar: u8, offset: u32, data: &[u8]) {
    let mut at = offset;
    let mut left = data;
    while !left.is_empty() {
        let (part, rest) = left.split_at(width(at, left.len()));
        match *part {
            [a, b, c, d] => device.write32(bar, at, u32::from_le_bytes([a, b, c, d])),
            [a, b] => device.write16(bar, at, u16::from_le_bytes([a, b])),
            _ => part.iter().for_each(|&byte| device.write8(bar, at, byte)),
        }
        at = at.wrapping_add(part.len() as u32);
        left = rest;
    }
}

/// The widest access of at most `len` bytes that is aligned there.
fn width(at: u32, len: usize) -> usize {
    if at.is_multiple_of(4) && len >= 4 {
        4
    } else if at.is_multiple_of(2) && len >= 2 {
        2
    } else {
        1
    }
}
