//! How a download is shown: what is heard of it as progress and lines, or not at all.

use std::ops::ControlFlow;

use tercet_hub::News;

use crate::figures;
use crate::progress::Progress;
use crate::terminal::{note, printable};

/// Shows what is heard of a download, and stops it where that is wanted.
pub(crate) struct Display<'a> {
    wants_bar: bool,
    is_quiet: bool,
    wants_stop: &'a dyn Fn() -> bool,
    /// None while no file comes.
    progress: Option<Progress>,
    done_bytes: u64,
    file_bytes: u64,
}

impl<'a> Display<'a> {
    pub(crate) fn new(wants_bar: bool, is_quiet: bool, wants_stop: &'a dyn Fn() -> bool) -> Self {
        Display { wants_bar, is_quiet, wants_stop, progress: None, done_bytes: 0, file_bytes: 0 }
    }

    /// Shows one piece of news, and says whether to go on.
    pub(crate) fn hear(&mut self, news: News<'_>) -> ControlFlow<()> {
        if !self.is_quiet {
            self.show(news);
        }
        if (self.wants_stop)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn show(&mut self, news: News<'_>) {
        match news {
            News::Plan { files: 0, .. } | News::Waiting => {}
            News::Plan { files, bytes, done_bytes } => {
                let what = figures::number_of(files, "file");
                let kept = match done_bytes {
                    0 => String::new(),
                    kept => format!(", {} of it from an earlier attempt", figures::bytes(kept)),
                };
                self.note(&format!("downloading {what}, {}{kept}", figures::bytes(bytes)));
                self.done_bytes = done_bytes;
                self.progress = Some(Progress::go_on("", bytes, done_bytes, self.wants_bar));
            }
            News::File { name, bytes, .. } => {
                self.file_bytes = bytes;
                if let Some(progress) = &mut self.progress {
                    progress.rename(&printable(name));
                }
            }
            News::Bytes(count) => self.set(self.done_bytes + count),
            News::Lost(count) => self.set(self.done_bytes.saturating_sub(count)),
            News::Done { name } => {
                if self.progress.as_ref().is_some_and(|progress| !progress.has_bar()) {
                    note(&format!("{name}  {}", figures::bytes(self.file_bytes)));
                }
            }
            News::Retry { error, wait } => {
                self.note(&format!("{error}; trying again in {} s", wait.as_secs_f64().ceil()));
            }
            News::Locked { name } => self.note(&format!("{name}: another process downloads it; waiting")),
        }
    }

    fn set(&mut self, done_bytes: u64) {
        self.done_bytes = done_bytes;
        if let Some(progress) = &mut self.progress {
            progress.set(done_bytes);
        }
    }

    /// A line that stays.
    fn note(&self, text: &str) {
        match &self.progress {
            Some(progress) => progress.note(text),
            None => note(text),
        }
    }
}
