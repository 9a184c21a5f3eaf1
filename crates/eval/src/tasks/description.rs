//! A task's description, as its file says it.
//!
//! Every key is known or the file is refused. It knows what may be written, not what comes of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::TaskError;

/// A file of a task.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    pub(super) task: String,
    /// As the harness prints it; `Yaml` where its file has none.
    #[serde(default = "no_version")]
    pub(super) version: String,
    pub(super) metrics: Vec<MetricName>,
    /// A template, before everything else.
    #[serde(default)]
    pub(super) description: String,
    /// Between a context and what is scored.
    #[serde(default = "target_delimiter")]
    pub(super) target_delimiter: String,
    /// A template: how an answer begins, which is not scored. It is part of the context.
    #[serde(default)]
    pub(super) gen_prefix: String,
    /// After a few-shot example.
    #[serde(default = "fewshot_delimiter")]
    pub(super) fewshot_delimiter: String,
    #[serde(default)]
    pub(super) sampler: Sampler,
    /// Few-shot examples where nothing else is asked for.
    #[serde(default)]
    pub(super) num_fewshot: usize,
    /// Fields that are added to a document, or changed, one after the other.
    #[serde(default)]
    pub(super) process: Vec<Process>,
    /// Where the documents of a task of the project come from.
    pub(super) dataset: Option<DatasetDescription>,
    /// Where those of one's own task are.
    pub(super) documents: Option<OwnDocuments>,
    /// The fields of a document, at least.
    pub(super) fields: BTreeMap<String, FieldKind>,
    // One of these says what is asked.
    pub(super) multiple_choice: Option<MultipleChoice>,
    pub(super) multiple_context: Option<MultipleContext>,
    pub(super) continuation: Option<Continuation>,
    pub(super) rolling: Option<Rolling>,
    pub(super) generate: Option<Generate>,
    /// Groups and the subjects in each, of which every one is a task.
    pub(super) subjects: Option<BTreeMap<String, Vec<String>>>,
    /// What is different in version 0.3.0 of the harness.
    pub(super) old: Option<Old>,
}

/// What differs for `@0.3.0`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Old {
    pub(super) version: String,
    pub(super) multiple_choice: Option<MultipleChoice>,
}

/// A data set of the Hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasetDescription {
    pub(super) path: String,
    pub(super) config: Option<String>,
    pub(super) training_split: Option<String>,
    pub(super) validation_split: Option<String>,
    pub(super) test_split: Option<String>,
    pub(super) fewshot_split: Option<String>,
    /// The file of a split, where the set is not read as a whole.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// The name of a raw file of WikiText, with `{split}` in it.
    pub(super) pages: Option<String>,
}

/// Files of one's own, beside the description.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnDocuments {
    pub(super) file: String,
    pub(super) fewshot_file: Option<String>,
}

/// A field and the expression for its value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    pub(super) field: String,
    pub(super) value: String,
}

/// One context, several continuations.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MultipleChoice {
    /// A template.
    pub(super) context: String,
    /// An expression: a list of strings.
    pub(super) choices: String,
    /// An expression: an index of the choices, or one of them.
    pub(super) gold: String,
}

/// Several contexts, one continuation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MultipleContext {
    /// An expression: a list of strings.
    pub(super) contexts: String,
    /// A template.
    pub(super) continuation: String,
    /// An expression: an index of the contexts.
    pub(super) gold: String,
}

/// One context, one continuation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Continuation {
    /// A template.
    pub(super) context: String,
    /// A template: the continuation with the space before it.
    pub(super) target: String,
}

/// A text from its first token on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rolling {
    /// A template.
    pub(super) text: String,
    /// A template: the text whose words and bytes are counted.
    pub(super) counted: String,
}

/// A text that the model writes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generate {
    /// A template.
    pub(super) context: String,
    /// A template: the answer.
    pub(super) target: String,
    /// Strings that end the text.
    pub(super) until: Vec<String>,
    /// Tokens at most.
    #[serde(default = "max_tokens")]
    pub(super) max_tokens: usize,
    /// Ways to find the answer in the text; with none the whole text is it.
    #[serde(default)]
    pub(super) filters: Vec<Filter>,
    /// Expressions whose matches are taken out of both texts before they are compared.
    #[serde(default)]
    pub(super) ignore: Vec<String>,
    #[serde(default)]
    pub(super) ignore_case: bool,
    #[serde(default)]
    pub(super) ignore_punctuation: bool,
}

/// A way to find an answer: the first or last match of a regular expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    pub(super) name: String,
    pub(super) regex: String,
    #[serde(rename = "match")]
    pub(super) which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    First,
    Last,
}

/// How few-shot examples are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// At random, anew for each document, from one stream of random numbers a task.
    #[default]
    Default,
    /// The first ones.
    FirstN,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MetricName {
    Acc,
    AccNorm,
    AccBytes,
    ExactMatch,
    Perplexity,
    WordPerplexity,
    BytePerplexity,
    BitsPerByte,
}

/// What a field of a document must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FieldKind {
    String,
    Integer,
    /// An integer, or a string that is one.
    Digits,
    /// A list of strings.
    Strings,
    /// An object of two lists of strings of one length, `label` and `text`.
    Labelled,
}

/// What a task asks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Which of several continuations of a context is the likeliest?
    MultipleChoice,
    /// After which of several contexts is a continuation the likeliest?
    MultipleContext,
    /// How likely is a continuation, and would greedy decoding give it?
    Continuation,
    /// How likely is a whole text?
    Rolling,
    /// What does the model write?
    Generate,
}

impl Description {
    /// Reads a description and checks what does not depend on its templates.
    ///
    /// # Errors
    /// [`TaskError::Description`] and [`TaskError::DescriptionField`], with `file` as the name.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, TaskError> {
        let wrong = |error: toml::de::Error| TaskError::Description {
            file: file.to_owned(),
            detail: error.to_string().trim_end().to_owned(),
        };
        let description: Self = toml::from_str(text).map_err(wrong)?;
        description.check(file)?;
        Ok(description)
    }

    /// What it asks of a model.
    pub(super) fn kind(&self) -> Kind {
        if self.multiple_choice.is_some() {
            Kind::MultipleChoice
        } else if self.multiple_context.is_some() {
            Kind::MultipleContext
        } else if self.continuation.is_some() {
            Kind::Continuation
        } else if self.rolling.is_some() {
            Kind::Rolling
        } else {
            Kind::Generate
        }
    }

    fn check(&self, file: &str) -> Result<(), TaskError> {
        let wrong = |field: &str, found: String, expected: &str| TaskError::DescriptionField {
            file: file.to_owned(),
            field: field.to_owned(),
            found,
            expected: expected.to_owned(),
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= 100
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if !is_name(&self.task) {
            let expected = "a name of ASCII letters, digits, `_`, `-` and `.`";
            return Err(wrong("task", format!("`{}`", super::error::shown(&self.task)), expected));
        }
        let given = [
            self.multiple_choice.is_some(),
            self.multiple_context.is_some(),
            self.continuation.is_some(),
            self.rolling.is_some(),
            self.generate.is_some(),
        ];
        let given = given.iter().filter(|is_given| **is_given).count();
        if given != 1 {
            let kinds = "`multiple_choice`, `multiple_context`, `continuation`, `rolling` or `generate`";
            let detail = format!("found {given} kinds of task, expected one of {kinds}");
            return Err(TaskError::Description { file: file.to_owned(), detail });
        }
        if self.dataset.is_some() == self.documents.is_some() {
            let detail = "expected one of `dataset` and `documents`".to_owned();
            return Err(TaskError::Description { file: file.to_owned(), detail });
        }
        if let Some(dataset) = &self.dataset
            && dataset.validation_split.is_none()
            && dataset.test_split.is_none()
        {
            return Err(wrong(
                "dataset",
                "without a split to evaluate".to_owned(),
                "a validation or test split",
            ));
        }
        if self.fields.is_empty() {
            return Err(wrong("fields", "empty".to_owned(), "the fields of a document"));
        }
        if self.metrics.is_empty() {
            return Err(wrong("metrics", "empty".to_owned(), "at least one"));
        }
        let allowed = self.kind().metrics();
        match self.metrics.iter().find(|metric| !allowed.contains(metric)) {
            Some(metric) => {
                let names: Vec<&str> = allowed.iter().map(|metric| metric.name()).collect();
                let expected = format!("one of `{}` for this kind of task", names.join("`, `"));
                Err(wrong("metrics", format!("`{}`", metric.name()), &expected))
            }
            None => Ok(()),
        }
    }
}

impl Kind {
    /// The metrics a task of this kind may have.
    fn metrics(self) -> &'static [MetricName] {
        match self {
            Self::MultipleChoice => &[MetricName::Acc, MetricName::AccNorm, MetricName::AccBytes],
            Self::MultipleContext => &[MetricName::Acc],
            Self::Continuation => &[MetricName::Perplexity, MetricName::Acc],
            Self::Rolling => {
                &[MetricName::WordPerplexity, MetricName::BytePerplexity, MetricName::BitsPerByte]
            }
            Self::Generate => &[MetricName::ExactMatch],
        }
    }

    /// The metrics of a task that says nothing of them.
    pub(super) fn usual_metrics(self) -> Vec<MetricName> {
        let usual = self.metrics().iter().copied();
        usual.filter(|metric| *metric != MetricName::AccBytes).collect()
    }
}

impl MetricName {
    /// Its name in results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccBytes => "acc_bytes",
            Self::ExactMatch => "exact_match",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
        }
    }

    /// Whether more of it is better.
    pub(super) fn higher_is_better(self) -> bool {
        matches!(self, Self::Acc | Self::AccNorm | Self::AccBytes | Self::ExactMatch)
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Digits => "an integer, or a string that is one",
            Self::Strings => "a list of strings",
            Self::Labelled => "an object of two lists of strings of one length, `label` and `text`",
        })
    }
}

fn no_version() -> String {
    "Yaml".to_owned()
}

fn target_delimiter() -> String {
    " ".to_owned()
}

fn fewshot_delimiter() -> String {
    "\n\n".to_owned()
}

/// What the harness's `hf` model generates where a task says nothing.
fn max_tokens() -> usize {
    256
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
task = "mine"
metrics = ["acc"]
[documents]
file = "mine.jsonl"
[fields]
q = "string"
[multiple_choice]
context = "{{q}}"
choices = "['a', 'b']"
gold = "0"
"#;

    fn refusal(text: &str) -> String {
        Description::parse("mine.toml", text).expect_err("is refused").to_string()
    }

    #[test]
    fn a_small_description_is_read() {
        let description = Description::parse("mine.toml", GOOD).expect("valid");
        assert_eq!(description.kind(), Kind::MultipleChoice);
        assert_eq!(description.target_delimiter, " ");
        assert_eq!(description.version, "Yaml");
    }

    #[test]
    fn each_wrong_description_is_refused_by_name() {
        let check = |from: &str, to: &str, wanted: &str| {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let found = refusal(&text);
            assert!(found.starts_with("mine.toml: "), "{found}");
            assert!(found.contains(wanted), "`{found}` has no `{wanted}`");
        };
        check("task = \"mine\"", "task = \"mine\"\ntasc = 1", "`tasc`");
        check("file =", "fail =", "fail");
        check("task = \"mine\"", "", "task");
        check("\"mine\"", "\"../mine\"", "`task` is `../mine`");
        check("[\"acc\"]", "[\"bleu\"]", "bleu");
        check("[\"acc\"]", "[\"perplexity\"]", "`perplexity`");
        check("[\"acc\"]", "[]", "`metrics` is empty");
        check("q = \"string\"", "", "`fields` is empty");
        check("\"string\"", "\"text\"", "text");
        check("[documents]", "[dataset]", "path");
        check("[documents]\nfile = \"mine.jsonl\"", "", "`dataset` and `documents`");
        check("[multiple_choice]", "[rolling]\ntext = ''\ncounted = ''\n[multiple_choice]", "2 kinds");
        check("gold = \"0\"", "gold = 0", "gold");
        check("[fields]", "[fields", "fields");
    }
}
