//! The template engine in its sandbox.
//!
//! Source, work and output of a template are bounded, and it reaches nothing but its variables, the
//! functions here, and the date where there is a clock. White space and names are those of
//! transformers. It knows no conversations.

mod tags;

use std::io::{self, Write};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::TemplateError;
use crate::python;
use tags::{LongTag, TAG_MAX_BYTES, checked};

/// The longest template that is read.
pub const SOURCE_MAX_BYTES: usize = 1 << 20;
/// The longest text that is rendered.
pub const OUTPUT_MAX_BYTES: usize = 4 << 20;
/// Work that one rendering may take: an instruction each, and 64 bytes of whatever is made. A thousand
/// messages take a tenth in the most laborious template.
pub const FUEL: u64 = 2_000_000;

/// How long one rendering may take. Fuel ends nearly all that are too long; the engine pays none for
/// going through lists of lists that are empty, or counting them.
const TIME_MAX: Duration = Duration::from_secs(10);

/// The stack of whoever works on a template. A hostile one makes lists in lists, as deep as its fuel
/// goes, and the engine follows them to their ends. Only what is used is taken from the system.
const STACK_BYTES: usize = 1 << 30;

/// What `strftime_now` of a template tells: the date and time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The system's.
    System,
    /// Always this one.
    Fixed(SystemTime),
    /// None: a template that asks fails, so that the same conversation always gives the same text.
    Refused,
}

/// Templates that are ready to render, by their names.
#[derive(Debug)]
pub(crate) struct Engine {
    environment: Arc<Environment<'static>>,
    /// Renderings that came to no end in time. Their threads cannot be stopped, and there shall not be
    /// many: none begins until they have ended, as they do where the machine was just busy.
    overdue: Mutex<Vec<JoinHandle<()>>>,
}

/// What a template itself refuses with, beneath the engine's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl Engine {
    /// No templates yet.
    pub(crate) fn new(clock: Clock) -> Self {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("Engine::new: the delimiters are the engine's own"));
        environment.set_fuel(Some(FUEL));
        // An error would keep the values that it came upon.
        environment.set_debug(false);
        environment.remove_global("debug");
        environment.add_function("raise_exception", raise_exception);
        python::add_to(&mut environment);
        let mut engine = Engine { environment: Arc::new(environment), overdue: Mutex::new(Vec::new()) };
        engine.set_clock(clock);
        engine
    }

    pub(crate) fn set_clock(&mut self, clock: Clock) {
        let strftime_now = move |format: &str| match clock {
            Clock::System => python::strftime(SystemTime::now(), format),
            Clock::Fixed(time) => python::strftime(time, format),
            Clock::Refused => {
                let why =
                    "`strftime_now` is not to be had, since the same data must always give the same text";
                Err(Error::new(ErrorKind::InvalidOperation, why))
            }
        };
        Arc::make_mut(&mut self.environment).add_function("strftime_now", strftime_now);
    }

    /// Takes in a template from this file.
    pub(crate) fn add(&mut self, name: &str, file: &str, source: &str) -> Result<(), TemplateError> {
        if source.len() > SOURCE_MAX_BYTES {
            let (file, found) = (file.to_owned(), source.len());
            return Err(TemplateError::TooLong { file, found, limit: SOURCE_MAX_BYTES });
        }
        let wrong = |line, detail| TemplateError::Wrong { file: file.to_owned(), line, detail };
        let source = checked(source).map_err(|LongTag { line, bytes }| {
            let detail =
                format!("a tag has {bytes} bytes outside of quotes, expected at most {TAG_MAX_BYTES}");
            wrong(Some(line), detail)
        })?;
        let environment = Arc::make_mut(&mut self.environment);
        let added = std::thread::scope(|scope| -> io::Result<_> {
            let add = || environment.add_template_owned(name.to_owned(), source);
            let added = deep_thread().spawn_scoped(scope, add)?.join();
            Ok(added.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let added = added.map_err(|error| no_thread(file, &error))?;
        added.map_err(|error| wrong(error.line(), detail(&error)))
    }

    /// The text that the template `name`, from this file, makes of these variables.
    pub(crate) fn render(&self, name: &str, file: &str, variables: Value) -> Result<String, TemplateError> {
        let failed = |line, detail| TemplateError::Failed { file: file.to_owned(), line, detail };
        if self.is_overdue() {
            return Err(TemplateError::Busy { file: file.to_owned() });
        }
        let (environment, name) = (Arc::clone(&self.environment), name.to_owned());
        let (send, receive) = sync_channel(1);
        let work = move || {
            // Nobody waits any more where it took too long.
            let _ = send.send(rendered(&environment, &name, variables));
        };
        let thread = deep_thread().spawn(work).map_err(|error| no_thread(file, &error))?;
        match receive.recv_timeout(TIME_MAX) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(Refusal { line, detail, is_raised: true })) => Err(TemplateError::Raised { line, detail }),
            Ok(Err(Refusal { line, detail, is_raised: false })) => Err(failed(line, detail)),
            Err(RecvTimeoutError::Timeout) => {
                self.overdue().push(thread);
                Err(failed(None, format!("it came to no end in {} seconds", TIME_MAX.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(failed(None, "the template engine panicked".to_owned()))
            }
        }
    }

    /// Whether a rendering that came to no end in time is still at work.
    fn is_overdue(&self) -> bool {
        let mut overdue = self.overdue();
        overdue.retain(|thread| !thread.is_finished());
        !overdue.is_empty()
    }

    fn overdue(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a template gave no text.
struct Refusal {
    line: Option<usize>,
    detail: String,
    /// Whether it says so itself.
    is_raised: bool,
}

fn rendered(environment: &Environment<'_>, name: &str, variables: Value) -> Result<String, Refusal> {
    let refused = |error: Error| {
        let raised = raised(&error);
        let is_raised = raised.is_some();
        Refusal { line: error.line(), detail: raised.unwrap_or_else(|| detail(&error)), is_raised }
    };
    let mut output = Bounded(Vec::new());
    let template = environment.get_template(name).map_err(refused)?;
    template.render_captured_to(variables, &mut output).map_err(refused)?;
    String::from_utf8(output.0).map_err(|_| Refusal {
        line: None,
        detail: "the text is not UTF-8".to_owned(),
        is_raised: false,
    })
}

/// A thread with a stack of [`STACK_BYTES`].
fn deep_thread() -> Builder {
    Builder::new().name("template".to_owned()).stack_size(STACK_BYTES)
}

fn no_thread(file: &str, error: &io::Error) -> TemplateError {
    TemplateError::NoThread { file: file.to_owned(), detail: error.to_string() }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// What the template refused with, if it did.
fn raised(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message.clone());
        }
        source = error.source();
    }
    None
}

/// An error of the engine in one line, with what lies under it.
fn detail(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match std::error::Error::source(error) {
        Some(source) => format!("{what}: {source}"),
        None => what,
    }
}

/// A text that refuses to grow beyond its limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX_BYTES {
            return Err(io::Error::other(format!("more than {OUTPUT_MAX_BYTES} bytes of text")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn while_another_rendering_finds_no_end_it_is_nobodys_mistake() {
        let mut engine = Engine::new(Clock::Refused);
        engine.add("t", "t.jinja", "a{{ b }}").unwrap();
        let variables = || Value::from_pairs([("b", Value::from("c"))]);
        let (go_on, wait) = channel::<()>();
        engine.overdue().push(std::thread::spawn(move || wait.recv().unwrap_or(())));
        let error = engine.render("t", "t.jinja", variables()).unwrap_err();
        assert!(matches!(error, TemplateError::Busy { .. }), "{error}");
        assert!(error.may_pass() && !error.is_of_conversation());
        drop(go_on);
        while engine.is_overdue() {
            std::thread::yield_now();
        }
        assert_eq!(engine.render("t", "t.jinja", variables()).unwrap(), "ac");
    }
}
