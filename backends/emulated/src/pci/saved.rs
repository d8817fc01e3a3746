//! What of configuration space outlives a reset, as the operating system saves it.

use super::config::{Command, offset};
use super::function::PciFunction;
use super::messages::Part;
use softnet_nic_hal::bus::PciDevice;

/// A function's header, and how it sends messages.
pub(super) struct Saved {
    words: Vec<(u16, u32)>,
    messages: Vec<(u16, u32)>,
    table: Vec<(Part, u32)>,
}

/// The words of the header that a reset clears, with the command register last, as
/// it lets the function do things again.
const WORDS: [u16; 9] = [
    offset::CACHE_LINE,
    offset::BAR0,
    offset::BAR0 + 4,
    offset::BAR0 + 8,
    offset::BAR0 + 12,
    offset::BAR0 + 16,
    offset::BAR5,
    offset::INTERRUPT,
    offset::COMMAND,
];

impl Saved {
    pub(super) fn of(function: &PciFunction) -> Self {
        let port = function.port();
        let read = |at| (at, function.config_read32(at));
        let list = &port.config.list;
        let table = list.msix.iter().flat_map(|msix| msix.parts());
        let mut messages = Vec::new();
        if let Some(msi) = &list.msi {
            // The control word comes last.
            messages.extend([16, 12, 8, 4, 0].map(|word| read(u16::from(msi.layout.at) + word)));
        }
        messages.extend(list.msix.iter().map(|msix| read(msix.layout.at.into())));
        Self {
            words: WORDS.map(read).into(),
            messages,
            table: table.map(|part| (part, port.table_read(part))).collect(),
        }
    }

    /// Puts everything back. Nothing is sent before bus mastering is on again.
    pub(super) fn restore(self, function: &PciFunction) {
        for (part, value) in self.table {
            function.port().table_write(part, value);
        }
        for (at, value) in self.messages.into_iter().chain(self.words) {
            // The upper half of the command's word is the status register, of which
            // a 1 would clear a bit.
            let mask = if at == offset::COMMAND {
                Command::all().bits().into()
            } else {
                u32::MAX
            };
            function.config_write32(at, value & mask);
        }
    }
}
