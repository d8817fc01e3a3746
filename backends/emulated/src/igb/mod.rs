//! The Intel 82576, after the *Intel 82576EB Gigabit Ethernet Controller
//! Datasheet* (revision 2.63; "the datasheet" below).
//!
//! What of the chip is not there: virtual functions and their mailboxes, MACsec,
//! IPsec, direct cache access, management traffic, wake-up, the flash, and the
//! filters that look at ports (SYNQF and the 5-tuple filters).

mod chip;
mod clock;
mod core;
mod filter;
mod flow;
mod header_split;
mod interrupt;
mod lane;
mod mmio;
mod nvm;
mod packet;
mod phy;
mod regs;
mod rss;
mod rx;
mod sctp;
mod stamp;
mod stats;
mod store;
mod tx;
mod tx_queue;

use crate::model::{DeviceModel, ModelCounters, Monitor, Step};
use crate::pci::{
    AttachError, Identity, MsiLayout, MsixLayout, PciBus, PciCapabilities, PciFunction,
};
use chip::Chip;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{BarInfo, BarKind, PciIds};
use softnet_nic_hal::wire::{Wire, WireWaker};
use std::sync::Arc;

/// How an 82576 is made.
#[derive(Clone, Debug)]
pub struct IgbConfig {
    /// The station address in its EEPROM.
    pub mac: MacAddress,
    /// Queues of each direction that can be switched on, 1 to 16. The chip has 16.
    pub queues: usize,
    /// Vectors of its MSI-X table, 1 to 25, which the EEPROM of a card says.
    pub vectors: u16,
    /// How long autonegotiation takes, in nanoseconds of the device's time.
    pub autoneg_ns: u64,
    /// What becomes of frames from the wire that are shorter than Ethernet's
    /// minimum of 60 bytes without FCS. `true`: they are padded, since frames
    /// that software makes (those of a TAP, say) lack the padding that a sending
    /// MAC would have added. `false`: they are runts, counted in RUC and dropped.
    pub pad_short_frames: bool,
}

impl IgbConfig {
    /// A card with that station address: 16 queues, 10 vectors (as Intel's own
    /// EEPROM has it). Autonegotiation takes 1 ms (a real one takes some seconds),
    /// and short frames are padded.
    #[must_use]
    pub fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            queues: regs::QUEUES,
            vectors: 10,
            autoneg_ns: 1_000_000,
            pad_short_frames: true,
        }
    }

    fn queues(&self) -> usize {
        self.queues.clamp(1, regs::QUEUES)
    }

    fn vectors(&self) -> u16 {
        self.vectors.clamp(1, interrupt::VECTORS as u16)
    }
}

/// The moving half of an 82576: the one that does DMA and talks to a wire.
///
/// Its registers are the [`PciFunction`] that [`attach`](Self::attach) gives
/// along with it. Somebody has to drive it: either the caller, with
/// [`step`](Self::step) and any clock, or a [`DeviceThread`](crate::DeviceThread).
pub struct Igb {
    chip: Arc<Chip>,
}

impl Igb {
    /// Plugs a new card into a bus.
    ///
    /// # Errors
    /// [`AttachError`] when the bus is full.
    pub fn attach(bus: &PciBus, config: &IgbConfig) -> Result<(PciFunction, Self), AttachError> {
        let (function, chip) =
            bus.attach(&identity(config), |port| Arc::new(Chip::new(port, config)))?;
        Ok((function, Self { chip }))
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
        self.chip.doorbell.is_rung()
    }

    /// Whether the card is still plugged in.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.chip.is_present()
    }

    /// What the model counted.
    #[must_use]
    pub fn counters(&self) -> ModelCounters {
        self.chip.counters.values()
    }

    /// Reads the model's counters from elsewhere, while a thread drives it.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        let chip = Arc::clone(&self.chip);
        Monitor::new(move || chip.counters.values())
    }
}

impl DeviceModel for Igb {
    fn name(&self) -> &'static str {
        "igb"
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
        self.chip.doorbell.sleep(wait);
    }
}

/// The function as its configuration space shows it (section 9).
fn identity(config: &IgbConfig) -> Identity {
    let bar = |kind, len| Some(BarInfo { kind, len });
    Identity {
        ids: PciIds {
            vendor: 0x8086,
            device: 0x10c9,
            subsystem_vendor: 0x8086,
            subsystem: 0xa03c,
            class: 0x02_0000,
            revision: 1,
        },
        bars: [
            bar(BarKind::Memory, 0x2_0000),
            bar(BarKind::Memory, 0x2_0000),
            bar(BarKind::Io, 32),
            bar(BarKind::Memory, 0x4000),
            None,
            None,
        ],
        capabilities: PciCapabilities {
            power_management: Some(0x40),
            msi: Some(MsiLayout {
                at: 0x50,
                vectors: 1,
            }),
            msix: Some(MsixLayout {
                at: 0x70,
                vectors: config.vectors(),
                bar: 3,
                table: 0,
                pba: 0x2000,
            }),
            express: Some(0xa0),
            advanced_features: None,
        },
    }
}
