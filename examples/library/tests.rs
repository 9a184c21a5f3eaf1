//! The examples do what they say. They are included as they stand, and called without their `main`.

#[expect(dead_code, reason = "its `main` is for the command line")]
#[path = "custom_sampler.rs"]
mod custom_sampler;
#[expect(dead_code, reason = "its `main` is for the command line")]
#[path = "embed_in_axum.rs"]
mod embed_in_axum;
#[expect(dead_code, reason = "its `main` is for the command line")]
#[path = "load_and_generate.rs"]
mod load_and_generate;
#[expect(dead_code, reason = "its `main` is for the command line")]
#[path = "train_tiny.rs"]
mod train_tiny;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

#[test]
fn a_model_is_loaded_and_continues_a_text() {
    let mut text = String::new();
    let source = tercet::embedded::stories();
    let generated =
        load_and_generate::continue_text(&source, "Once upon a time", 40, |piece| text += piece).unwrap();
    assert!(!generated.tokens.is_empty() && generated.tokens.len() <= 40);
    assert!(text.split_whitespace().count() > 5, "`{text}`");
}

#[test]
fn a_sampler_of_ones_own_leaves_a_letter_out() {
    let lipogram = custom_sampler::Lipogram::new('e').unwrap();
    assert!(lipogram.forbidden() > 50, "many tokens of English have an `e`");
    let text = lipogram.write("A big dog and a small cat had fun in a park.", 60).unwrap();
    assert!(text.split_whitespace().count() > 5, "`{text}`");
    assert!(!text.to_lowercase().contains('e'), "`{text}`");
}

#[test]
fn a_tiny_model_learns_the_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let mut losses = train_tiny::Losses::default();
    let text = train_tiny::sentences(4000);
    let model = train_tiny::train_on(&text, folder.path(), 60, &mut losses).unwrap();
    let (first, last) = (losses.all[0], losses.all[59]);
    assert!(losses.all.len() == 60 && last < first - 1.0, "from {first} to {last} nats a token");
    let written = train_tiny::write(&model, "the cat", 20).unwrap();
    assert!(written.len() > "the cat".len() && written.starts_with("the cat"), "`{written}`");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_of_ones_own_has_openais_routes_behind_one_key() {
    const KEY: &str = "a-key-of-the-tests-1234";
    let (_front, router) = embed_in_axum::app(KEY, [127, 0, 0, 1].into()).unwrap();
    let ask = |method: &str, path: &str, has_key: bool, body: &'static str| {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        if has_key {
            request = request.header("authorization", format!("Bearer {KEY}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        answer(router.clone(), request.body(Body::from(body)).unwrap())
    };
    let completion = r#"{"prompt": "Once upon a time", "max_tokens": 5}"#;
    assert_eq!(ask("GET", "/health", false, "").await.0, StatusCode::OK);
    assert_eq!(ask("GET", "/story/Tom", false, "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("POST", "/v1/completions", false, completion).await.0, StatusCode::UNAUTHORIZED);
    let (status, story) = ask("GET", "/story/Tom", true, "").await;
    assert!(status == StatusCode::OK && story.contains("Tom"), "{status}: {story}");
    let (status, answer) = ask("POST", "/v1/completions", true, completion).await;
    assert!(status == StatusCode::OK && answer.contains("\"text_completion\""), "{status}: {answer}");
}

async fn answer(router: Router, request: Request<Body>) -> (StatusCode, String) {
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(bytes.to_vec()).unwrap())
}
