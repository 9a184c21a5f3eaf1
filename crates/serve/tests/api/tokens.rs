//! `/tokenize`, `/detokenize`, `/tokenizer_info`, `/v1/models`.

use serde_json::json;

use crate::served::{CONTEXT, ask, config, get, tokenizer};

#[tokio::test]
async fn texts_go_to_tokens_and_back_in_both_forms() {
    let text = "Once upon a time \u{1F600}, caf\u{e9}.";
    let vllm = ask("/tokenize", &json!({"prompt": text, "add_special_tokens": false})).await;
    let llama = ask("/tokenize", &json!({"content": text})).await;
    assert_eq!(vllm["tokens"], llama["tokens"]);
    assert_eq!(vllm["tokens"], json!(tokenizer().encode(text, false).unwrap()));
    assert_eq!(vllm["max_model_len"], CONTEXT);
    let back = ask("/detokenize", &json!({"tokens": vllm["tokens"]})).await;
    assert_eq!((&back["prompt"], &back["content"]), (&json!(text), &json!(text)));

    let special = ask("/tokenize", &json!({"prompt": text})).await;
    assert_eq!(special["tokens"], json!(tokenizer().encode(text, true).unwrap()));
    let special = ask("/tokenize", &json!({"content": text, "add_special": true})).await;
    assert_eq!(special["tokens"], json!(tokenizer().encode(text, true).unwrap()));
}

#[tokio::test]
async fn pieces_together_are_the_text() {
    let text = "the \u{1F600} end";
    let answer = ask("/tokenize", &json!({"content": text, "with_pieces": true})).await;
    let mut bytes = Vec::new();
    for token in answer["tokens"].as_array().unwrap() {
        assert!(token["id"].is_u64());
        match token["piece"].as_str() {
            Some(piece) => bytes.extend_from_slice(piece.as_bytes()),
            None => bytes.extend(serde_json::from_value::<Vec<u8>>(token["piece"].clone()).unwrap()),
        }
    }
    let together = String::from_utf8(bytes).unwrap();
    assert_eq!(together.trim_start(), text);
}

#[tokio::test]
async fn the_tokenizer_tells_its_special_tokens() {
    let info = get("/tokenizer_info").await.json();
    let eos = info["eos_token"].as_str().unwrap();
    let tokens = ask("/tokenize", &json!({"prompt": eos, "add_special_tokens": false})).await;
    assert_eq!(tokens["tokens"], json!([config().eos_token_ids[0]]));
    let back = ask("/detokenize", &json!({"tokens": tokens["tokens"]})).await;
    assert_eq!(back["prompt"], eos, "special tokens are written out");
    assert!(info["chat_template"].as_str().unwrap().contains("messages"));
}

#[tokio::test]
async fn models_are_listed_by_all_their_names() {
    for prefix in ["", "/v1"] {
        let list = get(&format!("{prefix}/models")).await.json();
        assert_eq!(list["object"], "list");
        assert_eq!(list["data"][0]["id"], "org/stories");
        assert_eq!(list["data"][1]["id"], "stories");
        assert_eq!(list["data"][0]["meta"]["n_ctx"], CONTEXT);
        for name in ["org/stories", "stories", "org%2Fstories"] {
            let model = get(&format!("{prefix}/models/{name}")).await.json();
            assert_eq!(model["object"], "model", "{name}");
            assert_eq!(model["created"], 1_700_000_000);
        }
        assert_eq!(get(&format!("{prefix}/models/gpt-4")).await.status, 404);
    }
}
