//! Ports, registers and bits, under the manual's names (10.2, 10.3).

use bitflags::bitflags;

/// Command, on every page.
pub(crate) const CR: u32 = 0x0;
/// Page Start.
pub(crate) const PSTART: u32 = 0x1;
/// Page Stop.
pub(crate) const PSTOP: u32 = 0x2;
/// Boundary Pointer.
pub(crate) const BNRY: u32 = 0x3;
/// Transmit Status, when read.
pub(crate) const TSR: u32 = 0x4;
/// Transmit Page Start, when written.
pub(crate) const TPSR: u32 = 0x4;
/// Number of Collisions, when read.
pub(crate) const NCR: u32 = 0x5;
/// Transmit Byte Count, when written: TBCR0, and TBCR1 behind it.
pub(crate) const TBCR0: u32 = 0x5;
/// Interrupt Status.
pub(crate) const ISR: u32 = 0x7;
/// Remote Start Address, when written: RSAR0, and RSAR1 behind it.
pub(crate) const RSAR0: u32 = 0x8;
/// Remote Byte Count, when written: RBCR0, and RBCR1 behind it.
pub(crate) const RBCR0: u32 = 0xa;
/// The RTL8029's identification, when read.
pub(crate) const ID_8029: [u32; 2] = [0xa, 0xb];
/// Receive Configuration, when written.
pub(crate) const RCR: u32 = 0xc;
/// Transmit Configuration, when written.
pub(crate) const TCR: u32 = 0xd;
/// Tally counters, when read: frame alignment errors, CRC errors, missed packets.
pub(crate) const CNTR: [u32; 3] = [0xd, 0xe, 0xf];
/// Data Configuration, when written.
pub(crate) const DCR: u32 = 0xe;
/// Interrupt Mask, when written.
pub(crate) const IMR: u32 = 0xf;

/// Physical Address, on page 1.
pub(crate) const PAR0: u32 = 0x1;
/// Current Page, on page 1.
pub(crate) const CURR: u32 = 0x7;
/// Multicast Address, on page 1.
pub(crate) const MAR0: u32 = 0x8;
/// Registers of MAR, one byte each.
pub(crate) const MAR_BYTES: usize = 8;

/// CONFIG3, on the RTL8029's page 3.
pub(crate) const CONFIG3: u32 = 0x6;
/// CONFIG3: full duplex.
pub(crate) const CONFIG3_FUDUP: u8 = 0x40;

/// The data port.
pub(crate) const DATA: u32 = 0x10;
/// The reset port: a read begins a reset, a write ends it.
pub(crate) const RESET: u32 = 0x1f;
/// Ports of the card.
pub(crate) const PORTS: u32 = 0x20;

bitflags! {
    /// The command register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Cr: u8 {
        /// Stop.
        const STP = 1;
        /// Start.
        const STA = 1 << 1;
        /// Transmit packet.
        const TXP = 1 << 2;
        /// Remote read.
        const RREAD = 1 << 3;
        /// Remote write.
        const RWRITE = 1 << 4;
        /// Abort or complete remote DMA.
        const NODMA = 1 << 5;
        /// Page 1.
        const PAGE1 = 1 << 6;
        /// Page 2.
        const PAGE2 = 1 << 7;
        /// Page 3, which the RTL8029 has.
        const PAGE3 = 3 << 6;
    }

    /// The interrupt status and interrupt mask registers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Isr: u8 {
        /// Packet received.
        const PRX = 1;
        /// Packet transmitted.
        const PTX = 1 << 1;
        /// Receive error.
        const RXE = 1 << 2;
        /// Transmit error.
        const TXE = 1 << 3;
        /// Overwrite warning: the ring has overflowed.
        const OVW = 1 << 4;
        /// A tally counter asks to be read.
        const CNT = 1 << 5;
        /// Remote DMA complete.
        const RDC = 1 << 6;
        /// Reset state; it never interrupts.
        const RST = 1 << 7;
    }

    /// The data configuration register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Dcr: u8 {
        /// Word transfers.
        const WTS = 1;
        /// No loopback.
        const LS = 1 << 3;
        /// FIFO threshold: with FT0 clear, 8 bytes.
        const FT1 = 1 << 6;
    }

    /// The transmit configuration register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Tcr: u8 {
        /// Loopback mode 1: inside of the controller.
        const LB_INTERNAL = 1 << 1;
    }

    /// The transmit status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Tsr: u8 {
        /// Sent.
        const PTX = 1;
        /// It collided.
        const COL = 1 << 2;
        /// Given up after 16 collisions.
        const ABT = 1 << 3;
        /// No carrier was heard.
        const CRS = 1 << 4;
        /// The FIFO ran empty.
        const FU = 1 << 5;
        /// The transceiver's heartbeat was not heard.
        const CDH = 1 << 6;
        /// A collision after the slot time.
        const OWC = 1 << 7;
    }

    /// The receive configuration register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Rcr: u8 {
        /// Broadcast.
        const AB = 1 << 2;
        /// Multicast, as MAR says.
        const AM = 1 << 3;
        /// All physical addresses.
        const PRO = 1 << 4;
        /// Only watch: nothing is stored.
        const MON = 1 << 5;
    }

    /// The receive status, at the head of each packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Rsr: u8 {
        /// Good.
        const PRX = 1;
        /// Wrong FCS.
        const CRC = 1 << 1;
        /// Not a whole number of bytes.
        const FAE = 1 << 2;
        /// FIFO overrun.
        const FO = 1 << 3;
    }
}

impl Cr {
    /// Page 0, running, no remote DMA.
    pub(crate) const RUN: Self = Self::STA.union(Self::NODMA);
    /// Page 0, stopped.
    pub(crate) const STOP: Self = Self::STP.union(Self::NODMA);
}

impl Dcr {
    /// As the driver works: words, least significant byte first.
    pub(crate) const WORDS: Self = Self::WTS.union(Self::LS).union(Self::FT1);
}
