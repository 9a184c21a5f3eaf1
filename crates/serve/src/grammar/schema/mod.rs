//! What a JSON schema may contain, and how large it may become.
//!
//! ```text
//! walk:   each schema by its place (`#/properties/a`): keywords, kinds of values, bounds, depth
//! extent: how many parts there are once `allOf`, `anyOf` and `$ref` beside others are multiplied out
//! ```
//!
//! The library that compiles schemas ignores what it does not know, follows what it is told, and multiplies out what
//! it is given: so only known keywords are let through, with values of the right kind, and in bounded numbers. It
//! knows nothing of grammars.

mod extent;
mod keywords;

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::error::GrammarError;
pub(super) use extent::SIZE_MAX;
use keywords::{Keyword, keyword};

/// What becomes of a keyword that is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// The schema is refused, and the keyword named: what OpenAI calls `strict`.
    Refused,
    /// It is left out: the text obeys the rest.
    Ignored,
}

/// How large a schema may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct SchemaLimits {
    /// Bytes of its text.
    pub(super) bytes: usize,
    /// Schemas within each other.
    pub(super) depth: usize,
}

/// The greatest number that a keyword such as `maxLength` may have.
const COUNT_MAX: u64 = 1 << 16;

/// The longest pattern, and all of a schema together, in bytes.
const PATTERN_MAX_BYTES: usize = 512;
const PATTERNS_MAX_BYTES: usize = 8 << 10;

/// Patterns of property names in a schema: the library compares each with every other.
const PATTERN_PROPERTIES_MAX: usize = 8;

/// The greatest number of repetitions such as `{1,64}` in a pattern, and of all in it multiplied.
const REPEATED_MAX: u64 = 1000;
const REPEATED_PRODUCT_MAX: u64 = 1_000_000;

/// A schema that was checked.
#[derive(Debug, PartialEq)]
pub(super) struct Checked {
    /// As the library is to read it: without annotations, and with only what is supported.
    pub(super) schema: Value,
    /// Its parts when it is multiplied out, at most [`SIZE_MAX`].
    pub(super) size: u64,
}

/// Checks a schema.
///
/// # Errors
/// [`GrammarError`] if it is wrong, too large, or holds what is to be refused.
pub(super) fn checked(
    schema: &Value,
    limits: SchemaLimits,
    unsupported: Unsupported,
) -> Result<Checked, GrammarError> {
    let bytes = schema.to_string().len();
    if bytes > limits.bytes {
        return Err(GrammarError::Limit(format!(
            "the schema has {bytes} bytes, expected at most {}",
            limits.bytes
        )));
    }
    let mut walk = Walk {
        limits,
        unsupported,
        places: HashSet::new(),
        references: Vec::new(),
        pattern_bytes: 0,
        pattern_properties: 0,
    };
    let checked = walk.schema(schema, "#", 1)?;
    if checked == Value::Bool(false) {
        return Err(GrammarError::refused("the schema is `false`, which allows nothing"));
    }
    for (place, target) in &walk.references {
        if !walk.places.contains(target) {
            return Err(refused(place, &format!("`$ref` to `{}`, which is no schema", shown(target))));
        }
    }
    let size = extent::size(&checked)?;
    let schema = if checked == Value::Bool(true) { Value::Object(Map::new()) } else { checked };
    Ok(Checked { schema, size })
}

struct Walk {
    limits: SchemaLimits,
    unsupported: Unsupported,
    /// Where there are schemas.
    places: HashSet<String>,
    /// Where there are references, and to what.
    references: Vec<(String, String)>,
    pattern_bytes: usize,
    pattern_properties: usize,
}

impl Walk {
    fn schema(&mut self, schema: &Value, place: &str, depth: usize) -> Result<Value, GrammarError> {
        if depth > self.limits.depth {
            return Err(GrammarError::Limit(format!(
                "`{}` is a schema within {} others, expected at most {} levels",
                shown(place),
                depth - 1,
                self.limits.depth
            )));
        }
        self.places.insert(place.to_owned());
        let object = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(object) => object,
            _ => return Err(wrong(place, "schema", schema, "an object or a boolean")),
        };
        let mut checked = Map::new();
        for (name, value) in object {
            if let Some(value) = self.keyword(name, value, place, depth)? {
                checked.insert(name.clone(), value);
            }
        }
        Ok(Value::Object(checked))
    }

    /// The keyword's value as it is to be; nothing if it is to be left out.
    fn keyword(
        &mut self,
        name: &str,
        value: &Value,
        place: &str,
        depth: usize,
    ) -> Result<Option<Value>, GrammarError> {
        let wrong = |expected: &str| wrong(place, name, value, expected);
        let inner = format!("{place}/{}", escaped(name));
        let Some(keyword) = keyword(name) else {
            return match self.unsupported {
                Unsupported::Ignored => Ok(None),
                Unsupported::Refused => {
                    Err(refused(place, &format!("the keyword `{}` is not supported", shown(name))))
                }
            };
        };
        match keyword {
            Keyword::Annotation => return Ok(None),
            Keyword::Schema => return self.schema(value, &inner, depth + 1).map(Some),
            Keyword::SchemaOrList if !value.is_array() => {
                return self.schema(value, &inner, depth + 1).map(Some);
            }
            Keyword::SchemaOrList | Keyword::Schemas => {
                let list = value.as_array().ok_or_else(|| wrong("a list of schemas"))?;
                if list.is_empty() && keyword == Keyword::Schemas && name != "prefixItems" {
                    return Err(wrong("a list of at least one schema"));
                }
                let schemas = list.iter().enumerate();
                let checked: Result<Vec<Value>, _> = schemas
                    .map(|(i, schema)| self.schema(schema, &format!("{inner}/{i}"), depth + 1))
                    .collect();
                return checked.map(|checked| Some(Value::Array(checked)));
            }
            Keyword::NamedSchemas => {
                let named = value.as_object().ok_or_else(|| wrong("an object of schemas"))?;
                let mut checked = Map::new();
                for (key, schema) in named {
                    if name == "patternProperties" {
                        self.pattern(key, &inner)?;
                        self.pattern_property()?;
                    }
                    let place = format!("{inner}/{}", escaped(key));
                    checked.insert(key.clone(), self.schema(schema, &place, depth + 1)?);
                }
                return Ok(Some(Value::Object(checked)));
            }
            Keyword::Reference => {
                let target = value.as_str().ok_or_else(|| wrong("a text"))?;
                if !target.starts_with('#') || target.contains('%') {
                    return Err(wrong("a reference within the schema, such as `#/$defs/name`"));
                }
                self.references.push((place.to_owned(), target.to_owned()));
            }
            Keyword::Types => {
                let is_type =
                    |value: &Value| value.as_str().is_some_and(|name| keywords::TYPES.contains(&name));
                let is_list = |list: &Vec<Value>| !list.is_empty() && list.iter().all(is_type);
                if !is_type(value) && !value.as_array().is_some_and(is_list) {
                    return Err(wrong(&format!("one or a list of `{}`", keywords::TYPES.join("`, `"))));
                }
            }
            Keyword::Constant => self.constant(value, place, depth)?,
            Keyword::Constants => {
                let list = value.as_array().filter(|list| !list.is_empty());
                let list = list.ok_or_else(|| wrong("a list of at least one value"))?;
                list.iter().try_for_each(|value| self.constant(value, place, depth))?;
            }
            Keyword::Count => {
                let count = value.as_u64().ok_or_else(|| wrong("a whole number"))?;
                if count > COUNT_MAX {
                    return Err(GrammarError::Limit(format!(
                        "`{}`: `{name}` is {count}, expected at most {COUNT_MAX}",
                        shown(place)
                    )));
                }
            }
            Keyword::Number => {
                // The oldest drafts have a boolean that says how to read `minimum`.
                let is_old = name.starts_with("exclusive") && value.is_boolean();
                if !value.is_number() && !is_old {
                    return Err(wrong("a number"));
                }
                if name == "multipleOf" && value.as_f64().is_none_or(|number| number <= 0.0) {
                    return Err(wrong("a number greater than 0"));
                }
            }
            Keyword::Names => {
                let list = value.as_array().filter(|list| list.iter().all(Value::is_string));
                list.ok_or_else(|| wrong("a list of names"))?;
            }
            Keyword::Pattern => self.pattern(value.as_str().ok_or_else(|| wrong("a text"))?, &inner)?,
            Keyword::Format => {
                let format = value.as_str().ok_or_else(|| wrong("a text"))?;
                if !keywords::FORMATS.contains(&format) {
                    return match self.unsupported {
                        Unsupported::Ignored => Ok(None),
                        Unsupported::Refused => {
                            Err(wrong(&format!("one of `{}`", keywords::FORMATS.join("`, `"))))
                        }
                    };
                }
            }
        }
        Ok(Some(value.clone()))
    }

    /// A value that the text must have; its lists and objects count as levels.
    fn constant(&self, value: &Value, place: &str, depth: usize) -> Result<(), GrammarError> {
        if depth > self.limits.depth {
            return Err(GrammarError::Limit(format!(
                "`{}` holds a value of more than {} levels",
                shown(place),
                self.limits.depth
            )));
        }
        match value {
            Value::Array(list) => list.iter().try_for_each(|value| self.constant(value, place, depth + 1)),
            Value::Object(object) => {
                object.values().try_for_each(|value| self.constant(value, place, depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn pattern(&mut self, pattern: &str, place: &str) -> Result<(), GrammarError> {
        let limit = |found: String, expected: String| {
            Err(GrammarError::Limit(format!("`{}`: {found}, expected at most {expected}", shown(place))))
        };
        self.pattern_bytes += pattern.len();
        if pattern.len() > PATTERN_MAX_BYTES {
            return limit(format!("a pattern of {} bytes", pattern.len()), PATTERN_MAX_BYTES.to_string());
        }
        if self.pattern_bytes > PATTERNS_MAX_BYTES {
            return limit("patterns of too many bytes".to_owned(), format!("{PATTERNS_MAX_BYTES} in all"));
        }
        let (greatest, product) = repetitions(pattern);
        if greatest > REPEATED_MAX || product > REPEATED_PRODUCT_MAX {
            let expected = format!("{REPEATED_MAX}, or {REPEATED_PRODUCT_MAX} multiplied");
            return limit("a pattern with too many repetitions".to_owned(), expected);
        }
        Ok(())
    }

    fn pattern_property(&mut self) -> Result<(), GrammarError> {
        self.pattern_properties += 1;
        if self.pattern_properties <= PATTERN_PROPERTIES_MAX {
            return Ok(());
        }
        let detail = format!("more than {PATTERN_PROPERTIES_MAX} `patternProperties` in a schema");
        Err(GrammarError::Limit(detail))
    }
}

/// The greatest counted repetition of a pattern, and all of them multiplied.
///
/// It errs on the side of counting: a `{` that the pattern means literally counts too.
fn repetitions(pattern: &str) -> (u64, u64) {
    let bounds = pattern.split('{').skip(1).filter_map(|after| after.split_once('}'));
    let counts = bounds.filter_map(|(bounds, _)| {
        let numbers = bounds.split(',').map(str::trim).filter(|number| !number.is_empty());
        let is_count = |number: &str| number.bytes().all(|digit| digit.is_ascii_digit());
        let numbers: Vec<&str> = numbers.collect();
        if numbers.is_empty() || !numbers.iter().all(|number| is_count(number)) {
            return None;
        }
        numbers.iter().map(|number| number.parse().unwrap_or(u64::MAX)).max()
    });
    counts.fold((0, 1), |(greatest, product), count| {
        (greatest.max(count), product.saturating_mul(count.max(1)))
    })
}

/// A name as the path to a place has it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A text of a client's as messages show it.
fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

fn refused(place: &str, detail: &str) -> GrammarError {
    GrammarError::refused(format!("`{}`: {detail}", shown(place)))
}

fn wrong(place: &str, name: &str, found: &Value, expected: &str) -> GrammarError {
    refused(place, &format!("`{}` is {}, expected {expected}", shown(name), shown(&found.to_string())))
}

#[cfg(test)]
pub(super) mod tests;
