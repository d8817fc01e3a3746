//! The packet's walk as a table: what each layer did.

use crate::services::ServiceReport;
use softnet::netstack::Snmp;
use softnet::report::{DeviceReport, Report};
use softnet::softirq::Vector;
use std::fmt::Write;

/// A line for each layer, from the wire to the sockets.
pub(crate) fn text(report: &Report, services: &[ServiceReport]) -> String {
    let mut lines = Vec::new();
    for device in &report.devices {
        below_the_driver(device, &mut lines);
    }
    cpus(report, &mut lines);
    protocols(report, &mut lines);
    for service in services {
        lines.push(("socket", describe(service)));
    }
    let drops = report.drops.iter();
    lines.extend(drops.map(|drops| ("dropped", drops.to_string().trim_start().to_owned())));
    let drops = report.nic_drops.iter();
    lines.extend(drops.map(|drops| ("dropped", drops.to_string().trim_start().to_owned())));
    let mut text = String::new();
    for (layer, line) in lines {
        // A String takes everything.
        let _ = writeln!(text, "  {layer:<9} {line}");
    }
    text.trim_end().to_owned()
}

fn below_the_driver(device: &DeviceReport, lines: &mut Vec<(&'static str, String)>) {
    if device.model.is_none() {
        lines.push(("kernel", of_the_kernel(device)));
        return;
    }
    let (model, stats) = (device.model(), &device.stats);
    let lost = match device.wire.value("kernel_tx_dropped") {
        0 => String::new(),
        lost => format!("; {lost} more were lost in the kernel's queue"),
    };
    lines.push((
        "wire",
        format!("{} frames in, {} out{lost}", model.wire_rx, model.wire_tx),
    ));
    lines.push((
        "chip",
        format!(
            "{} filtered, {} missed for want of a descriptor, {} stored by DMA, {} sent",
            model.rx_filtered,
            stats.rx_missed_errors,
            device.ethtool.value("rx_packets"),
            device.ethtool.value("tx_packets"),
        ),
    ));
}

/// What came and went by XDP sockets.
fn of_the_kernel(device: &DeviceReport) -> String {
    let stats = &device.stats;
    format!(
        "{} frames in, {} more found no frame or no room in the ring, {} out, {} wake-ups to send",
        stats.rx_packets,
        stats.rx_missed_errors + stats.rx_fifo_errors,
        stats.tx_packets,
        device.ethtool.value("tx_wakeups"),
    )
}

fn cpus(report: &Report, lines: &mut Vec<(&'static str, String)>) {
    for line in &report.interrupts.lines {
        let delivered: u64 = line.delivered.iter().sum();
        let action = line.action.as_deref().unwrap_or("no handler now");
        let line = format!("{delivered} on line {} ({action})", line.irq.0);
        lines.push(("interrupt", line));
    }
    let vector = |vector| -> u64 { report.softirqs.iter().map(|cpu| cpu.vector(vector)).sum() };
    lines.push((
        "softirq",
        format!(
            "NET_RX {}, NET_TX {}, TIMER {} on {} CPU(s)",
            vector(Vector::NetRx),
            vector(Vector::NetTx),
            vector(Vector::Timer),
            report.softirqs.len()
        ),
    ));
    let processed: u64 = report.softnet.iter().map(|cpu| cpu.processed).sum();
    let squeezed: u64 = report.softnet.iter().map(|cpu| cpu.time_squeeze).sum();
    let queues = || report.devices.iter().flat_map(|device| &device.queues);
    let polls: u64 = queues().map(|queue| queue.polls).sum();
    lines.push((
        "napi",
        format!("{polls} polls took {processed} packets, out of budget {squeezed} times"),
    ));
}

fn protocols(report: &Report, lines: &mut Vec<(&'static str, String)>) {
    let snmp = |counter| report.snmp(counter);
    let protocols = &report.protocols;
    lines.push((
        "protocols",
        format!(
            "{} delivered, {} dropped",
            protocols.delivered, protocols.dropped
        ),
    ));
    lines.push((
        "ip",
        format!(
            "{} received, {} delivered, {} sent",
            snmp(Snmp::IpInReceives),
            snmp(Snmp::IpInDelivers),
            snmp(Snmp::IpOutRequests)
        ),
    ));
    lines.push((
        "icmp",
        format!(
            "{} echo requests, {} echo replies, {} errors sent",
            snmp(Snmp::IcmpInEchos),
            snmp(Snmp::IcmpOutEchoReps),
            snmp(Snmp::IcmpOutDestUnreachs)
        ),
    ));
    lines.push((
        "udp",
        format!(
            "{} to sockets, {} to closed ports, {} sent",
            snmp(Snmp::UdpInDatagrams),
            snmp(Snmp::UdpNoPorts),
            snmp(Snmp::UdpOutDatagrams)
        ),
    ));
}

fn describe(service: &ServiceReport) -> String {
    format!(
        "{} on port {}: {} received, {} answered, {} not answered",
        service.name, service.port, service.received, service.answered, service.unanswered
    )
}
