//! What a client is told when its request is refused or fails: `{"error": {message, type, param, code}}`.
//!
//! One shape for every status, that of OpenAI. It knows no requests.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::{Failed, SubmitError};

/// A refusal's `Retry-After` in milliseconds, which OpenAI's clients look at first.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// When a client may come again that found the queue full.
const AFTER_FULL: Duration = Duration::from_secs(1);

/// When a client may come again that found the server starting or ending.
const AFTER_UNAVAILABLE: Duration = Duration::from_secs(5);

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<Duration>,
    /// The methods that a route has, where another was asked for.
    allow: Option<&'static str>,
}

impl ApiError {
    /// An error of any status; its type follows from the status.
    pub fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let message = message.into();
        ApiError { status, kind, message, param: None, code, retry_after: None, allow: None }
    }

    /// 400: a field has a value that it may not have.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("invalid_value"), message).with_param(param)
    }

    /// 400: the request as a whole is none.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("invalid_json"), message)
    }

    /// 400: prompt and answer do not fit.
    pub fn context_length(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("context_length_exceeded"), message)
    }

    /// 401: no key, or another one.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), message)
    }

    /// 403: whoever asks may not.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Some(code), message)
    }

    /// 404: nothing lies at this path.
    pub fn unknown_path(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        let message = format!("unknown request `{method} {path}`; `GET /openapi.json` lists what there is");
        Self::new(StatusCode::NOT_FOUND, Some("unknown_url"), message)
    }

    /// 404: another model.
    pub fn model_not_found(model: &str, served: &str) -> Self {
        let model: String = model.chars().take(200).collect();
        let message = format!("The model `{model}` does not exist; this server has `{served}`");
        Self::new(StatusCode::NOT_FOUND, Some("model_not_found"), message).with_param("model")
    }

    /// 405: the path has other methods, such as `GET, HEAD`.
    pub fn method_not_allowed(method: &str, allow: &'static str) -> Self {
        let message = format!("method `{method}` is not allowed here, expected {allow}");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, Some("method_not_allowed"), message);
        ApiError { allow: Some(allow), ..error }
    }

    /// 413: the body is longer than the limit.
    pub fn too_large(expected_bytes: usize) -> Self {
        let message = format!("the body is longer than {expected_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Some("body_too_large"), message)
    }

    /// 415: the body is not JSON by its header.
    pub fn not_json(found: Option<&str>) -> Self {
        let found: String = found.map_or("absent".to_owned(), |found| format!("`{found}`"));
        let message = format!("header `content-type` is {found}, expected `application/json`");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("unsupported_media_type"), message)
    }

    /// 415: the body is compressed.
    pub fn compressed(found: &str) -> Self {
        let message = format!("header `content-encoding` is `{found}`, expected none");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("unsupported_content_encoding"), message)
    }

    /// 500, which says nothing of what happened inside.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Some("internal_error"), "internal error")
    }

    /// 503: not now, for a reason that will pass or a new server has not.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Some("unavailable"), message)
            .with_retry_after(AFTER_UNAVAILABLE)
    }

    /// Names the field that is wrong.
    pub fn with_param(self, param: impl Into<String>) -> Self {
        ApiError { param: Some(param.into()), ..self }
    }

    /// Says when to come again.
    pub fn with_retry_after(self, after: Duration) -> Self {
        ApiError { retry_after: Some(after), ..self }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its code, a stable word for programs.
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// The field that is wrong.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// As it is written, also in the middle of a stream.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorObject {
                message: self.message.clone(),
                kind: self.kind.to_owned(),
                param: self.param.clone(),
                code: self.code.map(str::to_owned),
            },
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, Some("queue_full"), error.to_string())
                    .with_retry_after(AFTER_FULL)
            }
            SubmitError::Draining | SubmitError::Stopped => Self::unavailable(error.to_string()),
            SubmitError::TooLong { .. } => Self::context_length(error.to_string()),
        }
    }
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Grammar(_) => {
                Self::new(StatusCode::BAD_REQUEST, Some("grammar_limit"), failed.to_string())
            }
            Failed::Stopped => Self::unavailable(failed.to_string()),
            Failed::NotFinite => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Some("not_finite"), failed.to_string())
            }
            Failed::Panicked => Self::internal(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
            headers.insert(
                RETRY_AFTER_MS,
                HeaderValue::from(after.as_millis().min(u128::from(u32::MAX)) as u32),
            );
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An error, as it is written.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorObject,
}

/// What is wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorObject {
    /// For people.
    pub message: String,
    /// The kind: `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field that is wrong.
    #[schema(required)]
    pub param: Option<String>,
    /// For programs.
    #[schema(required)]
    pub code: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(response: &Response, name: &str) -> Option<String> {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_shape_has_all_four_fields() {
        let body = serde_json::to_value(ApiError::invalid("n", "n is 9, expected at most 8").body()).unwrap();
        let want = serde_json::json!({"error": {
            "message": "n is 9, expected at most 8", "type": "invalid_request_error", "param": "n",
            "code": "invalid_value",
        }});
        assert_eq!(body, want);
        let body = serde_json::to_value(ApiError::internal().body()).unwrap();
        assert!(body["error"].as_object().unwrap().contains_key("param"), "null, not absent");
    }

    #[test]
    fn a_full_queue_says_when_to_come_again() {
        let response =
            ApiError::from(SubmitError::Full { waiting: 256, asked: 1, expected: 256 }).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(header(&response, "retry-after").unwrap(), "1");
        assert_eq!(header(&response, "retry-after-ms").unwrap(), "1000");
        let response = ApiError::from(SubmitError::Draining).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(header(&response, "retry-after").is_some());
    }

    #[test]
    fn headers_follow_the_status() {
        let response = ApiError::method_not_allowed("PUT", "GET, HEAD").into_response();
        assert_eq!(header(&response, "allow").unwrap(), "GET, HEAD");
        assert_eq!(header(&response, "content-type").unwrap(), "application/json");
        let response = ApiError::unauthorized("no key").into_response();
        assert_eq!(header(&response, "www-authenticate").unwrap(), "Bearer");
    }
}
