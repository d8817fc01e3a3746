//! The card's ports, and what takes several accesses to them.

use crate::regs::{self, Cr, Dcr, Isr, Rcr, Tcr};
use alloc::sync::Arc;
use softnet_nic_hal::bus::PciDevice;

/// The BAR of the ports.
pub(crate) const PORT_BAR: u8 = 0;

/// How long a reset may take, in microseconds.
const RESET_POLL_US: u32 = 100;
const RESET_POLLS: u32 = 200;

/// How long a packet that is under way may still take after the chip was stopped,
/// and the guard time ("Buffer Ring Overflow", chapter 7), in microseconds.
pub(crate) const STOP_US: u32 = 1600;

/// How often the end of a remote write is looked for, a microsecond apart.
const REMOTE_POLLS: u32 = 64;

/// What the card's data port can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataPort {
    /// 16 bits at a time.
    Word,
    /// 32 bits at a time, of which the card makes two words.
    Long,
}

/// A handle to the function that reaches its ports.
pub(crate) struct Chip<P> {
    pub(crate) device: Arc<P>,
    pub(crate) port: DataPort,
}

impl<P> Clone for Chip<P> {
    fn clone(&self) -> Self {
        Self {
            device: self.device.clone(),
            port: self.port,
        }
    }
}

/// The reset bit did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResetTimeout;

/// The chip did not finish a remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteTimeout;

impl<P: PciDevice> Chip<P> {
    #[inline]
    pub(crate) fn read(&self, register: u32) -> u8 {
        self.device.read8(PORT_BAR, register)
    }

    #[inline]
    pub(crate) fn write(&self, register: u32, value: u8) {
        self.device.write8(PORT_BAR, register, value);
    }

    #[inline]
    pub(crate) fn command(&self, command: Cr) {
        self.write(regs::CR, command.bits());
    }

    #[inline]
    pub(crate) fn causes(&self) -> Isr {
        Isr::from_bits_retain(self.read(regs::ISR))
    }

    #[inline]
    pub(crate) fn acknowledge(&self, causes: Isr) {
        self.write(regs::ISR, causes.bits());
    }

    #[inline]
    pub(crate) fn mask(&self, enabled: Isr) {
        self.write(regs::IMR, enabled.bits());
    }

    /// Writes a 16-bit value to two registers, the low one first.
    pub(crate) fn write_pair(&self, low: u32, value: u16) {
        let bytes = value.to_le_bytes();
        for (register, byte) in (low..).zip(bytes) {
            self.write(register, byte);
        }
    }

    /// Whether the card still answers: no command register has all its bits set.
    pub(crate) fn is_gone(&self) -> bool {
        self.read(regs::CR) == u8::MAX
    }

    /// Resets the card by its reset port, and leaves it stopped, with all
    /// interrupts masked and forgotten.
    pub(crate) fn reset(&self) -> Result<(), ResetTimeout> {
        let pulse = self.read(regs::RESET);
        self.write(regs::RESET, pulse);
        self.command(Cr::STOP);
        let done = self.device.poll(RESET_POLLS, RESET_POLL_US, || {
            self.causes().contains(Isr::RST)
        });
        self.mask(Isr::empty());
        self.acknowledge(Isr::all());
        if done { Ok(()) } else { Err(ResetTimeout) }
    }

    /// Stops the chip, and waits for what is under way.
    pub(crate) fn stop(&self) {
        self.command(Cr::STOP);
        self.mask(Isr::empty());
        self.device.delay_us(STOP_US);
        self.acknowledge(Isr::all());
    }

    /// The first steps of an initialization (chapter 11): word transfers, and off
    /// the network. The chip is stopped.
    pub(crate) fn prepare(&self) {
        self.command(Cr::STOP);
        self.write(regs::DCR, Dcr::WORDS.bits());
        self.write_pair(regs::RBCR0, 0);
        self.write(regs::RCR, Rcr::MON.bits());
        self.write(regs::TCR, Tcr::LB_INTERNAL.bits());
    }

    /// Does `access` with another page of registers selected.
    pub(crate) fn on_page<R>(&self, state: Cr, page: Cr, access: impl FnOnce() -> R) -> R {
        self.command(state | page);
        let result = access();
        self.command(state);
        result
    }

    /// Bytes that one access of the data port carries.
    fn step(&self) -> usize {
        match self.port {
            DataPort::Word => 2,
            DataPort::Long => 4,
        }
    }

    fn begin(&self, address: u16, len: usize, command: Cr) {
        self.acknowledge(Isr::RDC);
        self.write_pair(regs::RBCR0, len as u16);
        self.write_pair(regs::RSAR0, address);
        self.command(Cr::STA | command);
    }

    fn end(&self) {
        self.command(Cr::RUN);
        self.acknowledge(Isr::RDC);
    }

    /// Reads the card's memory from an even address on (chapter 9). The chip is
    /// running.
    pub(crate) fn read_memory(&self, address: u16, out: &mut [u8]) {
        let step = self.step();
        self.begin(address, out.len().next_multiple_of(step), Cr::RREAD);
        for chunk in out.chunks_mut(step) {
            let bytes = self.read_data().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
        self.end();
    }

    #[inline]
    fn read_data(&self) -> u32 {
        match self.port {
            DataPort::Word => self.device.read16(PORT_BAR, regs::DATA).into(),
            DataPort::Long => self.device.read32(PORT_BAR, regs::DATA),
        }
    }

    /// Writes the card's memory from an even address on, at least `len` bytes, of
    /// which zeros follow those that are given.
    pub(crate) fn write_memory(
        &self,
        address: u16,
        bytes: &[u8],
        len: usize,
    ) -> Result<(), RemoteTimeout> {
        let step = self.step();
        let len = len.max(bytes.len()).next_multiple_of(step);
        self.begin(address, len, Cr::RWRITE);
        for chunk in bytes.chunks(step) {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_data(u32::from_le_bytes(word));
        }
        let written = bytes.len().next_multiple_of(step);
        (written..len)
            .step_by(step)
            .for_each(|_| self.write_data(0));
        let done = self
            .device
            .poll(REMOTE_POLLS, 1, || self.causes().contains(Isr::RDC));
        self.end();
        if done { Ok(()) } else { Err(RemoteTimeout) }
    }

    #[inline]
    fn write_data(&self, value: u32) {
        match self.port {
            DataPort::Word => self.device.write16(PORT_BAR, regs::DATA, value as u16),
            DataPort::Long => self.device.write32(PORT_BAR, regs::DATA, value),
        }
    }
}
