//! The one parametrised decoder, top to bottom: attention, MLP, layer, model, session.
//!
//! ```text
//! x = embed_tokens[ids]
//! each layer:  x = x + self_attn(input_layernorm(x))
//!              x = x + mlp(post_attention_layernorm(x))
//! logits = norm(x) · lm_headᵀ
//! ```
//!
//! Families differ in four things, each a field of [`Config`]: where norms sit, the activation,
//! how a scale is stored, and whether linears are ternary at all. It knows neither files (that
//! is `load`), nor text, nor how a token is chosen.
//!
//! | module | holds |
//! |---|---|
//! | `load`, `random` | a model of a checkpoint; one of pseudo-random weights, made where they stay |
//! | `ternary_rows`, `blocks` | the rows of a ternary matrix in whatever form; those of GGUF's blocks |
//! | `linear`, `vocabulary` | one linear layer and its inputs; embedding and head |
//! | `session` | the buffers of passes, and what comes in and out of one |
//! | `memory`, `operations`, `profile` | bytes, arithmetic and time of a model |
//! | `error` | why a model was not loaded, or a pass not run |

mod blocks;
mod contents;
mod error;
mod linear;
mod load;
mod memory;
mod operations;
mod profile;
mod random;
mod session;
mod ternary_rows;
mod vocabulary;

use std::sync::Arc;

use tercet_kernels::ops::Source;
use tercet_kernels::{Buffer, Pool, RotaryTable, Sequence, Worker, ops};

pub use contents::{LinearContents, TernaryCounts};
pub use error::{ForwardError, LoadError};
pub use linear::{BitLinear, Linear, RmsNorm};
pub use memory::MemoryNeed;
pub use operations::{Operations, PRODUCT_ENERGY_RATIO};
pub use profile::WorkTimes;
pub use session::{LogitRows, PROMPT_ROWS, Session, SessionSize, prompt_passes};
pub use ternary_rows::{RowReader, TernaryRows};
pub use vocabulary::{Head, HeadType, WeightTypes};

use crate::config::Config;
use linear::{Input, LinearInputs};
use profile::{Profile, Work, timed};
use vocabulary::Embedding;

/// Grouped-query attention with rotary embedding.
pub struct Attention {
    /// Queries, `[heads · head_dim, hidden]`.
    pub q_proj: Linear,
    /// Keys, `[kv heads · head_dim, hidden]`.
    pub k_proj: Linear,
    /// Values, `[kv heads · head_dim, hidden]`.
    pub v_proj: Linear,
    /// Output, `[hidden, heads · head_dim]`.
    pub o_proj: Linear,
    /// The norm before `o_proj` (`attn_sub_norm`, `inner_attn_ln`).
    pub sub_norm: Option<RmsNorm>,
}

impl Attention {
    /// `s.branch = o_proj(sub_norm(attention(q, k, v)))` of `input` (`[m, hidden]`).
    fn forward(&self, worker: &mut Worker<'_>, pass: &Pass<'_>, input: Input<'_>, s: &Scratch) {
        let (config, m) = (pass.config, pass.rows);
        let qkv = [(&self.q_proj, &s.q), (&self.k_proj, &s.k), (&self.v_proj, &s.v)];
        pass.project(worker, s, input, qkv); // [m, heads | kv heads | kv heads, head_dim]
        ops::rotate(worker, pass.rotary, pass.sequences, config.num_attention_heads, &s.q);
        ops::append(worker, pass.sequences, pass.cache_layer, Some(pass.rotary), &s.k, &s.v);
        worker.barrier();
        let heads = config.num_attention_heads;
        timed(pass.profile, Work::Attention, worker, |worker| {
            ops::attention(worker, pass.sequences, pass.cache_layer, heads, &s.q, &s.attended);
            worker.barrier();
        });
        let source = Source::Rows(&s.attended);
        let input = Input { source, norm: self.sub_norm.as_ref(), shape: [m, config.attention_size()] };
        pass.project(worker, s, input, [(&self.o_proj, &s.branch)]); // [m, hidden]
    }
}

/// The gated MLP.
pub struct Mlp {
    /// Gate, `[intermediate, hidden]`.
    pub gate_proj: Linear,
    /// Up, `[intermediate, hidden]`.
    pub up_proj: Linear,
    /// Down, `[hidden, intermediate]`.
    pub down_proj: Linear,
    /// The norm before `down_proj` (`ffn_sub_norm`, `ffn_layernorm`).
    pub sub_norm: Option<RmsNorm>,
}

impl Mlp {
    /// `s.branch = down_proj(sub_norm(activation(gate_proj(x)) · up_proj(x)))` of `input`.
    fn forward(&self, worker: &mut Worker<'_>, pass: &Pass<'_>, input: Input<'_>, s: &Scratch) {
        let gate_up = [(&self.gate_proj, &s.gate), (&self.up_proj, &s.up)];
        pass.project(worker, s, input, gate_up); // [m, intermediate]
        let source = Source::Gate { activation: pass.config.hidden_act, gate: &s.gate, up: &s.up };
        let shape = [pass.rows, pass.config.intermediate_size];
        let input = Input { source, norm: self.sub_norm.as_ref(), shape };
        pass.project(worker, s, input, [(&self.down_proj, &s.branch)]); // [m, hidden]
    }
}

/// One block of the decoder.
pub struct Layer {
    /// The norm before attention, in families that have one.
    pub input_layernorm: Option<RmsNorm>,
    /// Attention.
    pub self_attn: Attention,
    /// The norm before the MLP, in families that have one.
    pub post_attention_layernorm: Option<RmsNorm>,
    /// The MLP.
    pub mlp: Mlp,
}

impl Layer {
    /// Adds attention to `s.hidden`, and leaves what is still to be added in `s.branch`; `has_branch`
    /// says that the layer before did.
    fn forward(&self, worker: &mut Worker<'_>, pass: &Pass<'_>, has_branch: bool, s: &Scratch) {
        let shape = [pass.rows, pass.config.hidden_size];
        let sum = Source::Sum { x: &s.hidden, y: &s.branch };
        let source = if has_branch { sum } else { Source::Rows(&s.hidden) };
        let input = Input { source, norm: self.input_layernorm.as_ref(), shape };
        self.self_attn.forward(worker, pass, input, s);
        let input = Input { source: sum, norm: self.post_attention_layernorm.as_ref(), shape };
        self.mlp.forward(worker, pass, input, s);
    }

    /// The names of a layer's linears, as in the checkpoint.
    pub const LINEARS: [&'static str; 7] = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];

    /// Every linear with its name in the checkpoint.
    pub fn linears(&self) -> [(&'static str, &Linear); 7] {
        let Layer { self_attn, mlp, .. } = self;
        let [q, k, v, o, gate, up, down] = Layer::LINEARS;
        [
            (q, &self_attn.q_proj),
            (k, &self_attn.k_proj),
            (v, &self_attn.v_proj),
            (o, &self_attn.o_proj),
            (gate, &mlp.gate_proj),
            (up, &mlp.up_proj),
            (down, &mlp.down_proj),
        ]
    }
}

/// What a pass does not change: its sequences and tables.
#[derive(Clone, Copy)]
struct Pass<'a> {
    config: &'a Config,
    rotary: &'a RotaryTable,
    sequences: &'a [Sequence<'a>],
    rows: usize,
    cache_layer: usize,
    profile: Option<&'a Profile>,
}

impl Pass<'_> {
    /// `y = linear(x)` for linears that share their input; ends with a barrier.
    fn project<const N: usize>(
        &self,
        worker: &mut Worker<'_>,
        s: &Scratch,
        input: Input<'_>,
        linears: [(&Linear, &Buffer<f32>); N],
    ) {
        timed(self.profile, Work::Products, worker, |worker| s.inputs.project(worker, input, linears));
    }
}

/// A loaded model.
pub struct Model {
    pool: Arc<Pool>,
    config: Config,
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Head,
}

impl Model {
    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The threads and the instruction set that it runs with.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Its layers, first to last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The vocabulary projection, `[vocabulary, hidden]`.
    pub fn lm_head(&self) -> &Head {
        &self.lm_head
    }

    /// Bytes of linears and tables in memory. A table that is also the head counts once; one that
    /// is read row by row from its file not at all.
    pub fn resident_bytes(&self) -> usize {
        self.linear_bytes() + self.lm_head.size_bytes()
    }

    /// Bytes of weights that one decoded token reads: linears, head, one embedding row.
    pub fn weight_bytes_per_token(&self) -> usize {
        self.linear_bytes() + self.lm_head.size_bytes() + self.embed_tokens.row_bytes()
    }

    /// A whole pass: the residual stream through all layers, the last norm of the rows in `normed_rows`, and logits
    /// of the first `logit_rows` of those.
    fn forward(
        &self,
        worker: &mut Worker<'_>,
        pass: Pass<'_>,
        normed_rows: impl ExactSizeIterator<Item = usize> + Clone,
        logit_rows: usize,
        s: &Scratch,
    ) {
        let (rows, hidden_size, normed) = (pass.rows, self.config.hidden_size, normed_rows.len());
        let tokens = pass.sequences.iter().flat_map(|sequence| sequence.tokens.iter().copied());
        self.embed_tokens.read(worker, tokens, &s.hidden); // [m, hidden]
        worker.barrier();
        for (cache_layer, layer) in self.layers.iter().enumerate() {
            layer.forward(worker, &Pass { cache_layer, ..pass }, cache_layer > 0, s);
        }
        ops::add_assign(worker, &s.hidden, &s.branch, rows, hidden_size);
        worker.barrier();
        if normed == 0 {
            return;
        }
        ops::gather_rows(worker, &s.hidden, normed_rows, hidden_size, &s.last); // [normed rows, hidden]
        worker.barrier();
        ops::rms_norm(worker, &s.last, normed, &self.norm.gain, self.norm.eps, &s.normed);
        worker.barrier();
        if logit_rows > 0 {
            timed(pass.profile, Work::Products, worker, |worker| {
                let int8 = s.inputs.int8();
                self.lm_head.project(worker, &s.normed, logit_rows, int8, &s.logits); // [logit rows, vocabulary]
            });
        }
    }

    fn linear_bytes(&self) -> usize {
        self.layers.iter().flat_map(Layer::linears).map(|(_, linear)| linear.size_bytes()).sum()
    }
}

/// Buffers of a forward pass, made once. `m` is the rows of a pass.
struct Scratch {
    hidden: Buffer<f32>,   // [m, hidden]
    q: Buffer<f32>,        // [m, heads, head_dim]
    k: Buffer<f32>,        // [m, kv heads, head_dim]
    v: Buffer<f32>,        // [m, kv heads, head_dim]
    attended: Buffer<f32>, // [m, heads, head_dim]
    branch: Buffer<f32>,   // [m, hidden]
    gate: Buffer<f32>,     // [m, intermediate]
    up: Buffer<f32>,       // [m, intermediate]
    inputs: LinearInputs,
    last: Buffer<f32>,   // [logit rows, hidden]
    normed: Buffer<f32>, // [logit rows, hidden]
    logits: Buffer<f32>, // [logit rows, vocabulary]
}

impl Scratch {
    fn new(pool: &Pool, config: &Config, size: &SessionSize) -> Self {
        let m = size.max_rows;
        let q_width = config.num_attention_heads * config.head_dim;
        let kv_width = config.num_key_value_heads * config.head_dim;
        let widest = config.hidden_size.max(config.intermediate_size).max(q_width);
        let rows_of = |width| Buffer::zeroed(pool, m * width);
        Scratch {
            hidden: rows_of(config.hidden_size),
            q: rows_of(q_width),
            k: rows_of(kv_width),
            v: rows_of(kv_width),
            attended: rows_of(q_width),
            branch: rows_of(config.hidden_size),
            gate: rows_of(config.intermediate_size),
            up: rows_of(config.intermediate_size),
            inputs: LinearInputs::new(pool, m, widest, config.linears_take_floats()),
            last: Buffer::zeroed(pool, size.max_logit_rows * config.hidden_size),
            normed: Buffer::zeroed(pool, size.max_logit_rows * config.hidden_size),
            logits: Buffer::zeroed(pool, size.max_logit_rows * config.vocab_size),
        }
    }
}
