//! The rings of `dma-ring` against their peers.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use softnet_benches::callgrind;
use softnet_benches::options::Common;
use softnet_benches::pair::line_round_trip_ns;
use softnet_benches::rings::sample::{Contender, Effort, Title, measure};
use softnet_benches::rings::{Item, mpsc, spsc};
use softnet_benches::row::{self, Better, Row};
use std::time::Duration;

/// Measures rings between two pinned threads, and counts their instructions
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    work: Option<Work>,
}

#[derive(Subcommand)]
enum Work {
    /// The work that callgrind counts
    #[command(hide = true)]
    Count {
        contender: String,
        case: String,
        operations: u64,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(Work::Count {
        contender,
        case,
        operations,
    }) = options.work
    {
        return count(&contender, &case, operations);
    }
    let effort = Effort {
        runs: if options.common.quick { 3 } else { 15 },
        limit: Duration::from_secs(if options.common.quick { 2 } else { 20 }),
    };
    let show = |rows: Vec<Row>| row::print(&rows, options.common.json);
    show(line(effort))?;
    show(between_two_threads::<u64>(effort))?;
    show(between_two_threads::<[u64; 2]>(effort))?;
    show(there_and_back(effort))?;
    show(from_two_threads::<u64>(effort))?;
    show(from_two_threads::<[u64; 6]>(effort))?;
    if callgrind::is_installed() {
        show(instructions()?)?;
    } else {
        eprintln!("no instruction counts without valgrind: apt-get install valgrind");
    }
    Ok(())
}

/// The limit of everything below.
fn line(effort: Effort) -> Vec<Row> {
    let title = Title {
        group: "limit",
        row: "bare cache line, there and back".to_owned(),
        metric: "ns",
        better: Better::Lower,
    };
    let mut rows = measure(&title, &[("bare line", &line_round_trip_ns)], effort);
    for row in &mut rows {
        row.ratio_to_best_peer = None;
    }
    rows
}

fn between_two_threads<T: Item>(effort: Effort) -> Vec<Row> {
    use spsc::{Crossbeam, Heapless, Ring, Ringbuf, Rtrb, Softnet, in_batches, one_by_one};
    let title = |how: &str| Title {
        group: "spsc",
        row: format!("{}, {how}", T::NAME),
        metric: "M items/s",
        better: Better::Higher,
    };
    let single: [Contender<'_>; 5] = [
        (Softnet::NAME, &one_by_one::<Softnet, T>),
        (Rtrb::NAME, &one_by_one::<Rtrb, T>),
        (Ringbuf::NAME, &one_by_one::<Ringbuf, T>),
        (Heapless::NAME, &one_by_one::<Heapless, T>),
        (Crossbeam::NAME, &one_by_one::<Crossbeam, T>),
    ];
    let batches: [Contender<'_>; 5] = [
        (Softnet::NAME, &in_batches::<Softnet, T>),
        (Rtrb::NAME, &in_batches::<Rtrb, T>),
        (Ringbuf::NAME, &in_batches::<Ringbuf, T>),
        (Heapless::NAME, &in_batches::<Heapless, T>),
        (Crossbeam::NAME, &in_batches::<Crossbeam, T>),
    ];
    let mut rows = measure(&title("one by one"), &single, effort);
    rows.extend(measure(&title("batches of 32"), &batches, effort));
    rows
}

fn there_and_back(effort: Effort) -> Vec<Row> {
    use spsc::{Crossbeam, Heapless, Ring, Ringbuf, Rtrb, Softnet, round_trip};
    let title = Title {
        group: "spsc",
        row: "u64, there and back".to_owned(),
        metric: "ns",
        better: Better::Lower,
    };
    let contenders: [Contender<'_>; 5] = [
        (Softnet::NAME, &round_trip::<Softnet, u64>),
        (Rtrb::NAME, &round_trip::<Rtrb, u64>),
        (Ringbuf::NAME, &round_trip::<Ringbuf, u64>),
        (Heapless::NAME, &round_trip::<Heapless, u64>),
        (Crossbeam::NAME, &round_trip::<Crossbeam, u64>),
    ];
    measure(&title, &contenders, effort)
}

fn from_two_threads<T: Item>(effort: Effort) -> Vec<Row> {
    use mpsc::{Bounded, Ring, Softnet, Unbounded, pushes, pushes_and_pops};
    let title = |how: &str| Title {
        group: "mpsc",
        row: format!("{}, {how}", T::NAME),
        metric: "M items/s",
        better: Better::Higher,
    };
    let push: [Contender<'_>; 3] = [
        (Softnet::NAME, &pushes::<Softnet, T>),
        (Bounded::NAME, &pushes::<Bounded, T>),
        (Unbounded::NAME, &pushes::<Unbounded, T>),
    ];
    let through: [Contender<'_>; 3] = [
        (Softnet::NAME, &pushes_and_pops::<Softnet, T>),
        (Bounded::NAME, &pushes_and_pops::<Bounded, T>),
        (Unbounded::NAME, &pushes_and_pops::<Unbounded, T>),
    ];
    let mut rows = measure(&title("two push"), &push, effort);
    rows.extend(measure(&title("two push, one pops"), &through, effort));
    rows
}

const COUNTED: [&str; 5] = ["softnet", "rtrb", "ringbuf", "heapless", "ArrayQueue"];

fn instructions() -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for (case, name) in [
        ("single", "u64, one by one"),
        ("batches", "u64, batches of 32"),
    ] {
        let mut rows = Vec::new();
        for contender in COUNTED {
            let value = callgrind::instructions_per_operation(&["count", contender, case])?;
            rows.push(Row {
                group: "spsc".to_owned(),
                row: name.to_owned(),
                contender: contender.to_owned(),
                metric: "instructions".to_owned(),
                value,
                ratio_to_best_peer: None,
                mode: None,
            });
        }
        row::fill_ratios(&mut rows, Better::Lower);
        all.extend(rows);
    }
    Ok(all)
}

fn count(contender: &str, case: &str, operations: u64) -> Result<()> {
    match contender {
        "softnet" => count_ring::<spsc::Softnet>(case, operations),
        "rtrb" => count_ring::<spsc::Rtrb>(case, operations),
        "ringbuf" => count_ring::<spsc::Ringbuf>(case, operations),
        "heapless" => count_ring::<spsc::Heapless>(case, operations),
        "ArrayQueue" => count_ring::<spsc::Crossbeam>(case, operations),
        _ => bail!("no contender {contender}"),
    }
}

fn count_ring<R: spsc::Ring>(case: &str, operations: u64) -> Result<()> {
    let (mut tx, mut rx) = R::channel::<u64>();
    match case {
        "single" => spsc::push_and_pop(&mut tx, &mut rx, operations),
        "batches" => spsc::push_and_pop_batches(&mut tx, &mut rx, operations),
        _ => bail!("no case {case}"),
    }
    Ok(())
}
