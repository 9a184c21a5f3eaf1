//! Content and calls from a model's text, piece by piece.
//!
//! ```text
//! text ──mark──▶ calls ──"{"──▶ call ──"}"──▶ calls ──"</tool_call>", "]", the end──▶ text
//!      what may still become a mark is held back; a call is held back until its name is known
//! ```
//!
//! What turns out not to be a call is content. It knows no tools: a call of one that does not exist is a call.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::object::{CallObject, Step};
use super::syntax::{CallForm, ToolSyntax};

/// What a piece of text added to the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// Content.
    Content(String),
    /// A call began.
    Call {
        /// Its place among the calls.
        index: usize,
        /// Its id, by which its result is sent.
        id: String,
        /// The tool.
        name: String,
    },
    /// A call's arguments went on: JSON, as a text.
    Arguments {
        /// The call's place.
        index: usize,
        /// What was added.
        fragment: String,
    },
}

/// Reads the text of one answer.
#[derive(Debug)]
pub struct ToolStream {
    syntax: ToolSyntax,
    place: Place,
    /// White space before `held`, which is dropped if a call follows.
    blank: String,
    /// Text that may still become a mark: the beginning of one, without white space.
    held: String,
    /// What a call's text was so far, to be content if it is none.
    raw: String,
    /// Calls that have begun.
    calls: usize,
    /// Whether nothing but white space came so far.
    is_at_start: bool,
}

#[derive(Debug)]
enum Place {
    Text,
    /// Between calls.
    Calls,
    Call(CallObject),
}

/// What ends a call in Hermes' form.
const HERMES_END: &str = "</tool_call>";

impl ToolStream {
    /// A stream for one answer.
    pub fn new(syntax: ToolSyntax) -> Self {
        Self {
            syntax,
            place: Place::Text,
            blank: String::new(),
            held: String::new(),
            raw: String::new(),
            calls: 0,
            is_at_start: true,
        }
    }

    /// Takes a generated token after the text that came with it: the mark may be a special token, which has none.
    pub fn token(&mut self, token: u32) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if self.syntax.mark_token() == Some(token) && matches!(self.place, Place::Text) {
            let text = self.take_held();
            self.begin_calls(text, &mut deltas);
        }
        deltas
    }

    /// Takes the next piece; returns what it added.
    pub fn push(&mut self, text: &str) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for c in text.chars() {
            self.character(c, &mut deltas);
        }
        self.flush_arguments(&mut deltas);
        merged(deltas)
    }

    /// Ends the text; returns what was held back.
    pub fn finish(&mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        self.flush_arguments(&mut deltas);
        let raw = std::mem::take(&mut self.raw);
        match std::mem::replace(&mut self.place, Place::Text) {
            Place::Call(call) if call.is_named() => {}
            Place::Text if self.calls > 0 && self.held.is_empty() => {}
            Place::Calls if self.calls > 0 => {}
            Place::Text => content(&mut deltas, self.take_held()),
            Place::Calls | Place::Call(_) => content(&mut deltas, raw),
        }
        merged(deltas)
    }

    /// Whether there was a call.
    pub fn has_calls(&self) -> bool {
        self.calls > 0
    }

    fn character(&mut self, c: char, deltas: &mut Vec<Delta>) {
        match &mut self.place {
            Place::Text => self.in_text(c, deltas),
            Place::Calls => self.between_calls(c, deltas),
            Place::Call(call) => {
                if !call.is_named() {
                    self.raw.push(c);
                }
                let step = call.push(c);
                self.in_call(step, deltas);
            }
        }
    }

    fn in_text(&mut self, c: char, deltas: &mut Vec<Delta>) {
        if c.is_whitespace() && self.held.is_empty() && (self.is_at_start || self.calls > 0) {
            self.blank.push(c);
            return;
        }
        let mark = self.syntax.form().mark();
        self.held.push(c);
        if self.is_at_start && self.syntax.may_begin_unmarked() && self.begins_unmarked(mark) {
            self.begin_unmarked(deltas);
            return;
        }
        if self.held == mark {
            self.held.clear();
            let text = self.take_held();
            self.begin_calls(text, deltas);
            self.raw.push_str(mark);
            return;
        }
        let kept = longest_start(&self.held, mark);
        let certain = self.held.len() - kept;
        if certain == 0 {
            return;
        }
        let mut text = std::mem::take(&mut self.blank);
        text.extend(self.held.drain(..certain));
        self.is_at_start = false;
        content(deltas, text);
    }

    /// What was held back of a text.
    fn take_held(&mut self) -> String {
        let mut text = std::mem::take(&mut self.blank);
        text.push_str(&self.held);
        self.held.clear();
        text
    }

    /// The mark came after this text.
    fn begin_calls(&mut self, text: String, deltas: &mut Vec<Delta>) {
        if text.trim().is_empty() && (self.is_at_start || self.calls > 0) {
            // White space before calls is theirs; it is content if they are none.
            self.raw = text;
        } else {
            content(deltas, text);
        }
        self.is_at_start = false;
        self.place = Place::Calls;
    }

    /// Whether the text so far begins as calls do, and not as the mark does.
    fn begins_unmarked(&self, mark: &str) -> bool {
        let text = self.held.as_str();
        text.starts_with(self.syntax.form().opener()) && !mark.starts_with(text) && !text.starts_with(mark)
    }

    fn begin_unmarked(&mut self, deltas: &mut Vec<Delta>) {
        let opener = self.syntax.form().opener();
        let held = std::mem::take(&mut self.held);
        let rest = held.strip_prefix(opener).expect("the text begins with the opener");
        self.raw = std::mem::take(&mut self.blank);
        self.raw.push(opener);
        self.is_at_start = false;
        self.place = if opener == '{' { self.call_begun() } else { Place::Calls };
        rest.chars().for_each(|c| self.character(c, deltas));
    }

    fn call_begun(&self) -> Place {
        let mut call = CallObject::new(self.syntax.form().arguments_key());
        call.push('{');
        Place::Call(call)
    }

    /// Between calls there are white space, the marks and what joins them.
    fn between_calls(&mut self, c: char, deltas: &mut Vec<Delta>) {
        self.raw.push(c);
        if c == '{' && self.held.is_empty() {
            self.place = self.call_begun();
            return;
        }
        let is_space = c.is_whitespace();
        match self.syntax.form() {
            CallForm::Hermes => {
                if is_space && self.held.is_empty() {
                    return;
                }
                self.held.push(c);
                if self.held == HERMES_END {
                    self.held.clear();
                    self.raw.clear();
                    self.place = Place::Text;
                } else if !HERMES_END.starts_with(&self.held) {
                    self.not_calls(deltas);
                }
            }
            CallForm::Llama if is_space || (c == ';' && self.calls > 0) => {}
            CallForm::Mistral if is_space || matches!(c, '[' | ',') => {}
            CallForm::Mistral if c == ']' && self.calls > 0 => {
                self.raw.clear();
                self.place = Place::Text;
            }
            CallForm::Llama | CallForm::Mistral => self.not_calls(deltas),
        }
    }

    fn in_call(&mut self, step: Step, deltas: &mut Vec<Delta>) {
        match step {
            Step::On => {}
            Step::Named(name) => {
                self.raw.clear();
                deltas.push(Delta::Call { index: self.calls, id: id(), name });
                self.calls += 1;
            }
            Step::Ended(fragment) => {
                self.arguments(fragment, deltas);
                self.raw.clear();
                self.place = Place::Calls;
            }
            Step::Broken => {
                self.flush_arguments(deltas);
                self.not_calls(deltas);
            }
        }
    }

    /// What was read as calls is content.
    fn not_calls(&mut self, deltas: &mut Vec<Delta>) {
        self.held.clear();
        content(deltas, std::mem::take(&mut self.raw));
        self.place = Place::Text;
    }

    fn flush_arguments(&mut self, deltas: &mut Vec<Delta>) {
        if let Place::Call(call) = &mut self.place {
            let fragment = call.take_arguments();
            self.arguments(fragment, deltas);
        }
    }

    /// The arguments of the last call that has begun.
    fn arguments(&self, fragment: String, deltas: &mut Vec<Delta>) {
        if !fragment.is_empty() {
            deltas.push(Delta::Arguments { index: self.calls - 1, fragment });
        }
    }
}

/// Bytes at the end of a text with which a mark may begin.
fn longest_start(text: &str, mark: &str) -> usize {
    (1..mark.len()).rev().find(|bytes| text.ends_with(&mark[..*bytes])).unwrap_or(0)
}

fn content(deltas: &mut Vec<Delta>, text: String) {
    if !text.is_empty() {
        deltas.push(Delta::Content(text));
    }
}

/// Deltas of one kind that follow on each other as one.
fn merged(deltas: Vec<Delta>) -> Vec<Delta> {
    let mut merged: Vec<Delta> = Vec::new();
    for delta in deltas {
        match (merged.last_mut(), delta) {
            (Some(Delta::Content(text)), Delta::Content(more)) => text.push_str(&more),
            (
                Some(Delta::Arguments { index, fragment }),
                Delta::Arguments { index: same, fragment: more },
            ) if *index == same => fragment.push_str(&more),
            (_, delta) => merged.push(delta),
        }
    }
    merged
}

/// An id that no other call has.
fn id() -> String {
    // Each state has keys of its own, made from the system's randomness.
    let bits = |salt: u8| RandomState::new().hash_one(salt);
    format!("call_{:016x}{:08x}", bits(0), bits(1) >> 32)
}

#[cfg(test)]
mod tests;
