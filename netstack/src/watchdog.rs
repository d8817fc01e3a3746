//! Looking after the NICs: link, transmit hangs, unplugging.

use crate::interface::Interface;
use crate::route::IfIndex;
use crate::shard::Shard;
use crate::work::{Work, WorkQueue};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use softnet_softirq::Cpu;

/// How often a NIC's watchdog runs, in nanoseconds.
const PERIOD_NS: u64 = 2_000_000_000;

struct Entry {
    interface: Arc<Interface>,
    work: WorkQueue,
    due_ns: u64,
}

/// The NICs that a CPU looks after.
#[derive(Default)]
pub(crate) struct Watchdogs {
    entries: Vec<Entry>,
}

impl Watchdogs {
    pub(crate) fn add(&mut self, interface: Arc<Interface>, work: WorkQueue) {
        self.entries.push(Entry {
            interface,
            work,
            due_ns: 0,
        });
    }

    pub(crate) fn remove(&mut self, dev: IfIndex) {
        self.entries.retain(|entry| entry.interface.dev != dev);
    }
}

impl Shard {
    /// Runs the watchdogs that are due, or whose link has changed.
    pub(crate) fn run_watchdogs(&mut self, cpu: &mut Cpu) {
        let now_ns = cpu.now_ns();
        for entry in &mut self.watchdogs.entries {
            let changed = entry.interface.link.changed.swap(false, Ordering::Acquire);
            if changed || entry.due_ns <= now_ns {
                entry.due_ns = now_ns + PERIOD_NS;
                let up = entry.look(now_ns);
                self.core.set_carrier(entry.interface.dev, up);
            }
            cpu.program_timer(entry.due_ns);
        }
    }
}

impl Entry {
    /// Asks the NIC, leaves to the control plane what takes longer, and returns
    /// whether the link is up.
    fn look(&self, now_ns: u64) -> bool {
        let dev = self.interface.dev;
        let report = self.interface.nic.watchdog(now_ns);
        *self.interface.link_state.lock() = report.link;
        if report.gone {
            self.interface.gone.store(true, Ordering::Release);
            self.work.push(Work::Gone(dev));
        } else if report.tx_hang.is_some() || self.interface.reset_failed.load(Ordering::Acquire) {
            self.work.push(Work::Reset(dev));
        }
        report.link.up && !report.gone
    }
}
