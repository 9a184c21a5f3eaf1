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
    );
    if a.hidden_act != b.hidden_act {
        let [own, other] = [a, b].map(|config| config.hidden_act.name());
        differences.push(format!("`hidden_act` is `{own}` and `{other}`"));
    }
    // One that says nothing may be made to say it.
    if a.bos_token_id.is_some() && a.bos_token_id != b.bos_token_id {
        let [own, other] = [a, b]
            .map(|config| config.bos_token_id.map_or_else(|| "none".to_owned(), |token| token.to_string()));
        differences.push(format!("`bos_token_id` is {own} and {other}"));
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
    // The activation, the three norms, the epsilon of those inside linears, and how a text begins and ends.
    compared += 7;
    let differing = differences.len() as u64;
    let (outcome, detail) = match differing {
        0 => (Outcome::Equal, format!("{} layers, hidden size {}", a.num_hidden_layers, a.hidden_size)),
        _ => (Outcome::Differs, differences.join("; ")),
    };
    Check { name: "shape", outcome, compared, differing, largest_difference: 0.0, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, Family, Norms, SubNorms};
    use crate::presets::PRESETS;

    #[test]
    fn no_more_differs_than_is_compared() {
        let norms = Norms { pre: true, sub: None, in_linear_eps: Some(1e-6) };
        let a = Config { norms, bos_token_id: Some(1), eos_token_ids: vec![2], ..PRESETS[0].config() };
        let alone = compare(&a, &a);
        assert_eq!((alone.compared, alone.differing), (18, 0));
        let norms = Norms { pre: false, sub: Some(SubNorms::Bitnet), in_linear_eps: None };
        let b =
            Config { norms, bos_token_id: None, eos_token_ids: vec![3], family: Family::Bitnet, ..a.clone() };
        let check = compare(&a, &b);
        assert_eq!((check.compared, check.differing), (18, 5), "{}", check.detail);
        assert!(check.detail.contains("`bos_token_id` is 1 and none"), "{}", check.detail);
        let b = Config { hidden_act: Activation::Relu2, ..a.clone() };
        let a = Config { hidden_act: Activation::Silu, ..a };
        assert_eq!(compare(&a, &b).detail, "`hidden_act` is `silu` and `relu2`");
    }
}
