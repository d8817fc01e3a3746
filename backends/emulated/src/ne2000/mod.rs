//! The NE2000 as a PCI card: Realtek's RTL8029, whose core is National's DP8390.
//!
//! Chapters and sections in the code are of National Semiconductor's *DP8390D/
//! NS32490D NIC Network Interface Controller* (July 1995); what the DP8390 does
//! not have is of Realtek's *RTL8029AS* (LS009.0, January 1997).

mod chip;
mod config;
mod core;
mod memory;
mod ports;
mod regs;
mod remote;
mod rx;
mod tally;
mod tx;

use crate::model::{DeviceModel, ModelCounters, Monitor, Step};
use crate::pci::{AttachError, Identity, PciBus, PciCapabilities, PciFunction};
use chip::Chip;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{BarInfo, BarKind, PciIds};
use softnet_nic_hal::wire::{Wire, WireWaker};
use std::sync::Arc;

/// How an NE2000 is made.
#[derive(Clone, Debug)]
pub struct Ne2000Config {
    /// The station address in its PROM.
    pub mac: MacAddress,
    /// How long a packet's transmission takes, in nanoseconds for each byte: its
    /// status comes so much later. 0: none. A real one has 10 Mbit/s, which is
    /// 800.
    pub transmit_ns_per_byte: u64,
    /// What becomes of frames from the wire that are shorter than Ethernet's
    /// minimum of 60 bytes without FCS. `true`: they are padded, since frames
    /// that software makes lack the padding that a sending MAC would have added.
    /// `false`: they are runts, which the chip takes only if RCR.AR is set.
    pub pad_short_frames: bool,
}

impl Ne2000Config {
    /// A card with that station address, which takes no time to send, and pads
    /// short frames.
    #[must_use]
    pub fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            transmit_ns_per_byte: 0,
            pad_short_frames: true,
        }
    }
}

/// The moving half of an NE2000: the one that talks to a wire.
///
/// Its registers are the [`PciFunction`] that [`attach`](Self::attach) gives
/// along with it: 32 I/O ports in BAR 0, for accesses of 8, 16 and 32 bits. It
/// masters no bus; the driver carries every byte through the data port.
pub struct Ne2000 {
    chip: Arc<Chip>,
}

impl Ne2000 {
    /// Plugs a new card into a bus.
    ///
    /// # Errors
    /// [`AttachError`] when the bus is full.
    pub fn attach(bus: &PciBus, config: &Ne2000Config) -> Result<(PciFunction, Self), AttachError> {
        let (function, chip) =
            bus.attach(&Self::identity(), |port| Arc::new(Chip::new(port, config)))?;
        Ok((function, Self { chip }))
    }

    fn identity() -> Identity {
        let ports = BarInfo {
            kind: BarKind::Io,
            len: 32,
        };
        Identity {
            ids: PciIds {
                vendor: 0x10ec,
                device: 0x8029,
                subsystem_vendor: 0x10ec,
                subsystem: 0x8029,
                class: 0x02_0000,
                revision: 0,
            },
            bars: [Some(ports), None, None, None, None, None],
            capabilities: PciCapabilities::default(),
        }
    }

    /// What the model counted.
    #[must_use]
    pub fn counters(&self) -> ModelCounters {
        self.chip.counters()
    }
}

impl DeviceModel for Ne2000 {
    fn name(&self) -> &'static str {
        "ne2000"
    }

    fn step(&mut self, now_ns: u64, wire: &mut dyn Wire) -> Step {
        self.chip.step(now_ns, wire)
    }

    fn has_work(&self) -> bool {
        self.chip.has_work()
    }

    fn is_present(&self) -> bool {
        self.chip.is_present()
    }

    fn monitor(&self) -> Monitor {
        let chip = Arc::clone(&self.chip);
        Monitor::new(move || chip.counters())
    }

    fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        self.chip.set_waker(waker);
    }

    fn sleep(&self, wait: &mut dyn FnMut()) {
        self.chip.sleep(wait);
    }
}
