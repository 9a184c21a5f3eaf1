//! The arguments that say how a token is chosen.

use std::hash::{BuildHasher, Hasher, RandomState};

use clap::Args;
use tercet::config::SuggestedSampling;
use tercet::generate::{SamplingError, SamplingParams};

/// How a token is chosen; the model's `generation_config.json` may change the defaults
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Higher is more surprising, 0 takes the likeliest token [default: 0.8]
    #[arg(long, value_name = "T", visible_alias = "temperature", allow_negative_numbers = true)]
    temp: Option<f32>,
    /// Choose among so many of the likeliest tokens, 0 or -1 for all [default: 40]
    #[arg(long, value_name = "N", value_parser = top_k, allow_negative_numbers = true)]
    top_k: Option<u32>,
    /// Choose among the likeliest tokens that together have this probability [default: 0.95]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Leave out tokens less likely than this share of the likeliest [default: 0.05]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Make tokens of prompt and text less likely by this factor [default: 1, off]
    #[arg(long, value_name = "X", visible_alias = "repetition-penalty", allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,
    /// Make tokens of the text less likely, by this much each time they came [default: 0, off]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Make tokens of the text less likely, once they came [default: 0, off]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// The same seed gives the same text; -1 for a random one [default: random]
    #[arg(short, long, value_parser = seed, allow_negative_numbers = true)]
    seed: Option<Seed>,
}

#[derive(Clone, Copy)]
pub(crate) enum Seed {
    Random,
    Fixed(u64),
}

/// `top_k` as it is written; 0 for all tokens.
///
/// # Errors
/// What was expected.
pub(crate) fn top_k(text: &str) -> Result<u32, String> {
    match text {
        "-1" => Ok(0),
        text => text.parse().map_err(|_| "expected a whole number, or -1".to_owned()),
    }
}

/// A seed as it is written.
///
/// # Errors
/// What was expected.
pub(crate) fn seed(text: &str) -> Result<Seed, String> {
    match text {
        "-1" => Ok(Seed::Random),
        text => text.parse().map(Seed::Fixed).map_err(|_| "expected a whole number, or -1".to_owned()),
    }
}

impl Seed {
    /// This seed, or another one each time.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Fixed(seed) => seed,
            // Half the bits, so that people can copy it.
            Self::Random => RandomState::new().build_hasher().finish() >> 32,
        }
    }
}

impl Sampling {
    /// What was asked for, else what the model's makers suggest, else llama.cpp's defaults.
    ///
    /// # Errors
    /// [`SamplingError`] if one is out of range.
    pub(crate) fn params(&self, suggested: SuggestedSampling) -> Result<SamplingParams, SamplingError> {
        let params = SamplingParams {
            temperature: self.temp.or(suggested.temperature).unwrap_or(0.8),
            top_k: self.top_k.map(|count| count as usize).or(suggested.top_k).unwrap_or(40),
            top_p: self.top_p.or(suggested.top_p).unwrap_or(0.95),
            min_p: self.min_p.or(suggested.min_p).unwrap_or(0.05),
            repetition_penalty: self.repeat_penalty.or(suggested.repetition_penalty).unwrap_or(1.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            seed: self.seed.unwrap_or(Seed::Random).number(),
        };
        params.check()?;
        Ok(params)
    }
}
