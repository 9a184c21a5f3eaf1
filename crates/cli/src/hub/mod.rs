//! Models of the Hub: found in the cache, or downloaded into it.

pub(crate) mod data_set;
mod display;
mod needed;

use std::path::{Path, PathBuf};

use tercet::checkpoint::{INDEX_FILE, SINGLE_FILE, indexed_files};
use tercet::config::CONFIG_FILE;
use tercet::source::{Source, SourceError};
use tercet::tokenizer::TOKENIZER_FILE;
use tercet_hub::{Cache, Client, HubError, News, Repository, RepositoryId, Settings, Snapshot};

use crate::failure::{Exit, Failure};
use crate::terminal::note;

use display::Display;
use needed::{Main, Needed, Unclear, choose, choose_gguf, is_gguf};
pub(crate) use needed::{Patterns, pattern};

/// Digits of a commit that people are shown.
const COMMIT_DIGITS: usize = 8;

/// The Hub as this machine is set up for it.
pub(crate) struct Hub {
    settings: Settings,
    cache: Cache,
}

/// What the cache has of a model.
#[derive(Debug)]
pub(crate) enum Cached {
    /// All that it takes; the model's path.
    Whole(PathBuf),
    /// A part; what is missing.
    Part(Vec<String>),
    /// Nothing that could be run, whatever came.
    Unreadable(&'static str),
    /// Nothing at all.
    Absent,
}

/// Where the model of this name is, after it was downloaded if it was not in the cache.
///
/// # Errors
/// Exit code 3 if there is no such model, 4 if it is not in the cache and there is no network.
pub(crate) fn locate(id: &RepositoryId) -> Result<PathBuf, Failure> {
    let hub = Hub::open()?;
    let cached = hub.cached(id)?;
    if let Cached::Whole(path) = cached {
        return Ok(path);
    }
    if let Some(variable) = hub.offline_variable() {
        return Err(hub.offline(id, &cached, variable));
    }
    note(&format!("{id} is not whole in the cache: asking the Hub for it"));
    hub.pull(id, &Patterns::default(), false, &|| false).map_err(PullError::failure)
}

/// Why a download ended early.
pub(crate) enum PullError {
    /// The caller wanted it to.
    Stopped,
    Failed(Failure),
}

impl PullError {
    /// An error of a download, or the end that was wanted.
    fn of(error: HubError) -> Self {
        match error {
            HubError::Stopped => Self::Stopped,
            error => Self::Failed(error.into()),
        }
    }

    fn failure(self) -> Failure {
        match self {
            Self::Stopped => HubError::Stopped.into(),
            Self::Failed(failure) => failure,
        }
    }
}

impl<E: Into<Failure>> From<E> for PullError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Hub {
    /// As the variables of the Hub say.
    ///
    /// # Errors
    /// Exit code 2, if one of them makes no sense.
    pub(crate) fn open() -> Result<Self, Failure> {
        let home = std::env::home_dir();
        let settings = Settings::from_variables(|name| std::env::var_os(name), home.as_deref())?;
        let cache = Cache::new(&settings.cache);
        Ok(Hub { settings, cache })
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The variable that forbids to ask the Hub, if one does.
    pub(crate) fn offline_variable(&self) -> Option<&'static str> {
        self.settings.offline_variable
    }

    /// What is in the cache of a model at its revision.
    pub(crate) fn cached(&self, id: &RepositoryId) -> Result<Cached, Failure> {
        match self.cache.snapshot(id)? {
            Some(snapshot) => state_of(&snapshot),
            None => Ok(Cached::Absent),
        }
    }

    /// What is in the cache of the files that patterns choose.
    ///
    /// # Errors
    /// Exit code 3, if the model has no such files.
    pub(crate) fn cached_files(&self, id: &RepositoryId, patterns: &Patterns) -> Result<Cached, Failure> {
        let Some(snapshot) = self.cache.snapshot(id)? else { return Ok(Cached::Absent) };
        if patterns.are_none() {
            return state_of(&snapshot);
        }
        let names = snapshot.names()?;
        let all: Vec<&str> = match &snapshot.repository {
            Some(repository) => repository.names().collect(),
            None => names.iter().map(String::as_str).collect(),
        };
        match (choose(&all, patterns), &snapshot.repository) {
            (Ok(needed), _) if patterns.include.is_empty() => state_of_needed(&snapshot, needed),
            (Ok(needed), _) => Ok(state_of_files(&snapshot, needed.extra, &needed.main)),
            // Nobody here knows what else the model has.
            (Err(_), None) => Ok(Cached::Part(vec!["a file that the patterns choose".to_owned()])),
            (Err(unclear), Some(_)) => Err(unclear_failure(id, &unclear)),
        }
    }

    /// The failure for want of a network, which `variable` forbids to use.
    pub(crate) fn offline(&self, id: &RepositoryId, cached: &Cached, variable: &str) -> Failure {
        let found = match cached {
            Cached::Part(missing) => format!("incomplete in the cache, where {} missing", listed(missing)),
            Cached::Unreadable(why) => format!("of no use in the cache, which has {why}"),
            Cached::Absent | Cached::Whole(_) => match self.cache.has_damaged_reference(id) {
                Ok(true) => format!("of no use in the cache, whose reference `{}` is damaged", id.revision()),
                _ => "not in the cache".to_owned(),
            },
        };
        let message = format!("{id}: {found}, and `{variable}` forbids to ask the Hub");
        let hint = format!(
            "unset it, or run `tercet pull {id}` where there is a network and bring `{}` here",
            self.cache.root().display()
        );
        Failure::message(Exit::Offline, message).with_hint(hint)
    }

    /// Downloads what a model takes at its revision as the Hub has it now, and gives its path.
    ///
    /// `wants_stop` is asked often; what has come by then is kept for the next time.
    pub(crate) fn pull(
        &self,
        id: &RepositoryId,
        patterns: &Patterns,
        is_quiet: bool,
        wants_stop: &dyn Fn() -> bool,
    ) -> Result<PathBuf, PullError> {
        let mut display = Display::new(self.settings.shows_bars, is_quiet, wants_stop);
        let client = Client::new(&self.settings)?;
        let mut listener = |news: News<'_>| display.hear(news);
        let repository = client.list(id, &mut listener).map_err(PullError::of)?;
        let names: Vec<&str> = repository.names().collect();
        let mut unfit = repository.unfit_names().filter(|name| patterns.takes(name));
        if let Some(name) = unfit.next().filter(|_| !patterns.include.is_empty()) {
            return Err(HubError::FileName { id: id.to_string(), found: name.to_owned() }.into());
        }
        let needed = choose(&names, patterns).map_err(|unclear| unclear_failure(id, &unclear))?;
        let mut wanted: Vec<String> = needed.run.iter().chain(&needed.extra).cloned().collect();
        if needed.has_index() {
            let fetched = client.fetch(&self.cache, &repository, &[INDEX_FILE], &mut listener);
            wanted.extend(shards(&repository, &fetched.map_err(PullError::of)?)?);
        }
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let folder = client.fetch(&self.cache, &repository, &wanted, &mut listener).map_err(PullError::of)?;
        let is_whole = matches!(state_of(&self.cache.snapshot_of(&repository))?, Cached::Whole(_));
        if is_whole || !self.cache.has_reference(id)? {
            self.cache.set_reference(&repository)?;
        }
        Ok(needed.main.path(&folder))
    }
}

/// The files that an index names, which the repository must have.
fn shards(repository: &Repository, folder: &Path) -> Result<Vec<String>, Failure> {
    let files = indexed_files(&Source::folder(folder)?)?;
    match files.iter().find(|file| !repository.names().any(|name| name == *file)) {
        Some(file) => {
            Err(SourceError::Missing { folder: repository.id().to_string(), file: file.clone() }.into())
        }
        None => Ok(files),
    }
}

/// What a snapshot has of what its model needs.
pub(crate) fn state_of(snapshot: &Snapshot) -> Result<Cached, Failure> {
    let names = snapshot.names()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let has_safetensors = |names: &[&str]| names.contains(&SINGLE_FILE) || names.contains(&INDEX_FILE);
    let all: Vec<&str> = match &snapshot.repository {
        Some(repository) => repository.names().collect(),
        None => names.clone(),
    };
    // Of several GGUF files, what was downloaded is what was meant.
    let gguf: Vec<&str> = names.iter().copied().filter(|name| is_gguf(name)).collect();
    if !has_safetensors(&all) && !gguf.is_empty() {
        return Ok(match choose_gguf(&gguf) {
            Some(name) => Cached::Whole(snapshot.folder.join(name)),
            None => Cached::Unreadable("several GGUF files"),
        });
    }
    let needed = match (choose(&all, &Patterns::default()), &snapshot.repository) {
        (Ok(needed), Some(_)) => needed,
        // Without a record of what there should be, it is what every folder has.
        (Ok(Needed { main, mut run, extra }), None) => {
            run.extend([CONFIG_FILE, TOKENIZER_FILE].map(str::to_owned));
            Needed { main, run, extra }
        }
        (Err(Unclear::SeveralGguf(_)), _) => return Ok(Cached::Part(vec!["a GGUF file".to_owned()])),
        (Err(_), Some(_)) => return Ok(Cached::Unreadable("no safetensors, no GGUF")),
        (Err(_), None) => return Ok(Cached::Part(vec![SINGLE_FILE.to_owned()])),
    };
    state_of_needed(snapshot, needed)
}

/// What a snapshot has of these files and of those that their index names.
fn state_of_needed(snapshot: &Snapshot, needed: Needed) -> Result<Cached, Failure> {
    let has_index = needed.has_index() && snapshot.has(INDEX_FILE);
    let mut wanted = needed.run;
    if has_index {
        match indexed_files(&Source::folder(&snapshot.folder)?) {
            Ok(files) => wanted.extend(files),
            Err(_) => return Ok(Cached::Unreadable("a damaged index")),
        }
    }
    Ok(state_of_files(snapshot, wanted, &needed.main))
}

/// What a snapshot has of these files, of which one is the model or all are.
fn state_of_files(snapshot: &Snapshot, mut wanted: Vec<String>, main: &Main) -> Cached {
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|name| !snapshot.has(name));
    match wanted.is_empty() {
        false => Cached::Part(wanted),
        true => Cached::Whole(main.path(&snapshot.folder)),
    }
}

/// The beginning of a commit, which people can read and `tercet rm` takes.
pub(crate) fn short_commit(commit: &str) -> &str {
    &commit[..COMMIT_DIGITS]
}

/// What to tell where no files can be chosen.
fn unclear_failure(id: &RepositoryId, unclear: &Unclear) -> Failure {
    let failure = |message: String| Failure::message(Exit::Model, format!("{id}: {message}"));
    match unclear {
        Unclear::NoWeights { has_pickles: true } => failure(
            "found pickled weights only, expected safetensors or GGUF; pickles can run code".to_owned(),
        )
        .with_hint("look for a model with safetensors, or ask its makers for them"),
        Unclear::NoWeights { has_pickles: false } => {
            failure("found no weights, expected safetensors or GGUF".to_owned())
        }
        Unclear::SeveralGguf(names) => failure(format!("found several GGUF files: {}", names.join(", ")))
            .with_hint(format!("choose one: `tercet pull {id} --include {}`", names[0])),
        Unclear::NoMatch => failure("no file matches the patterns, pickled ones left out".to_owned()),
    }
}

/// `a is`, `a and b are`, `a, b and 3 more are`.
fn listed(names: &[String]) -> String {
    match names {
        [one] => format!("`{one}` is"),
        [one, two] => format!("`{one}` and `{two}` are"),
        [one, two, rest @ ..] => format!("`{one}`, `{two}` and {} more are", rest.len()),
        [] => "nothing is".to_owned(),
    }
}
