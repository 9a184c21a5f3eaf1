//! `tojson` as transformers has it: Python's `json.dumps`, without the escapes for HTML.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Values deeper than this are refused, as they are when a request is read.
const DEPTH_MAX: usize = 128;

/// `value | tojson`, with `json.dumps`' arguments `ensure_ascii`, `indent`, `separators` and `sort_keys`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(ensure_ascii) => ensure_ascii,
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent = options.get::<Option<usize>>("indent")?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let [item, key] = match separators.map(<[String; 2]>::try_from) {
        Some(Ok(separators)) => separators,
        Some(Err(_)) => return Err(invalid("separators are two texts")),
        None if indent.is_some() => [",", ": "].map(str::to_owned),
        None => [", ", ": "].map(str::to_owned),
    };
    let mut writer = Writer { state, ensure_ascii, indent, item, key, sort_keys, text: String::new() };
    writer.value(value, 0)?;
    Ok(Value::from(writer.text))
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.into())
}

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    ensure_ascii: bool,
    indent: Option<usize>,
    /// Between items.
    item: String,
    /// Between a key and its value.
    key: String,
    sort_keys: bool,
    text: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(invalid(format!("a value is deeper than {DEPTH_MAX} lists and maps")));
        }
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.text.push_str(&value.to_string()),
            ValueKind::Number => self.text.push_str(&float(f64::try_from(value.clone())?)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.list(depth, '[', ']', items, |writer, item, depth| writer.value(&item, depth))?;
            }
            ValueKind::Map => {
                let mut fields = Vec::new();
                for key in value.try_iter()? {
                    self.state.consume_fuel(1)?;
                    let name = match key.kind() {
                        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                        ValueKind::None => "null".to_owned(),
                        ValueKind::Bool | ValueKind::Number => key.to_string().to_lowercase(),
                        other => return Err(invalid(format!("a key of JSON is a text, found a {other}"))),
                    };
                    fields.push((name, value.get_item(&key)?));
                }
                if self.sort_keys {
                    fields.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.list(depth, '{', '}', fields.into_iter(), |writer, (name, value), depth| {
                    writer.string(&name)?;
                    writer.charge(writer.key.len())?;
                    writer.text.push_str(&writer.key);
                    writer.value(&value, depth)
                })?;
            }
            other => return Err(invalid(format!("JSON has nothing for a value of type {other}"))),
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        depth: usize,
        open: char,
        close: char,
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Self, T, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.text.push(open);
        let mut is_empty = true;
        for item in items {
            if !is_empty {
                self.charge(self.item.len())?;
                self.text.push_str(&self.item);
            }
            is_empty = false;
            self.line(depth + 1)?;
            write(self, item, depth + 1)?;
        }
        if !is_empty {
            self.line(depth)?;
        }
        self.text.push(close);
        Ok(())
    }

    /// A new line, where there is an indent.
    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = self.indent else { return Ok(()) };
        let width = indent.saturating_mul(depth);
        self.charge(width)?;
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', width));
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.charge(text.len())?;
        let quoted = serde_json::to_string(text).map_err(|error| invalid(error.to_string()))?;
        if !self.ensure_ascii {
            self.text.push_str(&quoted);
            return Ok(());
        }
        for c in quoted.chars() {
            if c.is_ascii() {
                self.text.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        Ok(())
    }

    /// Pays for so many bytes before they are written.
    fn charge(&self, bytes: usize) -> Result<(), Error> {
        self.state.consume_fuel(bytes as u64 / 64)
    }
}

/// A number as Python's `repr` writes it.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let shortest = format!("{number:?}");
    match shortest.split_once('e') {
        None => shortest,
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (number, want) in [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(number), want);
        }
    }
}
