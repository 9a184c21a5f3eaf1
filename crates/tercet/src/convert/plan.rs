//! Which tensors a form of a model has, and what each is made from. It decides, and writes nothing.

use half::{bf16, f16};

use super::masters::Grid;
use super::part::{CodeForm, Content, Number, Origin, Part, exact_inverse};
use super::{Change, ConvertError, Options, TableType, Target};
use crate::checkpoint::{Dtype, RowOrder, TensorRef};
use crate::config::{
    Activation, Config, ExpectedTensor, Family, Linears, ScaleRule, TensorKind, expected_tensors, module_name,
};
use crate::gguf::TensorType;
use crate::gguf::model::{Architecture, gguf_name};

/// What will be written.
pub(super) struct Plan {
    /// The configuration of the result.
    pub(super) config: Config,
    /// The result's architecture, where it is a GGUF file.
    pub(super) architecture: Option<Architecture>,
    pub(super) parts: Vec<Part>,
    /// What is not as it was.
    pub(super) changes: Vec<Change>,
}

/// How the linears of a model are read, of which a dense one may be rounded by force.
pub(super) fn reading(config: &Config, options: &Options, model: &str) -> Result<Config, ConvertError> {
    let target = options.target;
    if config.linears != Linears::Dense || target.takes_dense() {
        return Ok(config.clone());
    }
    if !options.force {
        return Err(ConvertError::NeverTernary { model: model.to_owned(), target });
    }
    Ok(Config { linears: Linears::Masters, family: Family::TernaryLlama, ..config.clone() })
}

impl Plan {
    /// The plan of a conversion; `origin.config` is that of [`reading`]. `on_planned` hears of the bytes of tensors up
    /// to the one that is looked at.
    pub(super) fn new(
        origin: &Origin<'_>,
        options: &Options,
        is_forced: bool,
        on_planned: &mut dyn FnMut(u64),
    ) -> Result<Self, ConvertError> {
        let planner = Planner { origin, options };
        let mut done_bytes = 0;
        let mut on_tensor = |tensor: &ExpectedTensor| {
            done_bytes += planner.stored(tensor).bytes.len() as u64;
            on_planned(done_bytes);
        };
        let mut plan = match options.target.gguf_type() {
            Some(tensor_type) => planner.gguf(tensor_type, &mut on_tensor)?,
            None => planner.folder(&mut on_tensor)?,
        };
        if is_forced {
            plan.changes.push(Change::Quantized);
        }
        plan.changes.sort_unstable();
        plan.changes.dedup();
        Ok(plan)
    }
}

struct Planner<'a> {
    origin: &'a Origin<'a>,
    options: &'a Options,
}

impl Planner<'_> {
    fn folder(&self, on_tensor: &mut dyn FnMut(&ExpectedTensor)) -> Result<Plan, ConvertError> {
        let source = self.origin.config;
        let config = self.folder_config()?;
        let mut plan = Plan { architecture: None, parts: Vec::new(), changes: Vec::new(), config };
        let is_bf16 = matches!(self.options.target, Target::HfBf16 | Target::HfDequantized);
        let bf16 = is_bf16.then_some(Number::Bf16);
        for (from, to) in pairs(source, &plan.config) {
            on_tensor(&from);
            let linear = module_name(&from.name).to_owned();
            let content = match (from.kind, source.linears, plan.config.linears) {
                // They are few, so that their last bits cost nothing.
                (TensorKind::Norm, ..) => self.as_it_is(&from),
                (TensorKind::Embedding | TensorKind::Head, ..) | (TensorKind::Linear, Linears::Dense, _) => {
                    let is_linear = from.kind == TensorKind::Linear;
                    let change: fn(_) -> _ = if is_linear { Change::Linears } else { Change::Tables };
                    match bf16 {
                        Some(number) => self.rounded(&from, number, change, &mut plan.changes),
                        None => self.as_it_is(&from),
                    }
                }
                (TensorKind::Linear, _, Linears::Dense) => {
                    plan.changes.push(Change::Dequantized);
                    self.add_rounded_scale(&linear, Number::Bf16, &mut plan.changes)?;
                    Content::Codes { linear, form: CodeForm::ValuesBf16 }
                }
                // Whether there are such numbers is found out where they are made.
                (TensorKind::Linear, _, Linears::Masters) => Content::Masters { linear, grid: Grid::Bf16 },
                (TensorKind::Linear, _, Linears::Packed { scale: rule }) => {
                    let form = CodeForm::Planes;
                    plan.push(&to, Content::Codes { linear: linear.clone(), form });
                    let scale =
                        ExpectedTensor { name: format!("{}_scale", to.name), shape: vec![1], kind: to.kind };
                    plan.push(&scale, Content::Scale { linear, rule });
                    continue;
                }
                (TensorKind::Linear, _, Linears::Blocks) => {
                    unreachable!("Planner::folder: a folder has no blocks")
                }
                (TensorKind::WeightScale, ..) => unreachable!("pairs leaves out the scales"),
            };
            plan.push(&to, content);
        }
        Ok(plan)
    }

    /// The configuration of the folder that is written.
    fn folder_config(&self) -> Result<Config, ConvertError> {
        let source = self.origin.config;
        let mut config = source.clone();
        let multiply = Linears::Packed { scale: ScaleRule::Multiply };
        config.linears = match self.options.target {
            _ if source.linears == Linears::Dense => Linears::Dense,
            Target::HfDequantized => Linears::Dense,
            Target::HfBf16 => Linears::Masters,
            Target::HfAutoBitLinear => multiply,
            _ => match source.linears {
                Linears::Packed { .. } => source.linears,
                _ if source.norms.sub.is_some() || !self.has_inverses()? => multiply,
                _ => Linears::Packed { scale: ScaleRule::Divide },
            },
        };
        if config.linears == Linears::Dense {
            config.family = Family::DenseLlama;
            self.refuse_norms_that_llama_lacks()?;
        }
        // 1bitLLM's family is stored as floats alone.
        Ok(if config.linears == Linears::Masters { config } else { config.with_bitnet_names() })
    }

    /// Whether each scale is the reciprocal of a number to the last bit.
    fn has_inverses(&self) -> Result<bool, ConvertError> {
        for tensor in expected_tensors(self.origin.config) {
            if tensor.kind == TensorKind::Linear
                && exact_inverse(self.origin.linear(module_name(&tensor.name))?.scale()).is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A float tensor in its own type, or in f32 where that is one of blocks.
    fn as_it_is(&self, tensor: &ExpectedTensor) -> Content {
        Content::Floats { tensor: tensor.name.clone(), number: Number::exact(self.stored(tensor).dtype) }
    }

    /// A float tensor in this type; `change` says what it is, where that rounds it.
    fn rounded(
        &self,
        tensor: &ExpectedTensor,
        number: Number,
        change: fn(&'static str) -> Change,
        changes: &mut Vec<Change>,
    ) -> Content {
        if self.origin.rounds(&tensor.name, number) {
            changes.push(change(number.name()));
        }
        Content::Floats { tensor: tensor.name.clone(), number }
    }

    fn gguf(
        &self,
        tensor_type: TensorType,
        on_tensor: &mut dyn FnMut(&ExpectedTensor),
    ) -> Result<Plan, ConvertError> {
        let source = self.origin.config;
        let architecture = self.architecture()?;
        let mut config = source.clone();
        config.linears = if source.linears == Linears::Dense { Linears::Dense } else { Linears::Blocks };
        let is_dequantized = architecture == Architecture::Llama && !tensor_type.is_ternary();
        if is_dequantized && source.linears != Linears::Dense {
            config.linears = Linears::Dense;
        }
        let config = config.with_bitnet_names();
        let mut plan =
            Plan { architecture: Some(architecture), parts: Vec::new(), changes: Vec::new(), config };
        for (from, to) in pairs(source, &plan.config) {
            on_tensor(&from);
            let content = match from.kind {
                TensorKind::WeightScale => unreachable!("pairs leaves out the scales"),
                // Norms are F32 in every GGUF file.
                TensorKind::Norm => Content::Floats { tensor: from.name.clone(), number: Number::F32 },
                TensorKind::Embedding | TensorKind::Head => self.table(&from, &mut plan.changes)?,
                TensorKind::Linear => {
                    self.gguf_linear(&from, tensor_type, is_dequantized, &mut plan.changes)?
                }
            };
            let row_order = architecture.row_order(&to.name, source.head_dim);
            let name = gguf_name(&to.name).expect("Planner::gguf: what has no name there is refused");
            plan.parts.push(Part { name, shape: to.shape, content, row_order });
        }
        Ok(plan)
    }

    fn gguf_linear(
        &self,
        tensor: &ExpectedTensor,
        tensor_type: TensorType,
        is_dequantized: bool,
        changes: &mut Vec<Change>,
    ) -> Result<Content, ConvertError> {
        if self.origin.config.linears == Linears::Dense {
            let number = if tensor_type == TensorType::Bf16 { Number::Bf16 } else { Number::F16 };
            return Ok(self.rounded(tensor, number, Change::Linears, changes));
        }
        self.check_width(tensor, tensor_type)?;
        if is_dequantized {
            changes.push(Change::Dequantized);
        }
        let form = match tensor_type {
            TensorType::I2S => CodeForm::I2S,
            TensorType::Tq1_0 => CodeForm::Tq1_0,
            TensorType::Tq2_0 => CodeForm::Tq2_0,
            TensorType::Bf16 => CodeForm::ValuesBf16,
            _ => CodeForm::ValuesF16,
        };
        let linear = module_name(&tensor.name).to_owned();
        match form {
            CodeForm::I2S => {}
            CodeForm::ValuesBf16 => self.add_rounded_scale(&linear, Number::Bf16, changes)?,
            _ => self.add_rounded_scale(&linear, Number::F16, changes)?,
        }
        Ok(Content::Codes { linear, form })
    }

    /// Says that a scale is rounded, if it is.
    fn add_rounded_scale(
        &self,
        linear: &str,
        number: Number,
        changes: &mut Vec<Change>,
    ) -> Result<(), ConvertError> {
        let scale = self.origin.linear(linear)?.scale();
        let is_same = match number {
            Number::Bf16 => bf16::from_f32(scale).to_f32() == scale,
            _ => f16::from_f32(scale).to_f32() == scale,
        };
        if !is_same {
            changes.push(Change::Scales(number.name()));
        }
        Ok(())
    }

    /// The embedding or the head.
    fn table(&self, tensor: &ExpectedTensor, changes: &mut Vec<Change>) -> Result<Content, ConvertError> {
        let stored = self.stored(tensor).dtype;
        let exact = match stored {
            Dtype::Block(tensor_type) => Number::Same(tensor_type),
            dtype => Number::exact(dtype),
        };
        let number = match self.options.head {
            None => exact,
            Some(TableType::F16) => Number::F16,
            Some(TableType::Bf16) => Number::Bf16,
            Some(TableType::Q8_0) => Number::Q8_0,
            Some(TableType::Q6K) => Number::Q6K,
        };
        self.check_width(tensor, number.tensor_type())?;
        // The same blocks again are the same numbers.
        let number = if number.tensor_type() == exact.tensor_type() { exact } else { number };
        if number != exact && self.origin.rounds(&tensor.name, number) {
            changes.push(Change::Tables(number.name()));
        }
        Ok(Content::Floats { tensor: tensor.name.clone(), number })
    }

    fn check_width(&self, tensor: &ExpectedTensor, tensor_type: TensorType) -> Result<(), ConvertError> {
        let (found, [block, _]) = (tensor.shape[1], tensor_type.block());
        if found.is_multiple_of(block) {
            return Ok(());
        }
        let (model, target) = (self.model(), self.options.target);
        let hint = match tensor.kind {
            TensorKind::Embedding | TensorKind::Head => {
                "another `--head` has other blocks, and without it the numbers stay as they are".to_owned()
            }
            _ => {
                let forms = self.wide_enough().map(|target| format!("`--to {target}`"));
                format!(
                    "its rows fit {}; docs/models.md has a table of what each form can hold",
                    forms.collect::<Vec<_>>().join(", ")
                )
            }
        };
        let name = self.stored(tensor).name.to_owned();
        Err(ConvertError::Width { model, target, name, found, block, hint })
    }

    /// The GGUF forms whose blocks all rows of the linears are multiples of.
    fn wide_enough(&self) -> impl Iterator<Item = Target> {
        let linears = expected_tensors(self.origin.config)
            .into_iter()
            .filter(|tensor| tensor.kind == TensorKind::Linear);
        let widths: Vec<usize> = linears.map(|tensor| tensor.shape[1]).collect();
        let fits = move |tensor_type: TensorType| {
            let [block, _] = tensor_type.block();
            widths.iter().all(|width| width.is_multiple_of(block))
        };
        let targets = Target::ALL.into_iter().map(|(_, target)| target);
        targets.filter(move |target| target.gguf_type().is_some_and(&fits))
    }

    /// What other software must take the model for.
    fn architecture(&self) -> Result<Architecture, ConvertError> {
        let config = self.origin.config;
        let architecture = match (config.norms.sub, config.hidden_act) {
            (Some(_), Activation::Silu) => Architecture::Bitnet,
            (Some(_), Activation::Relu2) => Architecture::BitnetB158,
            (None, Activation::Silu) => Architecture::Llama,
            (None, Activation::Relu2) => {
                return Err(self.no_place("squared ReLU without norms before `o_proj` and `down_proj`"));
            }
        };
        if config.norms.in_linear_eps.is_some() {
            return Err(self.no_place("the norms inside every linear"));
        }
        if architecture != Architecture::Llama && !config.tie_word_embeddings {
            return Err(
                self.no_place("a head that is not the embedding: programs for BitNet take the embedding")
            );
        }
        if f64::from(config.rope_theta as f32) != config.rope_theta {
            return Err(self.no_place("a `rope_theta` that is no f32"));
        }
        Ok(architecture)
    }

    fn refuse_norms_that_llama_lacks(&self) -> Result<(), ConvertError> {
        let norms = self.origin.config.norms;
        if norms.sub.is_some() {
            return Err(self.no_place("the norms before `o_proj` and `down_proj`, which LLaMA has not"));
        }
        match norms.in_linear_eps {
            Some(_) => Err(self.no_place("the norms inside every linear, which LLaMA has not")),
            None => Ok(()),
        }
    }

    fn no_place(&self, what: &str) -> ConvertError {
        ConvertError::NoPlace { model: self.model(), target: self.options.target, what: what.to_owned() }
    }

    fn model(&self) -> String {
        self.origin.checkpoint.name().to_owned()
    }

    fn stored(&self, tensor: &ExpectedTensor) -> TensorRef<'_> {
        let stored = self.origin.checkpoint.get(&tensor.name);
        stored.expect("Config::read has checked that the tensor is there")
    }
}

impl Plan {
    /// A tensor of a folder.
    fn push(&mut self, tensor: &ExpectedTensor, content: Content) {
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        self.parts.push(Part { name, shape, content, row_order: RowOrder::Same });
    }
}

/// Each tensor of a configuration beside that of another with its place in the model; the scales are left out.
pub(crate) fn pairs(from: &Config, to: &Config) -> Vec<(ExpectedTensor, ExpectedTensor)> {
    let tensors = |config: &Config| {
        let is_weight = |tensor: &ExpectedTensor| tensor.kind != TensorKind::WeightScale;
        expected_tensors(config).into_iter().filter(is_weight)
    };
    tensors(from).zip(tensors(to)).collect()
}
