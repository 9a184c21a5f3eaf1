//! What schemas are taken, and which are refused and why.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const LIMITS: SchemaLimits = SchemaLimits { bytes: 64 << 10, depth: 32 };

/// The schema as the library is to read it.
fn checked(schema: &Value, limits: SchemaLimits, unsupported: Unsupported) -> Result<Value, GrammarError> {
    super::checked(schema, limits, unsupported).map(|checked| checked.schema)
}

#[track_caller]
fn check_refused(schema: &Value, want: &str) {
    match checked(schema, LIMITS, Unsupported::Refused) {
        Err(GrammarError::Refused { detail }) => {
            assert!(detail.contains(want), "found `{detail}`, expected `{want}`");
        }
        other => panic!("found {other:?}, expected a refusal: `{want}`"),
    }
}

#[track_caller]
fn check_limit(schema: &Value, want: &str) {
    match checked(schema, LIMITS, Unsupported::Refused) {
        Err(GrammarError::Limit(detail)) => {
            assert!(detail.contains(want), "found `{detail}`, expected `{want}`");
        }
        other => panic!("found {other:?}, expected a limit: `{want}`"),
    }
}

#[test]
fn annotations_are_left_out_and_the_rest_is_kept() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "type": "object",
        "properties": {"title": {"type": "string", "description": "d"}, "of": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"enum": [1, "x"], "default": 1}},
    });
    let want = json!({
        "type": "object", "properties": {"title": {"type": "string"}, "of": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"enum": [1, "x"]}},
    });
    assert_eq!(checked(&schema, LIMITS, Unsupported::Refused), Ok(want));
}

#[test]
fn an_unsupported_keyword_is_named_or_left_out() {
    for (keyword, value) in [
        ("not", json!({})),
        ("if", json!({})),
        ("uniqueItems", json!(true)),
        ("dependentRequired", json!({})),
        ("x-guidance", json!({"lenient": true})),
        ("propertyNames", json!({})),
    ] {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string", (keyword): value}}});
        check_refused(&schema, &format!("`#/properties/a`: the keyword `{keyword}` is not supported"));
        let want = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        assert_eq!(checked(&schema, LIMITS, Unsupported::Ignored), Ok(want));
    }
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    for (schema, want) in [
        (json!([]), "`schema` is [], expected an object or a boolean"),
        (json!(false), "allows nothing"),
        (json!({"type": "text"}), "`type` is \"text\""),
        (json!({"type": []}), "`type` is []"),
        (json!({"properties": []}), "expected an object of schemas"),
        (json!({"anyOf": []}), "at least one schema"),
        (json!({"anyOf": {}}), "a list of schemas"),
        (json!({"enum": []}), "at least one value"),
        (json!({"minLength": -1}), "a whole number"),
        (json!({"maximum": "1"}), "a number"),
        (json!({"multipleOf": 0}), "greater than 0"),
        (json!({"required": [1]}), "a list of names"),
        (json!({"pattern": 1}), "a text"),
        (json!({"format": "made-up"}), "one of `date-time`"),
        (json!({"$ref": "https://example.com/schema"}), "a reference within the schema"),
        (json!({"$ref": "#/enum/0", "enum": [{"pattern": "a"}]}), "which is no schema"),
        (json!({"$ref": "#/$defs/none"}), "which is no schema"),
    ] {
        check_refused(&schema, want);
    }
}

#[test]
fn sizes_are_bounded() {
    let mut deep = json!({});
    (0..40).for_each(|_| deep = json!({"items": deep.clone()}));
    check_limit(&deep, "at most 32 levels");
    let mut deep = json!(1);
    (0..40).for_each(|_| deep = json!([deep.clone()]));
    check_limit(&json!({"const": deep}), "more than 32 levels");

    let names = |count: usize| {
        let named = (0..count).map(|i| (format!("property_{i}"), json!({})));
        Value::Object(named.collect())
    };
    check_limit(&json!({"properties": names(10_000)}), "bytes, expected at most 65536");
    check_limit(&json!({"properties": names(200), "minProperties": 1}), "when multiplied out");
    check_limit(&json!({"properties": names(1200)}), "when multiplied out");
    let parts: Vec<Value> = (0..40)
        .map(|part| {
            let named = (0..50).map(|i| (format!("p{part}_{i}"), json!({})));
            json!({"properties": Value::Object(named.collect())})
        })
        .collect();
    check_limit(&json!({"allOf": parts}), "when multiplied out");
    check_limit(&json!({"maxLength": 1_000_000_000}), "`maxLength` is 1000000000, expected at most 65536");
    check_limit(&json!({"pattern": "a".repeat(513)}), "a pattern of 513 bytes");
    check_limit(&json!({"pattern": "(a{1000}){1000}{1000}"}), "too many repetitions");
    check_limit(&json!({"pattern": "a{99999999999999999999}"}), "too many repetitions");
    let patterns: serde_json::Map<String, Value> = (0..9).map(|i| (format!("^{i}"), json!({}))).collect();
    check_limit(&json!({"patternProperties": patterns}), "`patternProperties`");
}

#[test]
fn what_multiplies_out_is_bounded() {
    let options: Vec<Value> = (0..200).map(|i| json!({"const": i})).collect();
    check_limit(&json!({"allOf": [{"anyOf": options}, {"anyOf": options}]}), "when multiplied out");
    let doubled: serde_json::Map<String, Value> = (0..20)
        .map(|i| {
            let next = format!("#/$defs/a{}", i + 1);
            (format!("a{i}"), json!({"allOf": [{"$ref": next}, {"anyOf": [{"$ref": next}, {"$ref": next}]}]}))
        })
        .chain([("a20".to_owned(), json!({"type": "string"}))])
        .collect();
    check_limit(&json!({"$ref": "#/$defs/a0", "$defs": doubled}), "when multiplied out");

    let chain: serde_json::Map<String, Value> = (0..1000)
        .map(|i| (format!("a{i}"), json!({"$ref": format!("#/$defs/a{}", i + 1)})))
        .chain([("a1000".to_owned(), json!({}))])
        .collect();
    check_limit(&json!({"$ref": "#/$defs/a0", "$defs": chain}), "references follow on each other");
}

#[test]
fn ordinary_schemas_are_within_the_limits() {
    let optional = |i: usize| (format!("p{i}"), json!({"anyOf": [{"type": "string"}, {"type": "null"}]}));
    let many: serde_json::Map<String, Value> = (0..60).map(optional).collect();
    for schema in [
        json!({"type": "object", "properties": many}),
        json!({"allOf": [{"$ref": "#/$defs/a"}, {"properties": many}],
            "$defs": {"a": {"type": "object", "properties": many}}}),
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}}),
    ] {
        assert!(checked(&schema, LIMITS, Unsupported::Refused).is_ok(), "{schema}");
    }
}

#[test]
fn repetitions_are_counted() {
    assert_eq!(repetitions(r"^\d{4}-\d{2,3}[a]{ 5 , }$"), (5, 60));
    assert_eq!(repetitions("{x} } { {}"), (0, 1));
}

proptest! {
    #[test]
    fn what_was_checked_is_checked_again_alike(schema in any_schema()) {
        if let Ok(once) = checked(&schema, LIMITS, Unsupported::Ignored) {
            prop_assert_eq!(checked(&once, LIMITS, Unsupported::Refused), Ok(once.clone()));
        }
    }
}

/// Objects whose keys are mostly keywords, and whose values are mostly of the right kind.
pub(in crate::grammar) fn any_schema() -> impl Strategy<Value = Value> {
    let keyword = prop_oneof![
        Just("type"),
        Just("properties"),
        Just("items"),
        Just("anyOf"),
        Just("oneOf"),
        Just("allOf"),
        Just("$ref"),
        Just("$defs"),
        Just("enum"),
        Just("const"),
        Just("required"),
        Just("minItems"),
        Just("maxItems"),
        Just("minLength"),
        Just("maxLength"),
        Just("pattern"),
        Just("format"),
        Just("minimum"),
        Just("maximum"),
        Just("exclusiveMinimum"),
        Just("multipleOf"),
        Just("additionalProperties"),
        Just("patternProperties"),
        Just("minProperties"),
        Just("maxProperties"),
        Just("prefixItems"),
        Just("additionalItems"),
        Just("a"),
    ];
    let text = prop_oneof![
        Just("string"),
        Just("object"),
        Just("array"),
        Just("integer"),
        Just("number"),
        Just("a"),
        Just("#"),
        Just("#/$defs/a"),
        Just("(a+)+$"),
        Just("[^a]*b"),
        Just("date-time"),
        Just("uuid"),
        Just("é\u{1F600}"),
        Just("(?=a)"),
        Just("\\"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..100).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((keyword.clone(), inner), 0..5).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}
