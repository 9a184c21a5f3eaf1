//! The templates of a model, which of them is used, and with which variables.
//!
//! Files are the library's: `tercet::tokenizer` reads [`ChatTemplates`] and [`NamedTokens`]. Where there are tools, the
//! template named `tool_use` is used, and else the usual one: `default`, unless another name is asked for. It renders
//! nothing itself.

use std::collections::BTreeMap;

use minijinja::Value;
use serde_json::{Map, Value as Json, json};
use tercet::source::Source;
use tercet::tokenizer::{ChatTemplates, DEFAULT_TEMPLATE, NamedTokens, Tokenizer};

use crate::conversation::{Conversation, Form, Taste};
use crate::engine::{Clock, Engine};
use crate::error::TemplateError;

/// The template that is used where there are tools.
const TOOL_USE: &str = "tool_use";

/// Tokens that templates write into the text, by the names of their variables.
#[derive(Debug, Clone, PartialEq)]
pub struct SpecialTokens {
    variables: Map<String, Json>,
}

/// A model's templates, ready to render.
#[derive(Debug)]
pub struct Templates {
    engine: Engine,
    tokens: SpecialTokens,
    /// How messages call the place of those there are.
    file: String,
    /// The name of the one that is used where there are no tools.
    usual: String,
    /// Whether that one tells who speaks.
    marks_speakers: bool,
    templates: BTreeMap<String, Template>,
    /// File and text of those that nobody has asked for: a fault in one of them does no harm.
    others: BTreeMap<String, (String, String)>,
}

#[derive(Debug)]
struct Template {
    file: String,
    source: String,
    taste: Taste,
}

impl SpecialTokens {
    /// No tokens but these.
    pub fn new(bos_token: &str, eos_token: &str) -> Self {
        let tokens = [("bos_token", bos_token), ("eos_token", eos_token)];
        SpecialTokens {
            variables: tokens.map(|(name, token)| (name.to_owned(), token.into())).into_iter().collect(),
        }
    }

    /// Those that `tokenizer_config.json` names, or `special_tokens_map.json`; the first and the last of
    /// a text also by their number in `config.json`, and empty where there are none.
    ///
    /// # Errors
    /// [`TemplateError`] if one of the files is damaged.
    pub fn read(source: &Source, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let NamedTokens { by_field, additional } = NamedTokens::read(source, tokenizer)?;
        let additional = additional.map(|tokens| ("additional_special_tokens".to_owned(), tokens.into()));
        let variables = by_field.into_iter().map(|(field, token)| (field, token.into())).chain(additional);
        Ok(SpecialTokens { variables: variables.collect() })
    }
}

impl Templates {
    /// The templates of a model; none where it has none.
    ///
    /// # Errors
    /// [`TemplateError`] if a file cannot be read, or holds something else.
    pub fn read(source: &Source, tokenizer: &Tokenizer) -> Result<Option<Self>, TemplateError> {
        let ChatTemplates { default, named } = ChatTemplates::read(source)?;
        let default = default.map(|text| (DEFAULT_TEMPLATE.to_owned(), text));
        let with_file = |(name, text): (String, String)| {
            let file = ChatTemplates::file_of(source, &name);
            (name, (file, text))
        };
        let found: BTreeMap<_, _> = named.into_iter().chain(default).map(with_file).collect();
        if found.is_empty() {
            return Ok(None);
        }
        let file = ChatTemplates::file_of(source, DEFAULT_TEMPLATE);
        Self::of(file, found, SpecialTokens::read(source, tokenizer)?).map(Some)
    }

    /// One template for all conversations, from a file that `file` is the name of.
    ///
    /// # Errors
    /// [`TemplateError`] if it is too long, or is none.
    pub fn of_text(file: &str, text: &str, tokens: SpecialTokens) -> Result<Self, TemplateError> {
        let found = [(DEFAULT_TEMPLATE.to_owned(), (file.to_owned(), text.to_owned()))].into_iter().collect();
        Self::of(file.to_owned(), found, tokens)
    }

    fn of(
        file: String,
        found: BTreeMap<String, (String, String)>,
        tokens: SpecialTokens,
    ) -> Result<Self, TemplateError> {
        let mut templates = Templates {
            engine: Engine::new(Clock::System),
            tokens,
            file,
            usual: DEFAULT_TEMPLATE.to_owned(),
            marks_speakers: true,
            templates: BTreeMap::new(),
            others: found,
        };
        for name in [DEFAULT_TEMPLATE, TOOL_USE] {
            templates.compile(name)?;
        }
        templates.marks_speakers = templates.tells_who_speaks()?;
        Ok(templates)
    }

    /// Makes one of the others, if it is among them, one to render with.
    fn compile(&mut self, name: &str) -> Result<(), TemplateError> {
        if let Some((file, source)) = self.others.remove(name) {
            self.engine.add(name, &file, &source)?;
            let taste =
                Taste { form: self.form(name, &file)?, knows_developer: source.contains("developer") };
            self.templates.insert(name.to_owned(), Template { file, source, taste });
        }
        Ok(())
    }

    /// The same with another clock for `strftime_now` than the system's.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.engine.set_clock(clock);
        self
    }

    /// The same with the template of this name, or else `default`, as the one that is used where there are no tools.
    ///
    /// # Errors
    /// [`TemplateError`] if there is none of this name, or it is none.
    pub fn with_usual(mut self, name: Option<&str>) -> Result<Self, TemplateError> {
        let name = name.unwrap_or(DEFAULT_TEMPLATE);
        self.compile(name)?;
        if !self.templates.contains_key(name) {
            return Err(self.no_such(name));
        }
        name.clone_into(&mut self.usual);
        self.marks_speakers = self.tells_who_speaks()?;
        Ok(self)
    }

    /// The names of the templates; one without a name is called `default`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().chain(self.others.keys()).map(String::as_str)
    }

    fn no_such(&self, name: &str) -> TemplateError {
        TemplateError::NoSuch {
            file: self.file.clone(),
            name: name.to_owned(),
            names: self.names().map(str::to_owned).collect(),
        }
    }

    /// The template that is used where there are no tools, as it is written.
    pub fn source(&self) -> Option<&str> {
        self.templates.get(&self.usual).map(|template| template.source.as_str())
    }

    /// Whether the text tells who speaks: something else stands between a message and its answer than between that
    /// answer and the next message. A template that only joins what it is given marks nobody, and a model that was
    /// tuned on conversations has no such.
    pub fn marks_speakers(&self) -> bool {
        self.marks_speakers
    }

    /// What [`Self::marks_speakers`] says, found out by a conversation.
    ///
    /// # Errors
    /// [`TemplateError::NoThread`] if it cannot be told now.
    fn tells_who_speaks(&self) -> Result<bool, TemplateError> {
        const SAID: [&str; 3] = ["needle-1d7c", "needle-2e8d", "needle-3f9e"];
        let messages = ["user", "assistant", "user"].iter().zip(SAID);
        let messages: Vec<Json> =
            messages.map(|(role, content)| json!({ "role": role, "content": content })).collect();
        let conversation = Conversation {
            messages: &messages,
            tools: &[],
            add_generation_prompt: false,
            continue_final_message: false,
            variables: &Map::new(),
        };
        let text = match self.render(&conversation) {
            Err(error @ TemplateError::NoThread { .. }) => return Err(error),
            Err(_) => return Ok(true),
            Ok(text) => text,
        };
        let between = |first: &str, second: &str| {
            let (_, rest) = text.split_once(first)?;
            Some(rest.split_once(second)?.0)
        };
        Ok(match (between(SAID[0], SAID[1]), between(SAID[1], SAID[2])) {
            (Some(before_answer), Some(after_answer)) => before_answer != after_answer,
            // One that writes a message anew, or leaves it out, at least knows whose it is.
            _ => true,
        })
    }

    /// A conversation as text, as transformers' `apply_chat_template` writes it. The text has what begins
    /// a text in it, where the template says so: nothing is added when it is cut into tokens.
    ///
    /// # Errors
    /// [`TemplateError`]; whose mistake it is says [`TemplateError::is_of_conversation`].
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String, TemplateError> {
        conversation.check()?;
        let for_tools = self.templates.get_key_value(TOOL_USE).filter(|_| !conversation.tools.is_empty());
        let chosen = for_tools.or_else(|| self.templates.get_key_value(&self.usual));
        let (name, template) = chosen.ok_or_else(|| self.no_such(&self.usual))?;
        let messages = conversation.shaped(template.taste)?;
        let variables = self.variables(
            &messages,
            conversation.tools,
            conversation.add_generation_prompt,
            conversation.variables,
        );
        conversation.cut(self.engine.render(name, &template.file, variables)?)
    }

    fn variables(
        &self,
        messages: &[Json],
        tools: &[Json],
        prompts: bool,
        given: &Map<String, Json>,
    ) -> Value {
        let mut variables = given.clone();
        variables.extend(self.tokens.variables.clone());
        variables.insert("messages".to_owned(), messages.into());
        variables.insert("tools".to_owned(), if tools.is_empty() { Json::Null } else { tools.into() });
        variables.entry("documents").or_insert(Json::Null);
        variables.insert("add_generation_prompt".to_owned(), prompts.into());
        value_of(&Json::Object(variables))
    }

    /// What a template takes for content, by what it makes of a message in either form: a list that it
    /// does not look into is shown as one, with quotes, or is an error.
    ///
    /// # Errors
    /// [`TemplateError::NoThread`] if it cannot be told now.
    fn form(&self, name: &str, file: &str) -> Result<Form, TemplateError> {
        const NEEDLE: &str = "needle-5f1b";
        let rendered = |content: Json| {
            let messages = [json!({"role": "user", "content": content})];
            let variables = self.variables(&messages, &[], false, &Map::new());
            match self.engine.render(name, file, variables) {
                Err(error @ TemplateError::NoThread { .. }) => Err(error),
                // One that finds no end gives no text, here as later.
                text => Ok(text.unwrap_or_default()),
            }
        };
        let takes_text = rendered(json!(NEEDLE))?.contains(NEEDLE);
        let of_parts = rendered(json!([{"type": "text", "text": NEEDLE}]))?;
        let before = of_parts.split_once(NEEDLE).map(|(before, _)| before);
        let takes_parts = before.is_some_and(|before| !before.ends_with(['"', '\'']));
        Ok(match (takes_text, takes_parts) {
            (true, true) => Form::Both,
            (false, true) => Form::Parts,
            _ => Form::Text,
        })
    }
}

/// A value of JSON as the engine has it; the fields of objects keep their order.
fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, number) => Value::from(number.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => list.iter().map(value_of).collect(),
        Json::Object(object) => {
            Value::from_pairs(object.iter().map(|(name, json)| (name.as_str(), value_of(json))))
        }
    }
}
