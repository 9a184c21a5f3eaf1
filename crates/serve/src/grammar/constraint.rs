//! A grammar, and where a text that it holds is in it.
//!
//! ```text
//! Grammar -- begin --> Constraint: mask -> a token is chosen -> accept -> mask -> … -> accept of an end-of-text
//! token, or is_complete
//! ```

use std::sync::Arc;

use llguidance::Matcher;

use super::error::GrammarError;

/// A compiled grammar, which all texts that it holds share; a clone is the same one.
#[derive(Clone)]
pub struct Grammar(Arc<Start>);

struct Start {
    matcher: Matcher,
    /// The tokens that may end a text.
    eos: Arc<[u32]>,
}

/// A grammar in the middle of a text.
pub struct Constraint {
    matcher: Box<Matcher>,
    eos: Arc<[u32]>,
}

impl Grammar {
    pub(super) fn new(matcher: Matcher, eos: Arc<[u32]>) -> Self {
        Self(Arc::new(Start { matcher, eos }))
    }

    /// The grammar at the beginning of a text. It takes memory of its own, up to some tens of megabytes: not before
    /// the text is begun.
    pub fn begin(&self) -> Constraint {
        let Start { matcher, eos } = &*self.0;
        // Deep: what one text makes of the limits on the lexer must not depend on what others do.
        Constraint { matcher: Box::new(matcher.deep_clone()), eos: Arc::clone(eos) }
    }
}

impl Constraint {
    /// Makes the logits of all tokens that may not come next minus infinity; at least one stays.
    ///
    /// An end-of-text token stays where the text may end. What is minus infinity before is left out by others, and
    /// does not count as one that stays.
    ///
    /// # Errors
    /// [`GrammarError`] if the grammar came to its limits, or no token is left.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), GrammarError> {
        if self.is_complete() {
            let is_eos = |token: usize| u32::try_from(token).is_ok_and(|token| self.eos.contains(&token));
            return keep(logits, is_eos);
        }
        let allowed = self.matcher.compute_mask().map_err(|error| of_library(&error.to_string()))?;
        keep(logits, |token| allowed.get(token))
    }

    /// Goes on by a token that the mask let through.
    ///
    /// # Errors
    /// [`GrammarError`] if the grammar came to its limits.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        if self.is_complete() {
            return if self.eos.contains(&token) { Ok(()) } else { Err(GrammarError::NoToken) };
        }
        self.matcher.consume_token(token).map_err(|error| of_library(&error.to_string()))
    }

    /// Whether nothing may follow.
    pub fn is_complete(&self) -> bool {
        !self.matcher.is_error() && self.matcher.is_stopped()
    }
}

/// The library's errors while a text is made: none is the client's mistake.
fn of_library(message: &str) -> GrammarError {
    match GrammarError::of_library(message) {
        GrammarError::Refused { detail } => GrammarError::Limit(detail),
        error => error,
    }
}

fn keep(logits: &mut [f32], is_allowed: impl Fn(usize) -> bool) -> Result<(), GrammarError> {
    let mut is_left = false;
    for (token, logit) in logits.iter_mut().enumerate() {
        if is_allowed(token) {
            is_left |= *logit != f32::NEG_INFINITY;
        } else {
            *logit = f32::NEG_INFINITY;
        }
    }
    if is_left { Ok(()) } else { Err(GrammarError::NoToken) }
}
