//! A configuration as TOML, and where two of them differ.
//!
//! It knows which keys decide numbers, and not what any of them means.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::keys::shown;
use super::{ConfigError, OnSpike, TrainConfig};

/// A key that decides where a run goes back to, if it does.
const SAVE_EVERY: &str = "watch.save_every";
/// Keys that change no number: where things lie, when one looks, and what is computed twice.
const WITHOUT_EFFECT: &[&str] = &[
    "run.output",
    "run.name",
    "data.cache",
    "train.recompute",
    "watch.log_every",
    "watch.validate_every",
    "watch.sample_every",
    "watch.sample_prompt",
    "watch.sample_tokens",
    SAVE_EVERY,
    "watch.keep",
];

impl TrainConfig {
    /// The configuration as TOML; reading it back gives the same struct.
    ///
    /// # Errors
    /// [`ConfigError::NotToml`] if a path is not UTF-8, or the seed exceeds 2⁶³ - 1.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::NotToml { detail: error.to_string() })
    }

    /// What differs from the configuration that a run began with, one line a key, among the keys that decide what a
    /// run computes.
    ///
    /// These are all that are set but output, name and cache, the intervals of log, validation, samples and
    /// checkpoints, and whether activations are recomputed. Where both runs go back at a spike, they go back to a
    /// scheduled checkpoint, and when those are saved counts too. How many are kept does not: the last one always is.
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub fn differences(&self, began_with: &Self) -> Result<Vec<String>, ConfigError> {
        // If one of them does not, that is a difference already.
        let go_back = [self, began_with].iter().all(|config| config.train.on_spike == OnSpike::Skip);
        let (found, began_with) = (self.deciding(go_back)?, began_with.deciding(go_back)?);
        let mut keys: Vec<&String> = found.keys().chain(began_with.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), shown);
        let differ = keys.into_iter().filter(|key| found.get(*key) != began_with.get(*key));
        let line = |key: &String| {
            let (found, before) = (shown(found.get(key)), shown(began_with.get(key)));
            format!("{key}: found {found}, the run began with {before}")
        };
        Ok(differ.map(line).collect())
    }

    /// The values that decide numbers, by dotted key, in a run that goes back at a spike or does not.
    fn deciding(&self, goes_back: bool) -> Result<BTreeMap<String, Value>, ConfigError> {
        // By way of text, so that an f32 is the number that a person would write.
        let parsed = self.to_toml()?.parse::<Table>();
        let table = parsed.map_err(|error| ConfigError::NotToml { detail: error.to_string() })?;
        let mut values = BTreeMap::new();
        flatten("", table, &mut values);
        values.retain(|key, _| !WITHOUT_EFFECT.contains(&key.as_str()) || (goes_back && key == SAVE_EVERY));
        Ok(values)
    }
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let path = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => {
                // An empty section counts too: `[data.chat]` alone makes another run.
                into.insert(path.clone(), Value::Boolean(true));
                flatten(&format!("{path}."), inner, into);
            }
            value => {
                into.insert(path, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{every_key, small};
    use super::super::keys::{KEYS, SECTIONS};
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn the_keys_are_those_of_the_structs() {
        let mut values = BTreeMap::new();
        flatten("", toml::to_string(&every_key()).unwrap().parse().unwrap(), &mut values);
        let mut known: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
        known.extend(SECTIONS.iter().map(|(section, _)| *section));
        known.sort_unstable();
        assert_eq!(values.keys().map(String::as_str).collect::<Vec<_>>(), known);
        for key in KEYS {
            assert!(key.kind.takes(&values[key.path]), "{}", key.path);
        }
        assert!(WITHOUT_EFFECT.iter().all(|key| known.contains(key)));
    }

    #[test]
    fn every_choice_is_one_of_the_enum() {
        for key in KEYS {
            let super::super::keys::Kind::Choice(names) = key.kind else { continue };
            for name in names {
                let mut values: Table = toml::to_string(&every_key()).unwrap().parse().unwrap();
                let (sections, leaf) = key.path.rsplit_once('.').unwrap();
                let section = sections
                    .split('.')
                    .fold(&mut values, |table, name| table.get_mut(name).unwrap().as_table_mut().unwrap());
                section.insert(leaf.to_owned(), Value::String((*name).to_owned()));
                values.try_into::<TrainConfig>().unwrap();
            }
        }
    }

    #[test]
    fn what_changes_no_number_is_no_difference() {
        let config = small();
        let mut other = config.clone();
        other.run.output = "elsewhere".into();
        other.watch.keep = 9;
        other.watch.save_every = 1;
        other.data.cache = Some("cache".into());
        assert_eq!(other.differences(&config).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn when_it_saves_decides_where_a_run_goes_back_to() {
        let mut config = small();
        config.train.on_spike = OnSpike::Skip;
        let mut other = config.clone();
        other.watch.keep = 9;
        other.watch.save_every = 1;
        let want = "watch.save_every: found 1, the run began with 200";
        assert_eq!(other.differences(&config).unwrap(), [want]);
        other.train.on_spike = OnSpike::Report;
        let want = ["train.on_spike: found \"report\", the run began with \"skip\""];
        assert_eq!(other.differences(&config).unwrap(), want);
    }

    #[test]
    fn every_difference_is_named_with_both_values() {
        let config = small();
        let mut other = config.clone();
        other.train.micro_batch = 8;
        other.schedule.learning_rate = Some(0.1);
        let want = [
            "schedule.learning_rate: found 0.1, the run began with nothing",
            "train.micro_batch: found 8, the run began with 4",
        ];
        assert_eq!(other.differences(&config).unwrap(), want);
    }

    #[test]
    fn every_key_reads_back() {
        let config = every_key();
        let back: TrainConfig = toml::from_str(&config.to_toml().unwrap()).unwrap();
        assert_eq!(back, config);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            seed in 0..=i64::MAX as u64,
            rate in 1e-8f32..1.0,
            beta in 0f32..1.0,
            eps in 1e-30f32..1e-3,
            epochs in 0.001f64..1e6,
            text in "\\PC{0,20}",
            micro_batch in 1usize..1000,
        ) {
            let mut config = small();
            config.run.seed = seed;
            config.run.name = Some(text.clone());
            config.data.train = vec![format!("a{text}"), "b".to_owned()];
            config.data.document_separator = Some(format!("x{text}"));
            config.schedule.learning_rate = Some(rate);
            config.optimizer.betas = [beta, beta];
            config.optimizer.eps = eps;
            config.train.steps = None;
            config.train.epochs = Some(epochs);
            config.train.micro_batch = micro_batch;
            let back = TrainConfig::parse("c.toml", &config.to_toml().unwrap()).unwrap();
            prop_assert_eq!(back, config);
        }
    }
}
