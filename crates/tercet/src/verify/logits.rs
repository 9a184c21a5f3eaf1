//! Comparing what two models compute. Only one of them need be in memory at a time.

use tercet_kernels::{KvType, Sequence};

use super::weights::percent;
use super::{Check, OnDisk, Outcome};
use crate::model::{ForwardError, LogitRows, MemoryNeed, Model, Session, SessionSize, WeightTypes};

/// How far from each other the logits of two models may be that differ by rounding, as a share of what the first's vary
/// by. Unrelated models that vary alike are 1.4 (the root of 2) apart, the golden models of `tests/data` 0.026 at most
/// from what each form makes of them; see [`compare`].
const CLOSE_MAX: f64 = 0.5;

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

/// Compares logits, of which there are `vocab_size` a position; `is_rounded` says that the weights of one are those of
/// the other, rounded, or computed with otherwise: then the logits need only be close.
///
/// They are close where `rms(a - b)` is at most half of `rms(a - mean(a))`, with the mean of each position.
///
/// # Panics
/// If there are more of one than of the other.
pub fn compare(a: &[f32], b: &[f32], vocab_size: usize, is_rounded: bool) -> Check {
    assert_eq!(a.len(), b.len(), "compare_logits: the same prompts and vocabulary");
    let differing = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    let largest_difference = differences.fold(0.0, f64::max);
    let positions = a.len() / vocab_size.max(1);
    let rows = a.chunks_exact(vocab_size.max(1)).zip(b.chunks_exact(vocab_size.max(1)));
    let agreeing = rows.clone().filter(|(a, b)| likeliest(a) == likeliest(b)).count();
    let (mut of_difference, mut of_first) = (0.0, 0.0);
    for (a, b) in rows {
        let mean = a.iter().map(|logit| f64::from(*logit)).sum::<f64>() / a.len() as f64;
        of_first += a.iter().map(|a| (f64::from(*a) - mean).powi(2)).sum::<f64>();
        of_difference += a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    let share = (of_difference / of_first.max(f64::MIN_POSITIVE)).sqrt();
    let (least, greatest) = a.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), logit| {
        (least.min(*logit), most.max(*logit))
    });
    let outcome = match differing {
        0 => Outcome::Equal,
        _ if is_rounded && share <= CLOSE_MAX => Outcome::Close,
        _ => Outcome::Differs,
    };
    let detail = match differing {
        0 => format!("{positions} positions, the same to the last bit"),
        _ => format!(
            "{positions} positions: they are apart by {} of what they vary by, at most by {} of their range; the \
             likeliest token is the same at {agreeing}",
            percent(share),
            percent(largest_difference / f64::from(greatest - least)),
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
    fn logits_are_close_or_those_of_another_model() {
        let logits: Vec<f32> = (0..600).map(|i| 20.0 + (i * 7919 % 101) as f32 / 10.0).collect();
        let other: Vec<f32> = (0..600).map(|i| 20.0 + (i * 104_729 % 97) as f32 / 10.0).collect();
        let nearly: Vec<f32> = logits.iter().map(|logit| logit * 1.01).collect();
        let outcome = |b: &[f32], is_rounded| compare(&logits, b, 100, is_rounded).outcome;
        assert_eq!([true, false].map(|is_rounded| outcome(&logits, is_rounded)), [Outcome::Equal; 2]);
        assert_eq!(outcome(&nearly, true), Outcome::Close);
        assert_eq!(outcome(&nearly, false), Outcome::Differs, "nothing was rounded");
        assert_eq!(outcome(&other, true), Outcome::Differs, "no rounding makes that of them");
        let detail = compare(&logits, &nearly, 100, true).detail;
        let want = "6 positions: they are apart by 8.6 % of what they vary by, at most by 3.0 % of their range; the \
                    likeliest token is the same at 6";
        assert_eq!(detail, want);
    }

    #[test]
    fn the_logits_of_all_prompts_of_both_models_are_counted() {
        let model = OnDisk::open(embedded::stories()).unwrap();
        let need = |prompts: &[Vec<u32>]| memory_need(&model, Layout::TwoBit, prompts).total_bytes();
        let prompt = vec![1; 60];
        let [one, six] = [1, 6].map(|count| need(&vec![prompt.clone(); count]));
        assert_eq!(six - one, 5 * 2 * 60 * 4 * model.config.vocab_size as u64);
    }
}
