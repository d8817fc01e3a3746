//! What the interrupt side holds of an instance.

use crate::list::{Entry, PollList};
use crate::state::{NapiFlags, NapiState, Schedule};
use alloc::sync::Arc;
use core::fmt;
use softnet_softirq::{CpuHandle, CpuId, Vector};

/// An instance's place on its CPU. Places are used again when instances are
/// removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NapiId(pub(crate) u32);

impl NapiId {
    /// The place as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub(crate) fn entry(self) -> Entry {
        Entry::of_index(self.0)
    }
}

struct Instance {
    state: NapiState,
    id: NapiId,
    cpu: CpuHandle,
    list: Arc<PollList>,
}

/// An instance, for interrupt handlers and for the control plane.
///
/// Handles of a removed instance do nothing: each instance has a state word of
/// its own, which stays disabled, even when its place is used again.
#[derive(Clone)]
pub struct NapiHandle {
    instance: Arc<Instance>,
}

impl NapiHandle {
    pub(crate) fn new(id: NapiId, cpu: CpuHandle, list: Arc<PollList>) -> Self {
        let state = NapiState::new();
        Self {
            instance: Arc::new(Instance {
                state,
                id,
                cpu,
                list,
            }),
        }
    }

    /// The instance's place on its CPU.
    #[must_use]
    pub fn id(&self) -> NapiId {
        self.instance.id
    }

    /// The CPU that polls the instance.
    #[must_use]
    pub fn cpu(&self) -> CpuId {
        self.instance.cpu.id()
    }

    /// The state word now.
    #[must_use]
    pub fn flags(&self) -> NapiFlags {
        self.instance.state.flags()
    }

    /// Has the instance polled, once or once more.
    ///
    /// It is what an interrupt handler does after masking. It may be called from
    /// any thread, takes no lock and allocates nothing. What the caller wrote
    /// before is seen by the poll.
    #[inline]
    pub fn schedule(&self) {
        if self.instance.state.schedule() == Schedule::Claimed {
            self.push();
        }
    }

    /// Forbids polls and waits until none is under way, calling `relax` while it
    /// waits. Requests that come while the instance is disabled are kept for
    /// [`enable`](Self::enable).
    ///
    /// Letting go of the instance is the business of its CPU, so `relax` must let
    /// that run: `std::thread::yield_now` where the CPU is another thread,
    /// `Softirqs::run_once` where it is the caller's own. It must not be called
    /// from within a poll or another softirq of that CPU; there,
    /// [`begin_disable`](Self::begin_disable) does not wait.
    pub fn disable(&self, mut relax: impl FnMut()) {
        self.begin_disable();
        while !self.is_disabled() {
            relax();
        }
    }

    /// Forbids polls without waiting for the one that may be under way.
    pub fn begin_disable(&self) {
        self.instance.state.disable();
    }

    /// Whether polls are forbidden and none is under way.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.instance.state.is_disabled()
    }

    /// Allows polls again, and schedules the instance if it was asked for
    /// meanwhile.
    pub fn enable(&self) {
        if self.instance.state.enable() == Schedule::Claimed {
            self.push();
        }
    }

    /// Whether both are handles of the same instance.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.instance, &other.instance)
    }

    pub(crate) fn state(&self) -> &NapiState {
        &self.instance.state
    }

    /// Puts the claimed instance on its CPU's poll list.
    #[inline]
    fn push(&self) {
        let Instance { id, cpu, list, .. } = &*self.instance;
        list.push(id.entry());
        cpu.raise(Vector::NetRx);
    }
}

impl fmt::Debug for NapiHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NapiHandle")
            .field("id", &self.id())
            .field("cpu", &self.cpu())
            .field("flags", &self.flags())
            .finish_non_exhaustive()
    }
}
