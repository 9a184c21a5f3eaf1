//! Whether the values of a configuration make a run.
//!
//! Everything that can be known without opening a file the configuration names. Keys and types
//! are `read`'s.

use super::model::{NO_FILE, conflict, value};
use super::{
    ConfigError, DataConfig, DataFormat, LinearKind, ModelConfig, ScheduleConfig, ScheduleKind, TrainConfig,
};

/// The least vocabulary of a byte-level BPE: every byte, and a token that ends a text.
pub(crate) const VOCAB_MIN: usize = 257;

/// The largest vocabulary, given or trained. The largest published ones have 262,144.
pub(crate) const VOCAB_MAX: usize = 1 << 20;

/// The longest sequence, in tokens.
pub(crate) const SEQUENCE_LENGTH_MAX: usize = 1 << 20;

/// The shortest one: a token, and one to predict.
pub(super) const SEQUENCE_LENGTH_MIN: usize = 2;

/// Tokens of a micro-batch at most: positions in it are counted in 32 bits.
const MICRO_BATCH_TOKENS_MAX: usize = u32::MAX as usize;

/// How messages call the tokenizer that the check before a run pretends: its size is unknown yet.
const ANY_TOKENIZER: usize = 1;

impl TrainConfig {
    /// Checks everything that can be known before files are opened: ranges, and what excludes
    /// what.
    ///
    /// # Errors
    /// [`ConfigError`] with all that is wrong, in the order of the sections.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::of(self.problems(&|_| NO_FILE.to_owned()))
    }

    /// Checks what can be known only with the number of steps, where it comes from `tokens` or
    /// `epochs`.
    ///
    /// # Errors
    /// [`ConfigError`] if a warm-up is longer than the run.
    pub fn check_steps(&self, steps: u64) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.check_warmups(steps, &mut problems);
        ConfigError::of(problems)
    }

    /// Tokens of one step.
    pub fn tokens_per_step(&self) -> u64 {
        let sequences = self.train.micro_batch as u64 * self.train.accumulation as u64;
        sequences * self.data.sequence_length as u64
    }

    /// Everything that is wrong; `place` says where a key was set.
    pub(super) fn problems(&self, place: &dyn Fn(&str) -> String) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        self.check_run(&mut problems);
        self.model.check(&self.data, &mut problems);
        self.data.check(&mut problems);
        self.check_tokenizer(&mut problems);
        self.check_train(&mut problems);
        self.check_optimizer(&mut problems);
        self.schedule.check(&mut problems);
        self.check_rest(&mut problems);
        for problem in &mut problems {
            if let ConfigError::Value { place: at, key, .. }
            | ConfigError::Missing { place: at, key, .. }
            | ConfigError::Conflict { place: at, key, .. } = problem
            {
                *at = place(key);
            }
        }
        problems
    }

    fn check_run(&self, problems: &mut Vec<ConfigError>) {
        if self.run.output.as_os_str().is_empty() {
            problems.push(value("run.output", "empty", "a folder"));
        }
        if self.run.seed > i64::MAX as u64 {
            problems.push(value("run.seed", self.run.seed, "at most 2^63 - 1"));
        }
    }

    fn check_tokenizer(&self, problems: &mut Vec<ConfigError>) {
        let (path, vocab_size) = (&self.tokenizer.path, self.tokenizer.vocab_size);
        if let Some(vocab_size) = vocab_size {
            if path.is_some() {
                let reason = "`tokenizer.path` names a tokenizer that is made already";
                problems.push(conflict("tokenizer.vocab_size", vocab_size, reason));
            } else if self.model.from.is_some() {
                let reason = "the model of `model.from` has a tokenizer already";
                problems.push(conflict("tokenizer.vocab_size", vocab_size, reason));
            }
            if !(VOCAB_MIN..=VOCAB_MAX).contains(&vocab_size) {
                let expected =
                    format!("{VOCAB_MIN} (every byte, and the end of a text) to {VOCAB_MAX} tokens");
                problems.push(value("tokenizer.vocab_size", vocab_size, &expected));
            }
            if let Some(rows) = self.model.vocab_size.filter(|rows| *rows < vocab_size) {
                let expected = format!("at least `tokenizer.vocab_size`, {vocab_size}");
                problems.push(value("model.vocab_size", rows, &expected));
            }
        }
        if path.is_none() && vocab_size.is_none() && self.model.from.is_none() {
            problems.push(ConfigError::Missing {
                place: String::new(),
                key: "tokenizer".to_owned(),
                expected: "`tokenizer.path`, `tokenizer.vocab_size` or `model.from`".to_owned(),
            });
        }
    }

    fn check_train(&self, problems: &mut Vec<ConfigError>) {
        let train = &self.train;
        let lengths = [
            ("train.steps", train.steps.map(|steps| steps.to_string())),
            ("train.tokens", train.tokens.map(|tokens| tokens.to_string())),
            ("train.epochs", train.epochs.map(|epochs| epochs.to_string())),
        ];
        let mut given = lengths.into_iter().filter_map(|(key, found)| Some((key, found?)));
        match (given.next(), given.next()) {
            (None, _) => problems.push(ConfigError::Missing {
                place: String::new(),
                key: "train.steps".to_owned(),
                expected: "exactly one of `train.steps`, `train.tokens` and `train.epochs`".to_owned(),
            }),
            (Some((first, _)), Some((key, found))) => {
                let reason = format!("`{first}` is given too, and only one of them says how long a run is");
                problems.push(conflict(key, found, &reason));
            }
            (Some(_), None) => {}
        }
        if train.steps == Some(0) {
            problems.push(value("train.steps", 0, "a whole number from 1"));
        }
        if train.tokens == Some(0) {
            problems.push(value("train.tokens", 0, "a whole number from 1"));
        }
        if let Some(epochs) = train.epochs.filter(|epochs| !(epochs.is_finite() && *epochs > 0.0)) {
            problems.push(value("train.epochs", epochs, "a positive number"));
        }
        at_least_one(problems, "train.micro_batch", train.micro_batch as u64);
        at_least_one(problems, "train.accumulation", train.accumulation as u64);
        let rows = train.micro_batch.checked_mul(self.data.sequence_length);
        if rows.is_none_or(|rows| rows > MICRO_BATCH_TOKENS_MAX) {
            let expected = format!(
                "at most {} sequences of {} tokens",
                MICRO_BATCH_TOKENS_MAX / self.data.sequence_length.max(1),
                self.data.sequence_length
            );
            problems.push(value("train.micro_batch", train.micro_batch, &expected));
        }
        if train.accumulation > MICRO_BATCH_TOKENS_MAX {
            problems.push(value("train.accumulation", train.accumulation, "less than 2^32"));
        }
        in_range(problems, "train.gradient_clip", train.gradient_clip, 0.0, f32::MAX);
        if let Some(deviations) = train.spike_deviations {
            positive(problems, "train.spike_deviations", deviations);
        }
        if let Some(steps) = train.steps {
            self.check_warmups(steps, problems);
        }
    }

    fn check_warmups(&self, steps: u64, problems: &mut Vec<ConfigError>) {
        let warmups = [
            ("schedule.warmup_steps", self.schedule.warmup_steps.unwrap_or(0)),
            ("quantization.warmup_steps", self.quantization.warmup_steps),
        ];
        for (key, found) in warmups.into_iter().filter(|(_, found)| *found > steps) {
            problems.push(value(key, found, &format!("at most the {steps} steps of the run")));
        }
    }

    fn check_optimizer(&self, problems: &mut Vec<ConfigError>) {
        let optimizer = &self.optimizer;
        if let Some(beta) = optimizer.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            problems.push(value("optimizer.betas", beta, "numbers from 0 to less than 1"));
        }
        positive(problems, "optimizer.eps", optimizer.eps);
        if !(0.0..1.0).contains(&optimizer.momentum) {
            problems.push(value("optimizer.momentum", optimizer.momentum, "a number from 0 to less than 1"));
        }
        positive(problems, "optimizer.muon_scale", optimizer.muon_scale);
    }

    fn check_rest(&self, problems: &mut Vec<ConfigError>) {
        let warmup_steps = self.quantization.warmup_steps;
        if warmup_steps > 0 && self.model.linear_kind() == LinearKind::Dense {
            let reason = "`model.linears` is `dense`, which is never quantised";
            problems.push(conflict("quantization.warmup_steps", warmup_steps, reason));
        }
        if let Some(distillation) = &self.distillation {
            if distillation.teacher.as_os_str().is_empty() {
                problems.push(value("distillation.teacher", "empty", "a model folder"));
            }
            in_range(problems, "distillation.weight", distillation.weight, 0.0, 1.0);
            positive(problems, "distillation.temperature", distillation.temperature);
        }
        let watch = &self.watch;
        at_least_one(problems, "watch.log_every", watch.log_every);
        at_least_one(problems, "watch.validation_sequences", watch.validation_sequences as u64);
        if watch.sample_every > 0 {
            at_least_one(problems, "watch.sample_tokens", watch.sample_tokens as u64);
        }
        at_least_one(problems, "watch.keep", watch.keep as u64);
    }
}

impl ModelConfig {
    fn check(&self, data: &DataConfig, problems: &mut Vec<ConfigError>) {
        if let Some(range) = self.initializer_range {
            positive(problems, "model.initializer_range", range);
        }
        if let Some(from) = &self.from {
            if from.as_os_str().is_empty() {
                problems.push(value("model.from", "empty", "a model folder"));
            }
            if let Some((key, found)) = self.sizes().into_iter().find_map(|(key, found)| Some((key, found?)))
            {
                let reason =
                    "the model of `model.from` brings its own; only `norms` and `linears` may be given";
                problems.push(conflict(key, found, reason));
            }
            problems.extend(self.check_norms().err());
            return;
        }
        problems.extend(self.resolve(data, ANY_TOKENIZER, None, Vec::new()).err());
    }

    /// What a model to start from decides itself.
    fn sizes(&self) -> [(&'static str, Option<String>); 14] {
        let count = |size: Option<usize>| size.map(|size| size.to_string());
        [
            ("model.preset", self.preset.as_ref().map(|name| format!("`{name}`"))),
            ("model.hidden_size", count(self.hidden_size)),
            ("model.intermediate_size", count(self.intermediate_size)),
            ("model.num_hidden_layers", count(self.num_hidden_layers)),
            ("model.num_attention_heads", count(self.num_attention_heads)),
            ("model.num_key_value_heads", count(self.num_key_value_heads)),
            ("model.head_dim", count(self.head_dim)),
            ("model.vocab_size", count(self.vocab_size)),
            ("model.max_position_embeddings", count(self.max_position_embeddings)),
            ("model.rms_norm_eps", self.rms_norm_eps.map(|eps| eps.to_string())),
            ("model.rope_theta", self.rope_theta.map(|theta| theta.to_string())),
            ("model.tie_word_embeddings", self.tie_word_embeddings.map(|tied| tied.to_string())),
            ("model.hidden_act", self.hidden_act.map(|act| format!("`{}`", act.name()))),
            ("model.initializer_range", self.initializer_range.map(|range| range.to_string())),
        ]
    }
}

impl DataConfig {
    fn check(&self, problems: &mut Vec<ConfigError>) {
        if self.train.is_empty() {
            problems.push(value("data.train", "empty", "at least one file or glob"));
        }
        for (key, files) in [("data.train", &self.train), ("data.validation", &self.validation)] {
            if files.iter().any(String::is_empty) {
                problems.push(value(key, "a list with an empty name", "files and globs"));
            }
        }
        if !(SEQUENCE_LENGTH_MIN..=SEQUENCE_LENGTH_MAX).contains(&self.sequence_length) {
            let expected = format!("{SEQUENCE_LENGTH_MIN} to {SEQUENCE_LENGTH_MAX} tokens");
            problems.push(value("data.sequence_length", self.sequence_length, &expected));
        }
        if let Some(fraction) = self.validation_fraction {
            if !(0.0..1.0).contains(&fraction) {
                problems.push(value("data.validation_fraction", fraction, "a number from 0 to less than 1"));
            }
            if !self.validation.is_empty() {
                let reason = "`data.validation` names files for it";
                problems.push(conflict("data.validation_fraction", fraction, reason));
            }
        }
        if self.document_separator.as_deref() == Some("") {
            problems.push(value("data.document_separator", "empty", "the text of a line"));
        }
        if self.text_field.is_empty() {
            problems.push(value("data.text_field", "empty", "the name of a field"));
        }
        let Some(chat) = &self.chat else { return };
        let reason = "`data.chat` reads conversations in place of text";
        if self.text_field != super::text_field() {
            problems.push(conflict("data.text_field", format!("`{}`", self.text_field), reason));
        }
        if let Some(separator) = &self.document_separator {
            problems.push(conflict("data.document_separator", format!("{separator:?}"), reason));
        }
        if self.format == Some(DataFormat::Text) {
            problems.push(conflict("data.format", "`text`", reason));
        }
        if chat.messages_field.is_empty() {
            problems.push(value("data.chat.messages_field", "empty", "the name of a field"));
        }
    }
}

impl ScheduleConfig {
    fn check(&self, problems: &mut Vec<ConfigError>) {
        let rates = [
            ("schedule.learning_rate", self.learning_rate),
            ("schedule.second_learning_rate", self.second_learning_rate),
        ];
        for (key, rate) in rates {
            if let Some(rate) = rate {
                positive(problems, key, rate);
            }
        }
        let shares = [("schedule.turn", self.turn), ("schedule.min_share", self.min_share)];
        for (key, share) in shares {
            if let Some(share) = share {
                in_range(problems, key, share, 0.0, 1.0);
            }
        }
        let decays = [
            ("schedule.weight_decay", self.weight_decay),
            ("schedule.second_weight_decay", self.second_weight_decay),
        ];
        for (key, decay) in decays {
            if let Some(decay) = decay {
                in_range(problems, key, decay, 0.0, f32::MAX);
            }
        }
        if let Some(rate) = self.second_learning_rate.filter(|_| self.kind != ScheduleKind::TwoStage) {
            let reason = "only `two-stage` has a second one";
            problems.push(conflict("schedule.second_learning_rate", rate, reason));
        }
        let turns = matches!(self.kind, ScheduleKind::TwoStage | ScheduleKind::WarmupStableDecay);
        if let Some(turn) = self.turn.filter(|_| !turns && self.second_weight_decay.is_none()) {
            let reason = "nothing changes there in this schedule without `second_weight_decay`";
            problems.push(conflict("schedule.turn", turn, reason));
        }
        if let Some(share) = self.min_share.filter(|_| self.kind == ScheduleKind::Constant) {
            problems.push(conflict("schedule.min_share", share, "`constant` never falls"));
        }
    }
}

fn at_least_one(problems: &mut Vec<ConfigError>, key: &str, found: u64) {
    if found == 0 {
        problems.push(value(key, found, "a whole number from 1"));
    }
}

fn positive(problems: &mut Vec<ConfigError>, key: &str, found: f32) {
    if !(found.is_finite() && found > 0.0) {
        problems.push(value(key, found, "a positive number"));
    }
}

fn in_range(problems: &mut Vec<ConfigError>, key: &str, found: f32, min: f32, max: f32) {
    if !(min..=max).contains(&found) {
        let expected = if max == f32::MAX {
            format!("a number from {min}")
        } else {
            format!("a number from {min} to {max}")
        };
        problems.push(value(key, found, &expected));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{
        Activation, ChatConfig, DistillationConfig, Gradients, ModelConfig, NormPlacement, OnSpike,
        OptimizerConfig, QuantizationConfig, Reduction, RunConfig, StepConfig, TokenizerConfig, WatchConfig,
    };
    use super::*;

    const SMALL: &str = r#"
[run]
output = "out"

[model]
hidden_size = 64
intermediate_size = 172
num_hidden_layers = 2
num_attention_heads = 4

[data]
train = ["a.txt"]
sequence_length = 16

[tokenizer]
vocab_size = 300

[train]
steps = 100
micro_batch = 4
"#;

    /// A right configuration with little said.
    pub(in super::super) fn small() -> TrainConfig {
        TrainConfig::parse("small.toml", SMALL).unwrap()
    }

    /// A configuration that says everything; no run could have all of it.
    pub(in super::super) fn every_key() -> TrainConfig {
        let text = || "x".to_owned();
        TrainConfig {
            run: RunConfig { output: "out".into(), seed: 7, name: Some(text()) },
            model: ModelConfig {
                preset: Some(text()),
                from: Some("from".into()),
                hidden_size: Some(1),
                intermediate_size: Some(2),
                num_hidden_layers: Some(3),
                num_attention_heads: Some(4),
                num_key_value_heads: Some(5),
                head_dim: Some(6),
                vocab_size: Some(7),
                max_position_embeddings: Some(8),
                rms_norm_eps: Some(1e-6),
                rope_theta: Some(1e4),
                tie_word_embeddings: Some(true),
                hidden_act: Some(Activation::Relu2),
                norms: Some(NormPlacement::OneBitLlm),
                linears: Some(LinearKind::Dense),
                initializer_range: Some(0.02),
            },
            data: DataConfig {
                train: vec![text()],
                validation: vec![text()],
                validation_fraction: Some(0.1),
                text_field: text(),
                document_separator: Some(text()),
                sequence_length: 8,
                respect_boundaries: true,
                format: Some(DataFormat::Jsonl),
                chat: Some(ChatConfig {
                    messages_field: text(),
                    template: Some("t".into()),
                    reduction: Reduction::Sum,
                }),
                cache: Some("cache".into()),
            },
            tokenizer: TokenizerConfig { path: Some("t".into()), vocab_size: Some(300) },
            train: StepConfig {
                steps: Some(1),
                tokens: Some(2),
                epochs: Some(0.5),
                micro_batch: 1,
                accumulation: 2,
                gradient_clip: 1.5,
                recompute: true,
                gradients: Gradients::F32,
                spike_deviations: Some(6.0),
                on_spike: OnSpike::Skip,
            },
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig {
                kind: ScheduleKind::WarmupStableDecay,
                learning_rate: Some(1e-3),
                second_learning_rate: Some(1e-4),
                turn: Some(0.5),
                warmup_steps: Some(3),
                min_share: Some(0.1),
                weight_decay: Some(0.1),
                second_weight_decay: Some(0.0),
            },
            quantization: QuantizationConfig { warmup_steps: 9 },
            distillation: Some(DistillationConfig { teacher: "t".into(), weight: 0.5, temperature: 2.0 }),
            watch: WatchConfig { sample_prompt: Some(text()), ..WatchConfig::default() },
        }
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        let message = TrainConfig::parse("c.toml", text).unwrap_err().to_string();
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
    }

    /// Checks the message after some overrides of the small configuration.
    #[track_caller]
    fn check_with(overrides: &[&str], want: &str) {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let message = TrainConfig::parse_with("c.toml", SMALL, &overrides).unwrap_err().to_string();
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
    }

    #[test]
    fn an_unknown_key_names_file_line_key_and_nearest() {
        let text = format!("{SMALL}microbatch = 3\n");
        let want =
            "c.toml:21: key `train.microbatch` is unknown; the nearest known one is `train.micro_batch`";
        check(&text, want);
        let text = format!("{SMALL}learning_rate = 3\n");
        check(
            &text,
            "c.toml:21: key `train.learning_rate` is unknown; the nearest known one is `schedule.learning_rate`",
        );
        check(
            &format!("{SMALL}[data.chatt]\nx = 1\n"),
            "key `data.chatt` is unknown; the nearest known one is `data.chat`",
        );
        check(&format!("{SMALL}[data.chat]\nx = 1\n"), "c.toml:22: key `data.chat.x` is unknown");
    }

    #[test]
    fn a_wrong_type_names_found_and_expected() {
        check(
            &SMALL.replace("= 100", "= \"many\""),
            "c.toml:19: `train.steps` is \"many\", expected a whole number from 1",
        );
        check(&SMALL.replace("= 100", "= -1"), "`train.steps` is -1, expected a whole number from 1");
        check(
            &SMALL.replace("[\"a.txt\"]", "\"a.txt\""),
            "c.toml:12: `data.train` is \"a.txt\", expected a list of strings",
        );
        check(&SMALL.replace("= 100", "= 99999999999999999999"), "beyond 64 bits");
        check(&format!("{SMALL}[schedule]\nkind = \"cosin\"\n"), "the nearest is `cosine`");
        check("run = 3\n", "c.toml:1: `run` is 3, expected a section, `[run]`");
        check(
            &format!("{SMALL}[optimizer]\nbetas = [0.9]\n"),
            "`optimizer.betas` is [0.9], expected a list of two numbers",
        );
    }

    #[test]
    fn everything_wrong_with_keys_is_said_at_once() {
        let text = SMALL.replace("micro_batch", "microbatch").replace("output", "outptu");
        let error = TrainConfig::parse("c.toml", &text).unwrap_err();
        let ConfigError::Several { problems } = &error else { panic!("{error}") };
        // Two unknown keys, and the two required ones that they were meant to be.
        assert_eq!(problems.len(), 4, "{error}");
    }

    #[test]
    fn text_that_is_no_toml_names_its_line() {
        check("[run]\noutput = \n", "c.toml:2: cannot be parsed");
        check("[run]\n[run]\n", "c.toml:2: cannot be parsed: duplicate key");
    }

    #[test]
    fn missing_keys_are_named() {
        check("", "c.toml: `run.output` is missing, expected a string");
        check("", "`data.sequence_length` is missing, expected a whole number from 2");
        check("", "`train.micro_batch` is missing, expected a whole number from 1");
        check(&format!("{SMALL}[distillation]\nweight = 0.1\n"), "`distillation.teacher` is missing");
        check(&SMALL.replace("steps = 100", ""), "exactly one of `train.steps`, `train.tokens`");
        check(&SMALL.replace("vocab_size = 300", ""), "`tokenizer` is missing, expected `tokenizer.path`");
        check(&SMALL.replace("hidden_size = 64", ""), "`model.hidden_size` is missing");
    }

    #[test]
    fn overrides_win_and_may_be_bare_words() {
        let overrides =
            ["train.steps=7", "schedule.kind=cosine", "run.output=a b/c", "run.name=3", "train.steps=8"];
        let overrides = overrides.map(str::to_owned);
        let config = TrainConfig::parse_with("c.toml", SMALL, &overrides).unwrap();
        assert_eq!(config.train.steps, Some(8));
        assert_eq!(config.schedule.kind, ScheduleKind::Cosine);
        assert_eq!(config.run.output.to_str(), Some("a b/c"));
        assert_eq!(config.run.name.as_deref(), Some("3"));
    }

    #[test]
    fn a_preset_on_the_command_line_wins_over_sizes_in_the_file() {
        let overrides = ["model.preset=s".to_owned(), "model.num_hidden_layers=3".to_owned()];
        let model = TrainConfig::parse_with("c.toml", SMALL, &overrides).unwrap().model;
        assert_eq!((model.hidden_size, model.num_hidden_layers), (None, Some(3)));
    }

    #[test]
    fn a_length_on_the_command_line_takes_the_place_of_another_in_the_file() {
        for (length, want) in [
            ("train.epochs=2", (None, None, Some(2.0))),
            ("train.tokens=9", (None, Some(9), None)),
            ("train.steps=7", (Some(7), None, None)),
        ] {
            let train = TrainConfig::parse_with("c.toml", SMALL, &[length.to_owned()]).unwrap().train;
            assert_eq!((train.steps, train.tokens, train.epochs), want, "{length}");
        }
        let file = SMALL.replace("steps = 100", "steps = 100\nepochs = 2");
        check(&file, "`train.epochs` is 2, but `train.steps` is given too");
        check_with(
            &["train.epochs=2", "train.steps=3"],
            "`train.epochs` is 2, but `train.steps` is given too",
        );
    }

    /// What a key is told where it has no number at all is what a number that is too small is told.
    #[test]
    fn the_least_numbers_are_those_that_are_held_to() {
        use super::super::keys::{KEYS, Kind};
        for key in KEYS {
            let Kind::From(least) = key.kind else { continue };
            let with = |found: usize| {
                let overrides = [format!("{}={found}", key.path)];
                TrainConfig::parse_with("c.toml", SMALL, &overrides)
                    .err()
                    .map(|error| error.to_string())
                    .filter(|error| error.contains(&format!("`{}` is {found}, ", key.path)))
            };
            assert!(with(least - 1).is_some_and(|error| error.contains(&least.to_string())), "{}", key.path);
            // Some of those that are large enough alone do not fit the others.
            assert!(with(least).is_none_or(|error| !error.contains("from 1")), "{}", key.path);
        }
    }

    #[test]
    fn an_override_can_open_a_section() {
        let overrides = ["distillation.teacher=t".to_owned(), "data.chat.reduction=sum".to_owned()];
        let config = TrainConfig::parse_with("c.toml", SMALL, &overrides).unwrap();
        assert_eq!(config.distillation.unwrap().weight, 0.5);
        assert_eq!(config.data.chat.unwrap().reduction, Reduction::Sum);
    }

    #[test]
    fn wrong_overrides_are_named() {
        check_with(&["steps"], "command line: `steps` is no override, expected `key=value`");
        check_with(&["=3"], "no override");
        check_with(
            &["train.stepz=3"],
            "command line: key `train.stepz` is unknown; the nearest known one is `train.steps`",
        );
        check_with(&["train.steps=x"], "command line: `train.steps` is \"x\"");
        check_with(&["train=1"], "`train` is 1, expected a section");
        check_with(&["train.micro_batch=0"], "command line: `train.micro_batch` is 0");
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (text, want) in [
            ("data.sequence_length=1", "2 to 1048576 tokens"),
            ("data.sequence_length=1048577", "`data.sequence_length` is 1048577"),
            ("train.steps=0", "a whole number from 1"),
            ("train.gradient_clip=-1", "a number from 0"),
            ("train.gradient_clip=nan", "`train.gradient_clip` is NaN"),
            ("train.accumulation=0", "a whole number from 1"),
            ("train.micro_batch=9000000000000000000", "`train.micro_batch`"),
            ("train.spike_deviations=0", "a positive number"),
            ("optimizer.betas=[0.9, 1.0]", "`optimizer.betas` is 1"),
            ("optimizer.momentum=1", "`optimizer.momentum` is 1"),
            ("optimizer.eps=0", "a positive number"),
            ("schedule.turn=1.5", "from 0 to 1"),
            ("schedule.min_share=2", "from 0 to 1"),
            ("schedule.learning_rate=-1", "a positive number"),
            ("schedule.warmup_steps=101", "at most the 100 steps"),
            ("quantization.warmup_steps=101", "at most the 100 steps"),
            ("data.validation_fraction=1", "less than 1"),
            ("data.document_separator=", "`data.document_separator` is empty"),
            ("tokenizer.vocab_size=256", "expected 257 (every byte"),
            ("tokenizer.vocab_size=1048577", "to 1048576 tokens"),
            ("tokenizer.path=t", "`tokenizer.path` names a tokenizer"),
            ("model.vocab_size=299", "at least `tokenizer.vocab_size`, 300"),
            ("model.preset=700", "the nearest is `700m`"),
            ("model.from=f", "the model of `model.from`"),
            ("model.max_position_embeddings=8", "at most `model.max_position_embeddings`, 8"),
            ("model.num_attention_heads=5", "a multiple of `model.num_attention_heads`"),
            ("watch.keep=0", "`watch.keep` is 0"),
            ("watch.log_every=0", "`watch.log_every` is 0"),
            ("data.train=[]", "at least one file"),
        ] {
            check_with(&[text], want);
        }
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        for (texts, want) in [
            (&["model.linears=dense", "quantization.warmup_steps=5"][..], "never quantised"),
            (&["model.linears=dense", "model.norms=sub"], "no published family"),
            (&["schedule.kind=cosine", "schedule.second_learning_rate=0.1"], "only `two-stage`"),
            (&["schedule.kind=cosine", "schedule.turn=0.1"], "nothing changes there"),
            (&["schedule.kind=constant", "schedule.min_share=0.1"], "never falls"),
            (&["data.chat.reduction=sum", "data.text_field=body"], "conversations in place of text"),
            (&["data.chat.reduction=sum", "data.format=text"], "conversations in place of text"),
            (&["data.validation=[\"v\"]", "data.validation_fraction=0.1"], "`data.validation` names files"),
            (&["distillation.teacher=t", "distillation.weight=1.1"], "from 0 to 1"),
        ] {
            check_with(texts, want);
        }
    }

    #[test]
    fn problems_of_values_name_their_lines() {
        check(&SMALL.replace("micro_batch = 4", "micro_batch = 0"), "c.toml:20: `train.micro_batch` is 0");
        assert!(small().check().is_ok());
        let mut config = small();
        config.watch.keep = 0;
        let want = "configuration: `watch.keep` is 0, expected a whole number from 1";
        assert_eq!(config.check().unwrap_err().to_string(), want);
    }

    #[test]
    fn a_warmup_longer_than_the_run_is_found_when_its_length_is_known() {
        let mut config = small();
        config.schedule.warmup_steps = Some(50);
        assert!(config.check_steps(50).is_ok());
        assert!(config.check_steps(49).unwrap_err().to_string().contains("at most the 49 steps"));
    }

    #[test]
    fn a_model_to_start_from_needs_no_tokenizer() {
        let text = "[run]\noutput='o'\n[model]\nfrom='m'\nnorms='sub'\n[data]\ntrain=['a']\nsequence_length=8\n\
                    [train]\nepochs=3\nmicro_batch=1\n";
        let config = TrainConfig::parse("c.toml", text).unwrap();
        assert_eq!(config.train.epochs, Some(3.0));
        check(&format!("{text}[tokenizer]\nvocab_size=300\n"), "has a tokenizer already");
        check(
            &text.replace("norms='sub'", "preset='s'"),
            "c.toml:5: `model.preset` is `s`, but the model of",
        );
    }

    #[test]
    fn a_file_is_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let message = TrainConfig::read(&path).unwrap_err().to_string();
        assert!(message.contains("c.toml: cannot be read"), "{message}");
        std::fs::write(&path, SMALL).unwrap();
        assert_eq!(TrainConfig::read(&path).unwrap(), small());
        std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        let error = TrainConfig::read(&path).unwrap_err();
        assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
    }
}
