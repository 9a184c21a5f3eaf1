//! The body of a request as JSON, or a refusal that names the field.

use std::error::Error;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde_json::Value;

use super::{Api, ApiError};

/// Characters of another media type that its refusal shows.
const SHOWN: usize = 100;

/// A JSON object. It is read in parts: what several kinds of requests have in common is a type of its own.
#[derive(Debug)]
pub(super) struct Body {
    value: Value,
    /// How many bytes it has.
    pub(super) bytes: usize,
}

impl Body {
    /// The fields of `T`; others are let through.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            let path = error.path().to_string();
            let detail = error.into_inner().to_string();
            if path != "." {
                return ApiError::invalid(&path, format!("`{path}`: {detail}"));
            }
            let missing = detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
            match missing {
                Some(field) => ApiError::invalid(field, &detail),
                None => ApiError::malformed(detail),
            }
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::malformed(format!("the body is not JSON: {error}")))?;
        if !value.is_object() {
            return Err(ApiError::malformed("the body is JSON, but no object"));
        }
        Ok(Body { value, bytes: bytes.len() })
    }
}

impl FromRequest<Arc<Api>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        check_json(request.headers())?;
        let encoding =
            request.headers().get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()));
        if let Some(encoding) = encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(ApiError::compressed(&encoding));
        }
        let limit = api.limits.body_bytes;
        let bytes = to_bytes(request.into_body(), limit).await.map_err(|error| {
            match error.source().is_some_and(|source| source.is::<LengthLimitError>()) {
                true => ApiError::too_large(limit),
                false => ApiError::malformed("the body ended before it was whole"),
            }
        })?;
        Self::parse(&bytes)
    }
}

/// Refuses what is not JSON by its header.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let found = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("not ASCII"));
    if found.is_some_and(is_json) {
        return Ok(());
    }
    let found: Option<String> = found.map(|found| found.chars().take(SHOWN).collect());
    Err(ApiError::not_json(found.as_deref()))
}

/// `application/json`, with parameters or without.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::super::wire::{CompletionFields, GenerationFields};
    use super::*;

    #[test]
    fn a_wrong_field_is_named() {
        let body = Body::parse(br#"{"prompt":"a","n":-1,"stop":[1],"temperature":"hot"}"#).unwrap();
        let error = body.read::<GenerationFields>().unwrap_err();
        assert_eq!(error.status().as_u16(), 400);
        assert!(["n", "stop", "temperature"].contains(&error.param().unwrap()), "{error}");
        let error = Body::parse(b"{}").unwrap().read::<CompletionFields>().unwrap_err();
        assert_eq!(error.param(), Some("prompt"), "{error}");
    }

    #[test]
    fn null_is_absent_and_unknown_fields_are_let_through() {
        let body = Body::parse(br#"{"prompt":[[1,2],[3]],"n":null,"user":"u","store":true,"x":{}}"#).unwrap();
        assert!(body.read::<GenerationFields>().unwrap().n.is_none());
        body.read::<CompletionFields>().unwrap();
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "null", "1e999", "{\"a\":", "\u{0}", &"[".repeat(100_000)] {
            let error = Body::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.status().as_u16(), 400);
        }
    }

    #[test]
    fn json_has_one_media_type() {
        for yes in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is_json(yes), "{yes}");
        }
        for no in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            assert!(!is_json(no), "{no}");
        }
    }
}
