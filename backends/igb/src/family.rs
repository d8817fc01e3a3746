//! The chips that this driver is for, and how they differ.

use softnet_nic_hal::bus::{PciIdMatch, PciIds};

const INTEL: u16 = 0x8086;

const fn intel(device: u16) -> PciIdMatch {
    PciIdMatch {
        vendor: INTEL,
        device,
    }
}

/// The 82576 with a copper PHY, and the I210 with a copper PHY and a flash. The
/// variants for fibre and backplanes have no PHY behind MDIC, and the I210
/// without a flash has no EEPROM words: they are not in the table.
pub static ID_TABLE: &[PciIdMatch] = &[
    intel(0x10c9), // 82576
    intel(0x10e8), // 82576, quad port
    intel(0x1526), // 82576, quad port, ET2
    intel(0x150a), // 82576NS
    intel(0x1533), // I210
];

/// Which kind of chip it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    I82576,
    I210,
}

impl Family {
    /// The family of a function, when it is one of [`ID_TABLE`].
    pub(crate) fn of(ids: &PciIds) -> Option<Self> {
        let known = ID_TABLE.iter().any(|line| line.matches(ids));
        known.then_some(match ids.device {
            0x1533 => Self::I210,
            _ => Self::I82576,
        })
    }

    /// How many queues it has in each direction.
    pub(crate) const fn queues(self) -> u16 {
        match self {
            Self::I82576 => 16,
            Self::I210 => 4,
        }
    }

    /// Which byte of the vector allocation registers is a receive queue's; its
    /// transmit queue's is the next (82576: 7.3.1.2; I210: 7.3.2.3). The 82576
    /// has queues n and n + 8 in one word, the I210 queues 2n and 2n + 1.
    pub(crate) const fn ivar_entry(self, queue: u16) -> usize {
        let queue = queue as usize;
        match self {
            Self::I82576 => queue % 8 * 4 + queue / 8 * 2,
            Self::I210 => queue * 2,
        }
    }

    /// Whether its clock and stamps are those of the 82576.
    pub(crate) const fn has_timestamps(self) -> bool {
        matches!(self, Self::I82576)
    }
}
