//! How much memory a model and a session will take, before any of it is taken.
//!
//! It knows sizes and no machine: whether they fit is for whoever asks to find out.

use tercet_kernels::{KV_BLOCK, KvType};

use super::{HeadType, SessionSize, WeightTypes};
use crate::checkpoint::Checkpoint;
use crate::config::{
    Config, ExpectedTensor, Linears, TensorKind, expected_tensors, linear_shape, module_name,
};

/// Bytes of memory that a model takes with one session and one cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeed {
    /// The weights, as the kernels hold them.
    pub weight_bytes: u64,
    /// Keys and values of one sequence that fills the context.
    pub cache_bytes: u64,
    /// The buffers and tables of a session.
    pub scratch_bytes: u64,
}

impl MemoryNeed {
    /// What `Model::from_checkpoint`, a session of this size and one cache take.
    ///
    /// # Panics
    /// If the configuration was read from another checkpoint.
    pub fn of_checkpoint(
        config: &Config,
        checkpoint: &Checkpoint,
        weights: impl Into<WeightTypes>,
        size: &SessionSize,
        kv_type: KvType,
    ) -> Self {
        let stored_bytes = |tensor: &ExpectedTensor| {
            let stored = checkpoint.get(&tensor.name);
            let stored = stored.expect("MemoryNeed: the configuration was checked against the checkpoint");
            // Blocks become floats.
            let is_blocks = stored.dtype.is_quantized_block();
            if is_blocks { 4 * elements(stored.shape) } else { stored.bytes.len() as u64 }
        };
        Self::new(weight_bytes(config, weights.into(), stored_bytes), config, size, kv_type)
    }

    /// What `Model::random`, a session of this size and one cache take.
    pub fn of_random(
        config: &Config,
        weights: impl Into<WeightTypes>,
        size: &SessionSize,
        kv_type: KvType,
    ) -> Self {
        /// Of a bf16 or f16: the types of dense tensors.
        const NUMBER_BYTES: u64 = 2;
        let stored_bytes = |tensor: &ExpectedTensor| elements(&tensor.shape) * NUMBER_BYTES;
        Self::new(weight_bytes(config, weights.into(), stored_bytes), config, size, kv_type)
    }

    /// Keys and values of one position, in all layers.
    pub fn cache_bytes_per_position(config: &Config, kv_type: KvType) -> u64 {
        config.kv_shape().position_bytes(kv_type) as u64
    }

    /// The buffers of a session that one decoded token fills, logits included. They are small enough
    /// to stay in a cache between the layers, so a token takes them from memory once at most.
    pub fn activation_bytes_per_token(config: &Config) -> u64 {
        scratch_bytes(config, &SessionSize { context: 0, max_rows: 1, max_logit_rows: 1 })
    }

    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.weight_bytes.saturating_add(self.cache_bytes).saturating_add(self.scratch_bytes)
    }

    fn new(weight_bytes: u64, config: &Config, size: &SessionSize, kv_type: KvType) -> Self {
        MemoryNeed {
            weight_bytes,
            cache_bytes: cache_bytes(config, size, kv_type),
            scratch_bytes: scratch_bytes(config, size),
        }
    }
}

/// Bytes of all weights in memory; dense ones have `stored_bytes`.
fn weight_bytes(
    config: &Config,
    WeightTypes { layout, head }: WeightTypes,
    stored_bytes: impl Fn(&ExpectedTensor) -> u64,
) -> u64 {
    let bytes = |tensor: &ExpectedTensor| match (tensor.kind, config.linears) {
        (TensorKind::Linear, Linears::Packed { .. } | Linears::Masters | Linears::Blocks) => {
            layout.matrix_bytes(linear_shape(config, linear_name(&tensor.name))) as u64
        }
        (TensorKind::Linear, Linears::Dense) => stored_bytes(tensor),
        // An embedding that is not the head stays in its file.
        (TensorKind::Embedding, _) if !config.tie_word_embeddings => 0,
        (TensorKind::Embedding | TensorKind::Head, _) => match head {
            HeadType::Checkpoint => stored_bytes(tensor),
            HeadType::Quantized(quantized_type) => {
                quantized_type.matrix_bytes([config.vocab_size, config.hidden_size]) as u64
            }
        },
        (TensorKind::Norm | TensorKind::WeightScale, _) => elements(&tensor.shape) * 4,
    };
    expected_tensors(config).iter().map(bytes).sum()
}

/// `self_attn.q_proj` of `model.layers.7.self_attn.q_proj.weight`.
fn linear_name(tensor: &str) -> &str {
    let name = module_name(tensor);
    name.splitn(4, '.').nth(3).unwrap_or(name)
}

fn elements(shape: &[usize]) -> u64 {
    shape.iter().map(|size| *size as u64).product()
}

/// Keys and values of every layer, in whole blocks of positions.
fn cache_bytes(config: &Config, size: &SessionSize, kv_type: KvType) -> u64 {
    let positions = (size.context as u64).next_multiple_of(KV_BLOCK as u64);
    positions.saturating_mul(MemoryNeed::cache_bytes_per_position(config, kv_type))
}

/// The buffers of `Scratch` and the rotary table; a few rows for each thread are left out.
fn scratch_bytes(config: &Config, size: &SessionSize) -> u64 {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let attention = config.attention_size();
    let key_value = config.num_key_value_heads * config.head_dim;
    let widest = hidden.max(intermediate).max(attention);
    let kept = if config.linears_take_floats() { 2 * widest } else { 0 };
    let row_floats = 2 * hidden + 2 * attention + 2 * key_value + 2 * intermediate + kept;
    // The int8 codes are padded to whole blocks; a scale and a sum belong to each row.
    let row_bytes = 4 * row_floats + widest.next_multiple_of(160) + 8;
    let logit_row_bytes = 4 * (2 * hidden + config.vocab_size);
    let bytes = |rows: usize, row_bytes: usize| (rows as u64).saturating_mul(row_bytes as u64);
    bytes(size.max_rows, row_bytes)
        .saturating_add(bytes(size.max_logit_rows, logit_row_bytes))
        .saturating_add(bytes(size.context, 4 * config.head_dim))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tercet_kernels::{Isa, Layout, Pool};

    use super::*;
    use crate::model::{Model, Scratch};
    use crate::tiny_model::{KINDS, TinyModel};

    const SIZE: SessionSize = SessionSize { context: 70, max_rows: 5, max_logit_rows: 3 };

    fn scratch_floats(scratch: &Scratch) -> usize {
        let Scratch { hidden, q, k, v, attended, branch, gate, up, .. } = scratch;
        let rows = [hidden, q, k, v, attended, branch, gate, up];
        let logits = [&scratch.last, &scratch.normed, &scratch.logits];
        rows.iter().chain(&logits).map(|buffer| buffer.len()).sum()
    }

    #[test]
    fn the_need_is_what_is_taken() {
        for kind in KINDS {
            let source = TinyModel::new(kind).source();
            let checkpoint = Checkpoint::open(&source).unwrap();
            let pool = Arc::new(Pool::new(Isa::scalar(), 1));
            let model = Model::load(&source, Arc::clone(&pool), Layout::BaseThree).unwrap();
            let config = model.config();
            let need = MemoryNeed::of_checkpoint(config, &checkpoint, Layout::BaseThree, &SIZE, KvType::F16);

            let read = model.resident_bytes();
            let norms: usize = expected_tensors(config)
                .iter()
                .filter(|t| t.kind == TensorKind::Norm)
                .map(|t| t.shape[0])
                .sum();
            let scales = match config.linears {
                Linears::Packed { .. } => 7 * config.num_hidden_layers,
                _ => 0,
            };
            assert_eq!(need.weight_bytes, (read + 4 * (norms + scales)) as u64, "{kind:?}");

            let session = crate::model::Session::new(&model, SIZE);
            for kv_type in [KvType::F32, KvType::F16, KvType::Int8] {
                let cache = session.new_cache(kv_type);
                let want = cache.read_bytes(cache.capacity()) as u64;
                assert_eq!(cache_bytes(config, &SIZE, kv_type), want, "{kind:?}, {kv_type:?}");
            }

            let widest = config.intermediate_size;
            let kept = if config.linears_take_floats() { 8 * widest } else { 0 };
            let inputs = SIZE.max_rows * (kept + widest.next_multiple_of(160) + 8);
            let rotary = SIZE.context * config.head_dim;
            let want = 4 * (scratch_floats(&session.scratch) + rotary) + inputs;
            assert_eq!(need.scratch_bytes, want as u64, "{kind:?}");
        }
    }

    #[test]
    fn linears_are_named_within_their_layer() {
        assert_eq!(linear_name("model.layers.12.mlp.up_proj.weight"), "mlp.up_proj");
    }
}
