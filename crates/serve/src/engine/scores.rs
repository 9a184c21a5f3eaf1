//! How likely tokens are by a row of logits, as `tercet eval` has it to the last bit.

use tercet_kernels::{Isa, ops};

use super::request::ScoredToken;

/// A row of logits, and what its log-probabilities are told by.
pub(super) struct Scorer<'a> {
    logits: &'a [f32],
    log_sum: f64,
}

impl<'a> Scorer<'a> {
    /// `scratch` is used up.
    pub(super) fn new(isa: Isa, logits: &'a [f32], scratch: &mut Vec<f32>) -> Self {
        scratch.clear();
        scratch.extend_from_slice(logits);
        Scorer { logits, log_sum: ops::log_sum_exp(isa, scratch) }
    }

    /// How likely `token` is, and the `top` likeliest ones.
    pub(super) fn score(&self, token: u32, top: usize) -> ScoredToken {
        let top = likeliest(self.logits, top);
        ScoredToken {
            token,
            log_probability: self.log_probability(token),
            top: top.into_iter().map(|token| (token, self.log_probability(token))).collect(),
        }
    }

    fn log_probability(&self, token: u32) -> f64 {
        f64::from(self.logits[token as usize]) - self.log_sum
    }
}

/// The `count` greatest logits' tokens, greatest first, of equals the lowest first.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(count + 1);
    for (token, logit) in logits.iter().enumerate() {
        let is_better = |other: &u32| *logit > logits[*other as usize];
        if best.len() == count && !best.last().is_some_and(is_better) {
            continue;
        }
        let at = best.iter().position(is_better).unwrap_or(best.len());
        best.insert(at, token as u32);
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_of_equals_the_lowest() {
        let logits = [1.0, 3.0, -2.0, 3.0, 2.0];
        assert_eq!(likeliest(&logits, 3), [1, 3, 4]);
        assert_eq!(likeliest(&logits, 9), [1, 3, 4, 0, 2]);
        assert_eq!(likeliest(&logits, 0), [0u32; 0]);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let logits = [0.5, -1.0, 2.0];
        let scorer = Scorer::new(Isa::scalar(), &logits, &mut Vec::new());
        let scored = scorer.score(0, 3);
        let sum: f64 = scored.top.iter().map(|(_, log_probability)| log_probability.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(scored.top[1], (0, scored.log_probability));
    }
}
