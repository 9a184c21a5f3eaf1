//! What a request says about how its text is generated, checked field by field.

use std::ops::RangeInclusive;

use tercet::generate::SamplingParams;

use super::identity::random;
use super::wire::GenerationFields;
use super::{Api, ApiError};
use crate::engine::Continuation;

/// A continuation as the request describes it; its length and each choice's seed come later.
///
/// What the request leaves open is as the model's makers suggest, and else as OpenAI has it.
pub(super) fn continuation(api: &Api, fields: &GenerationFields) -> Result<Continuation, ApiError> {
    let suggested = &api.served.suggested;
    let penalty = |param, asked| number(param, asked, None, 0.0, -2.0..=2.0);
    let sampling = SamplingParams {
        temperature: number("temperature", fields.temperature, suggested.temperature, 1.0, 0.0..=2.0)?,
        top_k: match fields.top_k {
            Some(top_k) => in_range("top_k", top_k, -1..=i64::MAX)?.max(0) as usize,
            None => suggested.top_k.unwrap_or(0),
        },
        top_p: number("top_p", fields.top_p, suggested.top_p, 1.0, 0.0..=1.0)?,
        min_p: number("min_p", fields.min_p, suggested.min_p, 0.0, 0.0..=1.0)?,
        repetition_penalty: number(
            "repetition_penalty",
            fields.repetition_penalty,
            suggested.repetition_penalty,
            1.0,
            0.01..=100.0,
        )?,
        frequency_penalty: penalty("frequency_penalty", fields.frequency_penalty)?,
        presence_penalty: penalty("presence_penalty", fields.presence_penalty)?,
        seed: fields.seed.map_or_else(random, i64::cast_unsigned),
    };
    Ok(Continuation {
        max_tokens: 0,
        min_tokens: fields.min_tokens.map_or(0, as_usize),
        sampling,
        logit_bias: logit_bias(api, fields)?,
        stop: stop(api, fields)?,
        keeps_stop: fields.include_stop_str_in_output.unwrap_or(false),
        stop_tokens: stop_tokens(api, fields)?,
        ignore_eos: fields.ignore_eos.unwrap_or(false),
        logprobs: None,
        prompt_logprobs: None,
        grammar: None,
    })
}

/// Choices for each prompt.
pub(super) fn choices(api: &Api, param: &str, value: Option<u64>) -> Result<usize, ApiError> {
    Ok(in_range(param, value.unwrap_or(1), 1..=api.limits.choices as u64)? as usize)
}

/// How many of the likeliest tokens are told.
pub(super) fn top_logprobs(api: &Api, param: &str, value: u64) -> Result<usize, ApiError> {
    Ok(in_range(param, value, 0..=api.limits.top_logprobs as u64)? as usize)
}

/// How many tokens are generated where no number is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absent {
    /// So many, or as many as there is room for.
    AtMost(usize),
    /// As many as there is room for.
    Rest,
}

/// How many tokens a continuation may have, after so many of a prompt.
pub(super) fn max_tokens(
    context: usize,
    prompt_tokens: usize,
    asked: Option<u64>,
    absent: Absent,
) -> Result<usize, ApiError> {
    let room = context.saturating_sub(prompt_tokens);
    let asked = asked.map(as_usize);
    match (asked, absent) {
        (Some(asked), _) if asked <= room && prompt_tokens <= context => Ok(asked),
        (None, Absent::Rest) if room > 0 => Ok(room),
        (None, Absent::AtMost(most)) if room > 0 => Ok(most.min(room)),
        _ => {
            let completion = asked.unwrap_or(1);
            Err(ApiError::context_length(format!(
                "This model's maximum context length is {context} tokens. However, you requested {} tokens \
                 ({prompt_tokens} in the prompt, {completion} for the completion)",
                prompt_tokens.saturating_add(completion)
            )))
        }
    }
}

/// Sets how long a continuation may be and checks that against how long it must be.
pub(super) fn set_length(continuation: &mut Continuation, max_tokens: usize) -> Result<(), ApiError> {
    if continuation.min_tokens > max_tokens {
        let message = format!(
            "`min_tokens` is {}, expected at most `max_tokens`, {max_tokens}",
            continuation.min_tokens
        );
        return Err(ApiError::invalid("min_tokens", message));
    }
    continuation.max_tokens = max_tokens;
    Ok(())
}

/// What is asked for, in its range, or suggested, or usual.
fn number(
    param: &str,
    asked: Option<f64>,
    suggested: Option<f32>,
    default: f32,
    range: RangeInclusive<f64>,
) -> Result<f32, ApiError> {
    match asked {
        Some(asked) => Ok(in_range(param, asked, range)? as f32),
        None => Ok(suggested.unwrap_or(default)),
    }
}

fn logit_bias(api: &Api, fields: &GenerationFields) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(bias) = &fields.logit_bias else { return Ok(Vec::new()) };
    let (found, expected) = (bias.len(), api.limits.logit_bias);
    if found > expected {
        let message = format!("`logit_bias` has {found} entries, expected at most {expected}");
        return Err(ApiError::invalid("logit_bias", message));
    }
    bias.iter()
        .map(|(token, bias)| {
            let id = token.parse().ok().filter(|id| is_token(api, *id)).ok_or_else(|| {
                let shown: String = token.chars().take(40).collect();
                ApiError::invalid(
                    "logit_bias",
                    format!("`logit_bias` names `{shown}`, expected {}", ids(api)),
                )
            })?;
            let shown = format!("`logit_bias` of `{id}`");
            Ok((id, shown_in_range("logit_bias", &shown, *bias, -100.0..=100.0)? as f32))
        })
        .collect()
}

fn stop(api: &Api, fields: &GenerationFields) -> Result<Vec<String>, ApiError> {
    let stop = fields.stop.as_ref().map_or(&[][..], |stop| stop.as_slice());
    let limits = &api.limits;
    if stop.len() > limits.stops {
        let message = format!("`stop` has {} texts, expected at most {}", stop.len(), limits.stops);
        return Err(ApiError::invalid("stop", message));
    }
    if let Some(text) = stop.iter().find(|text| text.is_empty() || text.len() > limits.stop_bytes) {
        let message =
            format!("`stop` has a text of {} bytes, expected 1 to {}", text.len(), limits.stop_bytes);
        return Err(ApiError::invalid("stop", message));
    }
    Ok(stop.to_vec())
}

fn stop_tokens(api: &Api, fields: &GenerationFields) -> Result<Vec<u32>, ApiError> {
    let tokens = fields.stop_token_ids.as_deref().unwrap_or_default();
    let (found, expected) = (tokens.len(), api.limits.stops);
    if found > expected {
        let message = format!("`stop_token_ids` has {found} tokens, expected at most {expected}");
        return Err(ApiError::invalid("stop_token_ids", message));
    }
    match tokens.iter().find(|token| !is_token(api, **token)) {
        Some(token) => {
            let message = format!("`stop_token_ids` has {token}, expected {}", ids(api));
            Err(ApiError::invalid("stop_token_ids", message))
        }
        None => Ok(tokens.to_vec()),
    }
}

fn is_token(api: &Api, id: u32) -> bool {
    (id as usize) < api.served.config.vocab_size
}

fn ids(api: &Api) -> String {
    format!("a token id less than {}", api.served.config.vocab_size)
}

/// On a machine whose words are smaller than 64 bits, numbers beyond them are as good as the greatest.
fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn in_range<T: PartialOrd + std::fmt::Display>(
    param: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<T, ApiError> {
    shown_in_range(param, &format!("`{param}`"), value, range)
}

/// The same of a part of the field, which the message calls as it is shown.
fn shown_in_range<T: PartialOrd + std::fmt::Display>(
    param: &str,
    shown: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<T, ApiError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let message = format!("{shown} is {value}, expected {} to {}", range.start(), range.end());
    Err(ApiError::invalid(param, message))
}
