//! `tercet inspect`: families, tensors, scales and shares, of the golden model of every family.

mod command;

use command::{command, golden, tercet};
use std::io::Read;
use std::process::Stdio;

#[test]
fn every_command_counts_the_same_parameters() {
    let total = tercet(["inspect", "--json"]).success().json()["parameters"]["total"].clone();
    let bench = ["bench", "-p", "0", "-n", "1", "-r", "1", "-o", "json"];
    assert_eq!(tercet(bench).success().json()[0]["params"], total);
    assert!(tercet(["run", "-p", "Once", "-n", "1"]).success().stderr.contains("5.65 M parameters"));
    assert!((5_645_000..5_655_000).contains(&total.as_u64().unwrap()), "{total}");
}

#[test]
fn every_golden_model_is_described() {
    let mut models = 0;
    for entry in golden().read_dir().unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        models += 1;
        let name = folder.file_name().unwrap().to_str().unwrap();
        let found = tercet(["inspect", folder.to_str().unwrap(), "--json", "--ops"]).success().json();
        let family = match name {
            name if name.starts_with("1bitllm") => "1bitllm",
            name if name.starts_with("bitnet") => "bitnet",
            name if name.starts_with("llama-bitlinear-rmsnorm") => "norm-in-linear",
            name if name.starts_with("llama-bitlinear") => "ternary-llama",
            _ => "dense-llama",
        };
        assert_eq!(found["family"], family, "{name}");
        assert!(!found["evidence"].as_str().unwrap().is_empty(), "{name}");

        let layers = found["config"]["num_hidden_layers"].as_u64().unwrap();
        let linears = found["linears"].as_array().unwrap();
        assert_eq!(linears.len() as u64, 7 * layers, "{name}");
        let mut counted = 0;
        for linear in linears {
            let is_dense = family == "dense-llama";
            assert_eq!(linear["scale"].is_null(), is_dense, "{name}");
            if is_dense {
                continue;
            }
            assert!(linear["scale"].as_f64().unwrap() > 0.0, "{name}");
            let shares = ["minus_share", "zero_share", "plus_share"];
            let sum: f64 = shares.iter().map(|share| linear["ternary"][share].as_f64().unwrap()).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{name}: shares sum to {sum}");
            let counts = ["minus", "zero", "plus"];
            counted += counts.iter().map(|count| linear["ternary"][count].as_u64().unwrap()).sum::<u64>();
        }
        assert_eq!(found["parameters"]["ternary"], counted, "{name}: padding is not counted");
        assert_eq!(found["operations"]["positions"], 512, "{name}");

        let elements = |tensor: &serde_json::Value| -> u64 {
            tensor["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product()
        };
        let tensors = found["tensors"].as_array().unwrap();
        assert!(tensors.iter().all(|tensor| tensor["file"].as_str().unwrap().ends_with(".safetensors")));
        if !tensors.iter().any(|tensor| tensor["dtype"] == "U8") {
            let total: u64 = tensors.iter().map(elements).sum();
            assert_eq!(found["parameters"]["total"], total, "{name}: each parameter is counted once");
        }
    }
    assert!(models >= 21, "found {models} golden models, expected 21 or more");
}

#[test]
fn people_get_tables() {
    let folder = golden().join("bitnet-packed-h64-sharded");
    let found = tercet(["inspect", folder.to_str().unwrap(), "--ops", "--positions", "100"]).success();
    for part in [
        "BitNet b1.58",
        "why",
        "ternary, packed, multiplied by their scale",
        "self_attn.q_proj",
        "one token at position 100",
        "int8 additions",
        "model.embed_tokens.weight",
        "model-00001-of-00003.safetensors",
    ] {
        assert!(found.stdout.contains(part), "`{part}` is not in\n{}", found.stdout);
    }
    assert_eq!(found.stderr, "");
}

#[test]
fn the_model_inside_is_inspected_without_a_name() {
    assert!(tercet(["inspect"]).success().stdout.starts_with("model       the model inside\n"));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let found = tercet(["inspect", env!("CARGO_TARGET_TMPDIR")]);
    assert_eq!(found.failure(), Some(3));
    let found = tercet(["inspect", "./nowhere"]);
    assert_eq!(found.failure(), Some(3));
    let named = tercet(["inspect", "-m", "./nowhere"]);
    assert_eq!((named.failure(), named.stderr), (Some(3), found.stderr));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let mut child = command()
        .args(["inspect", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}
