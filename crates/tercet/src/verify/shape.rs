//! Comparing configurations. How the linears are stored is not part of a model's shape.

use super::{Check, Outcome};
use crate::config::Config;

/// Compares what makes the function: sizes, norms, activation, rotary base, and how texts begin and end.
pub fn compare(a: &Config, b: &Config) -> Check {
    let mut differences = Vec::new();
    let mut compared = 0;
    macro_rules! same {
        ($($field:ident),* $(,)?) => {$(
            compared += 1;
            if a.$field != b.$field {
                differences.push(format!("`{}` is {:?} and {:?}", stringify!($field), a.$field, b.$field));
            }
        )*};
    }
    same!(
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        vocab_size,
        max_position_embeddings,
        rms_norm_eps,
        rope_theta,
        tie_word_embeddings,
        hidden_act,
    );
    // One that says nothing may be made to say it.
    if a.bos_token_id.is_some() && a.bos_token_id != b.bos_token_id {
        differences.push(format!("`bos_token_id` is {:?} and {:?}", a.bos_token_id, b.bos_token_id));
    }
    for (place, [own, other]) in [
        ("before attention and MLP", [a, b].map(|config| config.norms.pre)),
        ("before `o_proj` and `down_proj`", [a, b].map(|config| config.norms.sub.is_some())),
        ("inside every linear", [a, b].map(|config| config.norms.in_linear_eps.is_some())),
    ] {
        if own != other {
            let owner = if own { "first" } else { "second" };
            differences.push(format!("norms {place} are in the {owner} alone"));
        }
    }
    if let (Some(own), Some(other)) = (a.norms.in_linear_eps, b.norms.in_linear_eps)
        && own != other
    {
        differences.push(format!("the epsilon of norms inside every linear is {own} and {other}"));
    }
    // A GGUF file knows tokens that end a turn by their names, so it may have more.
    if let Some(end) = a.eos_token_ids.iter().find(|end| !b.eos_token_ids.contains(end)) {
        differences.push(format!("token {end} ends a text of the first alone"));
    }
    compared += 3;
    let differing = differences.len() as u64;
    let (outcome, detail) = match differing {
        0 => (Outcome::Equal, format!("{} layers, hidden size {}", a.num_hidden_layers, a.hidden_size)),
        _ => (Outcome::Differs, differences.join("; ")),
    };
    Check { name: "shape", outcome, compared, differing, largest_difference: 0.0, detail }
}
