//! A report as text.

use super::json::model_counters;
use super::{Counters, DeviceReport, Drops, NicDrops, Protocols, Report};
use softnet_netstack::Snmp;
use softnet_nic_hal::LinkState;
use softnet_softirq::ProcSoftirqs;
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# /proc/interrupts\n{}", self.interrupts)?;
        writeln!(f, "# /proc/softirqs\n{}", ProcSoftirqs(&self.softirqs))?;
        writeln!(f, "# /proc/net/softnet_stat")?;
        for cpu in &self.softnet {
            writeln!(f, "{cpu}")?;
        }
        for device in &self.devices {
            write!(f, "\n{device}")?;
        }
        writeln!(f, "\n# /proc/net/snmp\n{}", self.protocols)?;
        write_drops(f, &self.drops, &self.nic_drops)
    }
}

fn write_drops(f: &mut Formatter<'_>, drops: &[Drops], below: &[NicDrops]) -> fmt::Result {
    writeln!(f, "# drops by reason")?;
    if drops.is_empty() && below.is_empty() {
        writeln!(f, "none")?;
    }
    for drop in drops {
        writeln!(f, "{drop}")?;
    }
    for drop in below {
        writeln!(f, "{drop}")?;
    }
    Ok(())
}

impl Display for Drops {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (packets, reason) = (self.packets, self.reason);
        write!(f, "{packets:>10} {reason}: {}", self.explanation)
    }
}

impl Display for DeviceReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# ip -s link show {}", self.name)?;
        self.write_link(f)?;
        writeln!(f, "\n# ethtool -S {}", self.name)?;
        write_counters(f, &self.ethtool, Zeros::Hidden)?;
        for (at, queue) in self.queues.iter().enumerate() {
            writeln!(
                f,
                "     queue {at} on CPU{}: polls: {}, rx_packets: {}, rx_alloc_failed: {}, tx_packets: {}, tx_requeues: {}",
                queue.cpu,
                queue.polls,
                queue.rx_packets,
                queue.alloc_failed,
                queue.tx_packets,
                queue.tx_requeues
            )?;
        }
        self.write_below(f)
    }
}

impl DeviceReport {
    /// As `ip -s link` does.
    fn write_link(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            index, name, mtu, ..
        } = self;
        let flags = if self.link.up { ",LOWER_UP" } else { "" };
        writeln!(
            f,
            "{index}: {name}: <BROADCAST,MULTICAST,UP{flags}> mtu {mtu} {}",
            state(self.link, self.gone)
        )?;
        writeln!(f, "    link/ether {} brd ff:ff:ff:ff:ff:ff", self.mac)?;
        let stats = &self.stats;
        table(
            f,
            "RX",
            [
                ("bytes", stats.rx_bytes),
                ("packets", stats.rx_packets),
                ("errors", stats.rx_errors),
                ("dropped", stats.rx_dropped),
                ("missed", stats.rx_missed_errors),
                ("mcast", stats.multicast),
            ],
        )?;
        table(
            f,
            "TX",
            [
                ("bytes", stats.tx_bytes),
                ("packets", stats.tx_packets),
                ("errors", stats.tx_errors),
                ("dropped", stats.tx_dropped),
                ("carrier", self.ethtool.value("tx_carrier_errors")),
                ("collsns", self.ethtool.value("collisions")),
            ],
        )
    }

    /// What is below the driver: the chip and the wire.
    fn write_below(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(model) = &self.model {
            let slot = self.slot.as_deref().unwrap_or("");
            writeln!(f, "\n# emulated {} at {slot}", self.driver)?;
            write_counters(f, &model_counters(model), Zeros::Shown)?;
            writeln!(f, "     dma_faults: {}", self.dma_faults)?;
        }
        if !self.wire.0.is_empty() {
            writeln!(f, "\n# wire of {}", self.name)?;
            write_counters(f, &self.wire, Zeros::Shown)?;
        }
        Ok(())
    }
}

fn state(link: LinkState, gone: bool) -> String {
    match (gone, link.up) {
        (true, _) => "state GONE".to_owned(),
        (_, false) => "state DOWN".to_owned(),
        (_, true) => format!("state UP {} Mbit/s", link.speed_mbps),
    }
}

fn table(f: &mut Formatter<'_>, way: &str, columns: [(&str, u64); 6]) -> fmt::Result {
    write!(f, "    {way}:")?;
    for (name, _) in columns {
        write!(f, " {name:>10}")?;
    }
    write!(f, "\n       ")?;
    for (_, value) in columns {
        write!(f, " {value:>10}")?;
    }
    writeln!(f)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Shown,
    Hidden,
}

fn write_counters(f: &mut Formatter<'_>, counters: &Counters, zeros: Zeros) -> fmt::Result {
    for &(name, value) in &counters.0 {
        if value != 0 || zeros == Zeros::Shown {
            writeln!(f, "     {name}: {value}")?;
        }
    }
    Ok(())
}

/// A line of names and a line of values for each protocol.
impl Display for Protocols {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for protocol in self.snmp.chunk_by(|a, b| protocol(a) == protocol(b)) {
            let name = protocol.first().map_or("", |first| first.0.name().0);
            write!(f, "{name}:")?;
            for (counter, _) in protocol {
                write!(f, " {}", counter.name().1)?;
            }
            write!(f, "\n{name}:")?;
            for (_, value) in protocol {
                write!(f, " {value}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn protocol(line: &(Snmp, u64)) -> &'static str {
    line.0.name().0
}
