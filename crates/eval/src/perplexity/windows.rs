//! Windows over the tokens of a text, whose tokens may come in parts.

use std::collections::VecDeque;
use std::iter;

use crate::score::ScoredTokens;

/// Which tokens a window has, and which of them it scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Side by side; all tokens but the first of a window are scored, and a last window that is not
    /// full is left out. As GPTQ (arXiv:2210.17323) and most papers after it.
    Papers,
    /// A window begins `stride` tokens after the last and scores what none before it did; the last
    /// may be shorter. As transformers' page on perplexity.
    Strided {
        /// Tokens from the start of one window to that of the next.
        stride: usize,
    },
    /// Side by side, the first token replaced by the one that begins a text; the second half of a
    /// window is scored. As llama.cpp's `perplexity`.
    LlamaCpp {
        /// What begins a text, if the model has such a token.
        bos: Option<u32>,
    },
}

impl Method {
    /// The shortest window that has a token to score.
    pub fn window_min(self) -> usize {
        match self {
            Method::Papers | Method::Strided { .. } => 2,
            // The middle and one after it.
            Method::LlamaCpp { .. } => 3,
        }
    }

    /// Tokens from the start of one window of `window` tokens to that of the next.
    pub fn step(self, window: usize) -> usize {
        match self {
            Method::Strided { stride } => stride,
            Method::Papers | Method::LlamaCpp { .. } => window,
        }
    }
}

/// Cuts tokens into windows of `window` tokens.
pub struct Windows {
    method: Method,
    window: usize,
    tokens: VecDeque<u32>,
    /// Tokens at the front that were scored.
    scored: usize,
}

impl Windows {
    /// Cuts by a method.
    ///
    /// # Panics
    /// If a window is shorter than [`Method::window_min`], or a stride is 0 or longer than a window.
    pub fn new(method: Method, window: usize) -> Self {
        assert!(window >= method.window_min(), "Windows: a window has something to score");
        if let Method::Strided { stride } = method {
            assert!((1..=window).contains(&stride), "Windows: a stride is at most a window");
        }
        // The first token of all is never scored.
        Windows { method, window, tokens: VecDeque::new(), scored: 1 }
    }

    /// Takes more of the text; the windows that are full now, each made when it is asked for, since those
    /// that overlap are many times as long as the text.
    pub fn push(&mut self, tokens: &[u32]) -> impl Iterator<Item = ScoredTokens> {
        self.tokens.extend(tokens);
        iter::from_fn(|| {
            if self.tokens.len() < self.window {
                return None;
            }
            let full = self.front(self.window);
            let step = self.method.step(self.window);
            self.tokens.drain(..step);
            self.scored = match self.method {
                Method::Strided { .. } => self.window - step,
                Method::Papers | Method::LlamaCpp { .. } => 1,
            };
            // With windows side by side, the first token of each has nothing before it.
            self.scored = self.scored.max(1);
            Some(full)
        })
    }

    /// The rest, where the method has one.
    pub fn finish(self) -> Option<ScoredTokens> {
        let is_strided = matches!(self.method, Method::Strided { .. });
        (is_strided && self.tokens.len() > self.scored).then(|| self.front(self.tokens.len()))
    }

    /// The first `len` tokens as a window.
    fn front(&self, len: usize) -> ScoredTokens {
        let mut window: Vec<u32> = self.tokens.iter().copied().take(len).collect();
        let first_target = match self.method {
            Method::Papers => 1,
            Method::Strided { .. } => self.scored,
            Method::LlamaCpp { bos } => {
                window[0] = bos.unwrap_or(window[0]);
                // Rows from the middle to the last but one are scored, each by the token after it.
                len / 2 + 1
            }
        };
        let targets = window[first_target..].to_vec();
        window.pop();
        ScoredTokens { input: window, targets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(method: Method, window: usize, tokens: u32, part: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
        let tokens: Vec<u32> = (1..=tokens).collect();
        let mut windows = Windows::new(method, window);
        let mut all = Vec::new();
        tokens.chunks(part).for_each(|part| all.extend(windows.push(part)));
        all.extend(windows.finish());
        all.into_iter().map(|stretch| (stretch.input, stretch.targets)).collect()
    }

    #[test]
    fn windows_are_those_of_the_method_however_tokens_come() {
        for part in [1, 3, 100] {
            let got = windows(Method::Papers, 4, 10, part);
            assert_eq!(got, [(vec![1, 2, 3], vec![2, 3, 4]), (vec![5, 6, 7], vec![6, 7, 8])]);
            let got = windows(Method::Strided { stride: 2 }, 4, 7, part);
            assert_eq!(
                got,
                [(vec![1, 2, 3], vec![2, 3, 4]), (vec![3, 4, 5], vec![5, 6]), (vec![5, 6], vec![7]),]
            );
            let got = windows(Method::LlamaCpp { bos: Some(0) }, 4, 9, part);
            assert_eq!(got, [(vec![0, 2, 3], vec![4]), (vec![0, 6, 7], vec![8])]);
        }
    }

    #[test]
    fn the_shortest_window_scores_one_token() {
        for method in [Method::Papers, Method::Strided { stride: 1 }, Method::LlamaCpp { bos: None }] {
            let got = windows(method, method.window_min(), 3, 3);
            assert_eq!(got[0].1.len(), 1, "{method:?}");
        }
    }

    #[test]
    fn windows_that_are_not_asked_for_are_not_made() {
        let mut windows = Windows::new(Method::Strided { stride: 1 }, 4);
        assert_eq!(windows.push(&[1, 2, 3, 4, 5, 6]).take(1).count(), 1);
        assert_eq!(windows.tokens.len(), 5);
    }

    #[test]
    fn every_token_but_the_first_is_scored_once_with_a_stride() {
        for stride in 1..=5 {
            let got = windows(Method::Strided { stride }, 5, 23, 7);
            let targets: Vec<u32> = got.into_iter().flat_map(|(_, targets)| targets).collect();
            let want: Vec<u32> = (2..=23).filter(|token| stride < 5 || token % 5 != 1).collect();
            assert_eq!(targets, want, "stride {stride}");
        }
    }
}
