//! The routing table: which device, which next hop and which source address
//! lead to a destination (RFC 1122 section 3.3.1, RFC 1812 section 5.2.4.3).
//!
//! Routes are kept by prefix length, longest first, and by network within a
//! length. A lookup is a binary search for each length that occurs, so for `n`
//! routes of `k` lengths it takes `k * log n` steps: 2 or 3 for a host, at most
//! 33 searches for a full IPv4 table. Adding and removing move the routes of one
//! length, which takes `n` steps.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network device of the stack, counted from 1, as `ifindex` is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u16);

impl fmt::Debug for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "if{}", self.0)
    }
}

/// A network: an address whose bits behind the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    network: IpAddr,
    len: u8,
}

impl IpPrefix {
    /// `0.0.0.0/0`, the prefix of the default route.
    pub const DEFAULT_V4: Self = Self {
        network: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        len: 0,
    };
    /// `::/0`, the prefix of the default route.
    pub const DEFAULT_V6: Self = Self {
        network: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        len: 0,
    };

    /// The network of `len` bits that `address` is in; `None` when the address
    /// has fewer bits.
    #[must_use]
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let network = match address {
            IpAddr::V4(ip) if len <= 32 => {
                Ipv4Addr::from_bits(ip.to_bits() & u32::mask(len)).into()
            }
            IpAddr::V6(ip) if len <= 128 => {
                Ipv6Addr::from_bits(ip.to_bits() & u128::mask(len)).into()
            }
            _ => return None,
        };
        Some(Self { network, len })
    }

    /// The prefix that holds one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let len = if address.is_ipv4() { 32 } else { 128 };
        Self {
            network: address,
            len,
        }
    }

    /// The first address.
    #[must_use]
    pub const fn network(self) -> IpAddr {
        self.network
    }

    /// How many bits are fixed.
    #[expect(clippy::len_without_is_empty, reason = "it is no container")]
    #[must_use]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// Whether `address` is in the network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::new(address, self.len) == Some(self)
    }

    /// The directed broadcast address of an IPv4 network of at most 30 bits
    /// (RFC 3021: longer ones have none).
    #[must_use]
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.network {
            IpAddr::V4(ip) if self.len <= 30 => {
                Some(Ipv4Addr::from_bits(ip.to_bits() | !u32::mask(self.len)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.len)
    }
}

impl fmt::Debug for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a route does with its packets: Linux's `RTN_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends them to the next hop.
    #[default]
    Unicast,
    /// Delivers them to this host.
    Local,
    /// Delivers them to this host, and sends them to every station.
    Broadcast,
    /// Drops them in silence.
    Blackhole,
    /// Drops them; the sender hears that the host is unreachable.
    Unreachable,
    /// Drops them; the sender hears that it is prohibited.
    Prohibit,
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destinations.
    pub prefix: IpPrefix,
    /// What happens to packets.
    pub kind: RouteKind,
    /// The device that they leave by.
    pub device: IfIndex,
    /// The router; without one, destinations are on the link.
    pub gateway: Option<IpAddr>,
    /// The source address for packets that have none yet.
    pub source: Option<IpAddr>,
    /// The largest packet, in bytes; without it, the device says.
    pub mtu: Option<u16>,
    /// Of two routes to a prefix, the lower metric wins.
    pub metric: u32,
}

impl Route {
    /// A route to a network on the link.
    #[must_use]
    pub const fn on_link(prefix: IpPrefix, device: IfIndex) -> Self {
        Self {
            prefix,
            kind: RouteKind::Unicast,
            device,
            gateway: None,
            source: None,
            mtu: None,
            metric: 0,
        }
    }

    /// A route by way of a router.
    #[must_use]
    pub const fn via(prefix: IpPrefix, device: IfIndex, gateway: IpAddr) -> Self {
        let mut route = Self::on_link(prefix, device);
        route.gateway = Some(gateway);
        route
    }

    /// The default route, of the gateway's family.
    #[must_use]
    pub const fn default_via(device: IfIndex, gateway: IpAddr) -> Self {
        let prefix = match gateway {
            IpAddr::V4(_) => IpPrefix::DEFAULT_V4,
            IpAddr::V6(_) => IpPrefix::DEFAULT_V6,
        };
        Self::via(prefix, device, gateway)
    }

    /// The same route with another kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: RouteKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same route with a source address.
    #[must_use]
    pub const fn with_source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same route with another metric.
    #[must_use]
    pub const fn with_metric(mut self, metric: u32) -> Self {
        self.metric = metric;
        self
    }

    /// The station that a packet for `destination` is handed to.
    #[must_use]
    #[inline]
    pub fn next_hop(&self, destination: IpAddr) -> IpAddr {
        self.gateway.unwrap_or(destination)
    }
}

/// Why a route was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// There is a route to the prefix with this metric (`EEXIST`).
    #[error("there is a route to {prefix} with metric {metric} already")]
    Exists {
        /// The prefix of both.
        prefix: IpPrefix,
        /// The metric of both.
        metric: u32,
    },
    /// Prefix, gateway and source are not of one family.
    #[error("the route to {prefix} names an address of the other IP family")]
    Family {
        /// The prefix of the route.
        prefix: IpPrefix,
    },
    /// The gateway is not on the device's link (`ENETUNREACH`).
    #[error(
        "the gateway {gateway} is not on the link of the route's device: add the device's own network first"
    )]
    GatewayUnreachable {
        /// The gateway of the route.
        gateway: IpAddr,
    },
}

/// A routing table.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    v4: Family<u32>,
    v6: Family<u128>,
    generation: u64,
}

impl RouteTable {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            v4: Family::new(),
            v6: Family::new(),
            generation: 0,
        }
    }

    /// A number that changes with every change of the table: a route that was
    /// looked up stays the right one for as long as this stays the same.
    #[must_use]
    #[inline]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All routes, longest prefix first, IPv4 before IPv6.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.v4.iter().chain(self.v6.iter())
    }

    /// The best route to `destination`: the longest prefix, and of those the
    /// lowest metric.
    #[must_use]
    #[inline]
    pub fn lookup(&self, destination: IpAddr) -> Option<&Route> {
        match destination {
            IpAddr::V4(ip) => self.v4.lookup(ip.to_bits(), |_| true),
            IpAddr::V6(ip) => self.v6.lookup(ip.to_bits(), |_| true),
        }
    }

    /// The best route to `destination` that leaves by `device`.
    #[must_use]
    pub fn lookup_on(&self, destination: IpAddr, device: IfIndex) -> Option<&Route> {
        let leaves = |route: &Route| route.device == device;
        match destination {
            IpAddr::V4(ip) => self.v4.lookup(ip.to_bits(), leaves),
            IpAddr::V6(ip) => self.v6.lookup(ip.to_bits(), leaves),
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`RouteError`]; the table is then as it was.
    pub fn add(&mut self, route: Route) -> Result<(), RouteError> {
        let prefix = route.prefix;
        let v4 = prefix.network.is_ipv4();
        let mut named = route.gateway.into_iter().chain(route.source);
        if named.any(|address| address.is_ipv4() != v4) {
            return Err(RouteError::Family { prefix });
        }
        if let Some(gateway) = route.gateway
            && !self.is_on_link(gateway, route.device)
        {
            return Err(RouteError::GatewayUnreachable { gateway });
        }
        let added = match prefix.network {
            IpAddr::V4(ip) => self.v4.insert(ip.to_bits(), route),
            IpAddr::V6(ip) => self.v6.insert(ip.to_bits(), route),
        };
        if !added {
            let metric = route.metric;
            return Err(RouteError::Exists { prefix, metric });
        }
        self.generation += 1;
        Ok(())
    }

    /// Removes the route to `prefix` with this metric, and gives it back.
    pub fn remove(&mut self, prefix: IpPrefix, metric: u32) -> Option<Route> {
        let removed = match prefix.network {
            IpAddr::V4(ip) => self.v4.remove(ip.to_bits(), prefix.len, metric),
            IpAddr::V6(ip) => self.v6.remove(ip.to_bits(), prefix.len, metric),
        }?;
        self.generation += 1;
        Some(removed)
    }

    /// Keeps only the routes that `keep` says; the way to take out those of a
    /// device that is gone.
    pub fn retain(&mut self, mut keep: impl FnMut(&Route) -> bool) {
        let before = self.len();
        self.v4.retain(&mut keep);
        self.v6.retain(&mut keep);
        if self.len() != before {
            self.generation += 1;
        }
    }

    fn is_on_link(&self, gateway: IpAddr, device: IfIndex) -> bool {
        self.lookup_on(gateway, device)
            .is_some_and(|route| route.kind == RouteKind::Unicast && route.gateway.is_none())
    }
}

/// A route that a socket has looked up and keeps.
#[derive(Clone, Copy, Debug)]
pub struct CachedRoute {
    generation: u64,
    destination: IpAddr,
    route: Route,
}

impl CachedRoute {
    /// Looks up the route to `destination`.
    #[must_use]
    pub fn lookup(table: &RouteTable, destination: IpAddr) -> Option<Self> {
        let generation = table.generation();
        let route = *table.lookup(destination)?;
        Some(Self {
            generation,
            destination,
            route,
        })
    }

    /// The route, unless the table has changed since.
    #[must_use]
    #[inline]
    pub fn fresh(&self, table: &RouteTable) -> Option<&Route> {
        (self.generation == table.generation()).then_some(&self.route)
    }

    /// What it leads to.
    #[must_use]
    #[inline]
    pub const fn destination(&self) -> IpAddr {
        self.destination
    }
}

/// The bits of an address.
trait Bits: Copy + Ord {
    /// The bits of a prefix set, the others clear.
    fn mask(len: u8) -> Self;
    fn and(self, other: Self) -> Self;
}

impl Bits for u32 {
    #[inline]
    fn mask(len: u8) -> Self {
        Self::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
    }

    #[inline]
    fn and(self, other: Self) -> Self {
        self & other
    }
}

impl Bits for u128 {
    #[inline]
    fn mask(len: u8) -> Self {
        Self::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
    }

    #[inline]
    fn and(self, other: Self) -> Self {
        self & other
    }
}

/// The routes of one IP family, longest prefix first.
#[derive(Clone, Debug)]
struct Family<B> {
    lengths: Vec<Length<B>>,
}

impl<B> Default for Family<B> {
    fn default() -> Self {
        Self::new()
    }
}

/// The routes of one prefix length, by network and metric. There is at least
/// one.
#[derive(Clone, Debug)]
struct Length<B> {
    len: u8,
    mask: B,
    routes: Vec<(B, Route)>,
}

impl<B> Family<B> {
    const fn new() -> Self {
        Self {
            lengths: Vec::new(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Route> {
        let lengths = self.lengths.iter();
        lengths.flat_map(|length| length.routes.iter().map(|(_, route)| route))
    }

    fn len(&self) -> usize {
        self.lengths.iter().map(|length| length.routes.len()).sum()
    }
}

impl<B: Bits> Family<B> {
    #[inline]
    fn lookup(&self, address: B, want: impl Fn(&Route) -> bool) -> Option<&Route> {
        self.lengths
            .iter()
            .find_map(|length| length.lookup(address, &want))
    }

    fn insert(&mut self, network: B, route: Route) -> bool {
        let len = route.prefix.len;
        let at = self.lengths.partition_point(|length| length.len > len);
        if self.lengths.get(at).is_none_or(|length| length.len != len) {
            let (mask, routes) = (B::mask(len), Vec::new());
            self.lengths.insert(at, Length { len, mask, routes });
        }
        self.lengths[at].insert(network, route)
    }

    fn remove(&mut self, network: B, len: u8, metric: u32) -> Option<Route> {
        let length = self.lengths.iter_mut().find(|length| length.len == len)?;
        let at = length.position(network, metric).ok()?;
        let (_, route) = length.routes.remove(at);
        self.drop_empty();
        Some(route)
    }

    fn retain(&mut self, keep: &mut impl FnMut(&Route) -> bool) {
        for length in &mut self.lengths {
            length.routes.retain(|(_, route)| keep(route));
        }
        self.drop_empty();
    }

    fn drop_empty(&mut self) {
        self.lengths.retain(|length| !length.routes.is_empty());
    }
}

impl<B: Bits> Length<B> {
    #[inline]
    fn lookup(&self, address: B, want: impl Fn(&Route) -> bool) -> Option<&Route> {
        let network = address.and(self.mask);
        let first = self.routes.partition_point(|&(at, _)| at < network);
        self.routes[first..]
            .iter()
            .take_while(|&&(at, _)| at == network)
            .map(|(_, route)| route)
            .find(|route| want(route))
    }

    fn position(&self, network: B, metric: u32) -> Result<usize, usize> {
        self.routes
            .binary_search_by(|&(at, route)| (at, route.metric).cmp(&(network, metric)))
    }

    fn insert(&mut self, network: B, route: Route) -> bool {
        let Err(at) = self.position(network, route.metric) else {
            return false;
        };
        self.routes.insert(at, (network, route));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETH0: IfIndex = IfIndex(1);
    const ETH1: IfIndex = IfIndex(2);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpPrefix {
        let (address, len) = text.split_once('/').unwrap();
        IpPrefix::new(ip(address), len.parse().unwrap()).unwrap()
    }

    fn host_table() -> RouteTable {
        let mut table = RouteTable::new();
        table.add(Route::on_link(net("10.0.0.0/24"), ETH0)).unwrap();
        table.add(Route::default_via(ETH0, ip("10.0.0.1"))).unwrap();
        table
    }

    #[test]
    fn a_connected_destination_is_its_own_next_hop() {
        let table = host_table();
        let route = table.lookup(ip("10.0.0.9")).unwrap();
        assert_eq!(route.next_hop(ip("10.0.0.9")), ip("10.0.0.9"));
    }

    #[test]
    fn everything_else_goes_to_the_gateway() {
        let table = host_table();
        let route = table.lookup(ip("8.8.8.8")).unwrap();
        assert_eq!(route.next_hop(ip("8.8.8.8")), ip("10.0.0.1"));
    }

    #[test]
    fn without_a_default_route_there_is_none() {
        let mut table = host_table();
        table.remove(IpPrefix::DEFAULT_V4, 0).unwrap();
        assert_eq!(table.lookup(ip("8.8.8.8")), None);
        assert_eq!(table.lookup(ip("fe80::1")), None);
    }

    #[test]
    fn the_lower_metric_wins() {
        let mut table = host_table();
        let backup = Route::on_link(net("10.0.0.0/24"), ETH1).with_metric(5);
        table.add(backup).unwrap();
        assert_eq!(table.lookup(ip("10.0.0.9")).unwrap().device, ETH0);
        assert_eq!(table.lookup_on(ip("10.0.0.9"), ETH1), Some(&backup));
        table.remove(net("10.0.0.0/24"), 0).unwrap();
        assert_eq!(table.lookup(ip("10.0.0.9")), Some(&backup));
    }

    #[test]
    fn a_second_route_of_the_same_metric_is_refused() {
        let mut table = host_table();
        let again = Route::on_link(net("10.0.0.0/24"), ETH1);
        let prefix = again.prefix;
        assert_eq!(
            table.add(again),
            Err(RouteError::Exists { prefix, metric: 0 })
        );
    }

    #[test]
    fn a_gateway_behind_a_gateway_is_refused() {
        let mut table = host_table();
        let gateway = ip("192.168.7.1");
        let route = Route::via(net("172.16.0.0/12"), ETH0, gateway);
        assert_eq!(
            table.add(route),
            Err(RouteError::GatewayUnreachable { gateway })
        );
    }

    #[test]
    fn a_gateway_of_the_other_family_is_refused() {
        let mut table = host_table();
        let prefix = net("172.16.0.0/12");
        let route = Route::via(prefix, ETH0, ip("fe80::1"));
        assert_eq!(table.add(route), Err(RouteError::Family { prefix }));
    }

    #[test]
    fn the_broadcast_address_has_all_host_bits_set() {
        assert_eq!(
            net("10.1.2.0/23").broadcast(),
            Some(Ipv4Addr::new(10, 1, 3, 255))
        );
        assert_eq!(net("10.1.2.0/31").broadcast(), None);
    }

    #[test]
    fn a_cached_route_is_stale_after_any_change() {
        let mut table = host_table();
        let cached = CachedRoute::lookup(&table, ip("8.8.8.8")).unwrap();
        assert!(cached.fresh(&table).is_some());
        assert_eq!(table.remove(net("1.0.0.0/8"), 0), None);
        assert!(cached.fresh(&table).is_some(), "nothing was removed");
        table.add(Route::on_link(net("8.0.0.0/8"), ETH1)).unwrap();
        assert!(cached.fresh(&table).is_none());
        let cached = CachedRoute::lookup(&table, ip("8.8.8.8")).unwrap();
        table.remove(net("8.0.0.0/8"), 0).unwrap();
        assert!(cached.fresh(&table).is_none());
    }

    #[test]
    fn the_routes_of_a_device_leave_with_it() {
        let mut table = host_table();
        table.add(Route::on_link(net("10.9.0.0/24"), ETH1)).unwrap();
        let before = table.generation();
        table.retain(|route| route.device != ETH0);
        assert_ne!(table.generation(), before);
        assert_eq!(table.len(), 1);
        assert_eq!(table.lookup(ip("10.0.0.9")), None);
    }

    /// Few addresses and few lengths, so that prefixes nest and meet.
    fn address() -> impl Strategy<Value = IpAddr> {
        let v4 = (0u32..64).prop_map(|bits| IpAddr::V4((bits << 26 | bits).into()));
        let v6 = (0u128..64).prop_map(|bits| IpAddr::V6((bits << 122 | bits).into()));
        prop_oneof![v4, v6]
    }

    fn route() -> impl Strategy<Value = Route> {
        let len = prop::sample::select(std::vec![0u8, 1, 3, 5, 6, 8, 26, 30, 31, 32]);
        (address(), len, 1u16..4, 0u32..3).prop_map(|(address, len, device, metric)| {
            let prefix = IpPrefix::new(address, len).unwrap();
            Route::on_link(prefix, IfIndex(device)).with_metric(metric)
        })
    }

    /// Every route looked at, one by one.
    fn oracle(routes: &[Route], to: IpAddr, on: Option<IfIndex>) -> Option<&Route> {
        routes
            .iter()
            .filter(|route| route.prefix.contains(to) && on.is_none_or(|on| on == route.device))
            .min_by_key(|route| (core::cmp::Reverse(route.prefix.len), route.metric))
    }

    proptest! {
        #[test]
        fn lookups_agree_with_looking_at_every_route(
            steps in prop::collection::vec((route(), any::<bool>()), 0..60),
            to in address(),
        ) {
            let (mut table, mut routes) = (RouteTable::new(), std::vec::Vec::<Route>::new());
            for (route, add) in steps {
                let same = |r: &Route| (r.prefix, r.metric) == (route.prefix, route.metric);
                let at = routes.iter().position(same);
                if add {
                    prop_assert_eq!(table.add(route).is_ok(), at.is_none());
                    if at.is_none() {
                        routes.push(route);
                    }
                } else {
                    let removed = table.remove(route.prefix, route.metric);
                    prop_assert_eq!(removed, at.map(|at| routes.remove(at)));
                }
            }
            prop_assert_eq!(table.len(), routes.len());
            prop_assert_eq!(table.lookup(to), oracle(&routes, to, None));
            let on = IfIndex(2);
            prop_assert_eq!(table.lookup_on(to, on), oracle(&routes, to, Some(on)));
        }

        #[test]
        fn a_prefix_contains_what_shares_its_bits(bits in any::<u32>(), other in any::<u32>(), len in 0u8..=32) {
            let prefix = IpPrefix::new(IpAddr::V4(bits.into()), len).unwrap();
            let same = (bits ^ other).leading_zeros() >= u32::from(len);
            prop_assert_eq!(prefix.contains(IpAddr::V4(other.into())), same);
        }
    }
}
