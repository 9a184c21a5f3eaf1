//! The next message of a conversation, of which only what is new is computed.
//!
//! The cache keeps what was computed for the last answer. A conversation that begins with the same
//! tokens goes on from there, and its text is the one that it would have without.

use serde_json::{Map, Value};
use tercet::generate::{GenerateError, Generated, GenerationParams, generate};
use tercet::model::{Model, Session, SessionSize};
use tercet::tokenizer::Tokenizer;
use tercet_chat::{Conversation, Templates};
use tercet_kernels::{KvCache, KvType};

use crate::failure::{Exit, Failure};
use crate::session_flags::room_hint;
use crate::teller::{Teller, Told};

/// A model with its cache.
pub(super) struct Answerer<'a> {
    session: Session<'a>,
    cache: KvCache,
    /// The tokens whose keys and values are in the cache.
    held: Vec<u32>,
    tokenizer: &'a Tokenizer,
    templates: &'a Templates,
    /// Positions that the model was trained for.
    trained: usize,
}

/// An answer, and how it came about.
pub(super) struct Answer {
    /// The conversation before it, as the model reads it.
    pub(super) rendered: String,
    pub(super) generated: Generated,
    pub(super) told: Told,
    /// Tokens that were in the cache.
    pub(super) kept: usize,
}

impl<'a> Answerer<'a> {
    pub(super) fn new(
        model: &'a Model,
        size: SessionSize,
        kv_type: KvType,
        tokenizer: &'a Tokenizer,
        templates: &'a Templates,
    ) -> Self {
        let session = Session::new(model, size);
        let cache = session.new_cache(kv_type);
        let trained = model.config().max_position_embeddings;
        Answerer { session, cache, held: Vec::new(), tokenizer, templates, trained }
    }

    /// Positions of the context.
    pub(super) fn context(&self) -> usize {
        self.session.size().context
    }

    /// A conversation as the model reads it, and its tokens.
    ///
    /// # Errors
    /// Exit code 1, if the template refuses it.
    pub(super) fn encode(
        &self,
        messages: &[Value],
        add_generation_prompt: bool,
    ) -> Result<(String, Vec<u32>), Failure> {
        let rendered = self.templates.render(&Conversation {
            messages,
            tools: &[],
            add_generation_prompt,
            continue_final_message: false,
            variables: &Map::new(),
        })?;
        // The template has written what begins a text.
        let tokens = self.tokenizer.encode(&rendered, false);
        Ok((rendered, tokens.map_err(|error| Failure::new(Exit::Failed, error))?))
    }

    /// The message that follows these; `shorter` says how a conversation becomes so.
    ///
    /// # Errors
    /// Exit code 1, if the template refuses the conversation, or it has no room in the context.
    pub(super) fn answer(
        &mut self,
        messages: &[Value],
        params: &GenerationParams,
        mut teller: Teller<'_>,
        shorter: &str,
    ) -> Result<Answer, Failure> {
        let (rendered, tokens) = self.encode(messages, true)?;
        let (found, room) = (tokens.len(), self.context());
        if found >= room {
            let message =
                format!("the conversation has {found} tokens, expected fewer than {room}, the context");
            let hint = room_hint(shorter, found + 1, self.trained);
            return Err(Failure::message(Exit::Failed, message).with_hint(hint));
        }
        let Some(last) = found.checked_sub(1) else { return Err(GenerateError::EmptyPrompt.into()) };
        let same = tokens.iter().zip(&self.held).take_while(|(new, held)| new == held).count();
        let kept = same.min(last);
        self.cache.truncate(kept);
        let (session, cache) = (&mut self.session, &mut self.cache);
        let generated = generate(session, cache, Some(self.tokenizer), &tokens, params, &mut teller);
        self.held = tokens;
        match &generated {
            Ok(generated) => self.held.extend_from_slice(&generated.tokens),
            Err(_) => self.cache.truncate(0),
        }
        self.held.truncate(self.cache.len());
        let told = teller.finish()?;
        Ok(Answer { rendered, generated: generated?, told, kept })
    }
}
