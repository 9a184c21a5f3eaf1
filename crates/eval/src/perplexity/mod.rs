//! Perplexity of a text file, as papers, transformers and llama.cpp each compute it.
//!
//! ```text
//! papers      |abcd|efgh|      windows side by side, the first token of each not scored, a rest left out
//! strided     |ab cd|          windows that overlap; each scores what none before it did
//!               |cd ef|
//! llama.cpp   |ab cd|ef gh|    the second half of each window is scored, the first token begins a text
//! paragraphs  |ab|cde|fg|      each by itself from its first token on, those of the beginning not scored
//! ```
//!
//! The file is read, encoded and scored a part at a time, so memory does not grow with it, but for the
//! answers of a [`Store`](crate::Store). It knows nothing of tasks: those have rules of their own.

mod paragraphs;
mod pieces;
mod windows;

pub use paragraphs::Paragraphs;
pub use pieces::{PieceError, Pieces};
pub use windows::{Method, Windows};

use crate::score::{Score, ScoredTokens};

/// What was scored so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// Tokens scored.
    pub tokens: u64,
    /// Stretches scored: windows or documents.
    pub windows: u64,
    /// Bytes of the text that the stretches are of, each of its tokens scored or not.
    pub bytes: u64,
    /// Tokens of that text, scored or not.
    pub text_tokens: u64,
    /// Sum of the log-probabilities, in nats.
    pub log_likelihood: f64,
    sum_of_squares: f64,
}

impl Total {
    /// Adds the score of a stretch.
    pub fn add(&mut self, stretch: &ScoredTokens, score: &Score) {
        self.tokens += stretch.targets.len() as u64;
        self.windows += 1;
        self.log_likelihood += score.log_likelihood;
        self.sum_of_squares += score.sum_of_squares;
    }

    /// Mean negative log-likelihood of a token, in nats.
    pub fn loss(&self) -> f64 {
        -self.log_likelihood / self.tokens as f64
    }

    /// Standard error of [`loss`](Self::loss), as if tokens were independent.
    pub fn loss_stderr(&self) -> f64 {
        let tokens = self.tokens as f64;
        let variance = self.sum_of_squares / tokens - self.loss() * self.loss();
        (variance.max(0.0) / (tokens - 1.0).max(1.0)).sqrt()
    }

    /// `loss / ln 2` for each token, shared out over the bytes of the text.
    pub fn bits_per_byte(&self) -> f64 {
        self.loss() / std::f64::consts::LN_2 * self.text_tokens as f64 / self.bytes as f64
    }

    /// `exp(loss)`.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Standard error of [`perplexity`](Self::perplexity), to first order.
    pub fn perplexity_stderr(&self) -> f64 {
        self.perplexity() * self.loss_stderr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_a_mean() {
        let mut total = Total::default();
        for loss in [1.0, 2.0, 4.0_f64] {
            let stretch = ScoredTokens { input: vec![1], targets: vec![2] };
            let score = Score { log_likelihood: -loss, sum_of_squares: loss * loss, is_greedy: false };
            total.add(&stretch, &score);
        }
        assert!((total.loss() - 7.0 / 3.0).abs() < 1e-12);
        // Sample deviation of 1, 2, 4 is 1.5275; over the root of three.
        assert!((total.loss_stderr() - 0.881_917_103_688_197).abs() < 1e-12);
        assert!((total.perplexity() - (7.0_f64 / 3.0).exp()).abs() < 1e-12);
    }
}
