//! `tercet serve`: answer OpenAI's API over HTTP.

mod bytes;
mod exposure;
mod limits;
mod logging;
mod room;

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tercet::presets::Preset;
use tercet::tokenizer::TextEnds;
use tercet_chat::Templates;
use tercet_kernels::{Isa, Pool};
use tercet_serve::api::{self, Api, LargeBodies};
use tercet_serve::bandwidth::Bandwidth;
use tercet_serve::engine::{Engine, EngineSettings};
use tercet_serve::grammar::Grammars;
use tercet_serve::http::{self, Ended, Front, Hosts, Router, Signal, Signals};
use tercet_serve::limits::Limits;
use tercet_serve::metrics::Metrics;
use tercet_serve::served::Served;
use tercet_train::trainer::MODEL_FOLDER;
use tokio::sync::{oneshot, watch};

use crate::failure::{Exit, Failure};
use crate::flag_bounds::{BATCH_MAX, CONTEXT_MAX, THREADS_MAX};
use crate::origin::{self, Origin};
use crate::session_flags::tell_about;
use crate::terminal::note;
use crate::weight_types::{Head, Kv, Weights};
use crate::{ceilings, chat_template, figures, model_argument};
use exposure::Exposure;
use limits::LimitFlags;
use logging::Logging;
use room::Room;

/// Threads that read requests and write answers; the model has its own.
const HTTP_THREADS: usize = 2;
/// The small model inside.
const NAME_OF_EMBEDDED: &str = "stories";
/// Threads that tokenize, render templates and compile grammars, of which few at once; what comes beyond waits.
const BLOCKING_THREADS: usize = 8;

/// Answer OpenAI's API over HTTP, for many clients at once
///
/// Without a MODEL it is the small one inside the binary. A browser finds a page to talk with it at `/`. `GET
/// /openapi.json` lists the routes, `docs/serve.md` explains them. A flag comes before its variable.
#[derive(Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Serve {
    /// A model's folder, its GGUF file, or its name on the Hub; without one, the small model inside
    #[arg(value_name = "MODEL")]
    first: Option<OsString>,
    /// A model's folder, its GGUF file, or its name on the Hub
    #[arg(short, long, value_name = "MODEL", conflicts_with = "first", help_heading = "Model")]
    model: Option<OsString>,
    /// Random weights in the shape of a known model, for measuring
    #[arg(long, value_name = "P", value_parser = origin::presets(), ignore_case = true, help_heading = "Model")]
    #[arg(conflicts_with_all = ["model", "first"])]
    preset: Option<&'static Preset>,
    /// The model's name in the API, several by commas [default: that of its file, folder, run or repository]
    #[arg(short, long, value_name = "NAME", value_delimiter = ',', help_heading = "Model")]
    #[arg(visible_alias = "served-model-name", value_parser = NonEmptyStringValueParser::new())]
    alias: Vec<String>,
    /// How ternary weights lie in memory; the answers are the same
    #[arg(long, value_name = "BITS", default_value = "2bit", help_heading = "Model")]
    weights: Weights,
    /// Numbers of the vocabulary projection: fewer bits are another function, close to the trained one
    #[arg(long, value_name = "TYPE", default_value = "model", help_heading = "Model")]
    head: Head,
    /// Numbers of the cache of keys and values; a close choice of a token may turn with it
    #[arg(long, value_name = "TYPE", default_value = "f16", help_heading = "Model")]
    kv: Kv,
    /// Positions of a request, prompt and answer; 0 for all the model was trained for [default: those, at most 4096]
    #[arg(short, long, value_name = "N", visible_alias = "max-model-len", help_heading = "Model")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=CONTEXT_MAX))]
    ctx_size: Option<u32>,
    /// A file with the template of conversations, in place of the model's own
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    chat_template_file: Option<PathBuf>,
    /// Believe that token ids in requests for embeddings are this model's; most clients send another's
    #[arg(long, help_heading = "Model")]
    allow_embedding_ids: bool,

    /// Requests that are worked on at once, also `-np`; others wait
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Work")]
    #[arg(visible_alias = "max-num-seqs", value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Tokens of a pass through the model: one of each request that generates, the rest for prompts
    #[arg(short, long, value_name = "N", default_value_t = 128, help_heading = "Work")]
    #[arg(visible_alias = "max-num-batched-tokens", value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX))]
    batch_size: u32,
    /// Memory for keys and values, such as 512M or 4G [default: enough for all requests at once, at most half of what
    /// is free]
    #[arg(long, value_name = "BYTES", value_parser = bytes::bytes, help_heading = "Work")]
    cache_memory: Option<u64>,
    /// Compute every prompt anew, also where others begin alike
    #[arg(long, help_heading = "Work")]
    no_prefix_cache: bool,
    /// Threads [default: the cores this process may use, fewer for a small model]
    #[arg(short, long, value_name = "N", help_heading = "Work")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,

    #[command(flatten)]
    exposure: Exposure,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    logging: Logging,
}

const AFTER_HELP: &str = "\
Environment:
  TERCET_API_KEY  keys that clients must send, one a line, beside those of `--api-key-file`

The first SIGTERM or Ctrl-C lets the requests in work finish, for at most `--drain-timeout`.
Then the exit code is 0, or 1 if some were cut off. The second ends the server at once.

Examples:
  tercet serve
  tercet serve path/to/model --port 9000 --alias my-model
  tercet serve path/to/model --host 0.0.0.0 --api-key-file keys.txt
  curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' \\
    -d '{\"prompt\": \"Once upon a time\", \"max_tokens\": 40}'";

impl Serve {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        self.logging.start();
        let limits = self.limits.limits();
        let keys = self.exposure.keys()?;
        let address = self.exposure.address(&keys)?;
        let origins = self.exposure.origins(&keys)?;
        let isa = Isa::from_environment()?;
        let model = self.model.as_deref().or(self.first.as_deref());
        let origin = match self.preset {
            Some(preset) => Origin::random(preset, self.weights, self.head),
            None => Origin::open(model, self.weights, self.head)?,
        };
        let prepared = self.prepare(origin, isa, limits.clone())?;
        tell_about(&prepared.origin, prepared.settings.context, isa);
        note(&prepared.line());
        let metrics = Arc::clone(&prepared.metrics);

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("tercet-http")
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        let ended = runtime.block_on(async {
            let mut signals = Signals::listen().map_err(|error| Failure::new(Exit::Failed, error))?;
            let listener = http::bind(address).map_err(|error| no_address(address, error))?;
            let bound = listener.local_addr().map_err(|error| no_address(address, error))?;
            let hosts = Hosts::new(bound.ip(), self.exposure.allowed_hosts());
            let front = Arc::new(Front::new(keys, hosts, origins, limits, metrics));
            note(&format!("tercet: listening on http://{bound}"));
            let (routers, router) = watch::channel(http::app(Arc::clone(&front), None));
            let loaded = prepared.load(Arc::clone(&front));
            let front_of_engine = Arc::clone(&front);
            let mut serving = std::pin::pin!(http::serve(listener, front, router, &mut signals));
            tokio::select! {
                ended = &mut serving => return Ok(ended),
                loaded = loaded => {
                    let (router, engine) = loaded?;
                    // Ready is who answers: the routes are there first.
                    drop(routers.send_replace(router));
                    front_of_engine.loaded(engine);
                }
            };
            note("tercet: ready");
            Ok::<Ended, Failure>(serving.await)
        });
        // What still runs, such as loading, is not waited for.
        runtime.shutdown_background();
        exit_code(ended?)
    }

    /// All that can be known, and refused, before the model is loaded.
    fn prepare(&self, origin: Origin, isa: Isa, limits: Limits) -> Result<Prepared, Failure> {
        let tokenizer = origin.tokenizer()?.map(Arc::new);
        let (text_ends, templates) = match (&tokenizer, origin.files()) {
            (Some(tokenizer), Some((source, _))) => {
                let file = self.chat_template_file.as_deref();
                let templates = chat_template::templates(source, tokenizer, file)?;
                (TextEnds::read(source, tokenizer)?, templates)
            }
            _ => (TextEnds::default(), None),
        };
        let context = origin::context(&origin.config, self.ctx_size);
        let room = Room {
            context,
            kv_type: self.kv.kv_type(),
            max_sequences: usize::from(self.parallel),
            batch_rows: self.batch_size as usize,
            cache_bytes: self.cache_memory,
        };
        let (cache_positions, weight_bytes) = room.check(&origin)?;
        let settings = EngineSettings {
            context,
            kv_type: room.kv_type,
            cache_positions,
            max_sequences: room.max_sequences,
            max_rows: room.max_rows(),
            queue: self.limits.queue(),
            shares_prefixes: !self.no_prefix_cache,
        };
        let names = if self.alias.is_empty() { vec![self.name(&origin)] } else { self.alias.clone() };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let metrics = Arc::new(Metrics::new(&names[0]));
        let suggested = origin.suggested_sampling()?;
        let served =
            Served { names, config: origin.config.clone(), tokenizer, text_ends, suggested, created };
        Ok(Prepared {
            pool: Arc::new(Pool::new(isa, origin::threads(self.threads, weight_bytes))),
            allow_embedding_ids: self.allow_embedding_ids,
            origin,
            served,
            templates,
            settings,
            limits,
            metrics,
            weight_bytes,
        })
    }

    /// What the model is called, where nobody says it: what was asked for, without folders and endings.
    fn name(&self, origin: &Origin) -> String {
        if let Some(preset) = self.preset {
            return preset.name.to_owned();
        }
        match self.model.as_deref().or(self.first.as_deref()) {
            Some(model) => name_of(model).unwrap_or_else(|| origin.name()),
            None => NAME_OF_EMBEDDED.to_owned(),
        }
    }
}

/// What is served, not loaded yet.
struct Prepared {
    origin: Origin,
    pool: Arc<Pool>,
    served: Served,
    templates: Option<Templates>,
    settings: EngineSettings,
    limits: Limits,
    metrics: Arc<Metrics>,
    weight_bytes: u64,
    allow_embedding_ids: bool,
}

impl Prepared {
    /// Which model it is, and how long its requests may be.
    fn line(&self) -> String {
        let Served { names, config, .. } = &self.served;
        format!(
            "model {}: {} parameters, requests of up to {}",
            names.join(", "),
            figures::count(config.parameters()),
            figures::number_of(self.settings.room(), "token")
        )
    }

    /// Loads the model on a thread of its own, and gives the router that answers with it.
    fn load(self, front: Arc<Front>) -> impl Future<Output = Result<(Router, Engine), Failure>> {
        let (sender, receiver) = oneshot::channel();
        // Nobody listens any more where a signal has ended the server meanwhile.
        std::thread::spawn(move || sender.send(self.router(front)));
        async {
            let stopped =
                || Failure::message(Exit::Failed, "the model was not loaded: its thread has stopped");
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        }
    }

    fn router(self, front: Arc<Front>) -> Result<(Router, Engine), Failure> {
        let model = self.origin.load(&self.pool, self.weight_bytes)?;
        let Served { tokenizer, config, text_ends, .. } = &self.served;
        let eos: Vec<u32> = text_ends.eos.into_iter().chain(config.eos_token_ids.iter().copied()).collect();
        let grammars = tokenizer
            .as_ref()
            .map(|tokenizer| Grammars::new(tokenizer, config.vocab_size, &eos, &self.limits));
        let bandwidth = bandwidth(&self.pool);
        let engine = Engine::start(model, tokenizer.clone(), self.settings)
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        let api = Api {
            engine: engine.clone(),
            served: self.served,
            limits: self.limits,
            templates: self.templates,
            grammars,
            metrics: self.metrics,
            large_bodies: LargeBodies::new().map_err(|error| Failure::new(Exit::Failed, error))?,
            bandwidth,
            allow_embedding_ids: self.allow_embedding_ids,
        };
        Ok((http::app(front, Some(api::routes().with_state(Arc::new(api)))), engine))
    }
}

/// What the memory gives to as many threads as the model has, from an earlier probe or from one when somebody asks. It
/// has threads of its own, for those of the model are the engine's.
fn bandwidth(pool: &Pool) -> Bandwidth {
    let (isa, threads) = (pool.isa(), pool.threads());
    let measure = move || ceilings::recall_or_measure_bandwidth(&Pool::new(isa, threads));
    Bandwidth::new(ceilings::recall_bandwidth(pool), measure)
}

/// The last part of a path, without `.gguf`, or the one before where that is `model`, as in the folder of a run; of a
/// name of the Hub all but the revision.
fn name_of(model: &OsStr) -> Option<String> {
    let path = model_argument::expand_home(model);
    let Ok(path) = path.canonicalize() else {
        let id = model.to_string_lossy();
        return id.split('@').next().map(str::to_owned);
    };
    let name = match path.file_name()? {
        _ if path.is_file() => path.file_stem()?,
        name if name == MODEL_FOLDER => path.parent().and_then(Path::file_name).unwrap_or(name),
        name => name,
    };
    Some(name.to_string_lossy().into_owned())
}

fn no_address(address: SocketAddr, error: io::Error) -> Failure {
    let failure = Failure::message(Exit::Failed, format!("{address}: cannot be listened on: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => failure
            .with_hint("another server is there; `--port 0` takes a free port, or `--port` another one"),
        io::ErrorKind::AddrNotAvailable => failure.with_hint("`--host` is an address of this machine"),
        _ => failure,
    }
}

fn exit_code(ended: Ended) -> Result<ExitCode, Failure> {
    match ended {
        Ended::Drained => Ok(ExitCode::SUCCESS),
        Ended::AtOnce(signal) => Ok(ExitCode::from(match signal {
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
            Signal::HangUp => 129,
        })),
        Ended::Cut(_) => {
            let hint = "`--drain-timeout` gives them more time";
            Err(Failure::message(Exit::Failed, ended).with_hint(hint))
        }
        Ended::EngineDied => Err(Failure::message(Exit::Failed, ended)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_by_the_last_part_of_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("my-model")).unwrap();
        std::fs::create_dir_all(path("mine/model")).unwrap();
        std::fs::write(path("small.gguf"), "").unwrap();
        let check = |model: &OsStr, want: &str| assert_eq!(name_of(model).as_deref(), Some(want));
        check(path("my-model").as_os_str(), "my-model");
        check(path("my-model/").as_os_str(), "my-model");
        check(path("small.gguf").as_os_str(), "small");
        check(path("mine/model").as_os_str(), "mine");
        check(OsStr::new("org/name"), "org/name");
        check(OsStr::new("org/name@refs/pr/1"), "org/name");
    }
}
