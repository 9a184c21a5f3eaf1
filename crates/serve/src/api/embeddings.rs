//! `/v1/embeddings`: texts as vectors of length 1.
//!
//! Ids of another tokenizer would give vectors that look right and mean nothing. LangChain sends those of OpenAI's
//! models unless told not to, so ids are refused unless the server was told to believe them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answers::Answers;
use super::body::Body;
use super::heavy::heavy_json;
use super::openapi::Refusals;
use super::text::{check_tokens, encode_prompt};
use super::usage::Totals;
use super::wire::{Embedding, EmbeddingRequest, EmbeddingUsage, Embeddings, Prompt, Vector};
use super::{Api, ApiError};
use crate::engine::{Event, Pooling, Request, SubmitError, Wanted};
use crate::http::Tally;

/// Texts of one request, as at OpenAI. The engine gets them in groups of `limits.prompts`, so that others are not kept
/// waiting by a large request.
pub(super) const MAX_INPUTS: usize = 2048;

/// Until a group that found no room is offered again.
const TURN: Duration = Duration::from_millis(50);

/// How a vector is written.
#[derive(Clone, Copy)]
enum Format {
    Float,
    Base64,
}

/// Turns texts into vectors
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "embeddings",
    request_body = EmbeddingRequest,
    responses((status = 200, description = "A vector for each text", body = Embeddings), Refusals),
)]
pub(super) async fn embed(
    State(api): State<Arc<Api>>,
    tally: Tally,
    body: Body,
) -> Result<Response, ApiError> {
    let request: EmbeddingRequest = body.read()?;
    let model = api.model(request.model.as_deref())?;
    let format = match request.encoding_format.as_deref() {
        None | Some("float") => Format::Float,
        Some("base64") => Format::Base64,
        Some(other) => return Err(unknown("encoding_format", other, "`float` or `base64`")),
    };
    let pooling = match request.pooling.as_deref() {
        None | Some("mean") => Pooling::Mean,
        Some("last") => Pooling::Last,
        Some(other) => return Err(unknown("pooling", other, "`mean` or `last`")),
    };
    let size = api.served.config.hidden_size;
    if let Some(found) = request.dimensions.filter(|dimensions| *dimensions != size as u64) {
        let message = format!("`dimensions` is {found}, expected {size}, the model's own");
        return Err(ApiError::invalid("dimensions", message));
    }
    let inputs = {
        let for_work = Arc::clone(&api);
        api.large_bodies.heavy(body.bytes, move || inputs(&for_work, request.input)).await?
    };
    let mut totals = Totals::new(1);
    let mut data = Vec::with_capacity(inputs.len());
    for group in inputs.chunks(api.limits.prompts.max(1)) {
        let requests = || {
            group.iter().map(|prompt| Request { prompt: prompt.clone(), wanted: Wanted::Embedding(pooling) })
        };
        let mut answers = match data.is_empty() {
            true => Answers::ask(&api, &tally, requests().collect())?,
            // What was begun goes on, in its turn, also while the server ends.
            false => loop {
                match Answers::ask_more(&api, &tally, requests().collect()) {
                    Err(SubmitError::Full { .. }) => tokio::time::sleep(TURN).await,
                    answers => break answers?,
                }
            },
        };
        let mut vectors = vec![Vec::new(); group.len()];
        while let Some((index, event)) = answers.next().await {
            match event {
                Event::Embedding(vector) => vectors[index] = vector,
                Event::Finished(finished) => totals.add(index, &finished.usage),
                Event::Failed(failed) => return Err(failed.into()),
                Event::PromptScores(_) | Event::Token(_) => {}
            }
        }
        for vector in vectors {
            let embedding = written(normalised(vector), format);
            data.push(Embedding { object: "embedding", index: data.len(), embedding });
        }
    }
    let usage = totals.usage();
    let tokens = usage.prompt_tokens;
    let usage = EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens, joules: usage.joules };
    heavy_json(Embeddings { object: "list", data, model, usage }).await
}

fn inputs(api: &Api, input: Prompt) -> Result<Vec<Vec<u32>>, ApiError> {
    let texts = match input {
        Prompt::Text(text) => vec![text],
        Prompt::Texts(texts) => texts,
        Prompt::Tokens(tokens) => return ids(api, vec![tokens]),
        Prompt::TokenLists(lists) => return ids(api, lists),
    };
    check_count(texts.len())?;
    let context = api.context();
    let tokens = texts.iter().map(|text| {
        let tokens = encode_prompt(&api.served, text, "input")?;
        match tokens.len() <= context {
            true => Ok(tokens),
            false => Err(too_long(tokens.len(), context)),
        }
    });
    tokens.collect()
}

fn ids(api: &Api, lists: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>, ApiError> {
    if !api.allow_embedding_ids {
        let message = "`input` has token ids, which may be those of another model's tokenizer; send text. With \
                       LangChain's `OpenAIEmbeddings` set `check_embedding_ctx_length=False`; if the ids are this \
                       model's own, start the server with `--allow-embedding-ids`";
        return Err(ApiError::invalid("input", message));
    }
    check_count(lists.len())?;
    let context = api.context();
    for tokens in &lists {
        check_tokens(&api.served, tokens, "input")?;
        if tokens.len() > context {
            return Err(too_long(tokens.len(), context));
        }
    }
    Ok(lists)
}

fn check_count(found: usize) -> Result<(), ApiError> {
    match (1..=MAX_INPUTS).contains(&found) {
        true => Ok(()),
        false => {
            Err(ApiError::invalid("input", format!("`input` has {found} texts, expected 1 to {MAX_INPUTS}")))
        }
    }
}

fn too_long(found: usize, context: usize) -> ApiError {
    let message =
        format!("This model's maximum context length is {context} tokens, but `input` has a text of {found}");
    ApiError::context_length(message).with_param("input")
}

fn unknown(param: &str, found: &str, expected: &str) -> ApiError {
    let found: String = found.chars().take(40).collect();
    ApiError::invalid(param, format!("`{param}` is `{found}`, expected {expected}"))
}

/// The vector of length 1 with the same direction; one of zeros has none and stays.
fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt();
    if length > 0.0 {
        for x in &mut vector {
            *x = (f64::from(*x) / length) as f32;
        }
    }
    vector
}

fn written(vector: Vec<f32>, format: Format) -> Vector {
    match format {
        Format::Float => Vector::Float(vector),
        Format::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_1_or_none_at_all() {
        assert_eq!(normalised(vec![3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(normalised(vec![0.0, 0.0]), [0.0, 0.0]);
        let length: f64 = normalised(vec![1e30; 64]).iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        let vector = vec![0.1f32, -2.5, f32::MIN_POSITIVE];
        let Vector::Base64(text) = written(vector.clone(), Format::Base64) else { panic!("no base64") };
        let bytes = STANDARD.decode(text).unwrap();
        let read: Vec<f32> =
            bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
        assert_eq!(read, vector);
    }
}
