//! What somebody reads who has made an ordinary mistake: each message whole, to the letter.

mod command;
#[path = "../../hub/tests/server/mod.rs"]
mod server;

use std::fs;

use command::{command, golden, outcome};
use server::{COMMIT, Fault, Server, digest};

/// Runs in a folder of its own that the message calls `HERE`, and wants this exit code and message.
#[track_caller]
fn check(arguments: &[&str], variables: &[(&str, &str)], code: i32, want: &str) {
    let here = tempfile::tempdir().unwrap();
    let model = here.path().join("models/stories");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    let without_tokenizer = here.path().join("models/new");
    fs::create_dir_all(&without_tokenizer).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden().join("bitnet-packed-h100").join(file), without_tokenizer.join(file)).unwrap();
    }
    let cut = here.path().join("models/cut");
    fs::create_dir_all(&cut).unwrap();
    let weights = fs::read(without_tokenizer.join("model.safetensors")).unwrap();
    fs::write(cut.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
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
    check(
        &["run", "org/name@v2", "Once"],
        &[],
        4,
        "\
error: org/name@v2: not in the cache, and `HF_HUB_OFFLINE` forbids to ask the Hub
hint: unset it, or run `tercet pull org/name@v2` where there is a network and bring `HERE/home/hub` here
",
    );
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
fn a_misspelt_name_of_the_hub() {
    let server = Server::new(&[]);
    check(
        &["pull", "org/nmae"],
        &[("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", &server.endpoint)],
        3,
        "\
error: org/nmae: the Hub has no such model, or none that may be seen without a token
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
