//! `/v1/chat/completions`.

use serde_json::{Value, json};

use crate::served::{Otherwise, ask, post, post_to, router};

const PATH: &str = "/v1/chat/completions";

fn messages() -> Value {
    json!([
        {"role": "system", "content": "Tell stories."},
        {"role": "user", "content": [{"type": "text", "text": "About a dog."}]},
    ])
}

#[tokio::test]
async fn an_answer_has_openais_shape() {
    let request = json!({
        "model": "org/stories", "messages": messages(), "max_completion_tokens": 8, "seed": 1, "logprobs": true,
        "top_logprobs": 2, "user": "someone", "store": false, "metadata": {"a": "b"}, "service_tier": "auto",
    });
    let answer = ask(PATH, &request).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "org/stories");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["refusal"].is_null());
    assert!(choice["message"].get("tool_calls").is_none());
    assert!(!choice["message"]["content"].as_str().unwrap().is_empty());
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(json!(tokens.len()), answer["usage"]["completion_tokens"]);
    for token in tokens {
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
        let best = token["top_logprobs"][0]["logprob"].as_f64().unwrap();
        assert!(best >= token["logprob"].as_f64().unwrap());
        let bytes: Vec<u8> = serde_json::from_value(token["bytes"].clone()).unwrap();
        if let Ok(text) = std::str::from_utf8(&bytes) {
            assert_eq!(token["token"], text);
        }
    }
}

#[tokio::test]
async fn a_stream_is_the_whole_answer_in_pieces() {
    for more in [json!({}), json!({"n": 2}), json!({"logprobs": true, "top_logprobs": 1, "stop": ["."]})] {
        let mut request = json!({"messages": messages(), "seed": 5, "max_tokens": 20});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let whole = ask(PATH, &request).await;
        request["stream"] = true.into();
        request["stream_options"] = json!({"include_usage": true});
        let mut chunks = post(PATH, &request).await.events();
        let last = chunks.pop().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
        let wanted = whole["choices"].as_array().unwrap();
        for (i, want) in wanted.iter().enumerate() {
            let of_choice: Vec<&Value> = chunks
                .iter()
                .map(|chunk| &chunk["choices"][0])
                .filter(|choice| choice["index"] == i)
                .collect();
            assert_eq!(of_choice[0]["delta"]["role"], "assistant", "who speaks comes first");
            let text: String =
                of_choice.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
            assert_eq!(want["message"]["content"], text);
            let tokens: Vec<Value> = of_choice
                .iter()
                .filter_map(|choice| choice["logprobs"]["content"].as_array())
                .flatten()
                .cloned()
                .collect();
            assert_eq!(want["logprobs"]["content"].as_array().cloned().unwrap_or_default(), tokens);
            let (end, before) = of_choice.split_last().unwrap();
            assert_eq!(end["finish_reason"], want["finish_reason"]);
            assert!(before.iter().all(|choice| choice["finish_reason"].is_null()));
        }
        for chunk in &chunks {
            assert_eq!(chunk["object"], "chat.completion.chunk");
            assert_eq!((&chunk["id"], &chunk["created"]), (&chunks[0]["id"], &chunks[0]["created"]));
            assert!(chunk["usage"].is_null() && chunk.get("usage").is_some());
        }
    }
}

#[tokio::test]
async fn the_prompt_is_what_the_template_writes_and_nothing_is_added() {
    let rendered = "system: Tell stories.\nuser: About a dog.\nassistant:";
    let want = ask("/tokenize", &json!({"content": rendered})).await;
    let found = ask("/tokenize", &json!({"messages": messages()})).await;
    assert_eq!(found["tokens"], want["tokens"]);
    let answer = ask(PATH, &json!({"messages": messages(), "max_tokens": 1})).await;
    assert_eq!(answer["usage"]["prompt_tokens"], want["count"]);
}

#[tokio::test]
async fn the_last_message_may_be_continued() {
    let request = json!({
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Once upon"}],
        "continue_final_message": true,
    });
    let found = ask("/tokenize", &request).await;
    let want = ask("/tokenize", &json!({"content": "user: Hi\nassistant: Once upon"})).await;
    assert_eq!(found["tokens"], want["tokens"]);
    let mut request = request;
    request["max_tokens"] = 4.into();
    assert_eq!(ask(PATH, &request).await["usage"]["prompt_tokens"], want["count"]);
}

#[tokio::test]
async fn an_answer_may_take_the_rest_of_the_context() {
    let request = json!({"messages": messages(), "ignore_eos": true});
    let answer = ask(PATH, &request).await;
    assert_eq!(answer["usage"]["total_tokens"], crate::served::CONTEXT);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_format_holds_the_answer_to_a_schema() {
    let schema = json!({
        "type": "object", "properties": {"dog": {"type": "boolean"}}, "required": ["dog"],
        "additionalProperties": false,
    });
    for format in [
        json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}}),
        json!({"type": "json_object", "schema": schema}),
    ] {
        let request = json!({"messages": messages(), "seed": 2, "n": 3, "response_format": format});
        let answer = ask(PATH, &request).await;
        assert_eq!(answer["choices"].as_array().unwrap().len(), 3);
        for choice in answer["choices"].as_array().unwrap() {
            let text = choice["message"]["content"].as_str().unwrap();
            let read: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert!(read["dog"].is_boolean(), "{text}");
            assert_eq!(choice["finish_reason"], "stop");
        }
    }
    let request = json!({"messages": messages(), "response_format": {"type": "text"}, "max_tokens": 2});
    ask(PATH, &request).await;
}

#[tokio::test]
async fn a_model_without_a_template_says_what_to_do() {
    let router = router(Otherwise { has_no_template: true, ..Otherwise::default() });
    let answered = post_to(router, PATH, &json!({"messages": messages()})).await;
    assert_eq!(answered.status, 400);
    let message = answered.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("`/v1/completions`") && message.contains("--chat-template-file"), "{message}");
}

#[tokio::test]
async fn what_the_template_refuses_is_the_clients_mistake() {
    let request = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "system", "content": "b"},
    ]});
    let answered = post(PATH, &request).await;
    assert_eq!(answered.status, 400);
    assert!(answered.text.contains("the system speaks first"), "{}", answered.text);
}

#[tokio::test]
async fn a_call_that_is_asked_for_has_its_arguments_by_the_schema() {
    let tool = |name: &str| {
        let schema = json!({
            "type": "object", "properties": {"loud": {"type": "boolean"}}, "required": ["loud"],
            "additionalProperties": false,
        });
        json!({"type": "function", "function": {"name": name, "parameters": schema}})
    };
    for choice in [json!("required"), json!({"type": "function", "function": {"name": "bark"}})] {
        let mut request = json!({
            "messages": messages(), "seed": 3, "tools": [tool("bark"), tool("mew")], "tool_choice": choice,
            "parallel_tool_calls": false,
        });
        let answer = ask(PATH, &request).await;
        let answered = &answer["choices"][0];
        assert_eq!(answered["finish_reason"], "tool_calls", "{answer}");
        assert!(answered["message"]["content"].is_null(), "{answer}");
        let calls = answered["message"]["tool_calls"].as_array().unwrap();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0]["type"], "function");
        assert!(calls[0]["id"].as_str().unwrap().starts_with("call_"));
        let name = calls[0]["function"]["name"].as_str().unwrap();
        assert!(name == "bark" || (name == "mew" && choice == "required"), "{answer}");
        let arguments = calls[0]["function"]["arguments"].as_str().unwrap();
        let read: Value = serde_json::from_str(arguments).unwrap();
        assert!(read["loud"].is_boolean(), "{arguments}");

        request["stream"] = true.into();
        let chunks = post(PATH, &request).await.events();
        let parts: Vec<&Value> = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array())
            .flatten()
            .collect();
        assert!(parts.iter().all(|part| part["index"] == 0));
        assert_eq!(parts.iter().filter(|part| part["id"].is_string()).count(), 1, "the id comes once");
        assert_eq!(parts[0]["function"]["name"], name);
        let streamed: String =
            parts.iter().map(|part| part["function"]["arguments"].as_str().unwrap()).collect();
        assert_eq!(streamed, arguments);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[tokio::test]
async fn tools_that_may_not_be_called_change_nothing() {
    let tool = json!({"type": "function", "function": {"name": "bark"}});
    let mut request = json!({"messages": messages(), "seed": 3, "max_tokens": 12});
    let without = ask(PATH, &request).await;
    request["tools"] = json!([tool]);
    request["tool_choice"] = "none".into();
    assert_eq!(ask(PATH, &request).await["choices"], without["choices"]);
    request["tool_choice"] = "auto".into();
    request["response_format"] = json!({"type": "json_object"});
    assert_eq!(post(PATH, &request).await.status, 400, "a text and calls cannot both be held to a form");
}
