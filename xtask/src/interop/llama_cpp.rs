//! llama.cpp loads the files that it has types for, and goes on a prompt with the same tokens.
//!
//! It quantises activations by blocks of 256 where the model was trained with one scale a token, so its logits are
//! close and not equal: greedy tokens may part where two are nearly as likely.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;
use tercet::convert::Target;
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

use super::converted::{AS_2B4T, SMALL, convert, trained};
use crate::process;
use crate::report::Report;

/// Both families that llama.cpp knows: what is changed in the run.
const FAMILIES: [(&str, &[&str]); 2] = [("bitnet", &["model.norms=sub"]), ("llama", &["model.norms=pre"])];
/// What messages call the sizes, of which the second are those of a real model.
const SIZES: [(&str, &[&str]); 2] = [("width 256", SMALL), ("width 2560", AS_2B4T)];
const FORMS: [Target; 3] = [Target::GgufTq1_0, Target::GgufTq2_0, Target::GgufF16];
const TEXT: &str = "the owl sees a moon.\n";
const TOKENS: usize = 24;
/// What a different rounding of activations may do to a logit, relative to the range of all.
const CLOSE: f32 = 0.05;

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    for (size, sizes) in SIZES {
        for (family, changes) in FAMILIES {
            let folder = tempfile::tempdir()?;
            let model = trained(folder.path(), sizes, changes)?;
            let own = own_greedy(&Source::folder(&model)?)?;
            for target in FORMS {
                let file = folder.path().join(format!("{target}.gguf"));
                convert(&model, &file, target, None)?;
                compare(python, report, &format!("{family} of {size}, {target}"), &own, &file)?;
            }
        }
    }
    Ok(())
}

/// Compares what llama.cpp makes of a file with our own.
fn compare(python: &str, report: &mut Report, name: &str, own: &Greedy, file: &Path) -> Result<()> {
    let Greedy { prompt, ids, logits } = own;
    let (file, count) = (file.display().to_string(), TOKENS.to_string());
    let arguments = ["tools/interop/llama_cpp_greedy.py", &file, TEXT, &count];
    let told = super::json_of(&mut process::command(python, &arguments))?;
    let has_prompt = told["prompt"] == serde_json::json!(prompt);
    super::check(report, name, has_prompt, "the prompt has the same tokens");
    let theirs = numbers(&told["ids"])?;
    let same = ids.iter().zip(&theirs).take_while(|(ours, theirs)| f64::from(**ours) == **theirs).count();
    let range =
        logits.iter().fold(f32::MIN, |a, b| a.max(*b)) - logits.iter().fold(f32::MAX, |a, b| a.min(*b));
    let differences = logits.iter().zip(numbers(&told["logits"])?).map(|(a, b)| (a - b as f32).abs() / range);
    let greatest = differences.fold(0.0, f32::max);
    let is_close = greatest <= CLOSE && same > 0;
    let detail = format!(
        "llama-cpp-python {}: logits differ by {greatest:.1e} of their range, the first {same} of {} tokens are the same",
        told["llama_cpp"],
        ids.len()
    );
    super::check(report, name, is_close, &detail);
    Ok(())
}

fn numbers(list: &Value) -> Result<Vec<f64>> {
    let list = list.as_array().context("llama_cpp_greedy.py gave no list")?;
    list.iter().map(|number| number.as_f64().context("llama_cpp_greedy.py gave no number")).collect()
}

/// What a model goes on with.
struct Greedy {
    /// The tokens of the text.
    prompt: Vec<u32>,
    /// The likeliest ones that follow.
    ids: Vec<u32>,
    /// Those after the prompt.
    logits: Vec<f32>,
}

fn own_greedy(source: &Source) -> Result<Greedy> {
    let model = Model::load(source, Arc::new(Pool::new(Isa::best(), 1)), Layout::TwoBit)?;
    let prompt = Tokenizer::read(source, model.config())?.encode(TEXT, true)?;
    let size = SessionSize { context: prompt.len() + TOKENS, max_rows: prompt.len(), max_logit_rows: 1 };
    let mut session = Session::new(&model, size);
    let mut cache = session.new_cache(KvType::F16);
    let (mut first, mut ids, mut pending) = (Vec::new(), Vec::new(), prompt.clone());
    while ids.len() < TOKENS {
        let mut sequences = [Sequence { tokens: &pending, cache: &mut cache }];
        let logits = session.forward(&mut sequences, LogitRows::Last)?;
        if first.is_empty() {
            first = logits.to_vec();
        }
        let likeliest = (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        if model.config().eos_token_ids.contains(&(likeliest as u32)) {
            break;
        }
        ids.push(likeliest as u32);
        pending = vec![likeliest as u32];
    }
    Ok(Greedy { prompt, ids, logits: first })
}
