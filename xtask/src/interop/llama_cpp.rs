//! llama.cpp loads the files that it has types for, and goes on a prompt with the same tokens.
//!
//! It quantises activations by blocks of 256 where the model was trained with one scale a token, so its logits are
//! close and not equal: greedy tokens may part where two are nearly as likely.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;
use tercet::convert::Target;
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

use super::converted::{convert, trained};
use crate::process;
use crate::report::Report;

/// Both families that llama.cpp knows: what is changed in the run.
const FAMILIES: [(&str, &[&str]); 2] = [("bitnet", &["model.norms=sub"]), ("llama", &["model.norms=pre"])];
const FORMS: [Target; 3] = [Target::GgufTq1_0, Target::GgufTq2_0, Target::GgufF16];
const TEXT: &str = "the owl sees a moon.\n";
const TOKENS: usize = 24;
/// What a different rounding of activations may do to a logit, relative to the range of all.
const CLOSE: f32 = 0.05;

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    for (family, changes) in FAMILIES {
        let folder = tempfile::tempdir()?;
        let model = trained(folder.path(), changes)?;
        let (prompt, ours, logits) = own_greedy(&Source::folder(&model)?)?;
        for target in FORMS {
            let file = folder.path().join(format!("{target}.gguf"));
            convert(&model, &file, target, None)?;
            let (file, count) = (file.display().to_string(), TOKENS.to_string());
            let arguments = ["tools/interop/llama_cpp_greedy.py", &file, TEXT, &count];
            let told = super::json_of(&mut process::command(python, &arguments))?;
            let name = format!("{family}, {target}");
            let version = &told["llama_cpp"];
            super::check(
                report,
                &name,
                told["prompt"] == serde_json::json!(prompt),
                "the prompt has the same tokens",
            );
            let theirs = numbers(&told["ids"])?;
            let same =
                ours.iter().zip(&theirs).take_while(|(ours, theirs)| f64::from(**ours) == **theirs).count();
            let range = logits.iter().fold(f32::MIN, |a, b| a.max(*b))
                - logits.iter().fold(f32::MAX, |a, b| a.min(*b));
            let differences =
                logits.iter().zip(numbers(&told["logits"])?).map(|(a, b)| (a - b as f32).abs() / range);
            let greatest = differences.fold(0.0, f32::max);
            let is_close = greatest <= CLOSE && same > 0;
            let detail = format!(
                "llama-cpp-python {version}: logits differ by {greatest:.1e} of their range, the first {same} of {} tokens are the same",
                ours.len()
            );
            super::check(report, &name, is_close, &detail);
        }
    }
    Ok(())
}

fn numbers(list: &Value) -> Result<Vec<f64>> {
    let list = list.as_array().context("llama_cpp_greedy.py gave no list")?;
    list.iter().map(|number| number.as_f64().context("llama_cpp_greedy.py gave no number")).collect()
}

/// The prompt's tokens, the likeliest ones that follow, and the logits after the prompt.
fn own_greedy(source: &Source) -> Result<(Vec<u32>, Vec<u32>, Vec<f32>)> {
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
    Ok((prompt, ids, first))
}
