//! Registers: offsets (datasheet, section 8.1.3), bits, and the words themselves.

use bitflags::bitflags;
use std::sync::atomic::{AtomicU32, Ordering};

/// Offsets in the memory BAR. Where a register has aliases, this is the one that
/// all of them stand for; see [`canonical`].
pub(super) mod offset {
    pub(in crate::igb) const CTRL: u32 = 0x0000;
    pub(in crate::igb) const CTRL_DUP: u32 = 0x0004;
    pub(in crate::igb) const STATUS: u32 = 0x0008;
    pub(in crate::igb) const EECD: u32 = 0x0010;
    pub(in crate::igb) const EERD: u32 = 0x0014;
    pub(in crate::igb) const CTRL_EXT: u32 = 0x0018;
    pub(in crate::igb) const MDIC: u32 = 0x0020;
    pub(in crate::igb) const SERDESCTL: u32 = 0x0024;
    pub(in crate::igb) const FCAL: u32 = 0x0028;
    pub(in crate::igb) const FCAH: u32 = 0x002c;
    pub(in crate::igb) const FCT: u32 = 0x0030;
    pub(in crate::igb) const CONNSW: u32 = 0x0034;
    pub(in crate::igb) const VET: u32 = 0x0038;
    pub(in crate::igb) const ICR: u32 = 0x00c0;
    pub(in crate::igb) const ICS: u32 = 0x00c8;
    pub(in crate::igb) const IMS: u32 = 0x00d0;
    pub(in crate::igb) const IMC: u32 = 0x00d8;
    pub(in crate::igb) const IAM: u32 = 0x00e0;
    pub(in crate::igb) const RCTL: u32 = 0x0100;
    pub(in crate::igb) const FCTTV: u32 = 0x0170;
    pub(in crate::igb) const TCTL: u32 = 0x0400;
    pub(in crate::igb) const TCTL_EXT: u32 = 0x0404;
    pub(in crate::igb) const TIPG: u32 = 0x0410;
    pub(in crate::igb) const VFRE: u32 = 0x0c8c;
    pub(in crate::igb) const VFTE: u32 = 0x0c90;
    pub(in crate::igb) const LEDCTL: u32 = 0x0e00;
    pub(in crate::igb) const EEMNGCTL: u32 = 0x1010;
    pub(in crate::igb) const I2CCMD: u32 = 0x1028;
    pub(in crate::igb) const EEWR: u32 = 0x102c;
    pub(in crate::igb) const FRTIMER: u32 = 0x1048;
    pub(in crate::igb) const TCPTIMER: u32 = 0x104c;
    pub(in crate::igb) const GPIE: u32 = 0x1514;
    pub(in crate::igb) const EICS: u32 = 0x1520;
    pub(in crate::igb) const EIMS: u32 = 0x1524;
    pub(in crate::igb) const EIMC: u32 = 0x1528;
    pub(in crate::igb) const EIAC: u32 = 0x152c;
    pub(in crate::igb) const EIAM: u32 = 0x1530;
    pub(in crate::igb) const EICR: u32 = 0x1580;
    pub(in crate::igb) const EITR: u32 = 0x1680;
    pub(in crate::igb) const EITR_END: u32 = 0x16e0;
    pub(in crate::igb) const IVAR: u32 = 0x1700;
    pub(in crate::igb) const IVAR_END: u32 = 0x171c;
    pub(in crate::igb) const IVAR_MISC: u32 = 0x1740;
    pub(in crate::igb) const FCRTL: u32 = 0x2160;
    pub(in crate::igb) const FCRTH: u32 = 0x2168;
    pub(in crate::igb) const RXPBS: u32 = 0x2404;
    pub(in crate::igb) const QDE: u32 = 0x2408;
    pub(in crate::igb) const FCRTV: u32 = 0x2460;
    pub(in crate::igb) const TXPBS: u32 = 0x3404;
    pub(in crate::igb) const DTXSWC: u32 = 0x3500;
    pub(in crate::igb) const DTXCTL: u32 = 0x3590;
    pub(in crate::igb) const DTXTCPFLGL: u32 = 0x359c;
    pub(in crate::igb) const DTXTCPFLGH: u32 = 0x35a0;
    pub(in crate::igb) const STATISTICS: u32 = 0x4000;
    pub(in crate::igb) const STATISTICS_END: u32 = 0x413c;
    pub(in crate::igb) const PCS_CFG: u32 = 0x4200;
    pub(in crate::igb) const PCS_LCTL: u32 = 0x4208;
    pub(in crate::igb) const PCS_ANADV: u32 = 0x4218;
    pub(in crate::igb) const RXCSUM: u32 = 0x5000;
    pub(in crate::igb) const RLPML: u32 = 0x5004;
    pub(in crate::igb) const RFCTL: u32 = 0x5008;
    pub(in crate::igb) const MTA: u32 = 0x5200;
    pub(in crate::igb) const MTA_END: u32 = 0x53fc;
    pub(in crate::igb) const RAL0: u32 = 0x5400;
    pub(in crate::igb) const RAH0: u32 = 0x5404;
    pub(in crate::igb) const RAH15: u32 = 0x547c;
    pub(in crate::igb) const PSRTYPE: u32 = 0x5480;
    pub(in crate::igb) const PSRTYPE_END: u32 = 0x549c;
    pub(in crate::igb) const RAL16: u32 = 0x54e0;
    pub(in crate::igb) const RAH23: u32 = 0x551c;
    pub(in crate::igb) const SYNQF: u32 = 0x55fc;
    pub(in crate::igb) const VFTA: u32 = 0x5600;
    pub(in crate::igb) const VFTA_END: u32 = 0x57fc;
    pub(in crate::igb) const WUC: u32 = 0x5800;
    pub(in crate::igb) const WUFC: u32 = 0x5808;
    pub(in crate::igb) const MRQC: u32 = 0x5818;
    pub(in crate::igb) const VT_CTL: u32 = 0x581c;
    pub(in crate::igb) const MANC: u32 = 0x5820;
    pub(in crate::igb) const IPAV: u32 = 0x5838;
    pub(in crate::igb) const IP4AT: u32 = 0x5840;
    pub(in crate::igb) const IP4AT_END: u32 = 0x5858;
    pub(in crate::igb) const MANC2H: u32 = 0x5860;
    pub(in crate::igb) const IP6AT: u32 = 0x5880;
    pub(in crate::igb) const IP6AT_END: u32 = 0x588c;
    pub(in crate::igb) const SAQF: u32 = 0x5980;
    pub(in crate::igb) const FTQF_END: u32 = 0x59fc;
    pub(in crate::igb) const WUPM: u32 = 0x5a00;
    pub(in crate::igb) const WUPM_END: u32 = 0x5a7c;
    pub(in crate::igb) const IMIR: u32 = 0x5a80;
    pub(in crate::igb) const IMIRVP: u32 = 0x5ac0;
    pub(in crate::igb) const VMOLR: u32 = 0x5ad0;
    pub(in crate::igb) const RPLOLR: u32 = 0x5af0;
    pub(in crate::igb) const GCR: u32 = 0x5b00;
    pub(in crate::igb) const FACTPS: u32 = 0x5b30;
    pub(in crate::igb) const SWSM: u32 = 0x5b50;
    pub(in crate::igb) const FWSM: u32 = 0x5b54;
    pub(in crate::igb) const SW_FW_SYNC: u32 = 0x5b5c;
    pub(in crate::igb) const DCA_CTRL: u32 = 0x5b74;
    pub(in crate::igb) const RETA: u32 = 0x5c00;
    pub(in crate::igb) const RETA_END: u32 = 0x5c7c;
    pub(in crate::igb) const RSSRK: u32 = 0x5c80;
    pub(in crate::igb) const RSSRK_END: u32 = 0x5ca4;
    pub(in crate::igb) const ETQF: u32 = 0x5cb0;
    pub(in crate::igb) const ETQF_END: u32 = 0x5ccc;
    pub(in crate::igb) const VLVF: u32 = 0x5d00;
    pub(in crate::igb) const VLVF_END: u32 = 0x5d7c;
    pub(in crate::igb) const TSYNCRXCFG: u32 = 0x5f50;
    pub(in crate::igb) const UTA: u32 = 0xa000;
    pub(in crate::igb) const UTA_END: u32 = 0xa1fc;
    pub(in crate::igb) const SYSTIML: u32 = 0xb600;
    pub(in crate::igb) const SYSTIMH: u32 = 0xb604;
    pub(in crate::igb) const TIMINCA: u32 = 0xb608;
    pub(in crate::igb) const TIMADJL: u32 = 0xb60c;
    pub(in crate::igb) const TIMADJH: u32 = 0xb610;
    pub(in crate::igb) const TSYNCTXCTL: u32 = 0xb614;
    pub(in crate::igb) const TXSTMPL: u32 = 0xb618;
    pub(in crate::igb) const TXSTMPH: u32 = 0xb61c;
    pub(in crate::igb) const TSYNCRXCTL: u32 = 0xb620;
    pub(in crate::igb) const RXSTMPL: u32 = 0xb624;
    pub(in crate::igb) const RXSTMPH: u32 = 0xb628;
    pub(in crate::igb) const RXSATRL: u32 = 0xb62c;
    pub(in crate::igb) const RXSATRH: u32 = 0xb630;
    /// The registers of the receive queues, 40h bytes each, and of the transmit
    /// queues.
    pub(in crate::igb) const RX_QUEUES: u32 = 0xc000;
    pub(in crate::igb) const RX_QUEUES_END: u32 = 0xc3ff;
    pub(in crate::igb) const TX_QUEUES: u32 = 0xe000;
    pub(in crate::igb) const TX_QUEUES_END: u32 = 0xe3ff;
}

/// Registers of one queue, from its first on.
pub(super) mod queue {
    pub(in crate::igb) const BAL: u32 = 0x00;
    pub(in crate::igb) const BAH: u32 = 0x04;
    pub(in crate::igb) const LEN: u32 = 0x08;
    /// SRRCTL; of receive queues only.
    pub(in crate::igb) const SRRCTL: u32 = 0x0c;
    pub(in crate::igb) const HEAD: u32 = 0x10;
    /// RXCTL and TXCTL: direct cache access.
    pub(in crate::igb) const DCA: u32 = 0x14;
    pub(in crate::igb) const TAIL: u32 = 0x18;
    /// RXDCTL and TXDCTL.
    pub(in crate::igb) const DCTL: u32 = 0x28;
    /// RQDPC; of receive queues only.
    pub(in crate::igb) const RQDPC: u32 = 0x30;
    /// TDWBAL and TDWBAH; of transmit queues only.
    pub(in crate::igb) const TDWBAL: u32 = 0x38;
    pub(in crate::igb) const TDWBAH: u32 = 0x3c;
    /// Bytes from one queue's registers to the next one's.
    pub(in crate::igb) const STRIDE: u32 = 0x40;
    /// The enable bit of RXDCTL and TXDCTL.
    pub(in crate::igb) const ENABLE: u32 = 1 << 25;
}

bitflags! {
    /// Device control (section 8.2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Ctrl: u32 {
        const FD = 1;
        const GIO_MASTER_DISABLE = 1 << 2;
        const SLU = 1 << 6;
        const SPEED = 3 << 8;
        const SPEED_1000 = 2 << 8;
        const FRCSPD = 1 << 11;
        const FRCDPLX = 1 << 12;
        const ADVD3WUC = 1 << 20;
        const RST = 1 << 26;
        const RFCE = 1 << 27;
        const TFCE = 1 << 28;
        const VME = 1 << 30;
        const PHY_RST = 1 << 31;
    }

    /// Device status (section 8.2.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        const FD = 1;
        const LU = 1 << 1;
        const TXOFF = 1 << 4;
        const PHYRA = 1 << 10;
        const GIO_MASTER_ENABLE = 1 << 19;
        const DMA_CLOCK_GATING = 1 << 31;
    }

    /// Receive control (section 8.10.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Rctl: u32 {
        const EN = 1 << 1;
        const SBP = 1 << 2;
        const UPE = 1 << 3;
        const MPE = 1 << 4;
        const LPE = 1 << 5;
        const LBM = 3 << 6;
        const MO = 3 << 12;
        const BAM = 1 << 15;
        const BSIZE = 3 << 16;
        const VFE = 1 << 18;
        const CFIEN = 1 << 19;
        const CFI = 1 << 20;
        const PSP = 1 << 21;
        const DPF = 1 << 22;
        const PMCF = 1 << 23;
        const SECRC = 1 << 26;
    }

    /// Transmit control (section 8.12.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Tctl: u32 {
        const EN = 1 << 1;
        const PSP = 1 << 3;
        const SWXOFF = 1 << 22;
    }

    /// Receive checksum control (section 8.10.18).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Rxcsum: u32 {
        const PCSS = 0xff;
        const IPOFL = 1 << 8;
        const TUOFL = 1 << 9;
        const CRCOFL = 1 << 11;
        const IPPCSE = 1 << 12;
        const PCSD = 1 << 13;
    }
}

/// Interrupt causes: ICR, ICS, IMS and IMC (section 8.8.8).
pub(super) mod cause {
    pub(in crate::igb) const TXDW: u32 = 1;
    pub(in crate::igb) const LSC: u32 = 1 << 2;
    pub(in crate::igb) const RXDMT0: u32 = 1 << 4;
    pub(in crate::igb) const RXO: u32 = 1 << 6;
    pub(in crate::igb) const RXDW: u32 = 1 << 7;
    pub(in crate::igb) const MDAC: u32 = 1 << 9;
    /// In ICR: an enabled cause is pending.
    pub(in crate::igb) const INTA: u32 = 1 << 31;
    /// All that the chip has.
    pub(in crate::igb) const ALL: u32 = 0x77d4_fbfd;
}

impl Rctl {
    /// A field's value.
    pub(super) fn field(self, mask: Self) -> u32 {
        (self & mask).bits() >> mask.bits().trailing_zeros()
    }

    /// Bytes of a receive buffer, of queues whose SRRCTL leaves it to RCTL.
    pub(super) fn buffer_len(self) -> usize {
        2048 >> self.field(Self::BSIZE)
    }

    /// Whether frames that are sent come back instead: MAC loopback, or that of
    /// the PHY (which RCTL only announces).
    pub(super) fn loops_back(self) -> bool {
        self.field(Self::LBM) == 1
    }
}

/// Queues of each direction.
pub(super) const QUEUES: usize = 16;

/// The register that an offset stands for: registers that members of the family
/// have had elsewhere answer there too (section 8.1.3, "alias").
#[inline]
pub(super) fn canonical(at: u32) -> u32 {
    match at {
        offset::CTRL_DUP => offset::CTRL,
        0x2800..=0x2bff if at & 0xff < queue::STRIDE => queue_alias(at, offset::RX_QUEUES),
        0x3800..=0x3bff if at & 0xff < queue::STRIDE => queue_alias(at, offset::TX_QUEUES),
        0x0040..=0x00bc => at - 0x0040 + offset::RAL0,
        0x0160 => offset::FCRTH,
        0x0168 => offset::FCRTL,
        0x0200..=0x03fc => at - 0x0200 + offset::MTA,
        0x0600..=0x07fc => at - 0x0600 + offset::VFTA,
        _ => at,
    }
}

/// The first four queues have their registers also where those of the 82575 are.
fn queue_alias(at: u32, queues: u32) -> u32 {
    queues + (at >> 8 & 3) * queue::STRIDE + (at & 0xff)
}

/// Words of the register space that hold anything.
const WORDS: usize = 0x1_0000 / 4;

/// The plain words of the register space.
pub(super) struct Registers {
    words: Box<[AtomicU32]>,
}

impl Registers {
    pub(super) fn new() -> Self {
        let words = (0..WORDS).map(|_| AtomicU32::new(0)).collect();
        let registers = Self { words };
        // 64 KiB for receive, 40 KiB for transmit. A software reset leaves them.
        registers.set(offset::RXPBS, 0x40);
        registers.set(offset::TXPBS, 0x28);
        registers.reset();
        registers
    }

    #[inline]
    fn word(&self, offset: u32) -> &AtomicU32 {
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

    /// Sets and returns what was there.
    pub(super) fn swap(&self, offset: u32, value: u32) -> u32 {
        self.word(offset).swap(value, Ordering::AcqRel)
    }

    /// Sets bits and returns what was there.
    pub(super) fn set_bits(&self, offset: u32, bits: u32) -> u32 {
        self.word(offset).fetch_or(bits, Ordering::AcqRel)
    }

    pub(super) fn clear_bits(&self, offset: u32, bits: u32) {
        self.word(offset).fetch_and(!bits, Ordering::AcqRel);
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

    /// What a software reset does to the plain words (section 4.2.1.6.1): all but
    /// the division of the packet buffer go to their initial values.
    pub(super) fn reset(&self) {
        let kept = [offset::RXPBS, offset::TXPBS].map(|at| (at, self.load(at)));
        for word in &self.words {
            word.store(0, Ordering::Release);
        }
        let ctrl = Ctrl::FD | Ctrl::SPEED_1000 | Ctrl::ADVD3WUC;
        for (at, value) in kept.into_iter().chain([
            (offset::CTRL, ctrl.bits()),
            (offset::VET, 0x8100_8100),
            (offset::LEDCTL, 0x0706_8302),
            (offset::TIPG, 0x0060_1008),
            (offset::TCTL, 0xa004_00f8 | 1 << 26),
            (offset::TCTL_EXT, 0x0001_0840),
            (offset::DTXCTL, 0x44),
            // CWR goes out in the first segment alone (RFC 3168, section 6.1.2). The
            // 82599 has been measured to repeat it in the middle (FF6h), which
            // FreeBSD (D44258) calls unexpected; of this chip no such thing is known.
            (offset::DTXTCPFLGL, 0x0f76_0ff6),
            (offset::DTXTCPFLGH, 0xf7f),
            (offset::RXCSUM, (Rxcsum::IPOFL | Rxcsum::TUOFL).bits()),
            (offset::RLPML, 0x2600),
            (offset::EEMNGCTL, EEMNGCTL_DONE),
            (offset::VFRE, 0xff),
            (offset::VFTE, 0xff),
            (offset::RPLOLR, 1 << 31),
        ]) {
            self.set(at, value);
        }
        self.reset_queues();
    }

    fn reset_queues(&self) {
        for index in 0..QUEUES as u32 {
            let rx = offset::RX_QUEUES + index * queue::STRIDE;
            let tx = offset::TX_QUEUES + index * queue::STRIDE;
            // The first queues are on, for drivers that know no others.
            let on = if index == 0 { queue::ENABLE } else { 0 };
            self.set(rx + queue::DCTL, 1 << 16 | on);
            self.set(tx + queue::DCTL, on);
            self.set(rx + queue::SRRCTL, 0x400);
            self.set(tx + queue::DCA, 0x2a00);
        }
    }
}

/// The access is complete, and the PHY was configured, also of the other port.
const EEMNGCTL_DONE: u32 = 1 << 31 | 3 << 18;

/// The bits of a plain register that hold what is written; the others read 0.
/// `None`: nothing is there.
pub(super) fn plain_mask(at: u32) -> Option<u32> {
    Some(match at {
        offset::RX_QUEUES..=offset::RX_QUEUES_END => return rx_queue_mask(at % queue::STRIDE),
        offset::TX_QUEUES..=offset::TX_QUEUES_END => return tx_queue_mask(at % queue::STRIDE),
        // A check of the speed, and a reload of the EEPROM, end at once.
        offset::CTRL_EXT => !(3 << 12),
        offset::FCAH | offset::FCT | offset::FCTTV => 0xffff,
        offset::TIPG => 0x3fff_ffff,
        offset::FCRTL => 0x8000_fff8,
        offset::FCRTH => 0xfff8,
        offset::FCRTV => 0xffff,
        offset::RXPBS | offset::TXPBS => 0x7f,
        offset::RXCSUM | offset::RLPML => 0x3fff,
        offset::RCTL => Rctl::all().bits(),
        offset::WUC => 0xf,
        offset::DTXTCPFLGL => 0x0fff_0fff,
        offset::DTXTCPFLGH => 0xfff,
        offset::RAL0..=offset::RAH15 | offset::RAL16..=offset::RAH23 if at & 4 != 0 => 0x83ff_ffff,
        offset::FCAL
        | offset::SERDESCTL
        | offset::CONNSW
        | offset::VET
        | offset::TCTL
        | offset::TCTL_EXT
        | offset::VFRE
        | offset::VFTE
        | offset::LEDCTL
        | offset::FRTIMER
        | offset::TCPTIMER
        | offset::QDE
        | offset::DTXSWC
        | offset::DTXCTL
        | offset::PCS_CFG
        | offset::PCS_LCTL
        | offset::PCS_ANADV
        | offset::RFCTL
        | offset::MTA..=offset::MTA_END
        | offset::RAL0..=offset::RAH15
        | offset::PSRTYPE..=offset::PSRTYPE_END
        | offset::RAL16..=offset::RAH23
        | offset::SYNQF
        | offset::VFTA..=offset::VFTA_END
        | offset::WUFC
        | offset::MRQC
        | offset::VT_CTL
        | offset::MANC
        | offset::IPAV
        | offset::IP4AT..=offset::IP4AT_END
        | offset::MANC2H
        | offset::IP6AT..=offset::IP6AT_END
        | offset::SAQF..=offset::FTQF_END
        | offset::WUPM..=offset::WUPM_END
        | offset::IMIR..=offset::IMIRVP
        | offset::VMOLR..=offset::RPLOLR
        | offset::GCR
        | offset::FACTPS
        | offset::DCA_CTRL
        | offset::RETA..=offset::RETA_END
        | offset::RSSRK..=offset::RSSRK_END
        | offset::ETQF..=offset::ETQF_END
        | offset::VLVF..=offset::VLVF_END
        | offset::TSYNCRXCFG
        | offset::UTA..=offset::UTA_END => u32::MAX,
        _ => return None,
    })
}

fn rx_queue_mask(at: u32) -> Option<u32> {
    Some(match at {
        queue::SRRCTL => 0x8e00_3f7f | 0x1f << 20,
        // The flush bit clears itself.
        queue::DCTL => 0x021f_1f1f,
        _ => return any_queue_mask(at),
    })
}

fn tx_queue_mask(at: u32) -> Option<u32> {
    Some(match at {
        queue::DCTL => 0x0a1f_1f1f,
        queue::TDWBAL => !0,
        queue::TDWBAH => !0,
        _ => return any_queue_mask(at),
    })
}

fn any_queue_mask(at: u32) -> Option<u32> {
    Some(match at {
        queue::BAL => !0x7f,
        queue::BAH | queue::DCA => !0,
        queue::LEN => 0x000f_fff0,
        queue::HEAD | queue::TAIL => 0xffff,
        _ => return None,
    })
}
