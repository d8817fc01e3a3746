//! The curves as a picture.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use softnet::lab::irq::Outcome;
use std::ops::Range;
use std::path::Path;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (1100, 480);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A curve of one picture: its scheme, and what it plots.
struct Axis {
    title: &'static str,
    /// What is plotted.
    value: fn(&Outcome) -> f64,
    /// The least value that is drawn, on a logarithmic axis.
    floor: f64,
}

const AXES: [Axis; 2] = [
    Axis {
        title: "interrupts per packet",
        value: |outcome| outcome.interrupts_per_packet,
        floor: 1e-4,
    },
    Axis {
        title: "99th percentile of the delay, us",
        value: |outcome| outcome.p99_ns as f64 / 1e3,
        floor: 0.1,
    },
];

/// Writes an SVG with one picture for each axis, over the rate.
pub(super) fn write(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    // The library would report a file that cannot be made only when it is dropped.
    std::fs::write(path, "")?;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(wrong)?;
    for (area, axis) in root.split_evenly((1, AXES.len())).iter().zip(&AXES) {
        draw(area, axis, outcomes)?;
    }
    root.present().map_err(wrong)
}

fn draw(area: &Area<'_>, axis: &Axis, outcomes: &[Outcome]) -> Result<()> {
    let values = || {
        outcomes
            .iter()
            .map(|outcome| (axis.value)(outcome).max(axis.floor))
    };
    let rates = || outcomes.iter().map(|outcome| outcome.rate as f64);
    let mut chart = ChartBuilder::on(area)
        .caption(axis.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(span(rates()).log_scale(), span(values()).log_scale())
        .map_err(wrong)?;
    chart
        .configure_mesh()
        .x_desc("packets a second")
        .draw()
        .map_err(wrong)?;
    for (number, scheme) in schemes(outcomes).into_iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let points = outcomes.iter().filter(|outcome| outcome.scheme == scheme);
        let points: Vec<_> = points
            .map(|outcome| (outcome.rate as f64, (axis.value)(outcome).max(axis.floor)))
            .collect();
        let dots = points
            .iter()
            .map(|&point| Circle::new(point, 3, color.filled()));
        chart.draw_series(dots).map_err(wrong)?;
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))
            .map_err(wrong)?
            .label(scheme)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(wrong)
}

/// The schemes, in their order.
fn schemes(outcomes: &[Outcome]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !names.contains(&outcome.scheme.as_str()) {
            names.push(&outcome.scheme);
        }
    }
    names
}

/// From the least to the greatest, and never empty.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, 0.0), |(low, high), value| {
        (value.min(low), value.max(high))
    });
    low..(high * 1.1)
}

/// The library's errors name lifetimes.
fn wrong(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}
