//! What somebody reads who has made an ordinary mistake: each message whole, to the letter.

mod command;
#[path = "../../tercet/tests/gguf_file/mod.rs"]
mod gguf_file;
#[path = "../../hub/tests/server/mod.rs"]
mod server;

use std::fs;

use command::{command, golden, outcome, tercet};
use gguf_file::{File, Tensor, text_value};
use server::{COMMIT, Fault, Server, digest};

/// Positions of the preset that is too large here.
const PRESET_POSITIONS: usize = 2048;
/// What a run leaves among its checkpoints when it begins.
const LOCK_FILE: &str = ".lock";

/// Runs in a folder of its own that the message calls `HERE`, and wants this exit code and message.
#[track_caller]
fn check(arguments: &[&str], variables: &[(&str, &str)], code: i32, want: &str) {
    let here = tempfile::tempdir().unwrap();
    let model = here.path().join("models/stories");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    fs::write(here.path().join("mine.gguf"), "").unwrap();
    let without_tokenizer = here.path().join("models/new");
    fs::create_dir_all(&without_tokenizer).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden().join("bitnet-packed-h100").join(file), without_tokenizer.join(file)).unwrap();
    }
    let cut = here.path().join("models/cut");
    fs::create_dir_all(&cut).unwrap();
    let weights = fs::read(without_tokenizer.join("model.safetensors")).unwrap();
    fs::write(cut.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let run = here.path().join("runs/mine");
    fs::create_dir_all(run.join("checkpoints/step-00000040")).unwrap();
    fs::write(run.join("config.toml"), "# Of a run of `tercet train`: the same command goes on with it.\n")
        .unwrap();
    for checkpoints in ["runs/mine/checkpoints", "runs/new/checkpoints"] {
        let checkpoints = here.path().join(checkpoints);
        fs::create_dir_all(&checkpoints).unwrap();
        fs::write(checkpoints.join(LOCK_FILE), "").unwrap();
    }
    let home = here.path().join("home");
    let mut command = command();
    command.args(arguments).current_dir(here.path()).env("HF_HOME", home).envs(variables.iter().copied());
    let found = outcome(&mut command);
    assert_eq!(found.stdout, "");
    let stderr = found.stderr.replace(here.path().to_str().unwrap(), "HERE");
    assert_eq!((found.code, stderr.as_str()), (Some(code), want));
}

#[test]
fn a_name_of_the_hub_without_a_network() {
    for (variables, variable) in [
        (&[][..], "HF_HUB_OFFLINE"),
        (&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], "TRANSFORMERS_OFFLINE"),
    ] {
        check(
            &["run", "org/name@v2", "Once"],
            variables,
            4,
            &format!(
                "\
error: org/name@v2: not in the cache, and `{variable}` forbids to ask the Hub
hint: unset it, or run `tercet pull org/name@v2` where there is a network and bring `HERE/home/hub` here
"
            ),
        );
    }
}

#[test]
fn a_folder_without_a_tokenizer() {
    check(
        &["run", "models/new", "Once"],
        &[],
        3,
        "\
error: models/new: file `tokenizer.json` is missing
hint: text needs `tokenizer.json`; where a model has only `tokenizer.model`, load it in Python with \
`AutoTokenizer.from_pretrained` and use `save_pretrained`
",
    );
}

#[test]
fn the_folder_of_a_run() {
    check(
        &["run", "runs/mine", "Once"],
        &[],
        3,
        "\
error: runs/mine: found the folder of a run, expected that of a model
hint: the model of this run is `runs/mine/checkpoints/step-00000040`
",
    );
}

#[test]
fn the_model_of_a_run_that_has_not_ended() {
    check(
        &["run", "runs/mine/model", "Once"],
        &[],
        3,
        "\
error: runs/mine/model: found nothing, expected the model that a run leaves at its end
hint: the run has not ended; its newest checkpoint is a model too: `runs/mine/checkpoints/step-00000040`
",
    );
}

#[test]
fn folders_beside_a_model() {
    for (folder, want) in [
        (
            "runs/mine/checkpoints",
            "\
error: runs/mine/checkpoints: found the checkpoints of a run, expected the folder of a model
hint: the newest of them is `runs/mine/checkpoints/step-00000040`
",
        ),
        (
            "runs/new",
            "\
error: runs/new: found the folder of a run that has saved nothing yet, expected that of a model
hint: the first checkpoint of a run is its first model
",
        ),
        (
            "models",
            "\
error: models: found no `config.json`, expected the folder of a model
hint: there is a model in it: `models/new`
",
        ),
        (
            "runs",
            "\
error: runs: found no `config.json`, expected the folder of a model
hint: a model is a folder with `config.json`, `tokenizer.json` and `model.safetensors`, or one `.gguf` file
",
        ),
    ] {
        check(&["run", folder, "Once"], &[], 3, want);
    }
}

#[test]
fn a_misspelt_path() {
    check(
        &["run", "models/storys", "Once"],
        &[],
        3,
        "\
error: models/storys: found nothing, expected a model folder or a `.gguf` file
hint: the nearest existing one is `models/stories`; if a model of the Hub is meant, `tercet pull models/storys` first
",
    );
    check(
        &["run", "./model/stories", "Once"],
        &[],
        3,
        "\
error: ./model/stories: found nothing, expected a model folder or a `.gguf` file
hint: the nearest existing one is `./models/stories`
",
    );
}

#[test]
fn a_path_in_a_folder_without_models() {
    check(
        &["run", "runs/nope", "Once"],
        &[],
        3,
        "\
error: runs/nope: found nothing, expected a model folder or a `.gguf` file
hint: `runs` is a folder here that has no `nope`; if a model of the Hub is meant, `tercet pull runs/nope` first
",
    );
}

#[test]
fn a_misspelt_file_is_no_prompt() {
    check(
        &["run", "mine.ggf"],
        &[],
        3,
        "\
error: mine.ggf: found nothing, expected a model folder or a `.gguf` file
hint: the nearest existing one is `mine.gguf`
",
    );
}

#[test]
fn an_empty_file() {
    check(
        &["run", "mine.gguf", "Once"],
        &[],
        3,
        "\
error: mine.gguf: the file is empty
hint: the download may have been cut off: get the file again and compare its length
",
    );
}

#[test]
fn a_misspelt_name_of_the_hub() {
    let server = Server::new(&[]);
    check(
        &["pull", "org/nmae"],
        &[("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", &server.endpoint)],
        3,
        "\
error: org/nmae: the Hub has no such model or data set, or none that may be seen without a token
hint: look at the spelling; for a private model set `HF_TOKEN`, or log in with `hf auth login`
",
    );
}

#[test]
fn a_download_that_is_cut_off() {
    let weights = vec![7; 1000];
    let config = ("config.json", b"{}".to_vec(), false);
    let server = Server::new(&[("org/name", &[config, ("model.safetensors", weights.clone(), true)])]);
    server.fault(digest(&weights, true).leak(), 1, Fault::Cut(600));
    let host = server.storage().replace("http://", "");
    let home = tempfile::tempdir().unwrap();
    let mut command = command();
    command.args(["pull", "org/name"]).env("HF_HOME", home.path()).env("HF_HUB_OFFLINE", "0");
    let found = outcome(command.env("HF_ENDPOINT", &server.endpoint)).success();
    let want = format!(
        "\
downloading 2 files, 1.00 kB
config.json  2 B
{host}: the connection broke: Peer disconnected; trying again in 1 s
model.safetensors  1.00 kB
"
    );
    assert_eq!(found.stderr, want);
}

#[test]
fn a_file_that_was_cut_off() {
    check(
        &["run", "models/cut", "Once"],
        &[],
        3,
        "\
error: models/cut/model.safetensors: found 31606 bytes of data, expected 67116 as the header says
hint: the file is probably cut short: download or copy it again
",
    );
}

#[test]
fn a_download_of_other_bytes() {
    let weights = vec![7; 1000];
    let config = ("config.json", b"{}".to_vec(), false);
    let server = Server::new(&[("org/name", &[config, ("model.safetensors", weights.clone(), true)])]);
    let other = vec![8; 1000];
    let [wanted, found] = [&weights, &other].map(|bytes| digest(bytes, true));
    server.fault(wanted.clone().leak(), 1, Fault::Body(other));
    let want = format!(
        "\
downloading 2 files, 1.00 kB
config.json  2 B
error: org/name: file `model.safetensors`: the bytes that came have digest {found}, expected {wanted}
hint: it was thrown away; try again
"
    );
    let variables = [("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", server.endpoint.as_str())];
    check(
        &["pull", &format!("org/name@{COMMIT}")],
        &variables,
        1,
        &want.replace("org/name:", &format!("org/name@{COMMIT}:")),
    );
}

#[test]
fn flags_of_other_programs() {
    for (arguments, want) in [
        (
            &["run", "-hf", "org/name"][..],
            "\
error: found llama.cpp's flag `-hf`, which `tercet run` does not have
hint: it is not needed: `tercet run org/name`
",
        ),
        (
            &["run", "mine.gguf", "-ngl", "99"],
            "\
error: found llama.cpp's flag `-ngl`, which `tercet run` does not have
hint: there is no GPU here: leave it out
",
        ),
        (
            &["run", "mine.gguf", "--n-gpu-layers=99"],
            "\
error: found llama.cpp's flag `--n-gpu-layers`, which `tercet run` does not have
hint: there is no GPU here: leave it out
",
        ),
        (
            &["run", "-no-cnv", "Once"],
            "\
error: found llama.cpp's flag `-no-cnv`, which `tercet run` does not have
hint: `tercet run` continues a text and never converses: leave it out
",
        ),
        (
            &["serve", "--gpu-memory-utilization", "0.9"],
            "\
error: found vLLM's flag `--gpu-memory-utilization`, which `tercet serve` does not have
hint: `--cache-memory 4G` of `tercet serve` bounds keys and values, in the machine's own memory
",
        ),
        (
            &["chat", "--format", "json"],
            "\
error: found Ollama's flag `--format`, which `tercet chat` does not have
hint: `response_format` of a request to `tercet serve` takes a JSON schema
",
        ),
    ] {
        check(arguments, &[], 2, want);
    }
}

#[test]
fn a_flag_that_is_none() {
    check(
        &["run", "--colours", "Once"],
        &[],
        2,
        "\
error: unexpected argument '--colours' found

Usage: tercet run [OPTIONS] [MODEL] [PROMPT]

For more information, try '--help'.
",
    );
}

#[test]
fn a_form_without_its_beginning() {
    check(
        &["convert", "mine.gguf", "out.gguf", "--to", "I2_S"],
        &[],
        2,
        "\
error: invalid value 'I2_S' for '--to <FORM>'
  [possible values: hf-packed, hf-autobitlinear, hf-bf16, hf-dequantized, gguf-i2_s, gguf-tq1_0, gguf-tq2_0, \
gguf-f16, gguf-bf16]

  tip: a similar value exists: 'gguf-i2_s'

For more information, try '--help'.
",
    );
}

#[test]
fn a_text_without_quotes() {
    for (arguments, usage, tip) in [
        (
            &["run", "Once", "upon", "a", "time"][..],
            "error: unexpected argument 'a' found",
            "a text of several words wants quotes: `\"Once upon a time\"`",
        ),
        (
            &["run", "mine.gguf", "Once", "upon"],
            "error: unexpected argument 'upon' found",
            "a text of several words wants quotes: `\"Once upon\"`",
        ),
        (
            &["run", "-n", "3", "Once", "upon", "a"],
            "error: unexpected argument 'a' found",
            "a text of several words wants quotes: `\"…\"`",
        ),
        (
            &["chat", "mine.gguf", "What is this?"],
            "error: unexpected argument 'What is this?' found",
            "one thing is asked by `-p`, in quotes: `-p \"What is this?\"`",
        ),
    ] {
        let found = tercet(arguments);
        assert_eq!((found.code, found.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        let begins = format!("{usage}\n\n  tip: {tip}\n\nUsage: ");
        assert!(found.stderr.starts_with(&begins), "{arguments:?}: {}", found.stderr);
    }
}

#[test]
fn the_address_of_a_model_for_its_name() {
    for address in ["hf.co/org/name", "https://huggingface.co/org/name"] {
        let want = format!(
            "\
error: {address}: found nothing, expected a model folder or a `.gguf` file
hint: a model of the Hub is named by `org/name` alone: `org/name`
"
        );
        check(&["run", address, "Once"], &[], 3, &want);
    }
}

#[test]
fn an_unknown_value_of_a_flag() {
    check(
        &["run", "--kv", "f8", "Once"],
        &[],
        2,
        "\
error: invalid value 'f8' for '--kv <TYPE>'
  [possible values: f32, f16, int8]

For more information, try '--help'.
",
    );
}

/// A GGUF file of a model whose one linear is of a type with this number.
fn gguf_of_type(architecture: &str, number: u32) -> Vec<u8> {
    let metadata = vec![("general.architecture".to_owned(), text_value(architecture))];
    let tensors = vec![Tensor::new("blk.0.attn_q.weight", &[256, 256], number, 0)];
    File {
        metadata,
        tensors,
        alignment: 32,
        data: vec![0; 1 << 17],
        ..File::of_tokenizer("llama", 1, vec![])
    }
    .bytes()
}

#[test]
fn something_else_by_the_name_of_a_gguf_file() {
    check_file(
        "page.gguf",
        b"<!doctype html>",
        "\
error: page.gguf: found the first bytes `<!do`, expected `GGUF`
hint: it is no GGUF file, whatever its name: a page or a Git LFS pointer perhaps, in place of what was to be downloaded
",
    );
}

#[test]
fn a_result_by_another_name() {
    check(
        &["convert", "models/new", "out.bin", "--to", "gguf-i2_s"],
        &[],
        2,
        "\
error: out.bin: found no `.gguf` at the end, expected it for `--to gguf-i2_s`
hint: a file would be `out.gguf`
",
    );
}

#[test]
fn a_model_that_the_empty_cache_has_not() {
    check(
        &["rm", "nope/x"],
        &[],
        3,
        "\
error: HERE/home/hub: found no model `nope/x`
hint: the cache of the Hub, `HERE/home/hub`, is empty
",
    );
}

#[test]
fn a_dense_model_in_few_bits() {
    check_file(
        "model-Q4_K_M.gguf",
        &gguf_of_type("llama", 12),
        "\
error: model-Q4_K_M.gguf: tensor `blk.0.attn_q.weight` is of type 12, Q4_K: a dense model in few bits, \
expected a ternary one
hint: llama.cpp runs such models; tercet runs ternary ones, and dense ones in F32, F16 and BF16
",
    );
}

#[test]
fn a_file_of_tl2() {
    check_file(
        "ggml-model-tl2.gguf",
        &gguf_of_type("bitnet-b1.58", 39),
        "\
error: ggml-model-tl2.gguf: tensor `blk.0.attn_q.weight` is of type 39, bitnet.cpp's TL2 or llama.cpp's \
MXFP4: two programs mean different types by this number
hint: get the same model as I2_S, TQ1_0 or TQ2_0, or as safetensors
",
    );
}

/// Runs a file of these bytes.
#[track_caller]
fn check_file(name: &str, bytes: &[u8], want: &str) {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join(name), bytes).unwrap();
    let found = outcome(command().args(["run", name, "Once"]).current_dir(here.path()));
    assert_eq!((found.code, found.stderr.as_str()), (Some(3), want));
}

#[test]
fn plain_llama_where_a_ternary_model_is_wanted() {
    let here = tempfile::tempdir().unwrap();
    let mut command = command();
    command
        .args(["convert", "llama-dense-h48-f32"])
        .arg(here.path().join("out.gguf"))
        .args(["--to", "gguf-i2_s"]);
    let found = outcome(command.current_dir(golden()));
    let want = "\
error: llama-dense-h48-f32: found a dense model, expected one that was trained with ternary weights for `gguf-i2_s`: \
rounded to -1, 0 and +1 its weights give gibberish
hint: make it ternary by training: `tercet train` with `model.from` continues from a dense model; `--force` rounds it \
all the same
";
    assert_eq!((found.code, found.stderr.as_str()), (Some(3), want));
}

#[test]
fn not_enough_memory() {
    let found = outcome(command().args([
        "run",
        "--preset",
        "700m",
        "-c",
        "99999999",
        "-n",
        "99999999",
        "Once upon a time",
    ]));
    // How much there is differs from machine to machine.
    let is_size = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '.') && !word.is_empty();
    let words = |line: &str| -> String {
        let shown =
            line.split(' ').map(|word| if is_size(word.trim_start_matches('(')) { "N" } else { word });
        shown.collect::<Vec<_>>().join(" ").replace(" TB", " GB").replace(" MB", " GB")
    };
    let stderr: Vec<String> = found.stderr.lines().map(words).collect();
    assert_eq!(found.code, Some(5), "{}", found.stderr);
    assert_eq!(stderr[0], "error: preset 700m: needs N GB of memory (N GB weights, N GB cache, N GB buffers), but N GB of N GB are available".replace("(N", "N"));
    let offered = found.stderr.split("hint: with `--ctx-size ").nth(1).unwrap_or_default();
    let offered: usize = offered.split('`').next().unwrap_or_default().parse().unwrap_or(usize::MAX);
    assert!(offered <= PRESET_POSITIONS, "{}", found.stderr);
}

#[test]
fn a_prompt_that_is_too_long() {
    let found =
        outcome(command().args(["run", "-c", "8", "Once upon a time there was a girl who had a red ball"]));
    let want = "\
error: the prompt has 20 tokens, expected at most 8 in this context
hint: shorten the prompt, or raise `--ctx-size`: the model was trained for 512 positions
";
    assert_eq!((found.code, found.stderr.as_str()), (Some(1), want));
    let found = outcome(command().args(["run", &"word ".repeat(600)]));
    let want = "hint: shorten the prompt: the model was trained for 512 positions, and a greater `--ctx-size` goes \
                beyond them\n";
    assert_eq!(found.code, Some(1));
    assert!(found.stderr.ends_with(want), "{}", found.stderr);
}
