//! The host's own addresses.

use crate::route::IfIndex;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// What an IPv4 destination is to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressKind {
    /// An address of this host.
    Local,
    /// 255.255.255.255, or the broadcast address of a connected network.
    Broadcast,
    /// 224.0.0.0/4.
    Multicast,
    /// Somebody else's.
    Foreign,
}

/// All addresses of the host. Each CPU has a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressTable {
    entries: Vec<Entry>,
    sketch: Sketch,
    generation: u64,
}

/// A set of addresses that may seem to hold more than it was given: what it does
/// not hold is neither an address of this host nor the broadcast address of its
/// networks, and that takes no walk to find out.
#[derive(Clone, Copy, Debug, Default)]
struct Sketch(u64);

impl Sketch {
    fn of(entries: &[Entry]) -> Self {
        let of_entry = |entry: &Entry| [Some(entry.address), entry.broadcast];
        let bits = entries.iter().flat_map(of_entry).flatten().map(Self::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// One of 64 bits, by the high bits of a product with 2^32 divided by the
    /// golden ratio, which spreads addresses that differ little.
    #[inline]
    fn bit(address: Ipv4Addr) -> u64 {
        1 << (u32::from_ne_bytes(address.octets()).wrapping_mul(0x9e37_79b1) >> 26)
    }

    #[inline]
    fn may_hold(self, address: Ipv4Addr) -> bool {
        self.0 & Self::bit(address) != 0
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: Ipv4Addr,
    broadcast: Option<Ipv4Addr>,
    dev: IfIndex,
    prefix_len: u8,
}

impl AddressTable {
    /// Counts the changes.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// To be called after each change.
    fn changed(&mut self) {
        self.sketch = Sketch::of(&self.entries);
        self.generation += 1;
    }

    /// Adds an address; the same again changes nothing.
    pub(crate) fn add(&mut self, dev: IfIndex, address: Ipv4Addr, prefix_len: u8) {
        if self
            .entries
            .iter()
            .any(|entry| entry.address == address && entry.dev == dev)
        {
            return;
        }
        // RFC 3021: a network of 31 bits has no broadcast address.
        let host_bits = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
        let broadcast = (prefix_len < 31).then(|| Ipv4Addr::from(u32::from(address) | host_bits));
        self.entries.push(Entry {
            address,
            broadcast,
            dev,
            prefix_len,
        });
        self.changed();
    }

    /// Removes an address. Returns its prefix length if it was there.
    pub(crate) fn remove(&mut self, dev: IfIndex, address: Ipv4Addr) -> Option<u8> {
        let at = self
            .entries
            .iter()
            .position(|e| e.address == address && e.dev == dev)?;
        let removed = self.entries.remove(at);
        self.changed();
        Some(removed.prefix_len)
    }

    /// Removes a device's addresses.
    pub(crate) fn remove_device(&mut self, dev: IfIndex) {
        self.entries.retain(|entry| entry.dev != dev);
        self.changed();
    }

    /// Whether it is an address of this host. All of 127/8 is (RFC 1122 section
    /// 3.2.1.3 (g)): nothing to it may leave the host.
    #[inline]
    pub(crate) fn is_local(&self, address: Ipv4Addr) -> bool {
        self.entries.iter().any(|entry| entry.address == address) || address.is_loopback()
    }

    /// Whether `destination` is an address of this host, and `source` neither
    /// that nor a connected network's broadcast address.
    #[inline]
    pub(crate) fn is_delivery(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let not_a_source = self.sketch.may_hold(source) && self.is_no_source(source);
        // The loopback address was the first to be added, and is not asked for by
        // packets from a NIC.
        let mut last_first = self.entries.iter().rev();
        !not_a_source && last_first.any(|entry| entry.address == destination)
    }

    /// Whether no other host can send from it: it is this host's, or a connected
    /// network's broadcast address.
    fn is_no_source(&self, address: Ipv4Addr) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.address == address || entry.broadcast == Some(address))
    }

    /// Whether it is an address of this device.
    pub(crate) fn is_on(&self, dev: IfIndex, address: Ipv4Addr) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.address == address && entry.dev == dev)
    }

    /// Whether it is an address of many hosts.
    #[inline]
    pub(crate) fn is_group(&self, address: Ipv4Addr) -> bool {
        match self.kind(address) {
            AddressKind::Multicast | AddressKind::Broadcast => true,
            AddressKind::Local | AddressKind::Foreign => false,
        }
    }

    /// What a destination is to this host.
    #[inline]
    pub(crate) fn kind(&self, destination: Ipv4Addr) -> AddressKind {
        if self.is_local(destination) {
            return AddressKind::Local;
        }
        if destination.is_multicast() {
            return AddressKind::Multicast;
        }
        let directed = |entry: &Entry| entry.broadcast == Some(destination);
        if destination.is_broadcast() || self.entries.iter().any(directed) {
            return AddressKind::Broadcast;
        }
        AddressKind::Foreign
    }

    /// The device's first address in the network of `address`.
    pub(crate) fn in_network(
        &self,
        dev: IfIndex,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> Option<Ipv4Addr> {
        let network = |address: Ipv4Addr| {
            let host_bits = 32 - u32::from(prefix_len.min(32));
            address.to_bits().checked_shr(host_bits)
        };
        let mut entries = self.entries.iter();
        let same = |entry: &&Entry| {
            entry.dev == dev
                && entry.prefix_len == prefix_len
                && network(entry.address) == network(address)
        };
        Some(entries.find(same)?.address)
    }

    /// The device's first address.
    pub(crate) fn primary(&self, dev: IfIndex) -> Option<Ipv4Addr> {
        Some(self.entries.iter().find(|entry| entry.dev == dev)?.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_broadcast_address() {
        let mut table = AddressTable::default();
        table.add(IfIndex(1), Ipv4Addr::new(10, 1, 2, 3), 20);
        assert_eq!(table.kind(Ipv4Addr::new(10, 1, 2, 3)), AddressKind::Local);
        assert_eq!(
            table.kind(Ipv4Addr::new(10, 1, 15, 255)),
            AddressKind::Broadcast
        );
        assert_eq!(
            table.kind(Ipv4Addr::new(10, 1, 2, 255)),
            AddressKind::Foreign
        );
        assert_eq!(table.kind(Ipv4Addr::BROADCAST), AddressKind::Broadcast);
        assert_eq!(
            table.kind(Ipv4Addr::new(224, 0, 0, 1)),
            AddressKind::Multicast
        );
    }

    #[test]
    fn point_to_point_and_host_networks_have_none() {
        let mut table = AddressTable::default();
        table.add(IfIndex(1), Ipv4Addr::new(10, 0, 0, 0), 31);
        table.add(IfIndex(1), Ipv4Addr::new(10, 0, 0, 7), 32);
        assert_eq!(table.kind(Ipv4Addr::new(10, 0, 0, 1)), AddressKind::Foreign);
        assert_eq!(table.kind(Ipv4Addr::new(10, 0, 0, 7)), AddressKind::Local);
    }

    #[test]
    fn a_packet_is_delivered_to_an_own_address_and_from_no_own_address() {
        let mut table = AddressTable::default();
        table.add(IfIndex(1), Ipv4Addr::LOCALHOST, 8);
        let own = Ipv4Addr::new(10, 0, 0, 2);
        table.add(IfIndex(2), own, 24);
        for last in 0..=255 {
            let peer = Ipv4Addr::new(10, 0, 0, last);
            // 10.0.0.255 is everybody there, and so nobody who sends.
            assert_eq!(table.is_delivery(peer, own), peer != own && last != 255);
            assert!(!table.is_delivery(own, peer));
        }
        table.remove(IfIndex(2), own);
        let peer = Ipv4Addr::new(10, 0, 0, 3);
        assert!(!table.is_delivery(peer, own));
        assert!(table.is_delivery(own, Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn a_removed_address_is_foreign_again() {
        let mut table = AddressTable::default();
        let address = Ipv4Addr::new(192, 0, 2, 1);
        table.add(IfIndex(1), address, 24);
        assert_eq!(table.remove(IfIndex(1), address), Some(24));
        assert_eq!(table.kind(address), AddressKind::Foreign);
        assert_eq!(table.remove(IfIndex(1), address), None);
    }
}
