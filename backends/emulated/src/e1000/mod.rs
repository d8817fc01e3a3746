//! The Intel 82540EM, after the *PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual* (revision 4.0; "the manual" below).

mod chip;
mod core;
mod delay;
mod eeprom;
mod filter;
mod flow;
mod interrupt;
mod loopback;
mod mmio;
mod phy;
mod regs;
mod rx;
mod stats;
mod tx;

use crate::model::{DeviceModel, ModelCounters, Monitor, Step};
use crate::pci::{AttachError, Identity, PciBus, PciCapabilities, PciFunction};
use chip::Chip;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{BarInfo, BarKind, PciIds};
use softnet_nic_hal::wire::{Wire, WireWaker};
use std::sync::Arc;

/// How an 82540EM is made.
#[derive(Clone, Debug)]
pub struct E1000Config {
    /// The station address in its EEPROM.
    pub mac: MacAddress,
    /// How long autonegotiation takes, in nanoseconds of the device's time.
    pub autoneg_ns: u64,
    /// What becomes of frames from the wire that are shorter than Ethernet's
    /// minimum of 60 bytes without FCS. `true`: they are padded, since frames
    /// that software makes (those of a TAP, say) lack the padding that a sending
    /// MAC would have added. `false`: they are runts, counted in RUC and dropped.
    pub pad_short_frames: bool,
}

impl E1000Config {
    /// A card with that station address. Autonegotiation takes 1 ms (a real one
    /// takes some seconds), and short frames are padded.
    #[must_use]
    pub fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            autoneg_ns: 1_000_000,
            pad_short_frames: true,
        }
    }
}

/// The moving half of an 82540EM: the one that does DMA and talks to a wire.
///
/// Its registers are the [`PciFunction`] that [`attach`](Self::attach) gives
/// along with it. Somebody has to drive it: either the caller, with
/// [`step`](Self::step) and any clock, or a [`DeviceThread`](crate::DeviceThread).
pub struct E1000 {
    chip: Arc<Chip>,
}

impl E1000 {
    /// Plugs a new card into a bus.
    ///
    /// # Errors
    /// [`AttachError`] when the bus is full.
    pub fn attach(bus: &PciBus, config: &E1000Config) -> Result<(PciFunction, Self), AttachError> {
        let (function, chip) =
            bus.attach(&Self::identity(), |port| Arc::new(Chip::new(port, config)))?;
        Ok((function, Self { chip }))
    }

    fn identity() -> Identity {
        let memory = BarInfo {
            kind: BarKind::Memory,
            len: 0x2_0000,
        };
        let ports = BarInfo {
            kind: BarKind::Io,
            len: 64,
        };
        Identity {
            ids: PciIds {
                vendor: 0x8086,
                device: 0x100e,
                subsystem_vendor: 0x8086,
                subsystem: 0x001e,
                class: 0x02_0000,
                revision: 2,
            },
            bars: [Some(memory), None, Some(ports), None, None, None],
            capabilities: PciCapabilities {
                // Where the list begins in the manual's table of the header (section 4.1).
                power_management: Some(0xdc),
                ..PciCapabilities::default()
            },
        }
    }

    /// Does what there is to do at `now_ns`: takes frames from the wire to
    /// memory, interrupts, and sends frames from memory to the wire. Bounded: see
    /// [`Step::again`].
    ///
    /// Interrupt handlers are called on this thread. `now_ns` must not go
    /// backwards.
    pub fn step(&mut self, now_ns: u64, wire: &mut dyn Wire) -> Step {
        self.chip.step(now_ns, wire)
    }

    /// Whether a register write has left the device something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.chip.has_work()
    }

    /// Whether the card is still plugged in.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.chip.is_present()
    }

    /// What the model counted.
    #[must_use]
    pub fn counters(&self) -> ModelCounters {
        self.chip.counters()
    }

    /// Reads the model's counters from elsewhere, while a thread drives it.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        let chip = Arc::clone(&self.chip);
        Monitor::new(move || chip.counters())
    }
}

impl DeviceModel for E1000 {
    fn name(&self) -> &'static str {
        "e1000"
    }

    fn step(&mut self, now_ns: u64, wire: &mut dyn Wire) -> Step {
        self.step(now_ns, wire)
    }

    fn has_work(&self) -> bool {
        self.has_work()
    }

    fn is_present(&self) -> bool {
        self.is_present()
    }

    fn monitor(&self) -> Monitor {
        self.monitor()
    }

    fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        self.chip.set_waker(waker);
    }

    fn sleep(&self, wait: &mut dyn FnMut()) {
        self.chip.sleep(wait);
    }
}
