//! Bytes as a JSON schema, compiled and walked through: what fuzzers give to the grammars.
//!
//! Shared by the smoke test and the fuzz target.
#![allow(unreachable_pub, reason = "each user includes the file")]

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::embedded;
use tercet::tokenizer::Tokenizer;
use tercet_serve::grammar::{Grammars, Unsupported};
use tercet_serve::limits::Limits;

/// Tokens of a walk.
const STEPS: usize = 30;

struct Inside {
    vocab_size: usize,
    grammars: Grammars,
}

static INSIDE: LazyLock<Inside> = LazyLock::new(|| {
    let source = embedded::stories();
    let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
    let tokenizer = Arc::new(Tokenizer::read(&source, &config).unwrap());
    let grammars = Grammars::new(&tokenizer, config.vocab_size, &[0], &Limits::default());
    Inside { vocab_size: config.vocab_size, grammars }
});

/// Makes a grammar of a schema, and goes some way through it; each step has a token to go on by, or ends in an error.
pub fn schema(bytes: &[u8]) {
    let Ok(schema) = serde_json::from_slice::<Value>(bytes) else { return };
    for unsupported in [Unsupported::Refused, Unsupported::Ignored] {
        let made = INSIDE.grammars.json_schema(&schema, unsupported);
        let Ok(grammar) = made.and_then(|draft| INSIDE.grammars.compile(draft)) else { continue };
        let mut constraint = grammar.begin();
        for step in 0..STEPS {
            let mut logits = vec![0.0; INSIDE.vocab_size];
            if constraint.is_complete() || constraint.mask(&mut logits).is_err() {
                break;
            }
            let allowed: Vec<usize> = (0..logits.len()).filter(|token| logits[*token] == 0.0).collect();
            // Each byte of the schema chooses a token.
            let choice = usize::from(bytes[(step * 7) % bytes.len()]) % allowed.len();
            if constraint.accept(allowed[choice] as u32).is_err() {
                break;
            }
        }
    }
}

/// Schemas that are right.
pub fn right_schemas() -> Vec<Vec<u8>> {
    let schemas = [
        json!({"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 20, "pattern": "^[A-Z][a-z]+$"},
            "age": {"type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 150, "multipleOf": 1},
            "at": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "items": {"enum": ["a", "b", 3]}, "minItems": 1, "maxItems": 4}}}),
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
            "value": {"type": "number"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"const": {"b": [1, true]}}}},
            {"patternProperties": {"^x_": {"type": "boolean"}}, "minProperties": 1}]}),
        json!({"oneOf": [{"type": "string"}, {"prefixItems": [{"type": "integer"}], "items": false,
            "type": "array"}]}),
    ];
    schemas.iter().map(|schema| schema.to_string().into_bytes()).collect()
}
