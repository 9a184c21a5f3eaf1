//! Messages from a terminal or a pipe, of one line or several.
//!
//! A terminal's lines can be edited, and those of earlier conversations come back: they are kept in the
//! cache folder, where that can be written. It does not know what a message says.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::Editor;
use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;

use crate::failure::{Exit, Failure};
use crate::machine;
use crate::terminal::note;

/// A line that starts with these begins a message of several, which goes on to the next of them.
const QUOTES: &str = "\"\"\"";
const HISTORY_LINES: usize = 1000;
const PROMPT: &str = ">>> ";
const PROMPT_WITHIN: &str = "... ";

/// Where messages come from.
pub(super) enum Input {
    /// A person who types.
    Terminal {
        editor: Box<Editor<(), DefaultHistory>>,
        /// Where the lines are kept.
        history: Option<PathBuf>,
    },
    /// Anything else.
    Lines(io::StdinLock<'static>),
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Text(String),
    /// Ctrl-C: whatever was typed is dropped.
    Interrupted,
    /// What was typed is no text.
    Dropped,
    /// Ctrl-D, or the end of the pipe.
    End,
}

impl Input {
    pub(super) fn open() -> Self {
        let lines = || Input::Lines(io::stdin().lock());
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return lines();
        }
        let config =
            Config::builder().max_history_size(HISTORY_LINES).map(|config| config.auto_add_history(true));
        let Ok(mut editor) = config.and_then(|config| Editor::with_config(config.build())) else {
            // A terminal that cannot be steered has lines, too.
            return lines();
        };
        let history = machine::cache_folder().map(|folder| folder.join("chat_history.txt"));
        if let Some(history) = &history {
            // The first conversation has none.
            let _ = editor.load_history(history);
        }
        Input::Terminal { editor: Box::new(editor), history }
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Input::Terminal { .. })
    }

    /// The next message.
    ///
    /// # Errors
    /// Exit code 1, if stdin cannot be read.
    pub(super) fn message(&mut self) -> Result<Message, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::message(Exit::Failed, format!("stdin: cannot be read: {error}"))
        };
        match self {
            Input::Lines(stdin) => assemble(|_| {
                let mut line = String::new();
                let read = stdin.read_line(&mut line).map_err(|error| failed(&error))?;
                let line = line
                    .strip_suffix('\n')
                    .map_or(line.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
                Ok(if read == 0 { Message::End } else { Message::Text(line.to_owned()) })
            }),
            Input::Terminal { editor, history } => {
                let message = assemble(|prompt| match editor.readline(prompt) {
                    Ok(line) => Ok(Message::Text(line)),
                    Err(ReadlineError::Interrupted) => Ok(Message::Interrupted),
                    Err(ReadlineError::Eof) => Ok(Message::End),
                    Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        note("what was typed is no text in UTF-8, and is dropped");
                        Ok(Message::Dropped)
                    }
                    Err(error) => Err(failed(&error)),
                });
                if let Some(history) = history {
                    // Where nothing can be kept, the conversation goes on all the same.
                    let _ = history.parent().map(std::fs::create_dir_all);
                    let _ = editor.save_history(history);
                }
                message
            }
        }
    }
}

/// Puts the lines of a message together, each asked for with a prompt.
fn assemble(mut next: impl FnMut(&str) -> Result<Message, Failure>) -> Result<Message, Failure> {
    let mut line = match next(PROMPT)? {
        Message::Text(line) => line,
        other => return Ok(other),
    };
    let mut text = String::new();
    // The lines may end before the message does.
    let so_far = |text: &str| {
        let text = text.strip_prefix('\n').unwrap_or(text);
        Message::Text(text.strip_suffix('\n').unwrap_or(text).to_owned())
    };
    if let Some(rest) = line.trim_start().strip_prefix(QUOTES) {
        line = rest.to_owned();
        loop {
            if let Some(last) = line.trim_end().strip_suffix(QUOTES) {
                text.push_str(last);
                // The quotes may stand in lines of their own.
                return Ok(so_far(&text));
            }
            text.push_str(&line);
            text.push('\n');
            line = match next(PROMPT_WITHIN)? {
                Message::Text(line) => line,
                Message::End => return Ok(so_far(&text)),
                other => return Ok(other),
            };
        }
    }
    while let Some(start) = line.strip_suffix('\\') {
        text.push_str(start);
        text.push('\n');
        line = match next(PROMPT_WITHIN)? {
            Message::Text(line) => line,
            Message::End => return Ok(so_far(&text)),
            other => return Ok(other),
        };
    }
    text.push_str(&line);
    Ok(Message::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages in a text, up to its end.
    fn messages(text: &str) -> Vec<String> {
        let mut lines = text.lines();
        let mut messages = Vec::new();
        while let Message::Text(text) =
            assemble(|_| Ok(lines.next().map_or(Message::End, |line| Message::Text(line.to_owned()))))
                .unwrap()
        {
            messages.push(text);
        }
        messages
    }

    #[test]
    fn lines_make_messages() {
        for (text, want) in [
            ("a\n\nb", &["a", "", "b"][..]),
            ("a\\\nb\\\nc\nd", &["a\nb\nc", "d"]),
            ("\"\"\"a\nb\"\"\"\nc", &["a\nb", "c"]),
            ("\"\"\"\n a\n\nb\n\"\"\"", &[" a\n\nb"]),
            ("\"\"\"a\"\"\"", &["a"]),
            ("\"\"\"a", &["a"]),
            ("\"\"\"\na\nb\n", &["a\nb"]),
            ("a\\", &["a"]),
            ("a \"\"\" b", &["a \"\"\" b"]),
        ] {
            assert_eq!(messages(text), want, "`{text}`");
        }
    }

    #[test]
    fn ctrl_c_drops_what_was_typed() {
        let mut lines = [Message::Text("a\\".to_owned()), Message::Interrupted].into_iter();
        assert_eq!(assemble(|_| Ok(lines.next().unwrap())).unwrap(), Message::Interrupted);
    }
}
