//! Registers and bits, under the manual's names.
//!
//! Section numbers are of Intel's *PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual* (8254x), chapter 13.

use bitflags::bitflags;

/// Device Control (13.4.1).
pub(crate) const CTRL: u32 = 0x0000;
/// Device Status (13.4.2).
pub(crate) const STATUS: u32 = 0x0008;
/// EEPROM/Flash Control and Data (13.4.3).
pub(crate) const EECD: u32 = 0x0010;
/// EEPROM Read (13.4.4).
pub(crate) const EERD: u32 = 0x0014;
/// MDI Control (13.4.7).
pub(crate) const MDIC: u32 = 0x0020;
/// Flow Control Address Low (13.4.8).
pub(crate) const FCAL: u32 = 0x0028;
/// Flow Control Address High (13.4.9).
pub(crate) const FCAH: u32 = 0x002c;
/// Flow Control Type (13.4.10).
pub(crate) const FCT: u32 = 0x0030;
/// VLAN Ether Type.
pub(crate) const VET: u32 = 0x0038;
/// Interrupt Cause Read (13.4.17); reading clears it.
pub(crate) const ICR: u32 = 0x00c0;
/// Interrupt Throttling (13.4.18), in units of 256 ns.
pub(crate) const ITR: u32 = 0x00c4;
/// Interrupt Cause Set (13.4.19).
pub(crate) const ICS: u32 = 0x00c8;
/// Interrupt Mask Set/Read (13.4.20).
pub(crate) const IMS: u32 = 0x00d0;
/// Interrupt Mask Clear (13.4.21).
pub(crate) const IMC: u32 = 0x00d8;
/// Receive Control (13.4.22).
pub(crate) const RCTL: u32 = 0x0100;
/// Flow Control Transmit Timer Value.
pub(crate) const FCTTV: u32 = 0x0170;
/// Transmit Control (13.4.33).
pub(crate) const TCTL: u32 = 0x0400;
/// Transmit Inter Packet Gap (13.4.34).
pub(crate) const TIPG: u32 = 0x0410;
/// LED Control.
pub(crate) const LEDCTL: u32 = 0x0e00;
/// Packet Buffer Allocation: KiB of the receiver.
pub(crate) const PBA: u32 = 0x1000;
/// Flow Control Receive Threshold Low (13.4.23).
pub(crate) const FCRTL: u32 = 0x2160;
/// Flow Control Receive Threshold High (13.4.24).
pub(crate) const FCRTH: u32 = 0x2168;
/// Receive Descriptor Base Address Low (13.4.25).
pub(crate) const RDBAL: u32 = 0x2800;
/// Receive Descriptor Base Address High (13.4.26).
pub(crate) const RDBAH: u32 = 0x2804;
/// Receive Descriptor Length, in bytes (13.4.27).
pub(crate) const RDLEN: u32 = 0x2808;
/// Receive Descriptor Head (13.4.28).
pub(crate) const RDH: u32 = 0x2810;
/// Receive Descriptor Tail (13.4.29).
pub(crate) const RDT: u32 = 0x2818;
/// Receive Interrupt Packet Delay Timer (13.4.30).
pub(crate) const RDTR: u32 = 0x2820;
/// Receive Interrupt Absolute Delay Timer (13.4.31).
pub(crate) const RADV: u32 = 0x282c;
/// Receive Descriptor Control (13.4.46).
pub(crate) const RXDCTL: u32 = 0x2828;
/// Transmit Descriptor Base Address Low (13.4.36).
pub(crate) const TDBAL: u32 = 0x3800;
/// Transmit Descriptor Base Address High (13.4.37).
pub(crate) const TDBAH: u32 = 0x3804;
/// Transmit Descriptor Length, in bytes (13.4.38).
pub(crate) const TDLEN: u32 = 0x3808;
/// Transmit Descriptor Head (13.4.39).
pub(crate) const TDH: u32 = 0x3810;
/// Transmit Descriptor Tail (13.4.40).
pub(crate) const TDT: u32 = 0x3818;
/// Transmit Interrupt Delay Value (13.4.41).
pub(crate) const TIDV: u32 = 0x3820;
/// Transmit Descriptor Control.
pub(crate) const TXDCTL: u32 = 0x3828;
/// Transmit Absolute Interrupt Delay Value (13.4.44).
pub(crate) const TADV: u32 = 0x382c;
/// Receive Checksum Control.
pub(crate) const RXCSUM: u32 = 0x5000;
/// Multicast Table Array, 128 words (13.5.1).
pub(crate) const MTA: u32 = 0x5200;
/// Receive Address Low, 16 pairs of words (13.5.2).
pub(crate) const RAL: u32 = 0x5400;
/// Receive Address High (13.5.3).
pub(crate) const RAH: u32 = 0x5404;

/// Words of the multicast table.
pub(crate) const MTA_WORDS: u32 = 128;
/// Receive address pairs.
pub(crate) const RECEIVE_ADDRESSES: u32 = 16;
/// RAH: the address is valid.
pub(crate) const RAH_AV: u32 = 1 << 31;

bitflags! {
    /// Bits of CTRL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Ctrl: u32 {
        /// Full duplex, when the speed is forced.
        const FD = 1 << 0;
        /// Link reset (of the TBI).
        const LRST = 1 << 3;
        /// Auto-speed detection.
        const ASDE = 1 << 5;
        /// Set link up.
        const SLU = 1 << 6;
        /// Invert loss of signal.
        const ILOS = 1 << 7;
        /// The forced speed is 1000 Mbit/s.
        const SPEED_1000 = 2 << 8;
        /// Force speed.
        const FRCSPD = 1 << 11;
        /// Force duplex.
        const FRCDPLX = 1 << 12;
        /// Device reset; clears itself.
        const RST = 1 << 26;
        /// Receive flow control: pause frames are obeyed.
        const RFCE = 1 << 27;
        /// Transmit flow control: pause frames are sent.
        const TFCE = 1 << 28;
        /// VLAN mode.
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
        /// The second function of a chip with two.
        const FUNCTION_1 = 1 << 2;
        /// Transmission is paused.
        const TXOFF = 1 << 4;
        /// Speed, low bit: 100 Mbit/s.
        const SPEED_100 = 1 << 6;
        /// Speed, high bit: 1000 Mbit/s, whatever the low bit is.
        const SPEED_1000 = 1 << 7;
        const _ = !0;
    }

    /// Bits of EECD.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Eecd: u32 {
        /// Clock.
        const SK = 1 << 0;
        /// Chip select.
        const CS = 1 << 1;
        /// Data to the EEPROM.
        const DI = 1 << 2;
        /// Data from the EEPROM.
        const DO = 1 << 3;
        /// Request for access.
        const REQ = 1 << 6;
        /// Access granted.
        const GNT = 1 << 7;
        /// 256 words instead of 64.
        const SIZE = 1 << 9;
        const _ = !0;
    }

    /// Bits of ICR, ICS, IMS and IMC.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Cause: u32 {
        /// Transmit descriptor written back.
        const TXDW = 1 << 0;
        /// Link status change.
        const LSC = 1 << 2;
        /// Receive descriptor minimum threshold reached.
        const RXDMT0 = 1 << 4;
        /// Receiver overrun: a packet found no descriptor.
        const RXO = 1 << 6;
        /// Receiver timer: packets were received.
        const RXT0 = 1 << 7;
        const _ = !0;
    }

    /// Bits of RCTL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Rctl: u32 {
        /// Receiver enable.
        const EN = 1 << 1;
        /// Unicast promiscuous.
        const UPE = 1 << 3;
        /// Multicast promiscuous.
        const MPE = 1 << 4;
        /// Long packets.
        const LPE = 1 << 5;
        /// Broadcast accept.
        const BAM = 1 << 15;
        /// Buffers of 16384 bytes, with BSEX.
        const BSIZE_16384 = 1 << 16;
        /// Buffers of 8192 bytes, with BSEX.
        const BSIZE_8192 = 2 << 16;
        /// Buffers of 4096 bytes, with BSEX.
        const BSIZE_4096 = 3 << 16;
        /// Sizes are sixteen times as large.
        const BSEX = 1 << 25;
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
        /// Collision threshold: 16 attempts.
        const CT = 0x0f << 4;
        /// Collision distance: 64 byte times, for full duplex.
        const COLD = 0x40 << 12;
    }

    /// Bits of RXCSUM.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Rxcsum: u32 {
        /// IP checksum offload.
        const IPOFLD = 1 << 8;
        /// TCP and UDP checksum offload.
        const TUOFLD = 1 << 9;
        /// The same over IPv6.
        const IPV6OFL = 1 << 10;
    }
}

impl Rctl {
    /// What says which frames are accepted.
    pub(crate) const FILTER: Self = Self::UPE.union(Self::MPE).union(Self::BAM);
}

impl Cause {
    /// What the queue's interrupt is raised by.
    pub(crate) const QUEUE: Self = Self::TXDW
        .union(Self::RXDMT0)
        .union(Self::RXO)
        .union(Self::RXT0);
}

/// EERD: start a read.
pub(crate) const EERD_START: u32 = 1 << 0;
/// EERD: the data is there.
pub(crate) const EERD_DONE: u32 = 1 << 4;
/// EERD: where the word's address goes.
pub(crate) const EERD_ADDR_SHIFT: u32 = 8;
/// EERD of the 82574L, of a later kind: that the data is there, and where the address
/// goes.
pub(crate) const EERD_DONE_82574: u32 = 1 << 1;
pub(crate) const EERD_ADDR_SHIFT_82574: u32 = 2;
/// EERD: where the data is.
pub(crate) const EERD_DATA_SHIFT: u32 = 16;

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

/// The multicast address of pause frames, 01:80:c2:00:00:01, and their type
/// (IEEE 802.3, annex 31B).
pub(crate) const PAUSE_ADDRESS: [u32; 2] = [0x00c2_8001, 0x0100];
pub(crate) const PAUSE_TYPE: u32 = 0x8808;
/// How long a pause frame asks for silence: as long as it can, since an XON ends it.
pub(crate) const PAUSE_TIME: u32 = 0xffff;
/// FCRTL: an XON is sent.
pub(crate) const FCRTL_XONE: u32 = 1 << 31;
/// The EtherType of a tag (IEEE 802.1Q).
pub(crate) const VLAN_TYPE: u32 = 0x8100;

/// The count of TIDV and TADV for an interval in microseconds: 1.024 us each, 16
/// bits (13.4.41).
pub(crate) const fn delay(interval_us: u32) -> u32 {
    let counts = interval_us as u64 * 1000 / 1024;
    if counts > 0xffff {
        0xffff
    } else {
        counts as u32
    }
}

/// TIPG for copper: IPGT 10, IPGR1 8, IPGR2 6 (table 13-77).
pub(crate) const TIPG_COPPER: u32 = 10 | 8 << 10 | 6 << 20;

/// The count of ITR for an interval in microseconds: 256 ns each, 16 bits
/// (13.4.18).
pub(crate) const fn itr(interval_us: u32) -> u32 {
    let counts = interval_us as u64 * 1000 / 256;
    if counts > 0xffff {
        0xffff
    } else {
        counts as u32
    }
}
