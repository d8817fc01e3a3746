//! Registers and bits, under the datasheet's names.
//!
//! Section numbers are of Intel's *82576 Gigabit Ethernet Controller Datasheet*;
//! the I210 has the same registers where nothing else is said.

use bitflags::bitflags;

/// Device Control (8.2.1).
pub(crate) const CTRL: u32 = 0x0000;
/// Device Status (8.2.2).
pub(crate) const STATUS: u32 = 0x0008;
/// EEPROM/Flash Control (8.4.1).
pub(crate) const EEC: u32 = 0x0010;
/// EEPROM Read (8.4.2).
pub(crate) const EERD: u32 = 0x0014;
/// Extended Device Control (8.2.3).
pub(crate) const CTRL_EXT: u32 = 0x0018;
/// MDI Control (8.2.4).
pub(crate) const MDIC: u32 = 0x0020;
/// Flow Control Address Low (8.2.5).
pub(crate) const FCAL: u32 = 0x0028;
/// Flow Control Address High.
pub(crate) const FCAH: u32 = 0x002c;
/// Flow Control Type.
pub(crate) const FCT: u32 = 0x0030;
/// VLAN Ether Type.
pub(crate) const VET: u32 = 0x0038;
/// Receive Control (8.10.1).
pub(crate) const RCTL: u32 = 0x0100;
/// Flow Control Transmit Timer Value.
pub(crate) const FCTTV: u32 = 0x0170;
/// Transmit Control (8.12.1).
pub(crate) const TCTL: u32 = 0x0400;
/// Interrupt Cause Read (8.8); reading clears it, if it had interrupted.
pub(crate) const ICR: u32 = 0x00c0;
/// Interrupt Cause Set.
pub(crate) const ICS: u32 = 0x00c8;
/// Interrupt Mask Set/Read.
pub(crate) const IMS: u32 = 0x00d0;
/// Interrupt Mask Clear.
pub(crate) const IMC: u32 = 0x00d8;
/// Interrupt Acknowledge Auto Mask.
pub(crate) const IAM: u32 = 0x00e0;
/// General Purpose Interrupt Enable.
pub(crate) const GPIE: u32 = 0x1514;
/// Extended Interrupt Cause Set.
pub(crate) const EICS: u32 = 0x1520;
/// Extended Interrupt Mask Set/Read.
pub(crate) const EIMS: u32 = 0x1524;
/// Extended Interrupt Mask Clear.
pub(crate) const EIMC: u32 = 0x1528;
/// Extended Interrupt Auto Clear.
pub(crate) const EIAC: u32 = 0x152c;
/// Extended Interrupt Auto Mask Enable.
pub(crate) const EIAM: u32 = 0x1530;
/// Extended Interrupt Cause; written ones clear.
pub(crate) const EICR: u32 = 0x1580;
/// Extended Interrupt Throttle, one word for each vector.
pub(crate) const EITR: u32 = 0x1680;
/// Interrupt Vector Allocation, four entries of a byte in a word.
pub(crate) const IVAR: u32 = 0x1700;
/// Interrupt Vector Allocation of what is no queue's.
pub(crate) const IVAR_MISC: u32 = 0x1740;
/// Flow Control Receive Threshold Low.
pub(crate) const FCRTL: u32 = 0x2160;
/// Flow Control Receive Threshold High.
pub(crate) const FCRTH: u32 = 0x2168;
/// Receive Packet Buffer Size.
pub(crate) const RXPBS: u32 = 0x2404;
/// Transmit Packet Buffer Size.
pub(crate) const TXPBS: u32 = 0x3404;
/// Receive Checksum Control (8.10.11).
pub(crate) const RXCSUM: u32 = 0x5000;
/// Receive Long Packet Maximum Length.
pub(crate) const RLPML: u32 = 0x5004;
/// Receive Filter Control.
pub(crate) const RFCTL: u32 = 0x5008;
/// Multicast Table Array, 128 words.
pub(crate) const MTA: u32 = 0x5200;
/// Receive Address Low, pairs of words.
pub(crate) const RAL: u32 = 0x5400;
/// Receive Address High.
pub(crate) const RAH: u32 = 0x5404;
/// Packet Split Receive Type, one word for queues n and n + 8 (8.10.3).
pub(crate) const PSRTYPE: u32 = 0x5480;
/// Words of PSRTYPE, unless there are fewer queues.
pub(crate) const PSRTYPES: usize = 8;
/// Multiple Receive Queues Command (8.10.9).
pub(crate) const MRQC: u32 = 0x5818;
/// Software Semaphore.
pub(crate) const SWSM: u32 = 0x5b50;
/// Firmware Semaphore.
pub(crate) const FWSM: u32 = 0x5b54;
/// Software-Firmware Synchronization.
pub(crate) const SW_FW_SYNC: u32 = 0x5b5c;
/// Redirection Table, 32 words of four entries.
pub(crate) const RETA: u32 = 0x5c00;
/// RSS Random Key, 10 words, first byte lowest.
pub(crate) const RSSRK: u32 = 0x5c80;
/// EType Queue Filter, eight words.
pub(crate) const ETQF: u32 = 0x5cb0;
/// Time Sync RX Configuration.
pub(crate) const TSYNCRXCFG: u32 = 0x5f50;
/// System Time Low; reading it latches the high word.
pub(crate) const SYSTIML: u32 = 0xb600;
/// System Time High.
pub(crate) const SYSTIMH: u32 = 0xb604;
/// Time Increment.
pub(crate) const TIMINCA: u32 = 0xb608;
/// Time Sync TX Control.
pub(crate) const TSYNCTXCTL: u32 = 0xb614;
/// TX Time Stamp Low.
pub(crate) const TXSTMPL: u32 = 0xb618;
/// TX Time Stamp High; reading it frees both.
pub(crate) const TXSTMPH: u32 = 0xb61c;
/// Time Sync RX Control.
pub(crate) const TSYNCRXCTL: u32 = 0xb620;
/// RX Time Stamp Low.
pub(crate) const RXSTMPL: u32 = 0xb624;
/// RX Time Stamp High.
pub(crate) const RXSTMPH: u32 = 0xb628;
/// RX Time Stamp Attributes High; reading it frees all four.
pub(crate) const RXSATRH: u32 = 0xb630;

/// Registers of receive queue 0; those of the next are a [`QUEUE_STRIDE`] on.
pub(crate) const RX_QUEUE: u32 = 0xc000;
/// Registers of transmit queue 0.
pub(crate) const TX_QUEUE: u32 = 0xe000;
/// From one queue's registers to the next one's.
pub(crate) const QUEUE_STRIDE: u32 = 0x40;

/// Where registers of a queue are, from its first on: the same in both
/// directions (8.10 and 8.12).
pub(crate) mod queue {
    /// Descriptor Base Address Low.
    pub(crate) const DBAL: u32 = 0x00;
    /// Descriptor Base Address High.
    pub(crate) const DBAH: u32 = 0x04;
    /// Descriptor Length, in bytes.
    pub(crate) const DLEN: u32 = 0x08;
    /// Split and Replication Receive Control.
    pub(crate) const SRRCTL: u32 = 0x0c;
    /// Descriptor Head.
    pub(crate) const DH: u32 = 0x10;
    /// Descriptor Tail.
    pub(crate) const DT: u32 = 0x18;
    /// Descriptor Control.
    pub(crate) const DCTL: u32 = 0x28;
    /// Queue Drop Packet Count, of a receive queue.
    pub(crate) const RQDPC: u32 = 0x30;
}

/// Words of the multicast table.
pub(crate) const MTA_WORDS: u32 = 128;
/// Receive address pairs; the 82576 has further ones elsewhere, which a reset
/// leaves invalid.
pub(crate) const RECEIVE_ADDRESSES: u32 = 16;
/// RAH: the address is valid.
pub(crate) const RAH_AV: u32 = 1 << 31;
/// Words of the redirection table.
pub(crate) const RETA_WORDS: u32 = 32;

bitflags! {
    /// Bits of CTRL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Ctrl: u32 {
        /// Full duplex, when forced.
        const FD = 1 << 0;
        /// Keeps the device from starting to master the bus.
        const GIO_MASTER_DISABLE = 1 << 2;
        /// Set link up.
        const SLU = 1 << 6;
        /// Invert loss of signal.
        const ILOS = 1 << 7;
        /// Speed, when forced: 1000 Mbit/s.
        const SPEED_1000 = 1 << 9;
        /// Force speed.
        const FRCSPD = 1 << 11;
        /// Force duplex.
        const FRCDPLX = 1 << 12;
        /// Software reset; clears itself.
        const RST = 1 << 26;
        /// Receive flow control enable.
        const RFCE = 1 << 27;
        /// Transmit flow control enable.
        const TFCE = 1 << 28;
        /// VLAN mode: tags are stripped.
        const VME = 1 << 30;
        /// PHY reset.
        const PHY_RST = 1 << 31;
        const _ = !0;
    }

    /// Bits of STATUS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Status: u32 {
        /// Full duplex.
        const FD = 1 << 0;
        /// Link up.
        const LU = 1 << 1;
        /// Which port of the chip this is, low bit.
        const LAN_ID_0 = 1 << 2;
        /// Which port of the chip this is, high bit.
        const LAN_ID_1 = 1 << 3;
        /// Speed, low bit: 100 Mbit/s.
        const SPEED_100 = 1 << 6;
        /// Speed, high bit: 1000 Mbit/s, whatever the low bit is.
        const SPEED_1000 = 1 << 7;
        /// Transactions of the device may be under way.
        const GIO_MASTER_ENABLE = 1 << 19;
        const _ = !0;
    }

    /// Bits of ICR, ICS, IMS and IMC.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Cause: u32 {
        /// Transmit descriptor written back.
        const TXDW = 1 << 0;
        /// Link status change.
        const LSC = 1 << 2;
        /// Receive descriptor written back.
        const RXDW = 1 << 7;
        const _ = !0;
    }

    /// Bits of RCTL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Rctl: u32 {
        /// Receiver enable.
        const RXEN = 1 << 1;
        /// Unicast promiscuous.
        const UPE = 1 << 3;
        /// Multicast promiscuous.
        const MPE = 1 << 4;
        /// Long packets are received, up to RLPML.
        const LPE = 1 << 5;
        /// Broadcast accept.
        const BAM = 1 << 15;
        /// Strip the CRC from packets.
        const SECRC = 1 << 26;
    }

    /// Bits of TCTL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Tctl: u32 {
        /// Transmitter enable.
        const EN = 1 << 1;
        /// Pad short packets.
        const PSP = 1 << 3;
        /// Collision threshold: 15 attempts.
        const CT = 0x0f << 4;
        /// Back-off slot time: 64 byte times.
        const BST = 0x40 << 12;
    }

    /// Bits of RXCSUM.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Rxcsum: u32 {
        /// IP checksum offload.
        const IPOFLD = 1 << 8;
        /// TCP and UDP checksum offload.
        const TUOFLD = 1 << 9;
        /// Descriptors hold the RSS hash, not the packet's checksum.
        const PCSD = 1 << 13;
    }

    /// Bits of GPIE.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Gpie: u32 {
        /// Every read of ICR clears it.
        const NSICR = 1 << 0;
        /// MSI-X with several vectors.
        const MULTIPLE_MSIX = 1 << 4;
        /// A message masks what EIAM names.
        const EIAME = 1 << 30;
        /// MSI-X with a pending bit for each vector.
        const PBA = 1 << 31;
    }

    /// Bits of RXDCTL and TXDCTL, beside the thresholds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Dctl: u32 {
        /// Queue enable.
        const ENABLE = 1 << 25;
        const _ = !0;
    }

    /// Bits of MRQC.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Mrqc: u32 {
        /// RSS over all queues.
        const RSS = 0b010;
        /// Hash IPv4 with TCP ports.
        const TCP_IPV4 = 1 << 16;
        /// Hash IPv4.
        const IPV4 = 1 << 17;
        /// Hash IPv6 with TCP ports, behind extension headers too.
        const TCP_IPV6_EX = 1 << 18;
        /// Hash IPv6.
        const IPV6 = 1 << 20;
        /// Hash IPv6 with TCP ports.
        const TCP_IPV6 = 1 << 21;
        /// Hash IPv4 with UDP ports.
        const UDP_IPV4 = 1 << 22;
        /// Hash IPv6 with UDP ports.
        const UDP_IPV6 = 1 << 23;
    }
}

impl Cause {
    /// What the queues' interrupt is raised by.
    pub(crate) const QUEUES: Self = Self::TXDW.union(Self::RXDW);
}

/// EEC: the device has read its configuration from the EEPROM.
pub(crate) const EEC_AUTO_RD: u32 = 1 << 9;
/// EERD: start a read.
pub(crate) const EERD_START: u32 = 1 << 0;
/// EERD: the data is there.
pub(crate) const EERD_DONE: u32 = 1 << 1;
/// EERD: where the word's address goes.
pub(crate) const EERD_ADDR_SHIFT: u32 = 2;
/// EERD: where the data is.
pub(crate) const EERD_DATA_SHIFT: u32 = 16;

/// CTRL_EXT: a driver is there; for the firmware to see.
pub(crate) const CTRL_EXT_DRV_LOAD: u32 = 1 << 28;

/// MDIC: where the PHY's register goes.
pub(crate) const MDIC_REG_SHIFT: u32 = 16;
/// MDIC: the internal PHY, at address 1.
pub(crate) const MDIC_PHY: u32 = 1 << 21;
/// MDIC: write.
pub(crate) const MDIC_OP_WRITE: u32 = 1 << 26;
/// MDIC: read.
pub(crate) const MDIC_OP_READ: u32 = 2 << 26;
/// MDIC: ready.
pub(crate) const MDIC_R: u32 = 1 << 28;
/// MDIC: error.
pub(crate) const MDIC_E: u32 = 1 << 30;

/// SWSM: held by a driver; a read sets it.
pub(crate) const SWSM_SMBI: u32 = 1 << 0;
/// SWSM: held against the firmware.
pub(crate) const SWSM_SWESMBI: u32 = 1 << 1;
/// SW_FW_SYNC: software owns the PHY of port 0; that of port 1 is the next bit.
pub(crate) const SW_PHY_SM0: u32 = 1 << 1;
/// SW_FW_SYNC: from a software bit to the firmware's for the same.
pub(crate) const FW_SHIFT: u32 = 16;

/// An entry of IVAR is valid.
pub(crate) const IVAR_VALID: u32 = 0x80;

/// SRRCTL: advanced descriptors, one buffer.
pub(crate) const SRRCTL_ONE_BUFFER: u32 = 0b001 << 25;
/// SRRCTL: advanced descriptors, with the headers split off.
pub(crate) const SRRCTL_SPLIT: u32 = 0b010 << 25;
/// SRRCTL: where the header buffer's length goes, and its unit in bytes.
pub(crate) const SRRCTL_HEADER_SHIFT: u32 = 8;
pub(crate) const SRRCTL_HEADER_UNIT: usize = 64;
/// PSRTYPE: split behind IPv4 and IPv6, and behind TCP and UDP over them.
pub(crate) const PSRTYPE_ALL: u32 = 0b111 << 1 | 0b111 << 7;
/// SRRCTL: packets that find no descriptor are dropped.
pub(crate) const SRRCTL_DROP_EN: u32 = 1 << 31;
/// SRRCTL: the unit that buffer lengths are in, in bytes.
pub(crate) const SRRCTL_UNIT: usize = 1024;

/// RXDCTL: prefetch below 8 descriptors, when 8 are there; write back each.
pub(crate) const RXDCTL_THRESHOLDS: u32 = 8 | 8 << 8 | 1 << 16;
/// TXDCTL: prefetch below 8 descriptors, when one is there; write back each.
pub(crate) const TXDCTL_THRESHOLDS: u32 = 8 | 1 << 8 | 1 << 16;

/// EITR: where the interval goes, in microseconds.
pub(crate) const EITR_SHIFT: u32 = 2;
/// EITR: longest interval, in microseconds.
pub(crate) const EITR_MAX_US: u32 = 0x1fff;

/// ETQF: the filter is on.
pub(crate) const ETQF_ENABLE: u32 = 1 << 26;
/// ETQF: packets of this type are looked at for time stamps.
pub(crate) const ETQF_1588: u32 = 1 << 30;
/// TSYNCRXCTL and TSYNCTXCTL: a stamp is held.
pub(crate) const TSYNC_VALID: u32 = 1 << 0;
/// TSYNCRXCTL and TSYNCTXCTL: stamps are taken.
pub(crate) const TSYNC_ENABLE: u32 = 1 << 4;
