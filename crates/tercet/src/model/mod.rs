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

mod blocks;
mod error;
mod first_error;
mod linear;
mod load;
mod memory;
mod operations;
mod profile;
mod random;
mod ternary_rows;
mod vocabulary;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tercet_kernels::ops::{Source, TokenScore};
use tercet_kernels::{Buffer, KvCache, KvType, Pool, RotaryTable, Sequence, Worker, ops};

pub use error::{ForwardError, LoadError};
pub(crate) use first_error::FirstError;
pub use linear::{BitLinear, Linear, RmsNorm};
pub use memory::MemoryNeed;
pub use operations::{Operations, PRODUCT_ENERGY_RATIO};
pub use profile::WorkTimes;
pub use ternary_rows::{RowReader, TernaryRows};
pub use vocabulary::{Head, HeadType, WeightTypes};

use crate::config::{Activation, Config};
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
        let source = match pass.config.hidden_act {
            Activation::Silu => Source::SiluGate { gate: &s.gate, up: &s.up },
            Activation::Relu2 => Source::Relu2Gate { gate: &s.gate, up: &s.up },
        };
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

    fn linear_bytes(&self) -> usize {
        self.layers.iter().flat_map(Layer::linears).map(|(_, linear)| linear.size_bytes()).sum()
    }
}

/// Rows of a pass that serve a prompt best: enough that weights are decoded for many tokens, and few
/// enough that what lies between two products stays in a processor's cache (512 are 5 % slower on
/// AMD Zen 5).
pub const PROMPT_ROWS: usize = 128;

/// How much room a [`Session`] has.
#[derive(Debug, Clone, Copy)]
pub struct SessionSize {
    /// Positions a sequence may have.
    pub context: usize,
    /// Rows (tokens of all sequences) of one pass.
    pub max_rows: usize,
    /// Rows of one pass whose logits are wanted.
    pub max_logit_rows: usize,
}

impl SessionSize {
    /// No room: for the memory of a model that is only read.
    pub const NONE: SessionSize = SessionSize { context: 0, max_rows: 0, max_logit_rows: 0 };
}

/// Which rows of a pass get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows<'a> {
    /// None: more of a prompt follows.
    None,
    /// The last row of each sequence.
    Last,
    /// Every row.
    All,
    /// These, by their number in the pass: the tokens of the first sequence, then those of the next.
    Of(&'a [usize]),
}

/// The passes that a prompt goes in: up to `max_rows` tokens each, and logits of the last token only.
pub fn prompt_passes(tokens: &[u32], max_rows: usize) -> impl Iterator<Item = (&[u32], LogitRows<'static>)> {
    let passes = tokens.len().div_ceil(max_rows);
    let logit_rows = move |pass| if pass + 1 == passes { LogitRows::Last } else { LogitRows::None };
    tokens.chunks(max_rows).enumerate().map(move |(pass, tokens)| (tokens, logit_rows(pass)))
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

/// Buffers and tables to run a model with; the step itself allocates nothing.
pub struct Session<'model> {
    model: &'model Model,
    size: SessionSize,
    rotary: RotaryTable,
    scratch: Scratch,
    profile: Option<Profile>,
}

impl<'model> Session<'model> {
    /// Room for passes of `size`.
    pub fn new(model: &'model Model, size: SessionSize) -> Self {
        let config = &model.config;
        Session {
            model,
            size,
            rotary: RotaryTable::new(config.head_dim, config.rope_theta, size.context),
            scratch: Scratch::new(&model.pool, config, &size),
            profile: None,
        }
    }

    /// The model.
    pub fn model(&self) -> &'model Model {
        self.model
    }

    /// The room it has.
    pub fn size(&self) -> SessionSize {
        self.size
    }

    /// Measures from now on where the time of passes goes, from 0.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::default());
    }

    /// Where the time went since [`start_profile`](Self::start_profile), if that was called.
    pub fn work_times(&self) -> Option<WorkTimes> {
        self.profile.as_ref().map(Profile::times)
    }

    /// An empty cache for one sequence of up to the session's context.
    pub fn new_cache(&self, kv_type: KvType) -> KvCache {
        let config = &self.model.config;
        KvCache::new(
            &self.model.pool,
            kv_type,
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
            self.size.context,
        )
    }

    /// Runs the new tokens of every sequence, appends them to their caches, and returns logits.
    ///
    /// # Shapes
    /// Returns `[rows, vocabulary]`, the rows being those of `logit_rows`, sequence after sequence.
    ///
    /// # Errors
    /// [`ForwardError`] if tokens, positions or rows do not fit, or a logit is not finite. The
    /// caches are then as before.
    pub fn forward(
        &mut self,
        sequences: &mut [Sequence<'_>],
        logit_rows: LogitRows<'_>,
    ) -> Result<&[f32], ForwardError> {
        let Session { model, size, rotary, scratch: s, profile } = self;
        let profile = profile.as_ref();
        let config = &model.config;
        let rows: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
        check_pass(config, size, sequences, rows)?;
        let wanted = match logit_rows {
            LogitRows::All => rows,
            LogitRows::Last => sequences.len(),
            LogitRows::None => 0,
            LogitRows::Of(wanted) => {
                if let Some(row) = wanted.iter().find(|row| **row >= rows) {
                    return Err(ForwardError::NoSuchRow { found: *row, expected: rows });
                }
                wanted.len()
            }
        };
        if wanted > size.max_logit_rows {
            return Err(ForwardError::LogitRows { found: wanted, expected: size.max_logit_rows });
        }

        let started = profile.map(|_| Instant::now());
        model.pool.run(|worker| {
            let sequences = &*sequences;
            let tokens = sequences.iter().flat_map(|sequence| sequence.tokens.iter().copied());
            model.embed_tokens.read(worker, tokens, &s.hidden);
            worker.barrier();
            for (cache_layer, layer) in model.layers.iter().enumerate() {
                let pass = Pass { config, rotary, sequences, rows, cache_layer, profile };
                layer.forward(worker, &pass, cache_layer > 0, s);
            }
            ops::add_assign(worker, &s.hidden, &s.branch, rows, config.hidden_size);
            worker.barrier();
            match logit_rows {
                LogitRows::None => return,
                LogitRows::All => ops::gather_rows(worker, &s.hidden, 0..rows, config.hidden_size, &s.last),
                LogitRows::Last => {
                    let last_rows = last_rows(sequences);
                    ops::gather_rows(worker, &s.hidden, last_rows, config.hidden_size, &s.last);
                }
                LogitRows::Of(rows) => {
                    ops::gather_rows(worker, &s.hidden, rows.iter().copied(), config.hidden_size, &s.last);
                }
            }
            worker.barrier();
            ops::rms_norm(worker, &s.last, wanted, &model.norm.gain, model.norm.eps, &s.normed);
            worker.barrier();
            timed(profile, Work::Products, worker, |worker| {
                model.lm_head.project(worker, &s.normed, wanted, s.inputs.int8(), &s.logits);
            });
        });
        if let Some((profile, started)) = profile.zip(started) {
            profile.add_pass(started.elapsed());
        }

        let logits = &s.logits.as_mut_slice()[..wanted * config.vocab_size];
        if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(ForwardError::NotFinite { row: index / config.vocab_size });
        }
        for sequence in sequences {
            sequence.cache.advance(sequence.tokens.len());
        }
        Ok(logits)
    }

    /// Runs a pass and says how likely each of some tokens is after its row, without a copy of the logits.
    ///
    /// `rows` are as in [`LogitRows::Of`]; `targets` are pairs of an index in `rows` and a token, the
    /// indices ascending; `scores` are theirs, in order.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    ///
    /// # Panics
    /// If the indices do not ascend, or a target is not in the vocabulary.
    pub fn score(
        &mut self,
        sequences: &mut [Sequence<'_>],
        rows: &[usize],
        targets: &[(usize, u32)],
    ) -> Result<Vec<TokenScore>, ForwardError> {
        self.forward(sequences, if rows.is_empty() { LogitRows::None } else { LogitRows::Of(rows) })?;
        let scores = Mutex::new(Vec::with_capacity(targets.len()));
        let vocab_size = self.model.config.vocab_size;
        self.model.pool.run(|worker| {
            let shape = [rows.len(), vocab_size];
            ops::log_probabilities(worker, &self.scratch.logits, shape, targets, &scores);
        });
        let mut scores = scores.into_inner().unwrap_or_else(PoisonError::into_inner);
        scores.sort_unstable_by_key(|(index, _)| *index);
        Ok(scores.into_iter().map(|(_, score)| score).collect())
    }

    /// One layer alone, for checks against a reference: `hidden` is `[rows, hidden_size]` at
    /// positions 0 and on, the result has the same shape.
    ///
    /// # Panics
    /// If the rows do not fit the session, or there is no such layer.
    pub fn forward_layer(&mut self, layer: usize, hidden: &[f32], kv_type: KvType) -> Vec<f32> {
        let Session { model, rotary, scratch: s, .. } = self;
        let config = &model.config;
        let rows = hidden.len() / config.hidden_size;
        s.hidden.as_mut_slice()[..hidden.len()].copy_from_slice(hidden);
        let (heads, head_dim) = (config.num_key_value_heads, config.head_dim);
        let mut cache = KvCache::new(&model.pool, kv_type, 1, heads, head_dim, rows);
        let tokens = vec![0; rows];
        let sequences = [Sequence { tokens: &tokens, cache: &mut cache }];
        model.pool.run(|worker| {
            let pass = Pass { config, rotary, sequences: &sequences, rows, cache_layer: 0, profile: None };
            model.layers[layer].forward(worker, &pass, false, s);
            ops::add_assign(worker, &s.hidden, &s.branch, rows, config.hidden_size);
        });
        s.hidden.as_mut_slice()[..hidden.len()].to_vec()
    }
}

/// The index of each sequence's last row in the pass.
fn last_rows<'a>(sequences: &'a [Sequence<'_>]) -> impl Iterator<Item = usize> + Clone + 'a {
    sequences.iter().scan(0, |end, sequence| {
        *end += sequence.tokens.len();
        Some(*end - 1)
    })
}

fn check_pass(
    config: &Config,
    size: &SessionSize,
    sequences: &[Sequence<'_>],
    rows: usize,
) -> Result<(), ForwardError> {
    if rows > size.max_rows {
        return Err(ForwardError::Rows { found: rows, expected: size.max_rows });
    }
    for sequence in sequences {
        if sequence.tokens.is_empty() {
            return Err(ForwardError::NoTokens);
        }
        let context = sequence.cache.capacity().min(size.context);
        let positions = sequence.cache.len() + sequence.tokens.len();
        if positions > context {
            return Err(ForwardError::Context { found: positions, expected: context });
        }
        if let Some(token) = sequence.tokens.iter().find(|token| **token as usize >= config.vocab_size) {
            return Err(ForwardError::Token { found: *token, expected: config.vocab_size });
        }
    }
    Ok(())
}
