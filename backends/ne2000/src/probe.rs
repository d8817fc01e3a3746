//! Binding the driver to a function.

use crate::chip::{Chip, DataPort, PORT_BAR, ResetTimeout};
use crate::core::Core;
use crate::layout::{self, Layout};
use crate::regs::{self, Cr};
use crate::shared::Shared;
use alloc::sync::Arc;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{BarKind, BusError, PciDevice, PciIdMatch, PciIds};

/// NE2000s on PCI: Realtek's RTL8029, and chips that are compatible with it.
pub static ID_TABLE: &[PciIdMatch] = &[
    id(0x10ec, 0x8029), // Realtek RTL8029, RTL8029AS
    id(0x1050, 0x0940), // Winbond W89C940
    id(0x1050, 0x5a5a), // Winbond W89C940F
    id(0x11f6, 0x1401), // Compex RL2000
    id(0x8e2e, 0x3000), // KTI ET32P2
    id(0x4a14, 0x5000), // NetVin NV5000SC
    id(0x10bd, 0x0e34), // SureCom NE34
    id(0x1106, 0x0926), // VIA VT86C926
    id(0x12c3, 0x0058), // Holtek HT80232
];

/// Of these, the ones whose data port takes 16 bits at a time only.
const WORD_ONLY: [PciIdMatch; 2] = [id(0x1106, 0x0926), id(0x12c3, 0x0058)];

const fn id(vendor: u16, device: u16) -> PciIdMatch {
    PciIdMatch { vendor, device }
}

/// Words of the PROM that are read.
pub(crate) const PROM_WORDS: usize = 16;

/// Why the driver could not be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The function is none of [`ID_TABLE`].
    #[error("{vendor:04x}:{device:04x} is not a device of this driver", vendor = .0.vendor, device = .0.device)]
    NotSupported(PciIds),
    /// The device does not answer.
    #[error("the device does not answer")]
    Gone,
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Behind the ports is no DP8390: a tally counter is not cleared by reading.
    #[error("there is no DP8390 behind the ports")]
    NoCore,
    /// The device did not come out of its reset.
    #[error("the device did not come out of its reset")]
    ResetTimeout,
    /// The PROM does not hold a station address.
    #[error("the PROM's {0} is not a station address")]
    BadAddress(MacAddress),
    /// The packet memory does not keep what is written to it.
    #[error("the card's memory does not keep what is written to it")]
    NoMemory,
}

impl From<ResetTimeout> for ProbeError {
    fn from(_: ResetTimeout) -> Self {
        Self::ResetTimeout
    }
}

/// What a probe has found.
pub(crate) struct Found<P: PciDevice> {
    pub(crate) shared: Shared<P>,
    pub(crate) mac: MacAddress,
    pub(crate) prom: [u16; PROM_WORDS],
    pub(crate) full_duplex: bool,
}

pub(crate) fn probe<P: PciDevice>(device: Arc<P>) -> Result<Found<P>, ProbeError> {
    let ids = device.ids();
    if !ID_TABLE.iter().any(|line| line.matches(&ids)) {
        return Err(ProbeError::NotSupported(ids));
    }
    let ports = device.bar(PORT_BAR);
    if !ports.is_some_and(|bar| bar.kind == BarKind::Io && bar.len >= regs::PORTS) {
        return Err(BusError::NoBar(PORT_BAR).into());
    }
    // It never masters the bus.
    device.set_bus_master(false);
    let port = match WORD_ONLY.iter().any(|line| line.matches(&ids)) {
        true => DataPort::Word,
        false => DataPort::Long,
    };
    set_up(Chip { device, port })
}

fn set_up<P: PciDevice>(chip: Chip<P>) -> Result<Found<P>, ProbeError> {
    if chip.is_gone() {
        return Err(ProbeError::Gone);
    }
    if !has_core(&chip) {
        return Err(ProbeError::NoCore);
    }
    chip.reset()?;
    chip.prepare();
    let prom = read_prom(&chip);
    let mac = station_address(prom);
    if !mac.is_unicast() {
        return Err(ProbeError::BadAddress(mac));
    }
    let layout = Layout::new(find_memory(&chip)?);
    let full_duplex = is_full_duplex(&chip);
    chip.stop();
    Ok(Found {
        shared: Shared::new(chip, Core::new(layout)),
        mac,
        prom,
        full_duplex,
    })
}

/// Whether a register that is written on page 1 and a counter on page 0 are two
/// things, and the counter is cleared by reading, as a DP8390's is.
fn has_core<P: PciDevice>(chip: &Chip<P>) -> bool {
    let [counter, ..] = regs::CNTR;
    chip.on_page(Cr::STOP, Cr::PAGE1, || chip.write(counter, u8::MAX));
    chip.read(counter);
    chip.read(counter) == 0
}

/// Reads the PROM, word by word: how wide the data port is does not matter then.
fn read_prom<P: PciDevice>(chip: &Chip<P>) -> [u16; PROM_WORDS] {
    let mut bytes = [0; 2 * PROM_WORDS];
    let port = DataPort::Word;
    let narrow = Chip {
        port,
        ..chip.clone()
    };
    narrow.read_memory(0, &mut bytes);
    let mut words = [0; PROM_WORDS];
    for (word, pair) in words.iter_mut().zip(bytes.chunks_exact(2)) {
        *word = u16::from_le_bytes([pair[0], pair[1]]);
    }
    words
}

/// The PROM is 8 bits wide. On a 16-bit card each of its bytes comes twice, on
/// both halves of a word; on an 8-bit card the bytes follow one another.
fn station_address(prom: [u16; PROM_WORDS]) -> MacAddress {
    let mut words = prom.iter().map(|word| word.to_le_bytes());
    let doubled = words.all(|[low, high]| low == high);
    let mut mac = [0; 6];
    let halves = prom.iter().flat_map(|word| word.to_le_bytes());
    let step = if doubled { 2 } else { 1 };
    for (byte, from) in mac.iter_mut().zip(halves.step_by(step)) {
        *byte = from;
    }
    MacAddress(mac)
}

/// Where the packet memory ends: behind 32 KiB, if the second half keeps
/// something else than the first.
fn find_memory<P: PciDevice>(chip: &Chip<P>) -> Result<u8, ProbeError> {
    let first = u16::from(layout::FIRST) << 8;
    let second = u16::from(layout::STOP_16K) << 8;
    let (here, there) = ([0x55, 0xaa, 0x12, 0x34], [0xc3, 0x3c, 0x56, 0x78]);
    let keeps = |address, pattern: [u8; 4]| {
        let mut bytes = [0; 4];
        chip.read_memory(address, &mut bytes);
        bytes == pattern
    };
    let written = chip.write_memory(first, &here, 0).is_ok();
    if !written || !keeps(first, here) {
        return Err(ProbeError::NoMemory);
    }
    let written = chip.write_memory(second, &there, 0).is_ok();
    if written && keeps(second, there) && keeps(first, here) {
        Ok(layout::STOP_32K)
    } else {
        Ok(layout::STOP_16K)
    }
}

/// The RTL8029 says on its own page of registers whether it was set up for full
/// duplex; the others have half duplex.
fn is_full_duplex<P: PciDevice>(chip: &Chip<P>) -> bool {
    let id = regs::ID_8029.map(|register| chip.read(register));
    id == *b"PC"
        && chip.on_page(Cr::RUN, Cr::PAGE3, || {
            chip.read(regs::CONFIG3) & regs::CONFIG3_FUDUP != 0
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_doubled_and_in_a_plain_prom() {
        let mac = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let mut doubled = [0x5757; PROM_WORDS];
        for (word, byte) in doubled.iter_mut().zip(mac.0) {
            *word = u16::from_le_bytes([byte, byte]);
        }
        assert_eq!(station_address(doubled), mac);
        let mut plain = [0; PROM_WORDS];
        plain[..3].copy_from_slice(&[0x5452, 0x1200, 0x5634]);
        assert_eq!(station_address(plain), mac);
    }
}
