//! `/v1/models`: the one model that is served, by each of its names.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use super::openapi::Refusals;
use super::wire::{ModelList, ModelMeta, ModelObject};
use super::{Api, ApiError};

/// Lists the models
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    responses((status = 200, description = "All of them", body = ModelList), Refusals),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<ModelList> {
    let data = api.served.names.iter().map(|name| described(&api, name)).collect();
    Json(ModelList { object: "list", data })
}

/// Describes a model
///
/// Its name may have slashes in it.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "models",
    params(("model" = String, Path, description = "One of its names")),
    responses((status = 200, description = "The model", body = ModelObject), Refusals),
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelObject>, ApiError> {
    let own = api.served.names.first().map_or("", String::as_str);
    let Path(name) =
        name.map_err(|_| ApiError::invalid("model", "the model's name in the path is no UTF-8 text"))?;
    match api.served.names.iter().find(|known| **known == name) {
        Some(name) => Ok(Json(described(&api, name))),
        None => Err(ApiError::model_not_found(&name, own)),
    }
}

fn described(api: &Api, name: &str) -> ModelObject {
    let config = &api.served.config;
    let context = api.context();
    ModelObject {
        id: name.to_owned(),
        object: "model",
        created: api.served.created,
        owned_by: "tercet",
        root: api.served.names.first().cloned().unwrap_or_default(),
        max_model_len: context,
        meta: ModelMeta {
            n_ctx: context,
            n_ctx_train: config.max_position_embeddings,
            n_vocab: config.vocab_size,
            n_embd: config.hidden_size,
            n_params: config.parameters(),
        },
    }
}
