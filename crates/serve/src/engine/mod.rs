//! The engine: one thread that makes all passes through the model, and takes requests in tokens.
//!
//! | module | holds |
//! |---|---|
//! | `request` | what it is asked and what it answers |
//! | `queue` | what waits, and wakes it |
//! | `scheduler` | which sequences go on in the next pass |
//! | `sequence` | one of them: its tokens, its cache, what a row of logits makes of it |
//! | `prefixes` | beginnings that were computed before |
//! | `scores` | how likely tokens are |
//! | `pulse` | whether it goes on |
//!
//! A request's answer depends on nothing but the request: neither on what else is in work, nor on what is cached. It
//! knows no HTTP.

mod prefixes;
mod pulse;
mod queue;
mod request;
mod scheduler;
mod scores;
mod sequence;
/// What the queue is made of; the tests of its schedules have their own.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
}

pub use request::{
    Continuation, Event, Failed, Finished, Pooling, Reason, Request, ScoredToken, Token, Usage, Wanted,
};

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use tercet::model::{LinearContents, Model};
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{KV_BLOCK, KvType};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use pulse::Pulse;
use queue::{PushError, Queue};
use scheduler::Scheduler;
use sequence::Job;

/// How much the engine takes on.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Positions a sequence may have.
    pub context: usize,
    /// Numbers of the cache.
    pub kv_type: KvType,
    /// Positions that the cache has in all, of all sequences together; rounded up to whole pages.
    pub cache_positions: usize,
    /// Sequences that are worked on at once.
    pub max_sequences: usize,
    /// Rows of a pass: one of each sequence that generates, the rest for prompts.
    pub max_rows: usize,
    /// Sequences that may wait.
    pub queue: usize,
    /// Whether prompts that begin alike share what was computed of them.
    pub shares_prefixes: bool,
}

impl EngineSettings {
    /// Pages of the cache.
    fn pages(&self) -> usize {
        self.cache_positions.div_ceil(KV_BLOCK)
    }

    /// Tokens of prompt and continuation that one sequence has room for: the context, if the cache holds so many.
    pub fn room(&self) -> usize {
        self.context.min(self.pages() * KV_BLOCK)
    }
}

/// What the engine is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Status {
    /// Sequences that wait.
    pub waiting: usize,
    /// Sequences that are worked on.
    pub running: usize,
    /// Pages of the cache in all.
    pub total_pages: usize,
    /// Pages that requests hold; the others are free or hold prefixes that may be dropped.
    pub used_pages: usize,
    /// Pages that hold prefixes and no request holds.
    pub cached_pages: usize,
    /// Tokens of prompts computed or found since the start.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were looked up in the cache.
    pub queried_tokens: u64,
    /// Tokens of prompts that were found in the cache.
    pub cached_tokens: u64,
    /// Tokens generated since the start.
    pub generated_tokens: u64,
    /// Passes since the start.
    pub passes: u64,
}

/// How the engine feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It idles, or a pass ended lately.
    Alive,
    /// It has work, and no pass has ended for so long.
    Stuck(Duration),
    /// It has ended.
    Dead,
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many wait already.
    #[error("{waiting} requests wait and {asked} came, expected at most {expected} to wait")]
    Full {
        /// Those that wait.
        waiting: usize,
        /// Those that came together.
        asked: usize,
        /// Room.
        expected: usize,
    },
    /// The server is about to end and takes nothing new.
    #[error("the server is shutting down")]
    Draining,
    /// The engine has ended.
    #[error("the engine has stopped")]
    Stopped,
    /// Prompt and continuation are longer than the context, or than the whole cache.
    #[error("{found} tokens of prompt and continuation, expected at most {expected}")]
    TooLong {
        /// Their tokens.
        found: usize,
        /// Room.
        expected: usize,
    },
}

/// Where the answer of one request comes out. Dropping it ends the request within one pass.
pub struct Answer {
    events: UnboundedReceiver<Event>,
}

impl Answer {
    /// What comes next; nothing after [`Event::Finished`] or [`Event::Failed`], or where the engine has died.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// As [`next`](Self::next), for a thread that may wait.
    ///
    /// # Panics
    /// On a thread of an asynchronous runtime.
    pub fn blocking_next(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }
}

/// A way to reach the engine's thread. When the last is dropped, the thread ends.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    _stopper: Arc<Stopper>,
}

/// What the engine's thread and everybody else know together.
struct Shared {
    settings: EngineSettings,
    /// Passes through it are made by the engine's thread alone.
    model: Model,
    /// Its linears, once they are counted.
    contents: OnceLock<Vec<LinearContents>>,
    queue: Queue<Job>,
    pulse: Pulse,
    status: Mutex<Status>,
}

/// Stops the queue when it is dropped; whoever waits in it hears that.
struct Stopper(Arc<Shared>);

impl Drop for Stopper {
    fn drop(&mut self) {
        drop(self.0.queue.stop());
    }
}

impl Engine {
    /// Starts the engine's thread, which makes all passes through the model. Without a tokenizer a token's text is its
    /// number and a space.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        model: Model,
        tokenizer: Option<Arc<Tokenizer>>,
        settings: EngineSettings,
    ) -> io::Result<Engine> {
        let shared = Arc::new(Shared {
            model,
            contents: OnceLock::new(),
            queue: Queue::new(settings.queue),
            pulse: Pulse::default(),
            status: Mutex::new(Status::default()),
            settings,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let _end = of_thread.pulse.until_dropped();
            // After a panic, too, nobody is left to wait for an engine that has ended.
            let _stopper = Stopper(Arc::clone(&of_thread));
            run(tokenizer.as_deref(), &of_thread);
        })?;
        Ok(Engine { _stopper: Arc::new(Stopper(Arc::clone(&shared))), shared })
    }

    /// Takes a group of requests, such as the choices of one call, or none of them; answers in their order.
    ///
    /// # Errors
    /// [`SubmitError`] if there is no room for all of them, or one can never fit.
    ///
    /// # Panics
    /// If a prompt is empty, a token is not in the vocabulary, or a sampling parameter is out of range: whoever takes
    /// requests from outside checks them.
    pub fn submit(&self, group: Vec<Request>) -> Result<Vec<Answer>, SubmitError> {
        self.put_in(group, Queue::push)
    }

    /// As [`submit`](Self::submit), for a further group of a call that was begun: it is taken also while the server
    /// takes nothing new.
    ///
    /// # Errors
    /// As of [`submit`](Self::submit), but for [`SubmitError::Draining`].
    ///
    /// # Panics
    /// As [`submit`](Self::submit).
    pub fn submit_more(&self, group: Vec<Request>) -> Result<Vec<Answer>, SubmitError> {
        self.put_in(group, Queue::push_more)
    }

    fn put_in(
        &self,
        group: Vec<Request>,
        put: impl FnOnce(&Queue<Job>, Vec<Job>) -> Result<(), PushError>,
    ) -> Result<Vec<Answer>, SubmitError> {
        let Shared { settings, model, queue, .. } = &*self.shared;
        let vocab_size = model.config().vocab_size;
        for request in &group {
            check(request, vocab_size);
            let found = request.total_tokens();
            let expected = settings.room();
            if found > expected {
                return Err(SubmitError::TooLong { found, expected });
            }
        }
        let submitted = Instant::now();
        let asked = group.len();
        let (jobs, answers) = group
            .into_iter()
            .map(|request| {
                let (sender, events) = unbounded_channel();
                (Job { request, events: sender, submitted }, Answer { events })
            })
            .unzip();
        put(queue, jobs).map_err(|error| match error {
            PushError::Full(waiting) => SubmitError::Full { waiting, asked, expected: settings.queue },
            PushError::Draining => SubmitError::Draining,
            PushError::Stopped => SubmitError::Stopped,
        })?;
        Ok(answers)
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        let status = *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner);
        Status { waiting: self.shared.queue.waiting(), ..status }
    }

    /// Whether it goes on.
    pub fn health(&self) -> Health {
        self.shared.pulse.health()
    }

    /// What it was started with.
    pub fn settings(&self) -> &EngineSettings {
        &self.shared.settings
    }

    /// The model, to look at; passes through it are the engine's.
    pub fn model(&self) -> &Model {
        &self.shared.model
    }

    /// Every linear of the model with its weights counted, which takes a while the first time.
    pub fn linear_contents(&self) -> &[LinearContents] {
        self.shared.contents.get_or_init(|| self.shared.model.linear_contents().collect())
    }

    /// Takes nothing new from now on.
    pub fn drain(&self) {
        self.shared.queue.drain();
    }

    /// Ends the thread after the present pass; requests that are not done fail.
    pub fn stop(&self) {
        for job in self.shared.queue.stop().into_iter().flatten() {
            let _ = job.events.send(Event::Failed(Failed::Stopped));
        }
    }
}

fn check(request: &Request, vocab_size: usize) {
    let is_token = |token: &u32| (*token as usize) < vocab_size;
    assert!(!request.prompt.is_empty(), "Engine::submit: a prompt has tokens");
    assert!(request.prompt.iter().all(is_token), "Engine::submit: the prompt's tokens are in the vocabulary");
    if let Wanted::Continuation(continuation) = &request.wanted {
        let biased = continuation.logit_bias.iter().map(|(token, _)| token);
        assert!(continuation.sampling.check().is_ok(), "Engine::submit: sampling parameters are in range");
        assert!(biased.into_iter().all(is_token), "Engine::submit: biased tokens are in the vocabulary");
    }
}

/// The engine's thread: takes what has come, makes a pass, until it is stopped.
fn run(tokenizer: Option<&Tokenizer>, shared: &Shared) {
    let mut scheduler = Scheduler::new(&shared.model, tokenizer, &shared.settings);
    while let Some(groups) = shared.queue.take(scheduler.is_idle()) {
        shared.pulse.beat();
        groups.into_iter().for_each(|group| scheduler.add(group));
        let admitted = scheduler.admit();
        *shared.status.lock().unwrap_or_else(PoisonError::into_inner) = scheduler.status();
        // Not before, or a request would for a moment neither wait nor run.
        shared.queue.leave(admitted);
        scheduler.pass();
        if scheduler.is_idle() {
            shared.pulse.rest();
            *shared.status.lock().unwrap_or_else(PoisonError::into_inner) = scheduler.status();
        }
    }
    scheduler.fail_all();
}
