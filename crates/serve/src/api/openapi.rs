//! `/openapi.json`: the routes, for programs that read of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use super::error::ErrorBody;
use super::maxima::Maxima;
use super::wire::ChatChunk;
use super::{Api, chat, completions, embeddings, models, props, tokens};
use crate::limits::Limits;

/// The refusals and failures that any route may answer with.
pub(super) struct Refusals;

/// Their statuses.
const REFUSALS: [(&str, &str); 12] = [
    ("400", "A field has a value that it may not have, or the context is too short"),
    ("401", "No key, or another one"),
    ("403", "Another site's page asks"),
    ("404", "Another model, or nothing at this path"),
    ("405", "Another method"),
    ("408", "The request came too slowly"),
    ("413", "The body is too long"),
    ("415", "The body is no JSON by its header"),
    ("421", "Another host is meant"),
    ("429", "Too many wait; `Retry-After` says when to come again"),
    ("500", "A failure inside"),
    ("503", "The server is starting or ending"),
];

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
        let response = |description: &str| {
            ResponseBuilder::new().description(description).content("application/json", content()).build()
        };
        REFUSALS.map(|(status, description)| (status.to_owned(), response(description).into())).into()
    }
}

/// An event of a stream
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is described and never held: axum writes events")]
pub(super) struct StreamEvent {
    /// A chunk as JSON, an error as JSON where the answer fails on its way, or `[DONE]` after the last
    data: String,
}

/// Adds the key of the server.
struct Key;

impl Modify for Key {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// Adds the routes that stand around these: path, what they answer, of which type, and whether without a key.
struct Surroundings;

const SURROUNDINGS: [(&str, &str, &str, bool); 6] = [
    ("/", "Shows the page to talk with the model", "text/html", true),
    ("/health", "Says whether the process should live on", "application/json", true),
    ("/v1/health", "The same as `/health`", "application/json", true),
    ("/ready", "Says whether requests should be sent here", "application/json", true),
    ("/version", "Says which version this is", "application/json", false),
    ("/metrics", "Tells what was counted and measured", "application/openmetrics-text", false),
];

impl Modify for Surroundings {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for (path, summary, media_type, is_open) in SURROUNDINGS {
            let kind = if media_type == "application/json" { Type::Object } else { Type::String };
            let content: Content =
                ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind).build())).build();
            let answer = ResponseBuilder::new().description(summary).content(media_type, content).build();
            let operation =
                OperationBuilder::new().tag("about").summary(Some(summary)).response("200", answer);
            let operation = Refusals::responses()
                .into_iter()
                .fold(operation, |operation, (status, response)| operation.response(status, response));
            let operation = match is_open {
                true => operation.security(SecurityRequirement::default()),
                false => operation,
            };
            let item = PathItem::new(HttpMethod::Get, operation.build());
            openapi.paths.paths.insert(path.to_owned(), item);
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "tercet", description = "An OpenAI-compatible server of ternary language models"),
    paths(
        chat::chat,
        completions::complete,
        embeddings::embed,
        models::list,
        models::get,
        tokens::tokenize,
        tokens::detokenize,
        tokens::tokenizer_info,
        props::props,
        props::layers,
        openapi,
    ),
    components(schemas(ErrorBody, ChatChunk)),
    modifiers(&Key, &Surroundings),
    security(("key" = [])),
)]
struct Document;

/// Describes all of this
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "about",
    responses(
        (status = 200, description = "This document", content_type = "application/json", body = Object),
        Refusals,
    ),
)]
pub(super) async fn openapi(State(api): State<Arc<Api>>) -> Json<utoipa::openapi::OpenApi> {
    Json(document(&api.limits))
}

/// The routes as OpenAPI has them, of a server with these limits.
pub fn document(limits: &Limits) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    Maxima(limits).modify(&mut document);
    document
}
