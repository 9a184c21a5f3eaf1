//! A task: what its description says, made ready to use.
//!
//! It turns a document into the parts of a request and knows nothing of files or few-shot examples.

use std::path::PathBuf;

use minijinja::Value as Context;

use super::dataset::Dataset;
use super::description::{Description, FieldKind, Kind, MetricName, Sampler};
use super::documents::{Document, Json, Shape};
use super::error::TaskError;
use super::form::{Compiler, Form, Generation};
use super::harness_config;
use super::parts::{Parts, continuation, index, place_of, rolling, same_elements, string, strings};
use super::template::{Engine, Expression, Template, context};
use crate::python_space::is_python_space;

/// The version of lm-evaluation-harness whose tasks these are, but for those of version 0.3.0.
pub const HARNESS_VERSION: &str = "0.4.13";

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
    gen_prefix: Option<Template>,
    /// Whether, in a conversation, the target delimiter stands before a choice: after a prefix that does not end with
    /// white space.
    pub(super) delimits_after_prefix: bool,
    process: Vec<(String, Expression)>,
}

/// Files of one's own task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnFiles {
    pub(super) evaluation: PathBuf,
    pub(super) fewshot: Option<PathBuf>,
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
        let mut optional = |field: &str, source: &str| {
            if source.is_empty() { Ok(None) } else { compiler.template(field, source).map(Some) }
        };
        let before = optional("description", &description.description)?;
        let gen_prefix = optional("gen_prefix", &description.gen_prefix)?;
        let process = description.process.iter().map(|process| {
            Ok((
                process.field.clone(),
                compiler.expression(&format!("process.{}", process.field), &process.value)?,
            ))
        });
        let process = process.collect::<Result<_, TaskError>>()?;
        let config = harness_config::config(&description, &name, &alias, dataset.as_ref());
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
            delimits_after_prefix: gen_prefix.is_some() && !description.gen_prefix.ends_with(is_python_space),
            gen_prefix,
            process,
        })
    }

    /// A task whose documents are ready: they hold the parts of a request.
    pub(super) fn ready(name: &str, kind: Kind, evaluation: PathBuf) -> Self {
        let metrics = kind.usual_metrics();
        let names: Vec<&str> = metrics.iter().map(|metric| metric.name()).collect();
        let config = serde_json::json!({"task": name, "output_type": harness_config::output_type(kind), "metric_list": names});
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
            gen_prefix: None,
            delimits_after_prefix: false,
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
        self.optional(self.description.as_ref(), "description", document)
    }

    /// How the answer begins.
    pub(super) fn prefix(&self, document: &Document) -> Result<String, TaskError> {
        self.optional(self.gen_prefix.as_ref(), "gen_prefix", document)
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
                rolling(text(scored, "text")?, &text(counted, "counted")?, &document.place)?
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
                rolling(text.clone(), &text, place)?
            }
            Kind::Generate => {
                let (context, target) = (text("context")?, text("target")?);
                let shown = Json::String(target.clone());
                (Parts::Generate { context, target }, shown)
            }
        })
    }

    /// What a template makes of a document; without one, nothing.
    fn optional(
        &self,
        template: Option<&Template>,
        part: &'static str,
        document: &Document,
    ) -> Result<String, TaskError> {
        match template {
            Some(template) => self.render(template, part, document, &context(&document.json)),
            None => Ok(String::new()),
        }
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
