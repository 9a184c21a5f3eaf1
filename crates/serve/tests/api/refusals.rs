//! What is refused, and how: a table.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tercet_serve::api::{document, table};
use tercet_serve::limits::Limits;

use crate::served::{Answered, CONTEXT, get, post, send, shared};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

/// Checks the shape of a refusal.
fn check(answered: &Answered, what: &str, status: u16, param: &str, code: &str) {
    assert_eq!(answered.status, status, "{what} gives {}", answered.text);
    assert_eq!(answered.headers["content-type"], "application/json", "{what}");
    let error = answered.json()["error"].clone();
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 4, "{what} gives {error}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert!(error["type"].is_string());
    let want = if param.is_empty() { Value::Null } else { param.into() };
    assert_eq!(error["param"], want, "{what} gives {error}");
    assert_eq!(error["code"], code, "{what} gives {error}");
}

#[tokio::test]
async fn fields_out_of_range_are_named() {
    let long = "x".repeat(257);
    let bias: serde_json::Map<String, Value> = (0..1025).map(|i| (i.to_string(), json!(1))).collect();
    let table = [
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.5)),
        ("temperature", json!(1e300)),
        ("temperature", json!("hot")),
        ("temperature", json!([1])),
        ("top_p", json!(1.1)),
        ("top_p", json!(-1)),
        ("min_p", json!(2)),
        ("top_k", json!(-2)),
        ("top_k", json!(1.5)),
        ("repetition_penalty", json!(0)),
        ("frequency_penalty", json!(2.1)),
        ("presence_penalty", json!(-2.1)),
        ("n", json!(0)),
        ("n", json!(9)),
        ("n", json!(-1)),
        ("n", json!(1e20)),
        ("seed", json!(0.5)),
        ("seed", json!(u64::MAX)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1.5)),
        ("min_tokens", json!(9)),
        ("stop", json!([""])),
        ("stop", json!("")),
        ("stop", json!(5)),
        ("stop", json!(vec!["x"; 17])),
        ("stop", json!(long)),
        ("stop_token_ids", json!([1_000_000])),
        ("stop_token_ids", json!(vec![5; 17])),
        ("stop_token_ids[0]", json!([-1])),
        ("logit_bias", json!({"x": 1})),
        ("logit_bias", json!({"1000000": 1})),
        ("logit_bias", json!({"5": 101})),
        ("logit_bias", json!(bias)),
        ("stream", json!("yes")),
        ("response_format.type", json!({"type": "yaml"})),
        ("response_format.json_schema.schema", json!({"type": "json_schema"})),
        ("response_format", json!({"type": "json_schema", "json_schema": {"schema": {"type": 7}}})),
    ];
    for (param, value) in table {
        let field = param.split(['.', '[']).next().unwrap();
        for (path, mut request) in [
            (COMPLETIONS, json!({"prompt": "a", "max_tokens": 4})),
            (CHAT, json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 4})),
        ] {
            request[field] = value.clone();
            let answered = post(path, &request).await;
            check(&answered, &request.to_string(), 400, param, "invalid_value");
        }
    }
}

#[tokio::test]
async fn fields_of_one_route_are_named() {
    let user = json!([{"role": "user", "content": "a"}]);
    let many = vec!["a"; 65];
    let table = [
        (COMPLETIONS, json!({}), "prompt"),
        (COMPLETIONS, json!({"prompt": null}), "prompt"),
        (COMPLETIONS, json!({"prompt": 7}), "prompt"),
        (COMPLETIONS, json!({"prompt": []}), "prompt"),
        (COMPLETIONS, json!({"prompt": [[]]}), "prompt"),
        (COMPLETIONS, json!({"prompt": [[-1]]}), "prompt"),
        (COMPLETIONS, json!({"prompt": [[1_000_000]]}), "prompt"),
        (COMPLETIONS, json!({"prompt": ["a", 1]}), "prompt"),
        (COMPLETIONS, json!({"prompt": many}), "prompt"),
        (COMPLETIONS, json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (COMPLETIONS, json!({"prompt": "a", "logprobs": 21}), "logprobs"),
        (COMPLETIONS, json!({"prompt": "a", "best_of": 9}), "best_of"),
        (COMPLETIONS, json!({"prompt": "a", "n": 3, "best_of": 2}), "best_of"),
        (COMPLETIONS, json!({"prompt": "a", "best_of": 2, "stream": true}), "best_of"),
        (COMPLETIONS, json!({"prompt": vec!["a"; 64], "n": 8}), "n"),
        (CHAT, json!({}), "messages"),
        (CHAT, json!({"messages": []}), "messages"),
        (CHAT, json!({"messages": "a"}), "messages"),
        (CHAT, json!({"messages": [7]}), "messages[0]"),
        (CHAT, json!({"messages": [{"content": "a"}]}), "messages[0].role"),
        (CHAT, json!({"messages": [{"role": "wizard", "content": "a"}]}), "messages[0].role"),
        (CHAT, json!({"messages": [{"role": "user", "content": null}]}), "messages[0].content"),
        (CHAT, json!({"messages": [{"role": "system"}]}), "messages[0].content"),
        (CHAT, json!({"messages": user, "logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (CHAT, json!({"messages": user, "top_logprobs": 2}), "top_logprobs"),
        (CHAT, json!({"messages": user, "chat_template_kwargs": {"messages": []}}), "chat_template_kwargs"),
        (EMBEDDINGS, json!({}), "input"),
        (EMBEDDINGS, json!({"input": []}), "input"),
        (EMBEDDINGS, json!({"input": "a", "dimensions": 7}), "dimensions"),
        (EMBEDDINGS, json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
        (EMBEDDINGS, json!({"input": "a", "pooling": "max"}), "pooling"),
        ("/tokenize", json!({}), "prompt"),
        ("/tokenize", json!({"prompt": "a", "content": "a"}), "prompt"),
        ("/detokenize", json!({}), "tokens"),
        ("/detokenize", json!({"tokens": [1_000_000]}), "tokens"),
    ];
    for (path, request, param) in table {
        check(&post(path, &request).await, &request.to_string(), 400, param, "invalid_value");
    }
}

#[tokio::test]
async fn content_that_is_no_text_is_named() {
    let image = json!([{"type": "image_url", "image_url": {"url": "data:,"}}]);
    let answered = post(CHAT, &json!({"messages": [{"role": "user", "content": image}]})).await;
    assert_eq!(answered.status, 400, "{}", answered.text);
    assert!(answered.text.contains("image_url"), "{}", answered.text);
}

#[tokio::test]
async fn a_longer_text_than_the_context_is_told_in_numbers() {
    let long: Vec<u32> = vec![5; CONTEXT + 1];
    let words = "dog ".repeat(2 * CONTEXT);
    for (path, request, param) in [
        (COMPLETIONS, json!({"prompt": long}), ""),
        (COMPLETIONS, json!({"prompt": [5], "max_tokens": CONTEXT}), ""),
        (COMPLETIONS, json!({"prompt": [5], "max_tokens": u64::MAX}), ""),
        (CHAT, json!({"messages": [{"role": "user", "content": words}]}), ""),
        (EMBEDDINGS, json!({"input": words}), "input"),
    ] {
        let answered = post(path, &request).await;
        check(&answered, path, 400, param, "context_length_exceeded");
        assert!(answered.text.contains(&CONTEXT.to_string()), "{}", answered.text);
    }
}

#[tokio::test]
async fn another_model_is_not_found() {
    for (path, request) in [
        (COMPLETIONS, json!({"model": "gpt-4", "prompt": "a"})),
        (CHAT, json!({"model": "gpt-4", "messages": []})),
        (EMBEDDINGS, json!({"model": "gpt-4", "input": "a"})),
        ("/tokenize", json!({"model": "gpt-4", "prompt": "a"})),
    ] {
        check(&post(path, &request).await, path, 404, "model", "model_not_found");
    }
    check(&get("/v1/models/a/b/c").await, "a model", 404, "model", "model_not_found");
    check(&get("/v1/models/%ff%00").await, "no text", 400, "model", "invalid_value");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let ask = async |content_type: Option<&str>, body: &[u8]| {
        let request = Request::builder().method(Method::POST).uri(COMPLETIONS);
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        send(shared(), request.body(Body::from(body.to_vec())).unwrap()).await
    };
    let json = Some("application/json");
    for body in [&b"{"[..], b"", b"[]", b"\xff", b"{\"prompt\":1e999}"] {
        check(&ask(json, body).await, "a body", 400, "", "invalid_json");
    }
    for content_type in [None, Some("text/plain"), Some("multipart/form-data")] {
        check(&ask(content_type, b"{}").await, "a type", 415, "", "unsupported_media_type");
    }
    let request =
        Request::builder().method(Method::POST).uri(COMPLETIONS).header("content-type", "application/json");
    let request = request.header("content-encoding", "gzip").body(Body::from("{}")).unwrap();
    check(&send(shared(), request).await, "gzip", 415, "", "unsupported_content_encoding");
    let long = vec![b' '; (2 << 20) + 1];
    check(&ask(json, &long).await, "a long body", 413, "", "body_too_large");
}

#[tokio::test]
async fn odd_texts_are_answered_or_refused_but_never_a_failure() {
    for text in ["\u{0}", "\u{feff}", "\u{202e}abc", "<s></s>", "a\u{300}\u{301}", "\u{10ffff}", "\r\n\t"] {
        for (path, request) in [
            (
                COMPLETIONS,
                json!({"prompt": text, "max_tokens": 2, "echo": true, "logprobs": 1, "stop": text}),
            ),
            (CHAT, json!({"messages": [{"role": "user", "content": text}], "max_tokens": 2})),
            (EMBEDDINGS, json!({"input": text})),
            ("/tokenize", json!({"prompt": text, "with_pieces": true, "return_token_strs": true})),
        ] {
            let answered = post(path, &request).await;
            assert!(answered.status.as_u16() < 500, "{request} gives {}", answered.text);
        }
    }
}

#[tokio::test]
async fn every_route_refuses_other_methods_and_is_described() {
    let document = serde_json::to_value(document(&Limits::default())).unwrap();
    for route in table() {
        let path = route.path.replace("{*model}", "{model}");
        if !["/chat", "/completions", "/embeddings", "/models"].iter().any(|start| path.starts_with(start)) {
            let operation = &document["paths"][&path][route.method.to_lowercase()];
            assert!(operation["responses"]["400"].is_object(), "{path}");
        }
        let uri = route.path.replace("{*model}", "stories");
        for method in [Method::PUT, Method::DELETE, Method::PATCH] {
            let request = Request::builder().method(method).uri(&uri).body(Body::empty()).unwrap();
            let answered = send(shared(), request).await;
            check(&answered, &uri, 405, "", "method_not_allowed");
            assert!(answered.headers["allow"].to_str().unwrap().contains(route.method));
        }
    }
    check(&get("/v1/engines").await, "an unknown path", 404, "", "unknown_url");
    check(&get("/").await, "the root, which is no route of the API", 404, "", "unknown_url");
}

#[test]
fn the_description_has_the_limits_of_the_server() {
    let limits = Limits {
        choices: 3,
        top_logprobs: 5,
        stops: 2,
        stop_bytes: 9,
        logit_bias: 7,
        prompts: 4,
        ..Limits::default()
    };
    let document = serde_json::to_value(document(&limits)).unwrap();
    let schemas = &document["components"]["schemas"];
    let field = |request: &str, name: &str| -> Value {
        let mut parts = schemas[request]["allOf"].as_array().unwrap().iter();
        parts.find_map(|part| part["properties"].get(name)).unwrap().clone()
    };
    for request in ["ChatRequest", "CompletionRequest"] {
        assert_eq!(field(request, "n")["maximum"], 3, "{request}");
        assert_eq!(field(request, "stop_token_ids")["maxItems"], 2, "{request}");
        assert_eq!(field(request, "logit_bias")["maxProperties"], 7, "{request}");
    }
    assert_eq!(field("CompletionRequest", "best_of")["maximum"], 3);
    assert_eq!(field("CompletionRequest", "logprobs")["maximum"], 5);
    assert_eq!(field("ChatRequest", "top_logprobs")["maximum"], 5);
    assert!(field("ChatRequest", "logprobs")["maximum"].is_null());
    let stop = schemas["OneOrMany"]["oneOf"].as_array().unwrap();
    assert!(stop.iter().any(|form| form["maxLength"] == 9), "{stop:?}");
    assert!(stop.iter().any(|form| form["maxItems"] == 2 && form["items"]["maxLength"] == 9), "{stop:?}");
    for (name, most) in [("Prompt", 4), ("Input", 2048)] {
        let forms = schemas[name]["oneOf"].as_array().unwrap().iter();
        let found: Vec<Option<u64>> = forms.map(|form| form["maxItems"].as_u64()).collect();
        // A text, texts, tokens, lists of tokens.
        assert_eq!(found, [None, Some(most), None, Some(most)], "{name}");
    }
    assert_eq!(field("CompletionRequest", "prompt")["$ref"], "#/components/schemas/Prompt");
    let input = &schemas["EmbeddingRequest"]["properties"]["input"];
    assert_eq!(input["$ref"], "#/components/schemas/Input");
    for path in ["/health", "/v1/health", "/ready"] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_description_names_only_what_it_has() {
    let document = get("/openapi.json").await.json();
    let text = document.to_string();
    let references = text.match_indices("\"#/components/schemas/").map(|(at, found)| {
        let name = &text[at + found.len()..];
        name[..name.find('"').unwrap()].to_owned()
    });
    let mut count = 0;
    for name in references {
        assert!(document["components"]["schemas"][&name].is_object(), "`{name}` is not described");
        count += 1;
    }
    assert!(count > 20, "{count}");
    let roles = "^(developer|system|user|assistant|tool|function)$";
    let role = &document["components"]["schemas"]["Message"]["properties"]["role"];
    assert_eq!(role["pattern"], roles, "those that a refusal of another names");
}
