//! A trained model as a Hugging Face folder: f32 masters to go on from, or packed codes to run.
//!
//! The codes and scales of the packed form come from the f32 masters by the one function of the
//! kernels, so running the folder is running what was trained. It knows no step and no optimizer.
//!
//! ```text
//! masters   every tensor in f32
//! packed    <linear>.weight        U8  [ceil(out / 4), in]   four rows a byte, in planes of rows
//!           <linear>.weight_scale  F32 [1]                   multiplies (`autobitlinear`, `offline`)
//!           the rest               F32
//! ```
//!
//! 1bitLLM's family has no packed form, so its norms take the names of BitNet b1.58 2B4T, which is
//! the same function. A dense model has one form.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use tercet::checkpoint::{self, Dtype, NewTensor, SINGLE_FILE};
use tercet::config::{CONFIG_FILE, Config, GENERATION_CONFIG_FILE, Linears, ScaleRule, SubNorms, TensorKind};
use tercet::planes;
use tercet::source::MemoryFolder;
use tercet_kernels::quantize;

use crate::model::{Parameter, ParameterLayout};

/// How linears are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Floats, from which training can go on.
    Masters,
    /// Codes and scales, where the linears are ternary.
    Packed,
}

/// A model that will be written: its parameters and small files.
pub struct Export<'a> {
    tensors: Vec<NewTensor>,
    /// What each tensor is made from.
    origins: Vec<Origin<'a>>,
    values: &'a [f32],
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Origin<'a> {
    Floats(&'a Parameter),
    Codes(&'a Parameter),
    Scale(&'a Parameter),
}

impl<'a> Export<'a> {
    /// The model with these parameters, and beside it `files` such as the tokenizer's.
    pub fn new(
        form: Form,
        config: &Config,
        layout: &'a ParameterLayout,
        values: &'a [f32],
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let is_packed = form == Form::Packed && config.linears == Linears::Masters;
        let config = if is_packed { packed_config(config) } else { config.clone() };
        let (mut tensors, mut origins) = (Vec::new(), Vec::new());
        for parameter in layout.parameters() {
            let name = if is_packed { packed_name(&parameter.name) } else { parameter.name.clone() };
            if is_packed && parameter.kind == TensorKind::Linear {
                let shape = vec![planes::byte_rows(parameter.shape[0]), parameter.shape[1]];
                let scale = format!("{name}_scale");
                tensors.push(NewTensor { name, dtype: Dtype::U8, shape });
                origins.push(Origin::Codes(parameter));
                tensors.push(NewTensor { name: scale, dtype: Dtype::F32, shape: vec![1] });
                origins.push(Origin::Scale(parameter));
            } else {
                tensors.push(NewTensor { name, dtype: Dtype::F32, shape: parameter.shape.clone() });
                origins.push(Origin::Floats(parameter));
            }
        }
        let mut files = files.clone();
        let mut fields = config.to_json();
        fields["torch_dtype"] = json!("float32");
        files.insert(CONFIG_FILE.to_owned(), format!("{fields:#}\n").into_bytes());
        files.insert(GENERATION_CONFIG_FILE.to_owned(), generation_config(&config).into_bytes());
        Export { tensors, origins, values, files }
    }

    /// Writes all files into a folder that exists.
    ///
    /// # Errors
    /// The path that could not be written, and why.
    pub fn write(&self, folder: &Path) -> Result<(), (PathBuf, io::Error)> {
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            let parent = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            parent.and_then(|()| std::fs::write(&path, bytes)).map_err(|error| (path, error))?;
        }
        let mut write = |number: usize, out: &mut dyn Write| self.write_tensor(number, out);
        checkpoint::write_files(folder, &self.tensors, &metadata(), &mut write)
    }

    /// The folder in memory.
    pub fn in_memory(&self, name: &str) -> MemoryFolder {
        let mut bytes =
            Vec::with_capacity(self.tensors.iter().map(NewTensor::size_bytes).sum::<u64>() as usize);
        let mut write = |number: usize, out: &mut dyn Write| self.write_tensor(number, out);
        checkpoint::write(&mut bytes, &self.tensors, &metadata(), &mut write)
            .expect("Export: writing to memory does not fail");
        let mut files: BTreeMap<String, std::sync::Arc<[u8]>> =
            self.files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice().into())).collect();
        files.insert(SINGLE_FILE.to_owned(), bytes.into());
        MemoryFolder { name: name.to_owned(), files }
    }

    fn write_tensor(&self, number: usize, out: &mut dyn Write) -> io::Result<()> {
        match self.origins[number] {
            Origin::Floats(parameter) => write_floats(out, &self.values[parameter.range.clone()]),
            Origin::Scale(parameter) => write_floats(out, &[scale(&self.values[parameter.range.clone()])]),
            Origin::Codes(parameter) => {
                let masters = &self.values[parameter.range.clone()];
                write_codes(out, masters, [parameter.shape[0], parameter.shape[1]])
            }
        }
    }
}

/// What transformers wants to know of a file.
fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

fn scale(masters: &[f32]) -> f32 {
    let blocks: Vec<_> = masters.chunks(quantize::ABSMEAN_BLOCK).map(quantize::block_statistics).collect();
    quantize::scale(&blocks, masters.len()).expect("Export: the masters were quantized before")
}

fn write_codes(out: &mut dyn Write, masters: &[f32], [rows, cols]: [usize; 2]) -> io::Result<()> {
    let inv_scale = 1.0 / scale(masters);
    let byte_rows = planes::byte_rows(rows);
    let (mut bytes, mut codes) = (vec![0u8; cols], vec![0u8; cols]);
    for byte_row in 0..byte_rows {
        bytes.fill(0);
        for plane in 0..planes::PLANES {
            let row = byte_row + plane * byte_rows;
            if row < rows {
                for (code, master) in codes.iter_mut().zip(&masters[row * cols..]) {
                    *code = quantize::ternary_code(*master, inv_scale);
                }
            } else {
                codes.fill(1);
            }
            planes::put(&codes, plane, &mut bytes);
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Little-endian f32.
pub(crate) fn write_floats(out: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = [0; 4096];
    for values in values.chunks(bytes.len() / size_of::<f32>()) {
        let bytes = &mut bytes[..size_of_val(values)];
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        out.write_all(bytes)?;
    }
    Ok(())
}

fn packed_config(config: &Config) -> Config {
    let linears = Linears::Packed { scale: ScaleRule::Multiply };
    Config { linears, ..config.clone() }.with_bitnet_names()
}

/// The name of a tensor in the packed form.
fn packed_name(name: &str) -> String {
    let pairs = [
        (SubNorms::OneBitLlm.attention(), SubNorms::Bitnet.attention()),
        (SubNorms::OneBitLlm.mlp(), SubNorms::Bitnet.mlp()),
    ];
    pairs.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// What is suggested for sampling: as much chance as small models bear.
fn generation_config(config: &Config) -> String {
    let eos = match config.eos_token_ids.as_slice() {
        [] => json!(null),
        [one] => json!(one),
        several => json!(several),
    };
    let fields = json!({
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos,
        "do_sample": true,
        "temperature": 0.8,
        "top_p": 0.95,
    });
    format!("{fields:#}\n")
}
