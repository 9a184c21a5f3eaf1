//! How a command fails: a message, a hint, and the exit code that tells scripts why.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use tercet::checkpoint::CheckpointError;
use tercet::config::ConfigError;
use tercet::convert::ConvertError;
use tercet::embedded::DigestError;
use tercet::generate::{GenerateError, SamplingError};
use tercet::gguf::model::ModelError;
use tercet::model::LoadError;
use tercet::source::SourceError;
use tercet::tokenizer::TokenizerError;
use tercet::verify::OpenError;
use tercet_chat::TemplateError;
use tercet_eval::tasks::TaskError;
use tercet_eval::{AnswerError, StoreError};
use tercet_hub::HubError;
use tercet_kernels::{IsaError, SelfTestError};
use tercet_train::config::ConfigError as TrainConfigError;
use tercet_train::data::DataError;
use tercet_train::trainer::TrainError;

use crate::terminal::printable;

/// The exit codes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// The command line cannot be understood, would write where something is, or asks for what this machine has not.
    Usage = 2,
    /// A file to read is missing or was refused: the model, text or data, a configuration, keys, rows.
    Model = 3,
    /// The model is not in the cache, and the Hub cannot be asked.
    Offline = 4,
    /// The model would not fit into memory.
    Memory = 5,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Failure { exit, error: error.into(), hint: None }
    }

    /// A failure with this message.
    pub(crate) fn message(exit: Exit, message: impl Display) -> Self {
        Failure::new(exit, anyhow::anyhow!("{message}"))
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells the user, and says with what the process should exit.
    pub(crate) fn report(self) -> ExitCode {
        if self.is_closed_pipe() {
            return ExitCode::SUCCESS;
        }
        const ERROR: Style = AnsiColor::Red.on_default().bold();
        const HINT: Style = AnsiColor::Cyan.on_default().bold();
        let mut err = anstream::stderr().lock();
        // Where stderr is closed there is nobody to tell, and the exit code remains.
        let _ = writeln!(err, "{ERROR}error:{ERROR:#} {}", printable(&self.text()));
        if let Some(hint) = &self.hint {
            let _ = writeln!(err, "{HINT}hint:{HINT:#} {}", printable(hint));
        }
        ExitCode::from(self.exit as u8)
    }

    /// The error with its causes, each said once.
    fn text(&self) -> String {
        let mut text = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        text
    }

    /// Whether whoever read the output wanted no more of it, as `head` does.
    fn is_closed_pipe(&self) -> bool {
        let is_closed = |kind| kind == io::ErrorKind::BrokenPipe;
        self.error.chain().any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| is_closed(error.kind()))
                || cause
                    .downcast_ref::<serde_json::Error>()
                    .and_then(serde_json::Error::io_error_kind)
                    .is_some_and(is_closed)
        })
    }
}

/// A failure of this kind with the error's own hint.
macro_rules! model_failures {
    ($($error:ty),*) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let hint = error.hint().map(str::to_owned);
                Failure { hint, ..Failure::new(Exit::Model, error) }
            }
        }
    )* };
}
model_failures!(SourceError, CheckpointError, ConfigError, TokenizerError, ModelError);

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let exit = match error {
            LoadError::SelfTest(_) => Exit::Failed,
            _ => Exit::Model,
        };
        let hint = error.hint().map(str::to_owned);
        Failure { hint, ..Failure::new(exit, error) }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        let is_of_model = !error.is_of_conversation() && !error.may_pass();
        let exit = if is_of_model { Exit::Model } else { Exit::Failed };
        let hint = error.hint().map(str::to_owned);
        Failure { hint, ..Failure::new(exit, error) }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Checkpoint(error) => error.into(),
            OpenError::Config(error) => error.into(),
        }
    }
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        let exit = match error {
            ConvertError::Exists { .. } => Exit::Usage,
            ConvertError::Io { .. } | ConvertError::Stopped => Exit::Failed,
            _ => Exit::Model,
        };
        let hint = error.hint().map(str::to_owned);
        Failure { hint, ..Failure::new(exit, error) }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let exit = match error {
            HubError::NoConnection { .. } => Exit::Offline,
            HubError::Id { .. }
            | HubError::Revision { .. }
            | HubError::NoRepository { .. }
            | HubError::Gated { .. }
            | HubError::TokenRefused { .. }
            | HubError::NoRevision { .. }
            | HubError::NoFile { .. }
            | HubError::FileName { .. }
            | HubError::TooLarge { .. }
            | HubError::TooMany { .. } => Exit::Model,
            HubError::Endpoint
            | HubError::Seconds { .. }
            | HubError::Token { .. }
            | HubError::PlainToken { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        let hint = error.hint().map(str::to_owned);
        Failure { hint, ..Failure::new(exit, error) }
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        let exit = match error {
            TaskError::UnknownTask { .. } | TaskError::TaskFileKind { .. } | TaskError::Fewshot { .. } => {
                Exit::Usage
            }
            TaskError::Conversation { .. } => Exit::Failed,
            _ => Exit::Model,
        };
        let hint = error.hint();
        Failure { hint, ..Failure::new(exit, error) }
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Generate(error) => error.into(),
            AnswerError::Store(error) => error.into(),
            _ => Failure::new(Exit::Failed, error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::new(Exit::Failed, error).with_hint("`--no-cache` keeps no answers")
    }
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Sampling(error) => error.into(),
            GenerateError::PromptTooLong { .. } => {
                Failure::new(Exit::Failed, error).with_hint("shorten the prompt, or raise `--ctx-size`")
            }
            _ => Failure::new(Exit::Failed, error),
        }
    }
}

impl From<TrainConfigError> for Failure {
    fn from(error: TrainConfigError) -> Self {
        TrainError::from(error).into()
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let exit = match error {
            TrainError::Config(TrainConfigError::Io { .. } | TrainConfigError::TooLarge { .. }) => {
                Exit::Model
            }
            TrainError::Config(_) | TrainError::NotARun { .. } | TrainError::NotAFolder { .. } => Exit::Usage,
            TrainError::Data(DataError::Io { .. }) => Exit::Failed,
            TrainError::Data(_)
            | TrainError::TeacherTokenizer { .. }
            | TrainError::Source(_)
            | TrainError::Start(_)
            | TrainError::NoFolder { .. }
            | TrainError::Several { .. }
            | TrainError::Gguf { .. }
            | TrainError::Teacher(_)
            | TrainError::TeacherVocabulary { .. }
            | TrainError::Vocabulary { .. }
            | TrainError::Positions { .. } => Exit::Model,
            _ => Exit::Failed,
        };
        let hint = error.hint().map(str::to_owned);
        Failure { hint, ..Failure::new(exit, error) }
    }
}

impl From<DigestError> for Failure {
    fn from(error: DigestError) -> Self {
        Failure::new(Exit::Failed, error)
    }
}

impl From<SelfTestError> for Failure {
    fn from(error: SelfTestError) -> Self {
        LoadError::from(error).into()
    }
}

impl From<SamplingError> for Failure {
    fn from(error: SamplingError) -> Self {
        Failure::new(Exit::Usage, error)
    }
}

impl From<IsaError> for Failure {
    fn from(error: IsaError) -> Self {
        Failure::new(Exit::Usage, error)
    }
}

/// Writing a result failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context("the result cannot be written"))
    }
}

/// Writing a result failed.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context("the result cannot be written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_told_from_other_errors() {
        let failure = |kind| Failure::from(io::Error::from(kind));
        assert!(failure(io::ErrorKind::BrokenPipe).is_closed_pipe());
        assert!(!failure(io::ErrorKind::StorageFull).is_closed_pipe());
        let json = serde_json::to_writer(ClosedPipe, &1).unwrap_err();
        assert!(Failure::from(json).is_closed_pipe());
    }

    struct ClosedPipe;

    impl Write for ClosedPipe {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
