//! transformers loads the folder of a trained model, and what it is converted to, and computes the same logits.
//!
//! Two implementations add in different orders, so the last bits differ, and where an activation
//! lies within them of a rounding tie its code does too: a flip changes a logit by some 1e-3 of the
//! greatest. Logits must agree within `CLOSE`, or, where flips explain it, in the median.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use safetensors::SafeTensors;
use tercet::convert::Target;
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

use super::converted::convert;
use super::tiny_run;
use crate::process;
use crate::report::Report;

/// Difference of two f32 implementations, relative to the greatest logit.
const CLOSE: f32 = 1e-4;
/// What rounding flips may add to the greatest difference.
const FLIPPED: f32 = 5e-2;
const TEXT: &str = "the owl sees a moon.\n one bear sings, ünknown 42";

/// Placements of norms: what is changed in the run, and whether transformers norms twice.
const MODELS: [(&str, &[&str], bool); 7] = [
    ("sub-norms, relu2 (BitNet 2B4T)", &["model.norms=sub", "model.hidden_act=relu2"], false),
    ("sub-norms, silu", &["model.norms=sub"], false),
    ("1bitllm, packed under the names of 2B4T", &["model.norms=1bitllm"], false),
    ("pre-norms, ternary LLaMA", &["model.norms=pre"], false),
    ("pre-norms and norms inside linears", &["model.norms=pre-and-in-linear"], false),
    ("norms inside linears only (Training Tips)", &["model.norms=in-linear"], true),
    ("dense LLaMA", &["model.linears=dense"], false),
];

/// The forms that transformers has classes for.
const FORMS: [Target; 4] = [Target::HfPacked, Target::HfAutoBitLinear, Target::HfBf16, Target::HfDequantized];

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    for (name, changes, is_normed_twice) in MODELS {
        let folder = tempfile::tempdir()?;
        let model = tiny_run::run(folder.path(), changes, None)?.join("model");
        check_folder(python, name, &model, is_normed_twice, report)?;
        for target in FORMS {
            let to = folder.path().join(target.name());
            match convert(&model, &to, target, None) {
                Ok(()) => {
                    check_folder(python, &format!("{name}, as {target}"), &to, is_normed_twice, report)?;
                }
                // The table of docs/models.md says which forms a family has not.
                Err(error) => println!("  {name}, as {target}: {error}"),
            }
        }
    }
    Ok(())
}

/// Lets transformers load a folder, and compares what it computes and encodes.
fn check_folder(
    python: &str,
    name: &str,
    model: &Path,
    is_normed_twice: bool,
    report: &mut Report,
) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (tokens, ours) = own_logits(&Source::folder(model)?)?;
    let ids = scratch.path().join("ids.json");
    fs::write(&ids, serde_json::to_vec(&tokens)?)?;
    let out = scratch.path().join("logits.safetensors");
    let [model, ids, out_text] = [model, &ids, &out].map(|path| path.display().to_string());
    let arguments = ["tools/interop/transformers_logits.py", &model, &ids, &out_text, "--text", TEXT];
    let told = super::json_of(&mut process::command(python, &arguments))?;
    let theirs = logits_of(&out)?;
    let is_whole = told["unexpected"] == serde_json::json!([])
        && told["mismatched"] == serde_json::json!([])
        && (told["missing"] == serde_json::json!([]) || is_normed_twice);
    let class = told["class"].as_str().unwrap_or("no class");
    super::check(report, name, is_whole, &format!("{class} has a place for every tensor"));
    let (greatest, median) = differences(&ours, &theirs);
    let is_close = greatest <= CLOSE || (median <= CLOSE && greatest <= FLIPPED);
    let detail = format!("logits differ by {greatest:.1e} at most, {median:.1e} in the median");
    super::check(report, name, is_close, &detail);
    let is_same_text = told["ids"] == serde_json::json!(tokens) && told["decoded_plain"] == TEXT;
    super::check(report, name, is_same_text, "AutoTokenizer gives the same tokens and the text back");
    Ok(())
}

/// The tokens of the text, and the logits of each, from a cache of f32.
fn own_logits(source: &Source) -> Result<(Vec<u32>, Vec<f32>)> {
    let model = Model::load(source, Arc::new(Pool::new(Isa::best(), 1)), Layout::TwoBit)?;
    let tokens = Tokenizer::read(source, model.config())?.encode(TEXT, true)?;
    let rows = tokens.len();
    let size = SessionSize { context: rows, max_rows: rows, max_logit_rows: rows };
    let mut session = Session::new(&model, size);
    let mut cache = session.new_cache(KvType::F32);
    let logits = session.forward(&mut [Sequence { tokens: &tokens, cache: &mut cache }], LogitRows::All)?;
    let logits = logits.to_vec();
    Ok((tokens, logits))
}

fn logits_of(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).context("transformers wrote no logits")?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let data = tensors.tensor("logits")?.data().to_vec();
    Ok(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The greatest and the median difference, relative to the greatest logit; infinite if there is
/// another number of logits.
fn differences(ours: &[f32], theirs: &[f32]) -> (f32, f32) {
    if ours.len() != theirs.len() {
        return (f32::INFINITY, f32::INFINITY);
    }
    let greatest = ours.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let mut all: Vec<f32> = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / greatest).collect();
    all.sort_by(f32::total_cmp);
    (all[all.len() - 1], all[all.len() / 2])
}
