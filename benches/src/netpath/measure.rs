//! Time and instructions of a scenario's contenders.

use super::contender::{Contender, Host, run};
use super::scenario::Scenario;
use crate::callgrind::{self, Operations};
use crate::pair::switches;
use crate::row::{Better, OURS, Row, fill_ratios, median};
use anyhow::Result;
use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How many undisturbed runs of each contender.
    pub runs: usize,
    /// How long a run takes.
    pub run: Duration,
    /// When to stop all the same.
    pub limit: Duration,
}

/// A contender's figure of one packet, and that of its wire.
type Figure = (Contender, f64);

/// The contenders' rows and those of their wires, from the figures of all. The
/// wire is subtracted.
fn rows(scenario: &Scenario, metric: &str, figures: &[Figure]) -> Vec<Row> {
    let row = |&(contender, value): &Figure| Row {
        group: scenario.group().to_owned(),
        row: scenario.name(),
        contender: contender.name().to_owned(),
        metric: metric.to_owned(),
        value: value - wire_of(contender, figures),
        ratio_to_best_peer: None,
        mode: None,
    };
    let is_wire = |figure: &&Figure| WIRES.contains(&figure.0);
    let mut rows: Vec<Row> = figures.iter().filter(|f| !is_wire(f)).map(row).collect();
    fill_ratios(&mut rows, Better::Lower);
    rows.extend(figures.iter().filter(is_wire).map(row));
    rows
}

const WIRES: [Contender; 2] = [Contender::SoftnetWire, Contender::SmoltcpWire];

fn wire_of(contender: Contender, figures: &[Figure]) -> f64 {
    let wire = contender.wire();
    let found = figures.iter().find(|(other, _)| Some(*other) == wire);
    found.map_or(0.0, |&(_, value)| value)
}

/// All that the scenario is measured with.
fn contenders(scenario: &Scenario) -> impl Iterator<Item = Contender> {
    let all = Contender::of(scenario.service).iter();
    all.copied().chain(WIRES)
}

/// Instructions per packet.
///
/// # Errors
/// When callgrind fails, or the work under it.
pub fn instructions(scenario: &Scenario, number: usize) -> Result<Vec<Row>> {
    let count = |contender| Ok((contender, counted(contender, scenario, number)?));
    let figures: Result<Vec<Figure>> = contenders(scenario).map(count).collect();
    Ok(rows(scenario, "instructions", &figures?))
}

/// Instructions per packet of one contender, its wire included.
fn counted(contender: Contender, scenario: &Scenario, number: usize) -> Result<f64> {
    let name = contender.argument();
    let number = number.to_string();
    let operations = operations(contender, scenario);
    callgrind::instructions_between(&["count", &name, &number], operations)
}

/// The difference is a multiple of every period that a path has: of its batches,
/// of its caches of frames, of its rings.
fn operations(contender: Contender, scenario: &Scenario) -> Operations {
    let (low, high) = match contender {
        Contender::SoftnetWire => (256, 768),
        Contender::Smoltcp | Contender::SmoltcpIngress if scenario.sockets > 1000 => (256, 512),
        _ => (1024, 5120),
    };
    Operations { low, high }
}

/// The work that callgrind counts.
///
/// # Errors
/// When a packet does not come through.
pub fn work(contender: Contender, scenario: &Scenario, packets: usize) -> Result<()> {
    let mut host = contender.host(scenario)?;
    let done = run(&mut *host, packets, scenario.batch);
    // The program ends here: to close thousands of sockets one by one under
    // callgrind takes longer than what is counted.
    std::mem::forget(host);
    done
}

/// Nanoseconds per packet: the median of runs that nothing has disturbed, the
/// contenders in turn, so that all of them meet the same weather.
///
/// # Errors
/// When a packet does not come through.
pub fn nanoseconds(scenario: &Scenario, effort: Effort) -> Result<Vec<Row>> {
    let figures = medians(contenders(scenario), scenario, effort)?;
    Ok(rows(scenario, "ns", &figures))
}

fn medians(
    contenders: impl Iterator<Item = Contender>,
    scenario: &Scenario,
    effort: Effort,
) -> Result<Vec<Figure>> {
    let build = |contender| Timed::new(contender, scenario, effort.run);
    let mut all: Vec<Timed> = contenders.map(build).collect::<Result<_>>()?;
    let start = Instant::now();
    let enough = |all: &[Timed]| all.iter().all(|timed| timed.samples.len() >= effort.runs);
    while !enough(&all) && start.elapsed() < effort.limit {
        for timed in &mut all {
            timed.sample(scenario.batch)?;
        }
    }
    let figure = |timed: Timed| Some((timed.contender, median(timed.samples)?));
    Ok(all.into_iter().filter_map(figure).collect())
}

/// A contender that is being timed.
struct Timed {
    contender: Contender,
    host: Box<dyn Host>,
    /// Of one run.
    packets: usize,
    samples: Vec<f64>,
}

impl Timed {
    fn new(contender: Contender, scenario: &Scenario, length: Duration) -> Result<Self> {
        let mut host = contender.host(scenario)?;
        let start = Instant::now();
        run(&mut *host, TRIAL, scenario.batch)?;
        let each = start.elapsed().as_secs_f64() / TRIAL as f64;
        let packets = (length.as_secs_f64() / each) as usize;
        let batches = (packets / TRIAL).max(1);
        host.rest();
        Ok(Self {
            contender,
            packets: (batches * TRIAL).min(host.stamina()),
            host,
            samples: Vec::new(),
        })
    }

    fn sample(&mut self, batch: usize) -> Result<()> {
        self.host.rest();
        let before = switches();
        let start = Instant::now();
        run(&mut *self.host, self.packets, batch)?;
        let elapsed = start.elapsed();
        if switches() == before {
            self.samples
                .push(elapsed.as_secs_f64() * 1e9 / self.packets as f64);
        }
        Ok(())
    }
}

/// Packets of a trial: a multiple of a batch.
const TRIAL: usize = 256;

/// What driver, model and stack cost together.
///
/// # Errors
/// When a packet does not come through, or callgrind fails.
pub fn emulated(
    scenario: &Scenario,
    number: usize,
    effort: Effort,
    count: bool,
) -> Result<Vec<Row>> {
    let contender = Contender::SoftnetE1000;
    let lone = |metric: &str, value| Row {
        group: "e1000".to_owned(),
        row: format!("{}, {}", scenario.group(), scenario.name()),
        contender: OURS.to_owned(),
        metric: metric.to_owned(),
        value,
        ratio_to_best_peer: None,
        mode: None,
    };
    let mut rows = Vec::new();
    if count {
        rows.push(lone("instructions", counted(contender, scenario, number)?));
    }
    for (_, ns) in medians([contender].into_iter(), scenario, effort)? {
        rows.push(lone("ns", ns));
        rows.push(lone("M frames/s", 1e3 / ns));
    }
    Ok(rows)
}
