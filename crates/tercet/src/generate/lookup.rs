//! Prompt-lookup decoding: what followed the last tokens when they came before is likely to follow
//! again, and one pass can check several tokens.
//!
//! A draft only saves passes: which token comes next is decided from the same logits, with the same
//! bits, as without it. It knows tokens and no model. (Saxena 2023, "Prompt Lookup Decoding".)

/// Tokens of a draft at most. With the token before it they are the 8 rows that kernels multiply
/// together: a ninth would cost more than it gives.
pub const MAX_DRAFT: usize = 7;
/// Tokens that must have come before: so many at most and at least.
const MATCHED: [usize; 2] = [5, 3];
/// Tokens of the first draft, and of one after a failure: 4 rows.
const FIRST_DRAFT: usize = 3;
/// A draft is worth its time where one token of so many is right: a token more in a pass takes a quarter
/// of the time of a pass in large models and half in small ones (measured on AMD Zen 5).
const WORTH: usize = 2;
/// Tokens without a draft after a failure; doubled with each further one.
const PAUSE: usize = 8;
/// Doublings of the pause at most: after so many failures it is all but off.
const MAX_FAILURES: u32 = 10;

/// All tokens so far, and how much its drafts were worth.
pub(super) struct Lookup {
    tokens: Vec<u32>,
    draft_tokens: usize,
    failures: u32,
    pause: usize,
}

impl Lookup {
    pub(super) fn new(prompt: &[u32]) -> Self {
        Lookup { tokens: prompt.to_vec(), draft_tokens: FIRST_DRAFT, failures: 0, pause: 0 }
    }

    /// Takes note of a token that was chosen.
    pub(super) fn push(&mut self, token: u32) {
        self.tokens.push(token);
        self.pause = self.pause.saturating_sub(1);
    }

    /// What may follow: up to `max` tokens, none where nothing is known or drafts have failed lately.
    pub(super) fn draft(&self, max: usize) -> &[u32] {
        if self.pause > 0 {
            return &[];
        }
        let [most, least] = MATCHED;
        let found = (least..=most).rev().find_map(|count| self.what_followed(count)).unwrap_or_default();
        &found[..found.len().min(max).min(self.draft_tokens)]
    }

    /// What came after the last time that the present last `count` tokens stood elsewhere.
    fn what_followed(&self, count: usize) -> Option<&[u32]> {
        let last = &self.tokens[self.tokens.len().checked_sub(count)?..];
        let before = &self.tokens[..self.tokens.len() - 1];
        let first = before.windows(count).rposition(|window| window == last)?;
        Some(&self.tokens[first + count..])
    }

    /// Learns that `accepted` tokens of a draft of `drafted` were right.
    pub(super) fn judge(&mut self, drafted: usize, accepted: usize) {
        if accepted == drafted {
            self.failures = self.failures.saturating_sub(1);
            self.draft_tokens = MAX_DRAFT;
        } else if accepted * WORTH < drafted {
            self.draft_tokens = FIRST_DRAFT;
            self.pause = PAUSE << self.failures;
            self.failures = (self.failures + 1).min(MAX_FAILURES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_what_followed_the_longest_match_last() {
        let draft = |tokens: &[u32]| Lookup::new(tokens).draft(MAX_DRAFT).to_vec();
        assert_eq!(draft(&[1, 2, 3, 7, 8, 9, 1, 2, 3]), [7, 8, 9]);
        assert_eq!(draft(&[1, 2, 3, 7, 1, 2, 3, 8, 4, 1, 2, 3]), [8, 4, 1], "the last of two");
        assert_eq!(draft(&[5, 1, 2, 3, 7, 6, 1, 2, 3, 8, 5, 1, 2, 3]), [7, 6, 1], "four tokens before three");
        assert_eq!(draft(&[4, 4, 4, 4]), [4], "it may reach into the match");
        for none in [&[][..], &[1], &[1, 1], &[1, 1, 1], &[1, 2, 3, 4], &[1, 2, 3, 1, 2]] {
            assert!(draft(none).is_empty(), "{none:?}");
        }
        assert_eq!(Lookup::new(&[1, 2, 3, 7, 8, 9, 1, 2, 3]).draft(1), [7]);
    }

    #[test]
    fn drafts_grow_while_they_are_right() {
        let mut lookup = Lookup::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 3]);
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let drafted = lookup.draft(MAX_DRAFT).len();
            lengths.push(drafted);
            lookup.judge(drafted, drafted);
        }
        assert_eq!(lengths, [3, 7, 7, 7]);
        lookup.judge(7, 4);
        assert_eq!(lookup.draft(MAX_DRAFT).len(), 7);
        lookup.judge(7, 3);
        assert!(lookup.draft(MAX_DRAFT).is_empty(), "it was not worth its time");
    }

    #[test]
    fn failures_switch_it_off_for_longer_and_longer() {
        let mut lookup = Lookup::new(&[1, 1, 1, 1]);
        let mut drafts = Vec::new();
        for i in 0..20_000 {
            lookup.push(1);
            let drafted = lookup.draft(MAX_DRAFT).len();
            if drafted > 0 {
                drafts.push(i);
                lookup.judge(drafted, 0);
            }
        }
        assert_eq!(drafts[..4], [0, 8, 24, 56]);
        assert!(drafts.len() < 14, "{} drafts in 20000 tokens", drafts.len());
    }
}
