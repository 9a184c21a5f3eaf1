//! A web application of one's own that also answers OpenAI's API, with one model for both.
//!
//! ```sh
//! cargo run --release --example embed_in_axum
//! curl -H 'Authorization: Bearer an-example-and-no-secret' http://127.0.0.1:8081/story/Tom
//! curl -H 'Authorization: Bearer an-example-and-no-secret' -H 'Content-Type: application/json' \
//!   http://127.0.0.1:8081/v1/completions -d '{"prompt": "Once upon a time", "max_tokens": 40}'
//! ```
//!
//! `APP_KEY` is the key that clients must send. Ctrl-C lets the requests in work finish; a second one does not wait.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use tercet::config::SuggestedSampling;
use tercet::embedded;
use tercet::generate::SamplingParams;
use tercet::model::Model;
use tercet::tokenizer::{TextEnds, Tokenizer};
use tercet_kernels::{Isa, KvType, Layout, Pool, read_bandwidth};
use tercet_serve::api::{self, Api, LargeBodies};
use tercet_serve::bandwidth::Bandwidth;
use tercet_serve::engine::{Continuation, Engine, EngineSettings, Event, Request, Wanted};
use tercet_serve::grammar::Grammars;
use tercet_serve::http::{self, Front, Hosts, Keys, Origins, Signals};
use tercet_serve::limits::Limits;
use tercet_serve::metrics::Metrics;
use tercet_serve::served::Served;
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = std::env::var("APP_KEY").unwrap_or_else(|_| "an-example-and-no-secret".to_owned());
    let address = SocketAddr::from(([127, 0, 0, 1], 8081));
    let (front, router) = app(&key, address.ip())?;
    let mut signals = Signals::listen()?;
    let listener = http::bind(address)?;
    println!("listening on http://{address}; try /story/Tom and /v1/completions, with the key");
    // Kept, the sender could put another router in place of this one while the server runs.
    let (_routers, router) = watch::channel(router);
    println!("{}", http::serve(listener, front, router, &mut signals).await);
    Ok(())
}

/// The application as one value, which a test can ask without a socket.
pub fn app(key: &str, address: IpAddr) -> Result<(Arc<Front>, Router), Box<dyn Error>> {
    let source = embedded::stories();
    let pool = Arc::new(Pool::new(Isa::best(), Pool::default_threads()));
    let model = Model::load(&source, pool, Layout::TwoBit)?;
    let config = model.config().clone();
    let tokenizer = Arc::new(Tokenizer::read(&source, &config)?);

    // One thread owns the model; whoever has a clone of the engine can ask it, and all requests share its passes.
    let settings = EngineSettings {
        context: config.max_position_embeddings,
        kv_type: KvType::F16,
        cache_positions: 8 * config.max_position_embeddings,
        max_sequences: 8,
        max_rows: 64,
        queue: 64,
        shares_prefixes: true,
    };
    let engine = Engine::start(model, Some(Arc::clone(&tokenizer)), settings)?;

    // One's own routes. They are axum's, and know nothing of OpenAI.
    let teller = Teller { engine: engine.clone(), tokenizer: Arc::clone(&tokenizer) };
    let own = Router::new().route("/story/{name}", get(story)).with_state(Arc::new(teller));

    // What the page shows the speed beside: how fast this machine reads memory. It is measured once somebody asks.
    let bandwidth = Bandwidth::new(None, || {
        read_bandwidth(&Pool::new(Isa::best(), Pool::default_threads()), 256 << 20, 3)
    });

    // OpenAI's routes.
    let (limits, metrics) = (Limits::default(), Arc::new(Metrics::new("stories")));
    let created = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let api = Api {
        engine: engine.clone(),
        grammars: Some(Grammars::new(&tokenizer, config.vocab_size, &config.eos_token_ids, &limits)),
        limits: limits.clone(),
        // A model that writes stories holds no conversations. `tercet_chat::Templates::read` has those of one that
        // does.
        templates: None,
        metrics: Arc::clone(&metrics),
        allow_embedding_ids: false,
        large_bodies: LargeBodies::new()?,
        bandwidth,
        served: Served {
            names: vec!["stories".to_owned()],
            text_ends: TextEnds::read(&source, &tokenizer)?,
            suggested: SuggestedSampling::read(&source)?,
            tokenizer: Some(tokenizer),
            config,
            created,
        },
    };
    let routes = api::routes().with_state(Arc::new(api)).merge(own);

    // All of them behind the same guards: the names of this server, web pages of others, the key, the length and pace
    // of bodies; and with `/health`, `/ready` and `/metrics` beside them.
    let (keys, hosts) = (Keys::read(key)?, Hosts::new(address, &[]));
    let front = Arc::new(Front::new(keys, hosts, Origins::default(), limits, metrics));
    front.loaded(engine);
    Ok((Arc::clone(&front), http::app(front, Some(routes))))
}

/// What the own route knows.
struct Teller {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
}

/// A story about somebody. Where the client leaves, this future is dropped, and with it the work on its answer.
async fn story(
    State(teller): State<Arc<Teller>>,
    Path(name): Path<String>,
) -> Result<String, (StatusCode, String)> {
    let failed = |status: StatusCode| move |error: &dyn Error| (status, format!("{error}\n"));
    let mut text = format!("Once upon a time, there was a little cat named {name}.");
    let prompt = teller.tokenizer.encode(&text, true);
    let prompt = prompt.map_err(|error| failed(StatusCode::BAD_REQUEST)(&error))?;
    let sampling = SamplingParams { temperature: 0.8, top_p: 0.95, ..SamplingParams::greedy() };
    let wanted = Wanted::Continuation(Box::new(Continuation::new(120, sampling)));
    let answers = teller.engine.submit(vec![Request { prompt, wanted }]);
    let mut answers = answers.map_err(|error| failed(StatusCode::SERVICE_UNAVAILABLE)(&error))?;
    while let Some(event) = answers[0].next().await {
        match event {
            Event::Token(token) => text += &token.text,
            Event::Finished(finished) => return Ok(text + &finished.text + "\n"),
            Event::Failed(error) => return Err(failed(StatusCode::INTERNAL_SERVER_ERROR)(&error)),
            Event::PromptScores(_) | Event::Embedding(_) => {}
        }
    }
    Err((StatusCode::INTERNAL_SERVER_ERROR, "the engine has stopped\n".to_owned()))
}
