//! JSON whose fields keep their order.
//!
//! What a document is known by is a digest of its text, and so of the order of its fields. It knows
//! no shapes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;
use sha2::{Digest, Sha256};
use tercet::digest::hex;

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are JSON's")]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    /// Fields in the order of the file; no name twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// A field of an object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.fields().iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// The fields of an object; none of anything else.
    pub fn fields(&self) -> &[(String, Json)] {
        match self {
            Self::Object(fields) => fields,
            _ => &[],
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// SHA-256 of the value as Python's `json.dumps(value, indent=2, ensure_ascii=False)` writes it.
    pub fn digest(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("strings for names, and finite numbers");
        hex(&Sha256::digest(text.as_bytes()))
    }

    /// Whether both hold the same, in whatever order their fields stand.
    pub(in crate::tasks) fn equals(&self, other: &Json) -> bool {
        match (self, other) {
            (Self::Object(one), Self::Object(two)) => {
                one.len() == two.len()
                    && one
                        .iter()
                        .all(|(name, value)| other.get(name).is_some_and(|found| value.equals(found)))
            }
            (Self::Array(one), Self::Array(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.equals(two))
            }
            _ => self == other,
        }
    }

    /// Sets a field: where it stands, or after the others.
    pub(in crate::tasks) fn set(&mut self, name: &str, value: Json) {
        let Self::Object(fields) = self else { return };
        match fields.iter_mut().find(|(field, _)| field == name) {
            Some((_, old)) => *old = value,
            None => fields.push((name.to_owned(), value)),
        }
    }

    /// What it is, in the words of a message.
    pub(in crate::tasks) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(number) if number.is_f64() => "a number with a fraction",
            Self::Number(_) => "an integer",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        Json::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        /// Names an object may have; one is looked for among those before it.
        const FIELDS_MAX: usize = 1000;

        let mut object = Json::Object(Vec::new());
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            object.set(&name, value);
            if object.fields().len() > FIELDS_MAX {
                return Err(serde::de::Error::custom(format!("an object has more than {FIELDS_MAX} fields")));
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_the_last_of_a_name_counts() {
        let json: Json =
            serde_json::from_str(r#"{"b": [1, -2.5, null], "a": {"z": "é\u0001", "y": true}, "b": 7}"#)
                .expect("valid");
        let text = serde_json::to_string(&json).expect("writes");
        assert_eq!(text, r#"{"b":7,"a":{"z":"é\u0001","y":true}}"#);
    }

    #[test]
    fn the_digest_is_that_of_pythons_text() {
        let json: Json = serde_json::from_str(
            r#"{"id": "q", "choices": {"text": ["é", "\t\"x\u007f"], "n": []}, "gold": 1}"#,
        )
        .expect("valid");
        assert_eq!(json.digest(), "bf3cf4ff26d64f4554478392594dbe909b267e4261445f0a4b130879533b2448");
    }

    #[test]
    fn order_of_fields_does_not_matter_to_equality() {
        let read = |text| serde_json::from_str::<Json>(text).expect("valid");
        assert!(read(r#"{"a": [1], "b": 2}"#).equals(&read(r#"{"b": 2, "a": [1]}"#)));
        assert!(!read(r#"{"a": [1], "b": 2}"#).equals(&read(r#"{"b": 2, "a": [1, 1]}"#)));
        assert!(!read(r#"{"a": 1}"#).equals(&read(r#"{"a": 1, "b": 2}"#)));
    }
}
