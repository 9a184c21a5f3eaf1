//! A run as one struct, read from TOML and checked whole before anything runs.
//!
//! The names of model fields are those of `config.json`. It knows no files but the one it was
//! read from: what the paths in it hold is for `data` and the trainer to find out. Paths are
//! relative to the current directory, as those on a command line are.
//!
//! | module | holds |
//! |---|---|
//! | `activation` | the activation of the MLP's gate, by its name |
//! | `keys` | every key, what it takes, and which one an unknown key was meant to be |
//! | `read` | from TOML and `key=value` to the struct |
//! | `check` | whether the values make a run |
//! | `model` | the shape of the model |
//! | `compare` | the struct as TOML, and where two differ |

mod activation;
mod check;
mod compare;
mod error;
mod keys;
mod model;
mod read;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tercet_kernels::Isa;
use tercet_kernels::ops::backward::GradientPrecision;

pub(crate) use check::{SEQUENCE_LENGTH_MAX, VOCAB_MAX, VOCAB_MIN};
pub use error::ConfigError;
pub use keys::key_meant;
pub use tercet::config::Activation;

/// Everything that decides what a run computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Where it runs and what it leaves.
    pub run: RunConfig,
    /// What is trained.
    pub model: ModelConfig,
    /// On what.
    pub data: DataConfig,
    /// How text becomes tokens.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// How long, and in which portions.
    pub train: StepConfig,
    /// How gradients change weights.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The learning rate and weight decay of every step.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// How weights become ternary over time.
    #[serde(default)]
    pub quantization: QuantizationConfig,
    /// A teacher, if there is one.
    pub distillation: Option<DistillationConfig>,
    /// When it is validated, sampled from and saved.
    #[serde(default)]
    pub watch: WatchConfig,
}

/// Where a run lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The folder that takes checkpoints, records and the finished model.
    pub output: PathBuf,
    /// Seeds the initial weights and the order of the data.
    #[serde(default = "one")]
    pub seed: u64,
    /// The name on the model card; the output folder's name without one.
    pub name: Option<String>,
}

/// What is trained: a preset, sizes, a model to start from, or a preset with some sizes changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the names are those of `config.json`")]
pub struct ModelConfig {
    /// A shape of `tercet::presets`; fields that are given beside it win.
    pub preset: Option<String>,
    /// A Hugging Face folder with float weights to start from; its sizes are then the model's.
    pub from: Option<PathBuf>,
    pub hidden_size: Option<usize>,
    pub intermediate_size: Option<usize>,
    pub num_hidden_layers: Option<usize>,
    pub num_attention_heads: Option<usize>,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    /// The tokenizer's size without one, rounded up to a multiple of 16.
    pub vocab_size: Option<usize>,
    pub max_position_embeddings: Option<usize>,
    pub rms_norm_eps: Option<f32>,
    pub rope_theta: Option<f64>,
    pub tie_word_embeddings: Option<bool>,
    #[serde(with = "activation")]
    pub hidden_act: Option<Activation>,
    /// Where norms sit.
    pub norms: Option<NormPlacement>,
    /// Ternary, or the dense baseline.
    pub linears: Option<LinearKind>,
    /// Standard deviation of the initial matrices (0.02 without one).
    pub initializer_range: Option<f32>,
}

/// Where a layer's norms sit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormPlacement {
    /// Inside every linear and nowhere else: the paper's Training Tips.
    InLinear,
    /// Before attention and MLP: LLaMA.
    Pre,
    /// Before attention and MLP, and inside every linear.
    PreAndInLinear,
    /// Before attention and MLP, and before `o_proj` and `down_proj`, named as in BitNet b1.58 2B4T.
    Sub,
    /// The same, named as by 1bitLLM.
    #[serde(rename = "1bitllm")]
    OneBitLlm,
}

/// What the linears of the layers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinearKind {
    /// -1, 0, +1 with one scale a matrix, and int8 activations.
    Ternary,
    /// f32.
    Dense,
}

/// The data of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Files and globs: text, JSON lines or parquet, also gzipped or zstd-compressed.
    pub train: Vec<String>,
    /// Files and globs to validate on; without any, `validation_fraction` of the documents.
    #[serde(default)]
    pub validation: Vec<String>,
    /// The share of documents that is kept for validation where `validation` is empty (0.01).
    pub validation_fraction: Option<f64>,
    /// The field or column of a JSON line or parquet row that holds its text.
    #[serde(default = "text_field")]
    pub text_field: String,
    /// The line that parts documents in a text file; without one a file is one document.
    pub document_separator: Option<String>,
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// Whether tokens attend only within their own document.
    #[serde(default)]
    pub respect_boundaries: bool,
    /// Whether a text file is read as one of these kinds, whatever its name says.
    pub format: Option<DataFormat>,
    /// Conversations to fine-tune on, in place of plain text.
    pub chat: Option<ChatConfig>,
    /// Where tokens are kept; `cache` in the output folder without one.
    pub cache: Option<PathBuf>,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFormat {
    /// Plain text.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// Supervised fine-tuning on conversations, one a JSON line or parquet row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    /// The field with the list of `{role, content}`.
    #[serde(default = "messages_field")]
    pub messages_field: String,
    /// A Jinja template; without one, that of the model or tokenizer folder.
    pub template: Option<PathBuf>,
    /// How the losses of a step's tokens become one.
    #[serde(default)]
    pub reduction: Reduction,
}

/// How the losses of a step's tokens become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their mean over the tokens that count.
    #[default]
    Mean,
    /// Their sum, as BitNet b1.58 2B4T was fine-tuned (arXiv:2504.12285).
    Sum,
}

/// Which tokenizer: one that is given, that of `model.from`, or one trained on the data.
///
/// A given one goes before that of `model.from`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// A `tokenizer.json`, or a folder that holds one.
    pub path: Option<PathBuf>,
    /// The size of a byte-level BPE to train on the training data.
    pub vocab_size: Option<usize>,
}

/// How long a run is, and in which portions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepConfig {
    /// Optimizer steps. Exactly one of `steps`, `tokens` and `epochs` is given.
    pub steps: Option<u64>,
    /// Tokens of training, rounded up to whole steps.
    pub tokens: Option<u64>,
    /// Passes over the data, rounded up to whole steps.
    pub epochs: Option<f64>,
    /// Sequences that are computed together.
    pub micro_batch: usize,
    /// Micro-batches whose gradients make one step.
    #[serde(default = "one_usize")]
    pub accumulation: usize,
    /// The global norm that gradients are clipped to; 0 for no clipping.
    #[serde(default = "one_f32")]
    pub gradient_clip: f32,
    /// Whether activations are computed again in the backward pass, to save memory.
    #[serde(default)]
    pub recompute: bool,
    /// The numbers that the products of the backward pass multiply.
    #[serde(default)]
    pub gradients: Gradients,
    /// A step whose loss exceeds the recent mean by this many standard deviations is a spike.
    pub spike_deviations: Option<f32>,
    /// What to do at a spike or a loss that is not finite.
    #[serde(default)]
    pub on_spike: OnSpike,
}

/// The numbers that the products of the backward pass multiply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gradients {
    /// bf16 where the CPU multiplies it, else f32.
    #[default]
    Auto,
    /// f32 on every machine.
    F32,
}

impl Gradients {
    /// What they are with this instruction set.
    pub fn precision(self, isa: Isa) -> GradientPrecision {
        match self {
            Gradients::Auto => GradientPrecision::fastest(isa),
            Gradients::F32 => GradientPrecision::F32,
        }
    }
}

/// What to do at a loss spike, or a loss or gradient that is not finite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSpike {
    /// Say so and go on; a loss that is not finite ends the run, the last checkpoint intact.
    #[default]
    Report,
    /// Go back to the last checkpoint and skip the batches since then.
    Skip,
}

/// The optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// AdamW for all, or Muon for the layers' matrices and AdamW for the rest.
    pub kind: OptimizerKind,
    /// AdamW's β₁ and β₂.
    pub betas: [f32; 2],
    /// AdamW's ε.
    pub eps: f32,
    /// Muon's momentum.
    pub momentum: f32,
    /// Muon's learning rate, as a multiple of the schedule's.
    pub muon_scale: f32,
}

/// The kind of optimizer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// arXiv:1711.05101.
    #[default]
    Adamw,
    /// Orthogonalised momentum for matrices (Jordan et al. 2024, arXiv:2502.16982).
    Muon,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            kind: OptimizerKind::Adamw,
            betas: [0.9, 0.95],
            eps: 1e-8,
            momentum: 0.95,
            muon_scale: 1.0,
        }
    }
}

/// The learning rate and weight decay of every step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// The shape.
    pub kind: ScheduleKind,
    /// The peak; without one, the paper's value for a model of this size.
    pub learning_rate: Option<f32>,
    /// The second stage's peak of `two-stage`; without one, the paper's (two thirds of the first;
    /// the first again for a dense model).
    pub second_learning_rate: Option<f32>,
    /// The share of the steps after which the second stage of `two-stage` begins, or the decay of
    /// `warmup-stable-decay` (0.8), or `second_weight_decay` holds (0.5 where nothing is said).
    pub turn: Option<f32>,
    /// Steps of linear warm-up; without any, 375 or a tenth of all steps, whichever is less.
    pub warmup_steps: Option<u64>,
    /// The least learning rate, as a share of the peak (0; 0.1 for `cosine`).
    pub min_share: Option<f32>,
    /// Weight decay of matrices (0.1).
    pub weight_decay: Option<f32>,
    /// Weight decay after `turn` (0 for `two-stage` of a ternary model, else the same as before).
    pub second_weight_decay: Option<f32>,
}

/// The shape of the learning rate over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Linear decay whose peak drops half-way, weight decay that ends there: the paper's.
    #[default]
    TwoStage,
    /// Half a cosine.
    Cosine,
    /// Constant, then linear to the least.
    WarmupStableDecay,
    /// Constant after warm-up.
    Constant,
}

/// How weights and activations become ternary and int8 over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizationConfig {
    /// Steps over which λ in `x + λ (q(x) - x)` goes from 0 to 1; 0 for quantised from the start.
    pub warmup_steps: u64,
}

/// A teacher whose logits the model learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillationConfig {
    /// The teacher's folder; its vocabulary is the model's.
    pub teacher: PathBuf,
    /// The share of the teacher's part in the loss, 0 to 1 (0.5).
    #[serde(default = "half")]
    pub weight: f32,
    /// Divides both models' logits (1).
    #[serde(default = "one_f32")]
    pub temperature: f32,
}

/// When a run is validated, sampled from and saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Steps between two lines of the log.
    pub log_every: u64,
    /// Steps between two validations; 0 for only at the end.
    pub validate_every: u64,
    /// Sequences that a validation takes at most.
    pub validation_sequences: usize,
    /// Steps between two samples of text; 0 for none.
    pub sample_every: u64,
    /// What samples continue; the first words of the data without one.
    pub sample_prompt: Option<String>,
    /// Tokens of a sample.
    pub sample_tokens: usize,
    /// Steps between two checkpoints; 0 for only at the end.
    pub save_every: u64,
    /// How many of the last checkpoints are kept; the best is kept besides.
    pub keep: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        WatchConfig {
            log_every: 1,
            validate_every: 100,
            validation_sequences: 64,
            sample_every: 200,
            sample_prompt: None,
            sample_tokens: 64,
            save_every: 200,
            keep: 2,
        }
    }
}

fn one() -> u64 {
    1
}

fn one_usize() -> usize {
    1
}

fn one_f32() -> f32 {
    1.0
}

fn half() -> f32 {
    0.5
}

fn text_field() -> String {
    "text".to_owned()
}

fn messages_field() -> String {
    "messages".to_owned()
}
