//! Counters in the manner of `/proc/net/snmp`.
//!
//! Each CPU has its own set. Only that CPU writes it, so that an increment is a
//! plain load and store; any thread may read.

use softnet_softirq::Counter;

/// A counter of RFC 4293 (IP, ICMP) or RFC 4113 (UDP), or one that Linux adds to
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Snmp {
    /// `Ip: InReceives`. Packets that came up from a device.
    IpInReceives,
    /// `Ip: InHdrErrors`. Dropped for an error in the header.
    IpInHdrErrors,
    /// `Ip: InAddrErrors`. Dropped for an address that is not ours.
    IpInAddrErrors,
    /// `Ip: InUnknownProtos`. Dropped for a protocol that nobody handles.
    IpInUnknownProtos,
    /// `Ip: InDiscards`. Dropped for another reason, without an error in them.
    IpInDiscards,
    /// `Ip: InDelivers`. Handed to a transport protocol.
    IpInDelivers,
    /// `Ip: OutRequests`. Packets that this host wanted to send.
    IpOutRequests,
    /// `Ip: OutDiscards`. Of those, dropped for another reason than a missing route.
    IpOutDiscards,
    /// `Ip: OutNoRoutes`. Of those, dropped for want of a route.
    IpOutNoRoutes,
    /// `Icmp: InMsgs`. Messages received.
    IcmpInMsgs,
    /// `Icmp: InErrors`. Of those, with an error.
    IcmpInErrors,
    /// `Icmp: InCsumErrors`. Of those, with a wrong checksum.
    IcmpInCsumErrors,
    /// `Icmp: InDestUnreachs`. Destination unreachable received.
    IcmpInDestUnreachs,
    /// `Icmp: InEchos`. Echo requests received.
    IcmpInEchos,
    /// `Icmp: InEchoReps`. Echo replies received.
    IcmpInEchoReps,
    /// `Icmp: OutMsgs`. Messages sent.
    IcmpOutMsgs,
    /// `Icmp: OutRateLimit`. Not sent, for the limit of all messages together or
    /// of one peer.
    IcmpOutRateLimit,
    /// `Icmp: OutDestUnreachs`. Destination unreachable sent.
    IcmpOutDestUnreachs,
    /// `Icmp: OutEchoReps`. Echo replies sent.
    IcmpOutEchoReps,
    /// `Udp: InDatagrams`. Datagrams queued to a socket.
    UdpInDatagrams,
    /// `Udp: NoPorts`. Datagrams for a port on which nobody listens.
    UdpNoPorts,
    /// `Udp: InErrors`. Datagrams with an error, or dropped.
    UdpInErrors,
    /// `Udp: OutDatagrams`. Datagrams sent.
    UdpOutDatagrams,
    /// `Udp: RcvbufErrors`. Dropped because the socket's receive buffer was full.
    UdpRcvbufErrors,
    /// `Udp: SndbufErrors`. Not sent, for want of a buffer.
    UdpSndbufErrors,
    /// `Udp: InCsumErrors`. Dropped for a wrong checksum.
    UdpInCsumErrors,
    /// `Udp: MemErrors`. Dropped because all sockets together held too many frames.
    UdpMemErrors,
}

impl Snmp {
    /// All counters, in the order of the report.
    pub const ALL: [Self; 27] = [
        Self::IpInReceives,
        Self::IpInHdrErrors,
        Self::IpInAddrErrors,
        Self::IpInUnknownProtos,
        Self::IpInDiscards,
        Self::IpInDelivers,
        Self::IpOutRequests,
        Self::IpOutDiscards,
        Self::IpOutNoRoutes,
        Self::IcmpInMsgs,
        Self::IcmpInErrors,
        Self::IcmpInCsumErrors,
        Self::IcmpInDestUnreachs,
        Self::IcmpInEchos,
        Self::IcmpInEchoReps,
        Self::IcmpOutMsgs,
        Self::IcmpOutRateLimit,
        Self::IcmpOutDestUnreachs,
        Self::IcmpOutEchoReps,
        Self::UdpInDatagrams,
        Self::UdpNoPorts,
        Self::UdpInErrors,
        Self::UdpOutDatagrams,
        Self::UdpRcvbufErrors,
        Self::UdpSndbufErrors,
        Self::UdpInCsumErrors,
        Self::UdpMemErrors,
    ];

    /// The protocol and the counter's name, as `/proc/net/snmp` spells them.
    #[must_use]
    pub const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::IpInReceives => ("Ip", "InReceives"),
            Self::IpInHdrErrors => ("Ip", "InHdrErrors"),
            Self::IpInAddrErrors => ("Ip", "InAddrErrors"),
            Self::IpInUnknownProtos => ("Ip", "InUnknownProtos"),
            Self::IpInDiscards => ("Ip", "InDiscards"),
            Self::IpInDelivers => ("Ip", "InDelivers"),
            Self::IpOutRequests => ("Ip", "OutRequests"),
            Self::IpOutDiscards => ("Ip", "OutDiscards"),
            Self::IpOutNoRoutes => ("Ip", "OutNoRoutes"),
            Self::IcmpInMsgs => ("Icmp", "InMsgs"),
            Self::IcmpInErrors => ("Icmp", "InErrors"),
            Self::IcmpInCsumErrors => ("Icmp", "InCsumErrors"),
            Self::IcmpInDestUnreachs => ("Icmp", "InDestUnreachs"),
            Self::IcmpInEchos => ("Icmp", "InEchos"),
            Self::IcmpInEchoReps => ("Icmp", "InEchoReps"),
            Self::IcmpOutMsgs => ("Icmp", "OutMsgs"),
            Self::IcmpOutRateLimit => ("Icmp", "OutRateLimit"),
            Self::IcmpOutDestUnreachs => ("Icmp", "OutDestUnreachs"),
            Self::IcmpOutEchoReps => ("Icmp", "OutEchoReps"),
            Self::UdpInDatagrams => ("Udp", "InDatagrams"),
            Self::UdpNoPorts => ("Udp", "NoPorts"),
            Self::UdpInErrors => ("Udp", "InErrors"),
            Self::UdpOutDatagrams => ("Udp", "OutDatagrams"),
            Self::UdpRcvbufErrors => ("Udp", "RcvbufErrors"),
            Self::UdpSndbufErrors => ("Udp", "SndbufErrors"),
            Self::UdpInCsumErrors => ("Udp", "InCsumErrors"),
            Self::UdpMemErrors => ("Udp", "MemErrors"),
        }
    }
}

/// All counters of one CPU.
#[derive(Debug)]
pub struct Mib {
    counters: [Counter; Snmp::ALL.len()],
    /// Datagrams that were delivered with one look at their headers. They are in
    /// no other counter, but in the values of those that they count for.
    early: Counter,
}

impl Mib {
    /// Counts one.
    #[inline]
    pub fn inc(&self, counter: Snmp) {
        self.counters[counter as usize].add(1);
    }

    /// Counts `count` whole UDP datagrams, each received by IP, delivered by IP,
    /// and delivered by UDP.
    #[inline]
    pub(crate) fn add_early(&self, count: u64) {
        self.early.add(count);
    }

    /// What [`add_early`](Self::add_early) has counted.
    pub(crate) fn early(&self) -> u64 {
        self.early.count()
    }

    /// A counter's value.
    #[must_use]
    pub fn value(&self, counter: Snmp) -> u64 {
        let early = match counter {
            Snmp::IpInReceives | Snmp::IpInDelivers | Snmp::UdpInDatagrams => self.early(),
            _ => 0,
        };
        self.counters[counter as usize].count() + early
    }
}

impl Default for Mib {
    fn default() -> Self {
        Self {
            counters: core::array::from_fn(|_| Counter::default()),
            early: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_in_the_report_once_and_in_order() {
        for (position, counter) in Snmp::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, position);
        }
    }
}
