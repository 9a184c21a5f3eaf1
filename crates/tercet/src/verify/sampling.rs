//! Comparing what the makers of two models suggest for sampling.

use super::{Check, Outcome};
use crate::config::{ConfigError, SuggestedSampling};
use crate::source::Source;

/// Compares temperature, `top_k`, `top_p`, `min_p` and the penalty for repetition, where both suggest any.
///
/// # Errors
/// [`ConfigError`] if what is suggested cannot be read.
pub fn compare(a: &Source, b: &Source) -> Result<Check, ConfigError> {
    let [a, b] = [SuggestedSampling::read(a)?, SuggestedSampling::read(b)?];
    let nothing = SuggestedSampling::default();
    // Files of other programs have no keys for it, and their numbers are those of the model all the same.
    let skipped = match (a == nothing, b == nothing) {
        (true, true) => Some("neither suggests any"),
        (true, false) => Some("the second alone suggests any"),
        (false, true) => Some("the first alone suggests any"),
        (false, false) => None,
    };
    if let Some(why) = skipped {
        return Ok(Check::skipped("sampling", why));
    }
    let number = |number: Option<f32>| number.map(|number| number.to_string());
    let count = |count: Option<usize>| count.map(|count| count.to_string());
    let fields = [
        ("temperature", [a, b].map(|one| number(one.temperature))),
        ("top_k", [a, b].map(|one| count(one.top_k))),
        ("top_p", [a, b].map(|one| number(one.top_p))),
        ("min_p", [a, b].map(|one| number(one.min_p))),
        ("repetition_penalty", [a, b].map(|one| number(one.repetition_penalty))),
    ];
    let none = || "none".to_owned();
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for (field, [own, theirs]) in fields.clone() {
        match (own == theirs, own) {
            (true, None) => {}
            (true, Some(own)) => same.push(format!("`{field}` {own}")),
            (false, own) => {
                let [own, theirs] = [own, theirs].map(|value| value.unwrap_or_else(none));
                other.push(format!("`{field}` is {own} and {theirs}"));
            }
        }
    }
    let (outcome, detail) = match other.is_empty() {
        true => (Outcome::Equal, same.join(", ")),
        false => (Outcome::Differs, other.join("; ")),
    };
    let [compared, differing] = [fields.len(), other.len()].map(|count| count as u64);
    Ok(Check { name: "sampling", outcome, compared, differing, largest_difference: 0.0, detail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GENERATION_CONFIG_FILE;
    use crate::source::MemoryFolder;

    #[test]
    fn what_is_suggested_is_compared_field_by_field() {
        let source = |text: &str| {
            let mut folder = MemoryFolder::default();
            folder.files.insert(GENERATION_CONFIG_FILE.to_owned(), text.as_bytes().into());
            Source::Memory(folder)
        };
        let check = |a: &str, b: &str| {
            let check = compare(&source(a), &source(b)).unwrap();
            (check.outcome, check.detail)
        };
        let (cold, warm) = (r#"{"temperature":0.25,"top_k":4}"#, r#"{"temperature":1.5,"top_k":4}"#);
        assert_eq!(check("{}", "{}").0, Outcome::Skipped);
        assert_eq!(check(cold, cold), (Outcome::Equal, "`temperature` 0.25, `top_k` 4".to_owned()));
        assert_eq!(check(cold, warm), (Outcome::Differs, "`temperature` is 0.25 and 1.5".to_owned()));
        let lost = "`top_k` is 4 and none";
        assert_eq!(check(cold, r#"{"temperature":0.25}"#), (Outcome::Differs, lost.to_owned()));
        assert_eq!(check(cold, "{}"), (Outcome::Skipped, "the first alone suggests any".to_owned()));
    }
}
