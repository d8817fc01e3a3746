//! The chip's registers, and what takes several accesses to them.

use crate::regs::{self, Cause, Ctrl};
use alloc::sync::Arc;
use softnet_nic_hal::bus::PciDevice;

/// The BAR of the registers (chapter 4: BAR 0 is memory).
pub(crate) const REGISTER_BAR: u8 = 0;

/// How long a reset may take, in microseconds; the EEPROM is read again after
/// it, which takes some milliseconds.
const RESET_POLL_US: u32 = 1000;
const RESET_POLLS: u32 = 50;

/// How long a packet that is under way may still take after its unit was
/// disabled, in microseconds.
const DRAIN_US: u32 = 10_000;

/// A handle to the function that reaches its registers.
pub(crate) struct Chip<P> {
    pub(crate) device: Arc<P>,
}

impl<P> Clone for Chip<P> {
    fn clone(&self) -> Self {
        Self {
            device: self.device.clone(),
        }
    }
}

/// The reset bit did not clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResetTimeout;

impl<P: PciDevice> Chip<P> {
    #[inline]
    pub(crate) fn read(&self, register: u32) -> u32 {
        self.device.read32(REGISTER_BAR, register)
    }

    #[inline]
    pub(crate) fn write(&self, register: u32, value: u32) {
        self.device.write32(REGISTER_BAR, register, value);
    }

    /// Whether the device still answers. Some of STATUS's bits are always 0.
    pub(crate) fn is_gone(&self) -> bool {
        self.read(regs::STATUS) == u32::MAX
    }

    /// Pushes posted writes out to the device.
    pub(crate) fn flush(&self) {
        self.read(regs::STATUS);
    }

    /// Masks all interrupts and forgets those that are pending.
    pub(crate) fn mask_all(&self) {
        self.write(regs::IMC, Cause::all().bits());
        self.flush();
        self.read(regs::ICR);
    }

    /// Disables both units, and waits for the packet that is under way.
    pub(crate) fn disable_units(&self) {
        self.write(regs::RCTL, 0);
        self.write(regs::TCTL, regs::Tctl::PSP.bits());
        self.drain();
    }

    /// Waits for the packet that is under way in a unit that was disabled.
    pub(crate) fn drain(&self) {
        self.flush();
        self.device.delay_us(DRAIN_US);
    }

    /// Resets the device ("Reset Operation", chapter 14): afterwards it does no DMA, interrupts nobody,
    /// and all registers have their initial values.
    pub(crate) fn reset(&self) -> Result<(), ResetTimeout> {
        self.mask_all();
        self.disable_units();
        let ctrl = Ctrl::from_bits_retain(self.read(regs::CTRL));
        self.write(regs::CTRL, (ctrl | Ctrl::RST).bits());
        // The device must not be touched while it starts to reset itself.
        self.device.delay_us(RESET_POLL_US);
        let done = self.device.poll(RESET_POLLS, RESET_POLL_US, || {
            !Ctrl::from_bits_retain(self.read(regs::CTRL)).contains(Ctrl::RST)
        });
        if !done {
            return Err(ResetTimeout);
        }
        self.mask_all();
        Ok(())
    }

    /// Lets the link come up as the PHY negotiates it ("Link Setup
    /// Mechanisms", chapter 14), with `with` of VLAN mode and flow control.
    pub(crate) fn set_link_up(&self, with: Ctrl) {
        let switched = Ctrl::VME | Ctrl::RFCE | Ctrl::TFCE;
        let forced = Ctrl::LRST | Ctrl::PHY_RST | Ctrl::ILOS | Ctrl::FRCSPD | Ctrl::FRCDPLX;
        let ctrl = Ctrl::from_bits_retain(self.read(regs::CTRL));
        let ctrl = ctrl.difference(forced | switched) | Ctrl::SLU | Ctrl::ASDE | with;
        self.write(regs::CTRL, ctrl.bits());
    }
}
