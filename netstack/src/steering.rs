//! Which CPU a flow belongs to (RPS).
//!
//! The same Toeplitz hash and the same table serve received packets and
//! sockets, so that an application's answer leaves by the CPU that will receive
//! the next packet of the flow.

use crate::rss::{DEFAULT_KEY, Rss};
use crate::wire::ethernet::{EtherType, EthernetHeader};
use core::net::SocketAddr;
use softnet_dma_ring::HashKind;
use softnet_nic_hal::ethtool::RssConfig;

/// The hash and the table, fixed for the life of a stack.
pub(crate) struct Steering {
    rss: Rss,
    cpus: usize,
}

impl Steering {
    /// `rss` names no CPU that is not there.
    pub(crate) fn new(cpus: usize, rss: Option<Rss>) -> Self {
        Self {
            rss: rss.unwrap_or_else(|| Rss::new(&DEFAULT_KEY, cpus as u16)),
            cpus,
        }
    }

    /// Whether there is more than one CPU to choose from.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.cpus > 1
    }

    /// The CPU of a hash.
    #[inline]
    pub(crate) fn cpu_of(&self, hash: u32) -> usize {
        usize::from(self.rss.cpu(hash))
    }

    /// What a NIC is to be told so that each packet comes in by a queue of the CPU that
    /// its flow belongs to, if that CPU has one: its table has so many entries, and queue
    /// N is CPU N's, counted round.
    pub(crate) fn for_nic(&self, queues: u16, entries: usize) -> RssConfig {
        let table = (0..entries).map(|entry| self.rss.cpu(entry as u32) % queues.max(1));
        RssConfig {
            key: *self.rss.key(),
            table: table.collect(),
        }
    }

    /// The CPU that will receive what `peer` sends to `local`.
    #[inline]
    pub(crate) fn cpu_of_reply(&self, local: SocketAddr, peer: SocketAddr) -> usize {
        if !self.is_active() {
            return 0;
        }
        usize::from(self.rss.cpu_of_flow(local, peer))
    }

    /// Hashes a received Ethernet frame. What is not IPv4 has no hash, and stays
    /// where it came in.
    pub(crate) fn flow_hash(&self, frame: &[u8]) -> (u32, HashKind) {
        match EthernetHeader::parse(frame) {
            Ok((header, payload)) if header.ether_type == EtherType::IPV4 => {
                self.rss.toeplitz().hash_ipv4_packet(&frame[payload])
            }
            _ => (0, HashKind::None),
        }
    }
}
