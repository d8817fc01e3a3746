//! How values of other crates are serialized.

use super::Counters;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use softnet_emulated::ModelCounters;
use softnet_napi::SoftnetStat;
use softnet_netstack::Snmp;
use softnet_nic_hal::irq::IrqSnapshot;
use softnet_nic_hal::{LinkState, NicStats};
use softnet_softirq::{SoftirqStats, Vector};
use std::collections::BTreeMap;
use std::fmt::Display;

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().copied())
    }
}

pub(super) fn display<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[derive(Serialize)]
struct Line<'a> {
    irq: u32,
    source: &'a str,
    action: Option<&'a str>,
    affinity: usize,
    delivered: &'a [u64],
    unhandled: &'a [u64],
}

pub(super) fn interrupts<S: Serializer>(table: &IrqSnapshot, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(table.lines.iter().map(|line| Line {
        irq: line.irq.0,
        source: &line.source,
        action: line.action.as_deref(),
        affinity: line.affinity,
        delivered: &line.delivered,
        unhandled: &line.unhandled,
    }))
}

#[derive(Serialize)]
struct Softirqs {
    cpu: u32,
    vectors: Counters,
    inline_passes: u64,
    ksoftirqd_passes: u64,
    restarts: u64,
    hand_overs: u64,
    not_open: u64,
}

pub(super) fn softirqs<S: Serializer>(cpus: &[SoftirqStats], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(cpus.iter().map(|stats| {
        let vectors = Vector::ALL.iter();
        let vectors = vectors.map(|&vector| (vector.name(), stats.vector(vector)));
        Softirqs {
            cpu: stats.cpu.0,
            vectors: Counters(vectors.collect()),
            inline_passes: stats.inline_passes,
            ksoftirqd_passes: stats.ksoftirqd_passes,
            restarts: stats.restarts,
            hand_overs: stats.hand_overs,
            not_open: stats.not_open,
        }
    }))
}

#[derive(Serialize)]
struct Softnet {
    cpu: u32,
    processed: u64,
    dropped: u64,
    time_squeeze: u64,
    received_rps: u64,
    flow_limit: u64,
}

pub(super) fn softnet<S: Serializer>(cpus: &[SoftnetStat], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(cpus.iter().map(|stat| Softnet {
        cpu: stat.cpu.0,
        processed: stat.processed,
        dropped: stat.dropped,
        time_squeeze: stat.time_squeeze,
        received_rps: stat.received_rps,
        flow_limit: stat.flow_limit,
    }))
}

/// A map for each protocol.
pub(super) fn snmp<S: Serializer>(counters: &[(Snmp, u64)], to: S) -> Result<S::Ok, S::Error> {
    let mut protocols: BTreeMap<&str, Counters> = BTreeMap::new();
    for (counter, value) in counters {
        let (protocol, name) = counter.name();
        protocols
            .entry(protocol)
            .or_default()
            .0
            .push((name, *value));
    }
    let mut map = to.serialize_map(Some(protocols.len()))?;
    for (protocol, counters) in &protocols {
        map.serialize_entry(protocol, counters)?;
    }
    map.end()
}

#[derive(Serialize)]
struct Link {
    up: bool,
    speed_mbps: u32,
    full_duplex: bool,
}

pub(super) fn link<S: Serializer>(link: &LinkState, to: S) -> Result<S::Ok, S::Error> {
    let link = Link {
        up: link.up,
        speed_mbps: link.speed_mbps,
        full_duplex: link.full_duplex,
    };
    link.serialize(to)
}

pub(super) fn stats<S: Serializer>(stats: &NicStats, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(stats.named())
}

pub(super) fn model<S: Serializer>(
    model: &Option<ModelCounters>,
    to: S,
) -> Result<S::Ok, S::Error> {
    model.as_ref().map(model_counters).serialize(to)
}

pub(super) fn model_counters(model: &ModelCounters) -> Counters {
    Counters(vec![
        ("wire_rx", model.wire_rx),
        ("rx_unheard", model.rx_unheard),
        ("rx_filtered", model.rx_filtered),
        ("wire_tx", model.wire_tx),
        ("wire_tx_lost", model.wire_tx_lost),
        ("tx_unsupported", model.tx_unsupported),
        ("tx_discarded", model.tx_discarded),
    ])
}
