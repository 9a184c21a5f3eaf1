//! Conversions do what the table of `docs/models.md` says, for every family and form, and back again.

mod family_folders;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use family_folders::FAMILIES;
use tercet::checkpoint::Dtype;
use tercet::convert::{Change, Conversion, ConvertError, Options, TableType, Target};
use tercet::embedded;
use tercet::model::Model;
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet::verify::{
    Check, OnDisk, Outcome, compare_logits, compare_shapes, compare_templates, compare_tokenizers,
    compare_weights, logits_of, prompts,
};
use tercet_kernels::{Isa, Layout, Pool};

fn pool() -> Pool {
    Pool::new(Isa::best(), 2)
}

fn options(target: Target) -> Options {
    Options { target, head: None, force: false }
}

/// Converts a model; the result's place and what is not as it was.
fn convert(model: &OnDisk, options: &Options, to: &Path) -> Result<Vec<Change>, Box<ConvertError>> {
    let pool = pool();
    let OnDisk { source, checkpoint, config } = model;
    let mut planned = 0;
    let mut conversion = Conversion::new(&pool, source, checkpoint, config, options, &mut |done_bytes| {
        assert!(planned < done_bytes && done_bytes <= checkpoint.size_bytes());
        planned = done_bytes;
    })
    .map_err(Box::new)?;
    assert!(planned > 0);
    let (mut heard, mut times) = (0, 1);
    conversion.write(to, &mut |written| {
        if written == 0 && heard > 0 {
            times += 1;
        } else {
            assert!(written > heard || heard == 0);
        }
        heard = written;
        ControlFlow::Continue(())
    })?;
    assert!(times <= 2 && heard == conversion.size_bytes());
    Ok(conversion.changes().to_vec())
}

fn open(path: &Path) -> OnDisk {
    let source = if path.is_dir() { Source::folder(path).unwrap() } else { Source::gguf(path).unwrap() };
    OnDisk::open(source).unwrap()
}

/// All comparisons of two models.
fn compare(a: &OnDisk, b: &OnDisk) -> Vec<Check> {
    let pool = std::sync::Arc::new(pool());
    let mut checks = vec![compare_shapes(&a.config, &b.config)];
    checks.extend(compare_weights(&pool, a, b).unwrap());
    let tokenizers = [a, b].map(|model| Tokenizer::read(&model.source, &model.config).unwrap());
    let [own, other] = &tokenizers;
    checks.push(compare_tokenizers(own, other, a.config.vocab_size).unwrap());
    let prompts = prompts(Some(own), &a.config).unwrap();
    let logits = [a, b].map(|model| {
        let loaded = Model::load(&model.source, std::sync::Arc::clone(&pool), Layout::TwoBit).unwrap();
        logits_of(&loaded, &prompts).unwrap()
    });
    let is_rounded = !checks.iter().all(is_exact);
    checks.push(compare_logits(&logits[0], &logits[1], a.config.vocab_size, is_rounded));
    checks
}

fn is_exact(check: &Check) -> bool {
    matches!(check.outcome, Outcome::Equal | Outcome::Skipped)
}

/// The first word of each cell of the table, by family and form.
fn table() -> Vec<(String, Vec<(Target, String)>)> {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/models.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let lines = page.lines().skip_while(|line| !line.starts_with("| from \\ to |"));
    let lines: Vec<Vec<String>> = lines.take_while(|line| line.starts_with('|')).map(cells).collect();
    let named = |name: &str| Target::ALL.iter().find(|(own, _)| name == format!("`{own}`")).unwrap().1;
    let targets: Vec<Target> = lines[0][1..].iter().map(|name| named(name)).collect();
    let row = |line: &Vec<String>| {
        let word = |cell: &String| cell.split([' ', ':']).next().unwrap_or_default().to_owned();
        let words = line[1..].iter().map(word);
        (line[0].trim_matches('`').to_owned(), targets.iter().copied().zip(words).collect())
    };
    lines[2..].iter().map(row).collect()
}

#[test]
fn every_family_becomes_what_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let table = table();
    assert_eq!(table.len(), FAMILIES.len());
    for (family, cells) in table {
        assert_eq!(cells.len(), Target::ALL.len());
        let source = folder.path().join(&family);
        family_folders::write(&family, &source);
        let model = open(&source);
        for (target, want) in cells {
            let to = result_path(folder.path(), &family, target);
            let got = match convert(&model, &options(target), &to) {
                Err(error) => {
                    assert!(error.hint().is_some(), "{family} to {target}: {error}");
                    assert!(!to.exists());
                    "refused"
                }
                Ok(changes) => {
                    let checks = compare(&model, &open(&to));
                    let wrong = checks.iter().find(|check| check.is_wrong());
                    assert!(wrong.is_none(), "{family} to {target}: {wrong:?}");
                    let is_equal = checks.iter().all(is_exact);
                    assert_eq!(is_equal, changes.is_empty(), "{family} to {target}: {changes:?}, {checks:?}");
                    match changes.as_slice() {
                        [] => "exact",
                        changes if changes.contains(&Change::Dequantized) => "dense",
                        _ => "rounded",
                    }
                }
            };
            assert_eq!(got, want, "{family} to {target}");
        }
    }
}

fn result_path(folder: &Path, family: &str, target: Target) -> PathBuf {
    let end = if target.gguf_type().is_some() { ".gguf" } else { "" };
    folder.join(format!("{family}-to-{target}{end}"))
}

#[test]
fn what_is_exact_there_is_exact_back_again() {
    let folder = tempfile::tempdir().unwrap();
    for (family, cells) in table().into_iter().filter(|(family, _)| !family.starts_with("dense")) {
        let source = folder.path().join(&family);
        family_folders::write(&family, &source);
        let model = open(&source);
        for (target, _) in cells.into_iter().filter(|(_, cell)| cell == "exact") {
            let to = result_path(folder.path(), &family, target);
            convert(&model, &options(target), &to).unwrap();
            let back = folder.path().join(format!("{family}-{target}-back"));
            assert_eq!(
                convert(&open(&to), &options(Target::HfPacked), &back).unwrap(),
                [],
                "{family}, {target}"
            );
            let checks = compare(&model, &open(&back));
            assert!(
                checks.iter().all(|check| check.outcome == Outcome::Equal),
                "{family}, {target}: {checks:?}"
            );
        }
    }
}

/// The table's cells are of sources in bf16; what `tercet train` leaves has an embedding of f32.
#[test]
fn an_embedding_of_f32_is_rounded_in_folders_of_bf16_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = OnDisk::open(embedded::stories()).unwrap();
    let embedding = model.checkpoint.get("model.embed_tokens.weight").unwrap();
    assert_eq!(embedding.dtype, Dtype::F32);
    let elements = embedding.shape.iter().product::<usize>() as u64;
    let rounded = (vec![Change::Tables("bf16")], Outcome::Rounded);
    let exact = (vec![], Outcome::Equal);
    for (target, want) in [
        (Target::HfBf16, &rounded),
        (Target::HfPacked, &exact),
        (Target::HfAutoBitLinear, &exact),
        (Target::GgufI2S, &exact),
    ] {
        let to = result_path(folder.path(), "stories", target);
        let changes = convert(&model, &options(target), &to).unwrap();
        let checks = compare_weights(&pool(), &model, &open(&to)).unwrap();
        let floats = checks.iter().find(|check| check.name == "floats").unwrap();
        assert_eq!((changes, floats.outcome), *want, "{target}: {floats:?}");
        assert!(floats.differing <= elements, "{target}: norms stay as they are");
    }
}

#[test]
fn heads_are_rounded_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("bitnet-packed");
    family_folders::write("bitnet-packed", &source);
    let model = open(&source);
    for (name, head) in TableType::ALL {
        let to = folder.path().join(format!("{name}.gguf"));
        let changes =
            convert(&model, &Options { head: Some(head), ..options(Target::GgufI2S) }, &to).unwrap();
        let checks = compare(&model, &open(&to));
        let floats = checks.iter().find(|check| check.name == "floats").unwrap();
        // The embedding is stored in bf16, of small numbers that f16 holds too.
        let want = match head {
            TableType::F16 | TableType::Bf16 => (Outcome::Equal, vec![]),
            TableType::Q8_0 | TableType::Q6K => (Outcome::Rounded, vec![Change::Tables(name)]),
        };
        assert_eq!((floats.outcome, changes), want, "{name}: {floats:?}");
    }
}

#[test]
fn a_dense_model_is_rounded_by_force_alone() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("dense-llama");
    family_folders::write("dense-llama", &source);
    let model = open(&source);
    for target in [Target::HfPacked, Target::GgufI2S] {
        let to = result_path(folder.path(), "dense", target);
        let error = convert(&model, &options(target), &to).unwrap_err();
        assert!(
            error.to_string().contains("gibberish") && error.hint().unwrap().contains("--force"),
            "{error}"
        );
        let forced = Options { force: true, ..options(target) };
        assert_eq!(convert(&model, &forced, &to).unwrap(), [Change::Quantized]);
        assert!(open(&to).config.ternary_parameters() > 0);
    }
}

#[test]
fn nothing_is_left_of_a_conversion_that_stops_or_fails() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("bitnet-packed");
    family_folders::write("bitnet-packed", &source);
    let model = open(&source);
    let pool = pool();
    for target in [Target::HfPacked, Target::GgufI2S] {
        let to = result_path(folder.path(), "stopped", target);
        let new = || {
            let OnDisk { source, checkpoint, config } = &model;
            Conversion::new(&pool, source, checkpoint, config, &options(target), &mut |_| {}).unwrap()
        };
        let error = new().write(&to, &mut |_| ControlFlow::Break(())).unwrap_err();
        assert!(matches!(error, ConvertError::Stopped), "{error}");
        std::fs::write(&to, "mine").unwrap();
        let error = new().write(&to, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, ConvertError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "mine");
        std::fs::remove_file(&to).unwrap();
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["bitnet-packed"]);
}

#[test]
fn a_damaged_weight_stops_a_conversion() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("bitnet-packed");
    family_folders::write("bitnet-packed", &source);
    let path = source.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let range = place_of(&bytes, &source, "model.layers.1.mlp.up_proj.weight");
    bytes[range.end - 1] |= 3;
    std::fs::write(&path, bytes).unwrap();
    let to = folder.path().join("out.gguf");
    let error = convert(&open(&source), &options(Target::GgufI2S), &to).unwrap_err();
    assert!(
        error.to_string().contains("up_proj.weight`: row") && error.to_string().contains("code 3"),
        "{error}"
    );
    assert!(!to.exists() && !folder.path().join("out.gguf.partial").exists());
}

#[test]
fn a_scale_below_the_range_of_a_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("bitnet-masters");
    family_folders::write("bitnet-masters", &source);
    let path = source.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let range = place_of(&bytes, &source, "model.layers.1.mlp.up_proj.weight");
    // All weights are one subnormal number, whether it has two bytes or four.
    for (i, byte) in bytes[range].iter_mut().enumerate() {
        *byte = u8::from(i % 2 == 0);
    }
    std::fs::write(&path, bytes).unwrap();
    for (target, want) in [(Target::GgufBf16, "bf16"), (Target::GgufF16, "f16")] {
        let to = folder.path().join("out.gguf");
        let error = convert(&open(&source), &options(target), &to).unwrap_err();
        assert!(matches!(*error, ConvertError::ScaleRange { number, .. } if number == want), "{error}");
    }
}

/// Without a weight that is 0, masters all have the magnitude of the scale, and this one is no bf16.
#[test]
fn masters_that_bf16_has_not_are_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("bitnet-packed");
    family_folders::write("bitnet-packed", &source);
    let path = source.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let (name, other) = ("model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight");
    // Four codes a byte: 0 and 2, which are -1 and +1.
    let place = place_of(&bytes, &source, name);
    bytes[place].fill(0b10_00_10_00);
    std::fs::write(&path, bytes).unwrap();
    let (model, to) = (open(&source), folder.path().join("bf16"));
    assert_eq!(convert(&model, &options(Target::HfBf16), &to).unwrap(), []);
    let result = open(&to);
    let dtypes = [name, other].map(|name| result.checkpoint.get(name).unwrap().dtype);
    assert_eq!(dtypes, [Dtype::F32, Dtype::BF16]);
    assert!(compare(&model, &result).iter().all(is_exact));
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "nothing is left of what was written first");
}

/// Where the bytes of a tensor are in the one file of a folder.
fn place_of(file: &[u8], folder: &Path, name: &str) -> std::ops::Range<usize> {
    let model = open(folder);
    let tensor = model.checkpoint.get(name).unwrap().bytes;
    let start = file.windows(tensor.len()).position(|window| window == tensor).unwrap();
    start..start + tensor.len()
}

#[test]
fn a_difference_of_each_kind_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    family_folders::write("bitnet-packed", &one);
    family_folders::write("bitnet-packed", &other);
    let path = other.join("model.safetensors");
    let original = std::fs::read(&path).unwrap();
    for (name, check) in [
        ("model.layers.1.mlp.up_proj.weight", "codes"),
        ("model.layers.0.self_attn.k_proj.weight_scale", "scales"),
        ("model.embed_tokens.weight", "floats"),
        ("model.norm.weight", "floats"),
    ] {
        let mut bytes = original.clone();
        let place = place_of(&bytes, &other, name);
        match check {
            // Another code in the lowest plane: 1 in place of 0, and 0 in place of the others.
            "codes" => bytes[place.start] = (bytes[place.start] & !3) + (bytes[place.start] & 3 == 0) as u8,
            _ => bytes[place.start] ^= 1,
        }
        assert_ne!(bytes, original);
        std::fs::write(&path, bytes).unwrap();
        let wrong: Vec<&str> = compare(&open(&one), &open(&other))
            .iter()
            .filter(|check| check.is_wrong())
            .map(|check| check.name)
            .collect();
        assert_eq!(wrong, [check], "{name}");
    }
}

/// The model of a family whose templates of chats are those of a field.
fn with_templates(folder: &Path, field: &serde_json::Value) -> OnDisk {
    family_folders::write("bitnet-packed", folder);
    let config = serde_json::json!({ "chat_template": field });
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    open(folder)
}

#[test]
fn templates_with_names_go_along() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| serde_json::json!({"name": name, "template": format!("of {name}")});
    for (number, names) in [vec!["tool_use"], vec!["default", "rag", "tool_use"]].into_iter().enumerate() {
        let field = names.iter().map(|name| named(name)).collect();
        let path = |what: &str| folder.path().join(format!("{number}{what}"));
        let model = with_templates(&path(""), &field);
        convert(&model, &options(Target::GgufI2S), &path(".gguf")).unwrap();
        convert(&open(&path(".gguf")), &options(Target::HfPacked), &path("-back")).unwrap();
        for result in [".gguf", "-back"] {
            let check = compare_templates(&model.source, &open(&path(result)).source).unwrap();
            assert_eq!(check.outcome, Outcome::Equal, "{names:?}, {result}: {}", check.detail);
        }
        let back = std::fs::read(path("-back").join("tokenizer_config.json")).unwrap();
        let back: serde_json::Value = serde_json::from_slice(&back).unwrap();
        assert_eq!(back["chat_template"], field);
    }
}

#[test]
fn templates_in_files_of_their_own_go_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = |what: &str| folder.path().join(what);
    family_folders::write("bitnet-packed", &path("model"));
    let files = ["chat_template.jinja", "additional_chat_templates/rag.jinja"];
    std::fs::create_dir(path("model/additional_chat_templates")).unwrap();
    for file in files {
        std::fs::write(path("model").join(file), file).unwrap();
    }
    let model = open(&path("model"));
    convert(&model, &options(Target::GgufI2S), &path("file.gguf")).unwrap();
    convert(&model, &options(Target::HfPacked), &path("copy")).unwrap();
    for result in ["file.gguf", "copy"] {
        let check = compare_templates(&model.source, &open(&path(result)).source).unwrap();
        assert_eq!(check.outcome, Outcome::Equal, "{result}: {}", check.detail);
    }
    for file in files {
        assert_eq!(std::fs::read_to_string(path("copy").join(file)).unwrap(), file);
    }
    let config = open(&path("file.gguf")).source.read("tokenizer_config.json").unwrap().into_owned();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let [default, rag] = [("default", files[0]), ("rag", files[1])]
        .map(|(name, text)| serde_json::json!({"name": name, "template": text}));
    assert_eq!(config["chat_template"], serde_json::json!([default, rag]));
}

#[test]
fn templates_that_a_gguf_file_cannot_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| serde_json::json!({"name": name, "template": ""});
    let many: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
    for (number, (field, want)) in [
        (
            serde_json::json!([named("a.b")]),
            "tokenizer_config.json: the metadata of a GGUF file cannot hold a chat template named `a.b`: such names",
        ),
        (many.iter().map(|name| named(name)).collect(), "cannot hold 65 named chat templates, more than 64"),
        (serde_json::json!("t".repeat(1_048_577)), "cannot hold a chat template of 1048577 bytes"),
        (serde_json::json!([named("a"), named("a")]), "`chat_template` is a list with two named `a`"),
    ]
    .into_iter()
    .enumerate()
    {
        let model = with_templates(&folder.path().join(number.to_string()), &field);
        let error = convert(&model, &options(Target::GgufI2S), &folder.path().join("out.gguf")).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
    let path = folder.path().join("files");
    family_folders::write("bitnet-packed", &path);
    std::fs::create_dir(path.join("additional_chat_templates")).unwrap();
    for (name, template, want) in [
        ("long", "t".repeat(1_048_577), "chat templates of "),
        ("a.b", "t".to_owned(), "a chat template named `a.b`"),
    ] {
        let file = path.join(format!("additional_chat_templates/{name}.jinja"));
        std::fs::write(&file, template).unwrap();
        let out = folder.path().join("out.gguf");
        let error = convert(&open(&path), &options(Target::GgufI2S), &out).unwrap_err().to_string();
        let want = format!("{}: the metadata of a GGUF file cannot hold {want}", file.display());
        assert!(error.starts_with(&want), "{error}");
        std::fs::remove_file(file).unwrap();
    }
}
