//! Who hears of a run: a live display on a terminal, lines elsewhere.

use std::path::Path;

use indicatif::MultiProgress;
use tercet_train::data::{Progress, Stage};
use tercet_train::log::{StepRecord, ValidationRecord};
use tercet_train::trainer::{Observer, StepNews};

use super::live::Live;
use super::plain::Plain;
use crate::figures;
use crate::interrupt::Interrupt;
use crate::terminal::{note, printable};

/// How a run is shown.
pub(super) enum Display {
    Live(Box<Live>),
    Plain(Plain),
}

impl Display {
    pub(super) fn new(is_live: bool) -> Self {
        if is_live { Display::Live(Box::new(Live::new())) } else { Display::Plain(Plain::default()) }
    }

    /// Takes away what moves.
    pub(super) fn end(&mut self) {
        if let Display::Live(live) = self {
            live.end();
        }
    }

    /// Where lines that stay are written to, from any thread.
    pub(super) fn lines(&self) -> Lines {
        Lines(match self {
            Display::Live(live) => Some(live.bars()),
            Display::Plain(_) => None,
        })
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        self.lines().say(text);
    }
}

/// Lines that stay: above the bars, where there are some.
pub(super) struct Lines(Option<MultiProgress>);

impl Lines {
    pub(super) fn say(&self, text: &str) {
        match &self.0 {
            // Where the terminal is gone there is nobody to tell.
            Some(bars) => drop(bars.println(printable(text))),
            None => note(text),
        }
    }
}

/// The observer of a run.
pub(super) struct Watcher<'a> {
    pub(super) interrupt: &'a Interrupt,
    pub(super) display: Display,
}

impl Observer for Watcher<'_> {
    fn data(&mut self, progress: Progress) {
        match (progress, &mut self.display) {
            (Progress::Warning(warning), display) => display.line(&format!("note: {warning}")),
            (Progress::Bytes { stage, done, total }, Display::Live(live)) => {
                live.data(stage_name(stage), done, total);
            }
            (Progress::Bytes { stage, done, total }, Display::Plain(plain)) => {
                plain.data(stage_name(stage), done, total);
            }
        }
    }

    fn warning(&mut self, message: &str) {
        self.display.line(&format!("warning: {message}"));
    }

    fn begun(&mut self, steps_done: u64, steps: u64) {
        // From here on there is something to save, and a run asks after every step.
        self.interrupt.expect();
        if steps_done > 0 {
            self.display.line(&format!("going on after step {steps_done} of {steps}"));
        }
        if let Display::Live(live) = &mut self.display {
            live.begin(steps_done, steps);
        }
    }

    fn step(&mut self, step: &StepNews<'_>) {
        match &mut self.display {
            Display::Live(live) => live.step(step),
            Display::Plain(plain) => plain.step(step),
        }
    }

    fn validated(&mut self, record: &ValidationRecord) {
        self.display.line(&format!("step {}  validation: {}", record.step, validation(record)));
    }

    fn sampled(&mut self, step: u64, text: &str) {
        self.display.line(&format!("step {step}  sample: {}", text.replace('\n', " ⏎ ")));
    }

    fn saved(&mut self, step: u64, folder: &Path) {
        self.display.line(&format!("step {step}  saved: {}", folder.display()));
    }

    fn wants_stop(&self) -> bool {
        self.interrupt.is_pending()
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Hash => "looking at the files",
        Stage::TrainTokenizer => "training the tokenizer",
        Stage::TokeniseTraining => "tokenising the training text",
        Stage::TokeniseValidation => "tokenising the validation text",
    }
}

/// `2.3456 nats a token, perplexity 10.44, 1.0123 bits a byte`.
pub(super) fn validation(record: &ValidationRecord) -> String {
    let bits = record.bits_per_byte.map(|bits| format!(", {bits:.4} bits a byte")).unwrap_or_default();
    format!("{:.4} nats a token, perplexity {:.2}{bits}", record.loss, record.perplexity)
}

/// `loss 3.2140  lr 1.2e-3  12.3 k tokens/s  18 % of f32  2 min left`.
pub(super) fn figures_of(step: &StepNews<'_>) -> String {
    format!(
        "loss {:.4}  lr {:.1e}  {} tokens/s  {} of f32  {} left",
        step.record.loss,
        step.record.learning_rate,
        figures::count(step.tokens_per_s as u64),
        figures::percent(step.ceiling_share),
        figures::duration(step.seconds_left),
    )
}

/// `flips 0.12 %  -1/0/+1 31/38/31 %`; nothing of a dense model.
pub(super) fn shares_of(record: &StepRecord) -> Option<String> {
    let shares = record.ternary?;
    let [minus, zero, plus] = [shares.minus, shares.zero, shares.plus].map(|share| 100.0 * share);
    let flips = 100.0 * shares.flips;
    Some(format!("flips {flips:.2} %  -1/0/+1 {minus:.0}/{zero:.0}/{plus:.0} %"))
}
