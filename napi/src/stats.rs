//! Counters, in the columns of `/proc/net/softnet_stat`.

use core::fmt;
use softnet_softirq::{Counter, CpuId};

/// One CPU's counters, while it runs. Only the CPU's thread adds to them; any
/// thread may read them.
#[derive(Debug, Default)]
pub struct SoftnetCounters {
    /// Packets that pollers of this CPU took.
    pub processed: Counter,
    /// Packets dropped since the CPU's backlog was full.
    pub dropped: Counter,
    /// Times that `net_rx_action` stopped at its budget or its time limit with
    /// instances left to poll.
    pub time_squeeze: Counter,
    /// Times that another CPU has steered packets here.
    pub received_rps: Counter,
    /// Packets dropped by the limit on one flow's share of the backlog.
    pub flow_limit: Counter,
}

impl SoftnetCounters {
    /// The counters now, with the lengths of the queues at 0 for the caller to
    /// fill in.
    #[must_use]
    pub fn snapshot(&self, cpu: CpuId) -> SoftnetStat {
        SoftnetStat {
            cpu,
            processed: self.processed.count(),
            dropped: self.dropped.count(),
            time_squeeze: self.time_squeeze.count(),
            received_rps: self.received_rps.count(),
            flow_limit: self.flow_limit.count(),
            input_qlen: 0,
            process_qlen: 0,
        }
    }
}

/// One line of `/proc/net/softnet_stat`; `Display` writes it: 15 columns of 32
/// bits in hexadecimal, wrapping, with those that no kernel fills any more at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftnetStat {
    /// The CPU of the line.
    pub cpu: CpuId,
    /// See [`SoftnetCounters::processed`].
    pub processed: u64,
    /// See [`SoftnetCounters::dropped`].
    pub dropped: u64,
    /// See [`SoftnetCounters::time_squeeze`].
    pub time_squeeze: u64,
    /// See [`SoftnetCounters::received_rps`].
    pub received_rps: u64,
    /// See [`SoftnetCounters::flow_limit`].
    pub flow_limit: u64,
    /// Packets that wait in the CPU's backlog for it to take them over.
    pub input_qlen: u32,
    /// Packets that the CPU has taken over from its backlog and not yet handled.
    pub process_qlen: u32,
}

impl fmt::Display for SoftnetStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Columns 4 to 9 were those of fastroute and of cpu_collision.
        let columns = [
            self.processed as u32,
            self.dropped as u32,
            self.time_squeeze as u32,
            0,
            0,
            0,
            0,
            0,
            0,
            self.received_rps as u32,
            self.flow_limit as u32,
            self.input_qlen.wrapping_add(self.process_qlen),
            self.cpu.0,
            self.input_qlen,
            self.process_qlen,
        ];
        for (place, column) in columns.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{column:08x}")?;
        }
        Ok(())
    }
}
