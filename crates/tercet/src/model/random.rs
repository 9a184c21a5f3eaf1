//! Models with random weights, made directly in the kernels' layouts: for measuring speed.

use std::sync::Arc;

use tercet_kernels::{DenseBuilder, DenseMatrix, DenseType, Layout, Pool, TernaryBuilder};

use super::vocabulary::{Embedding, quantize_head};
use super::{Attention, BitLinear, Head, HeadType, Layer, Linear, Mlp, Model, RmsNorm, WeightTypes};
use crate::config::{Config, Linears, linear_shape};
use crate::random::{EMBEDDING_LIMIT, even, mix};

impl Model {
    /// A model of this shape whose weights are pseudo-random and the same for the same seed.
    ///
    /// Scales are such that every linear keeps the size of its input, so that a pass is finite;
    /// the text it writes is noise. Embedding and head are bf16, or the head in fewer bits; in a
    /// dense model they are f16, as its linears are. Weights are made where they stay, by all workers.
    pub fn random(config: Config, pool: Arc<Pool>, weights: impl Into<WeightTypes>, seed: u64) -> Model {
        let WeightTypes { layout, head } = weights.into();
        let random = Random { pool: &pool, config: &config, layout, seed };
        let layers = (0..config.num_hidden_layers as u64).map(|layer| random.layer(layer * 8)).collect();
        let (embed_tokens, lm_head) = random.vocabulary(head);
        let norm = unit_norm(config.hidden_size, config.rms_norm_eps);
        Model { config, embed_tokens, layers, norm, lm_head, pool }
    }
}

/// The number type of embedding and head.
fn table_type(config: &Config) -> DenseType {
    match config.linears {
        Linears::Dense => DenseType::F16,
        Linears::Packed { .. } | Linears::Masters | Linears::Blocks => DenseType::Bf16,
    }
}

struct Random<'a> {
    pool: &'a Pool,
    config: &'a Config,
    layout: Layout,
    seed: u64,
}

impl Random<'_> {
    fn vocabulary(&self, head: HeadType) -> (Embedding, Head) {
        let shape = [self.config.vocab_size, self.config.hidden_size];
        let is_tied = self.config.tie_word_embeddings;
        let head_stream = if is_tied { u64::MAX } else { u64::MAX - 1 };
        let element = |stream: u64| {
            let first = self.seed ^ mix(stream);
            move |i: u64| even(mix(first ^ i), EMBEDDING_LIMIT)
        };
        let head = match head {
            HeadType::Checkpoint => {
                let table = self.dense(table_type(self.config), shape, EMBEDDING_LIMIT, head_stream);
                Head::Dense(Arc::new(table))
            }
            HeadType::Quantized(quantized_type) => {
                let element = element(head_stream);
                quantize_head(self.pool, quantized_type, shape, |row, values| {
                    for (i, value) in ((row * shape[1]) as u64..).zip(values) {
                        *value = element(i);
                    }
                })
            }
        };
        let embedding = match &head {
            Head::Dense(table) if is_tied => Embedding::Table(Arc::clone(table)),
            _ => Embedding::Random { shape, value: Box::new(element(u64::MAX)) },
        };
        (embedding, head)
    }

    fn layer(&self, first_stream: u64) -> Layer {
        let config = self.config;
        let hidden = config.hidden_size;
        let linear = |stream: u64, name: &str| self.linear(linear_shape(config, name), first_stream + stream);
        let pre_norm = || config.norms.pre.then(|| unit_norm(hidden, config.rms_norm_eps));
        let sub_norm = |width| config.norms.sub.map(|_| unit_norm(width, config.rms_norm_eps));
        Layer {
            input_layernorm: pre_norm(),
            self_attn: Attention {
                q_proj: linear(0, "self_attn.q_proj"),
                k_proj: linear(1, "self_attn.k_proj"),
                v_proj: linear(2, "self_attn.v_proj"),
                o_proj: linear(3, "self_attn.o_proj"),
                sub_norm: sub_norm(config.attention_size()),
            },
            post_attention_layernorm: pre_norm(),
            mlp: Mlp {
                gate_proj: linear(4, "mlp.gate_proj"),
                up_proj: linear(5, "mlp.up_proj"),
                down_proj: linear(6, "mlp.down_proj"),
                sub_norm: sub_norm(config.intermediate_size),
            },
        }
    }

    fn linear(&self, [rows, cols]: [usize; 2], stream: u64) -> Linear {
        if self.config.linears == Linears::Dense {
            // The variance of an even distribution is a third of its limit's square.
            let limit = (3.0 / cols as f32).sqrt();
            return Linear::Dense(self.dense(DenseType::F16, [rows, cols], limit, stream));
        }
        let builder = TernaryBuilder::new(self.pool, [rows, cols], self.layout);
        let first = self.seed ^ mix(stream);
        self.pool.run(|worker| builder.fill_random(worker, |i| mix(first ^ i)));
        // Two thirds of the weights are not 0: this scale keeps the variance of a normed input.
        let scale = (1.5 / cols as f32).sqrt();
        let norm = self.config.norms.in_linear_eps.map(|eps| unit_norm(cols, eps));
        Linear::Ternary(BitLinear { matrix: builder.finish(), scale, norm })
    }

    fn dense(&self, dense_type: DenseType, shape: [usize; 2], limit: f32, stream: u64) -> DenseMatrix {
        let builder = DenseBuilder::new(self.pool, dense_type, shape);
        let first = self.seed ^ mix(stream);
        self.pool.run(|worker| builder.fill(worker, |i| even(mix(first ^ i), limit)));
        builder.finish()
    }
}

fn unit_norm(width: usize, eps: f32) -> RmsNorm {
    RmsNorm { gain: vec![1.0; width], eps }
}

#[cfg(test)]
mod tests {
    use tercet_kernels::{Isa, KvType, Sequence};

    use super::*;
    use crate::model::{LogitRows, Session, SessionSize};
    use crate::presets::PRESETS;

    fn logits(config: &Config, layout: Layout, threads: usize) -> Vec<f32> {
        let pool = Arc::new(Pool::new(Isa::best(), threads));
        let model = Model::random(config.clone(), pool, layout, 3);
        let mut session = Session::new(&model, SessionSize { context: 8, max_rows: 5, max_logit_rows: 1 });
        let mut cache = session.new_cache(KvType::F16);
        let mut sequences = [Sequence { tokens: &[1, 2, 3, 4, 5], cache: &mut cache }];
        session.forward(&mut sequences, LogitRows::Last).unwrap().to_vec()
    }

    #[test]
    fn every_shape_gives_finite_logits_whatever_the_threads() {
        for preset in PRESETS {
            for config in [preset.config(), preset.dense_config()] {
                let small = Config {
                    hidden_size: 64,
                    intermediate_size: 172,
                    num_hidden_layers: 2,
                    num_attention_heads: 4,
                    num_key_value_heads: 2,
                    head_dim: 16,
                    vocab_size: 100,
                    ..config
                };
                for layout in [Layout::TwoBit, Layout::BaseThree] {
                    let found = logits(&small, layout, 1);
                    assert!(found.iter().any(|logit| *logit != 0.0), "{}", preset.name);
                    assert_eq!(found, logits(&small, layout, 2), "{} {layout:?}", preset.name);
                }
            }
        }
    }
}
