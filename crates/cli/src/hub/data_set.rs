//! The documents of a task from the Hub: found in the cache, or downloaded into it.

use tercet_eval::tasks::{Dataset, Source, SplitFiles};
use tercet_hub::{Client, News, Repository, RepositoryId};

use super::display::Display;
use super::{Hub, PullError};
use crate::failure::{Exit, Failure};
use crate::terminal::note;

/// The files of the splits that a task reads, as a source of its documents.
///
/// What is whole in the cache is taken from it, and the Hub is asked for the rest: the parts of its
/// conversion of the set to parquet, or the one file that the task names.
///
/// # Errors
/// Exit code 3 if the Hub has no such set or no files of a split, 4 if they are not in the cache and
/// there is no network.
pub(crate) fn documents(dataset: &Dataset, num_fewshot: usize) -> Result<Source, Failure> {
    // A signal ends the process; what was downloaded until then is taken up by the next.
    Hub::open()?.documents(dataset, num_fewshot, false, &|| false).map_err(PullError::failure)
}

impl Hub {
    fn documents(
        &self,
        dataset: &Dataset,
        num_fewshot: usize,
        is_quiet: bool,
        wants_stop: &dyn Fn() -> bool,
    ) -> Result<Source, PullError> {
        let mut splits = Vec::new();
        for split in dataset.splits(num_fewshot) {
            let name = format!("{}@{}", dataset.path, dataset.hub_revision(split));
            let id = name.parse::<RepositoryId>()?.as_data_set();
            let files = match self.cached_split(&id, dataset, split)? {
                Some(files) => files,
                None => match self.offline_variable() {
                    Some(variable) => return Err(no_split(&id, dataset, split, variable).into()),
                    None => self.pull_split(&id, dataset, split, is_quiet, wants_stop)?,
                },
            };
            splits.push(files);
        }
        Ok(Source::Files(splits))
    }

    /// The files of a split, if the cache knows all that there are and has them.
    fn cached_split(
        &self,
        id: &RepositoryId,
        dataset: &Dataset,
        split: &str,
    ) -> Result<Option<SplitFiles>, Failure> {
        let Some(snapshot) = self.cache.snapshot(id)? else { return Ok(None) };
        let Some(repository) = &snapshot.repository else { return Ok(None) };
        let names = dataset.hub_files(split, repository.names());
        if names.is_empty() || !names.iter().all(|name| snapshot.has(name)) {
            return Ok(None);
        }
        let paths = names.iter().map(|name| snapshot.folder.join(name)).collect();
        Ok(Some(SplitFiles { split: split.to_owned(), paths }))
    }

    fn pull_split(
        &self,
        id: &RepositoryId,
        dataset: &Dataset,
        split: &str,
        is_quiet: bool,
        wants_stop: &dyn Fn() -> bool,
    ) -> Result<SplitFiles, PullError> {
        if !is_quiet {
            note(&format!("{id}: split `{split}` is not whole in the cache: asking the Hub for it"));
        }
        let mut display = Display::new(self.settings.shows_bars, is_quiet, wants_stop);
        let client = Client::new(&self.settings)?;
        let mut listener = |news: News<'_>| display.hear(news);
        let repository: Repository = client.list(id, &mut listener).map_err(PullError::of)?;
        let names = dataset.hub_files(split, repository.names());
        if names.is_empty() {
            let message = format!("{id}: found no file of split `{split}`{}", configuration(dataset));
            let hint = "docs/evaluation.md says which files `--data DIR` reads";
            return Err(Failure::message(Exit::Model, message).with_hint(hint).into());
        }
        let folder = client.fetch(&self.cache, &repository, &names, &mut listener).map_err(PullError::of)?;
        self.cache.set_reference(&repository)?;
        let paths = names.iter().map(|name| folder.join(name)).collect();
        Ok(SplitFiles { split: split.to_owned(), paths })
    }
}

/// The failure for want of a network, which `variable` forbids to use.
fn no_split(id: &RepositoryId, dataset: &Dataset, split: &str, variable: &str) -> Failure {
    let message = format!(
        "{id}: split `{split}`{} is not in the cache, and `{variable}` forbids to ask the Hub",
        configuration(dataset)
    );
    let hint = "unset it, or name a folder of data with `--data DIR`";
    Failure::message(Exit::Offline, message).with_hint(hint)
}

fn configuration(dataset: &Dataset) -> String {
    dataset.config.as_ref().map_or(String::new(), |config| format!(" of configuration `{config}`"))
}

#[cfg(test)]
#[path = "../../../hub/tests/server/mod.rs"]
mod server;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tercet_eval::tasks::find;
    use tercet_hub::{Cache, Settings};

    use super::server::{File, Server};
    use super::*;

    fn hub(server: &Server, home: &Path, is_offline: bool) -> Hub {
        let settings = Settings {
            endpoint: server.endpoint.clone(),
            cache: home.to_path_buf(),
            token: None,
            offline_variable: is_offline.then_some("TRANSFORMERS_OFFLINE"),
            shows_bars: false,
            read_timeout: Duration::from_secs(5),
            retry_wait: Duration::from_millis(1),
        };
        Hub { cache: Cache::new(&settings.cache), settings }
    }

    fn failure(result: Result<Source, PullError>) -> String {
        match result {
            Err(PullError::Failed(failure)) => format!("{failure:?}"),
            Err(PullError::Stopped) => "stopped".to_owned(),
            Ok(_) => panic!("is refused"),
        }
    }

    #[test]
    fn splits_come_from_the_hub_and_then_from_the_cache() {
        let files: Vec<File> = vec![
            ("plain_text/validation/0001.parquet", b"b".to_vec(), true),
            ("plain_text/validation/0000.parquet", b"a".to_vec(), true),
            ("plain_text/train/0000.parquet", b"c".to_vec(), true),
            ("plain_text/test/0000.parquet", b"d".to_vec(), true),
        ];
        let server = Server::new(&[("datasets/baber/piqa", &files), ("datasets/allenai/sciq", &[])]);
        let home = tempfile::tempdir().unwrap();
        let of = |task: &str, num_fewshot, is_offline| {
            let selection = find(&[task]).unwrap();
            let dataset = selection.tasks[0].dataset.as_ref().unwrap();
            hub(&server, home.path(), is_offline).documents(dataset, num_fewshot, true, &|| false)
        };
        let refused = failure(of("piqa", 0, true));
        assert!(
            refused.contains("split `validation` is not in the cache, and `TRANSFORMERS_OFFLINE` forbids")
        );
        let Ok(Source::Files(splits)) = of("piqa", 0, false) else { panic!("comes") };
        let read = |splits: &[SplitFiles]| -> Vec<(String, String)> {
            let text = |path| std::fs::read_to_string(path).unwrap();
            splits.iter().map(|files| (files.split.clone(), files.paths.iter().map(text).collect())).collect()
        };
        let pair = |split: &str, text: &str| (split.to_owned(), text.to_owned());
        assert_eq!(read(&splits), [pair("validation", "ab")]);
        assert!(failure(of("piqa", 5, true)).contains("split `train` is not in the cache"));
        let Ok(Source::Files(splits)) = of("piqa", 5, false) else { panic!("comes") };
        assert_eq!(read(&splits), [pair("validation", "ab"), pair("train", "c")]);

        server.take_log();
        let Ok(Source::Files(splits)) = of("piqa@0.3.0", 5, true) else { panic!("is in the cache") };
        assert_eq!(read(&splits).len(), 2);
        assert!(server.take_log().is_empty(), "what is in the cache is not asked for");
        assert!(failure(of("sciq", 0, false)).contains("found no file of split `test`"));
        assert!(failure(of("gsm8k", 0, false)).contains("no such model or data set"));
    }
}
