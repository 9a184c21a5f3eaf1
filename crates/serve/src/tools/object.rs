//! One call's JSON, read piece by piece: its name, and its arguments as they are written.
//!
//! ```text
//! {"name": "f", "arguments": {"x": 1}}      in any order, with other keys too
//!           ^                 ^^^^^^^^ given out as it comes, once the name is known
//! ```
//!
//! Of `arguments` and `parameters` one is the model's own key. Under the other one some models write them too: that is
//! taken at the end of an object that has not its own. Of a key that is there twice the first counts.

use serde_json::Value;

/// The call's JSON so far.
#[derive(Debug)]
pub(super) struct CallObject {
    /// The key of the arguments.
    own_key: &'static str,
    place: Place,
    /// The key that is being read, with its quotes, or was read last.
    key: String,
    /// The value that is being read, or, of the arguments, what of it was not given out yet.
    value: String,
    name: Option<String>,
    /// Arguments that came before the name.
    waiting: String,
    /// Arguments under the key that is not the model's own.
    others: Option<String>,
    /// Whether arguments were seen.
    has_arguments: bool,
    /// Whether the arguments are JSON in a string.
    is_quoted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeObject,
    BeforeKey { may_end: bool },
    InKey { is_escaped: bool },
    BeforeColon,
    BeforeValue,
    InValue { depth: usize, in_string: bool, is_escaped: bool },
    AfterValue,
    End,
}

/// What a character made of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    On,
    /// The name has become known.
    Named(String),
    /// The object ended, and this is left of the arguments.
    Ended(String),
    /// It is not a call.
    Broken,
}

impl CallObject {
    /// A call whose arguments stand under this key.
    pub(super) fn new(own_key: &'static str) -> Self {
        Self {
            own_key,
            place: Place::BeforeObject,
            key: String::new(),
            value: String::new(),
            name: None,
            waiting: String::new(),
            others: None,
            has_arguments: false,
            is_quoted: false,
        }
    }

    /// Whether the name was given out.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Arguments that may be given out now.
    pub(super) fn take_arguments(&mut self) -> String {
        if self.is_named() { std::mem::take(&mut self.waiting) } else { String::new() }
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char) -> Step {
        let is_space = matches!(c, ' ' | '\t' | '\n' | '\r');
        match self.place {
            Place::BeforeObject => match c {
                _ if is_space => {}
                '{' => self.place = Place::BeforeKey { may_end: true },
                _ => return Step::Broken,
            },
            Place::BeforeKey { may_end } => match c {
                _ if is_space => {}
                '"' => {
                    self.key = c.to_string();
                    self.place = Place::InKey { is_escaped: false };
                }
                '}' if may_end => return self.end(),
                _ => return Step::Broken,
            },
            Place::InKey { is_escaped } => {
                self.key.push(c);
                self.place = match c {
                    '"' if !is_escaped => Place::BeforeColon,
                    _ => Place::InKey { is_escaped: c == '\\' && !is_escaped },
                };
            }
            Place::BeforeColon => match c {
                _ if is_space => {}
                ':' => self.place = Place::BeforeValue,
                _ => return Step::Broken,
            },
            Place::BeforeValue if is_space => {}
            Place::BeforeValue => {
                if matches!(c, ',' | '}' | ']' | ':') {
                    return Step::Broken;
                }
                self.value.clear();
                self.is_quoted = c == '"';
                self.take(c);
                let depth = usize::from(matches!(c, '{' | '['));
                self.place = Place::InValue { depth, in_string: c == '"', is_escaped: false };
            }
            Place::InValue { depth, in_string, is_escaped } => {
                return self.in_value(c, depth, in_string, is_escaped);
            }
            Place::AfterValue => match c {
                _ if is_space => {}
                ',' => self.place = Place::BeforeKey { may_end: false },
                '}' => return self.end(),
                _ => return Step::Broken,
            },
            Place::End => return Step::Broken,
        }
        Step::On
    }

    fn in_value(&mut self, c: char, depth: usize, in_string: bool, is_escaped: bool) -> Step {
        if in_string {
            self.take(c);
            let ends = c == '"' && !is_escaped;
            if ends && depth == 0 {
                return self.end_value();
            }
            let is_escaped = c == '\\' && !is_escaped;
            self.place = Place::InValue { depth, in_string: !ends, is_escaped };
            return Step::On;
        }
        if depth == 0 && matches!(c, ',' | '}' | ']' | ' ' | '\t' | '\n' | '\r') {
            // A number or a word ends with what follows it.
            return match self.end_value() {
                Step::On => self.push(c),
                named => match self.push(c) {
                    Step::On => named,
                    other => other,
                },
            };
        }
        self.take(c);
        let depth = match c {
            '{' | '[' => depth + 1,
            '}' | ']' => depth - 1,
            _ => depth,
        };
        if depth == 0 && matches!(c, '}' | ']') {
            return self.end_value();
        }
        self.place = Place::InValue { depth, in_string: c == '"', is_escaped: false };
        Step::On
    }

    /// A character of the value.
    fn take(&mut self, c: char) {
        if self.is_arguments() && !self.is_quoted {
            self.waiting.push(c);
        } else {
            self.value.push(c);
        }
    }

    /// Whether the value is the arguments, of which nothing came before.
    fn is_arguments(&self) -> bool {
        !self.has_arguments && self.key() == self.own_key
    }

    /// The key without its quotes.
    fn key(&self) -> &str {
        self.key.trim_matches('"')
    }

    /// The text of the value where it is arguments: itself, or what it quotes.
    fn arguments_text(&self) -> Option<String> {
        if self.is_quoted { serde_json::from_str(&self.value).ok() } else { Some(self.value.clone()) }
    }

    fn end_value(&mut self) -> Step {
        self.place = Place::AfterValue;
        if self.is_arguments() {
            if self.is_quoted {
                match self.arguments_text() {
                    Some(arguments) => self.waiting.push_str(&arguments),
                    None => return Step::Broken,
                }
            }
            self.has_arguments = true;
            return Step::On;
        }
        if matches!(self.key(), "arguments" | "parameters") && self.key() != self.own_key {
            match self.arguments_text() {
                Some(arguments) => self.others.get_or_insert(arguments),
                None => return Step::Broken,
            };
            return Step::On;
        }
        if self.key() != "name" || self.is_named() {
            return Step::On;
        }
        match serde_json::from_str::<Value>(&self.value) {
            Ok(Value::String(name)) if !name.is_empty() => {
                self.name = Some(name.clone());
                Step::Named(name)
            }
            _ => Step::Broken,
        }
    }

    fn end(&mut self) -> Step {
        self.place = Place::End;
        if !self.is_named() {
            return Step::Broken;
        }
        if !self.has_arguments {
            self.waiting.push_str(self.others.as_deref().unwrap_or("{}"));
        }
        Step::Ended(self.take_arguments())
    }
}
