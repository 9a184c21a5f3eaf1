//! The names of tensors: those of llama.cpp, and those of safetensors.

use super::config::Architecture;

/// Linears of a layer, there and here.
const LINEARS: [(&str, &str); 7] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Norms of a layer, there and here.
const NORMS: [(&str, &str); 4] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_sub_norm", "self_attn.attn_sub_norm"),
    ("ffn_sub_norm", "mlp.ffn_sub_norm"),
];

/// Tensors outside the layers.
const OTHERS: [(&str, &str); 3] = [
    ("token_embd.weight", crate::config::EMBEDDING),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", crate::config::HEAD),
];

/// The name of a tensor here; one that is not known keeps its own, so that it is refused by it.
pub(crate) fn model_name(architecture: Architecture, name: &str) -> String {
    if let Some((_, here)) = OTHERS.iter().find(|(there, _)| *there == name) {
        return (*here).to_owned();
    }
    layer_name(architecture, name).unwrap_or_else(|| name.to_owned())
}

/// The name of a tensor there; the other direction of [`model_name`]. Nothing where GGUF files have none.
pub(crate) fn gguf_name(name: &str) -> Option<String> {
    if let Some((there, _)) = OTHERS.iter().find(|(_, here)| *here == name) {
        return Some((*there).to_owned());
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let part = crate::config::module_name(part);
    let (there, _) = LINEARS.iter().chain(&NORMS).find(|(_, here)| *here == part)?;
    Some(format!("blk.{layer}.{there}.weight"))
}

/// `model.layers.7.self_attn.q_proj.weight` of `blk.7.attn_q.weight`.
///
/// Older converters of llama.cpp, and ik_llama.cpp's, write the linears of a `bitnet` as -1, 0 and 1, and beside
/// `blk.7.attn_q.weight` the scale `blk.7.attn_q.scale`, by which both programs multiply what the linear gives.
fn layer_name(architecture: Architecture, name: &str) -> Option<String> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let is_number =
        layer.bytes().all(|digit| digit.is_ascii_digit()) && !(layer.len() > 1 && layer.starts_with('0'));
    let (part, end) = part.split_once('.').filter(|_| is_number && !layer.is_empty())?;
    let is_part = |(there, _): &&(&str, &str)| *there == part;
    let ((_, here), end) = match end {
        "weight" => (LINEARS.iter().chain(&NORMS).find(is_part)?, "weight"),
        "scale" if architecture == Architecture::Bitnet => (LINEARS.iter().find(is_part)?, "weight_scale"),
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{here}.{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_and_unknown_ones_kept() {
        for (there, here) in [
            ("blk.17.ffn_sub_norm.weight", "model.layers.17.mlp.ffn_sub_norm.weight"),
            ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight"),
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output_norm.weight", "model.norm.weight"),
        ] {
            assert_eq!(model_name(Architecture::Llama, there), here);
            assert_eq!(gguf_name(here).as_deref(), Some(there));
        }
        for (there, here) in [
            ("blk.0.attn_q.bias", "blk.0.attn_q.bias"),
            ("blk.00.attn_q.weight", "blk.00.attn_q.weight"),
            ("blk.x.attn_q.weight", "blk.x.attn_q.weight"),
            ("rope_freqs.weight", "rope_freqs.weight"),
            ("blk.0.attn_q.weight.scale", "blk.0.attn_q.weight.scale"),
            ("blk.0.attn_norm.scale", "blk.0.attn_norm.scale"),
            ("blk.0.attn_q.scale", "model.layers.0.self_attn.q_proj.weight_scale"),
        ] {
            assert_eq!(model_name(Architecture::Bitnet, there), here);
        }
        assert_eq!(gguf_name("model.layers.0.mlp.up_proj.rms_norm.weight"), None);
        assert_eq!(model_name(Architecture::BitnetB158, "blk.0.attn_q.scale"), "blk.0.attn_q.scale");
    }
}
