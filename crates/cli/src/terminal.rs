//! Messages to people: notes on stderr, a spinner for what takes long, text that cannot steer a
//! terminal.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use indicatif::ProgressBar;

/// Writes a line to stderr.
pub(crate) fn note(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{}", printable(text));
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

/// Shows `what` and a clock while `work` is done, where stderr is a terminal.
pub(crate) fn while_waiting<T>(what: String, work: impl FnOnce() -> T) -> T {
    const TICK: Duration = Duration::from_millis(100);
    let spinner = ProgressBar::new_spinner();
    spinner.set_message(printable(&what).into_owned());
    spinner.set_style(
        indicatif::ProgressStyle::with_template("{spinner} {msg} … {elapsed}")
            .expect("while_waiting: the template is well formed"),
    );
    spinner.enable_steady_tick(TICK);
    let result = work();
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
