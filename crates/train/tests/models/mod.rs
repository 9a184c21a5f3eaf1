//! Small models of every norm placement and activation, for the tests of this crate.
#![allow(dead_code, reason = "each test includes the file and uses its own part")]

use tercet::config::{Activation, Config, Family, Linears, Norms, SubNorms};

const PRE: Norms = Norms { pre: true, sub: None, in_linear_eps: None };
const IN_LINEAR: Norms = Norms { pre: false, sub: None, in_linear_eps: Some(1e-6) };
const BOTH: Norms = Norms { in_linear_eps: Some(1e-6), ..PRE };
const SUB: Norms = Norms { sub: Some(SubNorms::Bitnet), ..PRE };
const ONE_BIT_LLM: Norms = Norms { sub: Some(SubNorms::OneBitLlm), ..PRE };

/// Every placement of norms, with an activation and a kind of linears.
pub(crate) const MODELS: [(&str, Norms, Activation, Linears); 8] = [
    ("in-linear", IN_LINEAR, Activation::Silu, Linears::Masters),
    ("in-linear relu2", IN_LINEAR, Activation::Relu2, Linears::Masters),
    ("pre", PRE, Activation::Silu, Linears::Masters),
    ("pre and in-linear", BOTH, Activation::Silu, Linears::Masters),
    ("sub relu2", SUB, Activation::Relu2, Linears::Masters),
    ("1bitllm", ONE_BIT_LLM, Activation::Silu, Linears::Masters),
    ("dense", PRE, Activation::Silu, Linears::Dense),
    ("dense relu2", PRE, Activation::Relu2, Linears::Dense),
];

/// A model of two layers whose sizes are multiples of nothing.
pub(crate) fn model_config(norms: Norms, hidden_act: Activation, linears: Linears) -> Config {
    let family = match (linears, norms.sub, norms.in_linear_eps) {
        (Linears::Dense, ..) => Family::DenseLlama,
        (_, Some(SubNorms::Bitnet), _) => Family::Bitnet,
        (_, Some(SubNorms::OneBitLlm), _) => Family::OneBitLlm,
        (_, None, Some(_)) => Family::NormInLinear,
        (_, None, None) => Family::TernaryLlama,
    };
    Config {
        hidden_size: 36,
        intermediate_size: 50,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 6,
        vocab_size: 61,
        max_position_embeddings: 256,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: hidden_act == Activation::Silu,
        hidden_act,
        norms,
        linears,
        family,
        family_evidence: String::new(),
        bos_token_id: None,
        eos_token_ids: Vec::new(),
    }
}
