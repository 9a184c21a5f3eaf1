//! The checks before a request is looked at, each a layer of the router: the name it asks for, the page that asks, the
//! key, the type, length and pace of its body; and that a panic ends one request only.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http_body_util::BodyExt;

use super::front::Front;
use super::hosts::{Asker, HostError};
use crate::api::{ApiError, check_json};

/// How much of a body that is refused is still read, so that the client comes to read why.
const DISCARD_BYTES: usize = 16 << 20;
/// For how long.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Refuses requests that ask for another server, whatever they want.
pub(super) async fn host(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let error = match front.hosts.check(&parts) {
        Ok(()) => return next.run(Request::from_parts(parts, body)).await,
        Err(HostError::Malformed) => ApiError::new(
            StatusCode::BAD_REQUEST,
            Some("invalid_host"),
            "header `host` is absent, doubled or malformed, expected the name of this server",
        ),
        Err(HostError::Other) => ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            Some("unknown_host"),
            "this server does not answer to that host name; `--allowed-hosts` adds names",
        ),
    };
    error.into_response()
}

/// Refuses web pages of others, and lets those that are allowed read the answer.
pub(super) async fn origin(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match front.origins.asker(&parts) {
        Asker::Own => next.run(Request::from_parts(parts, body)).await,
        Asker::Foreign => ApiError::forbidden(
            "foreign_origin",
            "web pages of other origins may not use this server; `--cors-origins` allows one",
        )
        .into_response(),
        Asker::Allowed(origin) => {
            let mut response = match preflight(&parts) {
                Some(response) => response,
                None => next.run(Request::from_parts(parts, body)).await,
            };
            let headers = response.headers_mut();
            if origin != "*" {
                headers.append(VARY, HeaderValue::from_name(ORIGIN));
            }
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let exposed = HeaderValue::from_static("x-request-id, retry-after, retry-after-ms");
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            response
        }
    }
}

/// The answer to a browser that asks whether it may ask. It carries no key, so it must need none.
fn preflight(parts: &Parts) -> Option<Response> {
    if parts.method != Method::OPTIONS || !parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    // Client libraries add headers of their own; which of them an allowed page sends does not matter.
    let asked = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let allowed = asked.unwrap_or(HeaderValue::from_static("authorization, content-type"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Some(response)
}

/// Refuses requests without a key, where the server has one.
pub(super) async fn key(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    if front.keys.admit(request.headers()) {
        return next.run(request).await;
    }
    let message =
        "Incorrect API key provided, expected `Authorization: Bearer KEY` with a key of this server";
    refused(request, ApiError::unauthorized(message)).await
}

/// Refuses a `POST` that is not JSON by its header. A page that is not allowed cannot send such a one unasked.
pub(super) async fn media_type(request: Request, next: Next) -> Response {
    if request.method() == Method::POST
        && let Err(error) = check_json(request.headers())
    {
        return refused(request, error).await;
    }
    next.run(request).await
}

/// Reads a request's body whole before a handler sees it, no more and no longer than the limits say.
pub(super) async fn body(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let limits = &front.limits;
    let expected = limits.body_bytes;
    if request.body().size_hint().lower() > expected as u64 {
        return refused(request, ApiError::too_large(expected)).await;
    }
    let (parts, mut body) = request.into_parts();
    let read = tokio::time::timeout(limits.body_time, read_body(&mut body, expected)).await;
    match read {
        Ok(Ok(Some(bytes))) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Ok(None)) => {
            discard(&mut body).await;
            closing(ApiError::too_large(expected))
        }
        Ok(Err(_)) => closing(ApiError::malformed("the body ended before it was whole")),
        Err(_) => {
            let message = format!("the body took longer than {} s", limits.body_time.as_secs());
            closing(ApiError::new(StatusCode::REQUEST_TIMEOUT, Some("body_timeout"), message))
        }
    }
}

/// A body's bytes; none if they are more than `expected`.
async fn read_body(body: &mut Body, expected: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // What is not data are trailers, which say nothing to us.
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > expected {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes.into()))
}

/// Refuses a request whose body was not read.
async fn refused(request: Request, error: ApiError) -> Response {
    if request.body().is_end_stream() {
        return error.into_response();
    }
    discard(&mut request.into_body()).await;
    closing(error)
}

/// Reads on for a while: a client that is cut off while it writes does not see the answer.
async fn discard(body: &mut Body) {
    let read = async {
        let mut found = 0;
        while let Some(Ok(frame)) = body.frame().await {
            found += frame.data_ref().map_or(0, Bytes::len);
            if found > DISCARD_BYTES {
                break;
            }
        }
    };
    // What is not over by then is cut off.
    let _ = tokio::time::timeout(DISCARD_TIME, read).await;
}

/// An error after which the connection cannot go on, for the rest of the body is in the way.
fn closing(error: ApiError) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A panic while a request is handled is its own 500, and nobody else's.
pub(super) async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => ApiError::internal().into_response(),
    }
}
