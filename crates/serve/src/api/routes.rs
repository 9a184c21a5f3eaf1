//! Which routes there are: a table, so that what guards them can go through all of them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodRouter, get, post};

use super::{Api, ApiError, chat, completions, embeddings, models, openapi, props, tokens};

/// A route.
pub struct Route {
    /// Its path, as the router writes it.
    pub path: String,
    /// Its method; a `GET` is also a `HEAD`.
    pub method: &'static str,
    handler: MethodRouter<Arc<Api>>,
}

/// All routes, those of OpenAI with and without `/v1`.
pub fn table() -> Vec<Route> {
    let openai: [(&str, &'static str, MethodRouter<Arc<Api>>); 5] = [
        ("/chat/completions", "POST", post(chat::chat)),
        ("/completions", "POST", post(completions::complete)),
        ("/embeddings", "POST", post(embeddings::embed)),
        ("/models", "GET", get(models::list)),
        ("/models/{*model}", "GET", get(models::get)),
    ];
    let others: [(&str, &'static str, MethodRouter<Arc<Api>>); 6] = [
        ("/tokenize", "POST", post(tokens::tokenize)),
        ("/detokenize", "POST", post(tokens::detokenize)),
        ("/tokenizer_info", "GET", get(tokens::tokenizer_info)),
        ("/props", "GET", get(props::props)),
        ("/props/layers", "GET", get(props::layers)),
        ("/openapi.json", "GET", get(openapi::openapi)),
    ];
    let both = openai.into_iter().flat_map(|(path, method, handler)| {
        ["", "/v1"].map(|prefix| Route { path: format!("{prefix}{path}"), method, handler: handler.clone() })
    });
    let others =
        others.into_iter().map(|(path, method, handler)| Route { path: path.to_owned(), method, handler });
    both.chain(others).collect()
}

/// A router of all routes. An unknown path and another method are refused in OpenAI's shape.
pub fn routes() -> Router<Arc<Api>> {
    let router = table().into_iter().fold(Router::new(), |router, route| {
        let allow = if route.method == "GET" { "GET, HEAD" } else { route.method };
        let refused =
            async move |request: Request| ApiError::method_not_allowed(request.method().as_str(), allow);
        router.route(&route.path, route.handler.fallback(refused))
    });
    router.fallback(async |request: Request| {
        ApiError::unknown_path(request.method().as_str(), request.uri().path())
    })
}
