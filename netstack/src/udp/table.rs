//! Which socket a datagram is for.
//!
//! The lookup does not hash in the common case: 65,536 ports are 256 pages of
//! 256, made when first used, so a port is found by two loads. Sockets that
//! share a port are chained. A port with connected sockets is looked up by its
//! four-tuple first, in a hash table, so that a server with ten thousand
//! connected sockets on one port has no chain of ten thousand.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// To which datagrams a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The local address; `None` takes datagrams to any address of the host.
    pub(crate) local: Option<IpAddr>,
    pub(crate) port: u16,
    /// Only this peer's datagrams.
    pub(crate) remote: Option<SocketAddr>,
}

#[derive(Clone, Copy)]
struct Port {
    /// The first unconnected socket on the port.
    head: u32,
    /// How many connected sockets are on the port.
    connected: u32,
    /// The one socket on the port, if it takes datagrams to any address: then
    /// there is nothing to compare.
    sole: u32,
}

const EMPTY: Port = Port {
    head: NONE,
    connected: 0,
    sole: NONE,
};

type Page = Box<[Port; 256]>;

/// The sockets of one CPU, by their bindings. Sockets are slots of a slab that
/// the caller keeps.
pub(crate) struct Table {
    pages: Box<[Option<Page>; 256]>,
    connected: HashMap<(IpAddr, u16, SocketAddr), u32, FixedState>,
    /// The binding of each slot and the next slot on the same port.
    slots: Vec<Option<(Binding, u32)>>,
}

impl Table {
    /// `seed` keys the hash, so that nobody outside can choose peers that
    /// collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            pages: Box::new([const { None }; 256]),
            connected: HashMap::with_hasher(FixedState::with_seed(seed)),
            slots: Vec::new(),
        }
    }

    /// Binds a slot; it must not be bound.
    pub(crate) fn insert(&mut self, slot: u32, binding: Binding) {
        let at = slot as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        let port = self.port_mut(binding.port);
        let mut next = NONE;
        match key(&binding) {
            Some(key) => {
                port.connected += 1;
                self.connected.insert(key, slot);
            }
            None => next = core::mem::replace(&mut port.head, slot),
        }
        self.slots[at] = Some((binding, next));
        self.find_sole(binding.port);
    }

    /// Unbinds a slot. Does nothing when it is not bound.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some((binding, next)) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        if let Some(key) = key(&binding) {
            self.connected.remove(&key);
            self.port_mut(binding.port).connected -= 1;
        } else {
            self.unchain(binding.port, slot, next);
        }
        self.find_sole(binding.port);
    }

    /// Finds out again whether a port has one socket that takes everything.
    fn find_sole(&mut self, port: u16) {
        let Port {
            head, connected, ..
        } = *self.port_mut(port);
        let only = self.slots.get(head as usize).and_then(Option::as_ref);
        let is_sole = connected == 0
            && only.is_some_and(|(binding, next)| binding.local.is_none() && *next == NONE);
        self.port_mut(port).sole = if is_sole { head } else { NONE };
    }

    /// Takes `slot`, whose successor is `next`, out of its port's chain.
    fn unchain(&mut self, port: u16, slot: u32, next: u32) {
        let port = self.port_mut(port);
        if port.head == slot {
            port.head = next;
            return;
        }
        let mut at = port.head;
        while let Some(Some((_, link))) = self.slots.get_mut(at as usize) {
            if *link == slot {
                *link = next;
                return;
            }
            at = *link;
        }
    }

    /// The slot for a datagram: the socket that is connected to its sender,
    /// else one that is bound to its destination, else one that is bound to any
    /// address.
    #[inline]
    pub(crate) fn lookup(&self, to: IpAddr, port: u16, from: SocketAddr) -> Option<u32> {
        let [high, low] = port.to_be_bytes();
        let entry = self.pages[usize::from(high)].as_ref()?[usize::from(low)];
        if entry.sole != NONE {
            return Some(entry.sole);
        }
        if entry.connected != 0
            && let Some(&slot) = self.connected.get(&(to, port, from))
        {
            return Some(slot);
        }
        let mut wildcard = None;
        let mut at = entry.head;
        while let Some(Some((binding, next))) = self.slots.get(at as usize) {
            match binding.local {
                Some(local) if local == to => return Some(at),
                None => wildcard = Some(at),
                Some(_) => {}
            }
            at = *next;
        }
        wildcard
    }

    /// All slots on a port that take a datagram to a group or to everybody.
    pub(crate) fn listeners(&self, port: u16) -> impl Iterator<Item = u32> {
        let [high, low] = port.to_be_bytes();
        let page = self.pages[usize::from(high)].as_ref();
        let mut at = page.map_or(NONE, |page| page[usize::from(low)].head);
        core::iter::from_fn(move || {
            let (_, next) = self.slots.get(at as usize)?.as_ref()?;
            Some(core::mem::replace(&mut at, *next))
        })
    }

    /// The binding of a slot.
    #[inline]
    pub(crate) fn binding(&self, slot: u32) -> Option<&Binding> {
        Some(&self.slots.get(slot as usize)?.as_ref()?.0)
    }

    fn port_mut(&mut self, port: u16) -> &mut Port {
        let [high, low] = port.to_be_bytes();
        let page = self.pages[usize::from(high)].get_or_insert_with(|| Box::new([EMPTY; 256]));
        &mut page[usize::from(low)]
    }
}

/// The key of a connected socket; a socket connected from any address has none,
/// and is not made: connecting chooses an address.
fn key(binding: &Binding) -> Option<(IpAddr, u16, SocketAddr)> {
    Some((binding.local?, binding.port, binding.remote?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    fn binding(local: Option<u8>, port: u16, remote: Option<(u8, u16)>) -> Binding {
        let remote = remote.map(|(host, port)| SocketAddr::new(address(host), port));
        Binding {
            local: local.map(address),
            port,
            remote,
        }
    }

    #[test]
    fn the_most_specific_socket_gets_the_datagram() {
        let mut table = Table::new(1);
        table.insert(0, binding(None, 53, None));
        table.insert(1, binding(Some(2), 53, None));
        table.insert(2, binding(Some(2), 53, Some((9, 1000))));
        let from = |port| SocketAddr::new(address(9), port);
        assert_eq!(table.lookup(address(2), 53, from(1000)), Some(2));
        assert_eq!(table.lookup(address(2), 53, from(1001)), Some(1));
        assert_eq!(table.lookup(address(3), 53, from(1000)), Some(0));
        assert_eq!(table.lookup(address(2), 54, from(1000)), None);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u32, Option<u8>, u16, Option<(u8, u16)>),
        Remove(u32),
        Lookup(u8, u16, u8, u16),
    }

    fn op() -> impl Strategy<Value = Op> {
        let port = prop_oneof![Just(7u16), Just(8), Just(263)];
        let host = 1u8..4;
        prop_oneof![
            (
                0u32..8,
                prop::option::of(host.clone()),
                port.clone(),
                prop::option::of((1u8..3, 1u16..3))
            )
                .prop_map(|(slot, local, port, remote)| Op::Insert(slot, local, port, remote)),
            (0u32..8).prop_map(Op::Remove),
            (host, port, 1u8..3, 1u16..3)
                .prop_map(|(to, port, from, fp)| Op::Lookup(to, port, from, fp)),
        ]
    }

    proptest! {
        /// The oracle walks all bindings and scores them.
        #[test]
        fn lookup_agrees_with_a_walk_over_all_bindings(ops in prop::collection::vec(op(), 1..80)) {
            let mut table = Table::new(1);
            let mut oracle: [Option<Binding>; 8] = [None; 8];
            for op in ops {
                match op {
                    Op::Insert(slot, local, port, remote) => {
                        // As the registry above does: no two equal bindings, and
                        // a connected socket has a local address.
                        let remote = remote.filter(|_| local.is_some());
                        let new = binding(local, port, remote);
                        if oracle[slot as usize].is_none() && !oracle.contains(&Some(new)) {
                            table.insert(slot, new);
                            oracle[slot as usize] = Some(new);
                        }
                    }
                    Op::Remove(slot) => {
                        table.remove(slot);
                        oracle[slot as usize] = None;
                    }
                    Op::Lookup(to, port, from, from_port) => {
                        let from = SocketAddr::new(address(from), from_port);
                        let score = |b: &Binding| {
                            let fits = b.port == port
                                && b.local.is_none_or(|l| l == address(to))
                                && b.remote.is_none_or(|r| r == from);
                            fits.then_some(u8::from(b.remote.is_some()) * 2 + u8::from(b.local.is_some()))
                        };
                        let best = (0..8u32)
                            .filter_map(|s| Some((score(oracle[s as usize].as_ref()?)?, s)))
                            .max()
                            .map(|(_, slot)| slot);
                        prop_assert_eq!(table.lookup(address(to), port, from), best);
                    }
                }
            }
        }
    }
}
