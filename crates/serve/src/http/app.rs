//! All routes in their guards as one value: it does no I/O, so tests call it without a socket.
//!
//! ```text
//! access → host → origin → catch_panic → open routes, and the files of the page
//!                                      → key → media type → body → every other route, and paths that are none
//! ```
//!
//! The key is asked for by the router and not by a comparison of texts: the open routes are those of
//! [`OPEN_ROUTES`] and of [`page::paths`], and whatever way an address is written, what does not match one of them
//! needs a key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use serde_json::json;

use super::front::{Front, State as Condition};
use super::{access, guards};
use crate::api::ApiError;
use crate::engine::Engine;
use crate::{metrics, page};

/// Routes that tell how the server is and need no key, each with `GET`.
pub const OPEN_ROUTES: [&str; 3] = ["/health", "/v1/health", "/ready"];
/// Routes of ours that need one, each with `GET`; all of the API's do too.
pub const OWN_ROUTES: [&str; 2] = ["/version", "/metrics"];

/// The server: our routes and the API's in their guards; without an API, the server while the model is loaded.
pub fn app(front: Arc<Front>, api: Option<Router>) -> Router {
    let open = OPEN_ROUTES.iter().fold(Router::new(), |router, path| router.route(path, own_route(path)));
    let keyed = OWN_ROUTES.iter().fold(Router::new(), |router, path| router.route(path, own_route(path)));
    let keyed = keyed
        .with_state(Arc::clone(&front))
        .merge(api.map_or_else(loading, |api| api.fallback(unknown_path)))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&front), guards::body))
        .layer(from_fn(guards::media_type))
        .layer(from_fn_with_state(Arc::clone(&front), guards::key));
    open.merge(page::routes())
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::clone(&front))
        .merge(keyed)
        .layer(from_fn(guards::catch_panic))
        .layer(from_fn_with_state(Arc::clone(&front), guards::origin))
        .layer(from_fn_with_state(Arc::clone(&front), guards::host))
        .layer(from_fn_with_state(front, access::access))
}

/// In place of the API while the model is loaded: no path is known to be none.
fn loading() -> Router {
    Router::new().fallback(async || ApiError::unavailable("Loading model"))
}

/// The handler of a route of ours.
fn own_route(path: &str) -> MethodRouter<Arc<Front>> {
    match path {
        "/health" | "/v1/health" => get(health),
        "/ready" => get(ready),
        "/version" => get(version),
        "/metrics" => get(metrics),
        _ => unreachable!("own_route: `{path}` has a handler"),
    }
}

/// Whether the process should live on: 200 while it works, also while it takes nothing new.
async fn health(State(front): State<Arc<Front>>) -> Response {
    match front.state() {
        Condition::Ready | Condition::Draining => ok(),
        state => not_ok(state),
    }
}

/// Whether requests should be sent here: 200 while they are taken.
async fn ready(State(front): State<Arc<Front>>) -> Response {
    match front.state() {
        Condition::Ready => ok(),
        state => not_ok(state),
    }
}

fn ok() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

fn not_ok(state: Condition) -> Response {
    let message = match state {
        Condition::Loading => "Loading model",
        Condition::Stuck => "the engine stands still",
        Condition::Dead => "the engine has stopped",
        Condition::Draining | Condition::Ready => "the server is shutting down",
    };
    ApiError::unavailable(message).into_response()
}

async fn version() -> Json<serde_json::Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

async fn metrics(State(front): State<Arc<Front>>) -> impl IntoResponse {
    let status = front.engine().map(Engine::status);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], front.metrics.text(status.as_ref()))
}

async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    ApiError::unknown_path(method.as_str(), uri.path())
}

/// The router adds the methods that there are.
async fn method_not_allowed(method: Method) -> ApiError {
    let method: String = method.as_str().chars().take(20).collect();
    let message = format!("method `{method}` is not allowed here; header `allow` has those that are");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, Some("method_not_allowed"), message)
}
