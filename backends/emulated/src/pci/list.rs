//! The capability list of a function's configuration space, from 40h on.

use super::capabilities::PciCapabilities;
use super::messages::{Msi, Msix, MsixControl};
use super::vector::Route;
use softnet_nic_hal::bus::{IrqMode, capability};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

/// All capabilities of a function, with what their registers hold.
pub(super) struct CapabilityList {
    links: Vec<Link>,
    pub(super) msi: Option<Msi>,
    pub(super) msix: Option<Msix>,
    /// PowerState of PMCSR.
    power: AtomicU8,
    /// Device control of PCI Express.
    device_control: AtomicU16,
}

/// One capability's place.
struct Link {
    at: u8,
    id: u8,
    len: u8,
    next: u8,
}

/// What a write has caused beside the change of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Caused {
    /// Nothing.
    #[default]
    Nothing,
    /// The function is to be reset.
    Reset,
}

/// Power states of PMCSR. The two between them do not exist.
const D0: u8 = 0;
const D3_HOT: u8 = 3;

/// Power management capabilities: version 1.1 of the specification, in 18:16.
const PM_VERSION: u32 = 2 << 16;

/// PCI Express: a capability of version 2, of an endpoint.
const EXPRESS_ENDPOINT: u32 = 2 << 16;
/// Device capabilities: payloads of up to 512 bytes, role-based error reporting,
/// and function-level reset.
const DEVICE_CAPABILITIES: u32 = 2 | 1 << 15 | 1 << 28;
/// Device control after a reset: relaxed ordering, no snoop, and read requests of
/// up to 512 bytes.
const DEVICE_CONTROL: u16 = 1 << 4 | 1 << 11 | 2 << 12;
/// Initiate function-level reset.
const DEVICE_CONTROL_FLR: u16 = 1 << 15;
/// A link of one lane at 2.5 GT/s.
const LINK: u32 = 1 | 1 << 4;

/// Advanced features: a function-level reset, and transactions that are pending,
/// can be had.
const ADVANCED_FEATURES: u32 = 3 << 24;

impl CapabilityList {
    pub(super) fn new(capabilities: &PciCapabilities) -> Self {
        Self {
            links: links(capabilities),
            msi: capabilities.msi.map(Msi::new),
            msix: capabilities.msix.map(Msix::new),
            power: AtomicU8::new(D0),
            device_control: AtomicU16::new(DEVICE_CONTROL),
        }
    }

    /// The offset of the first capability; 0 when there is none.
    pub(super) fn first(&self) -> u8 {
        self.links.first().map_or(0, |link| link.at)
    }

    /// Whether the function is in D0.
    pub(super) fn is_awake(&self) -> bool {
        self.power.load(Ordering::Acquire) == D0
    }

    /// Whether there is a way to reset the function alone.
    pub(super) fn reset_by(&self) -> Option<ResetBy> {
        let have = |id| self.links.iter().find(|link| link.id == id);
        let flr = |link: &Link, at, value| ResetBy::Flr(u16::from(link.at) + at, value);
        let express = have(capability::EXPRESS).map(|l| flr(l, 8, u32::from(DEVICE_CONTROL_FLR)));
        let advanced = || have(capability::ADVANCED_FEATURES).map(|l| flr(l, 4, 1));
        let power = || have(capability::POWER_MANAGEMENT).map(|l| ResetBy::Power(l.at.into()));
        express.or_else(advanced).or_else(power)
    }

    pub(super) fn irq_mode(&self) -> IrqMode {
        let msix = self.msix.as_ref().map(Msix::control);
        if msix.is_some_and(|control| control.contains(MsixControl::ENABLE)) {
            return IrqMode::MsiX;
        }
        match &self.msi {
            Some(msi) if msi.is_enabled() => IrqMode::Msi,
            _ => IrqMode::Intx,
        }
    }

    /// The word at `at`, a multiple of 4.
    pub(super) fn read(&self, at: u16) -> u32 {
        let Some((link, inside)) = self.find(at) else {
            return 0;
        };
        let word = self.body(link.id, inside);
        if inside == 0 {
            return word | u32::from(link.next) << 8 | u32::from(link.id);
        }
        word
    }

    fn body(&self, id: u8, at: u16) -> u32 {
        match id {
            capability::POWER_MANAGEMENT if at == 0 => PM_VERSION,
            capability::POWER_MANAGEMENT => self.power.load(Ordering::Relaxed).into(),
            capability::MSI => self.msi.as_ref().map_or(0, |msi| msi.config_read(at)),
            capability::MSIX => self.msix.as_ref().map_or(0, |msix| msix.config_read(at)),
            capability::EXPRESS => self.express(at),
            capability::ADVANCED_FEATURES if at == 0 => ADVANCED_FEATURES | 6 << 16,
            _ => 0,
        }
    }

    fn express(&self, at: u16) -> u32 {
        match at {
            0 => EXPRESS_ENDPOINT,
            4 => DEVICE_CAPABILITIES,
            8 => self.device_control.load(Ordering::Relaxed).into(),
            12 => LINK,
            16 => LINK << 16,
            _ => 0,
        }
    }

    /// Writes the word at `at`; `due` gets the messages that this has released.
    pub(super) fn write(&self, at: u16, value: u32, due: &mut Vec<Route>) -> Caused {
        let Some((link, inside)) = self.find(at) else {
            return Caused::Nothing;
        };
        match (link.id, inside) {
            (capability::POWER_MANAGEMENT, 4) => return self.set_power(value as u8 & 3),
            (capability::EXPRESS, 8) => return self.control_device(value as u16),
            (capability::ADVANCED_FEATURES, 4) if value & 1 != 0 => return Caused::Reset,
            (capability::MSI, _) => {
                if let Some(msi) = &self.msi {
                    msi.config_write(inside, value, due);
                }
            }
            (capability::MSIX, _) => {
                if let Some(msix) = &self.msix {
                    msix.config_write(inside, value);
                }
            }
            _ => {}
        }
        Caused::Nothing
    }

    /// A function that comes back to D0 is as after a reset, since
    /// No_Soft_Reset is clear.
    fn set_power(&self, state: u8) -> Caused {
        if state != D0 && state != D3_HOT {
            return Caused::Nothing;
        }
        let before = self.power.swap(state, Ordering::AcqRel);
        if before == D3_HOT && state == D0 {
            return Caused::Reset;
        }
        Caused::Nothing
    }

    fn control_device(&self, value: u16) -> Caused {
        let kept = value & !DEVICE_CONTROL_FLR;
        self.device_control.store(kept, Ordering::Relaxed);
        if value & DEVICE_CONTROL_FLR != 0 {
            return Caused::Reset;
        }
        Caused::Nothing
    }

    pub(super) fn reset(&self) {
        self.power.store(D0, Ordering::Release);
        self.device_control.store(DEVICE_CONTROL, Ordering::Relaxed);
        if let Some(msi) = &self.msi {
            msi.reset();
        }
        if let Some(msix) = &self.msix {
            msix.reset();
        }
    }

    fn find(&self, at: u16) -> Option<(&Link, u16)> {
        self.links.iter().find_map(|link| {
            let inside = at.checked_sub(link.at.into())?;
            (inside < link.len.into()).then_some((link, inside))
        })
    }
}

/// How a function alone can be reset, and by which word of its configuration
/// space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResetBy {
    /// By a function-level reset: the bits to set in the word there.
    Flr(u16, u32),
    /// By D3hot and back; the offset of the capability.
    Power(u16),
}

fn links(capabilities: &PciCapabilities) -> Vec<Link> {
    let link = |at, id, len| Link {
        at,
        id,
        len,
        next: 0,
    };
    let have = [
        capabilities
            .power_management
            .map(|at| link(at, capability::POWER_MANAGEMENT, 8)),
        capabilities
            .msi
            .map(|msi| link(msi.at, capability::MSI, 24)),
        capabilities
            .msix
            .map(|msix| link(msix.at, capability::MSIX, 12)),
        capabilities
            .express
            .map(|at| link(at, capability::EXPRESS, 60)),
        capabilities
            .advanced_features
            .map(|at| link(at, capability::ADVANCED_FEATURES, 8)),
    ];
    let mut links: Vec<Link> = have.into_iter().flatten().collect();
    links.sort_by_key(|link| link.at);
    let nexts: Vec<u8> = links.iter().skip(1).map(|link| link.at).collect();
    for (link, next) in links.iter_mut().zip(nexts) {
        link.next = next;
    }
    links
}
