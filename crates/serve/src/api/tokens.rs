//! `/tokenize`, `/detokenize` and `/tokenizer_info`: the model's tokenizer for clients that count or cut themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::body::Body;
use super::conversation::{Sent, conversation_tokens};
use super::heavy::heavy_json;
use super::openapi::Refusals;
use super::text::{decode_all, encode, token_bytes, token_name};
use super::wire::{
    DetokenizeRequest, Detokenized, Piece, TokenizeRequest, TokenizedText, TokenizerInfo, WrittenToken,
};
use super::{Api, ApiError};
use crate::served::Served;

/// Turns a text or a conversation into tokens
#[utoipa::path(
    post,
    path = "/tokenize",
    tag = "tokens",
    request_body = TokenizeRequest,
    responses((status = 200, description = "Its tokens", body = TokenizedText), Refusals),
)]
pub(super) async fn tokenize(State(api): State<Arc<Api>>, body: Body) -> Result<Response, ApiError> {
    let request: TokenizeRequest = body.read()?;
    api.model(request.model.as_deref())?;
    let work = {
        let api = Arc::clone(&api);
        move || tokenized(&api, request)
    };
    heavy_json(api.large_bodies.heavy(body.bytes, work).await?).await
}

fn tokenized(api: &Api, request: TokenizeRequest) -> Result<TokenizedText, ApiError> {
    let asked = request.add_special_tokens.or(request.add_special);
    let served = &api.served;
    let tokens = match (request.prompt, request.content, request.messages) {
        (Some(prompt), None, None) => encode(served, &prompt, asked.unwrap_or(true), "prompt")?,
        (None, Some(content), None) => encode(served, &content, asked.unwrap_or(false), "content")?,
        (None, None, Some(messages)) => {
            let sent = Sent {
                messages,
                tools: request.tools.unwrap_or_default(),
                add_generation_prompt: request.add_generation_prompt,
                continue_final_message: request.continue_final_message,
                variables: request.chat_template_kwargs.unwrap_or_default(),
            };
            conversation_tokens(api, &sent)?
        }
        _ => {
            let message = "expected exactly one of `prompt`, `content` and `messages`";
            return Err(ApiError::invalid("prompt", message));
        }
    };
    let strings = request.return_token_strs.unwrap_or(false);
    let token_strs =
        strings.then(|| tokens.iter().map(|token| token_name(&token_bytes(served, *token))).collect());
    let pieces = request.with_pieces.unwrap_or(false);
    let written = |token: u32| match pieces {
        true => WrittenToken::WithPiece { id: token, piece: piece(served, token) },
        false => WrittenToken::Id(token),
    };
    Ok(TokenizedText {
        count: tokens.len(),
        max_model_len: api.context(),
        tokens: tokens.into_iter().map(written).collect(),
        token_strs,
    })
}

fn piece(served: &Served, token: u32) -> Piece {
    match String::from_utf8(token_bytes(served, token)) {
        Ok(text) => Piece::Text(text),
        Err(error) => Piece::Bytes(error.into_bytes()),
    }
}

/// Turns tokens into text
#[utoipa::path(
    post,
    path = "/detokenize",
    tag = "tokens",
    request_body = DetokenizeRequest,
    responses((status = 200, description = "Their text", body = Detokenized), Refusals),
)]
pub(super) async fn detokenize(State(api): State<Arc<Api>>, body: Body) -> Result<Response, ApiError> {
    let request: DetokenizeRequest = body.read()?;
    api.model(request.model.as_deref())?;
    let vocab_size = api.served.config.vocab_size;
    if let Some(token) = request.tokens.iter().find(|token| **token as usize >= vocab_size) {
        let message = format!("`tokens` has {token}, expected a token id less than {vocab_size}");
        return Err(ApiError::invalid("tokens", message));
    }
    let work = {
        let api = Arc::clone(&api);
        move || Ok(decode_all(&api.served, &request.tokens))
    };
    let text = api.large_bodies.heavy(body.bytes, work).await?;
    heavy_json(Detokenized { prompt: text.clone(), content: text }).await
}

/// Says which special tokens there are
#[utoipa::path(
    get,
    path = "/tokenizer_info",
    tag = "tokens",
    responses((status = 200, description = "The tokenizer", body = TokenizerInfo), Refusals),
)]
pub(super) async fn tokenizer_info(State(api): State<Arc<Api>>) -> Json<TokenizerInfo> {
    let served = &api.served;
    let tokenizer = served.tokenizer.as_ref();
    let name = |id: Option<u32>| tokenizer.and_then(|tokenizer| tokenizer.id_to_token(id?));
    let bos = served.text_ends.bos.or(served.config.bos_token_id);
    let eos = served.text_ends.eos.or(served.config.eos_token_ids.first().copied());
    let starts = encode(served, "", true, "prompt").unwrap_or_default();
    Json(TokenizerInfo {
        tokenizer_class: "PreTrainedTokenizerFast",
        vocab_size: tokenizer.map_or(served.config.vocab_size, |tokenizer| tokenizer.vocab_size()),
        model_max_length: api.context(),
        bos_token: name(bos),
        eos_token: name(eos),
        pad_token: name(eos),
        add_bos_token: bos.is_some() && starts.first() == bos.as_ref(),
        chat_template: api.templates.as_ref().and_then(|templates| templates.source()).map(str::to_owned),
    })
}
