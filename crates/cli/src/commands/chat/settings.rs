//! How answers are made, and what `/set` changes of it.

use std::fmt::{self, Display};

use tercet::generate::{SamplingParams, Speculative};

use crate::sampling_flags;

/// How answers are made.
pub(super) struct Settings {
    sampling: SamplingParams,
    max_tokens: Option<usize>,
    speculative: Speculative,
    /// Answers since the seed was set: each has a seed of its own, one more than the last.
    answers: u64,
}

impl Settings {
    pub(super) fn new(sampling: SamplingParams, max_tokens: Option<usize>, speculative: Speculative) -> Self {
        Settings { sampling, max_tokens, speculative, answers: 0 }
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens.unwrap_or(usize::MAX)
    }

    pub(super) fn speculative(&self) -> Speculative {
        self.speculative
    }

    /// How the tokens of the next answer are chosen.
    pub(super) fn next_sampling(&mut self) -> SamplingParams {
        self.answers += 1;
        self.last_sampling()
    }

    /// How those of the last answer were.
    pub(super) fn last_sampling(&self) -> SamplingParams {
        let seed = self.sampling.seed.wrapping_add(self.answers.saturating_sub(1));
        SamplingParams { seed, ..self.sampling }
    }

    /// Changes one, if the key is known and the value in its range.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let mut sampling = self.sampling;
        match key.replace('-', "_").as_str() {
            "temp" | "temperature" => sampling.temperature = number(key, value)?,
            "top_k" => {
                let top_k = sampling_flags::top_k(value);
                sampling.top_k =
                    top_k.map_err(|expected| format!("`{key}` is `{value}`, {expected}"))? as usize;
            }
            "top_p" => sampling.top_p = number(key, value)?,
            "min_p" => sampling.min_p = number(key, value)?,
            "repeat_penalty" | "repetition_penalty" => sampling.repetition_penalty = number(key, value)?,
            "frequency_penalty" => sampling.frequency_penalty = number(key, value)?,
            "presence_penalty" => sampling.presence_penalty = number(key, value)?,
            "seed" => {
                let seed = sampling_flags::seed(value);
                sampling.seed =
                    seed.map_err(|expected| format!("`{key}` is `{value}`, {expected}"))?.number();
                self.answers = 0;
            }
            "n_predict" | "max_tokens" | "num_predict" => {
                self.max_tokens = match value {
                    "-1" => None,
                    value => Some(count(key, value)?),
                }
            }
            "num_ctx" | "ctx_size" => {
                return Err(format!("`{key}` is set at the start: `tercet chat -c {value}`"));
            }
            _ => return Err(format!("found no key `{key}`; `/show` lists them")),
        }
        sampling.check().map_err(|error| error.to_string())?;
        self.sampling = sampling;
        Ok(())
    }
}

fn number(key: &str, value: &str) -> Result<f32, String> {
    value.parse().map_err(|_| format!("`{key}` is `{value}`, expected a number"))
}

fn count(key: &str, value: &str) -> Result<usize, String> {
    let count = value.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("`{key}` is `{value}`, expected a whole number from 1"))
}

impl Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            seed,
        } = self.sampling;
        writeln!(f, "temp              {temperature}")?;
        writeln!(f, "top_k             {top_k}")?;
        writeln!(f, "top_p             {top_p}")?;
        writeln!(f, "min_p             {min_p}")?;
        writeln!(f, "repeat_penalty    {repetition_penalty}")?;
        writeln!(f, "frequency_penalty {frequency_penalty}")?;
        writeln!(f, "presence_penalty  {presence_penalty}")?;
        writeln!(f, "seed              {seed}")?;
        match self.max_tokens {
            Some(count) => write!(f, "n_predict         {count}"),
            None => write!(f, "n_predict         -1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_changed_within_their_ranges() {
        let mut settings = Settings::new(SamplingParams::greedy(), None, Speculative::Off);
        settings.set("temp", "0.5").unwrap();
        settings.set("top-k", "7").unwrap();
        settings.set("max_tokens", "9").unwrap();
        settings.set("seed", "40").unwrap();
        assert_eq!(settings.next_sampling().seed, 40);
        let sampling = settings.next_sampling();
        assert_eq!((sampling.temperature, sampling.top_k, sampling.seed), (0.5, 7, 41));
        assert_eq!(settings.max_tokens(), 9);
        settings.set("top_k", "-1").unwrap();
        assert_eq!(settings.last_sampling().top_k, 0, "all of them");
        settings.set("n_predict", "-1").unwrap();
        assert_eq!(settings.max_tokens(), usize::MAX);
        for (key, value) in [
            ("temp", "warm"),
            ("temp", "-1"),
            ("top_p", "2"),
            ("colour", "1"),
            ("num_ctx", "64"),
            ("top_k", "-2"),
            ("n_predict", "0"),
        ] {
            assert!(settings.set(key, value).is_err(), "{key} {value}");
        }
        settings.set("seed", "-1").unwrap();
        assert_eq!(settings.next_sampling().seed >> 32, 0, "a random one is short");
        assert!(settings.set("seed", "-2").unwrap_err().contains("expected a whole number, or -1"));
        assert_eq!(settings.last_sampling().temperature, 0.5, "what is refused changes nothing");
        assert!(settings.to_string().contains("temp              0.5\n"), "{settings}");
    }
}
