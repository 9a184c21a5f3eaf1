//! A run on a terminal: a bar with its figures, and a corner of one layer's weights changing.

use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tercet_train::trainer::{StepNews, WeightGrid};

use super::display::{figures_of, shares_of};
use crate::progress::Unit;
use crate::terminal::wants_colors;

/// Time between two frames at least.
const FRAME: Duration = Duration::from_millis(100);

pub(super) struct Live {
    all: MultiProgress,
    bar: ProgressBar,
    weights: ProgressBar,
    stage: Option<&'static str>,
    shown: Option<Instant>,
    before: Vec<u8>,
    has_colors: bool,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("Live: the template is well formed")
}

impl Live {
    pub(super) fn new() -> Self {
        Live {
            all: MultiProgress::new(),
            bar: ProgressBar::hidden(),
            weights: ProgressBar::hidden(),
            stage: None,
            shown: None,
            before: Vec::new(),
            has_colors: wants_colors(),
        }
    }

    pub(super) fn data(&mut self, stage: &'static str, done: u64, total: u64) {
        if self.stage != Some(stage) {
            self.bar.finish_and_clear();
            self.stage = Some(stage);
            self.bar = self.all.add(ProgressBar::new(total));
            self.bar.set_style(Unit::Bytes.style("{msg} {wide_bar} {done} of {total} {eta}"));
            self.bar.set_message(stage);
        }
        self.bar.set_position(done);
    }

    pub(super) fn begin(&mut self, done: u64, steps: u64) {
        self.end();
        self.bar = self.all.add(ProgressBar::new(steps));
        self.bar.set_style(style("{wide_bar} {pos}/{len}\n{msg}"));
        self.bar.set_position(done);
        self.weights = self.all.add(ProgressBar::new_spinner());
        self.weights.set_style(style("{msg}"));
    }

    pub(super) fn step(&mut self, step: &StepNews<'_>) {
        let is_last = step.record.step == step.steps;
        if !is_last && self.shown.is_some_and(|shown| shown.elapsed() < FRAME) {
            return;
        }
        self.shown = Some(Instant::now());
        self.bar.set_position(step.record.step);
        self.bar.set_message(figures_of(step));
        if let (Some(grid), Some(shares)) = (&step.weights, shares_of(step.record)) {
            let cells = cells(grid, &self.before, self.has_colors);
            self.weights.set_message(format!("{}  {shares}\n{cells}", grid.name));
            self.before.clone_from(&grid.codes);
        }
    }

    /// All that moves: lines that stay go above it.
    pub(super) fn bars(&self) -> MultiProgress {
        self.all.clone()
    }

    pub(super) fn end(&mut self) {
        self.bar.finish_and_clear();
        self.weights.finish_and_clear();
        self.stage = None;
    }
}

/// The grid as text: `-`, `·` and `+`; a cell that has changed since the last frame is lit.
fn cells(grid: &WeightGrid, before: &[u8], has_colors: bool) -> String {
    let mut text = String::new();
    for (row, codes) in grid.codes.chunks(grid.columns).enumerate() {
        if row > 0 {
            text.push('\n');
        }
        for (column, code) in codes.iter().enumerate() {
            let cell = ['-', '·', '+'][usize::from(*code).min(2)];
            let was = before.get(row * grid.columns + column);
            if has_colors {
                let is_lit = was.is_some_and(|was| was != code);
                let color = if is_lit { "30;103" } else { ["34", "90", "31"][usize::from(*code).min(2)] };
                write!(text, "\x1b[{color}m{cell}\x1b[0m").expect("Live: a string takes all");
            } else {
                text.push(cell);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_a_character_a_weight_and_lights_what_changed() {
        let grid = WeightGrid { name: "q".to_owned(), columns: 3, codes: vec![0, 1, 2, 2, 1, 0] };
        assert_eq!(cells(&grid, &[], false), "-·+\n+·-");
        let lit = cells(&grid, &[0, 1, 2, 2, 1, 1], true);
        assert_eq!(lit.matches("30;103").count(), 1);
        assert!(lit.ends_with("\x1b[30;103m-\x1b[0m"));
    }
}
