//! The names of tensors: those of llama.cpp, and those of safetensors.

/// Parts of a layer, there and here.
const PARTS: [(&str, &str); 11] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
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
pub(crate) fn model_name(name: &str) -> String {
    if let Some((_, here)) = OTHERS.iter().find(|(there, _)| *there == name) {
        return (*here).to_owned();
    }
    layer_name(name).unwrap_or_else(|| name.to_owned())
}

/// The name of a tensor there; the other direction of [`model_name`].
pub(crate) fn gguf_name(name: &str) -> String {
    if let Some((there, _)) = OTHERS.iter().find(|(_, here)| *here == name) {
        return (*there).to_owned();
    }
    let part = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let (layer, part) = part.expect("gguf_name: a tensor of a layer");
    let part = part.strip_suffix(".weight").unwrap_or(part);
    let found = PARTS.iter().find(|(_, here)| *here == part);
    let (there, _) = found.expect("gguf_name: a tensor that a GGUF file has a name for");
    format!("blk.{layer}.{there}.weight")
}

/// `model.layers.7.self_attn.q_proj.weight` of `blk.7.attn_q.weight`.
fn layer_name(name: &str) -> Option<String> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let is_number =
        layer.bytes().all(|digit| digit.is_ascii_digit()) && !(layer.len() > 1 && layer.starts_with('0'));
    let part = part.strip_suffix(".weight").filter(|_| is_number && !layer.is_empty())?;
    let (_, here) = PARTS.iter().find(|(there, _)| *there == part)?;
    Some(format!("model.layers.{layer}.{here}.weight"))
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
            assert_eq!(model_name(there), here);
            assert_eq!(gguf_name(here), there);
        }
        for (there, here) in [
            ("blk.0.attn_q.bias", "blk.0.attn_q.bias"),
            ("blk.00.attn_q.weight", "blk.00.attn_q.weight"),
            ("blk.x.attn_q.weight", "blk.x.attn_q.weight"),
            ("rope_freqs.weight", "rope_freqs.weight"),
        ] {
            assert_eq!(model_name(there), here);
        }
    }
}
