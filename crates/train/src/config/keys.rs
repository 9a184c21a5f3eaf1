//! Every key of a configuration, what it takes, and which one an unknown key was meant to be.
//!
//! It knows types and names, and of ranges the least number alone: the rest is `check`'s. A test holds it equal to the
//! structs.

use tercet::nearest;
use toml::Value;

use super::activation;
use super::check::{SEQUENCE_LENGTH_MIN, VOCAB_MIN};

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number from 0.
    Count,
    /// A whole number from another least one, which `check` holds it to.
    From(usize),
    /// A number.
    Number,
    /// Two numbers.
    Pair,
    /// `true` or `false`.
    Flag,
    /// A string.
    Text,
    /// A list of strings.
    Texts,
    /// One of some names.
    Choice(&'static [&'static str]),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// Its dotted path.
    pub(super) path: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// Whether its section must have it.
    pub(super) is_required: bool,
}

/// The sections, and whether a configuration has them even where it does not name them.
pub(super) const SECTIONS: &[(&str, bool)] = &[
    ("run", true),
    ("model", true),
    ("data", true),
    ("data.chat", false),
    ("tokenizer", true),
    ("train", true),
    ("optimizer", true),
    ("schedule", true),
    ("quantization", true),
    ("distillation", false),
    ("watch", true),
];

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, is_required: false }
}

const fn required(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, is_required: true }
}

/// All keys.
pub(super) const KEYS: &[Key] = &[
    required("run.output", Kind::Text),
    key("run.seed", Kind::Count),
    key("run.name", Kind::Text),
    key("model.preset", Kind::Text),
    key("model.from", Kind::Text),
    key("model.hidden_size", Kind::From(1)),
    key("model.intermediate_size", Kind::From(1)),
    key("model.num_hidden_layers", Kind::From(1)),
    key("model.num_attention_heads", Kind::From(1)),
    key("model.num_key_value_heads", Kind::From(1)),
    key("model.head_dim", Kind::From(1)),
    key("model.vocab_size", Kind::From(1)),
    key("model.max_position_embeddings", Kind::From(1)),
    key("model.rms_norm_eps", Kind::Number),
    key("model.rope_theta", Kind::Number),
    key("model.tie_word_embeddings", Kind::Flag),
    key("model.hidden_act", Kind::Choice(&activation::NAMES)),
    key("model.norms", Kind::Choice(&["in-linear", "pre", "pre-and-in-linear", "sub", "1bitllm"])),
    key("model.linears", Kind::Choice(&["ternary", "dense"])),
    key("model.initializer_range", Kind::Number),
    required("data.train", Kind::Texts),
    key("data.validation", Kind::Texts),
    key("data.validation_fraction", Kind::Number),
    key("data.text_field", Kind::Text),
    key("data.document_separator", Kind::Text),
    required("data.sequence_length", Kind::From(SEQUENCE_LENGTH_MIN)),
    key("data.respect_boundaries", Kind::Flag),
    key("data.format", Kind::Choice(&["text", "jsonl", "parquet"])),
    key("data.chat.messages_field", Kind::Text),
    key("data.chat.template", Kind::Text),
    key("data.chat.reduction", Kind::Choice(&["mean", "sum"])),
    key("data.cache", Kind::Text),
    key("tokenizer.path", Kind::Text),
    key("tokenizer.vocab_size", Kind::From(VOCAB_MIN)),
    key("train.steps", Kind::From(1)),
    key("train.tokens", Kind::From(1)),
    key("train.epochs", Kind::Number),
    required("train.micro_batch", Kind::From(1)),
    key("train.accumulation", Kind::From(1)),
    key("train.gradient_clip", Kind::Number),
    key("train.recompute", Kind::Flag),
    key("train.gradients", Kind::Choice(&["auto", "f32"])),
    key("train.spike_deviations", Kind::Number),
    key("train.on_spike", Kind::Choice(&["report", "skip"])),
    key("optimizer.kind", Kind::Choice(&["adamw", "muon"])),
    key("optimizer.betas", Kind::Pair),
    key("optimizer.eps", Kind::Number),
    key("optimizer.momentum", Kind::Number),
    key("optimizer.muon_scale", Kind::Number),
    key("schedule.kind", Kind::Choice(&["two-stage", "cosine", "warmup-stable-decay", "constant"])),
    key("schedule.learning_rate", Kind::Number),
    key("schedule.second_learning_rate", Kind::Number),
    key("schedule.turn", Kind::Number),
    key("schedule.warmup_steps", Kind::Count),
    key("schedule.min_share", Kind::Number),
    key("schedule.weight_decay", Kind::Number),
    key("schedule.second_weight_decay", Kind::Number),
    key("quantization.warmup_steps", Kind::Count),
    required("distillation.teacher", Kind::Text),
    key("distillation.weight", Kind::Number),
    key("distillation.temperature", Kind::Number),
    key("watch.log_every", Kind::From(1)),
    key("watch.validate_every", Kind::Count),
    key("watch.validation_sequences", Kind::From(1)),
    key("watch.sample_every", Kind::Count),
    key("watch.sample_prompt", Kind::Text),
    key("watch.sample_tokens", Kind::Count),
    key("watch.save_every", Kind::Count),
    key("watch.keep", Kind::From(1)),
];

/// What other trainers call some of the keys.
const ELSEWHERE: &[(&str, &str)] = &[
    ("lr", "schedule.learning_rate"),
    ("max_lr", "schedule.learning_rate"),
    ("lr_warmup_steps", "schedule.warmup_steps"),
    ("lr_scheduler_type", "schedule.kind"),
    ("wd", "schedule.weight_decay"),
    ("batch_size", "train.micro_batch"),
    ("micro_batch_size", "train.micro_batch"),
    ("per_device_train_batch_size", "train.micro_batch"),
    ("gradient_accumulation_steps", "train.accumulation"),
    ("max_steps", "train.steps"),
    ("max_tokens", "train.tokens"),
    ("num_train_epochs", "train.epochs"),
    ("max_norm", "train.gradient_clip"),
    ("max_grad_norm", "train.gradient_clip"),
    ("grad_clip", "train.gradient_clip"),
    ("gradient_checkpointing", "train.recompute"),
    ("seq_len", "data.sequence_length"),
    ("max_seq_length", "data.sequence_length"),
    ("block_size", "data.sequence_length"),
    ("output_dir", "run.output"),
    ("out_dir", "run.output"),
    ("save_steps", "watch.save_every"),
    ("eval_steps", "watch.validate_every"),
    ("logging_steps", "watch.log_every"),
    ("save_total_limit", "watch.keep"),
    ("n_layer", "model.num_hidden_layers"),
    ("n_head", "model.num_attention_heads"),
    ("n_embd", "model.hidden_size"),
    ("dim", "model.hidden_size"),
];

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether there is a section of this path.
pub(super) fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == path)
}

/// The key or section that an unknown one was most likely meant to be.
///
/// The same name in another section, another trainer's name for a key, or the most alike; within
/// the same section rather than in another.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let (section, name) = parted(path);
    let same_name = KEYS.iter().find(|key| parted(key.path).1 == name);
    if let Some(key) = same_name {
        return Some(key.path);
    }
    if let Some((_, path)) = ELSEWHERE.iter().find(|(other, _)| *other == name) {
        return Some(path);
    }
    let sections = SECTIONS.iter().map(|(section, _)| *section);
    let paths = KEYS.iter().map(|key| key.path).chain(sections);
    let likeness = |known: &str| {
        let (known_section, known_name) = parted(known);
        let bonus = if known_section == section { 0.1 } else { 0.0 };
        Some(nearest::likeness(name, known_name)? + bonus)
    };
    nearest::most_alike(paths.map(|known| (likeness(known), known)))
}

/// The key that a name without its section most likely means, such as that of another trainer's flag.
pub fn key_meant(name: &str) -> Option<&'static str> {
    nearest(name).filter(|path| find(path).is_some())
}

/// The section of a path, and the name in it.
fn parted(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// The most alike of some names in lower case, if one is alike.
pub(super) fn nearest_name<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest::nearest(&name.to_lowercase(), names)
}

impl Kind {
    /// Whether a value is of this kind.
    pub(super) fn takes(self, value: &Value) -> bool {
        let is_number = |value: &Value| matches!(value, Value::Integer(_) | Value::Float(_));
        match (self, value) {
            (Self::Count | Self::From(_), Value::Integer(count)) => *count >= 0,
            (Self::Number, value) => is_number(value),
            (Self::Pair, Value::Array(pair)) => pair.len() == 2 && pair.iter().all(is_number),
            (Self::Flag, Value::Boolean(_)) | (Self::Text, Value::String(_)) => true,
            (Self::Texts, Value::Array(list)) => list.iter().all(Value::is_str),
            (Self::Choice(names), Value::String(name)) => names.contains(&name.as_str()),
            _ => false,
        }
    }

    /// What messages call it.
    pub(super) fn expected(self, found: &Value) -> String {
        match self {
            Self::Count => "a whole number from 0".to_owned(),
            Self::From(least) => format!("a whole number from {least}"),
            Self::Number => "a number".to_owned(),
            Self::Pair => "a list of two numbers".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::Texts => "a list of strings".to_owned(),
            Self::Choice(names) => {
                let near = found.as_str().and_then(|found| nearest_name(found, names.iter().copied()));
                let near = near.map_or_else(String::new, |near| format!("; the nearest is `{near}`"));
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                format!("one of {}{near}", names.join(", "))
            }
        }
    }
}

/// A value as messages show it.
pub(super) fn shown(value: &Value) -> String {
    const SHOWN_CHARS: usize = 60;
    let text = match value {
        Value::Table(_) => return "a section".to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use toml::Table;

    use super::*;

    #[track_caller]
    fn check(path: &str, want: Option<&str>) {
        assert_eq!(nearest(path), want, "{path}");
    }

    #[test]
    fn an_unknown_key_is_told_the_nearest() {
        check("train.microbatch", Some("train.micro_batch"));
        check("run.sed", Some("run.seed"));
        check("scheduel", Some("schedule"));
        check("model.num_heads", Some("model.num_hidden_layers"));
        check("train.zzz", None);
    }

    #[test]
    fn a_key_of_another_section_is_told_its_own() {
        check("train.learning_rate", Some("schedule.learning_rate"));
        check("learning_rate", Some("schedule.learning_rate"));
        check("sequence_length", Some("data.sequence_length"));
    }

    #[test]
    fn names_of_other_trainers_are_known() {
        check("train.lr", Some("schedule.learning_rate"));
        check("train.batch_size", Some("train.micro_batch"));
        for (name, path) in ELSEWHERE {
            assert!(find(path).is_some(), "{path}");
            check(name, Some(path));
        }
    }

    #[test]
    fn a_section_is_no_key_that_a_flag_means() {
        assert_eq!(key_meant("step"), Some("train.steps"));
        assert_eq!(key_meant("lr"), Some("schedule.learning_rate"));
        assert_eq!(key_meant("scheduel"), None);
        assert_eq!(key_meant("zzz"), None);
    }

    /// What `docs/training.md` says of a key: its row without the key itself.
    type Documented<'a> = BTreeMap<&'a str, &'a str>;

    fn documentation() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/training.md");
        fs::read_to_string(path).unwrap()
    }

    /// The rows of the tables of keys.
    fn documented(text: &str) -> Documented<'_> {
        let (_, tables) = text.split_once("\n## Every key\n").unwrap();
        let (tables, _) = tables.split_once("\n## ").unwrap();
        let rows = tables.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let mut keys = BTreeMap::new();
        for (path, rest) in rows {
            assert!(keys.insert(path, rest).is_none(), "`{path}` stands in docs/training.md twice");
        }
        keys
    }

    #[test]
    fn the_documentation_has_every_key_and_no_other() {
        let text = documentation();
        let documented = documented(&text);
        let unknown: Vec<_> = documented.keys().filter(|path| find(path).is_none()).collect();
        assert!(unknown.is_empty(), "docs/training.md has keys that are unknown: {unknown:?}");
        for Key { path, kind, is_required } in KEYS {
            let row = documented.get(path).unwrap_or_else(|| panic!("docs/training.md lacks `{path}`"));
            let default = row.split(" | ").nth(1).unwrap();
            assert_eq!(default == "required", *is_required, "`{path}`: whether it is required");
            let names = if let Kind::Choice(names) = kind { *names } else { &[] };
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            assert!(row.starts_with(&names.join(", ")), "`{path}`: takes one of {names:?}");
        }
    }

    #[test]
    fn every_fragment_in_the_documentation_has_known_keys_and_right_types() {
        let text = documentation();
        let fragments: Vec<&str> = text.split("```toml\n").skip(1).collect();
        assert!(!fragments.is_empty());
        for fragment in fragments {
            let (fragment, _) = fragment.split_once("```").unwrap();
            check_fragment("", &fragment.parse::<Table>().unwrap());
        }
    }

    #[track_caller]
    fn check_fragment(prefix: &str, table: &Table) {
        for (name, value) in table {
            let path = format!("{prefix}{name}");
            match value {
                Value::Table(inner) => {
                    assert!(is_section(&path), "docs/training.md: section `{path}` is unknown");
                    check_fragment(&format!("{path}."), inner);
                }
                value => {
                    let key = find(&path).unwrap_or_else(|| panic!("docs/training.md: `{path}` is unknown"));
                    let expected = key.kind.expected(value);
                    assert!(
                        key.kind.takes(value),
                        "docs/training.md: `{path}` is {value}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_key_lies_in_a_section_and_once() {
        for key in KEYS {
            assert!(is_section(parted(key.path).0), "{}", key.path);
            assert_eq!(KEYS.iter().filter(|other| other.path == key.path).count(), 1, "{}", key.path);
        }
    }
}
