//! The curves of a run as one SVG: loss, learning rate, and the rate at which weights flip.
//!
//! Text stays text, so no font is needed to draw. It knows rows, and no run.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::{
    Circle, Color, DrawingArea, IntoDrawingArea, LineSeries, PathElement, Rectangle, SVGBackend,
};
use plotters::style::{IntoFont, RGBColor, WHITE};

use super::look::{BLUE, GREEN, GRID, INK, ORANGE, PURPLE, draw_legend};
use super::{RecordError, Row, replace};

const SIZE: (u32, u32) = (960, 780);
/// Heights of the title and the panels below the loss.
const TITLE_HEIGHT: u32 = 40;
const LOWER_HEIGHT: u32 = 170;

/// Points of a line at most; neighbours are averaged.
const POINTS_MAX: usize = 1200;

/// The smoothed line averages over this share of the run.
const SMOOTHING_SHARE: f64 = 0.02;

type Point = (f64, f64);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One line, or the dots of one.
struct Series<'a> {
    label: &'a str,
    color: RGBColor,
    points: Vec<Point>,
    look: Look,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Faint,
    Line,
    Dots,
}

/// Draws the curves of some rows to a file, whole or not at all.
///
/// # Errors
/// [`RecordError`] if it cannot be drawn or written.
pub(crate) fn draw_curves(path: &Path, title: &str, rows: &[Row]) -> Result<(), RecordError> {
    let mut svg = String::new();
    draw(&mut svg, title, rows).map_err(|detail| RecordError::Drawing { path: path.to_owned(), detail })?;
    replace(path, svg.as_bytes())
}

fn draw(svg: &mut String, title: &str, rows: &[Row]) -> Result<(), String> {
    let of_steps = |value: fn(&super::StepRecord) -> Option<f32>| -> Vec<Point> {
        let point = |row: &Row| match row {
            Row::Step(row) => Some((row.step as f64, f64::from(value(row)?))),
            _ => None,
        };
        rows.iter().filter_map(point).filter(|(_, y)| y.is_finite()).collect()
    };
    let train = of_steps(|row| Some(row.loss));
    let learning_rate = of_steps(|row| Some(row.learning_rate));
    let flips = of_steps(|row| row.ternary.map(|shares| shares.flips));
    let zero = of_steps(|row| row.ternary.map(|shares| shares.zero));
    let validation = rows.iter().filter_map(|row| match row {
        Row::Validation(row) if row.loss.is_finite() => Some((row.step as f64, row.loss)),
        _ => None,
    });
    let last_step = rows.iter().map(Row::step).max().unwrap_or(1).max(1) as f64;

    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(shown)?;
    let (head, body) = root.split_vertically(TITLE_HEIGHT);
    let style = ("sans-serif", 22).into_font().color(&INK);
    head.draw_text(title, &style, (24, 14)).map_err(shown)?;
    let panels = if flips.is_empty() { 1 } else { 2 };
    let (upper, lower) = body.split_vertically(SIZE.1 - TITLE_HEIGHT - panels * LOWER_HEIGHT);
    let loss = [
        Series { label: "", color: BLUE, points: thinned(&train), look: Look::Faint },
        Series {
            label: "training, smoothed",
            color: BLUE,
            points: thinned(&smoothed(&train)),
            look: Look::Line,
        },
        Series { label: "validation", color: ORANGE, points: validation.collect(), look: Look::Dots },
    ];
    panel(&upper, "loss (log scale)", last_step, &loss, Scale::Log)?;
    let lower = lower.split_evenly((panels as usize, 1));
    let rate = [Series { label: "", color: GREEN, points: thinned(&learning_rate), look: Look::Line }];
    panel(&lower[0], "learning rate", last_step, &rate, Scale::FromZero)?;
    if let Some(area) = lower.get(1) {
        let shares = [
            Series { label: "", color: PURPLE, points: thinned(&flips), look: Look::Faint },
            Series {
                label: "flips a step",
                color: PURPLE,
                points: thinned(&smoothed(&flips)),
                look: Look::Line,
            },
        ];
        let zero = zero
            .last()
            .map_or_else(String::new, |(_, zero)| format!(" (zeros at the end: {:.1} %)", 100.0 * zero));
        panel(area, &format!("weights whose code changed{zero}"), last_step, &shares, Scale::FromZero)?;
    }
    root.present().map_err(shown)
}

/// How values become heights.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// The logarithm, between the least and the greatest.
    Log,
    /// As they are, from 0.
    FromZero,
}

fn panel(
    area: &Area<'_>,
    title: &str,
    last_step: f64,
    series: &[Series<'_>],
    scale: Scale,
) -> Result<(), String> {
    let height = |y: f64| if scale == Scale::Log { libm::log(y) } else { y };
    let usable = |(_, y): &&Point| scale == Scale::FromZero || *y > 0.0;
    let points = || series.iter().flat_map(|series| &series.points).filter(usable);
    let min = points().map(|point| height(point.1)).fold(f64::INFINITY, f64::min);
    let max = points().map(|point| height(point.1)).fold(f64::NEG_INFINITY, f64::max);
    // Nothing recorded yet still gives axes.
    let (min, max) = if min.is_finite() { (min, max) } else { (0.0, 1.0) };
    let range = match scale {
        Scale::Log => {
            let margin = ((max - min) * 0.05).max(0.01);
            min - margin..max + margin
        }
        // A line that is 0 throughout still has an axis above it.
        Scale::FromZero => 0.0..if max > 0.0 { max * 1.08 } else { 1.0 },
    };
    let axis = Axis { ticks: ticks(&range, scale), range };
    // No tick lies between two steps.
    let steps = Axis { ticks: round_values(&(0.0..last_step), 8.0, 1.0), range: 0.0..last_step };
    let mut chart = ChartBuilder::on(area)
        .margin_left(12)
        .margin_right(24)
        .margin_top(4)
        .margin_bottom(6)
        .x_label_area_size(30)
        .y_label_area_size(64)
        .caption(title, ("sans-serif", 16).into_font().color(&INK))
        .build_cartesian_2d(steps, axis)
        .map_err(shown)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK.mix(0.5))
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .x_label_formatter(&|step| grouped(*step))
        .y_label_formatter(&|height| {
            significant(if scale == Scale::Log { libm::exp(*height) } else { *height })
        })
        .draw()
        .map_err(shown)?;
    for Series { label, color, points, look } in series {
        let points = points.iter().filter(usable).map(|(x, y)| (*x, height(*y)));
        let color = *color;
        let drawn = match look {
            Look::Faint => chart.draw_series(LineSeries::new(points, color.mix(0.3).stroke_width(1))),
            Look::Line => chart.draw_series(LineSeries::new(points, color.stroke_width(2))),
            Look::Dots => chart.draw_series(points.map(|point| Circle::new(point, 3, color.filled()))),
        };
        let drawn = drawn.map_err(shown)?;
        if label.is_empty() {
            continue;
        }
        drawn.label(*label);
        match look {
            Look::Dots => {
                drawn.legend(move |(x, y)| Rectangle::new([(x + 6, y - 3), (x + 12, y + 3)], color.filled()))
            }
            _ => {
                drawn.legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)))
            }
        };
    }
    if series.iter().any(|series| !series.label.is_empty()) {
        draw_legend(&mut chart, SeriesLabelPosition::UpperRight).map_err(shown)?;
    }
    Ok(())
}

/// An axis whose ticks are round values.
struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// The heights of the ticks of a range of heights.
fn ticks(range: &Range<f64>, scale: Scale) -> Vec<f64> {
    const TICKS_MAX: usize = 7;
    if scale == Scale::FromZero {
        return round_values(range, 4.0, 0.0);
    }
    let values = libm::exp(range.start)..libm::exp(range.end);
    let decades = libm::floor(libm::log10(values.start)) as i32..=libm::ceil(libm::log10(values.end)) as i32;
    let leading: [&[f64]; 3] = [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], &[1.0, 2.0, 5.0], &[1.0]];
    for leading in leading {
        let all = decades.clone().flat_map(|decade| {
            leading.iter().map(move |leading| leading * libm::pow(10.0, f64::from(decade)))
        });
        let inside: Vec<f64> = all.filter(|value| values.contains(value)).collect();
        if inside.len() < 3 {
            break;
        }
        if inside.len() <= TICKS_MAX {
            return inside.into_iter().map(libm::log).collect();
        }
    }
    round_values(&values, 5.0, 0.0).into_iter().filter(|value| *value > 0.0).map(libm::log).collect()
}

/// About so many multiples of 1, 2 or 5 times a power of ten, `least` or more, in a range.
fn round_values(range: &Range<f64>, about: f64, least: f64) -> Vec<f64> {
    let rough = (range.end - range.start) / about;
    let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let leading = [1.0, 2.0, 5.0].into_iter().find(|leading| leading * power >= rough).unwrap_or(10.0);
    let step = (leading * power).max(least);
    let first = libm::ceil(range.start / step) as i64;
    let last = libm::floor(range.end / step) as i64;
    (first..=last).map(|multiple| multiple as f64 * step).collect()
}

/// A step with its thousands apart.
fn grouped(step: f64) -> String {
    let digits = format!("{}", step.round() as u64);
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A value in four significant digits, without trailing zeros.
fn significant(value: f64) -> String {
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    let is_plain = rounded == 0.0 || (1e-4..1e6).contains(&rounded.abs());
    if is_plain { format!("{rounded}") } else { format!("{rounded:e}") }
}

/// The mean of a point and its neighbours, as many before as after, so that the line lags nowhere.
fn smoothed(points: &[Point]) -> Vec<Point> {
    let reach = (points.len() as f64 * SMOOTHING_SHARE / 2.0) as usize;
    let mut sums = vec![0.0];
    for (_, y) in points {
        sums.push(sums[sums.len() - 1] + y);
    }
    let mean = |(i, (x, _)): (usize, &Point)| {
        let reach = reach.min(i).min(points.len() - 1 - i);
        (*x, (sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1) as f64)
    };
    points.iter().enumerate().map(mean).collect()
}

/// At most [`POINTS_MAX`] points, each the mean of as many neighbours.
fn thinned(points: &[Point]) -> Vec<Point> {
    let together = points.len().div_ceil(POINTS_MAX).max(1);
    let mean = |points: &[Point]| {
        let n = points.len() as f64;
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(together).map(mean).collect()
}

fn shown(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{step, validation};
    use super::super::{StepRecord, TernaryShares};
    use super::*;

    fn rows(steps: u64, is_ternary: bool) -> Vec<Row> {
        let mut rows = Vec::new();
        for number in 1..=steps {
            let done = number as f32 / steps as f32;
            let noise = ((number * 7919) % 101) as f32 / 500.0;
            let loss = 1.5 + 7.0 * (-8.0 * done).exp() + noise;
            let flips = 0.02 * (1.0 - done) + noise / 100.0;
            let shares = TernaryShares { flips, minus: 0.31, zero: 0.38, plus: 0.31 };
            let ternary = is_ternary.then_some(shares);
            let learning_rate = 1.5e-3 * (1.0 - done) * if done < 0.5 { 1.0 } else { 0.66 };
            rows.push(Row::Step(StepRecord { loss, learning_rate, ternary, ..step(number) }));
            if number % (steps / 10).max(1) == 0 {
                let loss = 1.7 + 7.0 * libm::exp(-8.0 * f64::from(done));
                rows.push(Row::Validation(super::super::ValidationRecord { loss, ..validation(number) }));
            }
        }
        rows
    }

    /// Draws some rows and checks that the SVG has each text.
    #[track_caller]
    fn check(rows: &[Row], want: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        draw_curves(&path, "a <run> & more", rows).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("<run>"), "{svg}");
        for text in want {
            assert!(svg.contains(text), "`{text}` is not in the drawing");
        }
        svg
    }

    #[test]
    fn a_ternary_run_has_three_panels() {
        let svg = check(
            &rows(3000, true),
            &["loss (log scale)", "learning rate", "code changed", "38.0 %", "validation"],
        );
        assert!(svg.len() < 400_000, "{} bytes", svg.len());
        assert_eq!(svg.matches("<circle").count(), 10);
    }

    #[test]
    fn a_dense_run_has_two_panels() {
        let svg = check(&rows(50, false), &["loss (log scale)", "learning rate"]);
        assert!(!svg.contains("code changed"));
    }

    #[test]
    fn few_equal_or_odd_values_are_drawn() {
        check(&[], &["learning rate"]);
        check(&[Row::Step(step(1))], &["learning rate"]);
        let still = StepRecord { loss: 2.0, learning_rate: 0.0, ..step(1) };
        check(&[Row::Step(still), Row::Step(StepRecord { step: 2, ..still })], &["learning rate"]);
        let odd = [f32::NAN, f32::INFINITY, 0.0, -1.0, f32::MAX, f32::MIN_POSITIVE];
        let odd = odd.map(|loss| Row::Step(StepRecord { loss, learning_rate: loss, ..step(3) }));
        check(&odd, &["learning rate"]);
    }

    #[test]
    fn ticks_are_round() {
        let values = |range: Range<f64>| -> Vec<String> {
            let range = libm::log(range.start)..libm::log(range.end);
            ticks(&range, Scale::Log).into_iter().map(|tick| significant(libm::exp(tick))).collect()
        };
        assert_eq!(values(1.4..9.0), ["1.5", "2", "3", "4", "5", "6", "8"]);
        assert_eq!(values(0.9..120.0), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(values(2.01..2.19), ["2.05", "2.1", "2.15"]);
        assert_eq!(round_values(&(0.0..1.6e-3), 4.0, 0.0).len(), 4);
        assert_eq!(round_values(&(0.0..3.0), 8.0, 1.0), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!([significant(5e-4), significant(2.5e7), significant(0.0)], ["0.0005", "2.5e7", "0"]);
        assert_eq!(grouped(1_234_567.0), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn smoothing_keeps_a_constant_and_thinning_its_ends() {
        let points: Vec<Point> = (0..5000).map(|x| (f64::from(x), 3.0)).collect();
        assert!(smoothed(&points).iter().all(|point| (point.1 - 3.0).abs() < 1e-9));
        let thin = thinned(&points);
        assert_eq!(thin.len(), 1000);
        assert_eq!((thin[0], thin[999]), ((2.0, 3.0), (4997.0, 3.0)));
    }
}
