//! Interfaces of the kernel as NICs, on a veth pair.

use anyhow::Result;
use clap::{Parser, Subcommand};
use hdrhistogram::Histogram;
use softnet_benches::afxdp::echo::{self, Server};
use softnet_benches::afxdp::forward::{self, Contender, Span, Task};
use softnet_benches::afxdp::lab::{Lab, NEAR_STACK};
use softnet_benches::afxdp::latency::{self, Waiting};
use softnet_benches::afxdp::{flood::Flood, testpmd};
use softnet_benches::callgrind::{self, Operations};
use softnet_benches::options::Common;
use softnet_benches::row::{self, Better, Row, fill_ratios, median};
use std::collections::BTreeMap;
use std::time::Duration;

/// Measures XDP sockets on a veth pair: behind NAPI against a bare loop and
/// dpdk-testpmd, and behind the whole stack against the kernel's own sockets
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Only the groups with these names: rx-drop, l2fwd, echo, latency, instructions
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[command(subcommand)]
    work: Option<Work>,
}

#[derive(Subcommand)]
enum Work {
    /// The work that callgrind counts
    #[command(hide = true)]
    Count {
        contender: Contender,
        task: Task,
        packets: u64,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(Work::Count {
        contender,
        task,
        packets,
    }) = options.work
    {
        return forward::count(contender, task, packets);
    }
    let lab = match Lab::new() {
        Ok(lab) => lab,
        Err(error) => {
            eprintln!("afxdp: skipped: everything: {error:#}");
            return Ok(());
        }
    };
    for task in Task::ALL
        .into_iter()
        .filter(|task| options.wants(task.name()))
    {
        options.show(&forwarding(&lab, task, &options)?)?;
    }
    if options.wants("instructions") {
        options.show(&instructions(&lab)?)?;
    }
    if options.wants("echo") {
        options.show(&echoes(&lab, &options)?)?;
    }
    if options.wants("latency") {
        for waiting in Waiting::ALL {
            options.show(&round_trips(&lab, waiting, &options)?)?;
        }
    }
    Ok(())
}

impl Options {
    fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == group)
    }

    fn show(&self, rows: &[Row]) -> Result<()> {
        Ok(row::print(rows, self.common.json)?)
    }

    fn rounds(&self) -> usize {
        if self.common.quick { 3 } else { 15 }
    }

    fn span(&self) -> Span {
        Span {
            warm_up: Duration::from_millis(100),
            measured: Duration::from_millis(if self.common.quick { 300 } else { 600 }),
        }
    }
}

/// What each contender came to, by contender and metric.
#[derive(Default)]
struct Samples(BTreeMap<(&'static str, &'static str), Vec<f64>>);

impl Samples {
    fn add(&mut self, contender: &'static str, metric: &'static str, value: f64) {
        self.0.entry((contender, metric)).or_default().push(value);
    }

    /// The medians of one metric.
    fn rows(&self, group: &str, name: &str, metric: &str, better: Better) -> Vec<Row> {
        let of_metric = self.0.iter().filter(|((_, have), _)| *have == metric);
        let mut rows: Vec<_> = of_metric
            .filter_map(|((contender, _), values)| {
                Some(Row {
                    group: format!("afxdp {group}"),
                    row: name.to_owned(),
                    contender: (*contender).to_owned(),
                    metric: metric.to_owned(),
                    value: median(values.clone())?,
                    ratio_to_best_peer: None,
                    mode: None,
                })
            })
            .collect();
        fill_ratios(&mut rows, better);
        rows
    }
}

fn forwarding(lab: &Lab, task: Task, options: &Options) -> Result<Vec<Row>> {
    let mut samples = Samples::default();
    let has_testpmd = testpmd::is_installed();
    if !has_testpmd {
        eprintln!("afxdp: skipped: dpdk-testpmd (apt-get install dpdk-dev)");
    }
    for round in 0..options.rounds() {
        eprintln!("afxdp: {}, round {round}", task.name());
        for contender in Contender::ALL {
            let rates = forward::run(lab, contender, task, options.span())?;
            samples.add(contender.name(), "kpps", rates.done);
            samples.add(contender.name(), "kpps offered", rates.offered);
        }
        if has_testpmd {
            let rates = testpmd::run(lab, task, options.span())?;
            samples.add(testpmd::NAME, "kpps", rates.done);
            samples.add(testpmd::NAME, "kpps offered", rates.offered);
        }
    }
    let mut rows = Vec::new();
    for metric in ["kpps", "kpps offered"] {
        rows.extend(samples.rows(task.name(), "64 B, 1 queue", metric, Better::Higher));
    }
    Ok(rows)
}

fn echoes(lab: &Lab, options: &Options) -> Result<Vec<Row>> {
    let mut samples = Samples::default();
    for round in 0..options.rounds() {
        eprintln!("afxdp: echo, round {round}");
        for server in Server::ALL {
            let rates = echo::run(lab, server, options.span())?;
            samples.add(server.name(), "k/s", rates.answered);
            samples.add(server.name(), "k/s of CPU", rates.answered_per_cpu);
            samples.add(server.name(), "k/s offered", rates.offered);
        }
    }
    let mut rows = Vec::new();
    for metric in ["k/s", "k/s of CPU", "k/s offered"] {
        rows.extend(samples.rows("udp echo", "64 B, 1 core", metric, Better::Higher));
    }
    Ok(rows)
}

fn round_trips(lab: &Lab, waiting: Waiting, options: &Options) -> Result<Vec<Row>> {
    const METRICS: [(&str, f64); 2] = [("us p50", 0.5), ("us p99", 0.99)];
    const TRIPS: u32 = 500;
    let mut all = Server::ALL.map(|server| (server, Histogram::<u64>::new(3)));
    let rounds = if options.common.quick { 5 } else { 40 };
    for round in 0..rounds {
        if round % 10 == 0 {
            eprintln!("afxdp: latency, {}, round {round}", waiting.name());
        }
        for (server, sum) in &mut all {
            let histogram = latency::run(lab, *server, waiting, TRIPS)?;
            if let Ok(sum) = sum {
                sum.add(histogram)?;
            }
        }
    }
    let mut samples = Samples::default();
    for (server, sum) in all {
        let sum = sum?;
        let name = server.name();
        eprintln!(
            "afxdp: {}, {name}: {} trips count",
            waiting.name(),
            sum.len()
        );
        if sum.is_empty() {
            continue;
        }
        for (metric, quantile) in METRICS {
            let ns = sum.value_at_quantile(quantile);
            samples.add(name, metric, ns as f64 / 1e3);
        }
    }
    let rows = METRICS
        .map(|(metric, _)| samples.rows("round trip", waiting.name(), metric, Better::Lower));
    Ok(rows.into_iter().flatten().collect())
}

/// Frames come faster than a program under callgrind takes them, so that all batches
/// are full.
fn instructions(lab: &Lab) -> Result<Vec<Row>> {
    const OPERATIONS: Operations = Operations {
        low: 20_000,
        high: 120_000,
    };
    if !callgrind::is_installed() {
        eprintln!("afxdp: skipped: instructions (apt-get install valgrind)");
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for task in Task::ALL {
        eprintln!("afxdp: instructions, {}", task.name());
        let mut samples = Samples::default();
        for contender in Contender::ALL {
            let flood = Flood::start(lab, NEAR_STACK)?;
            let word = match contender {
                Contender::Softnet => "softnet",
                Contender::Bare => "bare",
            };
            let arguments = ["count", word, task.name()];
            let count = callgrind::instructions_between(&arguments, OPERATIONS);
            flood.stop()?;
            samples.add(contender.name(), "instructions", count?);
        }
        rows.extend(samples.rows(task.name(), "64 B, 1 queue", "instructions", Better::Lower));
    }
    Ok(rows)
}
