//! The routes over an engine with the model inside, and ways to ask them.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use tercet::checkpoint::Checkpoint;
use tercet::config::{Config, SuggestedSampling};
use tercet::embedded::stories;
use tercet::model::Model;
use tercet::tokenizer::{TextEnds, Tokenizer};
use tercet_chat::{SpecialTokens, Templates};
use tercet_kernels::{Isa, KvType, Layout, Pool};
use tercet_serve::api::{Api, LargeBodies, routes};
use tercet_serve::bandwidth::Bandwidth;
use tercet_serve::engine::{Engine, EngineSettings};
use tercet_serve::grammar::Grammars;
use tercet_serve::limits::Limits;
use tercet_serve::metrics::Metrics;
use tercet_serve::served::Served;
use tower::ServiceExt;

/// Tokens of prompt and answer.
pub(crate) const CONTEXT: usize = 256;
/// Requests that may wait: a group of texts for embeddings, and those of other tests beside it.
pub(crate) const QUEUE: usize = 256;

/// The template of the conversations of these tests.
const TEMPLATE: &str = "{% for message in messages %}{% if message.role == 'system' and not loop.first %}\
    {{ raise_exception('the system speaks first') }}{% endif %}{{ message.role }}: {{ message.content }}\n\
    {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// Bytes a second of memory that are measured when somebody asks.
pub(crate) const MEASURED: f64 = 1e9;

/// What is served otherwise than usual.
#[derive(Default)]
pub(crate) struct Otherwise {
    /// No template.
    pub(crate) has_no_template: bool,
    /// Ids are believed in requests for embeddings.
    pub(crate) allow_embedding_ids: bool,
    /// Another template.
    pub(crate) template: Option<&'static str>,
    /// Bytes a second of memory, measured earlier.
    pub(crate) bandwidth: Option<f64>,
}

pub(crate) fn model() -> Model {
    Model::load(&stories(), Arc::new(Pool::new(Isa::best(), 2)), Layout::TwoBit).unwrap()
}

pub(crate) fn config() -> Config {
    let source = stories();
    Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap()
}

pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    Arc::new(Tokenizer::read(&stories(), &config()).unwrap())
}

/// The routes, over an engine of their own.
pub(crate) fn router(otherwise: Otherwise) -> Router {
    let tokenizer = tokenizer();
    let config = config();
    let settings = EngineSettings {
        context: CONTEXT,
        kv_type: KvType::F32,
        cache_positions: 16 * CONTEXT,
        max_sequences: 8,
        max_rows: 32,
        queue: QUEUE,
        shares_prefixes: true,
    };
    let engine = Engine::start(model(), Some(Arc::clone(&tokenizer)), settings).unwrap();
    let limits = Limits::default();
    let template =
        Templates::of_text("test.jinja", otherwise.template.unwrap_or(TEMPLATE), SpecialTokens::new("", ""))
            .unwrap();
    let api = Api {
        engine,
        grammars: Some(Grammars::new(&tokenizer, config.vocab_size, &config.eos_token_ids, &limits)),
        limits,
        templates: (!otherwise.has_no_template).then_some(template),
        metrics: Arc::new(Metrics::new("stories")),
        large_bodies: LargeBodies::new().unwrap(),
        bandwidth: Bandwidth::new(otherwise.bandwidth, || MEASURED),
        allow_embedding_ids: otherwise.allow_embedding_ids,
        served: Served {
            names: vec!["org/stories".to_owned(), "stories".to_owned()],
            text_ends: TextEnds::read(&stories(), &tokenizer).unwrap(),
            suggested: SuggestedSampling::default(),
            tokenizer: Some(tokenizer),
            config,
            created: 1_700_000_000,
        },
    };
    routes().with_state(Arc::new(api))
}

/// The routes that most tests share.
pub(crate) fn shared() -> Router {
    static ROUTER: OnceLock<Router> = OnceLock::new();
    ROUTER.get_or_init(|| router(Otherwise::default())).clone()
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answered {
    /// Its JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The JSON of its events, which end with `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(self.headers["content-type"], "text/event-stream", "{}", self.text);
        let lines = self.text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let mut events: Vec<&str> = lines.collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{}", self.text);
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Answered {
    let response = router.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, 64 << 20).await.unwrap();
    Answered { status: head.status, headers: head.headers, text: String::from_utf8(bytes.into()).unwrap() }
}

pub(crate) async fn post_to(router: Router, path: &str, body: &Value) -> Answered {
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header("content-type", "application/json");
    send(router, request.body(Body::from(body.to_string())).unwrap()).await
}

pub(crate) async fn post(path: &str, body: &Value) -> Answered {
    post_to(shared(), path, body).await
}

/// The JSON of an answer that must be one.
pub(crate) async fn ask(path: &str, body: &Value) -> Value {
    let answered = post(path, body).await;
    assert_eq!(answered.status, StatusCode::OK, "{body} gives {}", answered.text);
    answered.json()
}

pub(crate) async fn get(path: &str) -> Answered {
    send(shared(), Request::builder().uri(path).body(Body::empty()).unwrap()).await
}
