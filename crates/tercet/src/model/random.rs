//! Models with random weights, made directly in the kernels' layouts: for measuring speed.

use std::sync::Arc;

use tercet_kernels::{DenseBuilder, DenseMatrix, DenseType, Layout, Pool, TernaryBuilder};

use super::vocabulary::{Embedding, quantize_head};
use super::{Attention, BitLinear, Head, HeadType, Layer, Linear, Mlp, Model, RmsNorm, WeightTypes};
use crate::config::{Config, linear_shape};
use crate::random::{embedding_value, mix};

impl Model {
    /// A model of this shape whose weights are pseudo-random and the same for the same seed.
    ///
    /// Scales are such that every linear keeps the size of its input, so that a pass is finite;
    /// the text it writes is noise. Embedding and head are bf16, or the head in fewer bits.
    pub fn random(config: Config, pool: Arc<Pool>, weights: impl Into<WeightTypes>, seed: u64) -> Model {
        let WeightTypes { layout, head } = weights.into();
        let random = Random { pool: &pool, config: &config, layout, seed };
        let layers = (0..config.num_hidden_layers as u64).map(|layer| random.layer(layer * 8)).collect();
        let (embed_tokens, lm_head) = random.vocabulary(head);
        let norm = unit_norm(config.hidden_size, config.rms_norm_eps);
        Model { config, embed_tokens, layers, norm, lm_head, pool }
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
        let seed = self.seed;
        let element = move |stream: u64| move |i: u64| embedding_value(mix(seed ^ mix(stream) ^ i));
        let head_element = element(if is_tied { u64::MAX } else { u64::MAX - 1 });
        let head = match head {
            HeadType::Checkpoint => Head::Dense(Arc::new(self.dense(shape, head_element))),
            HeadType::Quantized(quantized_type) => {
                quantize_head(self.pool, quantized_type, shape, |row, values| {
                    for (i, value) in ((row * shape[1]) as u64..).zip(values) {
                        *value = head_element(i).to_f32();
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
        let builder = TernaryBuilder::new(self.pool, [rows, cols], self.layout);
        self.pool.run(|worker| {
            let fill = |first_row: usize, codes: &mut [u8]| {
                let first = (first_row * cols) as u64;
                for (i, codes) in (0..).zip(codes.chunks_mut(32)) {
                    let mut bits = mix(self.seed ^ mix(stream) ^ (first + 32 * i));
                    for code in codes {
                        *code = (bits % 3) as u8;
                        bits /= 3;
                    }
                }
            };
            builder.pack(worker, fill, |_| unreachable!("a remainder of 3 is 0, 1 or 2"));
        });
        // Two thirds of the weights are not 0: this scale keeps the variance of a normed input.
        let scale = (1.5 / cols as f32).sqrt();
        let norm = self.config.norms.in_linear_eps.map(|eps| unit_norm(cols, eps));
        Linear::Ternary(BitLinear { matrix: builder.finish(), scale, norm })
    }

    fn dense(&self, [rows, cols]: [usize; 2], element: impl Fn(u64) -> half::bf16) -> DenseMatrix {
        let bytes: Vec<u8> = (0..(rows * cols) as u64).flat_map(|i| element(i).to_le_bytes()).collect();
        let builder = DenseBuilder::new(self.pool, DenseType::Bf16, [rows, cols]);
        self.pool.run(|worker| {
            builder.copy(worker, &bytes, |_| (), |_| unreachable!("the numbers are finite"));
        });
        builder.finish()
    }
}

fn unit_norm(width: usize, eps: f32) -> RmsNorm {
    RmsNorm { gain: vec![1.0; width], eps }
}
