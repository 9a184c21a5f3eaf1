//! `/props`: what the server is, and what is in the model; the page asks for it, as clients of llama.cpp do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use tercet::model::{LinearContents, TernaryCounts};
use tercet_chat::Templates;

use super::heavy::heavy;
use super::openapi::Refusals;
use super::sampling::continuation;
use super::wire::{
    DefaultParams, DefaultSettings, GenerationFields, LayerObject, Layers, LinearObject, Props, Shares,
};
use super::{Api, ApiError};

/// Tells what the server is
#[utoipa::path(
    get,
    path = "/props",
    tag = "about",
    responses((status = 200, description = "What it is", body = Props), Refusals),
)]
pub(super) async fn props(State(api): State<Arc<Api>>) -> Result<Json<Props>, ApiError> {
    heavy(move || described(&api)).await.map(Json)
}

fn described(api: &Api) -> Result<Props, ApiError> {
    let (config, settings, status) = (&api.served.config, api.engine.settings(), api.engine.status());
    let templates = api.templates.as_ref();
    let converses = templates.is_some_and(Templates::marks_speakers);
    // Measuring would hold up what is in work, and find less than there is.
    let is_idle = status.running == 0 && status.waiting == 0;
    Ok(Props {
        default_generation_settings: DefaultSettings { n_ctx: api.context(), params: defaults(api)? },
        total_slots: settings.max_sequences,
        max_waiting: settings.queue,
        model_alias: api.model(None)?,
        chat_template: templates.and_then(Templates::source).map(str::to_owned),
        mode: if converses { "chat" } else { "completion" },
        family: config.family.name(),
        n_params: config.parameters(),
        n_ctx_train: config.max_position_embeddings,
        weight_bytes_per_token: api.engine.model().weight_bytes_per_token(),
        memory_bytes_per_second: api.bandwidth.get(is_idle),
        build_info: format!("tercet {}", env!("CARGO_PKG_VERSION")),
    })
}

/// What a request that leaves all open is answered with.
fn defaults(api: &Api) -> Result<DefaultParams, ApiError> {
    let params = continuation(api, &GenerationFields::default())?.sampling;
    Ok(DefaultParams {
        temperature: params.temperature,
        top_k: params.top_k,
        top_p: params.top_p,
        min_p: params.min_p,
        repetition_penalty: params.repetition_penalty,
        frequency_penalty: params.frequency_penalty,
        presence_penalty: params.presence_penalty,
    })
}

/// Tells how many weights of each layer are -1, 0 and +1
///
/// They are counted when somebody asks first.
#[utoipa::path(
    get,
    path = "/props/layers",
    tag = "about",
    responses((status = 200, description = "What is in the layers", body = Layers), Refusals),
)]
pub(super) async fn layers(State(api): State<Arc<Api>>) -> Result<Json<Layers>, ApiError> {
    heavy(move || Ok(written(api.engine.linear_contents()))).await.map(Json)
}

fn written(contents: &[LinearContents]) -> Layers {
    let counts = contents.iter().filter_map(|linear| linear.counts);
    let is_ternary = counts.clone().next().is_some();
    let layer = |linears: &[LinearContents]| LayerObject {
        layer: linears[0].layer,
        linears: linears.iter().map(LinearObject::from).collect(),
    };
    Layers {
        ternary: is_ternary.then(|| TernaryCounts::sum(counts).into()),
        layers: contents.chunk_by(|a, b| a.layer == b.layer).map(layer).collect(),
    }
}

impl From<&LinearContents> for LinearObject {
    fn from(contents: &LinearContents) -> Self {
        let LinearContents { name, shape, bytes, scale, counts, .. } = *contents;
        LinearObject { name, shape, bytes, scale, ternary: counts.map(Shares::from) }
    }
}

impl From<TernaryCounts> for Shares {
    fn from(counts: TernaryCounts) -> Self {
        let [minus, zero, plus] = counts.shares();
        Shares { minus, zero, plus }
    }
}
