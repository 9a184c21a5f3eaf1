//! Where the text of a run goes while it is generated: to stdout at once, or into a JSON object.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use tercet::digest::LogitsDigest;
use tercet::generate::Listener;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::terminal::printable;

/// Hears of a generation, and ends it when nobody listens any more.
pub(crate) struct Teller<'a> {
    pub(crate) interrupt: &'a Interrupt,
    /// Where text goes at once, if it does.
    pub(crate) stdout: Option<Stdout>,
    /// Whether there is no text, so that tokens are shown as numbers.
    pub(crate) shows_tokens: bool,
    /// Hashes the logits, if that is asked for.
    pub(crate) digest: Option<LogitsDigest>,
    /// All text so far.
    pub(crate) text: String,
}

/// What a [`Teller`] has kept.
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) digest: Option<String>,
}

impl Teller<'_> {
    /// Shows the text that is continued.
    pub(crate) fn show_prompt(&mut self, prompt: &str) {
        if let Some(stdout) = &mut self.stdout {
            stdout.write(prompt);
        }
    }

    /// Ends the last line.
    ///
    /// # Errors
    /// What went wrong when text was written; a closed pipe is no error.
    pub(crate) fn finish(self) -> Result<Told, Failure> {
        if let Some(stdout) = self.stdout {
            stdout.finish()?;
        }
        Ok(Told { text: self.text, digest: self.digest.map(LogitsDigest::finish) })
    }

    fn go_on(&self) -> ControlFlow<()> {
        let is_unheard = self.stdout.as_ref().is_some_and(|stdout| stdout.error.is_some());
        if is_unheard { ControlFlow::Break(()) } else { self.interrupt.flow() }
    }
}

impl Listener for Teller<'_> {
    fn text(&mut self, text: &str) -> ControlFlow<()> {
        self.text.push_str(text);
        if let Some(stdout) = &mut self.stdout {
            stdout.write(text);
        }
        self.go_on()
    }

    fn token(&mut self, token: u32) {
        if let Some(stdout) = &mut self.stdout
            && self.shows_tokens
        {
            stdout.write(&format!("{token} "));
        }
    }

    fn logits(&mut self, logits: &[f32]) -> ControlFlow<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(logits);
        }
        self.go_on()
    }
}

/// Standard output, written to until that fails.
pub(crate) struct Stdout {
    stdout: io::Stdout,
    /// Whether text must not steer a terminal.
    is_terminal: bool,
    /// Whether the last character was not the end of a line.
    is_within_line: bool,
    /// What went wrong first.
    error: Option<io::Error>,
}

impl Stdout {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        Stdout { is_terminal: stdout.is_terminal(), stdout, is_within_line: false, error: None }
    }

    /// Writes text that must be seen at once.
    fn write(&mut self, text: &str) {
        let Some(last) = text.chars().next_back() else { return };
        if self.error.is_some() {
            return;
        }
        let shown = if self.is_terminal { printable(text) } else { text.into() };
        let written = self.stdout.write_all(shown.as_bytes()).and_then(|()| self.stdout.flush());
        self.error = written.err();
        self.is_within_line = last != '\n';
    }

    fn finish(mut self) -> io::Result<()> {
        if self.is_within_line {
            self.write("\n");
        }
        match self.error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}
