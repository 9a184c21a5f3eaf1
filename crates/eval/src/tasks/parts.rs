//! A document as the parts of a request, each checked: what is not there or of another type is named with its place.

use super::documents::{Json, Place};
use super::error::{TaskError, shown};
use super::text;

/// Documents of at most so many parts: choices, or contexts.
const CHOICES_MAX: usize = 1000;

/// A document as the parts of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Parts {
    MultipleChoice { context: String, choices: Vec<String>, gold: usize },
    MultipleContext { contexts: Vec<String>, continuation: String, gold: usize },
    Continuation { context: String, target: String },
    Rolling { text: String, words: u64, bytes: u64 },
    Generate { context: String, target: String },
}

pub(super) fn continuation(context: String, target: String) -> (Parts, Json) {
    let shown = Json::String(target.clone());
    (Parts::Continuation { context, target }, shown)
}

/// A text, whose likelihood is divided by its words and bytes: so it has some.
pub(super) fn rolling(text: String, counted: &str, place: &Place) -> Result<(Parts, Json), TaskError> {
    for (field, value) in [("text", text.as_str()), ("counted", counted)] {
        if value.is_empty() {
            return Err(place.field(field, "an empty string".to_owned(), "a text of at least one byte"));
        }
    }
    let shown = Json::String(text.clone());
    Ok((Parts::Rolling { text, words: text::words(counted), bytes: counted.len() as u64 }, shown))
}

pub(super) fn string(value: Json, field: &str, place: &Place) -> Result<String, TaskError> {
    match value {
        Json::String(text) => Ok(text),
        other => Err(place.field(field, other.kind().to_owned(), "a string")),
    }
}

/// A list of strings that is not empty.
pub(super) fn strings(value: Json, field: &str, place: &Place) -> Result<Vec<String>, TaskError> {
    const EXPECTED: &str = "a list of at least one string";
    let values = match value {
        Json::Array(values) if values.is_empty() => {
            return Err(place.field(field, "an empty list".to_owned(), EXPECTED));
        }
        Json::Array(values) if values.len() > CHOICES_MAX => {
            let expected = format!("a list of at most {CHOICES_MAX} strings");
            return Err(place.field(field, format!("a list of {}", values.len()), &expected));
        }
        Json::Array(values) => values,
        other => return Err(place.field(field, other.kind().to_owned(), EXPECTED)),
    };
    let strings = values.into_iter().map(|value| match value {
        Json::String(text) => Ok(text),
        other => Err(place.field(field, format!("a list with {}", other.kind()), EXPECTED)),
    });
    strings.collect()
}

/// An index of a list, or the place of a string in it.
pub(super) fn index(value: &Json, among: &[String], field: &str, place: &Place) -> Result<usize, TaskError> {
    let expected = || format!("an integer from 0 to {}", among.len() - 1);
    match value {
        Json::Number(number) => {
            let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
            let index = index.filter(|index| *index < among.len());
            index.ok_or_else(|| place.field(field, number.to_string(), &expected()))
        }
        Json::String(text) => {
            let index = among.iter().position(|choice| choice == text);
            index.ok_or_else(|| place.field(field, format!("`{}`", shown(text)), "one of the choices"))
        }
        other => Err(place.field(field, other.kind().to_owned(), &expected())),
    }
}

pub(super) fn same_elements(one: &[String], two: &[String]) -> bool {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    sorted(one) == sorted(two)
}

pub(super) fn place_of(list: &[String], wanted: &str) -> usize {
    list.iter().position(|element| element == wanted).expect("lists of the same elements")
}
