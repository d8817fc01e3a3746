//! Registers: offsets (manual, section 13.2), bits, and the words themselves.

use bitflags::bitflags;
use std::sync::atomic::{AtomicU32, Ordering};

/// Offsets in the memory BAR.
pub(super) mod offset {
    pub(in crate::e1000) const CTRL: u32 = 0x0000;
    pub(in crate::e1000) const CTRL_DUP: u32 = 0x0004;
    pub(in crate::e1000) const STATUS: u32 = 0x0008;
    pub(in crate::e1000) const EECD: u32 = 0x0010;
    pub(in crate::e1000) const EERD: u32 = 0x0014;
    pub(in crate::e1000) const CTRL_EXT: u32 = 0x0018;
    pub(in crate::e1000) const MDIC: u32 = 0x0020;
    pub(in crate::e1000) const FCAL: u32 = 0x0028;
    pub(in crate::e1000) const FCAH: u32 = 0x002c;
    pub(in crate::e1000) const FCT: u32 = 0x0030;
    pub(in crate::e1000) const VET: u32 = 0x0038;
    pub(in crate::e1000) const ICR: u32 = 0x00c0;
    pub(in crate::e1000) const ITR: u32 = 0x00c4;
    pub(in crate::e1000) const ICS: u32 = 0x00c8;
    pub(in crate::e1000) const IMS: u32 = 0x00d0;
    pub(in crate::e1000) const IMC: u32 = 0x00d8;
    pub(in crate::e1000) const RCTL: u32 = 0x0100;
    pub(in crate::e1000) const FCTTV: u32 = 0x0170;
    pub(in crate::e1000) const TCTL: u32 = 0x0400;
    pub(in crate::e1000) const TIPG: u32 = 0x0410;
    pub(in crate::e1000) const AIT: u32 = 0x0458;
    pub(in crate::e1000) const LEDCTL: u32 = 0x0e00;
    pub(in crate::e1000) const PBA: u32 = 0x1000;
    pub(in crate::e1000) const FCRTL: u32 = 0x2160;
    pub(in crate::e1000) const FCRTH: u32 = 0x2168;
    pub(in crate::e1000) const RDBAL: u32 = 0x2800;
    pub(in crate::e1000) const RDBAH: u32 = 0x2804;
    pub(in crate::e1000) const RDLEN: u32 = 0x2808;
    pub(in crate::e1000) const RDH: u32 = 0x2810;
    pub(in crate::e1000) const RDT: u32 = 0x2818;
    pub(in crate::e1000) const RDTR: u32 = 0x2820;
    pub(in crate::e1000) const RXDCTL: u32 = 0x2828;
    pub(in crate::e1000) const RADV: u32 = 0x282c;
    pub(in crate::e1000) const RSRPD: u32 = 0x2c00;
    pub(in crate::e1000) const TXDMAC: u32 = 0x3000;
    pub(in crate::e1000) const TDBAL: u32 = 0x3800;
    pub(in crate::e1000) const TDBAH: u32 = 0x3804;
    pub(in crate::e1000) const TDLEN: u32 = 0x3808;
    pub(in crate::e1000) const TDH: u32 = 0x3810;
    pub(in crate::e1000) const TDT: u32 = 0x3818;
    pub(in crate::e1000) const TIDV: u32 = 0x3820;
    pub(in crate::e1000) const TXDCTL: u32 = 0x3828;
    pub(in crate::e1000) const TADV: u32 = 0x382c;
    pub(in crate::e1000) const TSPMT: u32 = 0x3830;
    pub(in crate::e1000) const TXCW: u32 = 0x0178;
    pub(in crate::e1000) const STATISTICS: u32 = 0x4000;
    pub(in crate::e1000) const STATISTICS_END: u32 = 0x40fc;
    pub(in crate::e1000) const RXCSUM: u32 = 0x5000;
    pub(in crate::e1000) const MTA: u32 = 0x5200;
    pub(in crate::e1000) const MTA_END: u32 = 0x53fc;
    pub(in crate::e1000) const RAL0: u32 = 0x5400;
    pub(in crate::e1000) const RAH0: u32 = 0x5404;
    pub(in crate::e1000) const RAH15: u32 = 0x547c;
    pub(in crate::e1000) const VFTA: u32 = 0x5600;
    pub(in crate::e1000) const VFTA_END: u32 = 0x57fc;
    pub(in crate::e1000) const WUC: u32 = 0x5800;
    pub(in crate::e1000) const WUFC: u32 = 0x5808;
    pub(in crate::e1000) const MANC: u32 = 0x5820;
}

bitflags! {
    /// Device control (section 13.4.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Ctrl: u32 {
        const FD = 1;
        const SLU = 1 << 6;
        const SPEED_1000 = 2 << 8;
        const SPEED = 3 << 8;
        const FRCSPD = 1 << 11;
        const FRCDPX = 1 << 12;
        const RST = 1 << 26;
        const RFCE = 1 << 27;
        const TFCE = 1 << 28;
        const VME = 1 << 30;
        const PHY_RST = 1 << 31;
    }

    /// Device status (section 13.4.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        const FD = 1;
        const LU = 1 << 1;
        const TXOFF = 1 << 4;
        const SPEED_1000 = 2 << 6;
        const ASDV_1000 = 2 << 8;
        const PCI66 = 1 << 11;
    }

    /// Interrupt causes: ICR, ICS, IMS and IMC (section 13.4.17).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Cause: u32 {
        const TXDW = 1;
        const TXQE = 1 << 1;
        const LSC = 1 << 2;
        const RXSEQ = 1 << 3;
        const RXDMT0 = 1 << 4;
        const RXO = 1 << 6;
        const RXT0 = 1 << 7;
        /// Causes that the manual reserves; software can raise them, and Linux's
        /// self test does.
        const RESERVED = 1 << 5 | 1 << 8;
        const MDAC = 1 << 9;
        const RXCFG = 1 << 10;
        const PHYINT = 1 << 12;
        const GPI_SDP = 3 << 13;
        const TXD_LOW = 1 << 15;
        const SRPD = 1 << 16;
    }

    /// Receive control (section 13.4.22).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Rctl: u32 {
        const EN = 1 << 1;
        const SBP = 1 << 2;
        const UPE = 1 << 3;
        const MPE = 1 << 4;
        const LPE = 1 << 5;
        const LBM = 3 << 6;
        const RDMTS = 3 << 8;
        const MO = 3 << 12;
        const BAM = 1 << 15;
        const BSIZE = 3 << 16;
        const VFE = 1 << 18;
        const CFIEN = 1 << 19;
        const CFI = 1 << 20;
        const DPF = 1 << 22;
        const PMCF = 1 << 23;
        const BSEX = 1 << 25;
        const SECRC = 1 << 26;
    }

    /// Receive checksum control (RXCSUM, after section 13.4.46).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Rxcsum: u32 {
        const PCSS = 0xff;
        const IPOFLD = 1 << 8;
        const TUOFLD = 1 << 9;
        const IPV6OFL = 1 << 10;
    }

    /// Transmit control (section 13.4.33).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Tctl: u32 {
        const EN = 1 << 1;
        const PSP = 1 << 3;
        const CT = 0xff << 4;
        const COLD = 0x3ff << 12;
        const SWXOFF = 1 << 22;
        const RTLC = 1 << 24;
    }
}

impl Ctrl {
    /// The speed that the MAC has whatever the PHY says: 0, 1 or 2 for 10, 100 or
    /// 1000 Mbit/s.
    pub(super) fn forced_speed(self) -> Option<u32> {
        let speed = (self & Self::SPEED).bits() >> 8;
        self.contains(Self::FRCSPD).then_some(speed.min(2))
    }

    /// The duplex mode that the MAC has whatever the PHY says.
    pub(super) fn forced_duplex(self) -> Option<bool> {
        self.contains(Self::FRCDPX)
            .then_some(self.contains(Self::FD))
    }
}

impl Rctl {
    /// Whether the MAC returns what it sends. (The other mode there is leaves that
    /// to the PHY.)
    pub(super) fn returns_frames(self) -> bool {
        self.field(Self::LBM) == 1
    }

    /// A field's value.
    pub(super) fn field(self, mask: Self) -> u32 {
        (self & mask).bits() >> mask.bits().trailing_zeros()
    }

    /// Bytes of a receive buffer.
    pub(super) fn buffer_len(self) -> usize {
        let size = self.field(Self::BSIZE);
        match (self.contains(Self::BSEX), size) {
            (false, size) => 2048 >> size,
            // 00b is reserved with BSEX; the smallest cannot overrun a buffer.
            (true, 0) => 256,
            (true, size) => 32768 >> size,
        }
    }

    /// Free descriptors at which RXDMT0 is due, of a ring of `ring`.
    pub(super) fn low_water(self, ring: u32) -> u32 {
        ring >> (1 + self.field(Self::RDMTS).min(2))
    }
}

/// Words of the register space that hold anything. (Flexible filters and packet
/// buffer memory, further up, are not modelled: they read 0.)
const WORDS: usize = 0x8000 / 4;

/// The plain words of the register space.
pub(super) struct Registers {
    words: Box<[AtomicU32; WORDS]>,
}

impl Registers {
    pub(super) fn new() -> Self {
        let words = Box::new([const { AtomicU32::new(0) }; WORDS]);
        let registers = Self { words };
        // 48 KiB for receive, 16 KiB for transmit. A software reset leaves it.
        registers.set(offset::PBA, 0x0010_0030);
        registers.reset();
        registers
    }

    #[inline]
    pub(super) fn word(&self, offset: u32) -> &AtomicU32 {
        &self.words[(offset as usize / 4) % WORDS]
    }

    #[inline]
    pub(super) fn load(&self, offset: u32) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn set(&self, offset: u32, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    pub(super) fn ctrl(&self) -> Ctrl {
        Ctrl::from_bits_retain(self.load(offset::CTRL))
    }

    pub(super) fn rctl(&self) -> Rctl {
        Rctl::from_bits_retain(self.load(offset::RCTL))
    }

    pub(super) fn tctl(&self) -> Tctl {
        Tctl::from_bits_retain(self.load(offset::TCTL))
    }

    /// What a software reset does to the plain words ("Reset Operation" in
    /// chapter 14): all but the division of the packet buffer go to their initial
    /// values.
    pub(super) fn reset(&self) {
        let pba = self.load(offset::PBA);
        for word in self.words.iter() {
            word.store(0, Ordering::Release);
        }
        self.set(offset::PBA, pba);
        self.set(offset::CTRL, (Ctrl::FD | Ctrl::SPEED_1000).bits());
        self.set(offset::VET, 0x8100);
        // WTHRESH 1, in descriptors, as this family's later members document it.
        self.set(offset::RXDCTL, 0x0101_0000);
        // Table 13-60; what of it the EEPROM gives agrees.
        self.set(offset::LEDCTL, 0x0706_8302);
        // A threshold of 1024 bytes and a padding of 256.
        self.set(offset::TSPMT, 0x0100_0400);
    }
}

/// The bits of a plain register that hold what is written; the others read 0.
/// `None`: nothing is there.
pub(super) fn plain_mask(at: u32) -> Option<u32> {
    Some(match at {
        offset::CTRL_EXT
        | offset::FCAL
        | offset::LEDCTL
        | offset::WUFC
        | offset::MANC
        | offset::TIPG
        | offset::TXDMAC => u32::MAX,
        offset::FCAH | offset::FCT | offset::VET | offset::FCTTV | offset::AIT => 0xffff,
        // The manual gives XONE to other members of the family only, but this one
        // has no other way to end a pause early, and drivers use it.
        offset::FCRTL => 0x8000_fff8,
        offset::FCRTH => 0xfff8,
        offset::PBA => 0x003f_003f,
        offset::RDBAL | offset::TDBAL => !0xf,
        offset::RDBAH | offset::TDBAH => u32::MAX,
        offset::RDLEN | offset::TDLEN => 0x000f_ff80,
        offset::RDH | offset::RDT | offset::TDH | offset::TDT => 0xffff,
        offset::RDTR | offset::RADV | offset::TIDV | offset::TADV | offset::ITR => 0xffff,
        // Only the transmitter has a low threshold in the highest bits.
        offset::RXDCTL => 0x013f_3f3f,
        offset::TXDCTL => 0xff3f_3f3f,
        offset::RSRPD => 0xfff,
        offset::TSPMT => u32::MAX,
        offset::RXCSUM => 0x7ff,
        // Of the fibre's side, which this chip has not; Linux's self test looks for it.
        offset::TXCW => 0xc000_ffff,
        offset::RCTL => Rctl::all().bits(),
        offset::TCTL => Tctl::all().bits(),
        offset::WUC => 0xf,
        offset::MTA..=offset::MTA_END | offset::VFTA..=offset::VFTA_END => u32::MAX,
        at @ offset::RAL0..=offset::RAH15 if at & 4 != 0 => 0x8003_ffff,
        offset::RAL0..=offset::RAH15 => u32::MAX,
        _ => return None,
    })
}
