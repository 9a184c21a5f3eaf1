//! One step and the first steps of runs against PyTorch's: `tools/reference_training.py` made the
//! files and says what is in them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use safetensors::SafeTensors;
use tercet::source::Source;
use tercet_kernels::ops::backward::GradientPrecision;
use tercet_kernels::{Isa, Pool};
use tercet_train::config::{ModelConfig, OptimizerConfig, OptimizerKind};
use tercet_train::data::Batch;
use tercet_train::model::{LossSettings, Network, NetworkSize, Teacher};
use tercet_train::optimizer::Optimizer;
use tercet_train::schedule::StepRates;
use tercet_train::start::Start;

/// Greatest difference, relative to the greatest magnitude of a tensor. PyTorch's own f32 and f64
/// differ by up to 5e-6; we sum in yet another order.
const TOLERANCE: f64 = 1e-5;

struct Golden {
    folder: PathBuf,
    bytes: Vec<u8>,
}

impl Golden {
    fn all(is_run: bool) -> Vec<Golden> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
        let mut folders: Vec<PathBuf> = root.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        let name = |folder: &PathBuf| folder.file_name().unwrap().to_str().unwrap().to_owned();
        folders.retain(|folder| name(folder).starts_with("run-") == is_run);
        assert!(folders.len() >= if is_run { 4 } else { 20 }, "the golden files are there");
        let read = |folder: PathBuf| {
            let bytes = std::fs::read(folder.join("reference.safetensors")).unwrap();
            Golden { folder, bytes }
        };
        folders.into_iter().map(read).collect()
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).ok()?.data().to_vec();
        Some(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn integers(&self, name: &str) -> Vec<usize> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as usize).collect()
    }

    fn metadata(&self, field: &str) -> String {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).unwrap();
        metadata.metadata().as_ref().unwrap()[field].clone()
    }

    fn number(&self, field: &str) -> f32 {
        self.metadata(field).parse().unwrap()
    }

    fn network(&self, isa: Isa, rows: usize) -> Network {
        let source = Source::folder(&self.folder).unwrap();
        let linears = if self.name().contains("dense") || self.name().contains("muon") {
            Some(tercet_train::config::LinearKind::Dense)
        } else {
            None
        };
        let model = ModelConfig { linears, ..ModelConfig::default() };
        let start = Start::open(&source, &model).unwrap();
        let size = NetworkSize { rows, context: rows, recompute: false, precision: GradientPrecision::F32 };
        let mut network = Network::new(start.config.clone(), Arc::new(Pool::new(isa, 2)), size);
        let layout = network.layout().clone();
        start.read(&layout, network.parameters()).unwrap();
        network.quantize().unwrap();
        network
    }

    #[track_caller]
    fn check(&self, what: &str, got: &[f32], want: &[f32]) {
        let greatest = want.iter().fold(0.0f64, |max, x| max.max(f64::from(x.abs())));
        assert_eq!(got.len(), want.len(), "{}: {what}", self.name());
        for (at, (got, want)) in got.iter().zip(want).enumerate() {
            let difference = f64::from((got - want).abs()) / greatest;
            let name = self.name();
            assert!(difference <= TOLERANCE, "{name}: {what}[{at}] is {got}, expected {want}");
        }
    }
}

/// The logits of a file.
struct Given {
    logits: Vec<f32>,
    vocabulary: usize,
}

impl Teacher for Given {
    fn begin(&mut self, _: &Batch) {}

    fn logits(&mut self, _: &Batch, rows: Range<usize>) -> &[f32] {
        &self.logits[rows.start * self.vocabulary..rows.end * self.vocabulary]
    }
}

#[test]
fn every_gradient_is_pytorchs() {
    for golden in Golden::all(false) {
        let to_u32 = |values: Vec<usize>| values.into_iter().map(|x| x as u32).collect::<Vec<_>>();
        let tensors = SafeTensors::deserialize(&golden.bytes).unwrap();
        let counts = tensors.tensor("counts").unwrap().data().iter().map(|count| *count == 1).collect();
        let batch = Batch {
            tokens: to_u32(golden.integers("input_ids")),
            targets: to_u32(golden.integers("targets")),
            counts,
            segments: golden.integers("segments"),
        };
        let counted = batch.counts.iter().filter(|counts| **counts).count() as f32;
        let is_mean = golden.metadata("reduction") == "mean";
        let settings = LossSettings {
            scale: if is_mean { 1.0 / counted } else { 1.0 },
            teacher_weight: golden.number("teacher_weight"),
            temperature: golden.number("temperature"),
        };
        for isa in Isa::available() {
            let mut network = golden.network(isa, batch.tokens.len());
            network.set_lambda(golden.number("lambda"));
            let vocabulary = network.config().vocab_size;
            let mut given = golden.floats("teacher_logits").map(|logits| Given { logits, vocabulary });
            let teacher = given.as_mut().map(|given| given as &mut dyn Teacher);
            network.clear_gradients();
            let losses = network.accumulate(&batch, &settings, teacher);
            let loss = losses.loss * f64::from(settings.scale);
            golden.check("loss", &[loss as f32], &golden.floats("loss").unwrap());
            let logits = network.logits(&batch.tokens, &batch.segments);
            golden.check("logits", &logits, &golden.floats("logits").unwrap());
            for parameter in network.layout().clone().parameters() {
                let want = golden.floats(&format!("grad.{}", parameter.name)).unwrap();
                golden.check(&parameter.name, &network.gradients()[parameter.range.clone()], &want);
            }
        }
    }
}

#[test]
fn the_first_steps_of_a_run_are_pytorchs() {
    for golden in Golden::all(true) {
        let losses = golden.floats("losses").unwrap();
        let norms = golden.floats("gradient_norms").unwrap();
        let ids: Vec<u32> = golden.integers("batches").into_iter().map(|id| id as u32).collect();
        let rows = ids.len() / losses.len() - 1;
        let mut network = golden.network(Isa::best(), rows);
        let layout = network.layout().clone();
        let start = network.parameters().to_vec();
        let is_muon = golden.metadata("optimizer") == "muon";
        let config = OptimizerConfig {
            kind: if is_muon { OptimizerKind::Muon } else { OptimizerKind::Adamw },
            eps: golden.number("eps"),
            momentum: golden.number("momentum"),
            ..OptimizerConfig::default()
        };
        let rates = StepRates {
            learning_rate: golden.number("learning_rate"),
            weight_decay: golden.number("weight_decay"),
        };
        let mut optimizer = Optimizer::new(&config, &network);
        let name = golden.name();
        for (step, ids) in ids.chunks_exact(rows + 1).enumerate() {
            let batch = Batch {
                tokens: ids[..rows].to_vec(),
                targets: ids[1..].to_vec(),
                counts: vec![true; rows],
                segments: vec![rows],
            };
            network.clear_gradients();
            let scale = 1.0 / rows as f32;
            let loss = network.accumulate(&batch, &LossSettings::hard(scale), None).loss / rows as f64;
            let norm = optimizer.gradient_norm(&network);
            for (what, got, want) in [("loss", loss, losses[step]), ("norm", norm, norms[step])] {
                let difference = (got / f64::from(want) - 1.0).abs();
                assert!(difference <= 2e-5, "{name}: {what} of step {step} is {got}, expected {want}");
            }
            optimizer.step(&network, &rates, norm, golden.number("clip"));
            network.quantize().unwrap();
        }
        // Of the way that a parameter has gone, since AdamW divides by gradients near zero.
        let tolerance = f64::from(golden.number("way_tolerance"));
        for parameter in layout.parameters() {
            let want = golden.floats(&format!("final.{}", parameter.name)).unwrap();
            let got = &network.parameters()[parameter.range.clone()];
            let distance = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
            };
            let way = distance(got, &want) / distance(&want, &start[parameter.range.clone()]);
            assert!(way <= tolerance, "{name}: {} is {way:e} of its way off", parameter.name);
        }
    }
}
