//! The type 0 header of configuration space (PCI Local Bus Specification 2.2,
//! chapter 6).

use super::bus::Identity;
use super::list::{CapabilityList, Caused};
use super::messages::MsixControl;
use super::vector::Route;
use bitflags::bitflags;
use softnet_nic_hal::bus::{BarInfo, BarKind, IrqMode, PciIds};
use softnet_nic_hal::irq::Irq;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

bitflags! {
    /// The command register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answer I/O port accesses.
        const IO = 1;
        /// Answer memory accesses.
        const MEMORY = 1 << 1;
        /// Master the bus.
        const MASTER = 1 << 2;
        /// Use memory write and invalidate.
        const INVALIDATE = 1 << 4;
        /// Respond to parity errors.
        const PARITY = 1 << 6;
        /// Drive SERR#.
        const SERR = 1 << 8;
        /// Keep the interrupt pin quiet.
        const INTX_DISABLE = 1 << 10;
    }

    /// What the function may do now, by all of its configuration space together.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Live: u32 {
        /// Answer I/O port accesses.
        const IO = 1;
        /// Answer memory accesses.
        const MEMORY = 1 << 1;
        /// Do DMA.
        const MASTER = 1 << 2;
        /// Assert the pin.
        const INTX = 1 << 3;
        /// Send messages of MSI.
        const MSI = 1 << 4;
        /// Send messages of MSI-X.
        const MSIX = 1 << 5;
    }

    /// The status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u16 {
        /// The interrupt pin is asserted.
        const INTERRUPT = 1 << 3;
        /// There is a capability list.
        const CAPABILITIES = 1 << 4;
        /// 66 MHz capable.
        const MHZ66 = 1 << 5;
        /// A master's access ended without a target.
        const RECEIVED_MASTER_ABORT = 1 << 13;
    }
}

/// Offsets of the header's words.
pub(super) mod offset {
    pub(in crate::pci) const ID: u16 = 0x00;
    pub(in crate::pci) const COMMAND: u16 = 0x04;
    pub(in crate::pci) const CLASS: u16 = 0x08;
    pub(in crate::pci) const CACHE_LINE: u16 = 0x0c;
    pub(in crate::pci) const BAR0: u16 = 0x10;
    pub(in crate::pci) const BAR5: u16 = 0x24;
    pub(in crate::pci) const SUBSYSTEM: u16 = 0x2c;
    pub(in crate::pci) const CAPABILITIES: u16 = 0x34;
    pub(in crate::pci) const INTERRUPT: u16 = 0x3c;
}

/// One function's configuration space. All words are atomics: each access is of
/// one word, and nothing spans two.
pub(super) struct ConfigSpace {
    ids: PciIds,
    bars: [Bar; 6],
    command: AtomicU16,
    status: AtomicU16,
    cache_line: AtomicU32,
    interrupt_line: AtomicU32,
    pub(super) list: CapabilityList,
}

struct Bar {
    info: Option<BarInfo>,
    base: AtomicU32,
}

impl Bar {
    fn new(info: Option<BarInfo>, index: usize, slot: usize) -> Self {
        let place = (slot * 6 + index) as u32;
        let base = match info {
            None => 0,
            Some(BarInfo {
                kind: BarKind::Memory,
                len,
            }) => 0xf000_0000 + place * len.max(0x2_0000),
            Some(BarInfo {
                kind: BarKind::Io,
                len,
            }) => 0xc000 + place * len,
        };
        let base = AtomicU32::new(base & Self::mask(info));
        Self { info, base }
    }

    /// The address bits that the register has.
    fn mask(info: Option<BarInfo>) -> u32 {
        info.map_or(0, |bar| !(bar.len.next_power_of_two().max(16) - 1))
    }

    fn read(&self) -> u32 {
        let io = self.info.is_some_and(|bar| bar.kind == BarKind::Io);
        self.base.load(Ordering::Relaxed) | u32::from(io)
    }

    /// All ones written read back as the size mask: that is how a bus sizes it.
    fn write(&self, value: u32) {
        let value = value & Self::mask(self.info);
        self.base.store(value, Ordering::Relaxed);
    }
}

impl ConfigSpace {
    pub(super) fn new(identity: &Identity, slot: usize, irq: Irq) -> Self {
        let mut index = 0..;
        Self {
            ids: identity.ids,
            bars: identity
                .bars
                .map(|info| Bar::new(info, index.next().unwrap_or(0), slot)),
            command: AtomicU16::new((Command::IO | Command::MEMORY).bits()),
            status: AtomicU16::new(0),
            cache_line: AtomicU32::new(0),
            interrupt_line: AtomicU32::new(irq.0 & 0xff),
            list: CapabilityList::new(&identity.capabilities),
        }
    }

    /// What the command register, the power state and the message controls let the
    /// function do.
    pub(super) fn live(&self) -> Live {
        let command = self.command();
        if !self.list.is_awake() {
            return Live::empty();
        }
        let mut live = Live::empty();
        live.set(Live::IO, command.contains(Command::IO));
        live.set(Live::MEMORY, command.contains(Command::MEMORY));
        live.set(Live::MASTER, command.contains(Command::MASTER));
        live | self.signals(command)
    }

    /// One way to interrupt, at most. A message is a write, which takes a master.
    fn signals(&self, command: Command) -> Live {
        let master = command.contains(Command::MASTER);
        let masked = || {
            let msix = self.list.msix.as_ref();
            msix.is_some_and(|msix| msix.control().contains(MsixControl::MASK))
        };
        match self.list.irq_mode() {
            IrqMode::Intx if !command.contains(Command::INTX_DISABLE) => Live::INTX,
            IrqMode::Msi if master => Live::MSI,
            IrqMode::MsiX if master && !masked() => Live::MSIX,
            _ => Live::empty(),
        }
    }

    pub(super) fn command(&self) -> Command {
        Command::from_bits_retain(self.command.load(Ordering::Acquire))
    }

    pub(super) fn set_command(&self, bits: Command, on: bool) {
        if on {
            self.command.fetch_or(bits.bits(), Ordering::AcqRel);
        } else {
            self.command.fetch_and(!bits.bits(), Ordering::AcqRel);
        }
    }

    pub(super) fn raise_status(&self, bits: Status) {
        self.status.fetch_or(bits.bits(), Ordering::Relaxed);
    }

    /// The word at `at`; `pin` says whether the interrupt pin is asserted.
    pub(super) fn read(&self, at: u16, pin: bool) -> u32 {
        let ids = &self.ids;
        match at & !3 {
            offset::ID => word(ids.vendor, ids.device),
            offset::COMMAND => word(self.command().bits(), self.status(pin)),
            offset::CLASS => ids.class << 8 | u32::from(ids.revision),
            offset::CACHE_LINE => self.cache_line.load(Ordering::Relaxed),
            at @ offset::BAR0..=offset::BAR5 => self.bar(at).map_or(0, Bar::read),
            offset::SUBSYSTEM => word(ids.subsystem_vendor, ids.subsystem),
            offset::CAPABILITIES => self.list.first().into(),
            // MIN_GNT of 0xff quarter microseconds, and pin INTA#.
            offset::INTERRUPT => 0x00ff_0100 | self.interrupt_line.load(Ordering::Relaxed),
            at => self.list.read(at),
        }
    }

    /// Writes the word at `at`; `due` gets the messages that this has released.
    pub(super) fn write(&self, at: u16, value: u32, due: &mut Vec<Route>) -> Caused {
        match at & !3 {
            offset::COMMAND => {
                let command = Command::from_bits_truncate(value as u16).bits();
                self.command.store(command, Ordering::Release);
                // The error bits of the status register clear when written 1.
                let clear = (value >> 16) as u16 & 0xf900;
                self.status.fetch_and(!clear, Ordering::Relaxed);
            }
            // Cache line size and latency timer; header type and BIST are 0.
            offset::CACHE_LINE => self.cache_line.store(value & 0xffff, Ordering::Relaxed),
            at @ offset::BAR0..=offset::BAR5 => {
                if let Some(bar) = self.bar(at) {
                    bar.write(value);
                }
            }
            offset::INTERRUPT => self.interrupt_line.store(value & 0xff, Ordering::Relaxed),
            at => return self.list.write(at, value, due),
        }
        Caused::Nothing
    }

    /// What a reset of the function leaves: nothing is decoded, nothing enabled.
    pub(super) fn reset(&self) {
        self.command.store(0, Ordering::Release);
        self.status.store(0, Ordering::Relaxed);
        self.cache_line.store(0, Ordering::Relaxed);
        self.interrupt_line.store(0, Ordering::Relaxed);
        for bar in &self.bars {
            bar.write(0);
        }
        self.list.reset();
    }

    fn status(&self, pin: bool) -> u16 {
        let mut status = Status::MHZ66;
        status.set(Status::INTERRUPT, pin);
        status.set(Status::CAPABILITIES, self.list.first() != 0);
        self.status.load(Ordering::Relaxed) | status.bits()
    }

    fn bar(&self, at: u16) -> Option<&Bar> {
        self.bars.get(usize::from((at - offset::BAR0) / 4))
    }
}

fn word(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}
