//! The steering as the program reads it: tables with two generations.
//!
//! Every entry carries the number of its generation, 0 or 1, and an array of maps
//! with one element holds the configuration in force, which names the generation
//! to look up. An update clears the other generation, fills it, and sets that
//! element. The kernel answers that last call only after every program that might
//! still read the old configuration has ended (that is what it promises for a map
//! in a map), so the old generation can go then. At no time does a frame find half
//! of a steering, or none.

use super::error::MapError;
use super::maps::NamedMap;
use super::steering::Fragments;
use super::steering::{IpPrefix, Steering, Vlans, port_prefixes};
use super::syscall::{MapKind, MapShape};
use softnet_nic_hal::MacAddress;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Bits of the configuration's flags.
pub(super) mod flag {
    /// Every frame is ours.
    pub(in crate::bpf) const ALL: i32 = 1 << 0;
    /// Broadcast frames are ours.
    pub(in crate::bpf) const BROADCAST: i32 = 1 << 1;
    /// Multicast frames are ours.
    pub(in crate::bpf) const MULTICAST: i32 = 1 << 2;
    /// The table of MAC addresses is not empty.
    pub(in crate::bpf) const MACS: i32 = 1 << 3;
    /// The table of IPv4 prefixes is not empty.
    pub(in crate::bpf) const IPV4: i32 = 1 << 4;
    /// The table of IPv6 prefixes is not empty.
    pub(in crate::bpf) const IPV6: i32 = 1 << 5;
    /// The table of ports is not empty.
    pub(in crate::bpf) const PORTS: i32 = 1 << 6;
    /// The table of ports is not empty, and holds for every destination.
    pub(in crate::bpf) const PORTS_ANYWHERE: i32 = 1 << 7;
}

/// The value of an address that is ours altogether.
pub(super) const ADDRESS_OURS: u32 = 1;
/// The value of an address whose ports are looked at.
pub(super) const ADDRESS_PORTS: u32 = 2;
/// The configuration's VLAN when any will do.
pub(super) const VLAN_ANY: u32 = u32::MAX;
/// The kind of a port table's key for a packet with a port, or without fragments.
pub(super) const KIND_WHOLE: u8 = 0;
/// The kind of a port table's key for a fragment.
pub(super) const KIND_FRAGMENT: u8 = 1;

/// Where the fields of a configuration lie: three words and a spare one.
pub(super) mod config {
    pub(in crate::bpf) const FLAGS: i16 = 0;
    pub(in crate::bpf) const GENERATION: i16 = 4;
    pub(in crate::bpf) const VLAN: i16 = 8;
    pub(in crate::bpf) const LEN: u32 = 16;
}

/// Where the generation lies in a key: a byte.
pub(super) mod key {
    pub(in crate::bpf) const MAC_GENERATION: usize = 6;
    /// In the tries, behind the word with the prefix's length.
    pub(in crate::bpf) const GENERATION: usize = 4;
}

/// `BPF_F_NO_PREALLOC`: entries are allocated as they come; tries know no other way.
const NO_PREALLOC: u32 = 1;
/// The most entries of each table, both generations together.
const ENTRIES: u32 = 1 << 16;

const CONFIG: MapShape = array(MapKind::Array, config::LEN);
const SELECTOR: MapShape = array(MapKind::ArrayOfMaps, 4);
const MACS: MapShape = table(MapKind::Hash, 8);
const IPV4: MapShape = table(MapKind::LpmTrie, 12);
const IPV6: MapShape = table(MapKind::LpmTrie, 24);
const PORTS: MapShape = table(MapKind::LpmTrie, 12);

const fn array(kind: MapKind, value_size: u32) -> MapShape {
    MapShape {
        kind,
        key_size: 4,
        value_size,
        max_entries: 1,
        flags: 0,
    }
}

const fn table(kind: MapKind, key_size: u32) -> MapShape {
    MapShape {
        kind,
        key_size,
        value_size: 4,
        max_entries: ENTRIES,
        flags: NO_PREALLOC,
    }
}

/// Which half of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    Even,
    Odd,
}

impl Generation {
    const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

/// The steering tables of a program.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) selector: NamedMap,
    configs: [NamedMap; 2],
    pub(super) macs: NamedMap,
    pub(super) ipv4: NamedMap,
    pub(super) ipv6: NamedMap,
    pub(super) ports: NamedMap,
    /// One update at a time. (Other processes with the descriptors have to agree
    /// among themselves.)
    writer: Mutex<()>,
}

/// How many descriptors [`Tables::into_fds`] gives.
pub(super) const TABLE_FDS: usize = 7;

impl Tables {
    pub(super) fn new() -> Result<Self, MapError> {
        let configs = [
            NamedMap::create("softnet_even", CONFIG)?,
            NamedMap::create("softnet_odd", CONFIG)?,
        ];
        let selector = NamedMap::create_outer("softnet_select", SELECTOR, Some(&configs[0]))?;
        let tables = Self {
            selector,
            configs,
            macs: NamedMap::create("softnet_macs", MACS)?,
            ipv4: NamedMap::create("softnet_ipv4", IPV4)?,
            ipv6: NamedMap::create("softnet_ipv6", IPV6)?,
            ports: NamedMap::create("softnet_ports", PORTS)?,
            writer: Mutex::new(()),
        };
        tables.select(Generation::Even)?;
        Ok(tables)
    }

    pub(super) fn from_fds(fds: [OwnedFd; TABLE_FDS]) -> Result<Self, MapError> {
        let [selector, even, odd, macs, ipv4, ipv6, ports] = fds;
        Ok(Self {
            selector: NamedMap::from_fd("softnet_select", selector, SELECTOR)?,
            configs: [
                NamedMap::from_fd("softnet_even", even, CONFIG)?,
                NamedMap::from_fd("softnet_odd", odd, CONFIG)?,
            ],
            macs: NamedMap::from_fd("softnet_macs", macs, MACS)?,
            ipv4: NamedMap::from_fd("softnet_ipv4", ipv4, IPV4)?,
            ipv6: NamedMap::from_fd("softnet_ipv6", ipv6, IPV6)?,
            ports: NamedMap::from_fd("softnet_ports", ports, PORTS)?,
            writer: Mutex::new(()),
        })
    }

    pub(super) fn into_fds(self) -> [OwnedFd; TABLE_FDS] {
        let [even, odd] = self.configs;
        [
            self.selector.into_fd(),
            even.into_fd(),
            odd.into_fd(),
            self.macs.into_fd(),
            self.ipv4.into_fd(),
            self.ipv6.into_fd(),
            self.ports.into_fd(),
        ]
    }

    pub(super) fn as_fds(&self) -> [BorrowedFd<'_>; TABLE_FDS] {
        let [even, odd] = &self.configs;
        [
            &self.selector,
            even,
            odd,
            &self.macs,
            &self.ipv4,
            &self.ipv6,
            &self.ports,
        ]
        .map(AsFd::as_fd)
    }

    /// Puts `steering` in force. After an error the one before still is.
    pub(super) fn update(&self, steering: &Steering) -> Result<(), MapError> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.selected()?;
        let new = old.other();
        // A process that died in the middle of an update may have left something.
        self.clear(new)?;
        if let Err(error) = self.fill(new, steering) {
            self.clear(new)?;
            return Err(error);
        }
        self.select(new)?;
        self.clear(old)
    }

    fn selected(&self) -> Result<Generation, MapError> {
        let value = self.selector.lookup(&ELEMENT)?;
        let odd = self.configs[Generation::Odd as usize].id()?;
        // Read from user space, the element is the map's number.
        let is_odd = value.is_some_and(|value| value == odd.to_ne_bytes());
        Ok(if is_odd {
            Generation::Odd
        } else {
            Generation::Even
        })
    }

    fn select(&self, generation: Generation) -> Result<(), MapError> {
        let fd = self.configs[generation as usize].as_fd().as_raw_fd();
        self.selector.update(&ELEMENT, &fd.to_ne_bytes())
    }

    fn clear(&self, generation: Generation) -> Result<(), MapError> {
        self.configs[generation as usize].update(&ELEMENT, &[0; config::LEN as usize])?;
        for (table, offset) in [
            (&self.macs, key::MAC_GENERATION),
            (&self.ipv4, key::GENERATION),
            (&self.ipv6, key::GENERATION),
            (&self.ports, key::GENERATION),
        ] {
            for key in table.keys()? {
                if key[offset] == generation as u8 {
                    table.delete(&key)?;
                }
            }
        }
        Ok(())
    }

    fn fill(&self, generation: Generation, steering: &Steering) -> Result<(), MapError> {
        for mac in &steering.macs {
            self.macs.update(&mac_key(generation, *mac), &ONE)?;
        }
        // An address that is in both lists is ours altogether: it is set last.
        for prefix in &steering.ports_to {
            self.set_address(generation, *prefix, ADDRESS_PORTS)?;
        }
        for prefix in &steering.addresses {
            self.set_address(generation, *prefix, ADDRESS_OURS)?;
        }
        self.fill_ports(generation, steering)?;
        let config = configuration(generation, steering);
        self.configs[generation as usize].update(&ELEMENT, &config)
    }

    fn set_address(
        &self,
        generation: Generation,
        prefix: IpPrefix,
        value: u32,
    ) -> Result<(), MapError> {
        let value = value.to_ne_bytes();
        match prefix.address() {
            IpAddr::V4(address) => {
                let key = address_key(generation, prefix.len(), &address.octets());
                self.ipv4.update(&key, &value)
            }
            IpAddr::V6(address) => {
                let key = address_key(generation, prefix.len(), &address.octets());
                self.ipv6.update(&key, &value)
            }
        }
    }

    fn fill_ports(&self, generation: Generation, steering: &Steering) -> Result<(), MapError> {
        let set = |key: [u8; 12]| self.ports.update(&key, &ONE);
        for &protocol in &steering.protocols {
            set(port_key(generation, KIND_WHOLE, protocol, (0, 0)))?;
            set(port_key(generation, KIND_FRAGMENT, protocol, (0, 0)))?;
        }
        for rule in &steering.ports {
            let protocol = rule.transport.number();
            for prefix in port_prefixes(&rule.ports) {
                set(port_key(generation, KIND_WHOLE, protocol, prefix))?;
            }
            if rule.fragments == Fragments::Take {
                set(port_key(generation, KIND_FRAGMENT, protocol, (0, 0)))?;
            }
        }
        Ok(())
    }
}

/// The key of the only element of an array.
const ELEMENT: [u8; 4] = [0; 4];
/// A value that is only there or not.
const ONE: [u8; 4] = 1_u32.to_ne_bytes();

fn configuration(generation: Generation, steering: &Steering) -> Vec<u8> {
    let vlan = match steering.vlans {
        Vlans::Any => VLAN_ANY,
        Vlans::Untagged => 0,
        Vlans::Id(id) => u32::from(id),
    };
    let words = [flags(steering).cast_unsigned(), generation as u32, vlan, 0];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn flags(steering: &Steering) -> i32 {
    let prefixes = || steering.addresses.iter().chain(&steering.ports_to);
    let ports = steering.has_port_rules();
    let set = |bit, on| if on { bit } else { 0 };
    set(flag::ALL, steering.all)
        | set(flag::BROADCAST, steering.broadcast)
        | set(flag::MULTICAST, steering.multicast)
        | set(flag::MACS, !steering.macs.is_empty())
        | set(flag::IPV4, prefixes().any(|one| one.address().is_ipv4()))
        | set(flag::IPV6, prefixes().any(|one| one.address().is_ipv6()))
        | set(flag::PORTS, ports)
        | set(flag::PORTS_ANYWHERE, ports && steering.ports_to.is_empty())
}

/// The MAC address, the generation, and a spare byte.
fn mac_key(generation: Generation, mac: MacAddress) -> [u8; 8] {
    let mut key = [0; 8];
    key[..6].copy_from_slice(&mac.0);
    key[key::MAC_GENERATION] = generation as u8;
    key
}

/// The bits of the prefix; the generation and three spare bytes, which are its
/// first 32 bits; the address.
fn address_key(generation: Generation, len: u8, address: &[u8]) -> Vec<u8> {
    let mut key = (32 + u32::from(len)).to_ne_bytes().to_vec();
    key.extend([generation as u8, 0, 0, 0]);
    key.extend(address);
    key
}

/// The bits of the prefix; generation, kind, protocol and zero in a byte each; the
/// port in network order; two spare bytes.
fn port_key(generation: Generation, kind: u8, protocol: u8, (port, len): (u16, u8)) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&(32 + u32::from(len)).to_ne_bytes());
    key[4..8].copy_from_slice(&[generation as u8, kind, protocol, 0]);
    key[8..10].copy_from_slice(&port.to_be_bytes());
    key
}
