//! The figures of the paper for this machine: time of a token, memory and energy by size, ternary
//! beside dense, on axes of powers of ten.
//!
//! Text stays text, so no font is needed to draw.

use std::fmt::Display;
use std::path::Path;

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::prelude::{
    Circle, Color, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, SVGBackend, Text,
};
use plotters::style::{IntoFont, ShapeStyle, WHITE};
use tercet_train::log::look::{BLUE, GRID, INK, ORANGE, draw_legend};

use super::cost::{Cost, Origin};
use super::tables::pairs;
use crate::failure::{Exit, Failure};

const SIZE: (u32, u32) = (1260, 420);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One figure: what is drawn of a cost, and whether that was measured.
struct Figure {
    title: &'static str,
    value: fn(&Cost) -> f64,
    is_measured: fn(&Cost) -> bool,
}

const FIGURES: [Figure; 3] = [
    Figure {
        title: "ms an output token (rings: computed)",
        value: |cost| cost.token_ms,
        is_measured: |cost| cost.token_ms_origin == Origin::Measured,
    },
    Figure { title: "memory, GB", value: |cost| cost.memory_bytes() as f64 / 1e9, is_measured: |_| true },
    Figure {
        title: "energy of 512 tokens, J (7 nm, estimated)",
        value: |cost| cost.energy_j,
        is_measured: |_| true,
    },
];

/// Draws the figures into a file.
///
/// # Errors
/// Exit code 1, if the file cannot be written.
pub(super) fn draw(file: &Path, costs: &[Cost]) -> Result<(), Failure> {
    let shown = file.display();
    let failed = |detail: String| Failure::message(Exit::Failed, format!("{shown}: {detail}"));
    let svg = svg(costs).map_err(|detail| failed(format!("cannot be drawn: {detail}")))?;
    std::fs::write(file, svg).map_err(|error| failed(format!("cannot be written: {error}")))
}

fn svg(costs: &[Cost]) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(shown)?;
        for (area, figure) in root.split_evenly((1, FIGURES.len())).iter().zip(&FIGURES) {
            draw_figure(area, figure, costs)?;
        }
        root.present().map_err(shown)?;
    }
    Ok(svg)
}

fn draw_figure(area: &Area<'_>, figure: &Figure, costs: &[Cost]) -> Result<(), String> {
    let sizes: Vec<&str> = pairs(costs).map(|(ternary, _)| ternary.size).collect();
    let values = || costs.iter().map(figure.value);
    let least = values().fold(f64::INFINITY, f64::min) / 1.6;
    let most = values().fold(0.0, f64::max) * 2.5;
    let last = sizes.len() as f64 - 1.0;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .caption(figure.title, ("sans-serif", 16).into_font().color(&INK))
        .build_cartesian_2d(-0.5..last + 0.5, (least..most).log_scale())
        .map_err(shown)?;
    let size_at = |x: &f64| match sizes.get(x.round() as usize) {
        Some(size) if (x - x.round()).abs() < 1e-6 && *x > -0.1 => (*size).to_owned(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK.mix(0.5))
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .x_labels(2 * sizes.len() + 1)
        .x_label_formatter(&size_at)
        .y_label_formatter(&|value| format!("{value}"))
        .draw()
        .map_err(shown)?;
    for (label, color, is_dense) in [("dense, 16 bits", ORANGE, true), ("ternary", BLUE, false)] {
        let points = || {
            let chosen = pairs(costs).map(move |(ternary, dense)| if is_dense { dense } else { ternary });
            chosen.enumerate().map(|(x, cost)| ((x as f64, (figure.value)(cost)), (figure.is_measured)(cost)))
        };
        chart
            .draw_series(LineSeries::new(points().map(|(point, _)| point), color.stroke_width(2)))
            .map_err(shown)?
            .label(label)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
        let dot = |(point, is_measured)| {
            let style: ShapeStyle = if is_measured { color.filled() } else { color.stroke_width(1) };
            Circle::new(point, 4, style)
        };
        chart.draw_series(points().map(dot)).map_err(shown)?;
    }
    let ratios = pairs(costs).enumerate().map(|(x, (ternary, dense))| {
        let [ternary, dense] = [ternary, dense].map(figure.value);
        let style = ("sans-serif", 12).into_font().color(&INK);
        Text::new(format!("{:.2}×", dense / ternary), (x as f64 - 0.3, dense * 1.5), style)
    });
    chart.draw_series(ratios).map_err(shown)?;
    draw_legend(&mut chart, SeriesLabelPosition::LowerRight).map_err(shown)
}

fn shown(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::cost::tests::costs;
    use super::*;

    #[test]
    fn every_size_and_its_ratio_are_drawn() {
        let costs = costs(&["700m", "3b", "70b"]);
        let svg = svg(&costs).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for size in ["700m", "3b", "70b", "ternary", "dense, 16 bits"] {
            assert_eq!(svg.matches(size).count(), 3, "{size}");
        }
        let ratio = format!("{:.2}×", costs[5].energy_j / costs[4].energy_j);
        assert!(svg.contains(&ratio) && !svg.contains("NaN") && svg.len() < 100_000, "{ratio}");
    }

    #[test]
    fn one_size_alone_is_drawn() {
        assert!(svg(&costs(&["3b"])).unwrap().contains("3b"));
    }
}
