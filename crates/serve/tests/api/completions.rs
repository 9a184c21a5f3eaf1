//! `/v1/completions`.

use serde_json::{Value, json};

use crate::served::{ask, post};

const PATH: &str = "/v1/completions";
const PROMPT: &str = "Once upon a time, there was a little";

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect()
}

/// The chunks of a stream as one answer.
fn joined(chunks: &[Value]) -> Vec<Value> {
    let mut choices: Vec<Value> = Vec::new();
    for chunk in chunks {
        for piece in chunk["choices"].as_array().unwrap() {
            let index = piece["index"].as_u64().unwrap() as usize;
            while choices.len() <= index {
                let index = choices.len();
                choices.push(json!({"index": index, "text": "", "logprobs": null, "finish_reason": null}));
            }
            let choice = &mut choices[index];
            assert!(choice["finish_reason"].is_null(), "nothing comes after the reason");
            choice["text"] =
                format!("{}{}", choice["text"].as_str().unwrap(), piece["text"].as_str().unwrap()).into();
            choice["finish_reason"] = piece["finish_reason"].clone();
            if let Some(logprobs) = piece["logprobs"].as_object() {
                if choice["logprobs"].is_null() {
                    choice["logprobs"] =
                        json!({"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []});
                }
                for (list, more) in logprobs {
                    let list = choice["logprobs"][list].as_array_mut().unwrap();
                    list.extend(more.as_array().unwrap().iter().cloned());
                }
            }
        }
    }
    choices
}

#[tokio::test]
async fn an_answer_has_openais_shape() {
    let answer = ask(PATH, &json!({"model": "stories", "prompt": PROMPT, "seed": 1, "logprobs": 2})).await;
    assert_eq!(
        keys(&answer),
        ["choices", "created", "id", "model", "object", "system_fingerprint", "timings", "usage"]
    );
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["model"], "stories");
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    let choice = &answer["choices"][0];
    assert_eq!(keys(choice), ["finish_reason", "index", "logprobs", "text"]);
    assert_eq!(keys(&choice["logprobs"]), ["text_offset", "token_logprobs", "tokens", "top_logprobs"]);
    let usage = &answer["usage"];
    assert_eq!(
        usage["total_tokens"],
        json!(usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap())
    );
    assert!(usage["prompt_tokens_details"]["cached_tokens"].is_u64());
    let count = usage["completion_tokens"].as_u64().unwrap() as usize;
    for list in ["text_offset", "token_logprobs", "tokens", "top_logprobs"] {
        assert_eq!(choice["logprobs"][list].as_array().unwrap().len(), count, "{list}");
    }
}

#[tokio::test]
async fn sixteen_tokens_are_generated_where_no_number_is_asked_for() {
    let answer = ask(PATH, &json!({"prompt": PROMPT, "ignore_eos": true})).await;
    assert_eq!(answer["usage"]["completion_tokens"], 16);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_stream_is_the_whole_answer_in_pieces() {
    for more in [
        json!({}),
        json!({"logprobs": 3}),
        json!({"logprobs": 1, "echo": true}),
        json!({"echo": true, "max_tokens": 5}),
        json!({"n": 3, "logprobs": 0}),
        json!({"prompt": ["Tom had a", "Lily saw \u{1F600}"], "n": 2, "echo": true, "logprobs": 1}),
        json!({"stop": [" a", "."], "logprobs": 1}),
        json!({"stop": ["."], "include_stop_str_in_output": true}),
    ] {
        let mut request = json!({"prompt": PROMPT, "seed": 7, "max_tokens": 24});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let whole = ask(PATH, &request).await;
        request["stream"] = true.into();
        let streamed = post(PATH, &request).await.events();
        assert_eq!(json!(joined(&streamed)), whole["choices"], "{request}");
        let ids: Vec<&Value> = streamed.iter().map(|chunk| &chunk["id"]).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "one id");
        assert!(streamed.iter().all(|chunk| chunk.get("usage").is_none()), "usage was not asked for");

        request["stream_options"] = json!({"include_usage": true, "include_obfuscation": false});
        let mut streamed = post(PATH, &request).await.events();
        let last = streamed.pop().unwrap();
        assert_eq!(last["choices"], json!([]));
        for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            assert_eq!(last["usage"][count], whole["usage"][count], "{count}");
        }
        assert!(streamed.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    }
}

#[tokio::test]
async fn equal_requests_with_a_seed_have_equal_answers() {
    let request = json!({"prompt": PROMPT, "seed": -5, "n": 3, "max_tokens": 12});
    let first = ask(PATH, &request).await;
    assert_eq!(first["choices"], ask(PATH, &request).await["choices"]);
    let alone = ask(PATH, &json!({"prompt": PROMPT, "seed": -5, "max_tokens": 12})).await;
    assert_eq!(texts(&alone)[0], texts(&first)[0], "the first choice has the seed itself");
    let all: std::collections::BTreeSet<&str> = texts(&first).into_iter().collect();
    assert!(all.len() > 1, "{all:?}");
    let others = ask(PATH, &json!({"prompt": PROMPT, "max_tokens": 12, "n": 8})).await;
    let all: std::collections::BTreeSet<&str> = texts(&others).into_iter().collect();
    assert!(all.len() > 1, "without a seed it is random: {all:?}");
}

#[tokio::test]
async fn choices_are_those_of_the_first_prompt_first() {
    let prompts = ["The cat", "A big dog", "Once"];
    let request = json!({"prompt": prompts, "seed": 3, "n": 2, "max_tokens": 6, "echo": true});
    let answer = ask(PATH, &request).await;
    for (i, choice) in answer["choices"].as_array().unwrap().iter().enumerate() {
        assert_eq!(choice["index"], i);
        assert!(choice["text"].as_str().unwrap().starts_with(prompts[i / 2]), "{choice}");
    }
    let alone =
        ask(PATH, &json!({"prompt": prompts[1], "seed": 3, "n": 2, "max_tokens": 6, "echo": true})).await;
    assert_eq!(texts(&alone), texts(&answer)[2..4], "a prompt has the same answers among others");
    assert_eq!(answer["usage"]["completion_tokens"], 36);
}

#[tokio::test]
async fn the_best_are_the_likeliest() {
    let request =
        json!({"prompt": PROMPT, "seed": 11, "n": 6, "max_tokens": 8, "logprobs": 0, "ignore_eos": true});
    let all = ask(PATH, &request).await;
    let mean = |choice: &Value| {
        let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        logprobs.iter().map(|x| x.as_f64().unwrap()).sum::<f64>() / logprobs.len() as f64
    };
    let mut choices = all["choices"].as_array().unwrap().clone();
    choices.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    let mut request = request;
    request["best_of"] = 6.into();
    request["n"] = 2.into();
    request.as_object_mut().unwrap().remove("logprobs");
    let best = ask(PATH, &request).await;
    let want: Vec<&str> = choices[..2].iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts(&best), want);
    assert_eq!(best["usage"]["completion_tokens"], 48, "all that were generated");
    assert!(best["choices"][0]["logprobs"].is_null(), "not asked for");
}

#[tokio::test]
async fn more_than_four_texts_may_end_an_answer() {
    let free = ask(PATH, &json!({"prompt": PROMPT, "temperature": 0, "max_tokens": 40})).await;
    let text = texts(&free)[0].to_owned();
    let stop = &text[text.char_indices().nth(20).unwrap().0..text.char_indices().nth(24).unwrap().0];
    let stops = ["\u{1}", "\u{2}", "\u{3}", "\u{4}", "\u{5}", stop];
    let request = json!({"prompt": PROMPT, "temperature": 0, "max_tokens": 40, "stop": stops});
    let stopped = ask(PATH, &request).await;
    let want = &text[..text.find(stop).unwrap()];
    assert_eq!(texts(&stopped), [want]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    let mut request = request;
    request["include_stop_str_in_output"] = true.into();
    assert_eq!(texts(&ask(PATH, &request).await), [format!("{want}{stop}")]);
}

#[tokio::test]
async fn a_bias_of_100_makes_a_token_certain() {
    let tokens = ask("/tokenize", &json!({"content": " dog"})).await;
    let token = tokens["tokens"].as_array().unwrap().last().unwrap().as_u64().unwrap();
    let request = json!({
        "prompt": PROMPT, "max_tokens": 3, "temperature": 0, "logit_bias": {token.to_string(): 100}, "logprobs": 1,
    });
    let answer = ask(PATH, &request).await;
    let names: Vec<&Value> = answer["choices"][0]["logprobs"]["tokens"].as_array().unwrap().iter().collect();
    assert!(names.windows(2).all(|pair| pair[0] == pair[1]) && names.len() == 3, "{names:?}");
    let request = json!({
        "prompt": PROMPT, "max_tokens": 9, "logit_bias": {token.to_string(): 100}, "stop_token_ids": [token],
    });
    let answer = ask(PATH, &request).await;
    assert_eq!(answer["usage"]["completion_tokens"], 1);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_prompt_that_was_read_before_is_not_computed_again() {
    let prompt = "There was a small house by the river and in it lived an old man with his cat. ".repeat(5);
    let request = json!({"prompt": prompt, "max_tokens": 1, "temperature": 0});
    ask(PATH, &request).await;
    let again = ask(PATH, &request).await;
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached >= 64, "{again}");
    assert_eq!(again["timings"]["cache_n"], cached);
}

#[tokio::test]
async fn ids_are_taken_as_they_are_and_texts_get_special_tokens() {
    let count = async |prompt: Value| {
        let answer = ask(PATH, &json!({"prompt": prompt, "max_tokens": 1})).await;
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(count(json!([5, 6, 7])).await, 3);
    let with = ask("/tokenize", &json!({"prompt": "Once upon"})).await;
    assert_eq!(count(json!("Once upon")).await, with["count"].as_u64().unwrap());
    assert_eq!(count(json!([[5], [6, 7]])).await, 3);
}

#[tokio::test]
async fn text_offsets_count_characters() {
    let prompt = "caf\u{e9} \u{1F600} and";
    let request = json!({"prompt": prompt, "echo": true, "logprobs": 0, "max_tokens": 6, "temperature": 0});
    let choice = ask(PATH, &request).await["choices"][0].clone();
    let text: Vec<char> = choice["text"].as_str().unwrap().chars().collect();
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    let offsets = choice["logprobs"]["text_offset"].as_array().unwrap();
    let mut checked = 0;
    for (token, offset) in tokens.iter().zip(offsets) {
        let token = token.as_str().unwrap();
        let at = offset.as_u64().unwrap() as usize;
        let here: String = text[at.min(text.len())..].iter().collect();
        if !token.starts_with("bytes:") && here.starts_with(token) {
            checked += 1;
        }
    }
    assert!(checked >= 6, "{choice}");
    assert!(offsets.windows(2).all(|pair| pair[0].as_u64() <= pair[1].as_u64()));
}

#[tokio::test]
async fn an_empty_prompt_is_the_beginning_of_a_text() {
    for prompt in [json!(""), json!("\u{0}"), json!(["", "a"])] {
        let answer = post(PATH, &json!({"prompt": prompt, "max_tokens": 2})).await;
        assert!(answer.status == 200 || answer.status == 400, "{prompt} gives {}", answer.text);
    }
}
