//! The bits of the registers (DP8390D, chapter 10).

use bitflags::bitflags;

bitflags! {
    /// The command register, without its page select bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Cr: u8 {
        const STP = 1;
        const STA = 1 << 1;
        const TXP = 1 << 2;
        /// Alone: remote read.
        const RD0 = 1 << 3;
        /// Alone: remote write. With RD0: send packet.
        const RD1 = 1 << 4;
        /// Abort or complete remote DMA.
        const RD2 = 1 << 5;
        const PS0 = 1 << 6;
        const PS1 = 1 << 7;
    }

    /// The interrupt status register, and the mask register, which has no RST.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Isr: u8 {
        const PRX = 1;
        const PTX = 1 << 1;
        const RXE = 1 << 2;
        const TXE = 1 << 3;
        const OVW = 1 << 4;
        const CNT = 1 << 5;
        const RDC = 1 << 6;
        const RST = 1 << 7;
    }

    /// The data configuration register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Dcr: u8 {
        /// Remote DMA moves words.
        const WTS = 1;
        /// Words have their first byte on top.
        const BOS = 1 << 1;
        const LAS = 1 << 2;
        /// Set: normal operation. Clear: loopback, as TCR says.
        const LS = 1 << 3;
        const ARM = 1 << 4;
        const FT0 = 1 << 5;
        const FT1 = 1 << 6;
    }

    /// The transmit configuration register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Tcr: u8 {
        /// The packet brings its own FCS.
        const CRC = 1;
        const LB0 = 1 << 1;
        const LB1 = 1 << 2;
        const ATD = 1 << 3;
        const OFST = 1 << 4;
    }

    /// The transmit status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Tsr: u8 {
        const PTX = 1;
        /// Not deferred: always set on the RTL8029.
        const ND = 1 << 1;
        const COL = 1 << 2;
        const ABT = 1 << 3;
        const CRS = 1 << 4;
        const FU = 1 << 5;
        const CDH = 1 << 6;
        const OWC = 1 << 7;
    }

    /// The receive configuration register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Rcr: u8 {
        const SEP = 1;
        const AR = 1 << 1;
        const AB = 1 << 2;
        const AM = 1 << 3;
        const PRO = 1 << 4;
        const MON = 1 << 5;
    }

    /// The receive status register, which also begins each packet's header.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Rsr: u8 {
        const PRX = 1;
        const CRC = 1 << 1;
        const FAE = 1 << 2;
        const FO = 1 << 3;
        const MPA = 1 << 4;
        /// The address was a group's.
        const PHY = 1 << 5;
        const DIS = 1 << 6;
        const DFR = 1 << 7;
    }
}

impl Cr {
    /// Any of the remote DMA commands.
    pub(super) const RD: Self = Self::RD0.union(Self::RD1).union(Self::RD2);
    /// What a reset leaves ("Hardware Reset", chapter 11).
    pub(super) const RESET: Self = Self::STP.union(Self::RD2);

    /// The page of registers that is selected.
    pub(super) fn page(self) -> u8 {
        self.bits() >> 6
    }
}

impl Tcr {
    pub(super) const LB: Self = Self::LB0.union(Self::LB1);
    /// The bits above have no register.
    pub(super) const MASK: u8 = 0x1f;
}

impl Rcr {
    /// The bits above have no register, and read as ones.
    pub(super) const ABOVE: u8 = 0xc0;
}

/// Offsets of page 0, and those at which other pages differ.
pub(super) mod port {
    pub(in crate::ne2000) const CR: u8 = 0x0;
    /// The data port and its images.
    pub(in crate::ne2000) const DATA: u32 = 0x10;
    /// The reset port and its images.
    pub(in crate::ne2000) const RESET: u32 = 0x18;
}
