//! The fields of one JSON object, read by name and type.
//!
//! Every getter takes null for absent, as Python writes it, and names file and field when a value
//! is wrong. It knows no field's meaning.

use serde_json::{Map, Value};

use super::error::ConfigError;
use crate::json::{parse_object, shown};

/// One JSON object of a file.
pub(super) struct Fields {
    file: String,
    /// The path of this object in the file, with a dot at its end; empty for the file itself.
    prefix: String,
    object: Map<String, Value>,
}

impl Fields {
    /// Parses a file that holds one object.
    pub(super) fn parse(file: String, bytes: &[u8]) -> Result<Self, ConfigError> {
        match parse_object(bytes) {
            Ok(object) => Ok(Self { file, prefix: String::new(), object }),
            Err(error) => Err(ConfigError::Json { file, detail: error.to_string() }),
        }
    }

    /// How messages call the file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// The value of a field that is there and not null.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// The names of all fields that are not null.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let present = self.object.iter().filter(|(_, value)| !value.is_null());
        present.map(|(name, _)| name.as_str())
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, ConfigError> {
        self.typed(field, "a string", Value::as_str)
    }

    pub(super) fn flag(&self, field: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.typed(field, "a number", Value::as_f64)
    }

    pub(super) fn list(&self, field: &str) -> Result<Option<&[Value]>, ConfigError> {
        self.typed(field, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// A count between 1 and `max`.
    pub(super) fn count(&self, field: &str, max: usize) -> Result<Option<usize>, ConfigError> {
        self.typed(field, &format!("a whole number from 1 to {max}"), |value| {
            let count = usize::try_from(value.as_u64()?).ok()?;
            (1..=max).contains(&count).then_some(count)
        })
    }

    /// A nested object.
    pub(super) fn object(&self, field: &str) -> Result<Option<Self>, ConfigError> {
        let object = self.typed(field, "an object", Value::as_object)?;
        Ok(object.map(|object| Self {
            file: self.file.clone(),
            prefix: format!("{}{field}.", self.prefix),
            object: object.clone(),
        }))
    }

    /// The error of a field that must be there.
    pub(super) fn missing(&self, field: &str) -> ConfigError {
        ConfigError::Missing { file: self.file.clone(), field: self.path(field) }
    }

    /// The error of a field whose value is not what it must be.
    pub(super) fn wrong(&self, field: &str, expected: &str) -> ConfigError {
        ConfigError::Value {
            file: self.file.clone(),
            field: self.path(field),
            found: self.shown(field),
            expected: expected.to_owned(),
        }
    }

    /// The error of a field whose value would make another model than those supported.
    pub(super) fn unsupported(&self, field: &str, supported: &'static str) -> ConfigError {
        ConfigError::Unsupported {
            file: self.file.clone(),
            field: self.path(field),
            found: self.shown(field),
            supported,
        }
    }

    /// The full name of a field.
    pub(super) fn path(&self, field: &str) -> String {
        shown(&format!("{}{field}", self.prefix))
    }

    /// A field's value as messages show it: JSON, shortened.
    pub(super) fn shown(&self, field: &str) -> String {
        let value = self.object.get(field);
        value.map_or_else(|| "absent".to_owned(), |value| shown(&value.to_string()))
    }

    fn typed<'a, T>(
        &'a self,
        field: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match read(value) {
                None => Err(self.wrong(field, expected)),
                found => Ok(found),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let text = br#"{"a":3,"b":null,"c":{"d":"x"},"e":9223372036854775808,"f":-1}"#;
        Fields::parse("f".to_owned(), text).unwrap()
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(fields().count("b", 9).unwrap(), None);
        assert_eq!(fields().count("z", 9).unwrap(), None);
        assert_eq!(fields().names().collect::<Vec<_>>(), ["a", "c", "e", "f"]);
    }

    #[test]
    fn a_wrong_value_names_file_field_found_and_expected() {
        let message = |result: Result<Option<usize>, ConfigError>| result.unwrap_err().to_string();
        let want = "a whole number from 1 to 2";
        assert_eq!(message(fields().count("a", 2)), format!("f: field `a` is 3, expected {want}"));
        assert!(message(fields().count("e", 2)).contains("9223372036854775808"));
        assert!(message(fields().count("f", 2)).contains("`f` is -1"));
        let nested = fields().object("c").unwrap().unwrap();
        let want = r#"f: field `c.d` is "x", expected a number"#;
        assert_eq!(nested.number("d").unwrap_err().to_string(), want);
    }
}
