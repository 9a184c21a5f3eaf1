//! How far a long piece of work has come: a bar on a terminal, a line now and then elsewhere.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::figures;
use crate::terminal::note;

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// What work is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Tokens,
}

impl Unit {
    fn amount(self, amount: u64) -> String {
        match self {
            Unit::Bytes => figures::bytes(amount),
            Unit::Tokens => figures::count(amount),
        }
    }

    fn rate(self, rate: f64) -> String {
        match self {
            Unit::Bytes => figures::bytes_per_second(rate),
            Unit::Tokens => format!("{} tokens/s", figures::count(rate as u64)),
        }
    }

    /// The style of a bar whose `{done}`, `{total}` and `{rate}` are the figures that lines have.
    pub(crate) fn style(self, template: &str) -> ProgressStyle {
        let style = ProgressStyle::with_template(template).expect("Unit: the template is well formed");
        let tell =
            |out: &mut dyn Write, text: String| out.write_str(&text).expect("Unit: a string takes all");
        style
            .with_key("done", move |bar: &ProgressState, out: &mut dyn Write| {
                tell(out, self.amount(bar.pos()))
            })
            .with_key("total", move |bar: &ProgressState, out: &mut dyn Write| {
                tell(out, self.amount(bar.len().unwrap_or(bar.pos())));
            })
            .with_key("rate", move |bar: &ProgressState, out: &mut dyn Write| {
                tell(out, self.rate(bar.per_sec()))
            })
    }
}

/// Work that is done bit by bit.
pub(crate) struct Progress {
    name: String,
    unit: Unit,
    total: u64,
    /// What was done before this process began.
    first: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins work of so many bytes; `name` says what is done, "converting" for example.
    pub(crate) fn begin(name: &str, total_bytes: u64) -> Self {
        Progress::go_on(name, total_bytes, 0, true)
    }

    /// Begins work of so many tokens.
    pub(crate) fn begin_tokens(name: &str, total_tokens: u64) -> Self {
        Progress::new(name, Unit::Tokens, total_tokens, 0, true)
    }

    /// Goes on with work of which some bytes were done before; on a terminal with a bar, if one is wanted.
    pub(crate) fn go_on(name: &str, total_bytes: u64, first_bytes: u64, wants_bar: bool) -> Self {
        Progress::new(name, Unit::Bytes, total_bytes, first_bytes, wants_bar)
    }

    fn new(name: &str, unit: Unit, total: u64, first: u64, wants_bar: bool) -> Self {
        let template = match unit {
            Unit::Bytes => "{msg} {bar:30} {done} of {total}, {rate}, {eta} left",
            Unit::Tokens => "{msg} {bar:30} {done} of {total} tokens, {rate}, {eta} left",
        };
        let bar = (wants_bar && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total).with_position(first);
            bar.set_style(unit.style(template));
            bar.set_message(name.to_owned());
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Progress { name: name.to_owned(), unit, total, first, started: now, last_line: now, bar }
    }

    /// Says what is done now.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }

    /// Says how much is done.
    pub(crate) fn set(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            note(&self.line(done, self.started.elapsed().as_secs_f64()));
        }
    }

    /// Whether there is a bar, which says by itself what else needs lines.
    pub(crate) fn has_bar(&self) -> bool {
        self.bar.is_some()
    }

    /// Writes a line that stays, above the bar where there is one.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    fn line(&self, done: u64, seconds: f64) -> String {
        let rate = done.saturating_sub(self.first) as f64 / seconds;
        let left = figures::duration(self.total.saturating_sub(done) as f64 / rate.max(1.0));
        let [done, total] = [done, self.total].map(|amount| self.unit.amount(amount));
        let (rate, what) = (self.unit.rate(rate), if self.unit == Unit::Tokens { " tokens" } else { "" });
        format!("{} {done} of {total}{what}, {rate}, {left} left", self.name)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// What was written to a terminal.
    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<String>>);

    impl TermLike for Written {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_has_the_figures_of_a_line() {
        for (unit, want) in [(Unit::Bytes, "524 kB of 1.12 MB"), (Unit::Tokens, "524 k of 1.12 M")] {
            let written = Written::default();
            let target = ProgressDrawTarget::term_like(Box::new(written.clone()));
            let bar = ProgressBar::with_draw_target(Some(1_120_000), target);
            bar.set_style(unit.style("{done} of {total}, {rate}"));
            bar.set_position(524_288);
            bar.force_draw();
            let written = written.0.lock().unwrap();
            assert!(written.contains(want), "{written}");
        }
    }

    #[test]
    fn a_line_has_rate_and_time_left() {
        let progress = Progress::begin("converting", 3_000_000_000);
        let line = progress.line(1_000_000_000, 10.0);
        assert_eq!(line, "converting 1.00 GB of 3.00 GB, 100 MB/s, 20 s left");
        let progress = Progress::go_on("a file", 3_000_000_000, 2_000_000_000, true);
        let line = progress.line(2_500_000_000, 10.0);
        assert_eq!(
            line, "a file 2.50 GB of 3.00 GB, 50.0 MB/s, 10 s left",
            "what was done before is no speed"
        );
        let progress = Progress::begin_tokens("piqa", 30_000);
        assert_eq!(progress.line(10_000, 2.0), "piqa 10.0 k of 30.0 k tokens, 5.00 k tokens/s, 4 s left");
    }
}
