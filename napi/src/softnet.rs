//! A CPU's instances and its poll list.

use crate::defer::{Deferral, Deferred, Deferring};
use crate::handle::{NapiHandle, NapiId};
use crate::list::{Chain, Entry, PollList};
use crate::poll::{Budget, NapiPoll, PollOutcome};
use crate::state::Completion;
use crate::stats::{SoftnetCounters, SoftnetStat};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use softnet_softirq::{CpuHandle, Vector};

/// The bounds of `net_rx_action`. The defaults are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetRxConfig {
    /// Packets that one run takes, over all instances: 300.
    pub netdev_budget: usize,
    /// How long one run goes on, in nanoseconds: 2,000,000 (Linux's
    /// `netdev_budget_usecs` is 2000).
    pub netdev_budget_ns: u64,
    /// How many instances the CPU can have: 256.
    pub max_instances: u16,
}

impl Default for NetRxConfig {
    fn default() -> Self {
        Self {
            netdev_budget: 300,
            netdev_budget_ns: 2_000_000,
            max_instances: 256,
        }
    }
}

/// The CPU has as many instances as its configuration allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CPU has {max_instances} NAPI instances already, which is all that it can have")]
pub struct SoftnetFull {
    /// [`NetRxConfig::max_instances`].
    pub max_instances: u16,
}

/// Why an instance could not be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// It is being polled at this moment (by the caller's caller), or is just
    /// being scheduled by another thread. It is disabled now: remove it after
    /// the CPU's next NET_RX run.
    #[error("the instance is being polled or scheduled at this moment")]
    Busy,
    /// The CPU has no such instance: it was removed, or belongs to another.
    #[error("the CPU has no such instance")]
    Unknown,
}

/// A CPU's own state that has its instances in it.
///
/// Pollers and all other softirq handlers of the CPU get that state lent, so each
/// of them can add and remove instances; other threads ask the CPU to.
pub trait HasSoftnet: Sized {
    /// The CPU's instances.
    fn softnet(&mut self) -> &mut SoftnetData<Self>;
}

struct Slot<C> {
    handle: NapiHandle,
    weight: Budget,
    deferring: Option<Deferring>,
    /// Not there before it is installed, nor while it is polled: it is then lent
    /// the state that this slot is a part of.
    poller: Option<Box<dyn NapiPoll<C>>>,
}

/// A poller outside of its slot, while it is polled.
pub(crate) struct Polled<C> {
    entry: Entry,
    pub(crate) weight: Budget,
    pub(crate) poller: Box<dyn NapiPoll<C>>,
}

/// A CPU's instances, its poll list, and its counters: Linux's `softnet_data`.
pub struct SoftnetData<C> {
    cpu: CpuHandle,
    config: NetRxConfig,
    slots: Vec<Option<Slot<C>>>,
    /// Instances that were scheduled and not yet taken over.
    arrivals: Arc<PollList>,
    /// Instances to be polled, in this order.
    list: Chain,
    /// Instances that had their turn in this run and want another.
    repoll: Chain,
    /// Instances that are busy-polled, and whether others are to become that.
    pub(crate) busy: Vec<Entry>,
    prefer_busy_poll: bool,
    deferred: Deferred,
    counters: Arc<SoftnetCounters>,
}

impl<C> SoftnetData<C> {
    /// A CPU without instances.
    #[must_use]
    pub fn new(cpu: CpuHandle, config: NetRxConfig) -> Self {
        Self {
            cpu,
            config,
            slots: Vec::new(),
            arrivals: Arc::new(PollList::new(config.max_instances)),
            list: Chain::default(),
            repoll: Chain::default(),
            busy: Vec::with_capacity(usize::from(config.max_instances)),
            prefer_busy_poll: false,
            deferred: Deferred::with_capacity(usize::from(config.max_instances)),
            counters: Arc::default(),
        }
    }

    /// Adds an instance, to be polled for at most `weight` packets at a time
    /// ([`Budget::WEIGHT`] is usual), ready to be scheduled.
    ///
    /// # Errors
    /// [`SoftnetFull`]; the poller is dropped.
    pub fn add(
        &mut self,
        poller: Box<dyn NapiPoll<C>>,
        weight: Budget,
    ) -> Result<NapiHandle, SoftnetFull> {
        let handle = self.place(Some(poller), weight)?;
        handle.enable();
        Ok(handle)
    }

    /// Makes an instance without a poller, for interrupt handlers that are needed
    /// before the poller can be made. It is disabled until its poller is
    /// [installed](Self::install).
    ///
    /// # Errors
    /// [`SoftnetFull`].
    pub fn reserve(&mut self, weight: Budget) -> Result<NapiHandle, SoftnetFull> {
        self.place(None, weight)
    }

    /// Gives a reserved instance its poller and enables it.
    ///
    /// # Errors
    /// The poller comes back when the handle is not that of an instance which was
    /// reserved here and has none.
    pub fn install(
        &mut self,
        handle: &NapiHandle,
        poller: Box<dyn NapiPoll<C>>,
    ) -> Result<(), Box<dyn NapiPoll<C>>> {
        match self.slot_of(handle) {
            Some(slot) if slot.poller.is_none() && handle.is_disabled() => {
                slot.poller = Some(poller);
                handle.enable();
                Ok(())
            }
            _ => Err(poller),
        }
    }

    /// Disables an instance and takes it out, with its interrupt masked. All
    /// handles of it do nothing from then on.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn remove(
        &mut self,
        handle: &NapiHandle,
    ) -> Result<Option<Box<dyn NapiPoll<C>>>, RemoveError> {
        self.slot_of(handle).ok_or(RemoveError::Unknown)?;
        handle.begin_disable();
        self.take_arrivals();
        self.unlist(handle);
        if !handle.state().retire() {
            return Err(RemoveError::Busy);
        }
        self.deferred.remove(handle.id().entry());
        let slot = self.slots.get_mut(handle.id().index());
        let poller = slot.and_then(Option::take).and_then(|slot| slot.poller);
        if let Some(poller) = &poller {
            poller.mask_irq();
        }
        Ok(poller)
    }

    /// The bounds of `net_rx_action`.
    #[must_use]
    pub fn config(&self) -> &NetRxConfig {
        &self.config
    }

    /// The CPU's counters, for its own code to add to and for others to read.
    #[must_use]
    pub fn counters(&self) -> &Arc<SoftnetCounters> {
        &self.counters
    }

    /// The counters now.
    #[must_use]
    pub fn stat(&self) -> SoftnetStat {
        self.counters.snapshot(self.cpu.id())
    }

    /// How many instances there are.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Has an instance defer its interrupt from its next poll on, or no more.
    /// Returns whether it is one of this CPU's.
    ///
    /// With it the CPU's TIMER softirq has to call
    /// [`poll_deferred`](Self::poll_deferred).
    pub fn set_deferral(&mut self, handle: &NapiHandle, how: Deferral) -> bool {
        let slot = self.slot_of(handle);
        slot.map(|slot| slot.deferring = Deferring::new(how))
            .is_some()
    }

    /// Schedules the instances that have deferred their interrupts until now.
    /// Returns when the next one is due, in nanoseconds of the clock.
    pub fn poll_deferred(&mut self, now_ns: u64) -> Option<u64> {
        while let Some(entry) = self.deferred.take_due(now_ns) {
            if let Some(Some(slot)) = self.slots.get(entry.index()) {
                // One that is disabled remembers it until it is enabled.
                slot.handle.schedule();
            }
        }
        self.deferred.next_ns()
    }

    /// Takes over what was scheduled, behind what is to be polled already.
    fn take_arrivals(&mut self) {
        if let Some(last) = self.arrivals.take() {
            self.append_arrivals(last);
        }
    }

    fn append_arrivals(&mut self, last: Entry) {
        let arrived = self.arrivals.in_order(last);
        self.list.append(arrived, &self.arrivals);
    }

    /// Begins a run: the first instance to poll, its poller taken out.
    #[inline]
    pub(crate) fn first_poll(&mut self) -> Option<Polled<C>> {
        match self.arrivals.take() {
            // One has come and none was left: it need not go over the list.
            Some(last) if self.list.is_empty() && self.arrivals.is_sole(last) => {
                return self.begin_poll(last);
            }
            Some(last) => self.append_arrivals(last),
            None => {}
        }
        self.next_poll()
    }

    /// The next instance to poll, its poller taken out.
    pub(crate) fn next_poll(&mut self) -> Option<Polled<C>> {
        while let Some(entry) = self.list.pop_front(&self.arrivals) {
            if let Some(polled) = self.begin_poll(entry) {
                return Some(polled);
            }
        }
        None
    }

    /// Has instances busy-polled from their next poll on, or none any more: their
    /// interrupts are let in again then.
    ///
    /// With busy polling [`busy_poll`](crate::busy_poll) is to be called over and
    /// over: a packet that comes wakes nobody.
    pub fn set_busy_poll(&mut self, on: bool) {
        self.prefer_busy_poll = on;
        if !on {
            self.rest();
        }
    }

    /// Whether an instance is busy-polled now.
    #[must_use]
    #[inline]
    pub fn is_busy_polled(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Lets the interrupts of busy-polled instances in, before the CPU sleeps. The
    /// next interrupt makes its instance busy-polled again.
    pub fn rest(&mut self) {
        while let Some(entry) = self.busy.pop() {
            self.end_busy_poll(entry);
        }
    }

    /// Ends the busy polling of an instance that is not on the list of those any
    /// more.
    pub(crate) fn end_busy_poll(&mut self, entry: Entry) {
        let Some(Some(slot)) = self.slots.get_mut(entry.index()) else {
            return;
        };
        match slot.handle.state().complete() {
            Completion::Complete => {
                if let Some(poller) = &slot.poller {
                    poller.unmask_irq();
                }
            }
            Completion::Disabled => {}
            Completion::Missed => {
                self.list.push_back(entry, &self.arrivals);
                self.cpu.raise(Vector::NetRx);
            }
        }
    }

    /// The busy-polled instance at this place of their list, its poller taken out;
    /// one that was disabled meanwhile leaves the list.
    #[inline]
    pub(crate) fn begin_busy(&mut self, at: usize) -> Option<Polled<C>> {
        loop {
            let &entry = self.busy.get(at)?;
            if let Some(polled) = self.begin_poll(entry) {
                return Some(polled);
            }
            // It was disabled, and is at rest now.
            self.busy.swap_remove(at);
        }
    }

    /// Puts a busy-polled instance's poller back.
    #[inline]
    pub(crate) fn end_busy(&mut self, polled: Polled<C>, outcome: PollOutcome) {
        self.counters.processed.add(outcome.packets() as u64);
        if let Some(Some(slot)) = self.slots.get_mut(polled.entry.index()) {
            slot.poller = Some(polled.poller);
        }
    }

    #[inline]
    fn begin_poll(&mut self, entry: Entry) -> Option<Polled<C>> {
        let slot = self.slots.get_mut(entry.index())?.as_mut()?;
        if slot.poller.is_none() {
            // Somebody enabled a reserved instance: it waits for its poller.
            slot.handle.begin_disable();
        }
        if !slot.handle.state().begin_poll() {
            return None;
        }
        Some(Polled {
            entry,
            weight: slot.weight,
            poller: slot.poller.take()?,
        })
    }

    /// Puts the poller back and decides how its instance goes on. An instance that
    /// defers its interrupt is to be polled at the time that is returned, in
    /// nanoseconds of the clock.
    #[inline]
    pub(crate) fn end_poll(
        &mut self,
        polled: Polled<C>,
        outcome: PollOutcome,
        now_ns: u64,
    ) -> Option<u64> {
        let Polled { entry, poller, .. } = polled;
        self.counters.processed.add(outcome.packets() as u64);
        let slot = self.slots.get_mut(entry.index())?.as_mut()?;
        let poller = slot.poller.insert(poller);
        if let PollOutcome::Done { packets } = outcome {
            if self.prefer_busy_poll && poller.can_busy_poll() {
                slot.handle.state().begin_busy_poll();
                self.busy.push(entry);
                return None;
            }
            match slot.handle.state().complete() {
                Completion::Complete => {
                    let later = slot.deferring.as_mut().and_then(|how| how.after(packets));
                    let Some(later) = later else {
                        poller.unmask_irq();
                        return None;
                    };
                    let due_ns = now_ns.saturating_add(later);
                    self.deferred.insert(due_ns, entry);
                    return Some(due_ns);
                }
                Completion::Disabled => return None,
                Completion::Missed => {}
            }
        }
        self.repoll.push_back(entry, &self.arrivals);
        None
    }

    /// Whether every instance that was scheduled has been polled to its end. When
    /// all but those that came meanwhile have, these are taken over.
    #[inline]
    pub(crate) fn is_drained(&mut self) -> bool {
        if !self.list.is_empty() || !self.repoll.is_empty() {
            return false;
        }
        if !self.arrivals.is_empty() {
            self.take_arrivals();
        }
        self.list.is_empty()
    }

    /// Lines up what is left for the next run: those that had no turn, those that
    /// came meanwhile, and at the end those that had a turn and want another.
    /// Says whether there are any.
    pub(crate) fn requeue(&mut self) -> bool {
        self.take_arrivals();
        let again = core::mem::take(&mut self.repoll);
        self.list.append(again, &self.arrivals);
        !self.list.is_empty()
    }

    fn place(
        &mut self,
        poller: Option<Box<dyn NapiPoll<C>>>,
        weight: Budget,
    ) -> Result<NapiHandle, SoftnetFull> {
        let index = self.free_slot()?;
        let id = NapiId(index as u32);
        let handle = NapiHandle::new(id, self.cpu.clone(), Arc::clone(&self.arrivals));
        self.slots[index] = Some(Slot {
            handle: handle.clone(),
            weight,
            deferring: None,
            poller,
        });
        Ok(handle)
    }

    fn free_slot(&mut self) -> Result<usize, SoftnetFull> {
        if let Some(index) = self.slots.iter().position(Option::is_none) {
            return Ok(index);
        }
        let max_instances = self.config.max_instances;
        if self.slots.len() >= usize::from(max_instances) {
            return Err(SoftnetFull { max_instances });
        }
        self.slots.push(None);
        Ok(self.slots.len() - 1)
    }

    fn slot_of(&mut self, handle: &NapiHandle) -> Option<&mut Slot<C>> {
        let slot = self.slots.get_mut(handle.id().index())?.as_mut()?;
        slot.handle.is_same(handle).then_some(slot)
    }

    /// Takes a disabled instance off the list and lets go of it.
    fn unlist(&mut self, handle: &NapiHandle) {
        let entry = handle.id().entry();
        let is_polled = self
            .slot_of(handle)
            .is_some_and(|slot| slot.poller.is_none());
        if let Some(at) = self.busy.iter().position(|&busy| busy == entry)
            && !is_polled
        {
            self.busy.swap_remove(at);
            handle.state().begin_poll();
        }
        for list in [&mut self.list, &mut self.repoll] {
            if list.remove(entry, &self.arrivals) {
                handle.state().begin_poll();
            }
        }
    }
}

impl<C> fmt::Debug for SoftnetData<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftnetData")
            .field("cpu", &self.cpu)
            .field("config", &self.config)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
