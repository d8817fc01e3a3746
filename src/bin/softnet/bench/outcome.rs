//! What a run came to.

use super::args::AfXdp;
use serde::Serialize;
use softnet::nic_hal::{NicHal, NicStats};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// The result of a run, in the order in which it is printed.
#[derive(Serialize)]
pub(super) struct Outcome {
    task: &'static str,
    interface: String,
    /// `napi`, `bare` or `stack`.
    path: &'static str,
    mode: String,
    /// Modes that did not work, with the kernel's reasons.
    refused: Vec<String>,
    seconds: f64,
    packets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip: Option<RoundTrip>,
    /// Packets dropped, by reason.
    drops: BTreeMap<String, u64>,
    /// What the loop, the NIC and the kernel have counted, without zeros.
    counters: BTreeMap<String, u64>,
}

/// Times of round trips, in microseconds.
#[derive(Serialize)]
pub(super) struct RoundTrip {
    pub(super) lost: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

impl RoundTrip {
    /// Of these times, in nanoseconds.
    pub(super) fn of(mut times_ns: Vec<u64>, lost: u64) -> Self {
        times_ns.sort_unstable();
        let at = |percent: usize| {
            let last = times_ns.len().saturating_sub(1);
            let found = times_ns.get(last * percent / 100);
            found.map_or(0.0, |&ns| ns as f64 / 1e3)
        };
        Self {
            lost,
            p50_us: at(50),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}

impl Outcome {
    pub(super) fn new(args: &AfXdp, path: &'static str, mode: String) -> Self {
        Self {
            task: args.task.name(),
            interface: args.interface.clone(),
            path,
            mode,
            refused: Vec::new(),
            seconds: 0.0,
            packets: 0,
            round_trip: None,
            drops: BTreeMap::new(),
            counters: BTreeMap::new(),
        }
    }

    pub(super) fn refused(mut self, refused: Vec<String>) -> Self {
        self.refused = refused;
        self
    }

    pub(super) fn moved(mut self, packets: u64, time: Duration) -> Self {
        (self.packets, self.seconds) = (packets, time.as_secs_f64());
        self
    }

    pub(super) fn round_trip(mut self, round_trip: RoundTrip) -> Self {
        self.round_trip = Some(round_trip);
        self
    }

    pub(super) fn drop(&mut self, reason: impl fmt::Display, packets: u64) {
        if packets > 0 {
            *self.drops.entry(reason.to_string()).or_default() += packets;
        }
    }

    pub(super) fn count(&mut self, name: &str, value: u64) {
        if value > 0 {
            self.counters.insert(name.to_owned(), value);
        }
    }

    /// Takes in what a NIC has counted.
    pub(super) fn count_nic<N: NicHal>(&mut self, nic: &N) {
        let mut stats = NicStats::default();
        nic.stats(&mut stats);
        self.drop("missed by the receive ring", stats.rx_missed_errors);
        self.drop("dropped by the driver", stats.rx_dropped);
        self.drop("refused by the driver", stats.tx_dropped);
        nic.ethtool_stats(&mut |name, value| self.count(name, value));
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.packets as f64 / self.seconds.max(1e-9);
        writeln!(
            f,
            "{} on {} ({} path, {} mode)",
            self.task, self.interface, self.path, self.mode
        )?;
        for refused in &self.refused {
            writeln!(f, "  not in {refused}")?;
        }
        let packets = self.packets;
        write!(f, "  {packets} packets in {:.2} s", self.seconds)?;
        if packets > 0 {
            write!(f, ": {:.3} Mpps, {:.0} ns each", rate / 1e6, 1e9 / rate)?;
        }
        if let Some(trip) = &self.round_trip {
            write!(
                f,
                "\n  round trip: p50 {:.1} us, p99 {:.1} us, longest {:.1} us, {} lost",
                trip.p50_us, trip.p99_us, trip.max_us, trip.lost
            )?;
        }
        list(f, "dropped", &self.drops)?;
        list(f, "counted", &self.counters)
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    if counts.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {title}:")?;
    for (name, count) in counts {
        write!(f, "\n    {count:>14}  {name}")?;
    }
    Ok(())
}

/// When a run ends: after a time, or after so many packets.
pub(super) struct Bound {
    start: Instant,
    end: Instant,
    packets: u64,
}

impl Bound {
    pub(super) fn new(args: &AfXdp) -> Self {
        let start = Instant::now();
        Self {
            start,
            end: start + args.duration,
            packets: args.packets.unwrap_or(u64::MAX),
        }
    }

    pub(super) fn is_over(&self, packets: u64) -> bool {
        packets >= self.packets || Instant::now() >= self.end
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
