//! Grammars over the vocabulary of the model inside: walks at random through the masks give what was asked for.

use std::sync::{Arc, LazyLock};

use futures_util::FutureExt;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::embedded;
use tercet::tokenizer::{TextEnds, Tokenizer};
use tercet_serve::grammar::{Constraint, Draft, GrammarError, Grammars, Unsupported};
use tercet_serve::limits::Limits;
use tercet_serve::tools::{CallForm, Delta, Tool, ToolChoice, ToolStream, ToolSyntax};

struct Inside {
    tokenizer: Arc<Tokenizer>,
    vocab_size: usize,
    eos: u32,
    grammars: Grammars,
}

static INSIDE: LazyLock<Inside> = LazyLock::new(|| {
    let source = embedded::stories();
    let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
    let tokenizer = Arc::new(Tokenizer::read(&source, &config).unwrap());
    let eos =
        TextEnds::read(&source, &tokenizer).unwrap().eos.expect("the model inside has an end-of-text token");
    let vocab_size = config.vocab_size;
    let grammars = Grammars::new(&tokenizer, vocab_size, &[eos], &Limits::default());
    Inside { tokenizer, vocab_size, eos, grammars }
});

/// Steps of a walk before it is given up.
const STEPS_MAX: usize = 400;

const FORMS: [CallForm; 3] = [CallForm::Hermes, CallForm::Llama, CallForm::Mistral];

/// A source of choices, the same for the same seed: xorshift64*.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}

/// The beginning of a text that the grammar of a draft holds.
fn begun(draft: Result<Draft, GrammarError>) -> Result<Constraint, GrammarError> {
    Ok(INSIDE.grammars.compile(draft?)?.begin())
}

fn object() -> Constraint {
    begun(INSIDE.grammars.json_object()).unwrap()
}

/// The tokens that may come next.
fn allowed(constraint: &mut Constraint) -> Result<Vec<u32>, GrammarError> {
    let mut logits = vec![0.0; INSIDE.vocab_size];
    constraint.mask(&mut logits)?;
    let allowed = logits.iter().enumerate().filter(|(_, logit)| **logit == 0.0);
    Ok(allowed.map(|(token, _)| token as u32).collect())
}

/// A text whose tokens are chosen at random among those that may come; after so many, what ends it is preferred.
/// Nothing if it does not end.
fn walk(mut constraint: Constraint, seed: u64, hurry_after: usize) -> Option<String> {
    let mut choices = Choices(seed | 1);
    let mut tokens = Vec::new();
    for step in 0..STEPS_MAX {
        if constraint.is_complete() {
            return Some(text_of(&tokens));
        }
        let next = allowed(&mut constraint).unwrap();
        let ends = |token: u32| {
            let bytes = INSIDE.tokenizer.token_bytes(token).unwrap_or_default();
            token == INSIDE.eos || matches!(&bytes[..], b"\"" | b"}" | b"]")
        };
        let ending: Vec<u32> = next.iter().copied().filter(|token| ends(*token)).collect();
        let among = if step >= hurry_after && !ending.is_empty() { &ending } else { &next };
        let token = if among.contains(&INSIDE.eos) { INSIDE.eos } else { among[choices.below(among.len())] };
        constraint.accept(token).unwrap();
        if token == INSIDE.eos {
            return Some(text_of(&tokens));
        }
        tokens.push(token);
    }
    None
}

fn text_of(tokens: &[u32]) -> String {
    let bytes = tokens.iter().flat_map(|token| INSIDE.tokenizer.token_bytes(*token).unwrap()).collect();
    String::from_utf8(bytes).unwrap()
}

/// Whether a grammar lets a text through to its end, token by token.
fn takes(mut constraint: Constraint, text: &str) -> bool {
    let mut tokens = bytes_as_tokens(text);
    tokens.push(INSIDE.eos);
    for token in tokens {
        if !allowed(&mut constraint).unwrap().contains(&token) {
            return false;
        }
        constraint.accept(token).unwrap();
    }
    true
}

/// A text in the tokens that stand for one byte each.
fn bytes_as_tokens(text: &str) -> Vec<u32> {
    static OF_BYTE: LazyLock<Vec<Option<u32>>> = LazyLock::new(|| {
        let mut of_byte = vec![None; 256];
        for id in 0..INSIDE.vocab_size as u32 {
            match INSIDE.tokenizer.token_bytes(id).as_deref() {
                Some(&[byte]) if !INSIDE.tokenizer.is_special(id) => of_byte[usize::from(byte)] = Some(id),
                _ => {}
            }
        }
        of_byte
    });
    text.bytes().map(|byte| OF_BYTE[usize::from(byte)].unwrap()).collect()
}

/// Whether a value obeys a schema of the kind that these tests make.
fn obeys(value: &Value, schema: &Value) -> bool {
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().any(|option| obeys(value, option));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.contains(value);
    }
    let is_within = |count: usize, least: &str, most: &str| {
        schema[least].as_u64().is_none_or(|least| count as u64 >= least)
            && schema[most].as_u64().is_none_or(|most| count as u64 <= most)
    };
    match schema["type"].as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => {
            let (least, most) = (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_i64().unwrap());
            value.as_i64().is_some_and(|number| (least..=most).contains(&number))
        }
        "string" => {
            value.as_str().is_some_and(|text| is_within(text.chars().count(), "minLength", "maxLength"))
        }
        "array" => value.as_array().is_some_and(|items| {
            is_within(items.len(), "minItems", "maxItems")
                && items.iter().all(|item| obeys(item, &schema["items"]))
        }),
        "object" => value.as_object().is_some_and(|object| {
            let properties = schema["properties"].as_object().unwrap();
            let mut required = schema["required"].as_array().unwrap().iter();
            let has_its_kind = |(name, value): (&String, &Value)| {
                properties.get(name).is_some_and(|schema| obeys(value, schema))
            };
            required.all(|name| object.contains_key(name.as_str().unwrap()))
                && object.iter().all(has_its_kind)
        }),
        kind => panic!("these tests make no {kind}"),
    }
}

fn small_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "null"})),
        Just(json!({"type": "boolean"})),
        (-20i64..20, 0i64..300)
            .prop_map(|(least, more)| json!({"type": "integer", "minimum": least, "maximum": least + more})),
        (0u64..3, 0u64..6).prop_map(
            |(least, more)| json!({"type": "string", "minLength": least, "maxLength": least + more})
        ),
        Just(json!({"enum": ["a b", 7, null, "é\"\n"]})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), 0u64..2, 0u64..3).prop_map(|(items, least, more)| {
                json!({"type": "array", "items": items, "minItems": least, "maxItems": least + more})
            }),
            proptest::collection::vec((inner.clone(), any::<bool>()), 0..4).prop_map(|named| {
                let mut properties = Map::new();
                let mut required = Vec::new();
                for (i, (schema, is_required)) in named.into_iter().enumerate() {
                    properties.insert(format!("key {i}"), schema);
                    required.extend(is_required.then(|| format!("key {i}")));
                }
                json!({"type": "object", "properties": properties, "required": required,
                    "additionalProperties": false})
            }),
            proptest::collection::vec(inner, 1..3).prop_map(|options| json!({"anyOf": options})),
        ]
    })
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool { name: name.to_owned(), parameters, strict: true };
    let weather = json!({"type": "object", "properties": {"days": {"$ref": "#/$defs/days"}}, "required": ["days"],
        "additionalProperties": false, "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 9}}});
    let now = json!({"type": "object", "properties": {}, "additionalProperties": false});
    vec![tool("get_weather", weather), tool("now", now)]
}

fn calls_of(form: CallForm, text: &str) -> (String, Vec<(String, Value)>) {
    let mut stream = ToolStream::new(ToolSyntax::of_form(form));
    let deltas = [stream.push(text), stream.finish()].concat();
    let (mut content, mut calls) = (String::new(), Vec::<(String, String)>::new());
    for delta in deltas {
        match delta {
            Delta::Content(more) => content.push_str(&more),
            Delta::Call { name, .. } => calls.push((name, String::new())),
            Delta::Arguments { index, fragment } => calls[index].1.push_str(&fragment),
        }
    }
    let parsed = |(name, text): (String, String)| (name, serde_json::from_str(&text).unwrap());
    (content, calls.into_iter().map(parsed).collect())
}

fn calling(form: CallForm, choice: &ToolChoice, parallel: bool) -> Constraint {
    let syntax = ToolSyntax::of_form(form);
    begun(Ok(INSIDE.grammars.tool_calls(&syntax, &tools(), choice, parallel).unwrap().unwrap())).unwrap()
}

#[test]
fn an_end_of_text_is_allowed_where_the_grammar_may_end() {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let mut constraint = begun(INSIDE.grammars.json_schema(&schema, Unsupported::Refused)).unwrap();
    for token in bytes_as_tokens("{}") {
        let next = allowed(&mut constraint).unwrap();
        assert!(next.contains(&token) && !next.contains(&INSIDE.eos));
        constraint.accept(token).unwrap();
    }
    assert!(constraint.is_complete());
    assert_eq!(allowed(&mut constraint).unwrap(), [INSIDE.eos]);
    assert_eq!(constraint.accept(INSIDE.eos), Ok(()));
    assert!(constraint.is_complete());
    assert_eq!(constraint.accept(0), Err(GrammarError::NoToken));
}

#[test]
fn texts_of_one_grammar_go_on_by_themselves() {
    let grammar = INSIDE.grammars.compile(INSIDE.grammars.json_object().unwrap()).unwrap();
    let mut first = grammar.begin();
    let tokens = bytes_as_tokens("{\"a");
    first.accept(tokens[0]).unwrap();
    let mut second = grammar.clone().begin();
    assert_eq!(allowed(&mut second).unwrap(), allowed(&mut grammar.begin()).unwrap());
    second.accept(tokens[0]).unwrap();
    first.accept(tokens[1]).unwrap();
    assert!(allowed(&mut second).unwrap().contains(&tokens[1]));
    assert_ne!(allowed(&mut second).unwrap(), allowed(&mut first).unwrap());
}

#[test]
fn two_grammars_are_compiled_at_once_and_the_next_waits() {
    let grammars = Grammars::new(&INSIDE.tokenizer, INSIDE.vocab_size, &[INSIDE.eos], &Limits::default());
    let first = grammars.turn().now_or_never().unwrap();
    let second = grammars.turn().now_or_never().unwrap();
    assert!(grammars.turn().now_or_never().is_none());
    drop(first);
    assert!(grammars.turn().now_or_never().is_some());
    drop(second);
}

#[test]
fn tools_are_bounded_together_and_not_only_one_by_one() {
    let numbers: Vec<u32> = (0..3000).collect();
    let tool = |i: usize| Tool {
        name: format!("f{i}"),
        parameters: json!({"type": "object", "properties": {"a": {"enum": numbers}}}),
        strict: true,
    };
    let syntax = ToolSyntax::of_form(CallForm::Hermes);
    let asked = |count: usize| {
        let tools: Vec<Tool> = (0..count).map(tool).collect();
        INSIDE.grammars.tool_calls(&syntax, &tools, &ToolChoice::Auto, true).map(|draft| draft.is_some())
    };
    assert_eq!(asked(3), Ok(true));
    let error = asked(4).unwrap_err();
    assert!(matches!(error, GrammarError::Limit(_)), "{error}");
    assert!(error.to_string().contains("parts when multiplied out"), "{error}");
}

#[test]
fn a_token_that_the_mask_forbids_is_an_error() {
    let mut constraint = object();
    assert!(constraint.accept(bytes_as_tokens("x")[0]).is_err());
}

#[test]
fn a_token_that_others_left_out_is_not_one_that_stays() {
    let mut constraint = object();
    let mut logits = vec![0.0; INSIDE.vocab_size];
    for token in allowed(&mut constraint).unwrap() {
        logits[token as usize] = f32::NEG_INFINITY;
    }
    assert_eq!(constraint.mask(&mut logits), Err(GrammarError::NoToken));
}

#[test]
fn json_may_be_compact_or_indented_but_not_full_of_blanks() {
    for text in
        ["{}", "{\"a\":1}", "{\n  \"a\": [\n    1,\n    2.5e3\n  ],\n  \"b\": null\n}", "{\"é\\n\": {}}"]
    {
        assert!(takes(object(), text), "{text}");
    }
    for text in ["", "[]", "1", "{\"a\"  : 1}", "{\n\n\"a\": 1}", "{\"a\": 01}", " {}", "{} "] {
        assert!(!takes(object(), text), "{text}");
    }
}

#[test]
fn special_tokens_are_never_text() {
    let mut constraint =
        begun(INSIDE.grammars.json_schema(&json!({"type": "string"}), Unsupported::Refused)).unwrap();
    constraint.accept(bytes_as_tokens("\"")[0]).unwrap();
    let next = allowed(&mut constraint).unwrap();
    assert!(next.len() > 100);
    assert!(next.iter().all(|token| !INSIDE.tokenizer.is_special(*token)));
}

#[test]
fn ids_that_the_tokenizer_has_not_are_never_allowed() {
    let more = INSIDE.vocab_size + 7;
    let grammars = Grammars::new(&INSIDE.tokenizer, more, &[], &Limits::default());
    let draft = grammars.json_schema(&json!({"const": 7}), Unsupported::Refused).unwrap();
    let mut constraint = grammars.compile(draft).unwrap().begin();
    let mut logits = vec![0.0; more];
    constraint.mask(&mut logits).unwrap();
    assert!(logits[INSIDE.vocab_size..].iter().all(|logit| *logit == f32::NEG_INFINITY));
    constraint.accept(bytes_as_tokens("7")[0]).unwrap();
    // Without an end-of-text token the text is done when nothing may follow.
    assert!(constraint.is_complete());
    assert_eq!(constraint.mask(&mut logits), Err(GrammarError::NoToken));
}

#[test]
fn required_calls_are_calls_of_the_tools() {
    for form in FORMS {
        for seed in 0..20 {
            let text = walk(calling(form, &ToolChoice::Required, true), seed * 77, 0).unwrap();
            let (content, calls) = calls_of(form, &text);
            assert_eq!(content, "", "{text}");
            assert!(!calls.is_empty(), "{text}");
            for (name, arguments) in calls {
                match name.as_str() {
                    "get_weather" => {
                        assert!((1..=9).contains(&arguments["days"].as_i64().unwrap()), "{text}")
                    }
                    "now" => assert_eq!(arguments, json!({})),
                    other => panic!("no tool is named {other}"),
                }
            }
            let text = walk(calling(form, &ToolChoice::Named("now".to_owned()), false), seed, 0).unwrap();
            assert_eq!(calls_of(form, &text), (String::new(), vec![("now".to_owned(), json!({}))]));
        }
    }
}

#[test]
fn where_calls_are_a_choice_text_is_free_until_a_mark() {
    let hermes = || calling(CallForm::Hermes, &ToolChoice::Auto, true);
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"days\": 3}}\n</tool_call>";
    for text in ["", "plain <tool> text\n", call, &format!("I look. {call}"), &format!("{call}\n{call}")] {
        assert!(takes(hermes(), text), "{text}");
    }
    for text in
        ["<tool_call>", "<tool_call>\n{\"name\": \"none\"", &call.replace('3', "10"), &format!("{call} so")]
    {
        assert!(!takes(hermes(), text), "{text}");
    }
    assert!(!takes(calling(CallForm::Hermes, &ToolChoice::Auto, false), &format!("{call}\n{call}")));

    let llama = || calling(CallForm::Llama, &ToolChoice::Auto, false);
    let call = "{\"name\": \"now\", \"parameters\": {}}";
    assert!(takes(llama(), call) && takes(llama(), "It is {late}") && takes(llama(), ""));
    assert!(!takes(llama(), "{\"late\": true}"));

    let mistral = || calling(CallForm::Mistral, &ToolChoice::Auto, true);
    let call = "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": {}}]";
    assert!(takes(mistral(), call) && takes(mistral(), &format!("So: {call}")) && takes(mistral(), "[1]"));
    assert!(!takes(mistral(), "[TOOL_CALLS]"));
}

#[test]
fn tools_that_cannot_be_called_are_refused() {
    let syntax = ToolSyntax::of_form(CallForm::Hermes);
    let calls = |tools: &[Tool], choice| {
        let draft = INSIDE.grammars.tool_calls(&syntax, tools, &choice, true)?;
        draft.map(|draft| INSIDE.grammars.compile(draft)).transpose().map(|made| made.is_some())
    };
    assert_eq!(calls(&tools(), ToolChoice::None), Ok(false));
    let error = calls(&tools(), ToolChoice::Named("none".to_owned())).unwrap_err();
    assert!(error.to_string().contains("`tool_choice` names `none`"), "{error}");
    assert!(calls(&[], ToolChoice::Required).is_err());

    let odd = |parameters: Value, strict| [Tool { name: "f".to_owned(), parameters, strict }];
    assert_eq!(calls(&odd(Value::Null, true), ToolChoice::Auto), Ok(true));
    assert!(calls(&odd(json!({"type": "string"}), false), ToolChoice::Auto).is_err());
    let unsupported = json!({"type": "object", "properties": {"a": {"not": {}}}});
    let error = calls(&odd(unsupported.clone(), true), ToolChoice::Auto).unwrap_err();
    assert!(error.to_string().contains("tool `f`: `#/properties/a`: the keyword `not`"), "{error}");
    assert_eq!(calls(&odd(unsupported, false), ToolChoice::Auto), Ok(true));
}

#[test]
fn hostile_schemas_end_in_a_grammar_or_an_error() {
    let named = |count: usize, schema: &Value| -> Map<String, Value> {
        (0..count).map(|i| (format!("p{i}"), schema.clone())).collect()
    };
    let branch = |i: usize| json!({"type": "object", "properties": {(format!("k{i}")): {"type": "string"}}});
    let branches: Vec<Value> = (0..100).map(branch).collect();
    let next = |i: usize| json!({"$ref": format!("#/$defs/a{}", (i + 1) % 200)});
    let circle: Map<String, Value> = (0..200).map(|i| (format!("a{i}"), next(i))).collect();
    let many = |schema: Value| json!({"type": "array", "items": schema, "minItems": 60_000});
    let hostile = [
        json!({"type": "string", "pattern": "^(a+)+$"}),
        json!({"type": "string", "pattern": "(a|a)*(a|aa)+[^b]{900}"}),
        json!({"type": "string", "pattern": "(.*a){30}"}),
        json!({"type": "string", "pattern": "(?=a)b"}),
        json!({"type": "string", "pattern": "(((("}),
        json!({"type": "string", "pattern": "[\\p{L}&&\\p{Lu}]{1000}"}),
        json!({"type": "string", "pattern": "a", "minLength": 60_000}),
        json!({"type": "string", "format": "email", "pattern": "x{500}", "maxLength": 65_536}),
        many(many(many(json!({})))),
        json!({"type": "object", "properties": named(1000, &json!({}))}),
        json!({"type": "object", "properties": named(1000, &json!({"type": "integer"})),
            "additionalProperties": false}),
        json!({"type": "object", "properties": named(250, &json!({"type": "string", "pattern": "^[a-z]{3}x"}))}),
        json!({"type": "object", "minProperties": 65_536}),
        json!({"oneOf": branches}),
        json!({"allOf": branches}),
        json!({"anyOf": branches, "allOf": branches[..20]}),
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a0", "$defs": circle}),
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"allOf": [{"$ref": "#"}, {"type": "object"}]}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
        json!({"type": "number", "minimum": -1e308, "maximum": 1e308, "multipleOf": 1e-9}),
        json!({"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX, "multipleOf": 4_294_967_291u64}),
        json!({"type": "number", "exclusiveMinimum": 5e-324, "exclusiveMaximum": 1e-323}),
        json!({"allOf": [{"multipleOf": 65_537}, {"multipleOf": 65_539}, {"multipleOf": 99_991}],
            "type": "integer"}),
        json!({"enum": (0..3000).collect::<Vec<i32>>()}),
        json!({"const": "\u{0}\u{FFFF}\"\\"}),
        json!({"patternProperties": {"a": {}, "b": {}}}),
        json!({"patternProperties": {"^a.*b$": {"type": "string"}, "^x": {}},
            "properties": {"ab": {}, "x": false}}),
        json!({"minimum": "é".repeat(60)}),
        json!({"$ref": format!("#/{}", "é".repeat(60))}),
    ];
    for schema in hostile {
        for unsupported in [Unsupported::Refused, Unsupported::Ignored] {
            let draft = INSIDE.grammars.json_schema(&schema, unsupported);
            let Ok(mut constraint) = begun(draft) else { continue };
            let mut choices = Choices(7);
            for _ in 0..40 {
                let Ok(next) = allowed(&mut constraint) else { break };
                assert!(!next.is_empty());
                if constraint.accept(next[choices.below(next.len())]).is_err() || constraint.is_complete() {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_allows_nothing_is_refused() {
    for schema in [
        json!(false),
        json!({"$ref": "#"}),
        json!({"type": "integer", "minimum": 5, "maximum": 4}),
        json!({"type": "string", "pattern": "^a$", "minLength": 2}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"allOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"type": "array", "items": false, "minItems": 1}),
    ] {
        let made = begun(INSIDE.grammars.json_schema(&schema, Unsupported::Refused));
        assert!(matches!(made, Err(GrammarError::Refused { .. })), "{schema}: {:?}", made.err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn walks_obey_the_schema(schema in small_schema(), seed in any::<u64>()) {
        let constraint = begun(INSIDE.grammars.json_schema(&schema, Unsupported::Refused)).unwrap();
        if let Some(text) = walk(constraint, seed, 30) {
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            prop_assert!(obeys(&value, &schema), "{} does not obey {}", text, schema);
        }
    }

    #[test]
    fn walks_of_objects_are_json(seed in any::<u64>()) {
        if let Some(text) = walk(object(), seed, 40) {
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => prop_assert!(value.is_object()),
                // JSON has numbers that no float has.
                Err(error) => prop_assert!(error.to_string().contains("number out of range"), "{}: {}", error, text),
            }
        }
    }
}
