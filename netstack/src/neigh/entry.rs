//! What happens to an entry: RFC 4861 section 7.3.3 and appendix C, as Linux
//! applies it to ARP.

use super::timers::NEVER;
use super::{Event, Evidence, FORCED_GC_AGE, FORCED_GC_PAUSE, REACHABLE_TIME_REDRAW};
use super::{NeighKey, NeighTable, Neighbour, NudState, Output};
use crate::drop::DropReason;
use alloc::collections::VecDeque;
use core::hash::{BuildHasher, Hasher};
use softnet_nic_hal::MacAddress;

/// One neighbour, or a free slot (state `None`).
pub(super) struct Entry<T> {
    pub(super) key: NeighKey,
    pub(super) mac: MacAddress,
    pub(super) state: NudState,
    probes: u8,
    pub(super) generation: u32,
    /// When it was last sent to.
    pub(super) used: u64,
    /// When it was last known to be there; `None` would be a time long ago.
    pub(super) confirmed: u64,
    /// When its state or its station address changed.
    updated: u64,
    /// When its timer goes off.
    pub(super) timer: u64,
    /// When the heap will look at it: at `timer` or before.
    pub(super) armed: u64,
    waiting: VecDeque<T>,
}

impl<T> Entry<T> {
    fn new(key: NeighKey, now: u64) -> Self {
        Self {
            key,
            mac: MacAddress::default(),
            state: NudState::None,
            probes: 0,
            generation: 0,
            used: now,
            confirmed: 0,
            updated: now,
            timer: NEVER,
            armed: NEVER,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.state != NudState::None
    }

    pub(super) fn to_line(&self) -> Neighbour {
        Neighbour {
            key: self.key,
            mac: self.state.is_valid().then_some(self.mac),
            state: self.state,
            waiting: self.waiting.len(),
        }
    }

    /// Whether nobody waits for it and no timer looks after it.
    fn is_idle(&self) -> bool {
        matches!(self.state, NudState::Stale | NudState::Failed)
    }
}

impl<T> NeighTable<T> {
    /// Keeps a packet for a neighbour that is not known, and asks it.
    #[cold]
    pub(super) fn resolve(&mut self, key: NeighKey, packet: T, now: u64) -> Output<T> {
        let slot = self.find(key).or_else(|| self.create(key, now));
        let Some(slot) = slot else {
            let reason = DropReason::NeighCreatefail;
            return Output::Dropped { packet, reason };
        };
        self.entries[slot].used = now;
        if self.entries[slot].state != NudState::Incomplete {
            self.start_asking(slot, now);
        }
        self.keep(slot, packet)
    }

    fn start_asking(&mut self, slot: usize, now: u64) {
        self.set_state(slot, NudState::Incomplete, now);
        self.probe(slot, now);
    }

    fn keep(&mut self, slot: usize, packet: T) -> Output<T> {
        let waiting = &self.entries[slot].waiting;
        let full = self.waiting >= self.config.unres_total;
        if full && waiting.is_empty() || self.config.unres_qlen == 0 {
            let reason = DropReason::NeighQueuefull;
            return Output::Dropped { packet, reason };
        }
        if full || waiting.len() >= self.config.unres_qlen {
            self.drop_oldest(slot);
        }
        self.entries[slot].waiting.push_back(packet);
        self.waiting += 1;
        Output::Waiting
    }

    fn drop_oldest(&mut self, slot: usize) {
        let entry = &mut self.entries[slot];
        if let Some(packet) = entry.waiting.pop_front() {
            self.waiting -= 1;
            self.events.push_back(Event::Dropped {
                key: entry.key,
                packet,
                reason: DropReason::NeighQueuefull,
            });
        }
    }

    pub(super) fn send_waiting(&mut self, slot: usize) {
        let entry = &mut self.entries[slot];
        let (key, mac) = (entry.key, entry.mac);
        let waiting = core::mem::take(&mut entry.waiting);
        self.waiting -= waiting.len();
        let sent = |packet| Event::Send { key, mac, packet };
        self.events.extend(waiting.into_iter().map(sent));
    }

    fn drop_waiting(&mut self, slot: usize, reason: DropReason) {
        let entry = &mut self.entries[slot];
        let key = entry.key;
        let waiting = core::mem::take(&mut entry.waiting);
        self.waiting -= waiting.len();
        let dropped = |packet| Event::Dropped {
            key,
            packet,
            reason,
        };
        self.events.extend(waiting.into_iter().map(dropped));
    }

    /// Asks the neighbour: at its station address if there is one, else
    /// everybody.
    fn probe(&mut self, slot: usize, now: u64) {
        let entry = &mut self.entries[slot];
        entry.probes = entry.probes.saturating_add(1);
        let to = (entry.state == NudState::Probe).then_some(entry.mac);
        let key = entry.key;
        self.events.push_back(Event::Probe { key, to });
        let at = now + self.config.retrans_time_ns.max(1);
        self.timers.set(&mut self.entries, slot, at);
    }

    /// Changes the state and turns the timer off.
    pub(super) fn set_state(&mut self, slot: usize, state: NudState, now: u64) {
        let entry = &mut self.entries[slot];
        if entry.state != state {
            entry.state = state;
            entry.updated = now;
        }
        entry.probes = 0;
        self.timers.set(&mut self.entries, slot, NEVER);
    }

    pub(super) fn set_reachable(&mut self, slot: usize, now: u64) {
        self.set_state(slot, NudState::Reachable, now);
        self.entries[slot].confirmed = now;
        let at = now + self.reachable_time(now);
        self.timers.set(&mut self.entries, slot, at);
    }

    /// The first packet to a stale neighbour.
    #[cold]
    pub(super) fn start_delay(&mut self, slot: usize, now: u64) {
        self.set_state(slot, NudState::Delay, now);
        let at = now + self.config.delay_first_probe_time_ns.max(1);
        self.timers.set(&mut self.entries, slot, at);
    }

    /// Applies evidence to an entry; whether it then has that station address.
    pub(super) fn update(&mut self, slot: usize, mac: MacAddress, how: Evidence, now: u64) -> bool {
        let entry = &mut self.entries[slot];
        let (valid, same) = (entry.state.is_valid(), entry.mac == mac);
        if entry.state == NudState::Permanent {
            return same;
        }
        if valid && !same && !self.may_override(slot, how, now) {
            return false;
        }
        self.set_mac(slot, mac, now);
        match how {
            Evidence::Answered => self.set_reachable(slot, now),
            // What the neighbour says of itself does not show that it hears us;
            // so it does not extend what is known.
            _ if valid && same => {}
            _ => self.set_state(slot, NudState::Stale, now),
        }
        if !valid {
            self.send_waiting(slot);
        }
        true
    }

    fn set_mac(&mut self, slot: usize, mac: MacAddress, now: u64) {
        let entry = &mut self.entries[slot];
        if entry.mac != mac {
            entry.mac = mac;
            entry.updated = now;
        }
    }

    /// Whether evidence may change the station address of a valid entry. Two
    /// stations that both answer would have it go to and fro, but for the lock
    /// time; who speaks of itself is believed at once.
    fn may_override(&self, slot: usize, how: Evidence, now: u64) -> bool {
        match how {
            Evidence::Asked | Evidence::Announced => true,
            Evidence::Answered | Evidence::Overheard => {
                now > self.entries[slot]
                    .updated
                    .saturating_add(self.config.locktime_ns)
            }
        }
    }

    /// An entry's timer has gone off.
    pub(super) fn timer(&mut self, slot: usize, now: u64) {
        match self.entries[slot].state {
            NudState::Reachable => self.end_reachable(slot, now),
            NudState::Delay => self.end_delay(slot, now),
            NudState::Probe => self.probe_or_fail(slot, self.config.ucast_solicit, now),
            NudState::Incomplete => self.probe_or_fail(slot, self.config.mcast_solicit, now),
            NudState::None | NudState::Stale | NudState::Failed | NudState::Permanent => {}
        }
    }

    fn end_reachable(&mut self, slot: usize, now: u64) {
        let until = self.entries[slot].confirmed + self.reachable_time(now);
        if now < until {
            self.timers.set(&mut self.entries, slot, until);
        } else if now < self.entries[slot].used + self.config.delay_first_probe_time_ns {
            // It is in use, so the next packet would start the delay anyway.
            self.start_delay(slot, now);
        } else {
            self.set_state(slot, NudState::Stale, now);
        }
    }

    fn end_delay(&mut self, slot: usize, now: u64) {
        self.set_state(slot, NudState::Probe, now);
        self.probe_or_fail(slot, self.config.ucast_solicit, now);
    }

    fn probe_or_fail(&mut self, slot: usize, most: u8, now: u64) {
        if self.entries[slot].probes < most {
            return self.probe(slot, now);
        }
        self.set_state(slot, NudState::Failed, now);
        self.drop_waiting(slot, DropReason::NeighFailed);
    }

    /// Drawn between a half and one and a half of the base, so that neighbours
    /// do not all probe each other at once (RFC 4861 section 6.3.2).
    fn reachable_time(&mut self, now: u64) -> u64 {
        if now >= self.redraw_at {
            let base = self.config.base_reachable_time_ns.max(2);
            // A keyed hash, fed a word a draw, is a generator.
            self.random.write_u64(now);
            self.reachable_time = base / 2 + self.random.finish() % base;
            self.redraw_at = now.saturating_add(REACHABLE_TIME_REDRAW);
        }
        self.reachable_time
    }

    pub(super) fn create(&mut self, key: NeighKey, now: u64) -> Option<usize> {
        self.make_room(now);
        if self.len() >= self.config.gc_thresh3 {
            return None;
        }
        let slot = self.take_slot(key, now);
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash_of = |slot: &u32| hasher.hash_one(entries[*slot as usize].key);
        self.index
            .insert_unique(hasher.hash_one(key), slot as u32, hash_of);
        Some(slot)
    }

    fn take_slot(&mut self, key: NeighKey, now: u64) -> usize {
        let Some(slot) = self.free.pop() else {
            self.entries.push(Entry::new(key, now));
            return self.entries.len() - 1;
        };
        let slot = slot as usize;
        let old = &self.entries[slot];
        // The heap may still hold a time for the slot, and old handles are out.
        self.entries[slot] = Entry {
            generation: old.generation,
            armed: old.armed,
            ..Entry::new(key, now)
        };
        slot
    }

    pub(super) fn remove_slot(&mut self, slot: usize) {
        let (hash, wanted) = (self.hasher.hash_one(self.entries[slot].key), slot as u32);
        if let Ok(found) = self.index.find_entry(hash, |&slot| slot == wanted) {
            found.remove();
        }
        self.drop_waiting(slot, DropReason::NeighDead);
        let entry = &mut self.entries[slot];
        entry.state = NudState::None;
        entry.timer = NEVER;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(wanted);
    }

    /// The collection that runs from time to time: what failed, and what is
    /// stale and long unused.
    pub(super) fn collect(&mut self, now: u64) {
        let stale_time = self.config.gc_stale_time_ns;
        let floor = self.config.gc_thresh1;
        self.collect_down_to(floor, |entry| {
            let last = entry.used.max(entry.confirmed);
            entry.state == NudState::Failed || now.saturating_sub(last) > stale_time
        });
    }

    /// The collection that a new entry forces when there are many: young ones
    /// go too.
    fn make_room(&mut self, now: u64) {
        let (len, config) = (self.len(), &self.config);
        let due = self
            .last_forced_gc
            .is_none_or(|last| now >= last + FORCED_GC_AGE);
        let forced = len >= config.gc_thresh3 && now >= self.forced_gc_pause_until
            || len >= config.gc_thresh2 && due;
        if !forced {
            return;
        }
        self.last_forced_gc = Some(now);
        let floor = config.gc_thresh2.min(config.gc_thresh3.saturating_sub(1));
        self.collect_down_to(floor, |entry| {
            entry.state == NudState::Failed || now.saturating_sub(entry.updated) > FORCED_GC_AGE
        });
        if self.len() == len {
            self.forced_gc_pause_until = now + FORCED_GC_PAUSE;
        }
    }

    fn collect_down_to(&mut self, floor: usize, is_garbage: impl Fn(&Entry<T>) -> bool) {
        for slot in 0..self.entries.len() {
            if self.len() <= floor {
                return;
            }
            let entry = &self.entries[slot];
            if entry.is_idle() && is_garbage(entry) {
                self.remove_slot(slot);
            }
        }
    }
}
