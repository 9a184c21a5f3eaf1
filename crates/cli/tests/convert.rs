//! `tercet convert` and `tercet verify`: the small model inside there and back, what they print, and exit codes.

mod command;

use std::fs;
use std::path::Path;

use command::{golden, outcome, tercet};

fn convert(arguments: &[&str]) -> command::Outcome {
    tercet(["convert"].iter().chain(arguments))
}

#[test]
fn the_model_inside_goes_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (packed, file, back) = (path("packed"), path("stories.gguf"), path("back"));
    let report = convert(&[&packed, "--to", "hf-packed", "--json"]).success().json();
    let files = fs::read_dir(&packed).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(report["bytes"].as_u64(), Some(files.sum()));
    assert_eq!((&report["form"], &report["changes"]), (&"hf-packed".into(), &serde_json::json!([])));
    let found = convert(&[&packed, &file, "--to", "gguf-i2_s"]).success();
    assert!(found.stdout.ends_with("\nthe same model\n"), "{}", found.stdout);
    let size = fs::metadata(&file).unwrap().len() as f64 / 1e6;
    assert!(found.stdout.starts_with(&format!("{file}: gguf-i2_s, {size:.2} MB\n")), "{}", found.stdout);
    convert(&[&file, &back, "--to", "hf-packed", "--no-verify"]).success();
    let found = tercet(["verify", &packed, &back]).success();
    for line in
        ["codes      equal", "scales     equal", "floats     equal", "tokenizer  equal", "logits     equal"]
    {
        assert!(found.stdout.contains(line), "{line}: {}", found.stdout);
    }
    let tell =
        |model: &str| tercet(["run", model, "Once upon a time", "--temp", "0", "-n", "12"]).success().stdout;
    assert_eq!(tell(&file), tell(&back));
}

#[test]
fn the_model_of_the_first_example_becomes_a_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let line =
        |i: usize| format!("{} {} {}\n", ["one", "two", "six"][i % 3], i % 7, ["ducks", "hens"][i % 2]);
    let (text, run, file) = (path("text.txt"), path("run"), path("tiny.gguf"));
    fs::write(&text, (0..2000).map(line).collect::<String>()).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tiny.toml");
    let changes = ["train.steps=1", "train.micro_batch=1", "watch.sample_every=0"];
    let arguments = ["train", example.to_str().unwrap(), "-q", "--data", &text, "-o", &run];
    tercet(arguments.iter().chain(&changes)).success();
    let found = convert(&[&path("run/model"), &file, "--to", "gguf-i2_s"]).success();
    assert!(found.stdout.ends_with("\nthe same model\n"), "{}", found.stdout);
    let (narrow, says) = (path("tq.gguf"), "rows of 128 weights, expected a multiple of 256");
    let forms = "hint: its rows fit `--to gguf-i2_s`, `--to gguf-f16`, `--to gguf-bf16`; docs/models.md";
    check_refused(&[&path("run/model"), &narrow, "--to", "gguf-tq2_0"], 3, &[says, forms]);
}

#[test]
fn what_a_form_rounds_is_said_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stories.gguf").display().to_string();
    let report = convert(&[&file, "--to", "gguf-f16", "--head", "q8_0", "--json"]).success().json();
    let changes = report["changes"].as_array().unwrap();
    assert!(changes.len() == 2 && changes[0].as_str().unwrap().contains("scale"), "{changes:?}");
    let outcomes: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["equal", "equal", "rounded", "rounded", "equal", "equal", "equal", "close"]);
    let to = folder.path().join("bf16").display().to_string();
    let found = convert(&[&file, &to, "--to", "hf-bf16", "--no-verify"]).success().stdout;
    assert!(found.contains("\nnot as it was: embedding and head were rounded to bf16\n"), "{found}");
}

#[test]
fn suggestions_for_sampling_go_there_and_back_or_are_said_to_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (packed, file, back) = (path("packed"), path("stories.gguf"), path("back"));
    convert(&[&packed, "--to", "hf-packed", "--no-verify"]).success();
    let suggested = serde_json::json!({
        "bos_token_id": 1, "eos_token_id": 2, "do_sample": true, "temperature": 0.3, "top_p": 0.9, "top_k": 12,
        "min_p": 0.07, "repetition_penalty": 1.1, "typical_p": 0.9,
    });
    let place = folder.path().join("packed/generation_config.json");
    fs::write(&place, suggested.to_string()).unwrap();
    let found = convert(&[&packed, &file, "--to", "gguf-i2_s"]).success().stdout;
    let lost =
        "\nnot as it was: `generation_config.json` has what no key of a GGUF file holds: `typical_p`\n";
    assert!(found.contains(lost), "{found}");
    assert!(found.contains("sampling   equal"), "{found}");
    let found = convert(&[&file, &back, "--to", "hf-packed"]).success().stdout;
    assert!(found.contains("sampling   equal") && !found.contains("not as it was"), "{found}");
    let read = fs::read(folder.path().join("back/generation_config.json")).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&read).unwrap();
    for (field, want) in suggested.as_object().unwrap() {
        match field.as_str() {
            "typical_p" => assert!(read[field].is_null(), "{read}"),
            "eos_token_id" => assert_eq!(read[field], serde_json::json!([2])),
            _ => assert_eq!(&read[field], want, "{field}"),
        }
    }
    fs::write(&place, suggested.to_string().replace("0.3", "0.4")).unwrap();
    let found = tercet(["verify", &packed, &back]);
    assert_eq!(found.code, Some(1), "{}", found.stdout);
    assert!(found.stdout.contains("sampling   DIFFERS  `temperature` is 0.4 and 0.3"), "{}", found.stdout);
}

#[test]
fn models_in_the_wrong_order_are_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (exact, rounded) = (path("packed"), path("bf16"));
    for (model, form) in [(&exact, "hf-packed"), (&rounded, "hf-bf16")] {
        convert(&[model, "--to", form, "--no-verify"]).success();
    }
    let order = "the other way round they differ by rounding alone";
    let found = tercet(["verify", &exact, &rounded]).success();
    assert!(!found.stdout.contains(order), "{}", found.stdout);
    let found = tercet(["verify", &rounded, &exact]);
    assert_eq!(found.code, Some(1), "{}", found.stdout);
    let conclusion = found.stdout.lines().last().unwrap_or_default();
    assert!(
        conclusion.starts_with("not the same model: ") && conclusion.ends_with(order),
        "{}",
        found.stdout
    );
    assert!(found.stdout.contains("logits     close"), "{}", found.stdout);
    let found = tercet(["verify", &rounded, &exact, "--json"]).json();
    assert_eq!((&found["is_same"], &found["is_rounded_first"]), (&false.into(), &true.into()), "{found}");
}

#[test]
fn different_models_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for path in [&one, &other] {
        convert(&[path.to_str().unwrap(), "--to", "hf-packed", "--no-verify"]).success();
    }
    let weights = other.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    // The last byte is of a norm or a scale: another number.
    let last = bytes.len() - 2;
    bytes[last] ^= 0x20;
    fs::write(&weights, bytes).unwrap();
    let found = tercet(["verify", one.to_str().unwrap(), other.to_str().unwrap(), "--json"]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert_eq!(found.json()["is_same"], false);
    let found = tercet(["verify".as_ref(), one.as_os_str(), golden().join("bitnet-packed-h100").as_os_str()]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert!(
        found.stdout.contains("shape     DIFFERS") && found.stdout.contains("hidden_size"),
        "{}",
        found.stdout
    );
}

#[test]
fn every_golden_model_becomes_what_it_can_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden()).unwrap() {
        let model = entry.unwrap().path();
        for form in ["hf-packed", "hf-bf16", "hf-dequantized", "gguf-i2_s", "gguf-f16"] {
            let end = if form.starts_with("gguf") { ".gguf" } else { "" };
            let to = folder.path().join(format!("{form}{end}"));
            let found = convert(&[model.to_str().unwrap(), to.to_str().unwrap(), "--to", form]);
            let is_told = found.code == Some(0) || found.code == Some(3) && found.stderr.contains("\nhint: ");
            assert!(
                is_told,
                "{} to {form}: {:?}, {}{}",
                model.display(),
                found.code,
                found.stdout,
                found.stderr
            );
            let _ = if to.is_dir() { fs::remove_dir_all(&to) } else { fs::remove_file(&to) };
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn neighbours_of_the_result_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("out.partial");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("data"), "precious").unwrap();
    convert(&[folder.path().join("out").to_str().unwrap(), "--to", "hf-packed", "--no-verify"]).success();
    assert_eq!(fs::read_to_string(mine.join("data")).unwrap(), "precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn other_vocabularies_and_templates_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for path in [&one, &other] {
        convert(&[path.to_str().unwrap(), "--to", "hf-packed", "--no-verify"]).success();
    }
    let verify = || tercet(["verify".as_ref(), one.as_os_str(), other.as_os_str()]);
    assert_eq!(verify().code, Some(0));
    let file = other.join("tokenizer.json");
    let original = fs::read_to_string(&file).unwrap();
    let [said, big] = ["\"▁said\":", "\"▁big\":"];
    assert!(original.contains(said) && original.contains(big));
    let swapped = original.replace(said, "\"<swap>\":").replace(big, said).replace("\"<swap>\":", big);
    fs::write(&file, swapped).unwrap();
    let found = verify();
    assert!(found.code == Some(1) && found.stdout.contains("2 tokens differ"), "{}", found.stdout);
    fs::write(&file, original).unwrap();
    fs::write(other.join("chat_template.jinja"), "{{ messages }}").unwrap();
    let found = verify();
    assert!(found.code == Some(1) && found.stdout.contains("template   DIFFERS"), "{}", found.stdout);
}

#[test]
fn both_templates_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    convert(&[&path("one"), "--to", "hf-packed", "--no-verify"]).success();
    let templates = [("chat_template.jinja", "a"), ("additional_chat_templates/tool_use.jinja", "b")];
    fs::create_dir(folder.path().join("one/additional_chat_templates")).unwrap();
    for (name, text) in templates {
        fs::write(folder.path().join("one").join(name), text).unwrap();
    }
    convert(&[&path("one"), &path("two"), "--to", "hf-packed", "--no-verify"]).success();
    for (name, text) in templates {
        assert_eq!(fs::read_to_string(folder.path().join("two").join(name)).unwrap(), text, "{name}");
    }
}

#[track_caller]
fn check_refused(arguments: &[&str], code: i32, says: &[&str]) {
    let found = convert(arguments);
    assert_eq!(found.failure(), Some(code), "{}", found.stderr);
    for says in says {
        assert!(found.stderr.contains(says), "`{says}`: {}", found.stderr);
    }
}

#[test]
fn one_path_is_where_the_model_inside_goes_and_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let found = convert(&[&path("model"), "--to", "hf-packed", "--no-verify"]).success();
    assert_eq!(
        found.stderr,
        "converting the model inside; for another one, name it first: `tercet convert SRC DST`\n"
    );
    convert(&[&path("model"), &path("model.gguf"), "--to", "gguf-i2_s", "--no-verify"]).success();
    let hint = "hint: one path is where the model inside goes; for another model name both: \
                `tercet convert SRC DST --to gguf-i2_s`";
    for model in ["model", "model.gguf"] {
        check_refused(
            &[&path(model), "--to", "gguf-i2_s"],
            2,
            &["found a model, expected the place of the result after it", hint],
        );
    }
    check_refused(&[&path("modle"), "--to", "gguf-i2_s"], 2, &["found no `.gguf` at the end", hint]);
    let no_folder = "hint: it is not made: `mkdir -p nobody` first";
    check_refused(
        &["nobody/nothing.gguf", "--to", "gguf-i2_s"],
        1,
        &["nobody: found no such folder", no_folder],
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// Without JSON, any path that the system knows will do.
#[cfg(target_os = "linux")]
#[test]
fn a_path_that_json_cannot_hold_is_refused_with_it_alone() {
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join(std::ffi::OsStr::from_bytes(b"m\xff"));
    let convert = |flags: &[&str]| {
        let mut command = command::command();
        outcome(command.arg("convert").arg(&to).args(["--to", "hf-packed", "--no-verify"]).args(flags))
    };
    let found = convert(&["--json"]);
    assert_eq!(found.failure(), Some(2));
    assert!(found.stderr.contains("found bytes that are not UTF-8, expected a path that JSON can hold"));
    assert!(found.stderr.contains("\nhint: leave out `--json`") && !to.exists());
    convert(&[]).success();
    assert!(to.is_dir());
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out").display().to_string();
    let file = folder.path().join("out.gguf").display().to_string();
    let dense = golden().join("llama-dense-h48-f32").display().to_string();
    check_refused(
        &[&dense, &to, "--to", "hf-packed"],
        3,
        &["gibberish", "hint: make it ternary by training", "--force"],
    );
    check_refused(
        &[&file, "--to", "gguf-tq1_0"],
        3,
        &["rows of 640 weights, expected a multiple of 256", "docs/models.md"],
    );
    check_refused(&[&to, "--to", "hf-dequantized"], 3, &["no place for the norms before `o_proj`"]);
    check_refused(&[&to, "--to", "hf-packed", "--head", "q8_0"], 2, &["`--head` is for GGUF files"]);
    check_refused(&[&to, "--to", "gguf-i2_s"], 2, &["found no `.gguf` at the end"]);
    let nowhere = folder.path().join("no/such/out.gguf").display().to_string();
    check_refused(
        &[&nowhere, "--to", "gguf-i2_s"],
        1,
        &["no/such: found no such folder", "hint: it is not made"],
    );
    check_refused(
        &[&file, "--to", "hf-bf16"],
        2,
        &["found `.gguf` at the end, expected a folder for `--to hf-bf16`"],
    );
    check_refused(&[&dense, &file, "--to", "hf-bf16"], 2, &["found `.gguf` at the end"]);
    check_refused(&[&dense, "", "--to", "hf-bf16"], 2, &["found an empty path, expected a place"]);
    check_refused(&["", &to, "--to", "hf-bf16"], 3, &["found an empty path, expected a model folder"]);
    assert!(!Path::new(&to).exists() && !Path::new(&file).exists());
    fs::create_dir(&to).unwrap();
    check_refused(&[&to, "--to", "hf-packed"], 2, &["found something there already"]);
    let found = outcome(command::command().args(["convert", &to, "--to", "gguf-q4"]));
    assert_eq!(found.code, Some(2));
    assert!(found.stderr.contains("gguf-i2_s"), "{}", found.stderr);
}

#[test]
fn what_cannot_be_written_is_named_as_the_result_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let dense = golden().join("llama-dense-h48-f32").display().to_string();
    // Longer than a name may be.
    let to = folder.path().join("x".repeat(300)).display().to_string();
    check_refused(&[&dense, &to, "--to", "hf-bf16"], 1, &[&format!("{to}: cannot be written")]);
    let file = format!("{to}.gguf");
    check_refused(&[&dense, &file, "--to", "gguf-bf16"], 1, &[&format!("{file}: cannot be written")]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    if cfg!(target_os = "linux") {
        let found = convert(&[&dense, "/proc/out", "--to", "hf-bf16"]);
        assert_eq!(found.failure(), Some(1), "{}", found.stderr);
        assert!(found.stderr.contains("/proc/out: cannot be written: "), "{}", found.stderr);
        assert!(!found.stderr.contains(".tercet-"), "{}", found.stderr);
    }
}

#[test]
fn a_template_without_a_tokenizer_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (model, file) = (path("model"), path("model.gguf"));
    convert(&[&model, "--to", "hf-packed", "--no-verify"]).success();
    fs::remove_file(folder.path().join("model/tokenizer.json")).unwrap();
    check_refused(
        &[&model, &file, "--to", "gguf-i2_s"],
        3,
        &["tokenizer.json: the metadata of a GGUF file cannot hold a chat template without a tokenizer"],
    );
    assert!(!Path::new(&file).exists());
    convert(&[&model, &path("again"), "--to", "hf-packed"]).success();
}

#[test]
fn side_files_that_are_no_json_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let model = path("model");
    convert(&[&model, "--to", "hf-packed", "--no-verify"]).success();
    for (text, says) in [("[]", "found a list, expected an object"), ("{", "EOF while parsing an object")] {
        fs::write(folder.path().join("model/tokenizer_config.json"), text).unwrap();
        let says = format!("tokenizer_config.json: cannot be parsed: {says}");
        check_refused(&[&model, &path("out.gguf"), "--to", "gguf-i2_s"], 3, &[&says]);
    }
}

#[test]
fn norms_of_other_places_are_told_apart_in_words() {
    let models = ["bitnet-packed-h100", "llama-bitlinear-rmsnorm-h100"];
    let [one, other] = models.map(|name| golden().join(name));
    let found = tercet(["verify".as_ref(), one.as_os_str(), other.as_os_str()]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    for says in [
        "norms before `o_proj` and `down_proj` are in the first alone",
        "norms inside every linear are in the second alone",
    ] {
        assert!(found.stdout.contains(says), "{}", found.stdout);
    }
}

#[test]
fn a_card_calls_ternary_models_alone_bitnet() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let card = |name: &str| fs::read_to_string(folder.path().join(name).join("README.md")).unwrap();
    let dense = golden().join("llama-dense-h48-f32").display().to_string();
    let packed = golden().join("llama-bitlinear-h96-headdim").display().to_string();
    for (model, form, begins) in [
        (&dense, "hf-bf16", "# llama-dense-h48-f32, converted\n"),
        (&packed, "hf-dequantized", "# llama-bitlinear-h96-headdim, converted\n"),
        (&packed, "hf-bf16", "---\ntags:\n- bitnet\n---\n\n# llama-bitlinear-h96-headdim, converted\n"),
    ] {
        let to = format!("{form}-{}", begins.len());
        convert(&[model, &path(&to), "--to", form, "--no-verify"]).success();
        assert!(card(&to).starts_with(begins), "{form}: {}", card(&to));
    }
}
