//! The capability list of configuration space (*PCI Local Bus Specification* 3.0,
//! 6.7 and appendix H).

/// Power management.
pub const POWER_MANAGEMENT: u8 = 0x01;
/// Message-signalled interrupts.
pub const MSI: u8 = 0x05;
/// PCI Express.
pub const EXPRESS: u8 = 0x10;
/// Message-signalled interrupts by a table.
pub const MSIX: u8 = 0x11;
/// Advanced features: the function-level reset of conventional PCI.
pub const ADVANCED_FEATURES: u8 = 0x13;

/// Capabilities that fit between the header and the end of the first 256 bytes.
/// Longer lists go round in a circle.
const MOST: usize = 48;

/// All capabilities, as pairs of offset and identifier, in the order of the list.
/// `read` reads the aligned 32-bit word of configuration space at an offset.
pub fn walk(read: impl Fn(u16) -> u32) -> impl Iterator<Item = (u16, u8)> {
    let has_list = read(0) != u32::MAX && read(0x04) >> 20 & 1 != 0;
    let mut next = if has_list { pointer(read(0x34)) } else { 0 };
    let step = core::iter::from_fn(move || {
        let at = next;
        if at < 0x40 {
            return None;
        }
        let header = read(at);
        next = pointer(header >> 8);
        Some((at, header as u8))
    });
    step.take(MOST)
}

/// The offset of the first capability of that identifier.
pub fn find(read: impl Fn(u16) -> u32, id: u8) -> Option<u16> {
    walk(read).find_map(|(at, found)| (found == id).then_some(at))
}

/// The lowest two bits of a pointer are reserved.
fn pointer(bits: u32) -> u16 {
    (bits & 0xfc) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A configuration space of these words; all others are 0.
    fn of<'a>(words: &'a [(u16, u32)]) -> impl Fn(u16) -> u32 + 'a {
        |at| {
            words
                .iter()
                .find(|(word, _)| *word == at)
                .map_or(0, |w| w.1)
        }
    }

    const HEADER: [(u16, u32); 2] = [(0x04, 1 << 20), (0x34, 0x41)];

    #[test]
    fn the_list_is_walked_in_its_order() {
        let words = [
            HEADER[0],
            HEADER[1],
            (0x40, 0x7001),
            (0x70, 0x5011),
            (0x50, 0x05),
        ];
        let found: Vec<_> = walk(of(&words)).collect();
        assert_eq!(found, [(0x40, 1), (0x70, 0x11), (0x50, 5)]);
        assert_eq!(find(of(&words), MSIX), Some(0x70));
        assert_eq!(find(of(&words), EXPRESS), None);
    }

    #[test]
    fn a_list_in_a_circle_ends() {
        let words = [HEADER[0], HEADER[1], (0x40, 0x4001)];
        assert_eq!(find(of(&words), MSI), None);
    }

    #[test]
    fn without_the_status_bit_there_is_no_list() {
        let words = [(0x34, 0x40), (0x40, 5)];
        assert_eq!(find(of(&words), MSI), None);
    }

    #[test]
    fn a_function_that_is_gone_has_none() {
        assert_eq!(find(|_| u32::MAX, 0xff), None);
    }
}
