//! What all layers have counted, in one value.
//!
//! It prints in the shapes that readers of Linux know (`/proc/interrupts`,
//! `/proc/softirqs`, `/proc/net/softnet_stat`, `ip -s link`, `ethtool -S`,
//! `/proc/net/snmp`), and serializes to one object.
//!
//! Counters are read one after the other while the packets go on: a report of
//! a machine at rest adds up, one of a machine at work nearly does.

mod below;
mod device;
mod json;
mod text;

pub use below::NicDrops;
pub use device::{DeviceReport, QueueReport};

use crate::machine::Nic;
use serde::Serialize;
use softnet_emulated::PciBus;
use softnet_napi::SoftnetStat;
use softnet_netstack::{DropReason, Snmp, Stack};
use softnet_nic_hal::irq::IrqSnapshot;
use softnet_softirq::{CpuId, SoftirqStats};

/// The counters of a machine.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// When it was made, in nanoseconds of the machine's clock.
    pub time_ns: u64,
    /// Interrupts by line and CPU.
    #[serde(serialize_with = "json::interrupts")]
    pub interrupts: IrqSnapshot,
    /// Softirqs of each CPU.
    #[serde(serialize_with = "json::softirqs")]
    pub softirqs: Vec<SoftirqStats>,
    /// The line of `/proc/net/softnet_stat` of each CPU.
    #[serde(serialize_with = "json::softnet")]
    pub softnet: Vec<SoftnetStat>,
    /// The devices, without loopback.
    pub devices: Vec<DeviceReport>,
    /// Packets by what became of them, and the counters of the protocols.
    pub protocols: Protocols,
    /// Dropped packets by reason, those of the most frequent one first.
    pub drops: Vec<Drops>,
    /// Packets that were lost before they reached the stack, or after they left it,
    /// as far as NICs tell why.
    pub nic_drops: Vec<NicDrops>,
}

/// What the protocols of all CPUs have counted together.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Protocols {
    /// Received packets that reached somebody: a socket, a reply, a cache.
    pub delivered: u64,
    /// Received packets that were dropped.
    pub dropped: u64,
    /// The counters of `/proc/net/snmp`.
    #[serde(flatten, serialize_with = "json::snmp")]
    pub snmp: Vec<(Snmp, u64)>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Drops {
    /// Why.
    #[serde(serialize_with = "json::display")]
    pub reason: DropReason,
    /// How many on all CPUs, received and sent ones.
    pub packets: u64,
    /// How many of them had been received.
    pub received: u64,
    /// What happened, and what to do about it.
    pub explanation: &'static str,
}

/// Counters by name, in the order of their source. A map when serialized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub Vec<(&'static str, u64)>);

impl Counters {
    /// The counter of that name, or 0 when there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> u64 {
        let found = self.0.iter().find(|(have, _)| *have == name);
        found.map_or(0, |&(_, value)| value)
    }
}

impl Report {
    pub(crate) fn gather(stack: &Stack, bus: &PciBus, nics: &[Nic], time_ns: u64) -> Self {
        let cpus = 0..stack.cpus();
        let softnet = cpus.clone().filter_map(|cpu| {
            let counters = stack.softnet_counters(cpu)?;
            Some(counters.snapshot(CpuId(cpu as u32)))
        });
        let devices = device::gather(stack, nics);
        Self {
            time_ns,
            interrupts: bus.irqs().snapshot(),
            softirqs: cpus.filter_map(|cpu| stack.softirq_stats(cpu)).collect(),
            softnet: softnet.collect(),
            nic_drops: below::gather(&devices),
            devices,
            protocols: Protocols::gather(stack),
            drops: Drops::gather(stack),
        }
    }

    /// The device of that name.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&DeviceReport> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// A counter of `/proc/net/snmp`.
    #[must_use]
    pub fn snmp(&self, counter: Snmp) -> u64 {
        let found = self
            .protocols
            .snmp
            .iter()
            .find(|(have, _)| *have == counter);
        found.map_or(0, |&(_, value)| value)
    }

    /// Packets dropped for a reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let found = self.drops.iter().find(|drops| drops.reason == reason);
        found.map_or(0, |drops| drops.packets)
    }
}

/// Adds up what `count` finds on each CPU.
fn sum(stack: &Stack, count: impl Fn(&softnet_netstack::CpuCounters) -> u64) -> u64 {
    let counters = (0..stack.cpus()).filter_map(|cpu| stack.counters(cpu));
    counters.map(|counters| count(&counters)).sum()
}

impl Protocols {
    fn gather(stack: &Stack) -> Self {
        let snmp = Snmp::ALL.into_iter();
        Self {
            delivered: sum(stack, |cpu| cpu.delivered()),
            dropped: sum(stack, |cpu| cpu.rx_drops.total()),
            snmp: snmp
                .map(|counter| (counter, sum(stack, |cpu| cpu.snmp.value(counter))))
                .collect(),
        }
    }
}

impl Drops {
    fn gather(stack: &Stack) -> Vec<Self> {
        let all = DropReason::all().map(|reason| Self {
            reason,
            packets: sum(stack, |cpu| cpu.drops.load(reason)),
            received: sum(stack, |cpu| cpu.rx_drops.load(reason)),
            explanation: reason.explain(),
        });
        let mut all: Vec<_> = all.filter(|drops| drops.packets > 0).collect();
        all.sort_by_key(|drops| std::cmp::Reverse(drops.packets));
        all
    }
}
