//! `/v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::served::{Otherwise, ask, config, post, post_to, router};

const PATH: &str = "/v1/embeddings";

fn vector(answer: &Value, index: usize) -> Vec<f32> {
    serde_json::from_value(answer["data"][index]["embedding"].clone()).unwrap()
}

#[tokio::test]
async fn vectors_have_the_hidden_size_and_length_1() {
    let texts = ["A dog", "A cat", "The sun is warm and bright today"];
    let answer = ask(PATH, &json!({"model": "stories", "input": texts})).await;
    assert_eq!(answer["object"], "list");
    for i in 0..texts.len() {
        assert_eq!(answer["data"][i]["object"], "embedding");
        assert_eq!(answer["data"][i]["index"], i);
        let vector = vector(&answer, i);
        assert_eq!(vector.len(), config().hidden_size);
        let length: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        let alone = ask(PATH, &json!({"input": texts[i]})).await;
        assert_eq!(self::vector(&alone, 0), vector, "a text has the same vector among others");
    }
    assert_eq!(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let float = ask(PATH, &json!({"input": "A dog", "encoding_format": "float"})).await;
    let base64 = ask(PATH, &json!({"input": "A dog", "encoding_format": "base64"})).await;
    let bytes = STANDARD.decode(base64["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f32> =
        bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
    assert_eq!(numbers, vector(&float, 0));
}

#[tokio::test]
async fn poolings_differ_and_the_mean_is_the_usual_one() {
    let of = async |pooling: Value| {
        vector(&ask(PATH, &json!({"input": "A dog and a cat", "pooling": pooling})).await, 0)
    };
    let mean = of(json!("mean")).await;
    assert_eq!(of(Value::Null).await, mean);
    assert_ne!(of(json!("last")).await, mean);
}

#[tokio::test]
async fn ids_are_refused_unless_they_are_believed() {
    let requests = [json!({"input": [[5, 6, 7]]}), json!({"input": [5, 6, 7]})];
    for request in &requests {
        let answered = post(PATH, request).await;
        assert_eq!(answered.status, 400);
        assert!(answered.text.contains("check_embedding_ctx_length=False"), "{}", answered.text);
    }
    let router = router(Otherwise { allow_embedding_ids: true, ..Otherwise::default() });
    for request in &requests {
        let answered = post_to(router.clone(), PATH, request).await;
        assert_eq!(answered.status, 200, "{}", answered.text);
        assert_eq!(answered.json()["usage"]["prompt_tokens"], 3);
    }
}

#[tokio::test]
async fn more_texts_than_the_engine_takes_at_once_have_their_vectors_in_order() {
    let texts: Vec<String> = (0..150).map(|i| format!("Story {i}")).collect();
    let answer = ask(PATH, &json!({"input": texts})).await;
    assert_eq!(answer["data"].as_array().unwrap().len(), texts.len());
    let alone = ask(PATH, &json!({"input": texts[149]})).await;
    assert_eq!(vector(&alone, 0), vector(&answer, 149));
}
