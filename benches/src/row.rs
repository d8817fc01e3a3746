//! What a bench prints: one row for each contender and each measurement.

use serde::Serialize;
use std::io::{self, Write};

/// One measurement of one contender.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is measured, such as `spsc`.
    pub group: String,
    /// How, such as `u64, batches of 32`.
    pub row: String,
    /// Whose.
    pub contender: String,
    /// What `value` counts, with its unit.
    pub metric: String,
    /// The median of the runs.
    pub value: f64,
    /// Above 1 is better than the best peer; `None` for a limit.
    pub ratio_to_best_peer: Option<f64>,
    /// Under which condition of the machine it was measured.
    pub mode: Option<String>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A rate.
    Higher,
    /// A time, or a count of instructions.
    Lower,
}

/// The name under which this project's own contenders run.
pub const OURS: &str = "softnet";

/// Fills in the ratio of every row to the best of those whose contender does
/// not start with [`OURS`]. All rows are of one measurement in one mode.
pub fn fill_ratios(rows: &mut [Row], better: Better) {
    let peers = rows.iter().filter(|row| !row.contender.starts_with(OURS));
    let best = peers.map(|row| row.value).reduce(|a, b| match better {
        Better::Higher => a.max(b),
        Better::Lower => a.min(b),
    });
    for row in rows {
        row.ratio_to_best_peer = best.map(|best| match better {
            Better::Higher => row.value / best,
            Better::Lower => best / row.value,
        });
    }
}

/// Prints rows, as JSON or as a table.
///
/// # Errors
/// Those of standard output.
pub fn print(rows: &[Row], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for row in rows {
        if json {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        } else {
            writeln!(out, "{}", table_line(row))?;
        }
    }
    Ok(())
}

fn table_line(row: &Row) -> String {
    let ratio = row.ratio_to_best_peer.map(|ratio| format!("x{ratio:.2}"));
    format!(
        "{:<12} {:<30} {:<16} {:>10.1} {:<18} {:>7} {}",
        row.group,
        row.row,
        row.contender,
        row.value,
        row.metric,
        ratio.unwrap_or_default(),
        row.mode.as_deref().unwrap_or("")
    )
}

/// The middle one of some measurements; `None` when there are none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contender: &str, value: f64) -> Row {
        Row {
            group: String::new(),
            row: String::new(),
            contender: contender.to_owned(),
            metric: String::new(),
            value,
            ratio_to_best_peer: None,
            mode: None,
        }
    }

    #[test]
    fn a_ratio_above_one_is_better_whichever_way_is_better() {
        let mut rows = [row(OURS, 20.0), row("a", 10.0), row("b", 5.0)];
        fill_ratios(&mut rows, Better::Higher);
        assert_eq!(rows[0].ratio_to_best_peer, Some(2.0));
        fill_ratios(&mut rows, Better::Lower);
        assert_eq!(rows[0].ratio_to_best_peer, Some(0.25));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
