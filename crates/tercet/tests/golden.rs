//! Golden files: every published family agrees with its reference implementation, linear by
//! linear, layer by layer, and as a whole.
//!
//! `tools/reference.py` made them and says what they hold. A linear and a layer are given the
//! *reference's* input, so that one difference cannot hide behind another. The seeds are such that
//! no activation lies within 2.5e-4 of a rounding tie, so codes are equal and no flip is allowed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use tercet::model::{Linear, LogitRows, Model, Session, SessionSize};
use tercet::source::Source;
use tercet_kernels::ops::{self, Int8Rows};
use tercet_kernels::{Buffer, Isa, KvType, Layout, Pool, Sequence};

/// Greatest difference of a linear's or layer's output, relative to the greatest magnitude.
const OUTPUT_TOLERANCE: f32 = 1e-5;
/// Median difference of the logits, relative to the greatest magnitude.
const LOGITS_MEDIAN: f32 = 1e-5;
/// Greatest difference of the logits, relative to the greatest magnitude.
const LOGITS_MAX: f32 = 2e-5;

#[test]
fn every_family_agrees_with_its_reference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let mut folders: Vec<PathBuf> =
        root.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 21, "found {} golden models, expected 21 or more", folders.len());
    for folder in folders {
        for layout in [Layout::TwoBit, Layout::BaseThree] {
            check(&folder, layout);
        }
    }
}

fn check(folder: &Path, layout: Layout) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let bytes = std::fs::read(folder.join("reference.safetensors")).unwrap();
    let reference = Reference { name, tensors: SafeTensors::deserialize(&bytes).unwrap() };
    let pool = Arc::new(Pool::new(Isa::best(), 2));
    let source = Source::folder(folder).unwrap();
    let model =
        Model::load(&source, Arc::clone(&pool), layout).unwrap_or_else(|error| panic!("{name}: {error}"));
    let tokens: Vec<u32> = reference.tokens();

    for (linear_name, linear) in model.layers()[0].linears() {
        reference.check_linear(&pool, linear_name.rsplit('.').next().unwrap(), linear, tokens.len());
    }
    let size = SessionSize { context: tokens.len(), max_rows: tokens.len(), max_logit_rows: tokens.len() };
    let mut session = Session::new(&model, size);
    for layer in 0..model.layers().len() {
        let input = reference.floats(&format!("layers.{layer}.input")).unwrap();
        let output = session.forward_layer(layer, &input, KvType::F32);
        let want = format!("layers.{layer}.output");
        reference.check_floats(&want, &output, OUTPUT_TOLERANCE);
    }
    let mut cache = session.new_cache(KvType::F32);
    let mut sequences = [Sequence { tokens: &tokens, cache: &mut cache }];
    let logits = session.forward(&mut sequences, LogitRows::All).unwrap().to_vec();
    reference.check_floats("logits", &logits, LOGITS_MAX);
    let differences = reference.differences("logits", &logits);
    let median = differences[differences.len() / 2];
    assert!(median <= LOGITS_MEDIAN, "{name}: logits differ by {median:e} in the median");
}

struct Reference<'a> {
    name: &'a str,
    tensors: SafeTensors<'a>,
}

impl Reference<'_> {
    fn tokens(&self) -> Vec<u32> {
        let tensor = self.tensors.tensor("input_ids").unwrap();
        tensor.data().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as u32).collect()
    }

    fn floats(&self, tensor: &str) -> Option<Vec<f32>> {
        let tensor = self.tensors.tensor(tensor).ok()?;
        assert_eq!(tensor.dtype(), Dtype::F32);
        Some(tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The tensor of a linear, or of the one whose input it shares.
    fn of_linear<T>(&self, linear: &str, part: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let sharer = match linear {
            "k_proj" | "v_proj" => "q_proj",
            "up_proj" => "gate_proj",
            other => other,
        };
        read(&format!("layers.0.{linear}.{part}")).or_else(|| read(&format!("layers.0.{sharer}.{part}")))
    }

    fn check_linear(&self, pool: &Pool, name: &str, linear: &Linear, m: usize) {
        let input = self.of_linear(name, "input", |tensor| self.floats(tensor)).unwrap();
        if let Linear::Ternary(bit_linear) = linear {
            let codes = self
                .of_linear(name, "codes", |tensor| Some(self.tensors.tensor(tensor).ok()?.data().to_vec()));
            let want: Vec<i8> = codes.unwrap().into_iter().map(|code| code as i8).collect();
            let width = bit_linear.matrix.cols();
            let mut rows = Int8Rows::new(pool, m, width);
            let x = Buffer::from_slice(pool, &input);
            let normed = Buffer::zeroed(pool, input.len());
            pool.run(|worker| {
                let x = match &bit_linear.norm {
                    Some(norm) => {
                        ops::rms_norm(worker, &x, m, &norm.gain, norm.eps, &normed);
                        worker.barrier();
                        &normed
                    }
                    None => &x,
                };
                ops::quantize_rows(worker, x, m, width, &rows);
            });
            for (t, want) in want.chunks(width).enumerate() {
                assert!(
                    rows.codes_of(t, m, width) == want,
                    "{}: {name}: codes of token {t} differ",
                    self.name
                );
            }
        }
        let output = linear.apply(pool, &input, m);
        self.check_floats(&format!("layers.0.{name}.output"), &output, OUTPUT_TOLERANCE);
    }

    /// Differences relative to the greatest magnitude of the tensor, ascending.
    fn differences(&self, tensor: &str, got: &[f32]) -> Vec<f32> {
        let want = self.floats(tensor).unwrap();
        assert_eq!(got.len(), want.len(), "{}: {tensor}", self.name);
        let greatest = want.iter().fold(0.0f32, |greatest, x| greatest.max(x.abs()));
        let mut differences: Vec<f32> =
            got.iter().zip(&want).map(|(a, b)| (a - b).abs() / greatest).collect();
        differences.sort_by(f32::total_cmp);
        differences
    }

    fn check_floats(&self, tensor: &str, got: &[f32], tolerance: f32) {
        let worst = *self.differences(tensor, got).last().unwrap();
        assert!(
            worst <= tolerance,
            "{}: {tensor} differs by {worst:e}, expected at most {tolerance:e}",
            self.name
        );
    }
}
