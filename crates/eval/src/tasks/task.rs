//! A task: what its description says, made ready to use.
//!
//! It turns a document into the parts of a request and knows nothing of files or few-shot examples.

use std::path::PathBuf;

use minijinja::Value as Context;
use regex::Regex;

use super::description::{Description, FieldKind, Kind, MetricName, Sampler, Which};
use super::documents::{Document, Json, Place, Shape};
use super::error::{TaskError, shown};
use super::template::{Engine, Expression, Template, context};
use super::text;

/// The version of lm-evaluation-harness whose tasks these are, but for those of version 0.3.0.
pub const HARNESS_VERSION: &str = "0.4.13";

/// Documents of at most so many parts: choices, or contexts.
const CHOICES_MAX: usize = 1000;

/// By which version of the harness documents are ordered and few-shot examples are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Version [`HARNESS_VERSION`]: the order of the file; a seed for the examples alone.
    Current,
    /// Version 0.3.0, which the BitNet b1.58 paper used: one random stream of seed 42 shuffles the
    /// documents and then draws the examples.
    Old,
}

/// A task.
#[derive(Debug)]
pub struct Task {
    /// What it is called; those of version 0.3.0 end in `@0.3.0`.
    pub name: String,
    /// What its table shows it as.
    pub alias: String,
    /// The version of its description, as the harness counts them.
    pub version: String,
    /// What it asks of a model.
    pub kind: Kind,
    /// Few-shot examples where nothing else is asked for.
    pub num_fewshot: usize,
    /// How few-shot examples are chosen.
    pub sampler: Sampler,
    /// How documents are ordered.
    pub rules: Rules,
    /// Where the documents come from; nothing for one's own files.
    pub dataset: Option<Dataset>,
    pub(super) own_files: Option<OwnFiles>,
    pub(super) metrics: Vec<MetricName>,
    pub(super) target_delimiter: String,
    pub(super) fewshot_delimiter: String,
    pub(super) fields: Vec<(String, FieldKind)>,
    pub(super) form: Option<Form>,
    /// What a report keeps of the description.
    config: serde_json::Value,
    engine: Engine,
    description: Option<Template>,
    process: Vec<(String, Expression)>,
}

/// A data set of the Hugging Face Hub, and its splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// `organisation/name`.
    pub path: String,
    /// Which of its configurations; the only one if nothing.
    pub config: Option<String>,
    /// The split that is evaluated.
    pub evaluation_split: String,
    /// The split that few-shot examples are drawn from.
    pub fewshot_split: String,
    /// What files are called: the task's name without a version of the harness.
    pub file_stem: String,
    /// The files of splits, in the data set, where they are not all of a split.
    pub split_files: Vec<(String, String)>,
    /// Whether the document that is evaluated is kept out of its few-shot examples.
    ///
    /// The harness does so where its few-shot split and its test split have the same name or, which
    /// is so for most tasks, neither has one.
    pub leaves_out: bool,
    /// The subject, of a set that has several in one file.
    pub subject: Option<String>,
    pub(super) common_stem: Option<String>,
    pub(super) pages: Option<String>,
}

/// Files of one's own task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnFiles {
    pub(super) evaluation: PathBuf,
    pub(super) fewshot: Option<PathBuf>,
}

/// How the parts of a request are made of a document with the fields of the source.
#[derive(Debug)]
pub(super) enum Form {
    MultipleChoice {
        context: Template,
        choices: Expression,
        gold: Expression,
        /// The choices, where they are the same for every document.
        fixed: Option<Vec<String>>,
    },
    MultipleContext {
        contexts: Expression,
        continuation: Template,
        gold: Expression,
    },
    Continuation {
        context: Template,
        target: Template,
    },
    Rolling {
        text: Template,
        counted: Template,
    },
    Generate {
        context: Template,
        target: Template,
        generation: Generation,
    },
}

/// How a model writes, and how that is read.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) until: Vec<String>,
    pub(super) max_tokens: usize,
    pub(super) filters: Vec<AnswerFilter>,
    pub(super) ignore: Vec<Regex>,
    pub(super) ignore_case: bool,
    pub(super) ignore_punctuation: bool,
}

/// A named way to find an answer in a text.
#[derive(Debug, Clone)]
pub(super) struct AnswerFilter {
    pub(super) name: String,
    pub(super) regex: Regex,
    pub(super) which: Which,
}

/// A document as the parts of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Parts {
    MultipleChoice { context: String, choices: Vec<String>, gold: usize },
    MultipleContext { contexts: Vec<String>, continuation: String, gold: usize },
    Continuation { context: String, target: String },
    Rolling { text: String, words: u64, bytes: u64 },
    Generate { context: String, target: String },
}

impl Task {
    /// Makes a task of a description.
    ///
    /// `file` is what messages call it, `subject` the one of its subjects, and `folder` where one's
    /// own documents are.
    pub(super) fn new(
        file: &str,
        description: &Description,
        rules: Rules,
        subject: Option<&str>,
        own_files: Option<OwnFiles>,
    ) -> Result<Self, TaskError> {
        let mut engine = Engine::new();
        let mut description = description.clone();
        if let (Rules::Old, Some(old)) = (rules, &description.old) {
            description.version.clone_from(&old.version);
            if let Some(parts) = &old.multiple_choice {
                description.multiple_choice = Some(parts.clone());
            }
        }
        let mut dataset = description.dataset.as_ref().map(|dataset| Dataset::new(&description, dataset));
        let mut name = description.task.clone();
        let mut alias = name.clone();
        if let Some(subject) = subject {
            name = format!("{name}_{subject}");
            alias = subject.to_owned();
            description.description =
                description.description.replace("{subject}", &subject.replace('_', " "));
            if let Some(dataset) = &mut dataset {
                dataset.common_stem = Some(std::mem::replace(&mut dataset.file_stem, name.clone()));
                dataset.config = Some(subject.to_owned());
                dataset.subject = Some(subject.to_owned());
            }
        }
        if rules == Rules::Old {
            name.push_str("@0.3.0");
            alias.clone_from(&name);
        }
        let mut compiler = Compiler { file, engine: &mut engine };
        let form = compiler.form(&description)?;
        let before = &description.description;
        let before = if before.is_empty() { None } else { Some(compiler.template("description", before)?) };
        let process = description.process.iter().map(|process| {
            Ok((
                process.field.clone(),
                compiler.expression(&format!("process.{}", process.field), &process.value)?,
            ))
        });
        let process = process.collect::<Result<_, TaskError>>()?;
        let config = config(&description, &name, &alias, dataset.as_ref());
        Ok(Self {
            name,
            alias,
            version: description.version.clone(),
            kind: description.kind(),
            num_fewshot: description.num_fewshot,
            sampler: description.sampler,
            rules,
            dataset,
            own_files,
            metrics: description.metrics.clone(),
            target_delimiter: description.target_delimiter.clone(),
            fewshot_delimiter: description.fewshot_delimiter.clone(),
            fields: description.fields.iter().map(|(name, kind)| (name.clone(), *kind)).collect(),
            form: Some(form),
            config,
            engine,
            description: before,
            process,
        })
    }

    /// A task whose documents are ready: they hold the parts of a request.
    pub(super) fn ready(name: &str, kind: Kind, evaluation: PathBuf) -> Self {
        let metrics = kind.usual_metrics();
        let names: Vec<&str> = metrics.iter().map(|metric| metric.name()).collect();
        let config =
            serde_json::json!({"task": name, "output_type": output_type(kind), "metric_list": names});
        Self {
            name: name.to_owned(),
            alias: name.to_owned(),
            version: "Yaml".to_owned(),
            kind,
            num_fewshot: 0,
            sampler: Sampler::Default,
            rules: Rules::Current,
            dataset: None,
            own_files: Some(OwnFiles { evaluation, fewshot: None }),
            metrics,
            target_delimiter: " ".to_owned(),
            fewshot_delimiter: "\n\n".to_owned(),
            fields: Vec::new(),
            form: None,
            config,
            engine: Engine::new(),
            description: None,
            process: Vec::new(),
        }
    }

    /// The description as JSON, with the harness's names for its keys: `configs` of a result.
    pub fn config(&self) -> &serde_json::Value {
        &self.config
    }

    /// The names of the metrics, in the order of results, and whether more is better.
    pub fn metric_names(&self) -> Vec<(&'static str, bool)> {
        self.metrics.iter().map(|metric| (metric.name(), metric.higher_is_better())).collect()
    }

    /// Whether the evaluated document is kept out of its few-shot examples.
    pub(super) fn leaves_out(&self) -> bool {
        match (&self.dataset, &self.own_files) {
            (Some(dataset), _) => dataset.leaves_out,
            (None, Some(files)) => files.fewshot.is_none(),
            (None, None) => true,
        }
    }

    /// How an answer is generated and read, of a task of that kind.
    pub(super) fn generation(&self) -> Option<&Generation> {
        match &self.form {
            Some(Form::Generate { generation, .. }) => Some(generation),
            _ => None,
        }
    }

    /// The text before everything else.
    pub(super) fn description(&self, document: &Document) -> Result<String, TaskError> {
        match &self.description {
            Some(template) => self.render(template, "description", document, &context(&document.json)),
            None => Ok(String::new()),
        }
    }

    /// Adds the fields that the description computes.
    pub(super) fn processed(&self, mut document: Document) -> Result<Document, TaskError> {
        for (field, expression) in &self.process {
            let value = self.evaluate(expression, "process", &document, &context(&document.json))?;
            document.json.set(field, value);
        }
        Ok(document)
    }

    /// The parts of a request for a document, and what the harness calls its target.
    ///
    /// # Errors
    /// [`TaskError::Render`] and [`TaskError::Field`], with the place of the document.
    pub(super) fn parts(&self, document: &Document) -> Result<(Parts, Json), TaskError> {
        match (&self.form, document.shape) {
            (Some(form), Shape::Source) => self.source_parts(form, document),
            _ => self.ready_parts(document),
        }
    }

    fn source_parts(&self, form: &Form, document: &Document) -> Result<(Parts, Json), TaskError> {
        let fields = context(&document.json);
        let text = |template, part| self.render(template, part, document, &fields);
        let value = |expression, part| self.evaluate(expression, part, document, &fields);
        Ok(match form {
            Form::MultipleChoice { context, choices, gold, .. } => {
                let context = text(context, "context")?;
                let choices = strings(value(choices, "choices")?, "choices", &document.place)?;
                let target = value(gold, "gold")?;
                let gold = index(&target, &choices, "gold", &document.place)?;
                (Parts::MultipleChoice { context, choices, gold }, target)
            }
            Form::MultipleContext { contexts, continuation, gold } => {
                let contexts = strings(value(contexts, "contexts")?, "contexts", &document.place)?;
                let continuation = text(continuation, "continuation")?;
                let gold = index(&value(gold, "gold")?, &contexts, "gold", &document.place)?;
                let target = Json::String(continuation.clone());
                (Parts::MultipleContext { contexts, continuation, gold }, target)
            }
            Form::Continuation { context, target } => {
                let (context, target) = (text(context, "context")?, text(target, "target")?);
                continuation(context, target)
            }
            Form::Rolling { text: scored, counted } => {
                rolling(text(scored, "text")?, &text(counted, "counted")?)
            }
            Form::Generate { context, target, .. } => {
                let (context, target) = (text(context, "context")?, text(target, "target")?);
                let shown = Json::String(target.clone());
                (Parts::Generate { context, target }, shown)
            }
        })
    }

    /// The parts that a ready document holds.
    fn ready_parts(&self, document: &Document) -> Result<(Parts, Json), TaskError> {
        let place = &document.place;
        let field = |name| document.json.get(name).cloned().unwrap_or(Json::Null);
        let text = |name| string(field(name), name, place);
        Ok(match self.kind {
            Kind::MultipleChoice => {
                let mut choices = strings(field("choices"), "choices", place)?;
                let mut gold = index(&field("gold"), &choices, "gold", place)?;
                if let Some(Form::MultipleChoice { fixed: Some(fixed), .. }) = &self.form
                    && let Some(placed) =
                        same_elements(fixed, &choices).then(|| place_of(fixed, &choices[gold]))
                {
                    (choices, gold) = (fixed.clone(), placed);
                }
                let target = Json::Number(gold.into());
                (Parts::MultipleChoice { context: text("ctx")?, choices, gold }, target)
            }
            Kind::MultipleContext => {
                let contexts = strings(field("ctxs"), "ctxs", place)?;
                let gold = index(&field("gold"), &contexts, "gold", place)?;
                let continuation = text("continuation")?;
                let target = Json::String(continuation.clone());
                (Parts::MultipleContext { contexts, continuation, gold }, target)
            }
            Kind::Continuation => continuation(text("context")?, format!(" {}", text("continuation")?)),
            Kind::Rolling => {
                let text = text("text")?;
                rolling(text.clone(), &text)
            }
            Kind::Generate => {
                let (context, target) = (text("context")?, text("target")?);
                let shown = Json::String(target.clone());
                (Parts::Generate { context, target }, shown)
            }
        })
    }

    fn render(
        &self,
        template: &Template,
        part: &'static str,
        document: &Document,
        fields: &Context,
    ) -> Result<String, TaskError> {
        self.engine.render(template, fields).map_err(|detail| self.failure(part, document, detail))
    }

    fn evaluate(
        &self,
        expression: &Expression,
        part: &'static str,
        document: &Document,
        fields: &Context,
    ) -> Result<Json, TaskError> {
        self.engine.evaluate(expression, fields).map_err(|detail| self.failure(part, document, detail))
    }

    fn failure(&self, part: &'static str, document: &Document, detail: String) -> TaskError {
        TaskError::Render { place: document.place.to_string(), task: self.name.clone(), part, detail }
    }
}

impl Dataset {
    fn new(description: &Description, dataset: &super::description::DatasetDescription) -> Self {
        let evaluation = dataset.test_split.as_ref().or(dataset.validation_split.as_ref());
        let evaluation = evaluation.expect("a checked description has one of them");
        let fewshot = dataset
            .fewshot_split
            .as_ref()
            .or(dataset.training_split.as_ref())
            .or(dataset.validation_split.as_ref())
            .unwrap_or(evaluation);
        Self {
            path: dataset.path.clone(),
            config: dataset.config.clone(),
            evaluation_split: evaluation.clone(),
            fewshot_split: fewshot.clone(),
            file_stem: description.task.clone(),
            split_files: dataset.files.iter().map(|(split, file)| (split.clone(), file.clone())).collect(),
            leaves_out: dataset.fewshot_split == dataset.test_split,
            subject: None,
            common_stem: None,
            pages: dataset.pages.clone(),
        }
    }
}

/// What reads the templates of a description.
struct Compiler<'a> {
    file: &'a str,
    engine: &'a mut Engine,
}

impl Compiler<'_> {
    fn form(&mut self, description: &Description) -> Result<Form, TaskError> {
        let parts = description;
        if let Some(parts) = &parts.multiple_choice {
            let choices = self.expression("multiple_choice.choices", &parts.choices)?;
            // An expression that needs no field has the same value for all documents.
            let fixed = self.engine.evaluate(&choices, &context(&Json::Object(Vec::new()))).ok();
            let fixed = fixed.and_then(|fixed| strings(fixed, "choices", &Place::none()).ok());
            return Ok(Form::MultipleChoice {
                context: self.template("multiple_choice.context", &parts.context)?,
                choices,
                gold: self.expression("multiple_choice.gold", &parts.gold)?,
                fixed,
            });
        }
        if let Some(parts) = &parts.multiple_context {
            return Ok(Form::MultipleContext {
                contexts: self.expression("multiple_context.contexts", &parts.contexts)?,
                continuation: self.template("multiple_context.continuation", &parts.continuation)?,
                gold: self.expression("multiple_context.gold", &parts.gold)?,
            });
        }
        if let Some(parts) = &parts.continuation {
            return Ok(Form::Continuation {
                context: self.template("continuation.context", &parts.context)?,
                target: self.template("continuation.target", &parts.target)?,
            });
        }
        if let Some(parts) = &parts.rolling {
            return Ok(Form::Rolling {
                text: self.template("rolling.text", &parts.text)?,
                counted: self.template("rolling.counted", &parts.counted)?,
            });
        }
        let parts = parts.generate.as_ref().expect("a checked description has one of them");
        let filters = parts.filters.iter().map(|filter| {
            let regex = self.regex(&format!("generate.filters.{}", filter.name), &filter.regex)?;
            Ok(AnswerFilter { name: filter.name.clone(), regex, which: filter.which })
        });
        let filters = filters.collect::<Result<_, TaskError>>()?;
        let ignore = parts.ignore.iter().map(|expression| self.regex("generate.ignore", expression));
        let ignore = ignore.collect::<Result<_, TaskError>>()?;
        Ok(Form::Generate {
            context: self.template("generate.context", &parts.context)?,
            target: self.template("generate.target", &parts.target)?,
            generation: Generation {
                until: parts.until.clone(),
                max_tokens: parts.max_tokens,
                filters,
                ignore,
                ignore_case: parts.ignore_case,
                ignore_punctuation: parts.ignore_punctuation,
            },
        })
    }

    fn template(&mut self, field: &str, source: &str) -> Result<Template, TaskError> {
        self.engine.template(field, source).map_err(|detail| self.failure(field, detail))
    }

    fn expression(&self, field: &str, source: &str) -> Result<Expression, TaskError> {
        self.engine.expression(source).map_err(|detail| self.failure(field, detail))
    }

    fn regex(&self, field: &str, source: &str) -> Result<Regex, TaskError> {
        /// Bytes that a compiled expression may take.
        const SIZE_MAX: usize = 1 << 20;
        let regex = regex::RegexBuilder::new(source).size_limit(SIZE_MAX).build();
        regex.map_err(|error| self.failure(field, error.to_string()))
    }

    fn failure(&self, field: &str, detail: String) -> TaskError {
        TaskError::Template { file: self.file.to_owned(), field: field.to_owned(), detail }
    }
}

/// What the harness calls a kind of request.
fn output_type(kind: Kind) -> &'static str {
    match kind {
        Kind::MultipleChoice | Kind::MultipleContext => "multiple_choice",
        Kind::Continuation => "loglikelihood",
        Kind::Rolling => "loglikelihood_rolling",
        Kind::Generate => "generate_until",
    }
}

/// A description with the harness's names for its keys.
fn config(
    description: &Description,
    name: &str,
    alias: &str,
    dataset: Option<&Dataset>,
) -> serde_json::Value {
    let mut config = serde_json::Map::new();
    let mut set = |key: &str, value: serde_json::Value| config.insert(key.to_owned(), value);
    set("task", name.into());
    if alias != name {
        set("task_alias", alias.into());
    }
    if let (Some(of_hub), Some(dataset)) = (&description.dataset, dataset) {
        set("dataset_path", dataset.path.clone().into());
        if let Some(config) = &dataset.config {
            set("dataset_name", config.clone().into());
        }
        let splits = [
            ("training_split", &of_hub.training_split),
            ("validation_split", &of_hub.validation_split),
            ("test_split", &of_hub.test_split),
            ("fewshot_split", &of_hub.fewshot_split),
        ];
        for (key, split) in splits {
            if let Some(split) = split {
                set(key, split.clone().into());
            }
        }
    }
    let parts = description;
    let texts: Vec<(&str, &String)> = if let Some(parts) = &parts.multiple_choice {
        vec![
            ("doc_to_text", &parts.context),
            ("doc_to_choice", &parts.choices),
            ("doc_to_target", &parts.gold),
        ]
    } else if let Some(parts) = &parts.multiple_context {
        vec![
            ("doc_to_text", &parts.gold),
            ("doc_to_choice", &parts.contexts),
            ("doc_to_target", &parts.continuation),
        ]
    } else if let Some(parts) = &parts.continuation {
        vec![("doc_to_text", &parts.context), ("doc_to_target", &parts.target)]
    } else if let Some(parts) = &parts.rolling {
        vec![("doc_to_target", &parts.text)]
    } else if let Some(parts) = &parts.generate {
        let generation = serde_json::json!({
            "until": parts.until, "do_sample": false, "temperature": 0.0, "max_gen_toks": parts.max_tokens,
        });
        set("generation_kwargs", generation);
        vec![("doc_to_text", &parts.context), ("doc_to_target", &parts.target)]
    } else {
        Vec::new()
    };
    for (key, text) in texts {
        set(key, text.clone().into());
    }
    set("description", description.description.clone().into());
    set("target_delimiter", description.target_delimiter.clone().into());
    set("fewshot_delimiter", description.fewshot_delimiter.clone().into());
    set("output_type", output_type(description.kind()).into());
    set("num_fewshot", description.num_fewshot.into());
    let sampler = serde_json::to_value(description.sampler).expect("a name");
    set("fewshot_config", serde_json::json!({ "sampler": sampler }));
    let metrics = description.metrics.iter().map(
        |metric| serde_json::json!({"metric": metric.name(), "higher_is_better": metric.higher_is_better()}),
    );
    set("metric_list", metrics.collect());
    set("metadata", serde_json::json!({ "version": description.version }));
    serde_json::Value::Object(config)
}

fn continuation(context: String, target: String) -> (Parts, Json) {
    let shown = Json::String(target.clone());
    (Parts::Continuation { context, target }, shown)
}

fn rolling(text: String, counted: &str) -> (Parts, Json) {
    let shown = Json::String(text.clone());
    (Parts::Rolling { text, words: text::words(counted), bytes: counted.len() as u64 }, shown)
}

fn string(value: Json, field: &str, place: &Place) -> Result<String, TaskError> {
    match value {
        Json::String(text) => Ok(text),
        other => Err(place.field(field, other.kind().to_owned(), "a string")),
    }
}

/// A list of strings that is not empty.
fn strings(value: Json, field: &str, place: &Place) -> Result<Vec<String>, TaskError> {
    const EXPECTED: &str = "a list of at least one string";
    let values = match value {
        Json::Array(values) if values.is_empty() => {
            return Err(place.field(field, "an empty list".to_owned(), EXPECTED));
        }
        Json::Array(values) if values.len() > CHOICES_MAX => {
            let expected = format!("a list of at most {CHOICES_MAX} strings");
            return Err(place.field(field, format!("a list of {}", values.len()), &expected));
        }
        Json::Array(values) => values,
        other => return Err(place.field(field, other.kind().to_owned(), EXPECTED)),
    };
    let strings = values.into_iter().map(|value| match value {
        Json::String(text) => Ok(text),
        other => Err(place.field(field, format!("a list with {}", other.kind()), EXPECTED)),
    });
    strings.collect()
}

/// An index of a list, or the place of a string in it.
fn index(value: &Json, among: &[String], field: &str, place: &Place) -> Result<usize, TaskError> {
    let expected = || format!("an integer from 0 to {}", among.len() - 1);
    match value {
        Json::Number(number) => {
            let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
            let index = index.filter(|index| *index < among.len());
            index.ok_or_else(|| place.field(field, number.to_string(), &expected()))
        }
        Json::String(text) => {
            let index = among.iter().position(|choice| choice == text);
            index.ok_or_else(|| place.field(field, format!("`{}`", shown(text)), "one of the choices"))
        }
        other => Err(place.field(field, other.kind().to_owned(), &expected())),
    }
}

fn same_elements(one: &[String], two: &[String]) -> bool {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    sorted(one) == sorted(two)
}

fn place_of(list: &[String], wanted: &str) -> usize {
    list.iter().position(|element| element == wanted).expect("lists of the same elements")
}
