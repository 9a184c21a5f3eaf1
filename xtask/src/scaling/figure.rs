//! The drawings of the comparison, as SVG.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, Color, IntoDrawingArea, IntoFont, LineSeries,
    PathElement, Polygon, RGBColor, SVGBackend, SeriesLabelPosition, TriangleMarker, WHITE,
};
use tercet_train::log::look::{AMBER, GREEN, GRID, INK, ORANGE, PURPLE, SKY, draw_legend};

use super::fit::Line;
use super::gaps::{self, chosen};
use super::plan::{Arm, Outcome, SEEDS, SIZES};

const SIZE: (u32, u32) = (860, 460);
/// Colours of the sizes, from the least.
const COLORS: [RGBColor; SIZES.len()] = [SKY, GREEN, AMBER, ORANGE, PURPLE];
/// Perplexities of table 1 of arXiv:2402.17764: parameters with the embedding, LLaMA, BitNet b1.58.
const PAPER: [(f64, f64, f64); 3] = [(0.7e9, 12.33, 12.87), (1.3e9, 11.25, 11.29), (3e9, 10.04, 9.91)];
/// Above it a run's first validations would flatten all others.
const LOSS_MAX: f64 = 4.6;

/// The validations of one run: steps and losses.
struct Curve {
    size: usize,
    arm: Arm,
    points: Vec<(f64, f64)>,
}

/// The gap against the size: every seed's, the means of sizes with their line, and the paper's points.
pub(super) fn gap(outcomes: &[Outcome]) -> Result<String> {
    let of_size = |size| gaps::of_size(outcomes, size, &SEEDS).into_iter().map(move |gap| (size, gap));
    let seeds = gaps::points((0..SIZES.len()).flat_map(of_size));
    let means = gaps::points(gaps::means(outcomes, &SEEDS));
    let paper = PAPER.map(|(parameters, llama, bitnet)| (parameters.log10(), (bitnet / llama).ln()));
    let line = Line::through(&means)?;
    let interval = |(x, _): &(f64, f64)| {
        let at = line.as_ref().map(|line| line.at(*x));
        at.map(|at| [at.value - at.half_width, at.value + at.half_width])
    };
    let heights = seeds.iter().chain(&paper).map(|(_, y)| *y);
    let heights = heights.chain(means.iter().filter_map(interval).flatten());
    let greatest = heights.clone().fold(0.0, f64::max) * 1.05;
    let least = heights.fold(0.0, f64::min) - 0.1 * greatest;
    let frame = Frame {
        title: "ternary minus dense, nats a token",
        x: 5.3..9.7,
        y: least..greatest,
        x_title: "parameters (here without the embedding, the paper's with it)",
        x_labels: Some(5),
        x_label: |x| format!("10^{x:.0}"),
    };
    drawing(&frame, |chart| {
        chart.draw_series(LineSeries::new([(5.3, 0.0), (9.7, 0.0)], INK.mix(0.6))).map_err(shown)?;
        if let (Some(line), [(first, _), .., (last, _)]) = (&line, &means[..]) {
            // No further than there are points.
            let at = |share: usize| first + (last - first) * share as f64 / 40.0;
            let (mut above, mut below, mut middle) = (Vec::new(), Vec::new(), Vec::new());
            for x in (0..=40).map(at) {
                let estimate = line.at(x);
                middle.push((x, estimate.value));
                above.push((x, estimate.value + estimate.half_width));
                below.push((x, estimate.value - estimate.half_width));
            }
            above.extend(below.into_iter().rev());
            chart.draw_series([Polygon::new(above, COLORS[0].mix(0.3))]).map_err(shown)?;
            chart
                .draw_series(LineSeries::new(middle, COLORS[0].stroke_width(2)))
                .map_err(shown)?
                .label("least squares through the means, with 95 % interval")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], COLORS[0].stroke_width(2)));
        }
        chart
            .draw_series(seeds.iter().map(|point| Circle::new(*point, 2, COLORS[3].mix(0.6))))
            .map_err(shown)?
            .label("here, one seed")
            .legend(|(x, y)| Circle::new((x + 9, y), 2, COLORS[3].mix(0.6)));
        chart
            .draw_series(means.iter().map(|point| Circle::new(*point, 4, COLORS[3].filled())))
            .map_err(shown)?
            .label("here, mean of a size's seeds")
            .legend(|(x, y)| Circle::new((x + 9, y), 4, COLORS[3].filled()));
        chart
            .draw_series(paper.iter().map(|point| TriangleMarker::new(*point, 5, COLORS[4].filled())))
            .map_err(shown)?
            .label("arXiv:2402.17764, table 1: ln of the ratio of perplexities")
            .legend(|(x, y)| TriangleMarker::new((x + 9, y), 5, COLORS[4].filled()));
        Ok(())
    })
}

/// Validation losses during the runs of the first seed, with the chosen learning rates.
pub(super) fn curves(outcomes: &[Outcome]) -> Result<String> {
    let runs: Vec<Curve> = (0..SIZES.len())
        .flat_map(|size| Arm::ALL.map(|arm| (size, arm)))
        .filter_map(|(size, arm)| {
            let points = chosen(outcomes, arm, size, SEEDS[0])?.validations.iter();
            let points = points.filter_map(|(step, loss)| Some((*step as f64, (*loss)?)));
            let points = points.filter(|(_, loss)| *loss < LOSS_MAX);
            Some(Curve { size, arm, points: points.collect() })
        })
        .collect();
    let points = || runs.iter().flat_map(|curve| &curve.points);
    let last_step = points().map(|point| point.0).fold(1.0, f64::max);
    let least = points().map(|point| point.1).fold(LOSS_MAX - 0.1, f64::min);
    let frame = Frame {
        title: "validation loss, nats a token (thick: ternary; thin: dense)",
        x: 0.0..last_step * 1.02,
        y: least - 0.05..LOSS_MAX,
        x_title: "steps",
        x_labels: None,
        x_label: |x| format!("{x:.0}"),
    };
    drawing(&frame, |chart| {
        for Curve { size, arm, points } in &runs {
            let color = COLORS[*size];
            let style = match arm {
                Arm::Ternary => color.stroke_width(3),
                Arm::Dense => color.stroke_width(1),
            };
            let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(shown)?;
            if *arm == Arm::Ternary {
                drawn
                    .label(SIZES[*size].name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
            }
        }
        Ok(())
    })
}

/// What stands around a drawing.
struct Frame {
    title: &'static str,
    x: Range<f64>,
    y: Range<f64>,
    x_title: &'static str,
    /// How many numbers stand below it, if not as many as fit.
    x_labels: Option<usize>,
    x_label: fn(&f64) -> String,
}

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A frame, what `draw` puts into it, and what the colours mean.
fn drawing(frame: &Frame, draw: impl FnOnce(&mut Chart<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(shown)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .caption(frame.title, ("sans-serif", 18).into_font().color(&INK))
            .build_cartesian_2d(frame.x.clone(), frame.y.clone())
            .map_err(shown)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE)
            .bold_line_style(GRID)
            .x_desc(frame.x_title)
            .x_label_formatter(&frame.x_label)
            .label_style(("sans-serif", 13).into_font().color(&INK));
        if let Some(count) = frame.x_labels {
            mesh.x_labels(count);
        }
        mesh.draw().map_err(shown)?;
        draw(&mut chart)?;
        draw_legend(&mut chart, SeriesLabelPosition::UpperRight).map_err(shown)?;
        root.present().map_err(shown)?;
    }
    Ok(svg + "\n")
}

fn shown(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
