//! How likely tokens are by rows of logits.

use std::sync::{Mutex, PoisonError};

use crate::buffer::Buffer;
use crate::dispatch;
use crate::isa::Isa;
use crate::ops::rows::for_rows;
use crate::pool::Worker;

/// How likely a token is after a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenScore {
    /// `log p[token]`, in nats.
    pub log_probability: f64,
    /// Whether no token is likelier; of several the lowest is the likeliest.
    pub is_greedy: bool,
}

/// `log softmax(logits[row])[token]` of pairs of a row and a token; the logits are used up.
///
/// The sum of exponentials keeps the lanes of every row reduction, its logarithm is taken in f64.
/// `scores` takes the score of each pair with its number; the order in which they come depends on
/// the workers.
///
/// # Shapes
/// - `logits`: `[rows, vocabulary]`
/// - `targets`: pairs of row and token, rows ascending
///
/// # Panics
/// If rows do not ascend, or a row or token is out of range.
pub fn log_probabilities(
    worker: &Worker<'_>,
    logits: &Buffer<f32>,
    [rows, vocabulary]: [usize; 2],
    targets: &[(usize, u32)],
    scores: &Mutex<Vec<(usize, TokenScore)>>,
) {
    assert!(targets.is_sorted_by_key(|(row, _)| *row), "log_probabilities: rows ascend");
    assert!(targets.last().is_none_or(|(row, _)| *row < rows), "log_probabilities: every row has logits");
    let operation = worker.begin_operation();
    let mut all = logits.write(worker, operation);
    let mut mine: Vec<(usize, TokenScore)> = Vec::new();
    for_rows(worker, operation, rows, |row| {
        let first = targets.partition_point(|(other, _)| *other < row);
        let end = targets.partition_point(|(other, _)| *other <= row);
        if first == end {
            return;
        }
        let logits = all.slice(row * vocabulary, vocabulary);
        let begin = mine.len();
        for (index, (_, token)) in targets.iter().enumerate().take(end).skip(first) {
            let token = *token as usize;
            assert!(token < vocabulary, "log_probabilities: every token is in the vocabulary");
            let logit = logits[token];
            let (before, after) = logits.split_at(token);
            let is_greedy =
                before.iter().all(|other| *other < logit) && after.iter().all(|other| *other <= logit);
            mine.push((index, TokenScore { log_probability: f64::from(logit), is_greedy }));
        }
        let log_sum = log_sum_exp(worker.isa(), logits);
        for (_, score) in &mut mine[begin..] {
            score.log_probability -= log_sum;
        }
    });
    scores.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
}

/// `log Σ e^logit` of a row, by which every log-probability is told:
/// `log p[token] = logit[token] - log Σ e^logit` in f64.
/// The logits are used up.
pub fn log_sum_exp(isa: Isa, logits: &mut [f32]) -> f64 {
    let (max, sum) = dispatch::softmax(isa, logits, logits.len());
    libm::log(f64::from(sum)) + f64::from(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    fn scores(
        isa: Isa,
        threads: usize,
        logits: &[f32],
        vocabulary: usize,
        targets: &[(usize, u32)],
    ) -> Vec<TokenScore> {
        let pool = Pool::new(isa, threads);
        let mut buffer = Buffer::zeroed(&pool, logits.len());
        buffer.as_mut_slice().copy_from_slice(logits);
        let scores = Mutex::new(Vec::new());
        let shape = [logits.len() / vocabulary, vocabulary];
        pool.run(|worker| log_probabilities(worker, &buffer, shape, targets, &scores));
        let mut scores = scores.into_inner().unwrap();
        scores.sort_by_key(|(index, _)| *index);
        scores.into_iter().map(|(_, score)| score).collect()
    }

    #[test]
    fn it_is_the_formula_with_the_same_bits_everywhere() {
        let vocabulary = 515;
        let logits: Vec<f32> =
            (0..7 * vocabulary).map(|i| ((i * 7919) % 1013) as f32 / 40.0 - 12.0).collect();
        let targets: Vec<(usize, u32)> = vec![(0, 0), (0, 514), (2, 77), (3, 1), (3, 1), (6, 300)];
        let got = scores(Isa::scalar(), 1, &logits, vocabulary, &targets);
        for (score, (row, token)) in got.iter().zip(&targets) {
            let row = &logits[row * vocabulary..][..vocabulary];
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            let want = f64::from(row[*token as usize]) - sum.ln();
            assert!((score.log_probability - want).abs() < 1e-6, "{score:?} {want}");
        }
        for isa in Isa::available() {
            for threads in [1, 3] {
                assert_eq!(scores(isa, threads, &logits, vocabulary, &targets), got, "{isa:?}, {threads}");
            }
        }
    }

    #[test]
    fn the_lowest_of_equals_is_greedy() {
        let logits = [0.5, 2.0, -1.0, 2.0];
        let got = scores(Isa::scalar(), 1, &logits, 4, &[(0, 0), (0, 1), (0, 2), (0, 3)]);
        assert_eq!(got.iter().map(|score| score.is_greedy).collect::<Vec<_>>(), [false, true, false, false]);
    }
}
