//! Training configurations as a fuzzer sees them: bytes in, no panic; and ways to damage them.
//!
//! Shared by the smoke test and the fuzz target.
#![allow(dead_code, unreachable_pub, reason = "each user includes the file and uses its own part")]

use rand_chacha::ChaCha8Rng;
use tercet_kernels::ops::backward::GradientPrecision;
use tercet_train::config::{LinearKind, TrainConfig};
use tercet_train::model::{MemoryNeed, NetworkSize, ParameterLayout};
use tercet_train::schedule::{Schedule, lambda};
use toml::{Table, Value};

use crate::mutations::{below, bytes};

const EXAMPLES: [&str; 6] = [
    include_str!("../../../../examples/chat.toml"),
    include_str!("../../../../examples/dense-baseline.toml"),
    include_str!("../../../../examples/distill.toml"),
    include_str!("../../../../examples/from-dense.toml"),
    include_str!("../../../../examples/paper-700m.toml"),
    include_str!("../../../../examples/tiny.toml"),
];

/// The largest sizes that there can be.
const LARGEST: &str = "
run.output = 'x'
model = { hidden_size = 1048576, intermediate_size = 4194304, num_hidden_layers = 4096, vocab_size = 16777216, \
    num_attention_heads = 16384, head_dim = 16384, max_position_embeddings = 134217728, rope_theta = 1e12 }
data = { train = ['x'], sequence_length = 65535 }
tokenizer.vocab_size = 1048576
train = { tokens = 9223372036854775807, micro_batch = 65536, accumulation = 4294967295 }
watch.keep = 9223372036854775807
";

/// Keys that a mutation sets: every known one, and some that are not.
const KEYS: &str = "run.output run.seed run.name model.preset model.from model.hidden_size model.intermediate_size \
    model.num_hidden_layers model.num_attention_heads model.num_key_value_heads model.head_dim model.vocab_size \
    model.max_position_embeddings model.rms_norm_eps model.rope_theta model.tie_word_embeddings model.hidden_act \
    model.norms model.linears model.initializer_range data.train data.validation data.validation_fraction \
    data.text_field data.document_separator data.sequence_length data.respect_boundaries data.format data.chat \
    data.cache tokenizer.path tokenizer.vocab_size train.steps train.tokens train.epochs train.micro_batch \
    train.accumulation train.gradient_clip train.recompute train.gradients train.spike_deviations train.on_spike \
    optimizer.kind \
    optimizer.betas optimizer.eps optimizer.momentum optimizer.muon_scale schedule.kind schedule.learning_rate \
    schedule.second_learning_rate schedule.turn schedule.warmup_steps schedule.min_share schedule.weight_decay \
    schedule.second_weight_decay quantization.warmup_steps distillation.teacher distillation.weight \
    distillation.temperature watch.log_every watch.validate_every watch.validation_sequences watch.sample_every \
    watch.sample_prompt watch.sample_tokens watch.save_every watch.keep watch.unknown unknown.key";
#[rustfmt::skip]
const NAMES: [&str; 18] = [
    "", "x", "\u{1F600}\u{0}", "s", "700m", "3b", "2b4t", "dense", "ternary", "pre", "sub", "1bitllm", "relu2",
    "muon", "cosine", "warmup-stable-decay", "skip", "sum",
];
#[rustfmt::skip]
const WHOLE: [i64; 18] = [
    0, 1, 2, 3, 4, 64, 257, 4095, 1 << 12, 1 << 14, 1 << 20, 1 << 22, 1 << 24, 1 << 31, (1 << 32) - 1, 1 << 40,
    i64::MAX, -1,
];
const NUMBERS: [f64; 12] =
    [0.0, -0.0, 0.5, 1.0, 1e-45, 3.0, 1e12, 3.5e38, 1e308, -1.0, f64::INFINITY, f64::NAN];

/// The right files.
pub fn right_files() -> Vec<Vec<u8>> {
    EXAMPLES.into_iter().chain([LARGEST]).map(|text| text.as_bytes().to_vec()).collect()
}

/// Everything that is asked of a configuration before a file that it names is opened; whether it
/// is one.
pub fn train_config(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let config = match TrainConfig::parse("config.toml", text) {
        Ok(config) => config,
        Err(error) => {
            std::hint::black_box((error.to_string(), error.hint()));
            return false;
        }
    };
    let written = config.to_toml().expect("a configuration that was read can be written");
    assert_eq!(TrainConfig::parse("again.toml", &written).expect("and read again"), config);
    assert!(config.differences(&config).expect("and compared").is_empty());

    let of_tokens = config.train.tokens.map(|tokens| tokens.div_ceil(config.tokens_per_step()));
    let steps = config.train.steps.or(of_tokens).unwrap_or(u64::MAX);
    let checked = config.check_steps(steps).is_ok();
    for step in [0, steps / 2, steps - 1] {
        let schedule = Schedule::new(&config.schedule, steps, 64, LinearKind::Ternary);
        let (rates, lambda) = (schedule.at(step), lambda(&config.quantization, step));
        assert!(!checked || !rates.learning_rate.is_nan() && (0.0..=1.0).contains(&lambda));
    }
    if config.model.from.is_none() {
        let vocab_size = config.tokenizer.vocab_size.unwrap_or(32_000);
        if let Ok(model) = config.model.resolve(&config.data, vocab_size, Some(0), vec![0]) {
            let context = config.data.sequence_length;
            let rows = config.train.micro_batch * context;
            let size = NetworkSize {
                rows,
                context,
                recompute: config.train.recompute,
                precision: GradientPrecision::Bf16,
            };
            let parameters = ParameterLayout::new(&model).count();
            let need = MemoryNeed::new(&model, &size);
            assert!(model.ternary_parameters() <= parameters && parameters <= need.total_bytes());
        }
    }
    true
}

/// Mutates bytes one time in four or if there is no TOML, and else keys and values.
pub fn mutate(rng: &mut ChaCha8Rng, file: &[u8]) -> Vec<u8> {
    let table = str::from_utf8(file).ok().and_then(|text| text.parse::<Table>().ok());
    let Some(mut table) = table.filter(|_| below(rng, 4) != 0) else { return bytes(rng, file) };
    for _ in 0..=below(rng, 4) {
        let keys: Vec<&str> = KEYS.split_whitespace().collect();
        let (section, key) = keys[below(rng, keys.len())].split_once('.').expect("keys lie in sections");
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(section) = section else { continue };
        let value = match section.get(key) {
            Some(Value::Integer(_)) if below(rng, 4) != 0 => whole(rng),
            Some(Value::Float(_)) if below(rng, 4) != 0 => Value::Float(NUMBERS[below(rng, NUMBERS.len())]),
            Some(_) if below(rng, 4) == 0 => {
                section.remove(key);
                continue;
            }
            _ => any(rng),
        };
        section.insert(key.to_owned(), value);
    }
    toml::to_string(&table).expect("a table can be written").into_bytes()
}

fn whole(rng: &mut ChaCha8Rng) -> Value {
    Value::Integer(WHOLE[below(rng, WHOLE.len())])
}

fn any(rng: &mut ChaCha8Rng) -> Value {
    match below(rng, 8) {
        0..3 => whole(rng),
        3 => Value::Float(NUMBERS[below(rng, NUMBERS.len())]),
        4 => Value::Boolean(below(rng, 2) == 0),
        5 => Value::Array((0..below(rng, 3)).map(|_| Value::Float(0.5)).collect()),
        6 => Value::Table(Table::new()),
        _ => Value::String(NAMES[below(rng, NAMES.len())].to_owned()),
    }
}
