//! The maps that users see: sockets by queue, and the program's counters.

use super::error::MapError;
use super::syscall::{Map, MapKind, MapShape};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A map with the name that errors use for it.
#[derive(Debug)]
pub(super) struct NamedMap {
    name: &'static str,
    map: Map,
}

impl NamedMap {
    pub(super) fn create(name: &'static str, shape: MapShape) -> Result<Self, MapError> {
        Self::create_outer(name, shape, None)
    }

    /// Makes a map; `inner` is the pattern of an array of maps.
    pub(super) fn create_outer(
        name: &'static str,
        shape: MapShape,
        inner: Option<&Self>,
    ) -> Result<Self, MapError> {
        let map = Map::create(shape, name, inner.map(Self::as_fd))
            .map_err(|errno| MapError::new(name, shape.max_entries, "creation", errno))?;
        Ok(Self { name, map })
    }

    pub(super) fn from_fd(
        name: &'static str,
        fd: OwnedFd,
        shape: MapShape,
    ) -> Result<Self, MapError> {
        let map = Map::from_fd(fd, shape)
            .map_err(|errno| MapError::new(name, shape.max_entries, "adoption", errno))?;
        Ok(Self { name, map })
    }

    pub(super) fn entries(&self) -> u32 {
        self.map.shape().max_entries
    }

    pub(super) fn id(&self) -> Result<u32, MapError> {
        self.map.id().map_err(|errno| self.error("a query", errno))
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MapError> {
        let value = self.map.lookup(key);
        value.map_err(|errno| self.error("a look-up", errno))
    }

    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        let done = self.map.update(key, value);
        done.map_err(|errno| self.error("an update", errno))
    }

    pub(super) fn delete(&self, key: &[u8]) -> Result<bool, MapError> {
        let gone = self.map.delete(key);
        gone.map_err(|errno| self.error("a removal", errno))
    }

    /// All keys. A key that goes meanwhile may be left out.
    pub(super) fn keys(&self) -> Result<Vec<Vec<u8>>, MapError> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let last = keys.last().map(Vec::as_slice);
            let next = self.map.next_key(last);
            match next.map_err(|errno| self.error("a walk", errno))? {
                // The walk of a map that somebody else changes may begin again.
                Some(key) if keys.len() < self.entries() as usize => keys.push(key),
                _ => return Ok(keys),
            }
        }
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.map.into_fd()
    }

    fn error(&self, action: &'static str, errno: Errno) -> MapError {
        MapError::new(self.name, self.entries(), action, errno)
    }
}

impl AsFd for NamedMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// The XDP sockets of an interface, by queue (`BPF_MAP_TYPE_XSKMAP`).
///
/// The kernel takes a socket out by itself when it is closed.
#[derive(Debug)]
pub struct XskMap(NamedMap);

impl XskMap {
    const NAME: &'static str = "softnet_xsks";

    const fn shape(queues: u32) -> MapShape {
        MapShape {
            kind: MapKind::XskMap,
            key_size: 4,
            value_size: 4,
            max_entries: queues,
            flags: 0,
        }
    }

    /// A map for queues 0 to `queues` - 1.
    ///
    /// # Errors
    /// The process lacks CAP_BPF and CAP_NET_ADMIN.
    pub fn new(queues: u32) -> Result<Self, MapError> {
        NamedMap::create(Self::NAME, Self::shape(queues)).map(Self)
    }

    /// A map that another process made and handed over.
    ///
    /// # Errors
    /// The descriptor is no XSKMAP.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, MapError> {
        NamedMap::from_fd(Self::NAME, fd, Self::shape(0)).map(Self)
    }

    /// How many queues the map has room for.
    #[must_use]
    pub fn queues(&self) -> u32 {
        self.0.entries()
    }

    /// Lets the frames of `queue` go to `socket`, an AF_XDP socket bound to that
    /// queue. It takes the place of one that was there.
    ///
    /// # Errors
    /// The descriptor is no XDP socket, or the map has no room for the queue.
    pub fn insert(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let value = socket.as_raw_fd().to_ne_bytes();
        let done = self.0.map.update(&queue.to_ne_bytes(), &value);
        done.map_err(|errno| match errno {
            Errno::EOPNOTSUPP | Errno::ENOTSOCK | Errno::EBADF => MapError::NoXdpSocket { queue },
            errno => self.0.error("an update", errno),
        })
    }

    /// Lets the frames of `queue` pass to the kernel again. Whether a socket was
    /// there the kernel does not tell.
    ///
    /// # Errors
    /// The map has no such queue.
    pub fn remove(&self, queue: u32) -> Result<(), MapError> {
        let gone = self.0.map.delete(&queue.to_ne_bytes());
        match gone {
            Ok(_) => Ok(()),
            Err(Errno::EINVAL) => Err(self.0.error("a removal", Errno::E2BIG)),
            Err(errno) => Err(self.0.error("a removal", errno)),
        }
    }

    /// The descriptor, to be handed to another process.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0.into_fd()
    }
}

impl AsFd for XskMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the program did with a frame, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Verdict {
    /// Ours: all frames are.
    All = 0,
    /// Ours by its destination MAC address, or as broadcast or multicast.
    Mac = 1,
    /// Ours by its destination IP address.
    Address = 2,
    /// Ours: ARP or neighbour discovery about an address of ours.
    Neighbour = 3,
    /// Ours by protocol and port.
    Port = 4,
    /// Ours: a fragment of a protocol whose fragments are taken.
    Fragment = 5,
    /// Passed: no rule takes it.
    Pass = 6,
    /// Passed: a fragment that only a rule by port could have taken.
    PassFragment = 7,
    /// Passed: it ends before its headers do, or has more IPv6 extension headers
    /// than the program looks at.
    PassTruncated = 8,
    /// Passed: it is of another VLAN than the rules.
    PassVlan = 9,
    /// Passed: a rule takes it, but the queue has no socket.
    PassNoSocket = 10,
}

impl Verdict {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::All,
        Self::Mac,
        Self::Address,
        Self::Neighbour,
        Self::Port,
        Self::Fragment,
        Self::Pass,
        Self::PassFragment,
        Self::PassTruncated,
        Self::PassVlan,
        Self::PassNoSocket,
    ];

    /// Whether the frame went to a socket.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        (self as u32) < Self::Pass as u32
    }

    /// The counter's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "xdp_all",
            Self::Mac => "xdp_mac",
            Self::Address => "xdp_address",
            Self::Neighbour => "xdp_neighbour",
            Self::Port => "xdp_port",
            Self::Fragment => "xdp_fragment",
            Self::Pass => "xdp_pass",
            Self::PassFragment => "xdp_pass_fragment",
            Self::PassTruncated => "xdp_pass_truncated",
            Self::PassVlan => "xdp_pass_vlan",
            Self::PassNoSocket => "xdp_pass_no_socket",
        }
    }
}

/// Frames by verdict since the program was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters([u64; Verdict::ALL.len()]);

impl Counters {
    /// The frames that came to `verdict`.
    #[must_use]
    pub const fn of(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// Each verdict with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> + '_ {
        Verdict::ALL.into_iter().zip(self.0)
    }

    /// The frames that went to sockets.
    #[must_use]
    pub fn ours(&self) -> u64 {
        let ours = self.iter().filter(|(verdict, _)| verdict.is_ours());
        ours.map(|(_, count)| count).sum()
    }
}

/// The per-CPU array behind [`Counters`].
#[derive(Debug)]
pub(super) struct CounterMap(NamedMap);

impl CounterMap {
    const NAME: &'static str = "softnet_count";
    const SHAPE: MapShape = MapShape {
        kind: MapKind::PerCpuArray,
        key_size: 4,
        value_size: 8,
        max_entries: Verdict::ALL.len() as u32,
        flags: 0,
    };

    pub(super) fn new() -> Result<Self, MapError> {
        NamedMap::create(Self::NAME, Self::SHAPE).map(Self)
    }

    pub(super) fn from_fd(fd: OwnedFd) -> Result<Self, MapError> {
        NamedMap::from_fd(Self::NAME, fd, Self::SHAPE).map(Self)
    }

    pub(super) fn read(&self) -> Result<Counters, MapError> {
        let mut counters = Counters::default();
        for (index, count) in (0_u32..).zip(&mut counters.0) {
            let values = self.0.lookup(&index.to_ne_bytes())?.unwrap_or_default();
            *count = sum_of_words(&values);
        }
        Ok(counters)
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.0.into_fd()
    }
}

impl AsFd for CounterMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn sum_of_words(values: &[u8]) -> u64 {
    let (words, _) = values.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).sum()
}
