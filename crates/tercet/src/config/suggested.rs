//! What a model's makers suggest for sampling: a part of `generation_config.json`.
//!
//! It knows no defaults; whoever samples decides what an absent suggestion means.

use super::{ConfigError, Fields, GENERATION_CONFIG_FILE};
use crate::source::Source;

/// Sampling parameters that a model comes with; each may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SuggestedSampling {
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// Keeps so many of the likeliest tokens; 0 keeps all.
    pub top_k: Option<usize>,
    /// Keeps the likeliest tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// Drops tokens less likely than this share of the likeliest.
    pub min_p: Option<f32>,
    /// Makes tokens less likely that were seen before.
    pub repetition_penalty: Option<f32>,
}

impl SuggestedSampling {
    /// Reads the suggestions of a model; without the file there are none.
    ///
    /// # Errors
    /// [`ConfigError`] if the file is damaged or a value is out of range.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        if !source.has(GENERATION_CONFIG_FILE) {
            return Ok(Self::default());
        }
        let file = source.file_name(GENERATION_CONFIG_FILE);
        let fields = Fields::parse(file, &source.read(GENERATION_CONFIG_FILE)?)?;
        Ok(Self {
            temperature: number(&fields, "temperature", 0.0, 100.0)?,
            top_k: top_k(&fields)?,
            top_p: number(&fields, "top_p", 0.0, 1.0)?,
            min_p: number(&fields, "min_p", 0.0, 1.0)?,
            repetition_penalty: number(&fields, "repetition_penalty", 0.01, 100.0)?,
        })
    }
}

fn top_k(fields: &Fields) -> Result<Option<usize>, ConfigError> {
    const MAX: f64 = 16_777_216.0;
    let Some(value) = fields.number("top_k")? else { return Ok(None) };
    if (0.0..=MAX).contains(&value) && value.fract() == 0.0 {
        return Ok(Some(value as usize));
    }
    Err(fields.wrong("top_k", &format!("a whole number from 0 to {MAX}")))
}

fn number(fields: &Fields, field: &str, min: f32, max: f32) -> Result<Option<f32>, ConfigError> {
    let Some(value) = fields.number(field)? else { return Ok(None) };
    let value = value as f32;
    if (min..=max).contains(&value) {
        return Ok(Some(value));
    }
    Err(fields.wrong(field, &format!("a number from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MemoryFolder;

    fn read(text: &str) -> Result<SuggestedSampling, ConfigError> {
        let mut folder = MemoryFolder { name: "m".to_owned(), ..MemoryFolder::default() };
        folder.files.insert(GENERATION_CONFIG_FILE.to_owned(), text.as_bytes().into());
        SuggestedSampling::read(&Source::Memory(folder))
    }

    #[test]
    fn suggestions_are_read_and_may_be_absent() {
        let found = read(r#"{"do_sample":true,"temperature":0.6,"top_k":50,"top_p":null}"#).unwrap();
        let want = SuggestedSampling { temperature: Some(0.6), top_k: Some(50), ..Default::default() };
        assert_eq!(found, want);
        let none = SuggestedSampling::read(&Source::Memory(MemoryFolder::default())).unwrap();
        assert_eq!(none, SuggestedSampling::default());
    }

    #[test]
    fn a_value_out_of_range_is_an_error() {
        for (text, want) in [
            (r#"{"top_p":1.5}"#, "field `top_p` is 1.5, expected a number from 0 to 1"),
            (r#"{"temperature":"hot"}"#, "field `temperature`"),
            (r#"{"top_k":-1}"#, "field `top_k` is -1"),
            (r#"{"top_k":2.5}"#, "field `top_k` is 2.5, expected a whole number from 0 to 16777216"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(want), "found `{message}`, expected `{want}`");
        }
    }
}
