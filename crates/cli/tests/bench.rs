//! `tercet bench`: which rows it gives, in which form. No speed is asserted.

mod command;

use command::{golden, tercet};
use serde_json::Value;
use tercet_kernels::Pool;

/// Runs a bench of the small model inside.
fn bench(arguments: &str) -> command::Outcome {
    tercet(["bench", "-t", "2", "-r", "2"].into_iter().chain(arguments.split_whitespace()))
}

fn rows(arguments: &str) -> Vec<Value> {
    let found = bench(&format!("{arguments} -o json")).success();
    found.json().as_array().expect("an array of rows").clone()
}

#[track_caller]
fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("`{field}` of {row}"))
}

#[test]
fn every_test_gives_a_row() {
    let rows = rows("-p 16,8 -n 4 -d 0,20 --parallel 1,3");
    let names: Vec<_> =
        rows.iter().map(|row| (row["test"].as_str().unwrap(), number(row, "parallel"))).collect();
    let at_0 = [("pp16", 1.0), ("pp8", 1.0), ("tg4", 1.0), ("tg4", 3.0)];
    let at_20 = [("pp16 @ d20", 1.0), ("pp8 @ d20", 1.0), ("tg4 @ d20", 1.0), ("tg4 @ d20", 3.0)];
    assert_eq!(names, [at_0, at_20].concat());
    for row in &rows {
        assert_eq!(row["samples"].as_array().unwrap().len(), 2);
        for field in ["tokens_per_s", "bytes_per_token", "ops_per_token", "ceiling", "fraction", "load_s"] {
            assert!(number(row, field) > 0.0, "{field} of {row}");
        }
        assert!(row["noisy"].is_boolean() && row["preset"].is_null());
        let shares = ["gemm_share", "attention_share", "rest_share"];
        match row["test"].as_str().unwrap().starts_with("pp") {
            true => assert!((shares.iter().map(|share| number(row, share)).sum::<f64>() - 1.0).abs() < 1e-9),
            false => assert!(shares.iter().all(|share| row[share].is_null())),
        }
        let ceiling = ["bandwidth", "int8"].contains(&row["bound"].as_str().unwrap());
        assert!(ceiling, "{row}");
    }
    assert!(number(&rows[3], "bytes_per_token") < number(&rows[2], "bytes_per_token"), "weights are shared");
    assert!(number(&rows[6], "bytes_per_token") > number(&rows[2], "bytes_per_token"), "the cache is read");
    if cfg!(target_os = "linux") {
        assert!(number(&rows[0], "rss_bytes") > 1e6);
    }
}

#[test]
fn a_preset_is_measured_in_every_kind_of_weights() {
    for (weights, head, bound) in
        [("2bit", "bf16", "int8"), ("1.6bit", "bf16", "int8"), ("dense-f16", "f16", "f32")]
    {
        let rows = rows(&format!("--preset s -p 16 -n 2 --weights {weights} --kv f32"));
        let row = &rows[0];
        assert_eq!(
            (&row["preset"], &row["weights"], &row["head"], &row["kv"]),
            (&"s".into(), &weights.into(), &head.into(), &"f32".into())
        );
        // 8 layers of 4 · 256² + 3 · 256 · 688 weights.
        let linears = 8.0 * f64::from(4 * 256 * 256 + 3 * 256 * 688);
        let ops = number(row, "ops_per_token");
        match bound {
            "int8" => assert_eq!(ops, 2.0 * linears),
            _ => assert!(ops > 2.0 * linears, "attention and head are of the same kind"),
        }
        // Of each layer those before attention and MLP, and a ternary one's within both; and the last.
        let sub_norms = if weights == "dense-f16" { 0.0 } else { f64::from(256 + 688) };
        let norms = 8.0 * (2.0 * 256.0 + sub_norms) + 256.0;
        assert_eq!(number(row, "params"), linears + 4096.0 * 256.0 + norms);
    }
}

#[test]
fn people_get_markdown_and_programs_csv() {
    let table = bench("-p 0 -n 2").success().stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("**the model inside**") && lines[0].contains("2 threads"), "{table}");
    assert!(lines[2].starts_with("| parallel") && lines[3].starts_with("|---"), "{table}");
    assert!(lines[4].contains("tg2") && lines.len() == 5, "{table}");
    assert!(lines[2].len() <= 120, "it fits a terminal: {}", lines[2].len());
    let csv = bench("-p 0 -n 2 -o csv").success().stdout;
    assert!(csv.starts_with("preset,model,weights,") && csv.lines().count() == 2, "{csv}");
    assert!(csv.contains(",tg2,1,"), "{csv}");
}

#[test]
fn the_ceilings_are_told_first() {
    let found = bench("-p 0 -n 1").success();
    let first = found.stderr.lines().next().unwrap();
    for part in ["ceilings of 2 threads", "GB/s", "of int8", "of f32"] {
        assert!(first.contains(part), "`{part}` is not in `{first}`");
    }
}

#[test]
fn a_folder_needs_no_tokenizer() {
    let folder = golden().join("bitnet-packed-h100");
    let found =
        tercet(["bench", folder.to_str().unwrap(), "-p", "4", "-n", "2", "-r", "1", "-o", "json"]).success();
    assert_eq!(found.json().as_array().unwrap().len(), 2);
    let told = found.stderr.contains("`-t 1` measures that");
    assert_eq!(told, Pool::default_threads() > 1, "{}", found.stderr);
}

#[test]
fn two_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let rows = bench("-p 4 -n 2 -o json").success().stdout;
    let (old, new, bad) = (file("old", &rows), file("new", &rows), file("bad", "{}"));
    let found = tercet(["bench", "--compare", &old, &new, "-o", "json"]).success().json();
    let verdicts: Vec<_> =
        found.as_array().unwrap().iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["same", "same"]);
    let table = tercet(["bench", "--compare", &old, &new]).success().stdout;
    assert!(table.contains("| within the noise") && table.lines().count() == 4, "{table}");
    let refused = tercet(["bench", "--compare", &old, &bad]);
    assert_eq!(refused.failure(), Some(3));
    assert!(refused.stderr.contains("expected rows of `tercet bench`\nhint: "), "{}", refused.stderr);
}

#[test]
fn two_runs_of_training_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, speeds: [f64; 2]| {
        let row = |size: &str, speed: f64| {
            serde_json::json!({
                "test": format!("train {size}"), "preset": size, "linears": "ternary", "threads": 2, "isa": "avx2",
                "gradients": "f32", "tokens_per_s": speed, "stddev": 0.01 * speed, "samples": [speed, speed],
                "fraction": 0.5, "params": 7_384_704, "tokens_per_step": 2048, "budget_us": 40.0,
                "stages": { "optimizer": 1.0 }, "cpu": "a CPU", "version": "0.1.0",
            })
        };
        let rows = Value::from(vec![row("s", speeds[0]), row("m", speeds[1])]);
        let path = folder.path().join(name);
        std::fs::write(&path, rows.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (old, new) = (file("old", [1000.0, 400.0]), file("new", [1200.0, 401.0]));
    let found = tercet(["bench", "--compare", &old, &new, "-o", "json"]).success().json();
    let rows: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|row| [&row["test"], &row["verdict"]].map(|text| text.as_str().unwrap()))
        .collect();
    assert_eq!(rows, [["train s", "faster"], ["train m", "same"]]);
    assert_eq!((&found[0]["threads"], &found[0]["head"]), (&Value::from(2), &Value::Null));
}

#[test]
fn the_tables_of_the_paper_are_computed_for_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("costs.svg");
    let arguments = ["bench", "--paper", "--no-measure", "--memory", "160", "--svg", svg.to_str().unwrap()];
    let found = tercet(arguments).success().stdout;
    for part in ["## Memory", "## Largest batch in 172 GB", "71.4 times as much", "costs less than dense"] {
        assert!(found.contains(part), "`{part}` is not in\n{found}");
    }
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    let rows =
        tercet(["bench", "--paper", "--no-measure", "--sizes", "3b,70b", "-o", "json"]).success().json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["token_ms_origin"] == "computed" && row["resident_bytes"].is_null()));
    assert!(number(&rows[3], "weight_bytes") > 1.3e11);
}

/// What another form of the command would leave unread is refused, and not ignored.
#[test]
fn arguments_of_a_models_tests_belong_to_no_other_form() {
    let of_tests = ["--head q8", "-p 16", "-n 4", "-d 8", "--parallel 2", "-c 64"];
    let of_models = ["./model", "-m model", "--preset s"];
    let of_weights = ["--weights 1.6bit", "--kv f32"];
    let forms: [(&str, &[&[&str]]); 3] = [
        ("--train s", &[&of_tests, &of_models, &of_weights, &["--paper", "--compare a b"]]),
        ("--compare a b", &[&of_tests, &of_models, &of_weights, &["-t 2", "-r 2"]]),
        ("--paper", &[&of_tests, &of_models]),
    ];
    for (form, others) in forms {
        for other in others.iter().copied().flatten() {
            let arguments = format!("bench {form} {other}");
            let found = tercet(arguments.split_whitespace());
            assert_eq!(found.code, Some(2), "`{arguments}`: {}", found.stderr);
            assert!(found.stderr.contains("cannot be used with"), "`{arguments}`: {}", found.stderr);
        }
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for (arguments, code, says) in [
        ("-p 0 -n 0", 2, "found no test"),
        ("-p x", 2, "expected whole numbers with commas"),
        ("--parallel 0", 2, "expected numbers above 0"),
        ("--weights dense-f16", 2, "`--preset`"),
        ("--preset s -m model", 2, "cannot be used with"),
        ("--paper --weights dense-f16", 2, "sets ternary weights beside dense ones"),
        ("--paper --sizes 9b", 2, "expected one of 700m"),
        ("--paper --sizes 3b,7b,3b", 2, "`--sizes`: `3b` is given twice"),
        ("--memory 4", 2, "--paper"),
        ("--train s,s", 2, "`--train`: `s` is given twice"),
        ("--train s --train m,s", 2, "`--train`: `s` is given twice"),
        ("--train 2b4t", 2, "expected one of s, m, l"),
        ("./nowhere", 3, "found nothing"),
        ("--preset 100b -c 134217728 --weights 1.6bit", 5, "of memory ("),
        ("--preset 70b --weights dense-f16 -p 0 -n 1", 5, "hint: take a smaller model or fewer bits"),
    ] {
        let found = bench(arguments);
        assert_eq!(found.code, Some(code), "`{arguments}`: {}", found.stderr);
        assert!(found.stderr.contains(says), "`{arguments}`: {}", found.stderr);
        assert_eq!(found.stdout, "");
    }
}
