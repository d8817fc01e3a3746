//! The neighbour table: which station address a next hop on the link has.
//!
//! RFC 1122 section 2.3.2 asks for a cache whose entries time out, and for the
//! packets that wait for an answer to be kept; RFC 4861 section 7.3 gives the
//! states, which Linux uses for ARP too:
//!
//! ```text
//!            output                      answer
//!   (none) ---------> INCOMPLETE ----------------------> REACHABLE <--------+
//!                      |    ^                               |  30 s         |
//!            3 probes, |    | output                        v               | answer, or
//!            no answer v    |            asked by it      STALE             | confirmed by
//!                      FAILED           ------------------> |  output       | an upper layer
//!                      ^                                    v               |
//!                      | 3 probes, no answer              DELAY ------------+
//!                      |                                    |  5 s          |
//!                      +--------------------------------- PROBE ------------+
//! ```
//!
//! The table is a pure state machine. Time is an argument, in nanoseconds; what
//! is to be done comes out of [`NeighTable::next_event`]; a waiting packet is a
//! `T`, whatever that is. Call [`NeighTable::poll`] when
//! [`NeighTable::next_deadline`] has come, and take the events after each call
//! that changes something.

mod entry;
#[cfg(test)]
mod tests;
mod timers;

use crate::drop::DropReason;
use crate::route::IfIndex;
use crate::wire::{ArpOperation, ArpPacket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr};
use entry::Entry;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use softnet_nic_hal::MacAddress;
use timers::Timers;

const SECOND: u64 = 1_000_000_000;
/// How long an entry is safe from the forced collection after it changed, and
/// how often that runs above `gc_thresh2`.
const FORCED_GC_AGE: u64 = 5 * SECOND;
/// How long a forced collection that freed nothing is not repeated.
const FORCED_GC_PAUSE: u64 = SECOND / 100;
/// How often the random part of the reachable time is drawn anew (RFC 4861
/// section 6.3.4 says every few hours; Linux does it so).
const REACHABLE_TIME_REDRAW: u64 = 300 * SECOND;

/// The settings of a table: Linux's, under `net.ipv4.neigh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighConfig {
    /// How long an entry stays reachable without a confirmation, on average, in
    /// nanoseconds: the time in use is drawn between half and one and a half.
    pub base_reachable_time_ns: u64,
    /// Time between two probes, in nanoseconds.
    pub retrans_time_ns: u64,
    /// How long an upper layer has to confirm a stale entry that is in use
    /// before it is probed, in nanoseconds.
    pub delay_first_probe_time_ns: u64,
    /// How long an unused stale entry stays, in nanoseconds.
    pub gc_stale_time_ns: u64,
    /// How long a newly learnt station address withstands a different one, in
    /// nanoseconds.
    pub locktime_ns: u64,
    /// Probes to the known station address before the entry fails.
    pub ucast_solicit: u8,
    /// Probes to everybody before the entry fails.
    pub mcast_solicit: u8,
    /// Packets that wait for one neighbour's answer; the oldest gives way.
    pub unres_qlen: usize,
    /// Packets that wait for all the answers. Without a limit, a scan of the
    /// link could hold all of a pool's frames.
    pub unres_total: usize,
    /// Up to this many entries, none is collected.
    pub gc_thresh1: usize,
    /// Above this many entries, young ones may be collected too.
    pub gc_thresh2: usize,
    /// The most entries there can be.
    pub gc_thresh3: usize,
    /// Whether an announcement (gratuitous ARP) makes an entry where there was
    /// none. It updates one that is there in any case.
    pub arp_accept: bool,
}

impl Default for NeighConfig {
    fn default() -> Self {
        Self {
            base_reachable_time_ns: 30 * SECOND,
            retrans_time_ns: SECOND,
            delay_first_probe_time_ns: 5 * SECOND,
            gc_stale_time_ns: 60 * SECOND,
            locktime_ns: SECOND,
            ucast_solicit: 3,
            mcast_solicit: 3,
            unres_qlen: 101,
            unres_total: 1024,
            gc_thresh1: 128,
            gc_thresh2: 512,
            gc_thresh3: 1024,
            arp_accept: false,
        }
    }
}

/// What is known of a neighbour: Linux's `NUD_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NudState {
    /// Nothing; it has just been made, or is no entry any more.
    None,
    /// It was asked, and has not answered yet. Packets wait.
    Incomplete,
    /// It answered lately.
    Reachable,
    /// It answered some time ago. Packets are sent; the first one starts a
    /// delay.
    Stale,
    /// Packets are sent; if nobody confirms it soon, it is probed.
    Delay,
    /// Packets are sent, and it is being asked again.
    Probe,
    /// It did not answer.
    Failed,
    /// An administrator said so.
    Permanent,
}

impl NudState {
    /// Whether packets can be sent (`NUD_VALID`).
    #[must_use]
    #[inline]
    pub const fn is_valid(self) -> bool {
        matches!(
            self,
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe | Self::Permanent
        )
    }

    /// As `ip neigh` shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Incomplete => "INCOMPLETE",
            Self::Reachable => "REACHABLE",
            Self::Stale => "STALE",
            Self::Delay => "DELAY",
            Self::Probe => "PROBE",
            Self::Failed => "FAILED",
            Self::Permanent => "PERMANENT",
        }
    }
}

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighKey {
    /// The device whose link it is on.
    pub device: IfIndex,
    /// Its address.
    pub address: IpAddr,
}

impl NeighKey {
    /// The neighbour with `address` on the link of `device`.
    #[must_use]
    #[inline]
    pub const fn new(device: IfIndex, address: IpAddr) -> Self {
        Self { device, address }
    }
}

impl Hash for NeighKey {
    /// One word for IPv4, where the derived one would write four.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.address {
            IpAddr::V4(ip) => {
                state.write_u64(u64::from(self.device.0) << 32 | u64::from(ip.to_bits()));
            }
            IpAddr::V6(ip) => {
                state.write_u16(self.device.0);
                state.write_u128(ip.to_bits());
            }
        }
    }
}

/// Where an entry is, for a socket that sends there again and again. It gets
/// stale when the entry is removed, and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighHandle {
    slot: u32,
    generation: u32,
}

/// What [`NeighTable::output`] did with a packet.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Output<T> {
    /// The neighbour is known.
    Send {
        /// The packet.
        packet: T,
        /// The neighbour's station address.
        mac: MacAddress,
        /// For [`NeighTable::cached`], the next time.
        handle: NeighHandle,
    },
    /// The packet waits for the neighbour's answer, and comes back as an event.
    Waiting,
    /// There was no room.
    Dropped {
        /// The packet.
        packet: T,
        /// Why it cannot wait.
        reason: DropReason,
    },
}

/// What is to be done, or has happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// Ask the neighbour.
    Probe {
        /// Whom.
        key: NeighKey,
        /// At which station; `None` is everybody.
        to: Option<MacAddress>,
    },
    /// A packet that waited can be sent.
    Send {
        /// The neighbour.
        key: NeighKey,
        /// Its station address.
        mac: MacAddress,
        /// The packet.
        packet: T,
    },
    /// A packet that waited is given up. With [`DropReason::NeighFailed`] its
    /// sender is to hear that the host is unreachable.
    Dropped {
        /// The neighbour.
        key: NeighKey,
        /// The packet.
        packet: T,
        /// Why.
        reason: DropReason,
    },
}

/// What a message shows about its sender.
///
/// Where each CPU has its own table, the one that receives an ARP packet passes
/// the same evidence on to the others: an answer ends their probes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It asked for an address of ours: it is there, and an answer will be
    /// wanted (RFC 826: an entry is made).
    Asked,
    /// It answered to us.
    Answered,
    /// It told everybody its own address.
    Announced,
    /// It spoke to somebody else.
    Overheard,
}

impl Evidence {
    /// What an ARP packet shows, to the station `own` whose addresses `is_local`
    /// knows.
    #[must_use]
    pub fn of_arp(
        packet: &ArpPacket,
        own: MacAddress,
        is_local: impl FnOnce(Ipv4Addr) -> bool,
    ) -> Self {
        match packet.operation {
            _ if packet.is_gratuitous() => Self::Announced,
            ArpOperation::REQUEST if is_local(packet.target_ip) => Self::Asked,
            ArpOperation::REPLY if packet.target_mac == own => Self::Answered,
            _ => Self::Overheard,
        }
    }
}

/// A line of the table, as `ip neigh` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Whom it is about.
    pub key: NeighKey,
    /// The station address, where there is one.
    pub mac: Option<MacAddress>,
    /// What is known.
    pub state: NudState,
    /// Packets that wait for its answer.
    pub waiting: usize,
}

/// A neighbour table; `T` is a packet that waits.
pub struct NeighTable<T> {
    config: NeighConfig,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
    timers: Timers,
    events: VecDeque<Event<T>>,
    waiting: usize,
    random: SipHasher13,
    reachable_time: u64,
    redraw_at: u64,
    next_gc: u64,
    last_forced_gc: Option<u64>,
    forced_gc_pause_until: u64,
}

impl<T> NeighTable<T> {
    /// An empty table. `seed` keys its hash, so that nobody outside can choose
    /// addresses that collide, and spreads its timeouts.
    #[must_use]
    pub fn new(config: NeighConfig, seed: u64) -> Self {
        let room = config.gc_thresh3.min(128);
        Self {
            entries: Vec::with_capacity(room),
            free: Vec::with_capacity(room),
            index: HashTable::with_capacity(room),
            hasher: FixedState::with_seed(seed),
            timers: Timers::with_capacity(2 * room),
            events: VecDeque::with_capacity(room),
            waiting: 0,
            random: SipHasher13::new_with_keys(seed, 0),
            reachable_time: config.base_reachable_time_ns,
            redraw_at: 0,
            next_gc: 0,
            last_forced_gc: None,
            forced_gc_pause_until: 0,
            config,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines of the table, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Neighbour> {
        let live = self.entries.iter().filter(|entry| entry.is_live());
        live.map(Entry::to_line)
    }

    /// The line about one neighbour.
    #[must_use]
    pub fn lookup(&self, key: NeighKey) -> Option<Neighbour> {
        Some(self.entries[self.find(key)?].to_line())
    }

    /// The next event, in the order in which they arose.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event<T>> {
        self.events.pop_front()
    }

    /// The station address of an entry that was used before; `None` when it is
    /// gone or not known any more: then [`output`](Self::output) the packet.
    #[must_use]
    #[inline]
    pub fn cached(&mut self, handle: NeighHandle, now: u64) -> Option<MacAddress> {
        let slot = handle.slot as usize;
        let entry = self.entries.get_mut(slot)?;
        if entry.generation != handle.generation || !entry.state.is_valid() {
            return None;
        }
        let (mac, stale) = (entry.mac, entry.state == NudState::Stale);
        entry.used = now;
        if stale {
            self.start_delay(slot, now);
        }
        Some(mac)
    }

    /// Sends `packet` to the neighbour, or keeps it until the neighbour is
    /// known. Allocates nothing when there is an entry that is valid.
    #[inline]
    pub fn output(&mut self, key: NeighKey, packet: T, now: u64) -> Output<T> {
        if let Some(slot) = self.find(key) {
            let handle = self.handle(slot);
            if let Some(mac) = self.cached(handle, now) {
                return Output::Send {
                    packet,
                    mac,
                    handle,
                };
            }
        }
        self.resolve(key, packet, now)
    }

    /// Learns that the neighbour has the station address `mac`. Returns whether
    /// the table now says so; a group address, or one that is no host's, is
    /// never learnt.
    pub fn learn(&mut self, key: NeighKey, mac: MacAddress, how: Evidence, now: u64) -> bool {
        if !mac.is_unicast() || !is_host(key.address) {
            return false;
        }
        let creates = match how {
            Evidence::Asked => true,
            Evidence::Announced => self.config.arp_accept,
            Evidence::Answered | Evidence::Overheard => false,
        };
        let slot = match self.find(key) {
            None if creates => self.create(key, now),
            found => found,
        };
        slot.is_some_and(|slot| self.update(slot, mac, how, now))
    }

    /// An upper layer has heard from the neighbour that what was sent arrives:
    /// a TCP acknowledgement, say (RFC 4861 section 7.3.1).
    #[inline]
    pub fn confirm(&mut self, handle: NeighHandle, now: u64) {
        let slot = handle.slot as usize;
        let Some(entry) = self.entries.get_mut(slot) else {
            return;
        };
        if entry.generation != handle.generation {
            return;
        }
        entry.confirmed = now;
        if matches!(
            entry.state,
            NudState::Stale | NudState::Delay | NudState::Probe
        ) {
            self.set_reachable(slot, now);
        }
    }

    /// Sets an entry that no message changes and no collection removes. Returns
    /// whether there was room.
    pub fn set_permanent(&mut self, key: NeighKey, mac: MacAddress, now: u64) -> bool {
        let slot = self.find(key).or_else(|| self.create(key, now));
        let Some(slot) = slot else { return false };
        self.set_state(slot, NudState::Permanent, now);
        self.entries[slot].mac = mac;
        self.send_waiting(slot);
        true
    }

    /// Removes an entry; packets that wait are given up. Returns whether it was
    /// there.
    pub fn remove(&mut self, key: NeighKey) -> bool {
        let slot = self.find(key);
        if let Some(slot) = slot {
            self.remove_slot(slot);
        }
        slot.is_some()
    }

    /// Removes all entries of a device, for when it goes down.
    pub fn remove_device(&mut self, device: IfIndex) {
        for slot in 0..self.entries.len() {
            let entry = &self.entries[slot];
            if entry.is_live() && entry.key.device == device {
                self.remove_slot(slot);
            }
        }
    }

    /// When [`poll`](Self::poll) is to be called next, in nanoseconds. There may
    /// be nothing to do then.
    #[must_use]
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        let gc = (self.len() > self.config.gc_thresh1).then_some(self.next_gc);
        gc.into_iter().chain(self.timers.next()).min()
    }

    /// Does what time has made due: probes, failures, the end of reachability,
    /// and the collection of unused entries.
    pub fn poll(&mut self, now: u64) {
        while let Some(slot) = self.timers.pop_due(&mut self.entries, now) {
            self.timer(slot, now);
        }
        if now >= self.next_gc {
            self.collect(now);
            self.next_gc = now + (self.config.base_reachable_time_ns / 2).max(1);
        }
    }

    #[inline]
    fn find(&self, key: NeighKey) -> Option<usize> {
        let hash = self.hasher.hash_one(key);
        let same = |&slot: &u32| self.entries[slot as usize].key == key;
        self.index.find(hash, same).map(|&slot| slot as usize)
    }

    /// The handle of an entry, for [`cached`](Self::cached); `None` when there is
    /// no such entry.
    #[must_use]
    pub fn handle_of(&self, key: NeighKey) -> Option<NeighHandle> {
        Some(self.handle(self.find(key)?))
    }

    #[inline]
    fn handle(&self, slot: usize) -> NeighHandle {
        NeighHandle {
            slot: slot as u32,
            generation: self.entries[slot].generation,
        }
    }
}

impl<T> fmt::Debug for NeighTable<T> {
    /// The lines; neither the packets nor the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Whether an address can be one host's.
fn is_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}
