//! `/props` and `/props/layers`.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::served::{CONTEXT, MEASURED, Otherwise, QUEUE, ask, config, get, model, post_to, router, send};

/// The model's own, which marks nobody.
const JOINING: &str = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\
    {% if not loop.last %}\n{% endif %}{% endfor %}";

async fn props(otherwise: Otherwise) -> Value {
    let request = Request::builder().uri("/props").body(Body::empty()).unwrap();
    let answered = send(router(otherwise), request).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    answered.json()
}

#[tokio::test]
async fn it_tells_what_the_server_is() {
    let found = props(Otherwise { bandwidth: Some(2e9), ..Otherwise::default() }).await;
    assert_eq!(found["default_generation_settings"]["n_ctx"], CONTEXT);
    assert_eq!(found["total_slots"], 8);
    assert_eq!(found["max_waiting"], QUEUE);
    assert_eq!(found["model_alias"], "org/stories");
    assert_eq!(found["family"], config().family.name());
    assert_eq!(found["n_params"], config().parameters());
    assert_eq!(found["weight_bytes_per_token"], model().weight_bytes_per_token());
    assert_eq!(found["memory_bytes_per_second"], 2e9);
    assert!(found["build_info"].as_str().unwrap().starts_with("tercet "));
}

#[tokio::test]
async fn defaults_are_what_a_request_that_leaves_all_open_gets() {
    let router = router(Otherwise::default());
    let request = Request::builder().uri("/props").body(Body::empty()).unwrap();
    let params = send(router.clone(), request).await.json()["default_generation_settings"]["params"].clone();
    let open = json!({"prompt": "Once upon a time", "max_tokens": 24, "seed": 3});
    let mut spelled = open.clone();
    spelled.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    let open = post_to(router.clone(), "/v1/completions", &open).await.json();
    let spelled = post_to(router, "/v1/completions", &spelled).await.json();
    assert!(open["choices"][0]["text"].is_string(), "{open}");
    assert_eq!(open["choices"], spelled["choices"]);
}

#[tokio::test]
async fn the_page_opens_with_what_the_model_was_made_for() {
    let of = |has_no_template, template| Otherwise { has_no_template, template, ..Otherwise::default() };
    let chat = props(of(false, None)).await;
    assert_eq!(chat["mode"], "chat");
    assert!(chat["chat_template"].as_str().unwrap().contains("message.role"));
    let joining = props(of(false, Some(JOINING))).await;
    assert_eq!(joining["mode"], "completion");
    assert_eq!(joining["chat_template"], JOINING);
    let none = props(of(true, None)).await;
    assert_eq!(none["mode"], "completion");
    assert_eq!(none["chat_template"], Value::Null);
}

#[tokio::test]
async fn the_bandwidth_is_found_out_after_somebody_asked() {
    let router = router(Otherwise::default());
    let start = Instant::now();
    loop {
        let request = Request::builder().uri("/props").body(Body::empty()).unwrap();
        match &send(router.clone(), request).await.json()["memory_bytes_per_second"] {
            Value::Null => assert!(start.elapsed() < Duration::from_secs(60), "it is never known"),
            known => return assert_eq!(known, MEASURED),
        }
    }
}

#[tokio::test]
async fn layers_have_the_shares_of_the_weights() {
    let found = get("/props/layers").await.json();
    assert_eq!(found, get("/props/layers").await.json(), "it is counted once");
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.len(), config().num_hidden_layers);
    let mut weighted = [0.0; 3];
    let mut contents = model().linear_contents().collect::<Vec<_>>().into_iter();
    let parts = |shares: &Value| ["minus", "zero", "plus"].map(|part| shares[part].as_f64().unwrap());
    for (i, layer) in layers.iter().enumerate() {
        assert_eq!(layer["layer"], i);
        for linear in layer["linears"].as_array().unwrap() {
            let want = contents.next().unwrap();
            assert_eq!(linear["name"], want.name);
            assert_eq!(linear["shape"], json!(want.shape));
            assert_eq!(linear["bytes"], want.bytes);
            let shares = parts(&linear["ternary"]);
            assert_eq!(shares, want.counts.unwrap().shares());
            let weights = (want.shape[0] * want.shape[1]) as f64;
            for (sum, share) in weighted.iter_mut().zip(shares) {
                *sum += share * weights;
            }
        }
    }
    assert_eq!(contents.next(), None);
    let total: f64 = weighted.iter().sum();
    for (all, weights) in parts(&found["ternary"]).into_iter().zip(weighted) {
        assert!((all - weights / total).abs() < 1e-9, "{found}");
    }
}

#[tokio::test]
async fn it_counts_while_texts_are_generated() {
    let open = json!({"prompt": "Once upon a time", "max_tokens": 60, "seed": 3});
    let (answer, layers) = tokio::join!(ask("/v1/completions", &open), get("/props/layers"));
    assert_eq!(layers.status, StatusCode::OK);
    assert_eq!(answer["choices"], ask("/v1/completions", &open).await["choices"]);
}
