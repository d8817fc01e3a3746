//! The benches: run, and their rows shown as one table.
//!
//! Every binary of `softnet-benches` is a bench. With `--json` it prints a
//! [`Row`] a line, and anything else that it has to say goes to standard error.

use anyhow::{Context, Result, bail};
use cargo_metadata::{Package, Target};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// What to run and how to show it.
#[derive(Args)]
pub(crate) struct Options {
    /// Print the rows as JSON, one a line
    #[arg(long)]
    json: bool,
    /// Take seconds and not minutes: a look, no figures to quote
    #[arg(long)]
    quick: bool,
    /// Benches to run, by binary; all if none is given
    benches: Vec<String>,
}

/// One measurement of one contender.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    group: String,
    row: String,
    contender: String,
    /// What `value` counts, with its unit.
    metric: String,
    value: f64,
    /// Above 1 is better than the best peer; none for a limit or a lone row.
    ratio_to_best_peer: Option<f64>,
    /// Under which condition of the machine it was measured, if that matters.
    mode: Option<String>,
}

/// Runs the benches and prints what they measured.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut rows = Vec::new();
    for Bench { name, features } in benches(workspace, options)? {
        eprintln!("bench: {name}");
        let (ok, measured) = measure(workspace, &name, &features, options)?;
        match ok && measured.is_empty() {
            true => tally.skip(&name, "it has measured nothing, and said why"),
            false => tally.count(&format!("bench {name}"), ok),
        }
        rows.extend(measured);
    }
    if options.json {
        print_json(&rows)?;
    } else {
        print_table(&rows);
    }
    Ok(tally)
}

/// A program, and the features of its package that it is built with.
struct Bench {
    name: String,
    features: Vec<String>,
}

fn benches(workspace: &Workspace, options: &Options) -> Result<Vec<Bench>> {
    let mut packages = workspace.packages().iter();
    let package = packages
        .find(|package| package.name == "softnet-benches")
        .context("no package softnet-benches")?;
    let all = binaries(package);
    for asked in &options.benches {
        if !all.iter().any(|bench| bench.name == *asked) {
            let names: Vec<_> = all.iter().map(|bench| bench.name.as_str()).collect();
            bail!("no bench {asked}; there are: {}", names.join(", "));
        }
    }
    let asked = |bench: &Bench| options.benches.is_empty() || options.benches.contains(&bench.name);
    let chosen: Vec<_> = all.into_iter().filter(asked).collect();
    if chosen.is_empty() {
        bail!("softnet-benches has no binary: each bench is one");
    }
    Ok(chosen)
}

fn binaries(package: &Package) -> Vec<Bench> {
    let targets = package.targets.iter().filter(|target| target.is_bin());
    let bench = |target: &Target| Bench {
        name: target.name.clone(),
        features: target.required_features.clone(),
    };
    targets.map(bench).collect()
}

/// Runs one bench. The peers are built with the release profile, as we are.
fn measure(
    workspace: &Workspace,
    bench: &str,
    features: &[String],
    options: &Options,
) -> Result<(bool, Vec<Row>)> {
    let mut cargo = workspace.cargo();
    // So that instructions can be told apart by the files that they come from.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "softnet-benches",
    ]);
    cargo.args(["--features", &features.join(",")]);
    cargo.args(["--bin", bench, "--", "--json"]);
    if options.quick {
        cargo.arg("--quick");
    }
    let mut rows = Vec::new();
    let mut strays = Vec::new();
    let ok = process::stream(&mut cargo, |line| match serde_json::from_str(line) {
        Ok(row) => rows.push(row),
        Err(_) => strays.push(line.to_owned()),
    })?;
    for stray in strays.iter().filter(|stray| !stray.is_empty()) {
        eprintln!("bench: {bench}: no row: {stray}");
    }
    Ok((ok, rows))
}

fn print_json(rows: &[Row]) -> Result<()> {
    for row in rows {
        println!("{}", serde_json::to_string(row)?);
    }
    Ok(())
}

fn print_table(rows: &[Row]) {
    let mut group = "";
    for row in rows {
        if row.group != group {
            group = &row.group;
            println!("\n{group}");
        }
        println!("{}", table_line(row));
    }
    let (behind, all) = standing(rows);
    println!("\nsoftnet is behind the best peer, marked <, in {behind} of {all} rows");
}

/// In how many rows softnet does worse than the best peer, of how many.
fn standing(rows: &[Row]) -> (usize, usize) {
    let ours = rows.iter().filter(|row| row.contender.starts_with(OURS));
    let ratios = ours.filter_map(|row| row.ratio_to_best_peer);
    ratios.fold((0, 0), |(behind, all), ratio| {
        (behind + usize::from(ratio < 1.0), all + 1)
    })
}

/// The name under which softnet's own contenders run.
const OURS: &str = "softnet";

fn table_line(row: &Row) -> String {
    let ratio = row
        .ratio_to_best_peer
        .map_or(String::new(), |ratio| format!("x{ratio:.2}"));
    let is_behind = row.ratio_to_best_peer.is_some_and(|ratio| ratio < 1.0);
    let mark = if is_behind && row.contender.starts_with(OURS) {
        "<"
    } else {
        ""
    };
    let line = format!(
        "  {:<42} {:<20} {:>10.1} {:<12} {ratio:>8} {mark:<1} {}",
        row.row,
        row.contender,
        row.value,
        row.metric,
        row.mode.as_deref().unwrap_or("")
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_with_and_without_a_ratio() {
        let text = r#"{"group":"spsc","row":"u64 x32","contender":"rtrb","metric":"M/s",
            "value":680.5,"ratio_to_best_peer":0.995,"mode":"near"}"#;
        let row: Row = serde_json::from_str(text).unwrap();
        let line = table_line(&row);
        assert!(
            line.contains("680.5 M/s") && line.contains("x0.99"),
            "{line}"
        );
        let text = r#"{"group":"g","row":"r","contender":"c","metric":"ns","value":1,
            "ratio_to_best_peer":null,"mode":null}"#;
        let row: Row = serde_json::from_str(text).unwrap();
        assert!(table_line(&row).ends_with("1.0 ns"));
    }

    #[test]
    fn a_row_of_ours_that_is_behind_is_marked_and_counted() {
        let row = |contender: &str, ratio| Row {
            group: String::new(),
            row: String::new(),
            contender: contender.to_owned(),
            metric: "ns".to_owned(),
            value: 1.0,
            ratio_to_best_peer: Some(ratio),
            mode: None,
        };
        let rows = [
            row("softnet", 0.5),
            row("softnet, b", 1.5),
            row("peer", 0.5),
        ];
        let marks = rows.each_ref().map(|row| table_line(row).contains('<'));
        assert_eq!(marks, [true, false, false]);
        assert_eq!(standing(&rows), (1, 2));
    }
}
