//! Templates give the text that Python's jinja2 gives: see `tests/data/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::embedded;
use tercet::source::{MemoryFolder, Source};
use tercet::tokenizer::Tokenizer;
use tercet_chat::{Clock, Conversation, SpecialTokens, TemplateError, Templates};

/// The present of `tools/reference_templates.py`: 26 July 2024, 12:24:05.
const NOW_SECONDS: u64 = 1_721_996_645;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)
}

fn json_of(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(data(file)).unwrap()).unwrap()
}

fn templates() -> BTreeMap<String, Templates> {
    let mut templates = BTreeMap::new();
    for entry in std::fs::read_dir(data("templates")).unwrap() {
        let path = entry.unwrap().path();
        let (name, text) =
            (path.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap());
        let made = Templates::of_text(name, &text, SpecialTokens::new("<s>", "</s>")).unwrap();
        let clock = Clock::Fixed(UNIX_EPOCH + Duration::from_secs(NOW_SECONDS));
        templates.insert(name.to_owned(), made.with_clock(clock));
    }
    templates
}

/// The templates of a model that has these files too.
fn of_model(more: &[(&str, &str)]) -> Result<Option<Templates>, TemplateError> {
    let Source::Embedded(stories) = embedded::stories() else { panic!("it is compiled in") };
    let own = stories.files.iter().map(|(name, bytes)| ((*name).to_owned(), Arc::from(*bytes)));
    let more = more.iter().map(|(name, text)| ((*name).to_owned(), Arc::from(text.as_bytes())));
    let source = Source::Memory(MemoryFolder { name: "m".to_owned(), files: own.chain(more).collect() });
    let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
    Templates::read(&source, &Tokenizer::read(&source, &config).unwrap())
}

#[test]
fn a_template_that_nobody_asks_for_does_no_harm() {
    let default = ("chat_template.jinja", "{{ messages[0].content }}");
    let wrong = |name| (name, "{% no tag %}");
    let found = of_model(&[default, wrong("additional_chat_templates/rag.jinja")]).unwrap().unwrap();
    assert_eq!(found.source(), Some(default.1));
    let tools = "additional_chat_templates/tool_use.jinja";
    let error = of_model(&[default, wrong(tools)]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("m/{tools}: the chat template is wrong")), "{error}");
}

#[test]
fn templates_of_conversations_are_told_from_those_that_only_join() {
    for (name, template) in templates() {
        assert!(template.marks_speakers(), "{name}");
    }
    let check = |text: &str, want: bool| {
        let template = Templates::of_text("a template", text, SpecialTokens::new("<s>", "</s>")).unwrap();
        assert_eq!(template.marks_speakers(), want, "{text}");
    };
    check(
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{% if not loop.last %}\n{% endif %}{% endfor %}",
        false,
    );
    check("{% for m in messages %}- {{ m.content }}\n{% endfor %}", false);
    check("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", true);
    check(
        "{% for m in messages %}{% if m.role == 'user' %}Q: {% endif %}{{ m.content }}\n{% endfor %}",
        true,
    );
}

fn outcome(templates: &Templates, conversation: &Value, tools: &[Value]) -> Value {
    let flag = |name: &str| conversation[name].as_bool().unwrap_or(false);
    let nothing = Map::new();
    let rendered = templates.render(&Conversation {
        messages: conversation["messages"].as_array().unwrap(),
        tools: if flag("with_tools") { tools } else { &[] },
        add_generation_prompt: flag("add_generation_prompt"),
        continue_final_message: flag("continue_final_message"),
        variables: conversation["variables"].as_object().unwrap_or(&nothing),
    });
    match rendered {
        Ok(text) => json!({ "text": text }),
        Err(TemplateError::Raised { detail, .. }) => json!({ "raised": detail }),
        Err(error) => json!({ "failed": error.to_string() }),
    }
}

#[test]
fn one_template_is_called_default() {
    let tokens = || SpecialTokens::new("<s>", "</s>");
    let templates = Templates::of_text("a.jinja", "{{ bos_token }}", tokens()).unwrap();
    assert!(templates.names().eq(["default"]));
    let templates = templates.with_usual(None).unwrap().with_usual(Some("default")).unwrap();
    assert_eq!(templates.source(), Some("{{ bos_token }}"));
    let error = templates.with_usual(Some("other")).unwrap_err();
    assert_eq!(error.to_string(), "a.jinja: found the chat templates `default`, expected one named `other`");
}

#[test]
fn names_of_templates_are_told_without_what_steers_a_terminal() {
    let config = json!({"chat_template": [{"name": "a\u{1b}[2J", "template": ""}]}).to_string();
    let templates = of_model(&[("tokenizer_config.json", &config)]).unwrap().unwrap();
    let error = templates.with_usual(None).unwrap_err().to_string();
    let want =
        "m/tokenizer_config.json: found the chat templates `a\\u{1b}[2J`, expected one named `default`";
    assert_eq!(error, want);
}

#[test]
fn templates_render_as_in_jinja2() {
    let templates = templates();
    let data = json_of("conversations.json");
    let rendered = json_of("rendered.json");
    let rendered = rendered["rendered"].as_object().unwrap();
    assert!(templates.len() > 20 && templates.len() == rendered.len(), "{} templates", templates.len());
    let mut differing = Vec::new();
    for (name, of_conversations) in rendered {
        for conversation in data["conversations"].as_array().unwrap() {
            let what = conversation["name"].as_str().unwrap();
            let want = &of_conversations[what];
            let found = outcome(&templates[name], conversation, data["tools"].as_array().unwrap());
            // The messages are each engine's own. A list that is none is empty here, and an error there.
            let is_same = match want["failed"].as_str() {
                Some("TypeError: 'NoneType' object is not iterable") => found["text"].is_string(),
                Some(_) => found["failed"].is_string(),
                None => *want == found,
            };
            if !is_same {
                differing.push(format!("{name}, {what}:\n  found {found}\n  expected {want}"));
            }
        }
    }
    assert!(differing.is_empty(), "{} differ\n{}", differing.len(), differing.join("\n"));
}
