//! From TOML and `key=value` overrides to a checked configuration.
//!
//! Every key is looked up by its dotted path before its value is taken, so that each message can
//! name file, line and key. It knows no ranges: those are `check`'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::keys::{KEYS, Kind, SECTIONS, find, is_section, nearest, shown};
use super::{ConfigError, TrainConfig};

/// The longest configuration that is read.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// How messages call the place of an override.
const COMMAND_LINE: &str = "command line";

impl TrainConfig {
    /// Reads and checks a configuration file. Paths in it are relative to the current directory.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, or as [`parse`](Self::parse) says.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::read_with(path, &[])
    }

    /// Reads a configuration file and applies overrides, as [`parse_with`](Self::parse_with) does.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, or as [`parse_with`](Self::parse_with) says.
    pub fn read_with(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Io { path: path.to_owned(), source };
        let mut text = String::new();
        let mut file = File::open(path).map_err(failed)?.take(FILE_MAX_BYTES + 1);
        file.read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_MAX_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned(), limit_bytes: FILE_MAX_BYTES });
        }
        Self::parse_with(&path.display().to_string(), &text, overrides)
    }

    /// Parses and checks a configuration; `file_name` is how messages call it.
    ///
    /// # Errors
    /// [`ConfigError`] names file, line, key, what was found and what was expected: of everything
    /// that is wrong with keys and types, or, if nothing is, of everything that
    /// [`check`](Self::check) finds.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::parse_with(file_name, text, &[])
    }

    /// Parses a configuration, applies overrides, and checks the result.
    ///
    /// An override is `key=value`: the key a dotted path such as `train.steps`, the value as TOML
    /// writes it; whatever is not TOML is a string, so `model.preset=m` needs no quotes. The last
    /// of several overrides of one key wins.
    ///
    /// # Errors
    /// [`ConfigError`] as [`parse`](Self::parse) says; an override's place is the command line.
    pub fn parse_with(file_name: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let mut entries = Entries::default();
        entries.add_file(file_name, text)?;
        for text in overrides {
            entries.add_override(text)?;
        }
        entries.add_missing(file_name);
        ConfigError::of(std::mem::take(&mut entries.problems))?;
        let config: Self = entries
            .table()
            .try_into()
            .map_err(|error| ConfigError::Toml { place: file_name.to_owned(), detail: one_line(&error) })?;
        let place = |key: &str| entries.place_of(key).unwrap_or(file_name).to_owned();
        ConfigError::of(config.problems(&place))?;
        Ok(config)
    }
}

/// The parser's message on one line.
fn one_line(error: &toml::de::Error) -> String {
    error.message().split_whitespace().collect::<Vec<_>>().join(" ")
}

const PRESET: &str = "model.preset";

/// The keys that say how long a run is, of which one is given.
const LENGTHS: [&str; 3] = ["train.steps", "train.tokens", "train.epochs"];

/// What a preset on the command line decides instead of the file.
const SIZES: [&str; 6] = [
    "model.hidden_size",
    "model.intermediate_size",
    "model.num_hidden_layers",
    "model.num_attention_heads",
    "model.num_key_value_heads",
    "model.head_dim",
];

/// The keys that were given, by dotted path.
#[derive(Default)]
struct Entries {
    values: BTreeMap<String, Entry>,
    /// The sections that were named, with their places.
    sections: BTreeMap<String, String>,
    problems: Vec<ConfigError>,
}

struct Entry {
    value: Value,
    /// File and line, or the command line.
    place: String,
}

impl Entries {
    fn add_file(&mut self, file_name: &str, text: &str) -> Result<(), ConfigError> {
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            ConfigError::Toml { place: format!("{file_name}:{line}"), detail: one_line(&error) }
        })?;
        let place = |start| format!("{file_name}:{}", line_of(text, start));
        self.add_table("", table.into_inner(), &place);
        Ok(())
    }

    fn add_table(&mut self, prefix: &str, table: DeTable<'_>, place: &dyn Fn(usize) -> String) {
        for (name, value) in table {
            let path = format!("{prefix}{}", name.get_ref());
            let place_of_key = place(name.span().start);
            match value.into_inner() {
                DeValue::Table(inner) if is_section(&path) => {
                    self.sections.insert(path.clone(), place_of_key);
                    self.add_table(&format!("{path}."), inner, place);
                }
                value => self.add(path, Self::value(value), place_of_key),
            }
        }
    }

    fn add_override(&mut self, text: &str) -> Result<(), ConfigError> {
        let wrong = || ConfigError::Override { found: text.to_owned() };
        let (path, written) = text.split_once('=').ok_or_else(wrong)?;
        let (path, written) = (path.trim(), written.trim());
        if path.is_empty() {
            return Err(wrong());
        }
        // Parsed as the one value of a document of one key, since TOML has no other.
        let parsed = toml::from_str::<Table>(&format!("value = {written}")).ok();
        let parsed = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        let takes_text = find(path).is_some_and(|key| key.kind == Kind::Text);
        let value = match parsed {
            // What TOML takes for a number or a date may still be a name.
            Some(value) if value.is_str() || !takes_text => value,
            _ => Value::String(written.to_owned()),
        };
        let mut section = path;
        while let Some((outer, _)) = section.rsplit_once('.') {
            if is_section(outer) {
                self.sections.entry(outer.to_owned()).or_insert_with(|| COMMAND_LINE.to_owned());
            }
            section = outer;
        }
        // The last one wins: what the file says of sizes is of another model, and of length of another run.
        let replaced: &[&str] = match path {
            PRESET => &SIZES,
            length if LENGTHS.contains(&length) => &LENGTHS,
            _ => &[],
        };
        let is_old = |key: &str, entry: &Entry| replaced.contains(&key) && entry.place != COMMAND_LINE;
        self.values.retain(|key, entry| !is_old(key, entry));
        self.add(path.to_owned(), value, COMMAND_LINE.to_owned());
        Ok(())
    }

    /// Takes a value up if its key is known and of its kind.
    fn add(&mut self, path: String, value: Value, place: String) {
        let problem = match find(&path) {
            Some(key) if key.kind.takes(&value) => {
                self.values.insert(path, Entry { value, place });
                return;
            }
            Some(key) => {
                let expected = key.kind.expected(&value);
                ConfigError::Value { place, key: path, found: shown(&value), expected }
            }
            None if is_section(&path) => {
                let expected = format!("a section, `[{path}]`");
                ConfigError::Value { place, key: path, found: shown(&value), expected }
            }
            None => {
                let nearest = nearest(&path).map(str::to_owned);
                ConfigError::Unknown { place, key: path, nearest }
            }
        };
        self.problems.push(problem);
    }

    /// Names the required keys that were not given.
    fn add_missing(&mut self, file_name: &str) {
        for key in KEYS.iter().filter(|key| key.is_required) {
            let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
            let is_there = self.sections.contains_key(section) || is_always_there(section);
            let is_wrong = self.problems.iter().any(|problem| {
                matches!(problem, ConfigError::Value { key: wrong, .. } if wrong == key.path || wrong == section)
            });
            if is_there && !is_wrong && !self.values.contains_key(key.path) {
                let place = self.sections.get(section).map_or(file_name, String::as_str).to_owned();
                let expected = key.kind.expected(&Value::Boolean(false));
                self.problems.push(ConfigError::Missing { place, key: key.path.to_owned(), expected });
            }
        }
    }

    fn place_of(&self, key: &str) -> Option<&str> {
        let section = || self.sections.get(key.rsplit_once('.').map_or(key, |(section, _)| section));
        self.values.get(key).map(|entry| entry.place.as_str()).or_else(|| section().map(String::as_str))
    }

    /// All that was given as one table.
    fn table(&self) -> Table {
        let mut table = Table::new();
        let always = SECTIONS.iter().filter(|(_, always)| *always).map(|(section, _)| *section);
        for section in always.chain(self.sections.keys().map(String::as_str)) {
            section_of(&mut table, section);
        }
        for (path, entry) in &self.values {
            let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
            section_of(&mut table, section).insert(name.to_owned(), entry.value.clone());
        }
        table
    }

    /// A parsed value without its places.
    fn value(value: DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                parsed.map_or_else(|_| Value::String(format!("{number}, beyond 64 bits")), Value::Integer)
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().parse();
                parsed.map_or_else(|_| Value::String(number.to_string()), Value::Float)
            }
            DeValue::Boolean(flag) => Value::Boolean(flag),
            DeValue::Datetime(date) => Value::Datetime(date),
            DeValue::Array(list) => {
                Value::Array(list.into_iter().map(Spanned::into_inner).map(Self::value).collect())
            }
            DeValue::Table(table) => {
                let entries = table.into_iter();
                let owned = entries.map(|(k, v)| (k.into_inner().into_owned(), Self::value(v.into_inner())));
                Value::Table(owned.collect())
            }
        }
    }
}

fn is_always_there(section: &str) -> bool {
    SECTIONS.iter().any(|(known, always)| *known == section && *always)
}

/// The table of a dotted path, made where there is none.
fn section_of<'a>(table: &'a mut Table, path: &str) -> &'a mut Table {
    path.split('.').fold(table, |table, name| {
        let section = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
        section.as_table_mut().expect("no key has the name of a section")
    })
}

/// The line, from 1, of a byte of a text.
fn line_of(text: &str, start: usize) -> usize {
    1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
}
