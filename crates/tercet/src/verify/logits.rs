//! Comparing what two models compute. Only one of them need be in memory at a time.

use tercet_kernels::{KvType, Sequence};

use super::{Check, OnDisk, Outcome};
use crate::model::{ForwardError, LogitRows, MemoryNeed, Model, Session, SessionSize, WeightTypes};

/// The cache that is read.
const KV_TYPE: KvType = KvType::F32;

/// Memory for the logits of two models, each of which takes the place of the other: those of all prompts are kept.
pub fn memory_need(model: &OnDisk, weights: impl Into<WeightTypes>, prompts: &[Vec<u32>]) -> MemoryNeed {
    let OnDisk { checkpoint, config, .. } = model;
    let mut need = MemoryNeed::of_checkpoint(config, checkpoint, weights, &size(prompts), KV_TYPE);
    let logits_bytes = size_of::<f32>() * count(prompts, config.vocab_size);
    need.scratch_bytes = need.scratch_bytes.saturating_add(2 * logits_bytes as u64);
    need
}

/// How many logits the prompts have.
fn count(prompts: &[Vec<u32>], vocab_size: usize) -> usize {
    prompts.iter().map(Vec::len).sum::<usize>() * vocab_size
}

/// One prompt at a time.
fn size(prompts: &[Vec<u32>]) -> SessionSize {
    let rows = prompts.iter().map(Vec::len).max().unwrap_or(0);
    SessionSize { context: rows, max_rows: rows, max_logit_rows: rows }
}

/// The logits of every position of the prompts, one after another; a cache of f32 is read.
///
/// # Errors
/// [`ForwardError`] if a logit is not finite.
pub fn of_model(model: &Model, prompts: &[Vec<u32>]) -> Result<Vec<f32>, ForwardError> {
    let mut session = Session::new(model, size(prompts));
    let mut logits = Vec::with_capacity(count(prompts, model.config().vocab_size));
    for prompt in prompts.iter().filter(|prompt| !prompt.is_empty()) {
        let mut cache = session.new_cache(KV_TYPE);
        let mut sequences = [Sequence { tokens: prompt, cache: &mut cache }];
        logits.extend_from_slice(session.forward(&mut sequences, LogitRows::All)?);
    }
    Ok(logits)
}

/// Compares logits, of which there are `vocab_size` a position; `must_be_equal` says that nothing was rounded.
///
/// # Panics
/// If there are more of one than of the other.
pub fn compare(a: &[f32], b: &[f32], vocab_size: usize, must_be_equal: bool) -> Check {
    assert_eq!(a.len(), b.len(), "compare_logits: the same prompts and vocabulary");
    let differing = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    let largest_difference = differences.fold(0.0, f64::max);
    let positions = a.len() / vocab_size.max(1);
    let rows = a.chunks_exact(vocab_size.max(1)).zip(b.chunks_exact(vocab_size.max(1)));
    let agreeing = rows.filter(|(a, b)| likeliest(a) == likeliest(b)).count();
    let (least, greatest) = a.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), logit| {
        (least.min(*logit), most.max(*logit))
    });
    let outcome = match (differing, must_be_equal) {
        (0, _) => Outcome::Equal,
        (_, true) => Outcome::Differs,
        (_, false) => Outcome::Close,
    };
    let detail = match differing {
        0 => format!("{positions} positions, the same to the last bit"),
        _ => format!(
            "{positions} positions: the largest difference is {largest_difference:.2e} of a range of {:.1}, \
             and the likeliest token is the same at {agreeing}",
            greatest - least,
        ),
    };
    Check { name: "logits", outcome, compared: a.len() as u64, differing, largest_difference, detail }
}

/// The place of the greatest logit; the first of several.
fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use tercet_kernels::Layout;

    use super::*;
    use crate::embedded;

    #[test]
    fn the_logits_of_all_prompts_of_both_models_are_counted() {
        let model = OnDisk::open(embedded::stories()).unwrap();
        let need = |prompts: &[Vec<u32>]| memory_need(&model, Layout::TwoBit, prompts).total_bytes();
        let prompt = vec![1; 60];
        let [one, six] = [1, 6].map(|count| need(&vec![prompt.clone(); count]));
        assert_eq!(six - one, 5 * 2 * 60 * 4 * model.config.vocab_size as u64);
    }
}
