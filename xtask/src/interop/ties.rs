//! Why a ternary model's scores differ between two implementations: activations rounded near a tie, and nothing else.
//!
//! Each layer computes each token of a text alone, here and in transformers, from the same numbers. Where no activation
//! lies within the last bits of the middle between two codes, both must agree to the last bits; where one does, its
//! code may be another one, and the output differs by some thousandth.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use safetensors::SafeTensors;
use tercet::model::{Model, Session, SessionSize};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_kernels::{Isa, KvType, Layout, Pool};

use crate::process;
use crate::report::Report;

/// Difference of two f32 layers without a flip, relative to the greatest output.
const CLOSE: f32 = 1e-5;
/// How near a tie, in units of a code, the last bits of two f32 implementations reach.
const TIE: f32 = 1e-4;

/// Traces what a text's tokens go through.
pub(super) fn trace(python: &str, name: &str, folder: &Path, text: &str, report: &mut Report) -> Result<()> {
    let source = Source::folder(folder)?;
    let model = Model::load(&source, Arc::new(Pool::new(Isa::best(), 1)), Layout::TwoBit)?;
    let tokens = Tokenizer::read(&source, model.config())?.encode(text, true)?;
    let scratch = tempfile::tempdir()?;
    let (ids, out) = (scratch.path().join("ids.json"), scratch.path().join("layers.safetensors"));
    fs::write(&ids, serde_json::to_vec(&tokens)?)?;
    let mut script = process::command(python, &["tools/interop/ternary_ties.py"]);
    super::run_quietly(script.args([folder, &ids, &out]))?;
    let bytes = fs::read(&out).context("the script wrote nothing")?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let floats = |name: &str| -> Result<Vec<f32>> {
        let data = tensors.tensor(name)?.data().to_vec();
        Ok(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    let (inputs, outputs, ties) = (floats("inputs")?, floats("outputs")?, floats("ties")?);

    let hidden = model.config().hidden_size;
    let mut session = Session::new(&model, SessionSize { context: 1, max_rows: 1, max_logit_rows: 1 });
    let mut flipped = Vec::new();
    let mut is_traced = true;
    for (row, (input, want)) in inputs.chunks(hidden).zip(outputs.chunks(hidden)).enumerate() {
        let found = session.forward_layer(row / tokens.len(), input, KvType::F32);
        let greatest = want.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let difference = found.iter().zip(want).fold(0.0f32, |max, (a, b)| max.max((a - b).abs())) / greatest;
        if difference > CLOSE {
            flipped.push(ties[row]);
            is_traced &= ties[row] <= TIE;
        }
    }
    let near = ties.iter().filter(|tie| **tie <= TIE).count();
    let farthest = flipped.iter().copied().fold(0.0, f32::max);
    let detail = format!(
        "{} of {} tokens in layers differ, the farthest from a tie by {farthest:.0e} of a code; {near} have one within {TIE:.0e}",
        flipped.len(),
        ties.len(),
    );
    super::check(report, name, is_traced && !ties.is_empty(), &detail);
    Ok(())
}
