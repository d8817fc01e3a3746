//! Numbers of the kernel's interface that no crate names yet: the families
//! `ethtool` (linux/ethtool_netlink.h) and `netdev` (linux/netdev.h), and the
//! requests of `SIOCETHTOOL` (linux/ethtool.h).

/// Attributes that every request of the family starts with.
pub(super) mod header {
    pub(crate) const DEV_INDEX: u16 = 1;
    pub(crate) const FLAGS: u16 = 3;
    /// Flag: send no reply to a change but its acknowledgement.
    pub(crate) const OMIT_REPLY: u32 = 2;
}

/// `ETHTOOL_MSG_*`, from user space.
pub(super) mod ethtool {
    pub(crate) const FAMILY: &str = "ethtool";
    pub(crate) const LINKMODES_GET: u8 = 4;
    pub(crate) const FEATURES_GET: u8 = 11;
    pub(crate) const FEATURES_SET: u8 = 12;
    pub(crate) const RINGS_GET: u8 = 15;
    pub(crate) const CHANNELS_GET: u8 = 17;
    pub(crate) const CHANNELS_SET: u8 = 18;
    pub(crate) const RSS_GET: u8 = 38;

    /// The header is the first attribute of every message.
    pub(crate) const HEADER: u16 = 1;
}

/// `ETHTOOL_A_CHANNELS_*`.
pub(super) mod channels {
    pub(crate) const RX_MAX: u16 = 2;
    pub(crate) const TX_MAX: u16 = 3;
    pub(crate) const COMBINED_MAX: u16 = 5;
    pub(crate) const RX_COUNT: u16 = 6;
    pub(crate) const TX_COUNT: u16 = 7;
    pub(crate) const COMBINED_COUNT: u16 = 9;
}

/// `ETHTOOL_A_LINKMODES_*`.
pub(super) mod linkmodes {
    pub(crate) const SPEED: u16 = 5;
    pub(crate) const DUPLEX: u16 = 6;
    /// `SPEED_UNKNOWN` and `DUPLEX_FULL` (linux/ethtool.h).
    pub(crate) const SPEED_UNKNOWN: u32 = u32::MAX;
    pub(crate) const DUPLEX_FULL: u8 = 1;
}

/// `ETHTOOL_A_RINGS_*`.
pub(super) mod rings {
    pub(crate) const RX_MAX: u16 = 2;
    pub(crate) const TX_MAX: u16 = 5;
    pub(crate) const RX: u16 = 6;
    pub(crate) const TX: u16 = 9;
}

/// `ETHTOOL_A_FEATURES_*`, each a set of bits.
pub(super) mod features {
    pub(crate) const HW: u16 = 2;
    pub(crate) const WANTED: u16 = 3;
    pub(crate) const ACTIVE: u16 = 4;
    pub(crate) const NOCHANGE: u16 = 5;
}

/// `ETHTOOL_A_BITSET_*`, `ETHTOOL_A_BITSET_BITS_*` and
/// `ETHTOOL_A_BITSET_BIT_*`: a set of bits, told by their names.
pub(super) mod bitset {
    pub(crate) const NOMASK: u16 = 1;
    pub(crate) const BITS: u16 = 3;
    pub(crate) const BITS_BIT: u16 = 1;
    pub(crate) const BIT_NAME: u16 = 2;
    pub(crate) const BIT_VALUE: u16 = 3;
}

/// `ETHTOOL_A_RSS_*`.
pub(super) mod rss {
    pub(crate) const HFUNC: u16 = 3;
    pub(crate) const INDIR: u16 = 4;
    pub(crate) const HKEY: u16 = 5;
    pub(crate) const INPUT_XFRM: u16 = 6;
}

/// The family `netdev`: commands, and attributes by what they describe.
pub(super) mod netdev {
    pub(crate) const FAMILY: &str = "netdev";
    pub(crate) const DEV_GET: u8 = 1;
    pub(crate) const QUEUE_GET: u8 = 10;
    pub(crate) const NAPI_GET: u8 = 11;
    pub(crate) const NAPI_SET: u8 = 14;

    pub(crate) const DEV_IFINDEX: u16 = 1;
    pub(crate) const DEV_XDP_FEATURES: u16 = 3;
    pub(crate) const DEV_XDP_ZC_MAX_SEGS: u16 = 4;
    pub(crate) const DEV_RX_METADATA: u16 = 5;
    pub(crate) const DEV_XSK_FEATURES: u16 = 6;

    pub(crate) const NAPI_IFINDEX: u16 = 1;
    pub(crate) const NAPI_ID: u16 = 2;
    pub(crate) const NAPI_IRQ: u16 = 3;
    pub(crate) const NAPI_DEFER_HARD_IRQS: u16 = 5;
    pub(crate) const NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
    pub(crate) const NAPI_IRQ_SUSPEND_TIMEOUT: u16 = 7;

    pub(crate) const QUEUE_ID: u16 = 1;
    pub(crate) const QUEUE_IFINDEX: u16 = 2;
    pub(crate) const QUEUE_TYPE: u16 = 3;
    pub(crate) const QUEUE_NAPI_ID: u16 = 4;
    pub(crate) const QUEUE_XSK: u16 = 7;
}

/// `IFLA_XDP_*`, and what `IFLA_XDP_ATTACHED` says.
pub(super) mod xdp {
    pub(crate) const FD: u16 = 1;
    pub(crate) const ATTACHED: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const PROG_ID: u16 = 4;
    pub(crate) const DRV_PROG_ID: u16 = 5;
    pub(crate) const SKB_PROG_ID: u16 = 6;
    pub(crate) const HW_PROG_ID: u16 = 7;
    pub(crate) const EXPECTED_FD: u16 = 8;
    pub(crate) const IN_DRIVER: u8 = 1;
    pub(crate) const IN_SKB: u8 = 2;
    pub(crate) const IN_HARDWARE: u8 = 3;
    pub(crate) const MULTI: u8 = 4;
}

/// `IFLA_*` that neli does not name, and a flag of the request.
pub(super) mod link {
    pub(crate) const INFO_KIND: u16 = 1;
    /// `RTEXT_FILTER_SKIP_STATS`: leave the counters out of the answer.
    pub(crate) const SKIP_STATS: u32 = 8;
    /// `RTNLGRP_LINK`.
    pub(crate) const GROUP: u32 = 1;
}

/// Commands of `SIOCETHTOOL`.
pub(super) mod ioctl {
    pub(crate) const GDRVINFO: u32 = 0x3;
    pub(crate) const GRXFH: u32 = 0x29;
    /// `UDP_V4_FLOW`.
    pub(crate) const UDP_V4_FLOW: u32 = 2;
    /// `RXH_L4_B_0_1 | RXH_L4_B_2_3`: both ports.
    pub(crate) const HASHES_PORTS: u64 = 1 << 6 | 1 << 7;
}
