//! The shape of the model that a configuration asks for.
//!
//! Presets, sizes and norms become a `tercet::config::Config` that reads back from the
//! `config.json` it is written to. It knows no weights and reads no files.
//!
//! ```text
//! norms              ternary            dense
//! in-linear          NormInLinear       -
//! pre                TernaryLlama       DenseLlama
//! pre-and-in-linear  NormInLinear       -
//! sub                Bitnet             -
//! 1bitllm            OneBitLlm          -
//! ```
//!
//! No published family has dense linears with other norms, so no reader would know such a model
//! again.

use tercet::config::{Config, Family, Linears, Norms, SubNorms};
use tercet::presets::{PRESETS, Preset, Style};

use super::keys::nearest_name;
use super::{Activation, ConfigError, DataConfig, LinearKind, ModelConfig, NormPlacement};

/// The vocabulary is rounded up to a multiple of this: a tile of the kernels is 16 rows.
const VOCAB_MULTIPLE: usize = 16;

/// How messages call a configuration that was not read from a file.
pub(super) const NO_FILE: &str = "configuration";

impl ModelConfig {
    /// Ternary, or dense.
    pub fn linear_kind(&self) -> LinearKind {
        self.linears.unwrap_or(LinearKind::Ternary)
    }

    /// Where norms sit: as said, as the preset has them, or as the Training Tips do; before
    /// attention and MLP in a dense model.
    pub fn norm_placement(&self) -> NormPlacement {
        let style = self.preset.as_deref().and_then(Preset::by_name).map(|preset| preset.style);
        let of_style = match (self.linear_kind(), style) {
            (LinearKind::Dense, _) | (_, Some(Style::PreNorms)) => NormPlacement::Pre,
            (_, Some(Style::SubNorms(_))) => NormPlacement::Sub,
            (_, None) => NormPlacement::InLinear,
        };
        self.norms.unwrap_or(of_style)
    }

    /// The configuration of a model to train from scratch.
    ///
    /// Fields win over the preset. Without a preset: SiLU, a tied head, `rope_theta` 10 000,
    /// `rms_norm_eps` 1e-5, as the presets of the paper have them. `vocab_size` is the given one,
    /// or `tokenizer_vocab` rounded up to a multiple of 16; `max_position_embeddings` that of the
    /// preset, or the sequence length. The norms inside linears have the epsilon of the others.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that makes no model, or that `config.json` cannot
    /// say; also if `from` is given, whose folder has a configuration of its own.
    pub fn resolve(
        &self,
        data: &DataConfig,
        tokenizer_vocab: usize,
        bos: Option<u32>,
        eos: Vec<u32>,
    ) -> Result<Config, ConfigError> {
        if let Some(from) = &self.from {
            let reason = "only a model from scratch is made of sizes";
            return Err(conflict("model.from", format!("`{}`", from.display()), reason));
        }
        let preset = self.preset()?;
        self.check_norms()?;
        let hidden_size = size(self.hidden_size, preset.map(|p| p.hidden_size), "model.hidden_size")?;
        let num_attention_heads = size(
            self.num_attention_heads,
            preset.map(|p| p.num_attention_heads),
            "model.num_attention_heads",
        )?;
        let vocab_size = match self.vocab_size {
            Some(given) if given < tokenizer_vocab => {
                let expected = format!("at least the {tokenizer_vocab} tokens of the tokenizer");
                return Err(value("model.vocab_size", given, &expected));
            }
            Some(given) => given,
            None => tokenizer_vocab.max(1).checked_next_multiple_of(VOCAB_MULTIPLE).unwrap_or(usize::MAX),
        };
        let rms_norm_eps = self.rms_norm_eps.or(preset.map(|p| p.rms_norm_eps)).unwrap_or(1e-5);
        let (norms, family) = norms(self.norm_placement(), self.linear_kind(), rms_norm_eps);
        let config = Config {
            hidden_size,
            intermediate_size: size(
                self.intermediate_size,
                preset.map(|p| p.intermediate_size),
                "model.intermediate_size",
            )?,
            num_hidden_layers: size(
                self.num_hidden_layers,
                preset.map(|p| p.num_hidden_layers),
                "model.num_hidden_layers",
            )?,
            num_attention_heads,
            num_key_value_heads: self.key_value_heads(preset, num_attention_heads),
            head_dim: self.head_dim.unwrap_or(hidden_size / num_attention_heads),
            vocab_size,
            max_position_embeddings: self.positions(preset, data.sequence_length),
            rms_norm_eps,
            rope_theta: self.rope_theta.or(preset.map(|p| p.rope_theta)).unwrap_or(10_000.0),
            tie_word_embeddings: self
                .tie_word_embeddings
                .or(preset.map(|p| p.tie_word_embeddings))
                .unwrap_or(true),
            hidden_act: self.activation(preset),
            norms,
            linears: match self.linear_kind() {
                LinearKind::Ternary => Linears::Masters,
                LinearKind::Dense => Linears::Dense,
            },
            family,
            family_evidence: "the training configuration says so".to_owned(),
            bos_token_id: bos,
            eos_token_ids: eos,
        };
        self.check_shape(&config)?;
        if data.sequence_length > config.max_position_embeddings {
            let expected =
                format!("at most `model.max_position_embeddings`, {}", config.max_position_embeddings);
            return Err(value("data.sequence_length", data.sequence_length, &expected));
        }
        let tokens = config.bos_token_id.iter().chain(&config.eos_token_ids);
        if let Some(token) = tokens.copied().find(|token| *token as usize >= vocab_size) {
            let expected = format!("more than {token}, a token that begins or ends a text");
            return Err(value("model.vocab_size", vocab_size, &expected));
        }
        Ok(config)
    }

    /// The preset, if one is named.
    pub(super) fn preset(&self) -> Result<Option<&'static Preset>, ConfigError> {
        let Some(name) = &self.preset else { return Ok(None) };
        let names = || PRESETS.iter().map(|preset| preset.name);
        Preset::by_name(name).map(Some).ok_or_else(|| {
            let near = nearest_name(name, names());
            let near = near.map_or_else(String::new, |near| format!("; the nearest is `{near}`"));
            let names: Vec<String> = names().map(|name| format!("`{name}`")).collect();
            value("model.preset", format!("`{name}`"), &format!("one of {}{near}", names.join(", ")))
        })
    }

    /// Checks that the norms can be written where linears are dense.
    pub(super) fn check_norms(&self) -> Result<(), ConfigError> {
        match (self.linear_kind(), self.norms) {
            (LinearKind::Ternary, _) | (LinearKind::Dense, None | Some(NormPlacement::Pre)) => Ok(()),
            (LinearKind::Dense, Some(_)) => {
                let expected = "`pre` where `model.linears` is `dense`: no published family has dense linears \
                                with other norms, so `config.json` could not say so";
                Err(value("model.norms", "another placement", expected))
            }
        }
    }

    /// Checks that sizes fit one another and what readers of models believe.
    pub(super) fn check_shape(&self, config: &Config) -> Result<(), ConfigError> {
        // What `tercet::config` reads at most.
        let sizes = [
            ("model.hidden_size", config.hidden_size, 1 << 20),
            ("model.intermediate_size", config.intermediate_size, 1 << 22),
            ("model.num_hidden_layers", config.num_hidden_layers, 1 << 12),
            ("model.num_attention_heads", config.num_attention_heads, 1 << 14),
            ("model.num_key_value_heads", config.num_key_value_heads, 1 << 14),
            ("model.head_dim", config.head_dim, 1 << 14),
            ("model.vocab_size", config.vocab_size, 1 << 24),
            ("model.max_position_embeddings", config.max_position_embeddings, 1 << 27),
        ];
        for (key, found, max) in sizes {
            if !(1..=max).contains(&found) {
                return Err(value(key, found, &format!("a whole number from 1 to {max}")));
            }
        }
        let heads = config.num_attention_heads;
        if !heads.is_multiple_of(config.num_key_value_heads) {
            let expected = format!("a divisor of `model.num_attention_heads`, {heads}");
            return Err(value("model.num_key_value_heads", config.num_key_value_heads, &expected));
        }
        if self.head_dim.is_none() && !config.hidden_size.is_multiple_of(heads) {
            let expected = format!(
                "a multiple of `model.num_attention_heads`, {heads}, where `model.head_dim` is not given"
            );
            return Err(value("model.hidden_size", config.hidden_size, &expected));
        }
        if !config.head_dim.is_multiple_of(2) {
            let expected = "an even number, since rotary embedding turns pairs";
            return Err(value("model.head_dim", config.head_dim, expected));
        }
        if !(0.0..=1.0).contains(&config.rms_norm_eps) {
            return Err(value("model.rms_norm_eps", config.rms_norm_eps, "a number from 0 to 1"));
        }
        if !(config.rope_theta > 0.0 && config.rope_theta <= 1e12) {
            return Err(value("model.rope_theta", config.rope_theta, "a positive number up to 1e12"));
        }
        Ok(())
    }

    /// The given heads; as many as the preset has, whose groups stay those of its attention heads.
    fn key_value_heads(&self, preset: Option<&Preset>, num_attention_heads: usize) -> usize {
        let of_preset = match preset {
            Some(preset) if preset.num_key_value_heads != preset.num_attention_heads => {
                preset.num_key_value_heads
            }
            _ => num_attention_heads,
        };
        self.num_key_value_heads.unwrap_or(of_preset)
    }

    /// The positions of the model.
    fn positions(&self, preset: Option<&Preset>, sequence_length: usize) -> usize {
        let of_preset = preset.map(|preset| preset.max_position_embeddings);
        self.max_position_embeddings.or(of_preset).unwrap_or(sequence_length)
    }

    fn activation(&self, preset: Option<&Preset>) -> Activation {
        let of_preset = match preset.map(|preset| preset.style) {
            Some(Style::SubNorms(activation)) => activation,
            _ => Activation::Silu,
        };
        self.hidden_act.unwrap_or(of_preset)
    }
}

fn norms(placement: NormPlacement, linears: LinearKind, eps: f32) -> (Norms, Family) {
    let norms = |pre, sub, in_linear_eps| Norms { pre, sub, in_linear_eps };
    match (placement, linears) {
        (NormPlacement::Pre, LinearKind::Dense) => (norms(true, None, None), Family::DenseLlama),
        (NormPlacement::Pre, LinearKind::Ternary) => (norms(true, None, None), Family::TernaryLlama),
        (NormPlacement::InLinear, _) => (norms(false, None, Some(eps)), Family::NormInLinear),
        (NormPlacement::PreAndInLinear, _) => (norms(true, None, Some(eps)), Family::NormInLinear),
        (NormPlacement::Sub, _) => (norms(true, Some(SubNorms::Bitnet), None), Family::Bitnet),
        (NormPlacement::OneBitLlm, _) => (norms(true, Some(SubNorms::OneBitLlm), None), Family::OneBitLlm),
    }
}

/// A size that is given or the preset's.
fn size(given: Option<usize>, preset: Option<usize>, key: &str) -> Result<usize, ConfigError> {
    match given.or(preset) {
        Some(0) => Err(value(key, 0, "a whole number from 1")),
        Some(size) => Ok(size),
        None => Err(ConfigError::Missing {
            place: NO_FILE.to_owned(),
            key: key.to_owned(),
            expected: "a whole number from 1, or a `model.preset`".to_owned(),
        }),
    }
}

/// The error of a value out of range.
pub(super) fn value(key: &str, found: impl ToString, expected: &str) -> ConfigError {
    let (key, found) = (key.to_owned(), found.to_string());
    ConfigError::Value { place: NO_FILE.to_owned(), key, found, expected: expected.to_owned() }
}

/// The error of a value that another excludes.
pub(super) fn conflict(key: &str, found: impl ToString, reason: &str) -> ConfigError {
    let (key, found) = (key.to_owned(), found.to_string());
    ConfigError::Conflict { place: NO_FILE.to_owned(), key, found, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tercet::checkpoint::{Checkpoint, SINGLE_FILE};
    use tercet::config::{CONFIG_FILE, expected_tensors};
    use tercet::source::{MemoryFolder, Source};

    use super::super::check::tests::small;
    use super::*;

    fn resolve(model: &ModelConfig) -> Result<Config, ConfigError> {
        model.resolve(&small().data, 250, Some(0), vec![0])
    }

    /// A folder with the file of a configuration and zeros for weights, read back.
    fn read_back(config: &Config) -> Config {
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for tensor in expected_tensors(config) {
            let begin = end;
            end += 4 * tensor.shape.iter().product::<usize>();
            let entry =
                serde_json::json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, end]});
            header.insert(tensor.name, entry);
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + end, 0);
        let files = BTreeMap::from([
            (SINGLE_FILE.to_owned(), bytes.into()),
            (CONFIG_FILE.to_owned(), config.to_json().to_string().into_bytes().into()),
        ]);
        let source = Source::Memory(MemoryFolder { name: "m".to_owned(), files });
        let checkpoint = Checkpoint::open(&source).unwrap();
        Config {
            family_evidence: config.family_evidence.clone(),
            ..Config::read(&source, &checkpoint).unwrap()
        }
    }

    #[test]
    fn every_model_reads_back_from_its_config_json() {
        let placements = [
            NormPlacement::InLinear,
            NormPlacement::Pre,
            NormPlacement::PreAndInLinear,
            NormPlacement::Sub,
            NormPlacement::OneBitLlm,
        ];
        for norms in placements {
            for (linears, tied, act) in [
                (LinearKind::Ternary, true, Activation::Silu),
                (LinearKind::Ternary, false, Activation::Relu2),
                (LinearKind::Dense, true, Activation::Relu2),
                (LinearKind::Dense, false, Activation::Silu),
            ] {
                let model = ModelConfig {
                    norms: Some(norms),
                    linears: Some(linears),
                    tie_word_embeddings: Some(tied),
                    hidden_act: Some(act),
                    ..small().model
                };
                let resolved = resolve(&model);
                if linears == LinearKind::Dense && norms != NormPlacement::Pre {
                    let message = resolved.unwrap_err().to_string();
                    assert!(message.contains("no published family"), "{message}");
                    continue;
                }
                let config = resolved.unwrap();
                assert_eq!(read_back(&config), config, "{norms:?} {linears:?}");
            }
        }
    }

    #[test]
    fn the_dense_baseline_of_a_preset_is_one_line() {
        let model = ModelConfig {
            preset: Some("S".to_owned()),
            linears: Some(LinearKind::Dense),
            ..ModelConfig::default()
        };
        let config = resolve(&model).unwrap();
        assert_eq!((config.family, config.linears), (Family::DenseLlama, Linears::Dense));
        assert_eq!((config.hidden_size, config.max_position_embeddings), (256, 256));
    }

    #[test]
    fn fields_win_over_the_preset() {
        let model = ModelConfig {
            preset: Some("2b4t".to_owned()),
            num_hidden_layers: Some(2),
            max_position_embeddings: Some(64),
            ..ModelConfig::default()
        };
        let config = resolve(&model).unwrap();
        assert_eq!((config.num_hidden_layers, config.num_key_value_heads), (2, 5));
        assert_eq!((config.vocab_size, config.max_position_embeddings), (256, 64));
        assert_eq!((config.family, config.hidden_act), (Family::Bitnet, Activation::Relu2));
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut ModelConfig), want: &str) {
        let mut model = small().model;
        change(&mut model);
        let message = resolve(&model).unwrap_err().to_string();
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
    }

    #[test]
    fn what_makes_no_model_is_named() {
        check_refused(|m| m.vocab_size = Some(249), "`model.vocab_size` is 249, expected at least the 250");
        check_refused(|m| m.hidden_size = None, "`model.hidden_size` is missing");
        check_refused(|m| m.num_attention_heads = Some(0), "`model.num_attention_heads` is 0");
        check_refused(|m| m.num_attention_heads = Some(5), "a multiple of `model.num_attention_heads`, 5");
        check_refused(|m| m.num_key_value_heads = Some(3), "a divisor of `model.num_attention_heads`, 4");
        check_refused(|m| m.head_dim = Some(7), "an even number");
        check_refused(|m| m.max_position_embeddings = Some(8), "at most `model.max_position_embeddings`, 8");
        check_refused(|m| m.preset = Some("700".to_owned()), "the nearest is `700m`");
        check_refused(|m| m.from = Some("x".into()), "`model.from` is `x`");
        check_refused(|m| m.rope_theta = Some(f64::NAN), "`model.rope_theta` is NaN");
        check_refused(|m| m.rms_norm_eps = Some(-1.0), "`model.rms_norm_eps` is -1");
    }
}
