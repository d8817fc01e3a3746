//! Runs of all contenders of one measurement, in turn, until each has enough.

use crate::pair::{Mode, bracketed};
use crate::row::{Better, Row, fill_ratios, median};
use std::time::{Duration, Instant};

/// A contender's name, and one run of it: its figure, or `None` when the run was
/// disturbed.
pub type Contender<'a> = (&'static str, &'a dyn Fn() -> Option<f64>);

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How many good runs of each contender.
    pub runs: usize,
    /// When to stop all the same.
    pub limit: Duration,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Title {
    /// The group of all its rows.
    pub group: &'static str,
    /// The row.
    pub row: String,
    /// What the figure is, with its unit.
    pub metric: &'static str,
    /// Which way is better.
    pub better: Better,
}

/// Runs the contenders in turn, so that all of them meet the same weather, and
/// returns the rows of each mode in which every one has been measured.
#[must_use]
pub fn measure(title: &Title, contenders: &[Contender<'_>], effort: Effort) -> Vec<Row> {
    let start = Instant::now();
    let mut samples = Samples::new(contenders.len());
    while samples.fewest(Mode::Near) < effort.runs && start.elapsed() < effort.limit {
        for (n, (_, run)) in contenders.iter().enumerate() {
            if let Some((mode, value)) = bracketed(run) {
                samples.of(mode)[n].push(value);
            }
        }
    }
    let modes = [Mode::Near, Mode::Far];
    let enough = |mode: &Mode| samples.fewest(*mode) >= effort.runs.min(3);
    let rows = modes.into_iter().filter(enough);
    let rows: Vec<Row> = rows
        .flat_map(|mode| samples.rows(title, contenders, mode))
        .collect();
    if rows.is_empty() {
        eprintln!("{}: the machine was never quiet for long enough", title.row);
    }
    rows
}

/// The figures of each contender, by mode.
struct Samples {
    near: Vec<Vec<f64>>,
    far: Vec<Vec<f64>>,
}

impl Samples {
    fn new(contenders: usize) -> Self {
        Self {
            near: vec![Vec::new(); contenders],
            far: vec![Vec::new(); contenders],
        }
    }

    fn of(&mut self, mode: Mode) -> &mut [Vec<f64>] {
        match mode {
            Mode::Near => &mut self.near,
            Mode::Far => &mut self.far,
        }
    }

    fn get(&self, mode: Mode) -> &[Vec<f64>] {
        match mode {
            Mode::Near => &self.near,
            Mode::Far => &self.far,
        }
    }

    fn fewest(&self, mode: Mode) -> usize {
        self.get(mode).iter().map(Vec::len).min().unwrap_or(0)
    }

    fn rows(&self, title: &Title, contenders: &[Contender<'_>], mode: Mode) -> Vec<Row> {
        let values = contenders.iter().zip(self.get(mode));
        let row = |((name, _), values): (&Contender<'_>, &Vec<f64>)| {
            Some(Row {
                group: title.group.to_owned(),
                row: title.row.clone(),
                contender: (*name).to_owned(),
                metric: title.metric.to_owned(),
                value: median(values.clone())?,
                ratio_to_best_peer: None,
                mode: Some(mode.name().to_owned()),
            })
        };
        let mut rows: Vec<Row> = values.filter_map(row).collect();
        fill_ratios(&mut rows, title.better);
        rows
    }
}
