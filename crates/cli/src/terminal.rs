//! The two streams: results for programs on stdout, notes for people on stderr.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use serde::Serialize;

use crate::failure::Failure;
use crate::figures;

/// Loading less than this takes no time that is noticed.
const SLOW_BYTES: u64 = 64 << 20;

/// Writes a line to stderr.
pub(crate) fn note(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{}", printable(text));
}

/// Writes an object and the end of its line to stdout.
pub(crate) fn print_json(object: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, object)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Text without the characters that steer a terminal; those are written as escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(steers) {
        return text.into();
    }
    let mut shown = String::new();
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Whether colours may be used where there is a terminal: `NO_COLOR` that is not empty forbids them (no-color.org).
pub(crate) fn wants_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Shows what is loaded, and a clock, where stderr is a terminal and it takes a while.
pub(crate) fn while_loading<T>(name: &str, weight_bytes: u64, load: impl FnOnce() -> T) -> T {
    const TICK: Duration = Duration::from_millis(100);
    if weight_bytes < SLOW_BYTES {
        return load();
    }
    let spinner = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} loading {msg} … {elapsed}");
    spinner.set_style(style.expect("while_loading: the template is well formed"));
    spinner.set_message(printable(&format!("{name}, {}", figures::bytes(weight_bytes))).into_owned());
    spinner.enable_steady_tick(TICK);
    let result = load();
    spinner.finish_and_clear();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(printable("é\n\t"), "é\n\t");
        assert_eq!(printable("a\u{1b}[2J\r"), "a\\u{1b}[2J\\u{d}");
    }
}
