//! The chip's registers, and what takes several accesses to them.

use crate::family::Family;
use crate::regs::{self, Cause, Ctrl, Status};
use alloc::sync::Arc;
use softnet_nic_hal::bus::PciDevice;

/// The BAR of the registers (9.4.11: BAR 0 is memory).
pub(crate) const REGISTER_BAR: u8 = 0;

/// How long a reset may take, in microseconds; the EEPROM is read again after
/// it, which takes some milliseconds (4.2.1.6).
const RESET_POLL_US: u32 = 1000;
const RESET_POLLS: u32 = 50;
const EEPROM_POLLS: u32 = 10;
/// How long bus transactions that are under way may take.
const MASTER_POLL_US: u32 = 100;
const MASTER_POLLS: u32 = 800;
/// How long a queue may take to be switched on or off.
const QUEUE_POLL_US: u32 = 100;
const QUEUE_POLLS: u32 = 100;
/// How long a packet that is under way may still take after its unit was
/// disabled, in microseconds.
const DRAIN_US: u32 = 10_000;

/// A handle to the function that reaches its registers.
pub(crate) struct Chip<P> {
    pub(crate) device: Arc<P>,
    pub(crate) family: Family,
}

impl<P> Clone for Chip<P> {
    fn clone(&self) -> Self {
        Self {
            device: self.device.clone(),
            family: self.family,
        }
    }
}

/// The device did not come out of its reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResetTimeout;

/// A queue did not switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueTimeout;

impl<P: PciDevice> Chip<P> {
    #[inline]
    pub(crate) fn read(&self, register: u32) -> u32 {
        self.device.read32(REGISTER_BAR, register)
    }

    #[inline]
    pub(crate) fn write(&self, register: u32, value: u32) {
        self.device.write32(REGISTER_BAR, register, value);
    }

    /// Writes a table of registers.
    pub(crate) fn write_all(&self, first: u32, values: impl IntoIterator<Item = u32>) {
        for (register, value) in (first..).step_by(4).zip(values) {
            self.write(register, value);
        }
    }

    pub(crate) fn ctrl(&self) -> Ctrl {
        Ctrl::from_bits_retain(self.read(regs::CTRL))
    }

    /// Sets and clears bits of CTRL.
    pub(crate) fn change_ctrl(&self, clear: Ctrl, set: Ctrl) {
        let ctrl = self.ctrl().difference(clear) | set;
        self.write(regs::CTRL, ctrl.bits());
    }

    pub(crate) fn status(&self) -> Status {
        Status::from_bits_retain(self.read(regs::STATUS))
    }

    /// Whether the device still answers. Some of STATUS's bits are always 0.
    pub(crate) fn is_gone(&self) -> bool {
        self.read(regs::STATUS) == u32::MAX
    }

    /// Pushes posted writes out to the device.
    pub(crate) fn flush(&self) {
        self.read(regs::STATUS);
    }

    /// Masks all interrupts and forgets those that are pending. A cause that
    /// stays in EICR would keep a message from being sent for the next one.
    pub(crate) fn mask_all(&self) {
        self.write(regs::EIMC, u32::MAX);
        self.write(regs::IMC, Cause::all().bits());
        self.flush();
        self.read(regs::ICR);
        self.write(regs::EICR, u32::MAX);
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

    /// Resets the device (4.2.1.6.1): afterwards it does no DMA, interrupts
    /// nobody, and all registers have their initial values.
    pub(crate) fn reset(&self) -> Result<(), ResetTimeout> {
        self.mask_all();
        self.disable_units();
        self.disable_master();
        self.change_ctrl(Ctrl::empty(), Ctrl::RST);
        // The device must not be touched while it starts to reset itself.
        self.device.delay_us(RESET_POLL_US);
        if !self
            .device
            .poll(RESET_POLLS, RESET_POLL_US, || self.is_reset())
        {
            return Err(ResetTimeout);
        }
        self.wait_for_eeprom();
        self.mask_all();
        Ok(())
    }

    fn is_reset(&self) -> bool {
        !self.ctrl().contains(Ctrl::RST)
    }

    /// Waits until the device has read its EEPROM. One that never says so is not
    /// refused: a board without an EEPROM does not, and what is needed of it is
    /// read, and verified, by itself.
    fn wait_for_eeprom(&self) {
        self.device.poll(EEPROM_POLLS, RESET_POLL_US, || {
            self.read(regs::EEC) & regs::EEC_AUTO_RD != 0
        });
    }

    /// Lets no new bus transactions begin, and waits for those that are under
    /// way (5.2.3.3): a reset in their midst can hang the bus.
    fn disable_master(&self) {
        self.change_ctrl(Ctrl::empty(), Ctrl::GIO_MASTER_DISABLE);
        self.device.poll(MASTER_POLLS, MASTER_POLL_US, || {
            !self.status().contains(Status::GIO_MASTER_ENABLE) || self.is_gone()
        });
    }

    /// Switches a queue on, by its descriptor control register: its tail counts
    /// only then (8.10.8).
    pub(crate) fn enable_queue(&self, dctl: u32, thresholds: u32) -> Result<(), QueueTimeout> {
        self.write(dctl, thresholds | regs::Dctl::ENABLE.bits());
        self.device
            .poll(QUEUE_POLLS, QUEUE_POLL_US, || self.is_enabled(dctl))
            .then_some(())
            .ok_or(QueueTimeout)
    }

    /// Switches a queue off, and waits for what it has under way.
    pub(crate) fn disable_queue(&self, dctl: u32) {
        self.write(dctl, 0);
        self.device.poll(QUEUE_POLLS, QUEUE_POLL_US, || {
            !self.is_enabled(dctl) || self.is_gone()
        });
        self.drain();
    }

    fn is_enabled(&self, dctl: u32) -> bool {
        regs::Dctl::from_bits_retain(self.read(dctl)).contains(regs::Dctl::ENABLE)
    }

    /// Lets the link come up as the PHY negotiates it, and tells the firmware
    /// that a driver is there.
    pub(crate) fn set_link_up(&self) {
        let forced = Ctrl::ILOS | Ctrl::FRCSPD | Ctrl::FRCDPLX | Ctrl::GIO_MASTER_DISABLE;
        let rest = Ctrl::RST | Ctrl::PHY_RST | Ctrl::VME | Ctrl::RFCE | Ctrl::TFCE;
        self.change_ctrl(forced | rest, Ctrl::SLU);
        let ctrl_ext = self.read(regs::CTRL_EXT);
        self.write(regs::CTRL_EXT, ctrl_ext | regs::CTRL_EXT_DRV_LOAD);
    }
}
