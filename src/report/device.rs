//! One device's part of a report.

use super::{Counters, json};
use crate::machine::Nic;
use serde::Serialize;
use softnet_emulated::ModelCounters;
use softnet_netstack::{Interface, Stack};
use softnet_nic_hal::{LinkState, MacAddress, NicStats};

/// What a device, its NIC and its wire have counted.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DeviceReport {
    /// Its number in the stack.
    pub index: u16,
    /// Its name.
    pub name: String,
    /// The driver's name.
    pub driver: &'static str,
    /// Where the NIC is plugged in: domain, bus, slot and function.
    pub slot: Option<String>,
    /// The station address.
    #[serde(serialize_with = "json::display")]
    pub mac: MacAddress,
    /// The largest network-layer packet, in bytes.
    pub mtu: u16,
    /// The link, as the driver's watchdog last saw it.
    #[serde(serialize_with = "json::link")]
    pub link: LinkState,
    /// Whether the device was unplugged.
    pub gone: bool,
    /// The counters that every NIC has.
    #[serde(serialize_with = "json::stats")]
    pub stats: NicStats,
    /// The driver's own counters, as `ethtool -S` lists them.
    pub ethtool: Counters,
    /// The queues, while the device is in service.
    pub queues: Vec<QueueReport>,
    /// What the emulated chip counted beside its registers.
    #[serde(serialize_with = "json::model")]
    pub model: Option<ModelCounters>,
    /// Times the NIC tried to reach memory that is not mapped for it.
    pub dma_faults: u64,
    /// The counters of the wire.
    pub wire: Counters,
}

/// What a queue of a device has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueReport {
    /// The CPU that polls it.
    pub cpu: usize,
    /// Packets taken from the receive ring.
    pub rx_packets: u64,
    /// Bytes of those.
    pub rx_bytes: u64,
    /// Times NAPI polled it.
    pub polls: u64,
    /// Frames that could not be posted, since the pool was exhausted.
    pub alloc_failed: u64,
    /// Packets taken for the transmit ring.
    pub tx_packets: u64,
    /// Bytes of those.
    pub tx_bytes: u64,
    /// Times the transmit ring was full, so that packets had to wait.
    pub tx_requeues: u64,
}

impl DeviceReport {
    /// What the chip counted beside its registers; zeros where no emulated chip
    /// is.
    #[must_use]
    pub fn model(&self) -> ModelCounters {
        self.model.unwrap_or_default()
    }

    /// Packets that the CPUs took from the receive rings.
    #[must_use]
    pub fn rx_packets(&self) -> u64 {
        self.queues.iter().map(|queue| queue.rx_packets).sum()
    }

    fn gather(interface: &Interface, nic: Option<&Nic>) -> Self {
        let below = nic.map(Nic::counters);
        let mut ethtool = Counters::default();
        interface.ethtool_stats(&mut |name, value| ethtool.0.push((name, value)));
        Self {
            index: interface.index().0,
            name: interface.name().to_owned(),
            driver: interface.capabilities().driver,
            slot: below.as_ref().map(|nic| nic.function.clone()),
            mac: interface.mac(),
            mtu: interface.mtu(),
            link: interface.link(),
            gone: interface.is_gone(),
            stats: interface.stats(),
            ethtool,
            queues: queues(interface),
            model: below.as_ref().map(|nic| nic.model),
            dma_faults: below.as_ref().map_or(0, |nic| nic.dma_faults),
            wire: Counters(below.map(|nic| nic.wire).unwrap_or_default()),
        }
    }
}

pub(super) fn gather(stack: &Stack, nics: &[Nic]) -> Vec<DeviceReport> {
    let interfaces = stack.interfaces().into_iter();
    let devices = interfaces.map(|interface| {
        let nic = nics.iter().find(|nic| nic.dev() == interface.index());
        DeviceReport::gather(&interface, nic)
    });
    devices.collect()
}

fn queues(interface: &Interface) -> Vec<QueueReport> {
    let mut queues = Vec::new();
    interface.queues(&mut |cpu, rx, tx| {
        queues.push(QueueReport {
            cpu,
            rx_packets: rx.packets.count(),
            rx_bytes: rx.bytes.count(),
            polls: rx.polls.count(),
            alloc_failed: rx.alloc_failed.count(),
            tx_packets: tx.packets.count(),
            tx_bytes: tx.bytes.count(),
            tx_requeues: tx.requeues.count(),
        });
    });
    queues
}
