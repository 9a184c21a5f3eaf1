//! How a download is shown: a bar on a terminal, lines elsewhere, nothing where quiet is wanted.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tercet_hub::News;

use crate::figures;
use crate::terminal::{note, printable};

/// Between two lines of one file.
const INTERVAL: Duration = Duration::from_secs(10);
const TEMPLATE: &str =
    "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left";

/// Shows what is heard of a download.
pub(crate) struct Progress<'a> {
    style: Style,
    wants_stop: &'a dyn Fn() -> bool,
    total_bytes: u64,
    done_bytes: u64,
    /// What came in this process, for the rate.
    came_bytes: u64,
    began: Instant,
    told: Instant,
    file: String,
    file_bytes: u64,
}

enum Style {
    Bar(ProgressBar),
    Lines,
    Quiet,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(has_bar: bool, is_quiet: bool, wants_stop: &'a dyn Fn() -> bool) -> Self {
        let style = match (is_quiet, has_bar) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Bar(ProgressBar::hidden()),
            (false, false) => Style::Lines,
        };
        let now = Instant::now();
        Progress {
            style,
            wants_stop,
            total_bytes: 0,
            done_bytes: 0,
            came_bytes: 0,
            began: now,
            told: now,
            file: String::new(),
            file_bytes: 0,
        }
    }

    /// Shows one piece of news, and says whether to go on.
    pub(crate) fn hear(&mut self, news: News<'_>) -> ControlFlow<()> {
        match news {
            News::Plan { files: 0, .. } | News::Waiting => {}
            News::Plan { files, bytes, done_bytes } => self.begin(files, bytes, done_bytes),
            News::File { name, bytes, .. } => {
                self.file = printable(name).into_owned();
                self.file_bytes = bytes;
                if let Style::Bar(bar) = &self.style {
                    bar.set_message(self.file.clone());
                }
            }
            News::Bytes(count) => {
                self.done_bytes += count;
                self.came_bytes += count;
                self.moved();
            }
            News::Lost(count) => {
                self.done_bytes = self.done_bytes.saturating_sub(count);
                self.moved();
            }
            News::Done { .. } => {
                if matches!(self.style, Style::Lines) {
                    note(&format!("{}  {}", self.file, figures::bytes(self.file_bytes)));
                }
            }
            News::Retry { error, wait } => {
                self.line(&format!("{error}; trying again in {} s", wait.as_secs_f64().ceil()));
            }
            News::Locked { name } => self.line(&format!("{name}: another process downloads it; waiting")),
        }
        if (self.wants_stop)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Takes away what moves.
    pub(crate) fn end(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    fn begin(&mut self, files: usize, bytes: u64, done_bytes: u64) {
        (self.total_bytes, self.done_bytes, self.came_bytes) = (bytes, done_bytes, 0);
        self.began = Instant::now();
        self.told = self.began;
        let what = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        let kept = match done_bytes {
            0 => String::new(),
            kept => format!(", {} of it from an earlier attempt", figures::bytes(kept)),
        };
        self.line(&format!("downloading {what}, {}{kept}", figures::bytes(bytes)));
        if let Style::Bar(bar) = &mut self.style {
            bar.finish_and_clear();
            let style = ProgressStyle::with_template(TEMPLATE);
            *bar = ProgressBar::new(bytes).with_position(done_bytes);
            bar.set_style(style.expect("Progress: the template is well formed"));
            bar.reset_eta();
        }
    }

    /// Shows how far it is.
    fn moved(&mut self) {
        match &self.style {
            Style::Bar(bar) => bar.set_position(self.done_bytes),
            Style::Lines if self.told.elapsed() >= INTERVAL => {
                self.told = Instant::now();
                let rate = self.came_bytes as f64 / self.began.elapsed().as_secs_f64();
                let left = self.total_bytes.saturating_sub(self.done_bytes) as f64 / rate.max(1.0);
                note(&format!(
                    "{}: {} of {} in all, {}, {} left",
                    self.file,
                    figures::bytes(self.done_bytes),
                    figures::bytes(self.total_bytes),
                    figures::bytes_per_second(rate),
                    figures::duration(left),
                ));
            }
            Style::Lines | Style::Quiet => {}
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        match &self.style {
            Style::Bar(bar) => bar.suspend(|| note(text)),
            Style::Lines => note(text),
            Style::Quiet => {}
        }
    }
}
