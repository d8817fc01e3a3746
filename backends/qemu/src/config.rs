//! Configuration space, through the ports 0xcf8 and 0xcfc (PCI Local Bus Specification
//! 3.0, 3.2.2.3.2), and what is found in it.

use crate::qtest::{Line, Width};
use softnet_nic_hal::bus::PciIds;

const CONFIG_ADDRESS: u64 = 0xcf8;
const CONFIG_DATA: u64 = 0xcfc;

/// Offsets of the header's words (6.1).
pub(crate) mod offset {
    pub(crate) const ID: u16 = 0x00;
    pub(crate) const COMMAND: u16 = 0x04;
    pub(crate) const CLASS: u16 = 0x08;
    pub(crate) const BAR0: u16 = 0x10;
    pub(crate) const SUBSYSTEM: u16 = 0x2c;
    pub(crate) const CAPABILITIES: u16 = 0x34;
}

bitflags::bitflags! {
    /// The command register (6.2.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Command: u32 {
        /// Decode I/O space.
        const IO = 1 << 0;
        /// Decode memory space.
        const MEMORY = 1 << 1;
        /// Master the bus.
        const MASTER = 1 << 2;
        /// Keep the interrupt pin quiet.
        const INTX_DISABLE = 1 << 10;
    }
}

/// The status register says that there is a list of capabilities.
const CAPABILITIES_LIST: u32 = 1 << 20;

/// Ids of capabilities (appendix H).
pub(crate) const MSI: u8 = 0x05;
pub(crate) const MSI_X: u8 = 0x11;

/// A function of bus 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u8);

impl Slot {
    fn address(self, offset: u16) -> u64 {
        1 << 31 | u64::from(self.0) << 11 | u64::from(offset & 0xfc)
    }

    /// The word at `offset`. The ports reach the first 256 bytes; what is beyond reads
    /// as all ones.
    pub(crate) fn read(self, line: &mut Line, offset: u16) -> u32 {
        if offset > 0xff {
            return u32::MAX;
        }
        line.port_out(Width::Long, CONFIG_ADDRESS, self.address(offset));
        line.port_in(Width::Long, CONFIG_DATA) as u32
    }

    pub(crate) fn write(self, line: &mut Line, offset: u16, value: u32) {
        if offset <= 0xff {
            line.port_out(Width::Long, CONFIG_ADDRESS, self.address(offset));
            line.port_out(Width::Long, CONFIG_DATA, value.into());
        }
    }

    /// Sets and clears bits of the command register. The error bits of the status
    /// register, which is in the same word, stay as they are.
    pub(crate) fn command(self, line: &mut Line, set: Command, clear: Command) {
        let now = self.read(line, offset::COMMAND) & 0xffff;
        let now = now & !clear.bits() | set.bits();
        self.write(line, offset::COMMAND, now);
    }

    pub(crate) fn ids(self, line: &mut Line) -> Option<PciIds> {
        let id = self.read(line, offset::ID);
        let class = self.read(line, offset::CLASS);
        let subsystem = self.read(line, offset::SUBSYSTEM);
        (id != u32::MAX).then_some(PciIds {
            vendor: id as u16,
            device: (id >> 16) as u16,
            subsystem_vendor: subsystem as u16,
            subsystem: (subsystem >> 16) as u16,
            class: class >> 8,
            revision: class as u8,
        })
    }

    /// Where the capability begins.
    pub(crate) fn capability(self, line: &mut Line, id: u8) -> Option<u16> {
        if self.read(line, offset::COMMAND) & CAPABILITIES_LIST == 0 {
            return None;
        }
        let mut at = self.read(line, offset::CAPABILITIES) as u8 & !3;
        // A list is no longer than there is room for.
        for _ in 0..48 {
            if at == 0 {
                return None;
            }
            let word = self.read(line, at.into());
            if word as u8 == id {
                return Some(at.into());
            }
            at = (word >> 8) as u8 & !3;
        }
        None
    }
}
