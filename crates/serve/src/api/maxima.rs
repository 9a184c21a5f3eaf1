//! What requests are checked against, in the server's description: its limits, which flags may have set, and who may
//! speak.

use utoipa::openapi::schema::{Array, ArrayItems, Components, Schema, SchemaType};
use utoipa::openapi::{OpenApi, Ref, RefOr, Type};
use utoipa::{Modify, Number};

use super::conversation::ROLES;
use super::embeddings::MAX_INPUTS;
use crate::limits::Limits;

/// Requests whose fields stand in parts, side by side.
const REQUESTS: [&str; 2] = ["ChatRequest", "CompletionRequest"];
/// Texts that end an answer.
const STOP: &str = "OneOrMany";
/// Prompts of completions.
const PROMPT: &str = "Prompt";
/// What embeddings are made of: of the same forms, and more of them.
const INPUT: &str = "Input";
/// The request that has it.
const EMBEDDING: &str = "EmbeddingRequest";

/// A message of a conversation.
const MESSAGE: &str = "Message";

/// Writes the limits into the schemas of what they bound.
pub(super) struct Maxima<'a>(pub(super) &'a Limits);

impl Modify for Maxima<'_> {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_with(Components::default);
        for request in REQUESTS {
            let Some(RefOr::T(Schema::AllOf(parts))) = components.schemas.get_mut(request) else { continue };
            for part in &mut parts.items {
                let RefOr::T(Schema::Object(part)) = part else { continue };
                for (name, field) in &mut part.properties {
                    bound(name, field, self.0);
                }
            }
        }
        if let Some(RefOr::T(Schema::OneOf(forms))) = components.schemas.get_mut(STOP) {
            forms.items.iter_mut().for_each(|form| bound_stop(form, self.0));
        }
        if let Some(RefOr::T(Schema::Object(message))) = components.schemas.get_mut(MESSAGE)
            && let Some(RefOr::T(Schema::Object(role))) = message.properties.get_mut("role")
        {
            role.pattern = Some(format!("^({})$", ROLES.join("|")));
        }
        let Some(prompt) = components.schemas.get(PROMPT).cloned() else { return };
        components.schemas.insert(PROMPT.to_owned(), of_at_most(prompt.clone(), self.0.prompts));
        components.schemas.insert(INPUT.to_owned(), of_at_most(prompt, MAX_INPUTS));
        if let Some(RefOr::T(Schema::Object(request))) = components.schemas.get_mut(EMBEDDING)
            && let Some(RefOr::Ref(input)) = request.properties.get_mut("input")
        {
            input.ref_location = Ref::from_schema_name(INPUT).ref_location;
        }
    }
}

/// One prompt, or so many. The tokens of one are bounded by the context.
fn of_at_most(mut prompt: RefOr<Schema>, most: usize) -> RefOr<Schema> {
    if let RefOr::T(Schema::OneOf(forms)) = &mut prompt {
        for form in &mut forms.items {
            if let RefOr::T(Schema::Array(prompts)) = form
                && !is_of_tokens(prompts)
            {
                (prompts.min_items, prompts.max_items) = (Some(1), Some(most));
            }
        }
    }
    prompt
}

fn is_of_tokens(list: &Array) -> bool {
    let ArrayItems::RefOrSchema(item) = &list.items else { return false };
    matches!(&**item, RefOr::T(Schema::Object(item)) if item.schema_type == SchemaType::Type(Type::Integer))
}

fn bound(name: &str, field: &mut RefOr<Schema>, limits: &Limits) {
    match (name, field) {
        ("n" | "best_of", RefOr::T(Schema::Object(field))) => {
            field.maximum = Some(Number::UInt(limits.choices));
        }
        // In chats `logprobs` is a word, and has no bounds.
        ("logprobs" | "top_logprobs", RefOr::T(Schema::Object(field))) if field.minimum.is_some() => {
            field.maximum = Some(Number::UInt(limits.top_logprobs));
        }
        ("logit_bias", RefOr::T(Schema::Object(field))) => field.max_properties = Some(limits.logit_bias),
        ("stop_token_ids", RefOr::T(Schema::Array(field))) => field.max_items = Some(limits.stops),
        _ => {}
    }
}

/// One text, or several.
fn bound_stop(form: &mut RefOr<Schema>, limits: &Limits) {
    match form {
        RefOr::T(Schema::Object(text)) => {
            // No text of fewer bytes has more characters.
            text.max_length = Some(limits.stop_bytes);
            text.min_length = Some(1);
        }
        RefOr::T(Schema::Array(texts)) => {
            texts.max_items = Some(limits.stops);
            if let ArrayItems::RefOrSchema(text) = &mut texts.items {
                bound_stop(text, limits);
            }
        }
        _ => {}
    }
}
