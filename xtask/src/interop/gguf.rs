//! The gguf package reads every file that is written, and dequantizes it to the numbers that tercet reads.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::SafeTensors;
use tercet::convert::{TableType, Target};
use tercet::gguf::{Gguf, GgufTensor, TensorType, quantized, ternary};
use tercet::source::Source;
use tercet::verify::OnDisk;

use super::converted::{FAMILIES, SMALL, convert, trained};
use crate::process;
use crate::report::Report;

/// Each form, and the numbers of its embedding.
const FORMS: [(Target, Option<TableType>); 7] = [
    (Target::GgufI2S, None),
    (Target::GgufI2S, Some(TableType::Q6K)),
    (Target::GgufTq1_0, Some(TableType::Q8_0)),
    (Target::GgufTq2_0, Some(TableType::F16)),
    (Target::GgufF16, Some(TableType::Bf16)),
    (Target::GgufF16, None),
    (Target::GgufBf16, None),
];

pub(super) fn run(python: &str, report: &mut Report) -> Result<()> {
    for (family, changes) in FAMILIES {
        let folder = tempfile::tempdir()?;
        let model = trained(folder.path(), SMALL, changes)?;
        let vocab_size = OnDisk::open(Source::folder(&model)?)?.config.vocab_size as u64;
        for (number, (target, head)) in FORMS.into_iter().enumerate() {
            let file = folder.path().join(format!("{number}.gguf"));
            convert(&model, &file, target, head)?;
            let out = folder.path().join("tensors.safetensors");
            let [file_text, out_text] = [&file, &out].map(|path| path.display().to_string());
            let arguments = ["tools/interop/gguf_read.py", &file_text, &out_text];
            let told = super::json_of(&mut process::command(python, &arguments))?;
            let name = format!("{family}, {target}");
            let (values, differing) = differing(&file, &out)?;
            let types = &told["types"];
            super::check(
                report,
                &name,
                differing == 0,
                &format!("gguf {} reads {types}; {differing} of {values} values differ", told["gguf"]),
            );
            let has_keys = told["fields"]["general.file_type"].is_u64()
                && told["fields"]["tokenizer.ggml.tokens"].as_u64() == Some(vocab_size)
                && told["fields"]["tokenizer.ggml.pre"] == "llama-bpe";
            super::check(report, &name, has_keys, "architecture and tokenizer are in its metadata");
        }
    }
    Ok(())
}

/// How many values there are, and how many the package reads otherwise.
fn differing(file: &Path, theirs: &Path) -> Result<(usize, usize)> {
    let gguf = Gguf::open(file)?;
    let bytes = fs::read(theirs).context("the package wrote no tensors")?;
    let theirs = SafeTensors::deserialize(&bytes)?;
    let (mut count, mut differing) = (0, 0);
    for tensor in gguf.tensors() {
        let data = theirs.tensor(&tensor.name)?.data().to_vec();
        let theirs = data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let ours = values(&gguf, tensor);
        ensure!(
            theirs.len() == ours.len(),
            "{}: {} values, expected {}",
            tensor.name,
            theirs.len(),
            ours.len()
        );
        count += ours.len();
        // 0 times a negative scale is -0 there.
        differing += ours.iter().zip(theirs).filter(|(ours, theirs)| **ours != *theirs).count();
    }
    Ok((count, differing))
}

/// The values of a tensor, in the order of the file.
fn values(gguf: &Gguf, tensor: &GgufTensor) -> Vec<f32> {
    let bytes = gguf.bytes_of(tensor);
    let elements = tensor.shape.iter().product();
    let ternary = |codes: &[u8], scale: f32| -> Vec<f32> {
        codes.iter().map(|code| (f32::from(*code) - 1.0) * scale).collect()
    };
    match tensor.tensor_type {
        TensorType::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        TensorType::F16 => {
            bytes.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        TensorType::Bf16 => {
            bytes.as_chunks().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()
        }
        TensorType::Q8_0 => bytes.as_chunks().0.iter().flat_map(quantized::q8_0_block).collect(),
        TensorType::Q4_0 => bytes.as_chunks().0.iter().flat_map(quantized::q4_0_block).collect(),
        TensorType::Q6K => bytes.as_chunks().0.iter().flat_map(quantized::q6_k_block).collect(),
        TensorType::Tq1_0 => {
            let blocks = bytes.as_chunks().0.iter().map(ternary::tq1_0_block);
            blocks.flat_map(|(codes, scale)| ternary(&codes, scale.to_f32())).collect()
        }
        TensorType::Tq2_0 => {
            let blocks = bytes.as_chunks().0.iter().map(ternary::tq2_0_block);
            blocks.flat_map(|(codes, scale)| ternary(&codes, scale.to_f32())).collect()
        }
        TensorType::I2S => {
            let mut codes = vec![0; elements];
            ternary::i2_s_codes(bytes, 0, &mut codes);
            ternary(&codes, ternary::i2_s_scale(bytes))
        }
    }
}
