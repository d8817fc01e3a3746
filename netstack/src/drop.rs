//! Why packets are dropped, and how often.
//!
//! The reasons are Linux's (`skb_drop_reason`, as `perf trace` and `dropwatch`
//! print them) where Linux has one; what only this stack can say has a name of
//! its own, in the same spelling.

use crate::wire::{ArpError, EthernetError, IcmpError, Ipv4Error, UdpError};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "`explain` documents each reason, for programs too"
)]
pub enum DropReason {
    NotSpecified,
    NoSocket,
    SocketClose,
    SocketFilter,
    SocketRcvbuff,
    PktTooSmall,
    UdpCsum,
    NetfilterDrop,
    Otherhost,
    IpCsum,
    IpInhdr,
    IpRpfilter,
    UnicastInL2Multicast,
    IpNoproto,
    ProtoMem,
    IpOutnoroutes,
    NeighCreatefail,
    NeighFailed,
    NeighQueuefull,
    NeighDead,
    QdiscDrop,
    CpuBacklog,
    UnhandledProto,
    SkbCsum,
    DevHdr,
    DevReady,
    FullRing,
    Nomem,
    HdrTrunc,
    TapFilter,
    IcmpCsum,
    InvalidProto,
    IpInaddrerrors,
    IpInnoroutes,
    IpLocalSource,
    IpInvalidSource,
    IpLocalnet,
    IpInvalidDest,
    PktTooBig,
    DupFrag,
    FragReasmTimeout,
    FragTooFar,
    QueuePurge,
    MacInvalidSource,
    RecursionLimit,
    ArpInvalid,
    ArpIgnored,
    IcmpIgnored,
    IpFragment,
    IpSourceRoute,
    VlanUnknown,
}

use DropReason as R;

/// A reason, Linux's spelling of it, what happened, and what to do about it.
type Row = (DropReason, &'static str, &'static str);

/// One row a reason, in the order of the enum.
const TABLE: &[Row] = &[
    (
        R::NotSpecified,
        "NOT_SPECIFIED",
        "Dropped at a place that does not say why; please report where it was seen.",
    ),
    (
        R::NoSocket,
        "NO_SOCKET",
        "No socket is bound to the destination address and port; start the receiver, or check the address and port that it is bound to.",
    ),
    (
        R::SocketClose,
        "SOCKET_CLOSE",
        "The socket was closed before the application had read the packet; read until the queue is empty before closing.",
    ),
    (
        R::SocketFilter,
        "SOCKET_FILTER",
        "The socket takes packets from its connected peer only, or its filter refused this one; check connect() and the filter.",
    ),
    (
        R::SocketRcvbuff,
        "SOCKET_RCVBUFF",
        "The socket's receive queue was full: the application reads more slowly than packets arrive; read faster, in batches, or raise the receive buffer (rmem).",
    ),
    (
        R::PktTooSmall,
        "PKT_TOO_SMALL",
        "The packet is shorter than its headers say; look for a sender or a link that cuts packets.",
    ),
    (
        R::UdpCsum,
        "UDP_CSUM",
        "The UDP checksum is wrong: the packet was damaged on the way, or captured before its sender's NIC filled the checksum in (turn transmit checksum offload off at a virtual link's other end).",
    ),
    (
        R::NetfilterDrop,
        "NETFILTER_DROP",
        "A netfilter hook dropped the packet; check the registered hooks.",
    ),
    (
        R::Otherhost,
        "OTHERHOST",
        "The frame is for another station and came here because the NIC is promiscuous or the switch floods; nothing is wrong unless the station address is.",
    ),
    (
        R::IpCsum,
        "IP_CSUM",
        "The IPv4 header checksum is wrong: the packet was damaged on the way.",
    ),
    (
        R::IpInhdr,
        "IP_INHDR",
        "The IP header is malformed (version, header length or options); look at the sender.",
    ),
    (
        R::IpRpfilter,
        "IP_RPFILTER",
        "The source address is not reachable through the device that the packet came from; check the routes.",
    ),
    (
        R::UnicastInL2Multicast,
        "UNICAST_IN_L2_MULTICAST",
        "A packet for one host came in a frame for many (RFC 1122 section 3.3.6); look at the sender.",
    ),
    (
        R::IpNoproto,
        "IP_NOPROTO",
        "No handler is registered for the IP protocol; the sender was told so by ICMP.",
    ),
    (
        R::ProtoMem,
        "PROTO_MEM",
        "The protocol's memory limit is reached; read the sockets' queues or raise the limit.",
    ),
    (
        R::IpOutnoroutes,
        "IP_OUTNOROUTES",
        "There is no route to the destination; add a route or a default gateway.",
    ),
    (
        R::NeighCreatefail,
        "NEIGH_CREATEFAIL",
        "The neighbour table is full of entries in use; raise gc_thresh3.",
    ),
    (
        R::NeighFailed,
        "NEIGH_FAILED",
        "The next hop did not answer ARP; check that it is up, on this link, and has that address.",
    ),
    (
        R::NeighQueuefull,
        "NEIGH_QUEUEFULL",
        "Too many packets were waiting for the next hop's ARP answer and the oldest gave way; send more slowly at first, or raise unres_qlen.",
    ),
    (
        R::NeighDead,
        "NEIGH_DEAD",
        "The neighbour entry was removed while the packet waited; the device went down or the entry was deleted.",
    ),
    (
        R::QdiscDrop,
        "QDISC_DROP",
        "The transmit queue was full: packets are sent faster than the NIC takes them; send more slowly or lengthen the queue.",
    ),
    (
        R::CpuBacklog,
        "CPU_BACKLOG",
        "The queue to the CPU that owns the flow was full; raise netdev_max_backlog or use more CPUs.",
    ),
    (
        R::UnhandledProto,
        "UNHANDLED_PROTO",
        "No handler is registered for the EtherType or the message type; nothing is wrong unless the protocol was to be spoken.",
    ),
    (
        R::SkbCsum,
        "SKB_CSUM",
        "The checksum could not be computed: it starts or is stored outside of the packet.",
    ),
    (
        R::DevHdr,
        "DEV_HDR",
        "The link-layer header could not be made: the buffer had too little headroom.",
    ),
    (
        R::DevReady,
        "DEV_READY",
        "The device is down, unplugged or without carrier; bring it up or plug the cable in.",
    ),
    (
        R::FullRing,
        "FULL_RING",
        "The transmit ring was full; lengthen the ring or send more slowly.",
    ),
    (
        R::Nomem,
        "NOMEM",
        "No free buffer was left in the pool; make the pool larger, or give back packets that are held.",
    ),
    (
        R::HdrTrunc,
        "HDR_TRUNC",
        "The packet ended inside of a header; look for a sender or a link that cuts packets.",
    ),
    (
        R::TapFilter,
        "TAP_FILTER",
        "A tap's filter dropped the packet.",
    ),
    (
        R::IcmpCsum,
        "ICMP_CSUM",
        "The ICMP checksum is wrong: the message was damaged on the way.",
    ),
    (
        R::InvalidProto,
        "INVALID_PROTO",
        "The message is not valid in its protocol; look at the sender.",
    ),
    (
        R::IpInaddrerrors,
        "IP_INADDRERRORS",
        "The destination is none of this host's addresses and forwarding is off; check the address that the sender uses.",
    ),
    (
        R::IpInnoroutes,
        "IP_INNOROUTES",
        "The packet was to be forwarded and there is no route to its destination; add one.",
    ),
    (
        R::IpLocalSource,
        "IP_LOCAL_SOURCE",
        "The source address is one of this host's own: another host uses it too, or somebody forges it.",
    ),
    (
        R::IpInvalidSource,
        "IP_INVALID_SOURCE",
        "The source address can be nobody's: broadcast, multicast or reserved (RFC 1122 section 3.2.1.3); look at the sender.",
    ),
    (
        R::IpLocalnet,
        "IP_LOCALNET",
        "A loopback address (127/8) came from outside (RFC 1122 section 3.2.1.3 (g)); somebody forges it or routes it wrongly.",
    ),
    (
        R::IpInvalidDest,
        "IP_INVALID_DEST",
        "The destination address can be nobody's: zero, reserved, or a multicast group that was not joined.",
    ),
    (
        R::PktTooBig,
        "PKT_TOO_BIG",
        "The packet is longer than the path's MTU and must not be fragmented; send shorter packets or raise the MTU.",
    ),
    (
        R::DupFrag,
        "DUP_FRAG",
        "A fragment came twice or overlaps another.",
    ),
    (
        R::FragReasmTimeout,
        "FRAG_REASM_TIMEOUT",
        "Some fragments did not arrive in time; look for loss on the way.",
    ),
    (
        R::FragTooFar,
        "FRAG_TOO_FAR",
        "A fragment came after too many others of the same sender.",
    ),
    (
        R::QueuePurge,
        "QUEUE_PURGE",
        "The queue was emptied while the packet was in it: the device or the stack went down.",
    ),
    (
        R::MacInvalidSource,
        "MAC_INVALID_SOURCE",
        "The frame's source is a group address, which no station has; look at the sender.",
    ),
    (
        R::RecursionLimit,
        "RECURSION_LIMIT",
        "The packet went around between devices or handlers too often; look for a loop.",
    ),
    (
        R::ArpInvalid,
        "ARP_INVALID",
        "The ARP packet is not for IPv4 over Ethernet, or names an impossible address; look at the sender.",
    ),
    (
        R::ArpIgnored,
        "ARP_IGNORED",
        "The ARP packet concerns neither this host nor one that it talks to; nothing is wrong.",
    ),
    (
        R::IcmpIgnored,
        "ICMP_IGNORED",
        "The ICMP message needs no answer here (RFC 1122 section 3.2.2): an unknown type, or an echo request to many.",
    ),
    (
        R::IpFragment,
        "IP_FRAGMENT",
        "The packet is a fragment, and fragments are not reassembled; send packets that fit the MTU.",
    ),
    (
        R::IpSourceRoute,
        "IP_SOURCE_ROUTE",
        "The packet carries a source route, which this host does not follow (RFC 7126 section 4.3).",
    ),
    (
        R::VlanUnknown,
        "VLAN_UNKNOWN",
        "The frame is tagged with a VLAN that no device here has; check the switch port, or add the VLAN.",
    ),
];

impl DropReason {
    /// How many reasons there are: the length of an array by
    /// [`index`](Self::index).
    pub const COUNT: usize = TABLE.len();

    /// A number below [`COUNT`](Self::COUNT), for arrays. It changes from
    /// version to version; [`as_str`](Self::as_str) does not.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Linux's spelling, without `SKB_DROP_REASON_`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        TABLE[self.index()].1
    }

    /// What happened and what to do about it, in a sentence.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        TABLE[self.index()].2
    }

    /// All reasons, in the order of their index.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<EthernetError> for DropReason {
    #[inline]
    fn from(error: EthernetError) -> Self {
        match error {
            EthernetError::TooShort { .. } => Self::PktTooSmall,
        }
    }
}

impl From<ArpError> for DropReason {
    #[inline]
    fn from(error: ArpError) -> Self {
        match error {
            ArpError::TooShort { .. } => Self::PktTooSmall,
            ArpError::Hardware { .. } | ArpError::Protocol { .. } => Self::ArpInvalid,
        }
    }
}

impl From<Ipv4Error> for DropReason {
    #[inline]
    fn from(error: Ipv4Error) -> Self {
        match error {
            Ipv4Error::TooShort { .. } | Ipv4Error::Truncated { .. } => Self::PktTooSmall,
            Ipv4Error::Checksum => Self::IpCsum,
            Ipv4Error::Version(_)
            | Ipv4Error::HeaderLength { .. }
            | Ipv4Error::TotalLength { .. } => Self::IpInhdr,
        }
    }
}

impl From<IcmpError> for DropReason {
    #[inline]
    fn from(error: IcmpError) -> Self {
        match error {
            IcmpError::TooShort { .. } => Self::PktTooSmall,
            IcmpError::Checksum => Self::IcmpCsum,
        }
    }
}

impl From<UdpError> for DropReason {
    #[inline]
    fn from(error: UdpError) -> Self {
        match error {
            UdpError::TooShort { .. } | UdpError::Length { .. } => Self::PktTooSmall,
            UdpError::Checksum => Self::UdpCsum,
        }
    }
}

/// How many packets one CPU dropped, by reason.
///
/// Only the CPU that owns the counters adds to them; any thread may read them.
/// So an addition is a load and a store, without a locked instruction.
#[derive(Debug)]
pub struct DropCounters {
    counts: [AtomicU64; DropReason::COUNT],
}

impl DropCounters {
    /// Counters at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; DropReason::COUNT],
        }
    }

    /// Counts one packet. For the CPU that owns the counters only: an addition
    /// from elsewhere at the same time could be lost.
    #[inline]
    pub fn count(&self, reason: DropReason) {
        let count = &self.counts[reason.index()];
        // Relaxed: a counter orders nothing, and there is one writer.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Packets dropped for `reason` so far.
    #[must_use]
    pub fn load(&self, reason: DropReason) -> u64 {
        self.counts[reason.index()].load(Ordering::Relaxed)
    }

    /// Packets dropped so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// The reasons that have occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::all()
            .map(|reason| (reason, self.load(reason)))
            .filter(|&(_, count)| count != 0)
    }
}

impl Default for DropCounters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_stands_at_its_index() {
        for (index, reason) in DropReason::all().enumerate() {
            assert_eq!(reason.index(), index);
        }
        assert_eq!(DropReason::VlanUnknown.index() + 1, DropReason::COUNT);
    }

    #[test]
    fn the_spelling_is_the_name_in_capitals() {
        for reason in DropReason::all() {
            let mut spelled = std::string::String::new();
            for c in std::format!("{reason:?}").chars() {
                if c.is_ascii_uppercase() && !spelled.is_empty() {
                    spelled.push('_');
                }
                spelled.push(c.to_ascii_uppercase());
            }
            assert_eq!(reason.as_str(), spelled);
        }
    }

    #[test]
    fn every_explanation_is_a_sentence_of_its_own() {
        let sentences: BTreeSet<_> = DropReason::all().map(DropReason::explain).collect();
        assert_eq!(sentences.len(), DropReason::COUNT);
        assert!(sentences.iter().all(|s| s.ends_with('.') && s.len() > 20));
    }

    #[test]
    fn counters_count_by_reason() {
        let drops = DropCounters::new();
        drops.count(DropReason::NoSocket);
        drops.count(DropReason::NoSocket);
        drops.count(DropReason::VlanUnknown);
        assert_eq!(drops.load(DropReason::NoSocket), 2);
        assert_eq!(drops.load(DropReason::IpCsum), 0);
        assert_eq!(drops.total(), 3);
        let seen: std::vec::Vec<_> = drops.iter().collect();
        assert_eq!(
            seen,
            [(DropReason::NoSocket, 2), (DropReason::VlanUnknown, 1)]
        );
    }
}
